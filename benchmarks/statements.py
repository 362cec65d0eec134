"""Small statements: what one costs beside DuckDB when its text or its parameters are new.

1. Fifty devices of ten measurements are written, flushed and compacted; DuckDB has the same rows in
   a table of its own. Both answer in this process.
2. Every statement is asked with other devices and times each time: with plans that are kept and
   bound, with each planned for its own values, and of DuckDB; one after the other, so that
   whatever else the machine does falls on all alike.
3. The figures are processor time of this process, in milliseconds: medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import Report, shown

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.plan_cache import PlanCache
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query

DEVICES, MEASUREMENTS, ROWS = 50, 10, 2_000
START_MS, STEP_MS, SPAN_MS = 1_700_000_000_000, 1_000, 600_000
CALLS, CALLS_QUICK, WARM = 200, 20, 5
_ONE = "WHERE device = {d}"
_SPAN = "time >= {s} AND time < {e}"
_NEWEST = ", ".join(f"arg_max(m{number}, time)" for number in range(MEASUREMENTS))
STATEMENTS = {
    "last values of a device": (
        f"SELECT LAST(m0), LAST(m1), LAST_ROW(m8) FROM fleet {_ONE}",
        f"SELECT arg_max(m0, time), arg_max(m1, time), arg_max(m8, time) FROM fleet {_ONE}",
    ),
    "last row of a path": (
        "SELECT LAST_ROW(m0) FROM {path}",
        f"SELECT arg_max(m0, time) FROM fleet {_ONE}",
    ),
    "newest values of all sensors of a path": (
        "SELECT LAST * FROM {path}",
        f"SELECT {_NEWEST} FROM fleet {_ONE}",
    ),
    "ten minutes of one sensor": (
        f"SELECT time, m3 FROM fleet {_ONE} AND {_SPAN} ORDER BY time",
        f"SELECT time, m3 FROM fleet {_ONE} AND {_SPAN} ORDER BY time",
    ),
    "1-minute means, time_bucket": (
        "SELECT time_bucket(INTERVAL '1 minute', time) AS w, avg(m0) FROM fleet"
        f" {_ONE} AND {_SPAN} GROUP BY w ORDER BY w",
        f"SELECT time // 60000 AS w, avg(m0) FROM fleet {_ONE} AND {_SPAN} GROUP BY w ORDER BY w",
    ),
    "1-minute means, INTERVAL": (
        f"SELECT _wstart, avg(m0) FROM fleet {_ONE} AND {_SPAN} INTERVAL(1m)",
        f"SELECT time // 60000 AS w, avg(m0) FROM fleet {_ONE} AND {_SPAN} GROUP BY w ORDER BY w",
    ),
    "group-by over all devices": (
        f"SELECT device, count(*), avg(m0), max(m1) FROM fleet WHERE {_SPAN} GROUP BY device",
        f"SELECT device, count(*), avg(m0), max(m1) FROM fleet WHERE {_SPAN} GROUP BY device",
    ),
    "newest 100 rows of a device": (
        f"SELECT time, m0, m8 FROM fleet {_ONE} ORDER BY time DESC LIMIT 100",
        f"SELECT time, m0, m8 FROM fleet {_ONE} ORDER BY time DESC LIMIT 100",
    ),
}
Ask = Callable[[str, list[Any]], Any]


class Anew(Session):
    """Plans every statement for its own values."""

    def _plan(self, query: Query, request: Request, sql: str | None = None) -> Plan:
        return super()._plan(query, request)


class Forgetful(PlanCache):
    """Keeps no plan."""

    def plan(self, *_: Any) -> None:
        return None


def path_of(device: int) -> str:
    return f"root.plant.d{device}"


def load(place: Path) -> tuple[Engine, Any]:
    """The same rows in both."""
    import duckdb
    import pyarrow as pa

    engine = Engine.open(place, EngineOptions(background=False))
    names = [f"m{number}" for number in range(MEASUREMENTS)]
    engine.sql(f"CREATE SCHEMA TEMPLATE fleet ({', '.join(f'{name} DOUBLE' for name in names)})")
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    rng = np.random.default_rng(1)
    times = START_MS + np.arange(ROWS) * STEP_MS
    tables = []
    for device in range(DEVICES):
        values = {name: pa.array(rng.random(ROWS)) for name in names}
        engine.write("fleet", path_of(device), times, values).wait()
        tables.append(pa.table({"device": [path_of(device)] * ROWS, "time": times, **values}))
    engine.flush()
    engine.compact()
    connection.register("rows", pa.concat_tables(tables))
    connection.execute("CREATE TABLE fleet AS FROM rows ORDER BY device, time")
    return engine, connection


def filled(shape: str, number: int, as_parameters: bool) -> tuple[str, list[Any]]:
    """Another device and another time for every ``number``."""
    device, start = path_of(number * 7 % DEVICES), START_MS + number * 37 % 1_000 * STEP_MS
    values = {"d": f"'{device}'", "s": start, "e": start + SPAN_MS, "path": device}
    if not as_parameters:
        return shape.format(**values), []
    params = [v for k, v in (("d", device), ("s", start), ("e", start + SPAN_MS))
              if "{" + k + "}" in shape]  # fmt: skip
    return shape.format(d="?", s="?", e="?", path=device), params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few calls")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    report = Report("statements", asked.quick)
    calls = CALLS_QUICK if asked.quick else CALLS
    with tempfile.TemporaryDirectory() as directory:
        engine, connection = load(Path(directory) / "data")
        executor = InProcessExecutor()
        bound = Session(engine, executor)
        anew = Anew(engine, executor, plans=Forgetful())
        for name, (ours, theirs) in STATEMENTS.items():
            for as_parameters in (False, True):
                asks: list[tuple[str, Ask]] = [
                    (ours, lambda sql, params: bound.execute(sql, params).arrow()),
                    (ours, lambda sql, params: anew.execute(sql, params).arrow()),
                    (theirs, lambda sql, params: connection.execute(sql, params).fetchall()),
                ]
                found = measure(asks, calls, as_parameters)
                kind = "parameters" if as_parameters else "literals"
                how = f"planned anew {shown(found[1])} ms, DuckDB {shown(found[2])} ms"
                report.add(f"{name}, {kind}", found[0], "ms", how)
        executor.close()
        engine.close()
    report.print(asked.json)


def measure(asks: list[tuple[str, Ask]], calls: int, as_parameters: bool) -> list[float]:
    """Milliseconds of each, the median of its calls."""
    taken: list[list[float]] = [[] for _ in asks]
    for number in range(-WARM, calls):
        for side, (shape, ask) in enumerate(asks):
            sql, params = filled(shape, number + WARM, as_parameters)
            started = time.process_time()
            ask(sql, params)
            if number >= 0:
                taken[side].append(time.process_time() - started)
    return [statistics.median(each) * 1e3 for each in taken]


if __name__ == "__main__":
    main()
