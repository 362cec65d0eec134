"""Windows that are joined from panes say what windows of rows say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.lowering import windows
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

from .conftest import open_engine

PANED = [
    "SELECT _wstart, _wend, _wduration, avg(f), count(*), sum(f) FROM m INTERVAL(1m)",
    "SELECT _wstart, count(f), min(n), max(n), avg(n) FROM m PARTITION BY device INTERVAL(30s)",
    "SELECT _wstart, loc, last(f), first(t), last(b) FROM m PARTITION BY loc INTERVAL(2m, 30s)",
    "SELECT _wstart, avg(f) FROM m INTERVAL(1m) SLIDING(20s)",
    "SELECT _wstart, tbname, max(f) FROM m PARTITION BY tbname INTERVAL(90s) SLIDING(30s)",
    "SELECT _wstart, avg(f) FROM m WHERE ts >= 61234 AND ts < 500001 INTERVAL(1m)",
    "SELECT _wstart, avg(f), last(f) FROM m WHERE ts >= 61234 AND ts < 500001"
    " PARTITION BY device INTERVAL(20s) FILL(PREV)",
    "SELECT _wstart, avg(f) FROM m WHERE ts >= 0 AND ts < 900000 INTERVAL(10s) FILL(LINEAR)",
    "SELECT _wstart, count(*), count(f) FROM m WHERE ts >= 0 AND ts < 900000 INTERVAL(10s)"
    " FILL(VALUE, 0, 0)",
    "SELECT _wstart, avg(f) FROM m WHERE f > 20 AND loc = 'a' INTERVAL(1m)",
    "SELECT _wstart, avg(f) FROM m WHERE f + 1 > 20 INTERVAL(1m)",
    "SELECT count(*), count(f), avg(f), first(n) FROM root.main.d0 GROUP BY ([0, 700000), 1m)",
    "SELECT avg(f), max(n) FROM root.main.d0 GROUP BY ([7000, 707000), 20s, 45s)",
    "SELECT avg(f), count(n) FROM root.main.d1 GROUP BY ([0, 700000), 50s, 10s) FILL(PREVIOUS)",
    "SELECT avg(f) FROM root.main.* GROUP BY ([0, 300000), 1m)",
    "SELECT avg(f) FROM root.main.* GROUP BY ([0, 300000), 1m) ALIGN BY DEVICE",
    "SELECT count(f) FROM root.** GROUP BY ([0, 300000), 1m)",
    "SELECT avg(f) AS a FROM root.main.d0 GROUP BY ([0, 700000), 1m) HAVING avg(f) > 19",
    "SELECT _wstart, avg(f) AS a, max(f) - min(f) AS r FROM m PARTITION BY device INTERVAL(1m)"
    " ORDER BY a DESC LIMIT 5",
    "SELECT _wstart, count(*) FROM m INTERVAL(1d)",
    "SELECT _wstart, avg(n) FROM m INTERVAL(1n)",
    "SELECT max(a) FROM (SELECT _wstart, avg(f) AS a FROM m INTERVAL(1m))",
    "SELECT _wstart, last(f), last_row(n) FROM m INTERVAL(1m)",
]
WHOLE_ROWS = [
    "SELECT _wstart, sum(n) FROM m INTERVAL(1m)",
    "SELECT _wstart, median(f) FROM m INTERVAL(1m)",
    "SELECT _wstart, avg(f + 1) FROM m INTERVAL(1m)",
    "SELECT _wstart, count(DISTINCT f) FROM m INTERVAL(1m)",
    "SELECT _wstart, twa(f) FROM m PARTITION BY device INTERVAL(1m)",
    "SELECT _wstart, avg(f) FROM m INTERVAL(700a)",
    "SELECT avg(f) FROM root.main.d0 GROUP BY ((0, 600000], 1m)",
    "SELECT avg(f) FROM root.main.d0 GROUP BY ([0, 600500), 1m)",
    "SELECT _wstart, avg(f) FROM m PARTITION BY n % 2 INTERVAL(1m)",
    "SELECT avg(f) AS a FROM (SELECT ts, f FROM m) INTERVAL(1m)",
    "SELECT _wstart, avg(f) FROM m PARTITION BY device SESSION(ts, 10s)",
]
REFUSED_PANES = {PANED[-1]}
"""LAST_ROW is not split: these come from rows too."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Gaps, late rows, nulls, a second template with a measurement of the same name."""
    with open_engine(tmp_path_factory.mktemp("panes")) as engine:
        engine.sql(
            "CREATE STABLE m (ts TIMESTAMP, f DOUBLE, n BIGINT, t TEXT, b BOOLEAN) TAGS (loc TEXT)"
        )
        engine.sql("CREATE STABLE o (ts TIMESTAMP, f DOUBLE)")
        tags: dict[str, list[Any]] = {"loc": ["a", "b", "a"]}
        engine.device_ids("m", [f"root.main.d{n}" for n in range(3)], tags=tags, create=True)
        engine.device_ids("o", ["root.other.p"], create=True)
        rng = np.random.default_rng(8)
        for device in ("d0", "d1", "d2"):
            times = np.unique(rng.integers(0, 800_000, 900))
            times = times[(times < 200_000) | (times > 330_000)]
            count = len(times)
            engine.write("m", f"root.main.{device}", times, {
                "f": (rng.normal(20, 5, count).round(2), rng.random(count) < 0.2),
                "n": (rng.integers(-1000, 1000, count), rng.random(count) < 0.3),
                "t": rng.choice(np.array(["p", "q"], object), count),
                "b": rng.random(count) < 0.5,
            }).wait()  # fmt: skip
        engine.flush()
        late = np.unique(rng.integers(0, 800_000, 60))
        engine.write("m", "root.main.d0", late, {"f": rng.normal(20, 5, len(late))}).wait()
        engine.write("o", "root.other.p", [1_000, 61_000], {"f": [1.5, 2.5]}).wait()
        yield engine


