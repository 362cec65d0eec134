"""Aggregate push-down: which statements read groups, and that none of them shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine
from mainstem_engine.part.reader import Part
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.running.inputs import open_input
from mainstem_engine.sql.running.sandbox import Program
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

from .conftest import open_engine


class Bench:
    """Runs one query from groups and from rows."""

    def __init__(self, engine: Engine, executor: InProcessExecutor) -> None:
        self.engine = engine
        self.session = Session(engine, executor)
        self._executor = executor

    def plan(self, sql: str, *params: Any, zone: str = "UTC", narrows: bool = True) -> Plan:
        (statement,) = parse(sql)
        assert isinstance(statement, Query)
        now_ns = self.engine.options.clock()
        request = Request("root.main", zone, parse_zone(zone), now_ns, params)
        return Planner(self.engine.catalog, narrows=narrows).plan(statement.tree, request)

    def rows(self, plan: Plan) -> Any:
        inputs = {source.name: source for source in plan.inputs}
        program = Program(
            plan.sql, plan.params, plan.time_zone, tuple(inputs), False, self._executor.limits
        )
        return self._executor.execute(
            program, lambda name: open_input(self.engine, inputs[name], plan.precision_ns)
        )

    def check(self, sql: str, *params: Any, zone: str = "UTC", pushed: bool = True) -> None:
        """Groups are read as expected, and the answer is that of rows."""
        plan = self.plan(sql, *params, zone=zone)
        assert all((source.partials is not None) == pushed for source in plan.inputs), sql
        found = self.rows(plan)
        wanted = self.rows(self.plan(sql, *params, zone=zone, narrows=False))
        assert found.schema == wanted.schema, sql
        assert_close(found.to_pylist(), wanted.to_pylist(), sql)


def assert_close(found: list[Any], wanted: list[Any], sql: str) -> None:
    if "ORDER BY" not in sql:
        found, wanted = (
            sorted(rows, key=lambda r: repr(list(r.values())[:2])) for rows in (found, wanted)
        )
    assert len(found) == len(wanted), sql
    for row, want in zip(found, wanted, strict=True):
        for name, value in want.items():
            if isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-12, abs=1e-9, nan_ok=True), sql
            else:
                assert row[name] == value, (sql, name)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, executor: InProcessExecutor) -> Iterator[Bench]:
    """Four devices: two with many blocks, one with few rows, one without any."""
    with open_engine(tmp_path_factory.mktemp("aggregation")) as engine:
        session = Session(engine, executor)
        session.execute(
            "CREATE STABLE m (ts TIMESTAMP, f DOUBLE, s FLOAT, i BIGINT, u UINT8, b BOOLEAN,"
            " t TEXT, x TIMESTAMP) TAGS (loc TEXT, n INT)"
        )
        paths = [f"root.main.d{number}" for number in range(4)]
        tags: dict[str, list[Any]] = {"loc": ["a", "b", "a", None], "n": [1, 2, 3, 4]}
        ids = engine.device_ids("m", paths, tags=tags, create=True)
        rng = np.random.default_rng(1)
        for device, count, first in ((0, 9000, 0), (1, 9000, -3000), (2, 50, 100)):
            times = (first + np.arange(count, dtype=np.int64)) * 500
            engine.write("m", np.full(count, ids[device]), times, columns(rng, count)).wait()
            engine.flush()
        late = np.sort(rng.integers(0, 9000, 40)) * 500
        engine.write("m", np.full(40, ids[0]), late, {"f": rng.normal(size=40)}).wait()
        yield Bench(engine, executor)


def columns(rng: np.random.Generator, count: int) -> dict[str, Any]:
    f = np.round(rng.normal(20, 5, count), 2)
    f[rng.random(count) < 0.0005] = np.nan
    return {
        "f": (f, rng.random(count) < 0.01),
        "s": rng.normal(size=count).astype(np.float32),
        "i": rng.integers(-(2**62), 2**62, count),
        "u": rng.integers(0, 256, count).astype(np.uint8),
        "b": rng.random(count) < 0.5,
        "t": rng.choice(np.array(["p", "q"], object), count),
        "x": rng.integers(0, 10**9, count),
    }


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM m",
        "SELECT count(*), count(f), count(ts), count(t), count(x) FROM m",
        "SELECT min(f), max(f), sum(f), avg(f) FROM m",
        "SELECT min(s), max(s), sum(s), avg(s) FROM m",
        "SELECT min(i), max(i), sum(i), avg(i) FROM m",
        "SELECT min(u), max(u), sum(u), avg(u), max(u) - min(u) FROM m",
        "SELECT first(f), last(f), first(i), last(i), last(b), first(t) FROM m",
        "SELECT min(ts), max(time), spread(i) FROM m",
        "SELECT device, avg(f) AS mean FROM m GROUP BY device ORDER BY mean DESC LIMIT 2",
        "SELECT loc, count(*), avg(i) FROM m GROUP BY loc",
        "SELECT loc, count(*) FROM m GROUP BY ROLLUP (loc)",
        "SELECT loc, n % 2 AS odd, max(u) FROM m GROUP BY ALL ORDER BY 1, 2",
        "SELECT tbname, last(f) FROM m GROUP BY tbname HAVING count(*) > 100",
        "SELECT time_bucket(INTERVAL '1 minute', ts) AS w, avg(f) FROM m GROUP BY w ORDER BY w",
        "SELECT device, time_bucket(INTERVAL '30 seconds', ts), sum(u) FROM m GROUP BY 1, 2",
        "SELECT date_trunc('hour', ts) AS h, count(*) FROM m GROUP BY h",
        "SELECT date_trunc('minute', ts) AS p, time_bucket(INTERVAL '90 seconds', ts) AS q,"
        " max(i) FROM m GROUP BY p, q",
        "SELECT count(*) FROM m WHERE ts >= 1000 AND ts < 100000",
        "SELECT avg(f), min(i) FROM m WHERE ts BETWEEN 777 AND 777777 AND loc = 'a'",
        "SELECT count(f), max(ts) FROM m WHERE device = 'root.main.d2'",
        "SELECT count(*), sum(i), last(f), max(ts) FROM m WHERE ts > 10000000",
        "SELECT device, count(*) FROM m WHERE ts > 10000000 GROUP BY device",
        "SELECT count(*), avg(u) FROM root.main.d0",
        "SELECT avg(f) * 2 + 1, round(max(s), 2) FROM d1 WHERE ts >= 0",
        "SELECT CASE WHEN count(*) > 5 THEN 'many' ELSE 'few' END AS c FROM m GROUP BY device",
        "SELECT time_bucket(INTERVAL '7 days', ts) AS w, count(*) FROM m GROUP BY w",
        "SELECT time_bucket(INTERVAL '1 month', ts) AS w, count(*) FROM m GROUP BY w",
        "SELECT time_bucket(INTERVAL '7 minutes', ts) AS w, count(*) FROM m GROUP BY w",
        "SELECT date_trunc('month', ts) AS w, count(*) FROM m GROUP BY w",
        "SELECT date_trunc('week', ts) AS w, year(ts), extract(quarter FROM ts), ts::DATE, sum(u)"
        " FROM m GROUP BY ALL",
        "SELECT (SELECT count(*) FROM m) AS c, (SELECT max(f) FROM m WHERE loc = 'a') AS d",
        "SELECT device, top FROM (SELECT device, max(f) AS top FROM m GROUP BY device)"
        " WHERE top > 0",
        "WITH a AS (SELECT device, avg(f) AS f FROM m GROUP BY device),"
        " b AS (SELECT device, avg(f) AS f FROM m WHERE ts > 100000 GROUP BY device)"
        " SELECT a.device, a.f - b.f AS d FROM a JOIN b USING (device)",
        "SELECT max(f) FROM m UNION ALL SELECT max(s) FROM m ORDER BY 1",
        "SELECT max_time(f), min_time(f), max_time(u) FROM m",
        "SELECT device, max_time(f) AS t, first(x) AS p, min_time(t) FROM m GROUP BY device",
        "SELECT count(f), last(u), avg(i) FROM root.main.*",
        "SELECT max(f) FILTER (WHERE device = 'root.main.d1'), count(*) FILTER (WHERE"
        " device = 'root.main.d0') AS n, avg(u) FROM m",
    ],
)
def test_groups_answer(bench: Bench, sql: str) -> None:
    bench.check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT f FROM m",
        "SELECT DISTINCT loc FROM m",
        "SELECT count(DISTINCT f) FROM m",
        "SELECT avg(f) FROM m WHERE s > 0.5",
        "SELECT avg(f) FROM m WHERE i > 1.5",
        "SELECT avg(f) FROM m WHERE u < 300",
        "SELECT avg(f) FROM m WHERE f > u",
        "SELECT avg(f) FROM m WHERE NOT f > 1",
        "SELECT avg(f) FROM m WHERE f > 'NaN'",
        "SELECT avg(f) FROM m WHERE f IS NOT NULL",
        "SELECT avg(f) FROM m WHERE f IN (1, 2)",
        "SELECT avg(f) FROM m WHERE f > 1 OR u > 3",
        "SELECT avg(f) FROM m WHERE f > 1 AND f + 1 < 9",
        "SELECT avg(f) FROM m WHERE ts > 1 OR ts < 0",
        "SELECT avg(f + 1) FROM m",
        "SELECT median(f) FROM m",
        "SELECT sum(u) FILTER (WHERE f > 1) FROM m",
        "SELECT f, count(*) FROM m GROUP BY f",
        "SELECT ts, count(*) FROM m GROUP BY ts",
        "SELECT max(b) FROM m",
        "SELECT max(t) FROM m",
        "SELECT min(x) FROM m",
        "SELECT arg_max(f, i) FROM m",
        "SELECT time_bucket(INTERVAL '7 seconds', ts) AS w, count(*) FROM m GROUP BY w",
        "SELECT count(*) FROM m AS a (p, q)",
        "SELECT arg_max_null(f, ts), max(u) FROM m",
        "SELECT max(ts) FILTER (WHERE f > 1) FROM m",
        "SELECT hour(ts) AS h, count(*) FROM m GROUP BY h",
        "SELECT a.n, count(*) FROM m a JOIN m b ON a.ts = b.ts AND a.n = b.n GROUP BY a.n",
        "SELECT (SELECT count(*) FROM m WHERE f > a.f) AS c, a.f FROM m a LIMIT 3",
        "SELECT max(f) OVER () FROM m LIMIT 1",
    ],
)
def test_others_read_rows(bench: Bench, sql: str) -> None:
    bench.check(sql, pushed=False)


FILTERS = (
    "f > 20", "f >= 20", "f < 20.25", "f <= 20.25", "f = 20.25", "f <> 20.25", "20 < f",
    "f > 1000", "f > -1000", "f < 1000", "f <> 1000", "f BETWEEN 18 AND 22",
    "f NOT BETWEEN 18 AND 22", "u >= 0", "u > 250", "u < 1", "u = 7", "u <> 7",
    "u BETWEEN 3 AND 200", "i > 0",
    "i > 4611686018427387000", "i <> -5", "s > 0", "s <= -1", "f > -2.5 AND u < 128 AND s >= 0",
)  # fmt: skip


@pytest.mark.parametrize("condition", FILTERS)
def test_filtered_groups_answer(bench: Bench, condition: str) -> None:
    pushed = "NOT" not in condition
    bench.check(
        "SELECT device, count(*), count(f), avg(f), max(f), min(u), sum(i), last(u), min(ts)"
        f", max(ts) FROM m WHERE {condition} GROUP BY device",
        pushed=pushed,
    )
    bench.check(
        "SELECT time_bucket(INTERVAL '1 minute', ts) AS w, avg(f), max(u) FROM m"
        f" WHERE {condition} AND ts >= 61250 AND ts < 2000000 GROUP BY w",
        pushed=pushed,
    )
    bench.check(f"SELECT count(*), sum(i), first(f) FROM m WHERE {condition}", pushed=pushed)


@pytest.mark.parametrize("value", [5, 20.25, -0.0, 2**40])
def test_filters_by_parameters(bench: Bench, value: float) -> None:
    bench.check("SELECT count(*), avg(u) FROM m WHERE f > ? AND ts > ?", value, 5)


@pytest.mark.parametrize("value", ["20", None, 2**60, math.nan, math.inf])
def test_parameters_that_are_no_plain_numbers(bench: Bench, value: Any) -> None:
    bench.check("SELECT count(*), avg(u) FROM m WHERE f > ?", value, pushed=False)


def test_hours_of_other_zones_read_rows(bench: Bench) -> None:
    sql = "SELECT date_trunc('hour', ts) AS h, count(*) FROM m GROUP BY h"
    bench.check(sql, zone="Asia/Kolkata", pushed=False)
    bench.check(sql.replace("hour", "second"), zone="Asia/Kolkata")


def test_days_of_other_zones(bench: Bench) -> None:
    for unit in ("hour", "day", "month"):
        sql = f"SELECT date_trunc('{unit}', ts) AS w, count(*) FROM m WHERE ts > {{}} GROUP BY w"
        bench.check(sql.format("'1973-01-01'"), zone="Asia/Kolkata")
        bench.check(sql.format("'1971-01-01'"), zone="Asia/Kolkata", pushed=False)


def test_parameters(bench: Bench) -> None:
    bench.check("SELECT count(*), max(i) > ? AS more FROM m WHERE ts >= ? AND loc = ?", 5, 100, "a")


def test_units_and_headings_stay(bench: Bench) -> None:
    result = bench.session.execute("SELECT count(*), avg(f) FROM m")
    assert [column["name"] for column in result.columns] == ["count(*)", "avg(f)"]


def test_explain_says_what_is_read(bench: Bench) -> None:
    def lines(sql: str) -> list[str]:
        return [row[0] for row in bench.session.execute(f"EXPLAIN {sql}").rows()]

    said = lines("SELECT avg(u) FROM m WHERE device = 'root.main.d1'")
    assert said[0].startswith("aggregate m")
    assert any(line.startswith("  from: statistics, ") and "0 blocks read" in line for line in said)
    said = lines("SELECT avg(i) FROM m WHERE f + 1 > 1")
    assert any(line.startswith("  from: scan, 4 parts, ") for line in said), said
    said = lines("SELECT max(u) FROM m WHERE u >= 0 AND device = 'root.main.d1'")
    assert "  rows with: u >= 0" in said
    assert any(line.startswith("  from: statistics, ") and "0 blocks read" in line for line in said)
    said = lines("SELECT max(u) FROM m WHERE i > 4611686018427387904 AND device = 'root.main.d1'")
    assert any("0 of 0 blocks" in line for line in said)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    functions=st.lists(
        st.sampled_from(
            ["count(*)", "count(f)", "min(f)", "max(f)", "avg(f)", "sum(i)", "avg(i)", "last(s)",
             "first(f)", "max(ts)", "min(u)"]
        ),
        min_size=1, max_size=4, unique=True,
    ),
    keys=st.lists(
        st.sampled_from(
            ["device", "loc", "n", "tbname", "time_bucket(INTERVAL '1 minute', ts)",
             "date_trunc('second', ts)"]
        ),
        max_size=2, unique=True,
    ),
    where=st.sampled_from(
        ["", "WHERE ts >= 60000", "WHERE ts > 1234567 AND ts <= 2345678", "WHERE loc = 'a'",
         "WHERE n IN (1, 3) AND ts < 1000000", "WHERE f > 20 AND ts < 1000000", "WHERE u >= 0",
         "WHERE u = 3 AND loc = 'a'", "WHERE f BETWEEN 19 AND 20.5 AND i <> 0"]
    ),
)  # fmt: skip
def test_groups_say_what_rows_say(
    bench: Bench, functions: list[str], keys: list[str], where: str
) -> None:
    items = [f"{key} AS k{number}" for number, key in enumerate(keys)]
    items += [f"{function} AS v{number}" for number, function in enumerate(functions)]
    group = f" GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}" if keys else ""
    bench.check(f"SELECT {', '.join(items)} FROM m {where}{group}")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT u, f FROM m WHERE i > 4611686018427387000",
        "SELECT count(*) AS n, median(i) FROM m WHERE f > 38.5",
        "SELECT loc, median(f) FROM m WHERE f BETWEEN -1 AND 0.5 AND ts > 0 GROUP BY loc",
        "SELECT f FROM m WHERE s = 0.5 OR f > 40",
        "SELECT f, i FROM m WHERE f <= -1",
        "SELECT f FROM d0 WHERE f > 1000 ORDER BY ts",
        "SELECT b.f FROM m a LEFT JOIN m b ON a.ts = b.ts AND a.n = b.n WHERE b.f > 39",
    ],
)
def test_values_narrow_what_is_read(bench: Bench, sql: str) -> None:
    bench.check(sql, pushed=False)


def test_blocks_without_such_values_are_not_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan("SELECT u FROM m WHERE device = 'root.main.d1' AND u > ? AND f > 5", 300)
    assert dict(plan.inputs[0].ranges)["u"][0] == pytest.approx(300)
    assert dict(plan.inputs[0].ranges)["f"][0] == pytest.approx(5)
    monkeypatch.setattr(Part, "read", lambda *args, **kwargs: pytest.fail("a block was read"))
    assert bench.rows(plan).num_rows == 0
