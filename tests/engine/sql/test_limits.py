"""LIMIT in order of time reads one end of it, and never shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.limits import ROWS_MAX
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.session import Session, _Call
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

PUSHED: list[tuple[str, tuple[Any, ...], tuple[int, bool]]] = [
    ("SELECT ts, v FROM m WHERE device = 'root.main.a' ORDER BY ts DESC LIMIT 5", (), (5, True)),
    ("SELECT v FROM root.main.a ORDER BY time LIMIT 7 OFFSET 3", (), (10, False)),
    ("SELECT * FROM root.main.b WHERE time < 100000 ORDER BY time DESC LIMIT 4", (), (4, True)),
    ("SELECT ts AS t, v * 2 AS w FROM m x WHERE n = 1 ORDER BY x.ts LIMIT ?", (6,), (6, False)),
    ("SELECT ts, abs(v) FROM m WHERE device = 'root.main.a' ORDER BY ts LIMIT 0", (), (0, False)),
    ("SELECT max(v) FROM (SELECT v FROM d1 ORDER BY time DESC LIMIT 9)", (), (9, True)),
]
WHOLE = [
    "SELECT ts, v FROM m WHERE device = 'root.main.a' ORDER BY ts, v LIMIT 5",
    "SELECT ts, v FROM m WHERE device = 'root.main.a' ORDER BY v LIMIT 5",
    "SELECT ts, v FROM m WHERE device = 'root.main.a' AND v > 3 ORDER BY ts LIMIT 5",
    "SELECT ts, v FROM m WHERE device = 'root.main.a' AND v + 1 > 3 ORDER BY ts LIMIT 5",
    "SELECT v AS time FROM root.main.a ORDER BY time LIMIT 5",
    "SELECT ts, row_number() OVER (ORDER BY ts) FROM d1 ORDER BY ts LIMIT 5",
    "SELECT DISTINCT ts FROM m ORDER BY ts LIMIT 5",
    "SELECT ts, count(*) FROM m GROUP BY ts ORDER BY ts LIMIT 5",
    f"SELECT ts, v FROM d1 ORDER BY ts LIMIT {ROWS_MAX + 1}",
    "SELECT ts, unnest([1, 2]) AS u FROM d1 ORDER BY ts LIMIT 5",
    "SELECT v FROM root.main.* ORDER BY time LIMIT 5",
    "SELECT a.ts FROM d1 a JOIN d1 b ON a.ts = b.ts ORDER BY a.ts LIMIT 5",
    "SELECT diff(v) FROM d1 ORDER BY time LIMIT 5",
    "SELECT ts FROM m AS a (x, y, z, ts) ORDER BY ts LIMIT 5",
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    options = EngineOptions(durability="os", background=False, block_rows=100, vnodes=1)
    with Engine.open(tmp_path_factory.mktemp("limits"), options) as engine:
        engine.sql("CREATE STABLE m (ts TIMESTAMP, v DOUBLE) TAGS (n INT)")
        paths = ["root.main.a", "root.main.b", "root.main.d1"]
        engine.device_ids("m", paths, tags={"n": [1, 2, 3]}, create=True)
        for number, path in enumerate(paths):
            times = np.arange(1_000) * 700 + number
            engine.write("m", path, times, {"v": np.sin(times)}).wait()
        engine.flush()
        engine.write("m", "root.main.a", [350, 900_000], {"v": [1.0, 2.0]}).wait()
        yield engine


def plan(engine: Engine, sql: str, params: tuple[Any, ...] = (), *, narrows: bool = True) -> Plan:
    (statement,) = parse(sql)
    assert isinstance(statement, Query)
    request = Request("root.main", "UTC", parse_zone("UTC"), 0, params)
    return Planner(engine.catalog, narrows=narrows).plan(statement.tree, request)


@pytest.mark.parametrize(("sql", "params", "edge"), PUSHED)
def test_one_end_is_read(
    engine: Engine, sql: str, params: tuple[Any, ...], edge: tuple[int, bool]
) -> None:
    planned = plan(engine, sql, params)
    assert [source.edge for source in planned.inputs] == [edge]
    session = Session(engine)
    call = _Call(
        Request("root.main", "UTC", parse_zone("UTC"), 0, params), session._executor.limits
    )
    wanted = session._query(plan(engine, sql, params, narrows=False), call).rows()
    assert engine.sql(sql, params).rows() == wanted
    session.close()


@pytest.mark.parametrize("sql", WHOLE)
def test_others_are_read_whole(engine: Engine, sql: str) -> None:
    assert all(source.edge is None for source in plan(engine, sql).inputs)


def test_explain_shows_how_few_blocks_it_takes(engine: Engine) -> None:
    sql = "EXPLAIN SELECT ts, v FROM m WHERE device = 'root.main.b' ORDER BY ts DESC LIMIT 5"
    lines = [line for (line,) in engine.sql(sql).rows()]
    assert "  rows: the newest 5" in lines
    assert any(line.startswith("  from: scan, 1 parts, 1 blocks") for line in lines)
