"""SQL beside DuckDB on its own tables: last values, ranges, windows, fills, decades from rollups.

1. A fleet is loaded by both (telemetry_stream.py); ours is compacted, DuckDB's sorted by device and
   time, as its performance guide asks. Then ten years of hourly and daily rollups (decade.py).
2. A process for each asks the same questions in turns, another device each time. Both are asked in
   SQL, in this process: ours plans, reads its parts, and has the executing database finish.
   Answers must be the same before any time is taken.
3. The median of the calls of a round is a round's figure, the median of the rounds the figure.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contests import Room, apart
from decade import (
    DAY_NS,
    HOUR_NS,
    START_NS,
    device_path,
    make_days,
    make_duckdb,
    make_hours,
    open_decade,
)
from loading import BATCH_ROWS, MIB, TABLE, create_table, device_ids, stored_bytes, write
from loading import device_path as fleet_path
from report import Report, shown
from telemetry import COUNTERS, START_MS, STEP_MS, sensor_names
from telemetry_stream import TelemetryStream

from mainstem_engine import Engine, EngineOptions

DEVICES, DEVICES_QUICK = 1_000, 50
POINTS, POINTS_QUICK = 20_000_000, 500_000
YEARS, YEARS_QUICK = 10, 2
DECADE_DEVICES, DECADE_DEVICES_QUICK = 1_000, 10
ROUNDS, ROUNDS_QUICK = 3, 1
CALLS, CALLS_OF_ALL = 50, 5
ONE_PARTITION_DAYS, WEEK_DAYS = 36_500, 7
"""Rows of many years are few, and are asked for together."""
SEED = 5
LIMIT_BYTES = 512 * MIB
OURS, DUCKDB = "Mainstem", "DuckDB"
BELOW_200 = "< 200 ms"


@dataclass(frozen=True, slots=True)
class Question:
    """``ours`` and ``theirs``: statements, in which ``{device}``, ``{start}`` and ``{end}`` (ms)
    stand for another device and range each time. ``goal``: a bound on our own figure."""

    name: str
    ours: str
    theirs: str
    of_all: bool = False
    goal: str | None = None


_RANGE = "time >= {start} AND time < {end}"
FLEET_QUESTIONS = (
    Question(
        "last values of one device",
        f"SELECT LAST(m0), LAST(m1), LAST_ROW(m8) FROM {TABLE} WHERE device = '{{device}}'",
        f"SELECT arg_max(m0, time), arg_max(m1, time), arg_max(m8, time) FROM {TABLE}"
        " WHERE device = {device}",
    ),
    Question(
        "last values of all devices",
        f"SELECT LAST(m0), LAST(m1), LAST_ROW(m8) FROM {TABLE} PARTITION BY device",
        f"SELECT arg_max(m0, time), arg_max(m1, time), arg_max(m8, time) FROM {TABLE}"
        " GROUP BY device",
        of_all=True,
    ),
    Question(
        "newest 100 rows of one device",
        f"SELECT time, m0, m8 FROM {TABLE} WHERE device = '{{device}}'"
        " ORDER BY time DESC LIMIT 100",
        f"SELECT time, m0, m8 FROM {TABLE} WHERE device = {{device}} ORDER BY time DESC LIMIT 100",
    ),
    Question(
        "ten minutes of one sensor",
        f"SELECT time, m3 FROM {TABLE} WHERE device = '{{device}}' AND {_RANGE} ORDER BY time",
        f"SELECT time, m3 FROM {TABLE} WHERE device = {{device}} AND {_RANGE} ORDER BY time",
    ),
    Question(
        "1-minute means of one device",
        f"SELECT _wstart, avg(m0) FROM {TABLE} WHERE device = '{{device}}' INTERVAL(1m)",
        f"SELECT time // 60000 * 60000 AS w, avg(m0) FROM {TABLE} WHERE device = {{device}}"
        " GROUP BY w ORDER BY w",
    ),
    Question(
        "10-second means of one device, filled",
        f"SELECT _wstart, avg(m0) FROM {TABLE} WHERE device = '{{device}}' AND {_RANGE}"
        " INTERVAL(10s) FILL(PREV)",
        "WITH found AS (SELECT time // 10000 * 10000 AS w, avg(m0) AS v"
        f" FROM {TABLE} WHERE device = {{device}} AND {_RANGE} GROUP BY w)"
        " SELECT w, last_value(v IGNORE NULLS) OVER (ORDER BY w) FROM"
        " (SELECT unnest(range({start}, {end}, 10000)) AS w) LEFT JOIN found USING (w) ORDER BY w",
    ),
    Question(
        "group-by over all devices",
        f"SELECT count(*), avg(m0), max(m1) FROM {TABLE} GROUP BY device",
        f"SELECT count(*), avg(m0), max(m1) FROM {TABLE} GROUP BY device",
        of_all=True,
    ),
    Question(
        "1-minute means of all devices",
        f"SELECT _wstart, avg(m0) FROM {TABLE} PARTITION BY device INTERVAL(1m)",
        f"SELECT time // 60000 * 60000 AS w, avg(m0) FROM {TABLE} GROUP BY device, w",
        of_all=True,
    ),
)

_OURS = "sum(power_sum) / sum(power_count), min(power_min), max(power_max)"
_THEIRS = "sum(s) / sum(n), min(low), max(high)"
_ONE = "WHERE device = '{device}'"
DECADE_QUESTIONS = (
    Question(
        "decade: hourly curve of one device",
        f"SELECT time, power_mean, power_min, power_max FROM plant_1h {_ONE} ORDER BY time",
        "SELECT time, s / n, low, high FROM hours WHERE device = {device} ORDER BY time",
        goal=BELOW_200,
    ),
    Question(
        "decade: daily curve of one device",
        f"SELECT date_trunc('day', time) AS day, {_OURS} FROM plant_1h {_ONE}"
        " GROUP BY day ORDER BY day",
        f"SELECT time, {_THEIRS} FROM days WHERE device = {{device}} GROUP BY time ORDER BY time",
        goal=BELOW_200,
    ),
    Question(
        "decade: daily curve of all devices",
        f"SELECT date_trunc('day', time) AS day, {_OURS} FROM plant_1h GROUP BY day ORDER BY day",
        f"SELECT time, {_THEIRS} FROM days GROUP BY time ORDER BY time",
        of_all=True, goal=BELOW_200,
    ),
    Question(
        "decade: yearly curve of one device",
        f"SELECT date_trunc('year', time) AS year, {_OURS} FROM plant_1h {_ONE}"
        " GROUP BY year ORDER BY year",
        f"SELECT date_trunc('year', time) AS year, {_THEIRS} FROM days WHERE device = {{device}}"
        " GROUP BY year ORDER BY year",
        goal=BELOW_200,
    ),
    Question(
        "decade: yearly curve of all devices",
        f"SELECT date_trunc('year', time) AS year, {_OURS} FROM plant_1h"
        " GROUP BY year ORDER BY year",
        f"SELECT date_trunc('year', time) AS year, {_THEIRS} FROM days GROUP BY year ORDER BY year",
        of_all=True, goal=BELOW_200,
    ),
)  # fmt: skip
"""Ours asks the hours: that days answer for them is for the engine to find."""


# What runs in processes of their own


class Opened:
    """What a process has open: a statement in, an Arrow table out."""

    ask: Callable[[str], Any]
    engine: Engine | None = None


def open_fleet(place: Path) -> None:
    _keep(Engine.open(place, EngineOptions(memory_limit_bytes=LIMIT_BYTES, background=False)))


def open_rollups(place: Path) -> None:
    _keep(open_decade(place))


def _keep(engine: Engine) -> None:
    Opened.engine = engine
    Opened.ask = lambda sql: engine.sql(sql).arrow()


def open_duckdb(place: Path) -> None:
    import duckdb

    connection = duckdb.connect(str(place), read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    Opened.ask = lambda sql: connection.sql(sql).to_arrow_table()


def ask(statements: Sequence[str]) -> list[float]:
    """Seconds of each, after one that warms up."""
    Opened.ask(statements[0])
    gc.collect()
    found = []
    for sql in statements:
        started = time.perf_counter()
        Opened.ask(sql)
        found.append(time.perf_counter() - started)
    return found


def answer(sql: str) -> list[Any]:
    """Columns as sorted numbers: both may order groups as they like."""
    return [numbers(column) for column in Opened.ask(sql).columns]


def numbers(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", tz=column.type.tz), safe=False).cast(pa.int64())
    return np.sort(np.array(column.to_pylist(), np.float64))


def explained(sql: str) -> list[str]:
    """How ours reads what a statement asks."""
    assert Opened.engine is not None
    lines = [str(line) for (line,) in Opened.engine.sql(f"EXPLAIN {sql}").rows()]
    return [line.strip() for line in lines if line.startswith("  from: ")]


def load_fleet(place: Path, devices: int, points: int) -> tuple[int, int]:
    """Ours: (points, bytes) once compacted."""
    with Engine.open(place, EngineOptions(memory_limit_bytes=LIMIT_BYTES)) as engine:
        create_table(engine)
        ids = device_ids(engine, devices)
        written = write(engine, ids, TelemetryStream(devices).batches(points, BATCH_ROWS))
        engine.flush()
        engine.compact()
    return written, stored_bytes(place)


def load_duckdb(path: Path, devices: int, points: int) -> int:
    """DuckDB: the same rows by device and time; bytes of its file."""
    import duckdb
    from peers.store import arrow_table

    columns = ", ".join(
        f"{name} {'BIGINT' if name in COUNTERS else 'DOUBLE'}" for name in sensor_names()
    )
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TEMP TABLE loaded (device UINTEGER, time BIGINT, {columns})")
        for batch in TelemetryStream(devices).batches(points, BATCH_ROWS):
            connection.register("batch", arrow_table(batch))
            connection.execute("INSERT INTO loaded SELECT * FROM batch")
            connection.unregister("batch")
        connection.execute(f"CREATE TABLE {TABLE} AS FROM loaded ORDER BY device, time")
        connection.execute("CHECKPOINT")
    return path.stat().st_size


# The runs


class Contest:
    """Questions asked of both in turns."""

    def __init__(self, report: Report, rounds: int, quick: bool) -> None:
        self._report = report
        self._rounds = rounds
        self._quick = quick
        self.rows: list[tuple[str, float, float]] = []

    def run(
        self,
        questions: Sequence[Question],
        rooms: tuple[Room, Room],
        names: Callable[[int], str],
        devices: int,
        span_ms: tuple[int, int, int],
    ) -> None:
        """``span_ms``: oldest and newest time, and how long a range is."""
        rng = np.random.default_rng(SEED)
        for question in questions:
            self._agree(question, rooms, names, span_ms)
            found: tuple[list[float], list[float]] = ([], [])
            for _ in range(self._rounds):
                count = 3 if self._quick else CALLS_OF_ALL if question.of_all else CALLS
                chosen = rng.integers(0, devices, count).tolist()
                moments = rng.integers(span_ms[0], max(span_ms[0] + 1, span_ms[1]), count)
                starts = (moments // 10_000 * 10_000).tolist()
                for side, room in enumerate(rooms):
                    statements = [
                        _filled(question, side, names, device, start, span_ms[2])
                        for device, start in zip(chosen, starts, strict=True)
                    ]
                    found[side].append(float(np.median(room.run(ask, statements))) * 1e3)
            self._add(question, rooms[0], names, span_ms, *map(float, map(np.median, found)))

    def _agree(
        self, question: Question, rooms: tuple[Room, Room], names: Callable[[int], str],
        span_ms: tuple[int, int, int],
    ) -> None:  # fmt: skip
        """Raises SystemExit when the answers differ."""
        start = span_ms[0] // 10_000 * 10_000
        ours, theirs = (
            room.run(answer, _filled(question, side, names, 3, start, span_ms[2]))
            for side, room in enumerate(rooms)
        )
        same = len(ours) == len(theirs) and all(
            len(a) == len(b) and np.allclose(a, b, rtol=1e-9, equal_nan=True)
            for a, b in zip(ours, theirs, strict=True)
        )
        if not same:
            shapes = [[len(column) for column in side] for side in (ours, theirs)]
            raise SystemExit(f"benchmark: {question.name}: {DUCKDB} differs: {shapes}")

    def _add(
        self, question: Question, room: Room, names: Callable[[int], str],
        span_ms: tuple[int, int, int], ours: float, theirs: float,
    ) -> None:  # fmt: skip
        sql = _filled(question, 0, names, 3, span_ms[0] // 10_000 * 10_000, span_ms[2])
        read = "; ".join(room.run(explained, sql))
        how = f"{DUCKDB} {shown(theirs)} ms, {theirs / ours:.2f} times ours; {read}"
        self._report.add(question.name, ours, "ms", how, question.goal)
        self.rows.append((question.name, ours, theirs))


def _filled(
    question: Question, side: int, names: Callable[[int], str], device: int, start: int, span: int
) -> str:
    text = question.theirs if side else question.ours
    named = str(device) if side else names(device)
    return text.format(device=named, start=start, end=start + span)


def fleet(contest: Contest, report: Report, place: Path, quick: bool, points: int) -> None:
    """The first half."""
    devices = DEVICES_QUICK if quick else DEVICES
    written, size = apart(load_fleet, place / "fleet", devices, points)
    theirs = apart(load_duckdb, place / "fleet.duckdb", devices, points)
    how = f"{written:,} points of {devices:,} devices; {DUCKDB} {theirs / written:.3g}"
    report.add("fleet: size", size / written, "bytes/point", how)
    seconds = written // (devices * len(sensor_names())) * STEP_MS
    span = min(600_000, seconds // 20_000 * 10_000)
    with Room() as ours, Room() as other:
        ours.run(open_fleet, place / "fleet")
        other.run(open_duckdb, place / "fleet.duckdb")
        bounds = (START_MS, START_MS + seconds - span - 10_000, span)
        contest.run(FLEET_QUESTIONS, (ours, other), fleet_path, devices, bounds)


def decades(contest: Contest, report: Report, place: Path, quick: bool) -> None:
    """The second half."""
    devices = DECADE_DEVICES_QUICK if quick else DECADE_DEVICES
    years = YEARS_QUICK if quick else YEARS
    started = time.perf_counter()
    hours = apart(make_hours, place / "decade", devices, years, ONE_PARTITION_DAYS)
    seconds = time.perf_counter() - started
    report.add("decade: rows made", hours / seconds / 1e6, "M rows/s",
               f"{hours:,} hourly rows of 9 columns, durable and compacted")  # fmt: skip
    days, seconds = apart(make_days, place / "decade")
    report.add("decade: a new daily rollup of the hours", hours / seconds / 1e6, "M rows/s",
               f"of one processor: {seconds:.1f} s for {days:,} daily rows, durable")  # fmt: skip
    weeks = place / "weeks"
    some = apart(make_hours, weeks, devices, 1, WEEK_DAYS)
    _, seconds = apart(make_days, weeks)
    report.add("the same where partitions are weeks", some / seconds / 1e6, "M rows/s",
               f"of one processor: {seconds:.1f} s, one year")  # fmt: skip
    report.add("decade: size", stored_bytes(place / "decade") / (hours + days), "bytes/row",
               "all 9 columns")  # fmt: skip
    apart(make_duckdb, place / "decade.duckdb", devices, years)
    with Room() as ours, Room() as other:
        ours.run(open_rollups, place / "decade")
        other.run(open_duckdb, place / "decade.duckdb")
        first = START_NS // 1_000_000
        bounds = (first, first + years * 365 * (DAY_NS // 1_000_000), HOUR_NS // 1_000_000)
        contest.run(DECADE_QUESTIONS, (ours, other), device_path, devices, bounds)


def print_markdown(rows: Sequence[tuple[str, float, float]]) -> None:
    """The table for the documentation."""
    print(f"| | {OURS} | {DUCKDB} | times |\n|---|---|---|---|")
    for name, ours, theirs in rows:
        print(f"| {name} | {shown(ours)} ms | {shown(theirs)} ms | {theirs / ours:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points, devices and years")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the table for the documentation")
    parser.add_argument("--points", type=int, default=0, help="of the fleet (default 20 million)")
    parser.add_argument("--rounds", type=int, default=0, help="of each line (default 3)")
    parser.add_argument("--only", choices=("fleet", "decade"), help="one half")
    arguments = parser.parse_args()
    quick = bool(arguments.quick)
    report = Report("sql", quick)
    contest = Contest(report, arguments.rounds or (ROUNDS_QUICK if quick else ROUNDS), quick)
    with tempfile.TemporaryDirectory(prefix="mainstem-sql-bench-") as scratch:
        place = Path(scratch)
        if arguments.only != "decade":
            points = arguments.points or (POINTS_QUICK if quick else POINTS)
            fleet(contest, report, place, quick, points)
        if arguments.only != "fleet":
            decades(contest, report, place, quick)
    report.extra = {
        "questions": [{"name": n, "ours_ms": a, "duckdb_ms": b} for n, a, b in contest.rows]
    }
    if arguments.markdown:
        print_markdown(contest.rows)
    else:
        report.print(arguments.json)


if __name__ == "__main__":
    main()
