"""EXPLAIN names what is read; EXPLAIN ANALYZE counts it and says where the time went."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mainstem_engine import Engine, EngineOptions, RollupDefinition, Rollups
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.running.executors import InProcessExecutor, WorkerExecutor
from mainstem_engine.sql.running.explanation import Explanation
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

from .conftest import open_engine

MINUTE_NS = 60 * 10**9
ROWS = 6_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Two devices with blocks of 100 rows, rollups of a minute and of ten, one row in the head."""
    rollups = Rollups(
        [RollupDefinition("m", MINUTE_NS, "1m"), RollupDefinition("m", 10 * MINUTE_NS, "10m")]
    )
    options = EngineOptions(durability="os", background=False, block_rows=100, vnodes=1)
    path = tmp_path_factory.mktemp("explanation")
    with Engine.open(path, options, consumers=[rollups]) as engine:
        engine.sql("CREATE STABLE m (ts TIMESTAMP, f DOUBLE, n INT)")
        rollups.bind(engine)
        for device in ("root.main.a", "root.main.b"):
            times = np.arange(ROWS) * 1_000
            values = {"f": np.sin(times), "n": np.arange(ROWS)}
            engine.write("m", device, times, values).wait()
        engine.flush()
        rollups.run(10**15)
        rollups.run(10**15)
        engine.flush()
        yield engine


def reading(engine: Engine, sql: str) -> str:
    lines = [line for (line,) in engine.sql(f"EXPLAIN {sql}").rows()]
    (found,) = (line for line in lines if line.startswith("  from: "))
    return str(found).removeprefix("  from: ")


def test_scans_say_parts_blocks_and_bytes(engine: Engine) -> None:
    said = reading(engine, "SELECT f FROM m WHERE device = 'root.main.a' AND ts < 250000")
    assert (found := re.fullmatch(r"scan, 1 parts, 3 blocks, (\d+) bytes", said)), said
    more = reading(engine, "SELECT f, n FROM m WHERE device = 'root.main.a' AND ts < 250000")
    assert (wider := re.fullmatch(r"scan, 1 parts, 3 blocks, (\d+) bytes", more)), more
    assert int(wider[1]) > int(found[1]) > 3 * 100
    assert reading(engine, "SELECT n FROM m WHERE n >= 5900").startswith("scan, 1 parts, 2 blocks")
    assert reading(engine, "SELECT n FROM m WHERE ts < 0").startswith("scan, 0 parts, 0 blocks")


def test_aggregates_say_what_answers(engine: Engine) -> None:
    said = reading(engine, "SELECT max(f) FROM m")
    assert said == "statistics, 120 of 120 blocks (12000 rows) by statistics, 0 blocks read, " \
        "1 parts, 0 bytes"  # fmt: skip
    said = reading(engine, "SELECT _wstart, avg(f) FROM m INTERVAL(1m)")
    assert said.startswith("rollup m_1m (0 of ")
    assert said.endswith("and 0 blocks at its ends, 0 read")
    assert re.search(r"[1-9]\d* blocks read, 1 parts, [1-9]\d* bytes\)", said), said
    assert reading(engine, "SELECT LAST(f) FROM m") == "newest values"


def test_rows_in_memory_are_counted(tmp_path: Path) -> None:
    with open_engine(tmp_path) as engine:
        engine.sql("CREATE STABLE m (ts TIMESTAMP, f DOUBLE)")
        engine.write("m", "root.main.late", [5], {"f": [1.0]}).wait()
        assert reading(engine, "SELECT f FROM root.main.late") == (
            "scan, 0 parts, 0 blocks, 0 bytes, 1 rows in memory"
        )


def test_time_is_divided_into_stages(engine: Engine) -> None:
    (statement,) = parse("SELECT f FROM m")
    assert isinstance(statement, Query)
    request = Request("root.main", "UTC", parse_zone("UTC"), 0, ())
    plan = Planner(engine.catalog).plan(statement.tree, request)
    seconds = itertools.count()
    explanation = Explanation(engine, plan, lambda: float(next(seconds)))
    table = pa.table({"f": pa.array([1.0, 2.0])})
    read = explanation.watch("mainstem_0", lambda: table).read_all()
    assert read.num_rows == 2
    # One second each: opening, the batch, finding that there is no more.
    assert explanation.measured_lines(2, 0.5, 10.0) == [
        "read 2 rows of mainstem_0, 16 bytes, in 3000.0 ms",
        "plan 500.0 ms, read 3000.0 ms, run 7000.0 ms",
        "answer 2 rows in 10500.0 ms",
    ]


def test_analyze_counts_every_input(engine: Engine) -> None:
    sql = "SELECT a.f FROM m a JOIN m b ON a.ts = b.ts AND a.device = b.device WHERE a.n < 10"
    lines = [line for (line,) in engine.sql(f"EXPLAIN ANALYZE {sql} AND b.n < 20").rows()]
    assert sum(line.startswith("read ") for line in lines) == 2
    assert re.fullmatch(r"answer 20 rows in [0-9.]+ ms", lines[-1])


@pytest.mark.parametrize("is_worker", [False, True])
def test_walks_have_a_time_of_their_own(engine: Engine, is_worker: bool) -> None:
    executor = WorkerExecutor() if is_worker else InProcessExecutor()
    session = Session(engine, executor)
    try:
        lines = [
            line for (line,) in session.execute("EXPLAIN ANALYZE SELECT diff(f) FROM m").rows()
        ]
        plain = session.execute("EXPLAIN ANALYZE SELECT f FROM m WHERE n < 3").rows()
        table = session.execute("SELECT diff(f) FROM m LIMIT 1").arrow()
    finally:
        session.close()
    assert re.search(r"run [0-9.]+ ms, walks [0-9.]+ ms$", lines[-2]), lines
    assert not any("walks" in line for (line,) in plain)
    assert not table.schema.metadata