def plan(engine: Engine, sql: str, zone: str = "UTC") -> Plan:
    (statement,) = parse(sql)
    assert isinstance(statement, Query)
    request = Request("root.main", zone, parse_zone(zone), engine.options.clock(), ())
    return Planner(engine.catalog).plan(statement.tree, request)


def check(engine: Engine, monkeypatch: pytest.MonkeyPatch, sql: str, **options: Any) -> None:
    found = engine.sql(sql, **options).arrow()
    with monkeypatch.context() as patch:
        patch.setattr(windows, "read_panes", lambda *args: None)
        wanted = engine.sql(f"{sql} ", **options).arrow()
    assert found.schema == wanted.schema
    assert found.num_rows == wanted.num_rows > 0
    for at, name in enumerate(found.column_names):
        left, right = found.column(at).to_pylist(), wanted.column(at).to_pylist()
        if isinstance(next((x for x in right if x is not None), None), float):
            assert [x is None for x in left] == [x is None for x in right], name
            numbers = [[x for x in side if x is not None] for side in (left, right)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-12), name
        else:
            assert left == right, name


@pytest.mark.parametrize("sql", PANED)
def test_windows_of_panes(engine: Engine, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    check(engine, monkeypatch, sql)
    is_grouped = [source.partials is not None for source in plan(engine, sql).inputs]
    assert all(is_grouped) == (sql not in REFUSED_PANES and "f + 1" not in sql)


@pytest.mark.parametrize("sql", WHOLE_ROWS)
def test_windows_of_rows(engine: Engine, sql: str) -> None:
    assert engine.sql(sql).row_count > 0
    assert all(source.partials is None for source in plan(engine, sql).inputs)


def test_days_of_other_zones_are_windows_of_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT _wstart, count(*) FROM m INTERVAL(1d)"
    assert plan(engine, sql, "Europe/Berlin").inputs[0].partials is None
    check(engine, monkeypatch, sql, time_zone="Europe/Berlin")


@pytest.mark.parametrize("length", ["1d", "10s", "1n", "2d) SLIDING(1d", "1m"])
def test_the_first_window_that_there_is(tmp_path: Path, length: str) -> None:
    """It begins before the first time: rows of it are not those of the last window."""
    least_ms = -(2**63) // 10**6 + 1
    with open_engine(tmp_path / "data") as engine:
        engine.sql("CREATE STABLE m (ts TIMESTAMP, f DOUBLE)")
        engine.device_ids("m", ["root.main.d"], create=True)
        times = [least_ms + n for n in range(0, 3000, 10)] + [2**63 // 10**6 - 1]
        engine.write("m", "root.main.d", times, {"f": np.arange(301.0)}).wait()
        sql = f"SELECT _wstart, _wend, count(*), avg(f), max(f) FROM m INTERVAL({length})"
        of_rows = engine.sql(sql.replace("max(f)", "median(f)")).rows()
        for _ in range(2):
            found = engine.sql(sql).rows()
            assert [row[:4] for row in found] == [row[:4] for row in of_rows]
            assert {row[2] for row in found} == {300, 1}
            engine.flush()
