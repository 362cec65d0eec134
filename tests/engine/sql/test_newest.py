"""LAST and LAST_ROW in every spelling: answered by the newest values, equal to those of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

from .conftest import open_engine

FORMS = [
    "SELECT last(f) FROM m",
    "SELECT last(f), last(n), last(t), last(b), last(x) FROM m",
    "SELECT last_row(f), last_row(n), last_row(t) FROM m",
    "SELECT device, last(f), last_row(f), max(ts) FROM m GROUP BY device ORDER BY device",
    "SELECT last(f) AS l, last_row(n) AS r, tbname FROM m GROUP BY tbname ORDER BY tbname",
    "SELECT loc, last(f), max_time(f), last_row(x) FROM m GROUP BY loc ORDER BY loc",
    "SELECT device, last(f) FROM m WHERE ts >= 70000 GROUP BY device ORDER BY device",
    "SELECT last(f), last_row(f) FROM m WHERE ts > 99000",
    "SELECT last(f) FROM m WHERE ts > 10000000",
    "SELECT last(f) - 1 AS less FROM root.main.d0",
    "SELECT last_row(f), last(n) FROM d1 WHERE ts > 5",
    "SELECT last(f), last_row(f) FROM m WHERE loc = 'a' AND device LIKE '%0'",
    "SELECT device, last(f) AS l FROM m GROUP BY device HAVING last(f) > 0 ORDER BY l LIMIT 2",
    "SELECT last_value(n) FROM m WHERE device IN ('root.main.d1', 'root.main.nothing')",
    "SELECT last(n) FROM m WHERE device = 'root.main.d3'",
    "SELECT LAST f FROM root.main.**",
    "SELECT LAST f, n, t, x FROM root.** ORDER BY TIMESERIES DESC",
    "SELECT LAST * FROM root.main.d0",
    "SELECT LAST f FROM root.main.** WHERE time > 70000 ORDER BY TIME",
    "SELECT LAST f, w FROM root.**",
    "SELECT last(f) FROM root.main.*",
    "SELECT last(f), last_row(n) FROM root.main.* ALIGN BY DEVICE",
    "SELECT last_row(w) FROM root.other.*",
    "WITH a AS (SELECT device, last(f) AS f FROM m GROUP BY device) SELECT max(f) FROM a",
]


def plan(engine: Engine, sql: str, *, narrows: bool = True) -> Plan:
    (statement,) = parse(sql)
    assert isinstance(statement, Query)
    request = Request("root.main", "UTC", parse_zone("UTC"), engine.options.clock(), ())
    return Planner(engine.catalog, narrows=narrows).plan(statement.tree, request)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Late rows, nulls in newest rows, a device without rows, rows in parts and in the head."""
    with open_engine(tmp_path_factory.mktemp("newest")) as engine:
        engine.sql(
            "CREATE STABLE m (ts TIMESTAMP, f DOUBLE, n BIGINT, t TEXT, b BOOLEAN, x TIMESTAMP)"
            " TAGS (loc TEXT)"
        )
        engine.sql("CREATE STABLE o (ts TIMESTAMP, w FLOAT, f DOUBLE)")
        tags: dict[str, list[Any]] = {"loc": ["a", "b", "a", "b"]}
        engine.device_ids("m", [f"root.main.d{n}" for n in range(4)], tags=tags, create=True)
        engine.device_ids("o", ["root.other.p"], create=True)
        rng = np.random.default_rng(2)
        for device, count in (("d0", 100), ("d1", 70), ("d2", 3)):
            times = np.arange(count) * 1_000
            engine.write("m", f"root.main.{device}", times, {
                "f": (rng.normal(size=count), rng.random(count) < 0.4),
                "n": (np.arange(count), np.arange(count) == count - 1),
                "t": np.array([f"t{k}" for k in range(count)], object),
                "b": rng.random(count) < 0.5,
                "x": times + 5,
            }).wait()  # fmt: skip
        engine.flush()
        engine.write("m", "root.main.d0", [99_500, 50], {"f": [None, 1.5], "n": [7, 8]}).wait()
        engine.write("o", "root.other.p", [5, 6], {"w": [1.5, None], "f": [2.5, 3.5]}).wait()
        yield engine


@pytest.mark.parametrize("sql", FORMS)
def test_newest_values_answer(engine: Engine, executor: InProcessExecutor, sql: str) -> None:
    planned = plan(engine, sql)
    assert all(source.partials is not None and source.partials.newest for source in planned.inputs)
    session = Session(engine, executor)
    found, wanted = (session._query(p, _call(session)).arrow() for p in
                     (planned, plan(engine, sql, narrows=False)))  # fmt: skip
    assert found.schema == wanted.schema
    assert found.to_pylist() == wanted.to_pylist()


def _call(session: Session) -> Any:
    from mainstem_engine.sql.session import _Call

    request = Request("root.main", "UTC", parse_zone("UTC"), 0, ())
    return _Call(request, session._executor.limits)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT last(f) FROM m WHERE ts < 5000",
        "SELECT last(f) FROM m WHERE f > 0",
        "SELECT last(f), count(*) FROM m",
        "SELECT max(ts) FROM m",
        "SELECT date_trunc('minute', ts) AS w, last(f) FROM m GROUP BY w",
        "SELECT LAST f FROM root.main.** WHERE time < 70000",
    ],
)
def test_others_do_not_ask_for_them(engine: Engine, executor: InProcessExecutor, sql: str) -> None:
    planned = plan(engine, sql)
    assert not any(s.partials is not None and s.partials.newest for s in planned.inputs)
    session = Session(engine, executor)
    found, wanted = (session._query(p, _call(session)).arrow() for p in
                     (planned, plan(engine, sql, narrows=False)))  # fmt: skip
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, wanted.to_pylist()))


def test_deletes_and_late_rows_show_at_once(tmp_path: Path) -> None:
    sql = "SELECT last(f), last_row(n) FROM e"
    with open_engine(tmp_path) as engine:
        engine.sql("CREATE STABLE e (ts TIMESTAMP, f DOUBLE, n INT) TAGS (k INT)")
        engine.sql("INSERT INTO e1 USING e TAGS (1) (ts, f, n) VALUES (200000, 5.5, 6)")
        assert engine.sql(sql).rows() == [[5.5, 6]]
        engine.sql("INSERT INTO e1(ts, f) VALUES (150000, 4.5)")
        assert engine.sql(sql).rows() == [[5.5, 6]]
        engine.sql("DELETE FROM e WHERE ts >= 150001")
        assert engine.sql(sql).rows() == [[4.5, None]]


def test_explain_names_them(engine: Engine) -> None:
    lines = [line for (line,) in engine.sql("EXPLAIN SELECT LAST f FROM root.main.**").rows()]
    assert "  from: newest values" in lines
