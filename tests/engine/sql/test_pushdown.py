"""Push-down: what it leaves out, and that it never changes an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.planning.pushdown import like_pattern
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.running.inputs import open_input
from mainstem_engine.sql.running.sandbox import Program
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

from .conftest import open_engine
from .predicates import fill, predicates

MS = 1_000_000


class Bench:
    """Runs one query with and without push-down."""

    def __init__(self, engine: Engine, executor: InProcessExecutor) -> None:
        self.engine = engine
        self._executor = executor

    def plan(self, sql: str, *params: Any, zone: str = "UTC", narrows: bool = True) -> Plan:
        (statement,) = parse(sql)
        assert isinstance(statement, Query)
        now_ns = self.engine.options.clock()
        request = Request("root.main", zone, parse_zone(zone), now_ns, params)
        return Planner(self.engine.catalog, narrows=narrows).plan(statement.tree, request)

    def rows(self, plan: Plan) -> list[Any]:
        inputs = {source.name: source for source in plan.inputs}
        program = Program(
            plan.sql, plan.params, plan.time_zone, tuple(inputs), False, self._executor.limits
        )
        table = self._executor.execute(
            program, lambda name: open_input(self.engine, inputs[name], plan.precision_ns)
        )
        return sorted(map(repr, table.to_pylist()))

    def check(self, sql: str, *params: Any, zone: str = "UTC") -> list[Any]:
        """The rows, which are the same either way."""
        rows = self.rows(self.plan(sql, *params, zone=zone))
        assert rows == self.rows(self.plan(sql, *params, zone=zone, narrows=False)), sql
        return rows


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, executor: InProcessExecutor) -> Iterator[Bench]:
    """Six devices with odd names, tags that may be missing, and times around 1970."""
    with open_engine(tmp_path_factory.mktemp("pushdown")) as engine:
        session = Session(engine, executor)
        fill(session)
        yield Bench(engine, executor)


def scan(plan: Plan) -> tuple[int | None, int | None, int | None]:
    """(start, end, number of devices or None) of the only scan; times in ms."""
    (source,) = plan.inputs
    start, end = plan.range_ns
    devices = None if source.devices is None else len(source.devices)
    return (
        None if start is None else -(-start // MS),
        None if end is None else -(-end // MS),
        devices,
    )


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("ts >= 1000 AND ts < 2000", (1000, 2000, None)),
        ("time > 1000 AND 2000 >= time", (1001, 2001, None)),
        ("ts BETWEEN 1000 AND 2000", (1000, 2001, None)),
        ("ts IN (1000, 3000)", (1000, 3001, None)),
        ("(ts = 1000) AND (v > 1 OR v < 0)", (1000, 1001, None)),
        ("ts >= '1970-01-01T00:00:01Z'", (1000, None, None)),
        ("ts > now() - 1h", (1_792_537_300_001, None, None)),
        ("ts > now() - INTERVAL '1 day' + INTERVAL '1 hour'", (1_792_458_100_001, None, None)),
        ("device = 'root.main.d1'", (None, None, 1)),
        ("device IN ('root.main.d1', 'root.main.x', 'no such')", (None, None, 2)),
        ("device LIKE 'root.main.d_1'", (None, None, 2)),
        ("tbname = 'd.1'", (None, None, 1)),
        ("loc = 'a'", (None, None, 2)),
        ("loc IN ('a', 'b') AND n = 1", (None, None, 2)),
        ("loc = 'it''s'", (None, None, 1)),
        # Left to the filter:
        ("ts > 1000 OR v = 1", (None, None, None)),
        ("NOT ts > 1000", (None, None, None)),
        ("ref > 1000", (None, None, None)),
        ("v = 1", (None, None, None)),
        ("n = '1'", (None, None, None)),
        ("loc = device", (None, None, None)),
        ("device || '' = 'root.main.d1'", (None, None, None)),
        ("device NOT LIKE 'root%'", (None, None, None)),
    ],
)
def test_what_where_lets_a_scan_leave_out(
    bench: Bench, condition: str, expected: tuple[int | None, int | None, int | None]
) -> None:
    plan = bench.plan(f"SELECT v FROM m WHERE {condition}")
    assert scan(plan) == expected
    bench.check(f"SELECT * FROM m WHERE {condition}")


def test_parameters_narrow_too(bench: Bench) -> None:
    plan = bench.plan("SELECT v FROM m WHERE ts >= ? AND device = ? AND n = ?", 5, "root.main.x", 3)
    assert scan(plan) == (5, None, 1)


def test_days_are_those_of_the_requests_zone(bench: Bench) -> None:
    """On 25 October 2026 the day in Berlin has 25 hours."""
    sql = "SELECT v FROM m WHERE ts > '2026-10-26' - INTERVAL '1 day'"
    plan = bench.plan("SELECT v FROM m WHERE ts > TIMESTAMP '2026-10-26' - INTERVAL '1 day'",
                      zone="Europe/Berlin")  # fmt: skip
    assert scan(plan)[0] == 1_792_879_200_001
    assert scan(bench.plan(sql, zone="Europe/Berlin")) == scan(plan)


def test_only_the_needed_columns_are_read(bench: Bench) -> None:
    assert bench.plan("SELECT v FROM m WHERE loc = 'a'").inputs[0].columns == ("loc", "v")
    assert bench.plan("SELECT 1 FROM m").inputs[0].columns == ("time",)
    assert bench.plan("SELECT count(*) FROM m").inputs[0].columns == ("#rows",)
    assert len(bench.plan("SELECT * FROM m").inputs[0].columns) == 6


def test_the_right_side_of_an_asof_join_is_whole(bench: Bench) -> None:
    sql = (
        "SELECT a.v, b.v AS w FROM m a ASOF JOIN m b ON a.ts >= b.ts WHERE b.ts < 2000 AND a.ts > 0"
    )
    left, right = bench.plan(sql).inputs
    assert left.start_ns == 1
    assert right.end_ns > 2000 * MS
    bench.check(sql)


def test_samples_and_positional_joins_are_whole(bench: Bench) -> None:
    for sql in (
        "SELECT v FROM m TABLESAMPLE 50% WHERE ts > 1000",
        "SELECT a.v FROM m a POSITIONAL JOIN m b WHERE a.ts > 1000",
        "SELECT v FROM m WHERE ts > 1000 USING SAMPLE 3",
    ):
        assert bench.plan(sql).range_ns == (None, None), sql


def test_equal_scans_are_shared_and_a_single_one_is_streamed(bench: Bench) -> None:
    assert bench.plan("SELECT v FROM m").is_single_pass
    join = bench.plan("SELECT a.v FROM m a JOIN m b ON a.v = b.v")
    assert (len(join.inputs), join.is_single_pass) == (1, False)
    assert not bench.plan("SELECT v FROM m WHERE v > (SELECT avg(v) FROM m)").is_single_pass


_SHAPES = st.sampled_from(
    [
        "SELECT * FROM m a, m b WHERE a.ts = b.ts AND {a} AND {b}",
        "SELECT * FROM m a JOIN m b ON a.ts = b.ts AND a.n = b.n WHERE {a} AND {b}",
        "SELECT * FROM m a LEFT JOIN m b ON a.ts = b.ts AND a.device < b.device WHERE {a} AND {b}",
        "SELECT * FROM m a RIGHT JOIN m b ON a.v = b.v AND a.device > b.device WHERE {b} AND {a}",
        "SELECT * FROM m a FULL JOIN m b ON a.ts = b.ts AND a.n = b.n WHERE {a} AND {b}",
        "SELECT * FROM m a ASOF JOIN m b ON a.n = b.n AND a.ts >= b.ts WHERE {a} AND {b}",
        "SELECT * FROM m a SEMI JOIN m b USING (ts) WHERE {a}",
        "SELECT device, time, a.v FROM m a FULL JOIN m b USING (device, time) WHERE {a} AND {b}"
        " AND time > 1000 AND device <> 'x'",
        "SELECT count(*), max(a.ts) FROM m a WHERE {a} AND {a} GROUP BY a.loc",
        "SELECT * FROM (SELECT * FROM m b WHERE {b}) a WHERE {b_as_a}",
        "WITH a AS (SELECT * FROM m b WHERE {b}) SELECT * FROM a UNION SELECT * FROM a WHERE v > 1",
        "SELECT a.v, (SELECT max(b.v) FROM m b WHERE b.ts = a.ts AND {b}) FROM m a WHERE {a}",
        "SELECT a.v, row_number() OVER (ORDER BY a.ts, a.device) FROM m a WHERE {a} QUALIFY {a}",
    ]
)


@settings(max_examples=60, deadline=None)
@given(_SHAPES, predicates("a"), predicates("b"), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_push_down_never_changes_the_answer(
    bench: Bench, shape: str, a: str, b: str, zone: str
) -> None:
    b_as_a = a.replace("a.tbname", "a.device")
    bench.check(shape.format(a=a, b=b, b_as_a=b_as_a), zone=zone)


def test_like_is_that_of_sql() -> None:
    assert like_pattern("a_%.b").fullmatch("axyz.b")
    assert not like_pattern("a_%.b").fullmatch("a.b")
    assert like_pattern("%").fullmatch("\n")
