"""Random statements with windows, fills and groups answer what a model in pandas answers.

Rows come late, twice, with gaps and nulls, and lie in parts and the head. Each seed makes one
statement; the model (frame_model) computes its answer from a dictionary of cells.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd  # type: ignore[import-untyped] # its types come with stubs of their own
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

from . import frame_model as model
from .frame_model import Cell, Frame, Series, Window, Windows

S = 1000
START_MS = int(datetime(2026, 3, 27, 20, tzinfo=UTC).timestamp()) * S
"""Two days before clocks change in Berlin."""
DEVICES = {f"d{i}": ("north", "south", "west")[i % 3] for i in range(4)}
SEEDS = range(60)
NIGHTLY_SEEDS = range(60, 360)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, executor: InProcessExecutor) -> Any:
    options = EngineOptions(background=False, durability="os")
    with Engine.open(tmp_path_factory.mktemp("random"), options) as engine:
        session = Session(engine, executor)
        yield session, make_rows(engine, session, random.Random(7))


def make_rows(engine: Engine, session: Session, rnd: random.Random) -> Frame:
    """Rows of four devices; no two devices have one time."""
    session.execute("CREATE STABLE m (ts TIMESTAMP, a DOUBLE, n BIGINT, s TEXT) TAGS (site TEXT)")
    cells: dict[tuple[str, int], dict[str, Cell]] = {}
    for number, device in enumerate(DEVICES):
        time = START_MS + number
        times = []
        for _ in range(160):
            time += rnd.choice([S, S, 2 * S, 5 * S, 30 * S, 600 * S, 3600 * S])
            times.append(time)
        if device == "d3":
            times = times[:1]
        rnd.shuffle(times)
        repeated = rnd.sample(times, len(times) // 5)
        for batch in (times[:100], times[100:], repeated):
            _insert(session, rnd, cells, device, batch)
            if rnd.random() < 0.7:
                engine.flush()
    rows = [
        {"t": time, "tbname": device, "site": DEVICES[device], "a": None, "n": None, "s": None}
        | row
        for (device, time), row in cells.items()
    ]
    frame = pd.DataFrame(rows).sort_values("t")
    frame["n"] = frame["n"].astype("Int64")
    frame["s"] = frame["s"].astype(object).where(frame["s"].notna(), None)
    return frame.set_index("t", drop=False)


def _insert(
    session: Session,
    rnd: random.Random,
    cells: dict[tuple[str, int], dict[str, Cell]],
    device: str,
    times: list[int],
) -> None:
    values = []
    for time in times:
        row = {
            "a": round(rnd.gauss(0, 10), 2) if rnd.random() < 0.85 else None,
            "n": rnd.randint(-5, 5) if rnd.random() < 0.85 else None,
            "s": rnd.choice(["run", "idle", "off"]) if rnd.random() < 0.8 else None,
        }
        known = {name: value for name, value in row.items() if value is not None}
        cells.setdefault((device, time), {}).update(known)
        values.append((time, *row.values()))
    if not values:
        return
    shown = " ".join(f"({', '.join(_sql(value) for value in row)})" for row in values)
    tags = f"USING m TAGS ({_sql(DEVICES[device])})"
    session.execute(f"INSERT INTO {device} {tags} VALUES {shown}")


def _sql(value: Cell) -> str:
    if value is None:
        return "NULL"
    return f"'{value}'" if isinstance(value, str) else str(value)


@dataclass
class Statement:
    """What is asked: in SQL, and of the model."""

    source: str = "m"
    zone: str = "UTC"
    conditions: list[str] = field(default_factory=list)
    rows: list[Callable[[Frame], Series]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    clause: str = ""
    windows: Windows | None = None
    label: str | None = "_wstart"
    aggregates: list[str] = field(default_factory=list)
    fill: tuple[str, list[Cell]] | None = None
    having: int | None = None
    span: tuple[int, int] | None = None
    is_nested: bool = False

    def sql(self) -> str:
        """The statement, or the same within another."""
        return f"SELECT * FROM ({self._sql()}) AS inside" if self.is_nested else self._sql()

    def _sql(self) -> str:
        shown = [*self.keys, *([self.label] if self.label else []), *self.aggregates]
        parts = [f"SELECT {', '.join(shown)} FROM {self.source}"]
        if self.conditions:
            parts.append(f"WHERE {' AND '.join(self.conditions)}")
        if self.keys and self.windows is not None:
            parts.append(f"PARTITION BY {', '.join(self.keys)}")
        parts.append(self.clause)
        if self.fill is not None:
            mode, values = self.fill
            parts.append(f"FILL({', '.join([mode, *map(_sql, values)])})")
        if self.having is not None:
            parts.append(f"HAVING count(*) > {self.having}")
        return " ".join(part for part in parts if part)

    def expected(self, frame: Frame) -> list[list[Cell]]:
        if self.source != "m":
            frame = frame[frame.tbname == self.source]
        for holds in self.rows:
            frame = frame[holds(frame)]
        answer = []
        for keys, partition in self._partitions(frame):
            rows = []
            for window in self._windows(partition):
                if self.having is not None and len(window.rows) <= self.having:
                    continue
                label = [] if self.windows is None else [window.label]
                is_unknown = self.fill is not None and len(window.rows) == 0
                values = [
                    None if is_unknown else model.AGGREGATES[name](window)
                    for name in self.aggregates
                ]
                rows.append([*keys, *label, *values])
            if self.fill is not None:
                model.fill(rows, self.fill[0], self.fill[1], len(keys))
            answer += rows
        return answer

    def _partitions(self, frame: Frame) -> list[tuple[list[Cell], Frame]]:
        if not self.keys:
            return [([], frame)]
        return [(list(keys), part) for keys, part in frame.groupby(self.keys, sort=True)]

    def _windows(self, partition: Frame) -> list[Window]:
        if self.windows is None:
            return [Window(0, partition, partition)]
        return list(self.windows(partition))


# Random statements


def draw(seed: int) -> Statement:
    rnd = random.Random(seed)
    statement = Statement(source=rnd.choice(["m", "m", "d0", "d1", "d2"]))
    if statement.source == "m":
        statement.keys = rnd.choice([[], ["tbname"], ["site"]])
    _draw_conditions(rnd, statement)
    kinds = [_group, _interval, _calendar, _session, _state, _event, _count]
    if statement.source != "m":
        kinds += [_range, _variation, _condition, _range]
        statement.label = None  # a path shows the time by itself
    rnd.choice(kinds)(rnd, statement)
    if statement.fill is None or statement.fill[0] == "NULL":
        asked = list(model.AGGREGATES)
    elif statement.fill[0] == "LINEAR" or statement.fill[0] == "VALUE":
        asked = list(model.NUMBERS)
    else:
        asked = [name for name in model.AGGREGATES if name != "elapsed(ts, 1s)"]
    statement.aggregates = rnd.sample(asked, rnd.randint(1, 4))
    if statement.fill is not None and statement.fill[0] == "VALUE":
        statement.fill = ("VALUE", [float(i) for i in range(len(statement.aggregates))])
    statement.is_nested = statement.source == "m" and rnd.random() < 0.25
    return statement


def _draw_conditions(rnd: random.Random, statement: Statement) -> None:
    if rnd.random() < 0.5:
        low = START_MS + rnd.randrange(60) * 1800 * S
        high = low + rnd.choice([1, 6, 30]) * 3600 * S + rnd.choice([0, 777])
        statement.span = (low, high)
        first = rnd.choice([str(low), f"'{_text(low)}'"])
        statement.conditions.append(f"ts >= {first} AND ts <= {high}")
        statement.rows.append(lambda frame: (frame.t >= low) & (frame.t <= high))
    if rnd.random() < 0.4:
        sql, holds = rnd.choice(FILTERS)
        statement.conditions.append(sql)
        statement.rows.append(holds)
    if statement.source == "m" and rnd.random() < 0.2:
        statement.conditions.append("site IN ('north', 'west')")
        statement.rows.append(lambda frame: frame.site.isin(["north", "west"]))


FILTERS: list[tuple[str, Callable[[Frame], Series]]] = [
    ("a > -5", lambda frame: frame.a > -5),
    ("n BETWEEN -2 AND 4", lambda frame: frame.n.between(-2, 4).fillna(value=False)),
    ("s = 'run'", lambda frame: frame.s == "run"),
    ("s IS NULL", lambda frame: frame.s.isna()),
    ("(a < 0 OR n > 2)", lambda frame: (frame.a < 0) | (frame.n > 2).fillna(value=False)),
]


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / S, UTC).isoformat()


def _group(rnd: random.Random, statement: Statement) -> None:
    """No window: GROUP BY of keys, or all rows."""
    statement.label = None
    if statement.keys:
        statement.clause = f"GROUP BY {', '.join(statement.keys)}"
        statement.having = rnd.choice([None, 20])


def _interval(rnd: random.Random, statement: Statement) -> None:
    width = rnd.choice([7, 60, 600, 3600, 5400, 6 * 3600]) * S
    sliding = width // rnd.choice([1, 1, 1, 2, 3, 5]) // S * S or S
    offset = rnd.choice([0, 0, width // 3 // S * S])
    span = None
    if statement.span is not None and rnd.random() < 0.6:
        mode = rnd.choice(["NULL", "PREV", "NEXT", "LINEAR", "VALUE"])
        statement.fill = (mode, [])
        span = statement.span
        width = sliding = max(width, 600 * S)
        offset = min(offset, width // 3)
    shift = f", {offset // S}s" if offset else ""
    statement.clause = f"INTERVAL({width // S}s{shift})"
    if sliding != width:
        statement.clause += f" SLIDING({sliding // S}s)"
    statement.windows = model.intervals(width, sliding, offset, span)


def _calendar(rnd: random.Random, statement: Statement) -> None:
    unit, frequency = rnd.choice([("1d", "D"), ("1d", "D"), ("1n", "MS")])
    statement.zone = rnd.choice(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
    statement.clause = f"INTERVAL({unit})"
    statement.windows = model.calendar(frequency, statement.zone)


def _session(rnd: random.Random, statement: Statement) -> None:
    gap = rnd.choice([1, 2, 5, 30, 600, 3600])
    statement.clause = f"SESSION(ts, {gap}s)"
    statement.windows = model.sessions(gap * S)


def _state(rnd: random.Random, statement: Statement) -> None:
    column = rnd.choice(["s", "n"])
    statement.clause = f"STATE_WINDOW({column})"
    make = model.states(column)
    statement.windows = lambda frame: make(frame.astype(object).where(frame.notna(), None))


def _event(rnd: random.Random, statement: Statement) -> None:
    low, high = rnd.randint(-8, 0), rnd.randint(0, 12)
    statement.clause = f"EVENT_WINDOW START WITH a > {high} END WITH a < {low}"
    statement.windows = model.events(lambda frame: frame.a > high, lambda frame: frame.a < low)


def _count(rnd: random.Random, statement: Statement) -> None:
    size = rnd.randint(1, 40)
    slide = rnd.choice([size, rnd.randint(1, size)])
    column = rnd.choice([None, "a"])
    if statement.source != "m" and rnd.random() < 0.5:
        statement.clause = f"GROUP BY COUNT(a, {size})"
        statement.label = None
        statement.windows = model.counts(size, size, drops_tail=True, column="a")
        return
    more = f", {column}" if column else ""
    statement.clause = f"COUNT_WINDOW({size}, {slide}{more})"
    statement.windows = model.counts(size, slide, drops_tail=False, column=column)


def _range(rnd: random.Random, statement: Statement) -> None:
    low = START_MS + rnd.randrange(40) * 1801 * S
    width = rnd.choice([60, 1800, 3600, 7201]) * S
    step = rnd.choice([width, width // 2 // S * S, width * 2])
    high = low + rnd.randint(2, 30) * width // 2
    right = rnd.random() < 0.4
    brackets = ("(", "]") if right else ("[", ")")
    statement.clause = (
        f"GROUP BY ({brackets[0]}{low}, {high}{brackets[1]}, {width // S}s, {step // S}s)"
    )
    statement.label = None
    statement.having = rnd.choice([None, None, 1])
    statement.windows = model.ranges(low, high, width, step, right=right)


def _variation(rnd: random.Random, statement: Statement) -> None:
    delta = rnd.choice([0, 2, 4])
    statement.clause = f"GROUP BY VARIATION(n, {delta})"
    statement.label = None
    statement.windows = model.variations("n", delta)


def _condition(rnd: random.Random, statement: Statement) -> None:
    least = rnd.randint(1, 4)
    statement.clause = f"GROUP BY CONDITION(a > 0, KEEP>={least})"
    statement.label = None
    statement.windows = model.conditions(lambda frame: frame.a > 0, "a", least)


# Comparison


def same(left: list[Cell], right: list[Cell]) -> bool:
    return len(left) == len(right) and all(map(_same, left, right))


def _same(left: Cell, right: Cell) -> bool:
    if left is None or right is None or isinstance(left, str) or isinstance(right, str):
        return bool(left == right)
    return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-6)


def check(plant: tuple[Session, Frame], seed: int) -> None:
    session, frame = plant
    statement = draw(seed)
    sql = statement.sql()
    result = session.execute(sql, time_zone=statement.zone)
    found = result.rows()
    expected = statement.expected(frame)
    order = len(statement.keys) + (statement.windows is not None)
    found.sort(key=lambda row: row[:order])
    expected.sort(key=lambda row: row[:order])
    assert len(found) == len(expected), sql
    for ours, theirs in zip(found, expected, strict=True):
        assert same(ours, theirs), f"{sql}\n{ours}\n{theirs}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_statement(plant: tuple[Session, Frame], seed: int) -> None:
    check(plant, seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", NIGHTLY_SEEDS)
def test_more_random_statements(plant: tuple[Session, Frame], seed: int) -> None:
    check(plant, seed)
