"""Random statements over odd rows answer what DuckDB answers over the same rows.

The rows lie in several parts and the head: late ones, overwritten ones, some with a few of the
columns, deletes, and rows that retention hides. The model is a dictionary of cells, put into a
table of DuckDB. Filters of values, groups of blocks, statistics of blocks and the short ways of one
device must not show.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.errors import EngineError
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

NS_PER_MS = 1_000_000
NOW_MS = 1_000_000_000
KEEP_MS = 900_000_000
FIRST_MS = NOW_MS - KEEP_MS
"""Where retention begins to hide rows."""
DEVICES = [f"root.main.d{number}" for number in range(4)]
TYPES = {
    "f": ("DOUBLE", pa.float64()),
    "s": ("FLOAT", pa.float32()),
    "i": ("BIGINT", pa.int64()),
    "u": ("UINT64", pa.uint64()),
    "n": ("SMALLINT", pa.int16()),
    "b": ("BOOLEAN", pa.bool_()),
    "t": ("TEXT", pa.string()),
}
ODD_FLOATS = [math.nan, -0.0, 0.0, math.inf, -math.inf, 5e-324, 2.0**53, 0.1 + 0.2, 1e22, 1e18, 0.5]
INT_MAX, UINT_MAX = 2**63 - 1, 2**64 - 1
ODD_INTS = [INT_MAX, -(2**63), 0, 2**53, 2**53 + 1, 10**18, 10**18 + 1, -1]
CONSTANTS = [
    "0", "-0.0", "0.5", "1e18", "1000000000000000000", "1000000000000000000.5", "'NaN'::DOUBLE",
    "'inf'::DOUBLE", "-'inf'::DOUBLE", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "18446744073709551615", "9007199254740993", "9007199254740992.0",
    "0.3", "0.30000000000000004", "32767", "32768", "-5", "20", "20.25", "20.1", "NULL", "1e22",
    "16777217", "true", "'20'", "'x'", "20::TINYINT", "(10 + 10)", "5e-324",
]  # fmt: skip
PARAMS = [
    0, -0.0, 0.5, 1e18, 10**18, math.nan, math.inf, INT_MAX, 2**53 + 1, 0.1, 20, 20.5, True, "20",
    None, -7, 32768,
]  # fmt: skip
SEEDS, STATEMENTS = 5, 50
RANGES = 40

Cells = dict[tuple[str, int], dict[str, Any]]


def odd_values(rng: np.random.Generator, count: int, name: str) -> list[Any]:
    """Walks near 20, sometimes of one value, with odd ones among them, and nulls."""
    level = int(rng.integers(-40, 60))
    share = float(rng.choice([0.0, 0.0, 0.01, 0.2]))
    if name == "t":
        found: list[Any] = rng.choice(np.array(["20", "x", ""], object), count).tolist()
    elif name == "b":
        found = (rng.random(count) < 0.5).tolist()
    elif name in "fs":
        found = np.round(rng.normal(level, 2, count), 2).tolist()
    else:
        found = np.clip(rng.integers(level - 3, level + 3, count), 0, None).tolist()
    odd: list[Any] = ODD_FLOATS if name in "fs" else ODD_INTS
    if name == "u":
        odd = [UINT_MAX, 0, 2**63, 2**53 + 1]
    if name == "n":
        odd = [32767, -32768, 0]
    for row in np.flatnonzero(rng.random(count) < share).tolist():
        found[row] = odd[int(rng.integers(len(odd)))] if name not in "bt" else found[row]
    if name == "s":
        found = np.array(found, np.float32).tolist()
    for row in np.flatnonzero(rng.random(count) < share).tolist():
        found[row] = None
    return found


class Plant:
    """An engine, and the same rows as a model."""

    def __init__(self, engine: Engine, rng: np.random.Generator) -> None:
        self.engine = engine
        self.cells: Cells = {}
        self.first_ms = dict.fromkeys(DEVICES, FIRST_MS)
        self._rng = rng

    def write(self, device: str, times: list[int], names: str) -> None:
        values = {name: odd_values(self._rng, len(times), name) for name in names}
        columns = {name: pa.array(values[name], TYPES[name][1]) for name in names}
        self.engine.write("m", device, np.array(times), columns).wait()
        for row, time in enumerate(times):
            cells = {name: values[name][row] for name in names if values[name][row] is not None}
            self.cells.setdefault((device, time), {}).update(cells)

    def delete(self, device: str, start: int, end: int) -> None:
        self.engine.delete("m", devices=device, start=start, end=end).ack.wait()
        for key in [k for k in self.cells if k[0] == device and start <= k[1] < end]:
            del self.cells[key]

    def visible(self) -> Cells:
        """Without the rows that retention hides."""
        return {key: row for key, row in self.cells.items() if key[1] >= self.first_ms[key[0]]}

    def table(self) -> pa.Table:
        """What is visible."""
        rows = sorted(self.visible().items(), key=lambda item: item[0])
        found = {
            "device": pa.array([device for (device, _), _ in rows], pa.string()),
            "time": pa.array([time for (_, time), _ in rows], pa.timestamp("ms")),
        }
        for name, (_, kind) in TYPES.items():
            found[name] = pa.array([cells.get(name) for _, cells in rows], kind)
        return pa.table(found)


def fill(plant: Plant, seed: int) -> None:
    rng = plant._rng
    names = "".join(TYPES)
    for _ in range(3):
        for number, device in enumerate(DEVICES):
            count = int(rng.choice([1, 40, 300]))
            begin = FIRST_MS + int(rng.integers(-20_000, 20_000))
            times = begin + np.arange(count) * 100
            if number % 2:
                times = np.unique(times + rng.integers(0, 90, count))
            plant.write(device, times.tolist(), names)
        plant.engine.flush()
        stored = sorted(plant.cells)
        device, time = stored[int(rng.integers(len(stored)))]
        plant.delete(device, time, time + int(rng.integers(1, 3_000)))
        if rng.random() < 0.7:
            # Late, over what is there, with some of the columns; in the head, or in a part.
            device, time = stored[int(rng.integers(len(stored)))]
            some = "".join(name for name in names if rng.random() < 0.5) or "i"
            plant.write(device, [time, time + 1, time + 200], some)
        if rng.random() < 0.5:
            plant.engine.flush()
    if seed % 3 == 0:
        plant.engine.compact()
    plant.engine.set_keep("m", KEEP_MS * NS_PER_MS)
    if seed % 2:
        # One device among others in a block keeps its rows for less long.
        plant.first_ms[DEVICES[2]] = FIRST_MS + 10_000
        plant.engine.set_ttl(DEVICES[2], (KEEP_MS - 10_000) * NS_PER_MS)


OPERATORS = ["=", "<>", "<", "<=", ">", ">=", "!="]


def comparison(rnd: random.Random, params: list[Any]) -> str:
    name = rnd.choice("fffssiiiuunnbt")

    def constant() -> str:
        if rnd.random() < 0.2:
            params.append(rnd.choice(PARAMS))
            return "?"
        return rnd.choice(CONSTANTS) if rnd.random() < 0.3 else str(rnd.randint(-45, 65))

    shape = rnd.random()
    if shape < 0.7:
        return f"{name} {rnd.choice(OPERATORS)} {constant()}"
    if shape < 0.8:
        return f"{constant()} {rnd.choice(OPERATORS)} {name}"
    if shape < 0.95:
        kind = rnd.choice(["BETWEEN", "BETWEEN", "NOT BETWEEN"])
        return f"{name} {kind} {constant()} AND {constant()}"
    return rnd.choice([f"{name} IS NULL", f"{name} IS NOT NULL", f"{name} = {name}",
                       f"{name} IS DISTINCT FROM 20"])  # fmt: skip


def _literal(time_ms: int) -> str:
    time = datetime.fromtimestamp(time_ms / 1000, UTC).replace(tzinfo=None)
    return f"TIMESTAMP '{time.isoformat(' ', 'milliseconds')}'"


def condition(rnd: random.Random, params: list[Any]) -> str:
    terms = []
    for _ in range(rnd.choice([1, 1, 2, 3])):
        kind = rnd.random()
        if kind < 0.75:
            term = comparison(rnd, params)
            if rnd.random() < 0.1:
                term = f"NOT ({term})"
            elif rnd.random() < 0.1:
                term = f"({term} OR {comparison(rnd, params)})"
        elif kind < 0.85:
            term = f"device = '{rnd.choice(DEVICES)}'"
        else:
            begin = FIRST_MS + rnd.randint(-5_000, 40_000)
            end = begin + rnd.randint(1, 30_000)
            term = f"time >= {_literal(begin)} AND time < {_literal(end)}"
        terms.append(term)
    return " AND ".join(terms)


AGGREGATES = [
    "count(*)", "count(f)", "min(f)", "max(f)", "sum(n)", "avg(i)", "min(i)", "max(i)", "min(u)",
    "max(u)", "sum(u)", "min(s)", "max(s)", "count(t)", "min(n)", "max(time)", "min(time)",
    "sum(f)",
]  # fmt: skip


def statement(rnd: random.Random) -> tuple[str, list[Any]]:
    params: list[Any] = []
    where = f" WHERE {condition(rnd, params)}" if rnd.random() < 0.9 else ""
    if rnd.random() < 0.15:
        return f"SELECT device, epoch_ms(time) AS ms, f, s, i, u, n, b, t FROM m{where}", params
    keys = rnd.choice(["", "", "device", "time_bucket(INTERVAL '5 seconds', time)",
                       "device, time_bucket(INTERVAL '2 seconds', time)"])  # fmt: skip
    wanted = ", ".join(rnd.sample(AGGREGATES, rnd.randint(1, 4)))
    if keys:
        return f"SELECT {keys}, {wanted} FROM m{where} GROUP BY {keys}", params
    return f"SELECT {wanted} FROM m{where}", params


def plain(value: Any) -> Any:
    """As it is compared: times without zones, NaN equal to itself, -0.0 to 0.0, sums nearly."""
    if hasattr(value, "isoformat"):
        return value.replace(tzinfo=None).isoformat()
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return float(value)
    if isinstance(value, int):
        return value
    if not isinstance(value, float):
        return float(value)  # a DECIMAL of a sum
    return "nan" if math.isnan(value) else value + 0.0


def ordered(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found = [tuple(plain(value) for value in row) for row in rows]
    return sorted(found, key=lambda row: [repr(value) for value in row if not _is_sum(value)])


def _is_sum(value: Any) -> bool:
    return isinstance(value, float) and not value.is_integer()


def near(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    for one, two in zip(left, right, strict=True):
        if one == two:
            continue
        if not isinstance(one, int | float) or not isinstance(two, int | float):
            return False
        if isinstance(one, int) and isinstance(two, int):
            return False
        if not math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-6):
            return False
    return True


def run_ours(session: Session, sql: str, params: list[Any]) -> list[tuple[Any, ...]] | str:
    try:
        table = session.execute(sql, tuple(params)).arrow()
    except EngineError as error:
        return f"refused: {error}"
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def run_theirs(database: Any, sql: str, params: list[Any]) -> list[tuple[Any, ...]] | str:
    try:
        return list(database.execute(sql, params).fetchall())
    except duckdb.Error as error:
        return f"refused: {error}"


def check(session: Session, database: Any, seed: int, statements: int) -> int:
    """How many statements DuckDB answered."""
    rnd = random.Random(seed)
    answered = 0
    for _ in range(statements):
        sql, params = statement(rnd)
        found, wanted = run_ours(session, sql, params), run_theirs(database, sql, params)
        said = f"{sql} {params}, seed {seed}"
        if isinstance(wanted, str):
            continue  # which rows a conversion fails for depends on what is read
        assert not isinstance(found, str), f"{said}: {found}"
        answered += 1
        ours, theirs = ordered(found), ordered(wanted)
        assert len(ours) == len(theirs), said
        for one, two in zip(ours, theirs, strict=True):
            assert near(one, two), f"{said}: {one} {two}"
    return answered


def check_devices(plant: Plant, seed: int) -> None:
    """The newest values of each device, and rows of single devices, with and without the other
    columns."""
    rnd = random.Random(seed)
    visible = plant.visible()
    for device in DEVICES:
        times = sorted(time for name, time in visible if name == device)
        newest: dict[str, Any] = {}
        for time in times:
            newest.update(visible[device, time])
        found = plant.engine.last_rows("m", devices=[device])
        wanted = [{**newest, "time": times[-1], "device": device}] if times else []
        assert [_cells(row) for row in found] == [_cells(row) for row in wanted], (device, seed)
    for _ in range(RANGES):
        device = rnd.choice(DEVICES)
        begin = FIRST_MS + rnd.randint(-5_000, 40_000)
        end = begin + rnd.choice([1, 100, 5_000, 60_000])
        rows = plant.engine.scan("m", devices=[device], start=begin, end=end).read_all()
        names = [name for name in rows.column_names if name in TYPES]
        times = rows["time"].cast("int64").to_pylist()
        expected = [
            (time, cells) for (name, time), cells in sorted(visible.items(), key=lambda i: i[0])
            if name == device and begin <= time < end
        ]  # fmt: skip
        assert times == [time for time, _ in expected], (device, begin, end, seed)
        for name in names:
            cells = [_cell(value) for value in rows[name].to_pylist()]
            assert cells == [_cell(row.get(name)) for _, row in expected], (device, name, seed)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> Any:
    """Told apart by NaN and the sign of zero."""
    return repr(value) if isinstance(value, float) else value


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_statements(seed: int, tmp_path: Path, executor: InProcessExecutor) -> None:
    options = EngineOptions(
        background=False,
        durability="os",
        block_rows=(64, 512)[seed % 3 == 1],
        clock=lambda: NOW_MS * NS_PER_MS,
    )
    with Engine.open(tmp_path, options) as engine, duckdb.connect() as database:
        session = Session(engine, executor)
        session.execute(
            "CREATE SCHEMA TEMPLATE m ("
            + ", ".join(f"{name} {kind}" for name, (kind, _) in TYPES.items())
            + ")"
        )
        plant = Plant(engine, np.random.default_rng(seed))
        fill(plant, seed)
        database.register("m", plant.table())
        check_devices(plant, seed)
        answered = check(session, database, seed, STATEMENTS)
        assert answered > STATEMENTS // 2
