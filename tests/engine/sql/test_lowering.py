"""From a SELECT with windows and functions of time to the steps of a program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgpack
import pyarrow as pa
import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import NotFoundError, SqlLimitError
from mainstem_engine.sql.grammar.dialect import parse
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.program import Program, SqlLimits, SqlStep, WalkStep
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone
from mainstem_engine.sql.walks.walks import walk


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine.open(tmp_path_factory.mktemp("lowering") / "data") as opened:
        opened.sql("CREATE STABLE m (ts TIMESTAMP, x DOUBLE, y INT) TAGS (loc TEXT)")
        opened.sql("INSERT INTO d1 USING m TAGS ('a') VALUES (1000, 1.5, 1), (2000, 2.5, 2)")
        opened.sql("INSERT INTO d2 USING m TAGS ('b') VALUES (1500, 10, 1)")
        yield opened


@pytest.fixture
def planned(engine: Engine) -> Any:
    def plan(sql: str, *params: Any) -> Plan:
        (statement,) = parse(sql)
        assert isinstance(statement, Query)
        request = Request("root.main", "UTC", parse_zone("UTC"), 0, params)
        return Planner(engine.catalog).plan(statement.tree, request)

    return plan


# Plans


def test_plain_statements_have_no_steps(planned: Any) -> None:
    for sql in ("SELECT x FROM m", "SELECT avg(x) FROM m GROUP BY loc", "SELECT 1"):
        assert planned(sql).steps == ()


def test_windows_are_rows_a_walk_and_a_query(planned: Any) -> None:
    plan = planned("SELECT _wstart, stddev(x) FROM d1 SESSION(ts, 1s)")
    rows, walked = plan.steps
    assert isinstance(rows, SqlStep)
    assert isinstance(walked, WalkStep)
    assert walked.source == rows.name
    assert walked.operation == "windows"
    assert f'"{walked.name}:windows"' in plan.sql
    assert f'"{walked.name}:rows"' in plan.sql
    assert plan.is_single_pass


def test_only_the_columns_that_are_needed_are_scanned(planned: Any) -> None:
    (source,) = planned("SELECT stddev(x) FROM d1 SESSION(ts, 1s)").inputs
    assert set(source.columns) == {"time", "x"}
    (source,) = planned("SELECT tbname, diff(y) FROM m PARTITION BY tbname").inputs
    assert set(source.columns) == {"time", "y", "device"}


def test_a_range_of_windows_narrows_the_scan(planned: Any) -> None:
    (source,) = planned("SELECT stddev(x) FROM d1 GROUP BY ([1000, 3000), 1s)").inputs
    assert (source.start_ns, source.end_ns) == (1_000_000_000, 3_000_000_000)
    (source,) = planned("SELECT stddev(x) FROM d1 GROUP BY ((1000, 3000], 1s)").inputs
    assert (source.start_ns, source.end_ns) == (1_000_000_001, 3_000_000_001)


def test_rows_of_one_device_are_not_sorted_again(planned: Any) -> None:
    assert "ORDER BY" not in planned("SELECT diff(x) FROM d1").steps[0].sql
    assert (
        'ORDER BY "m"."time" NULLS FIRST, "m"."device"'
        in planned("SELECT diff(x) FROM m").steps[0].sql
    )


def test_equal_expressions_are_computed_once(planned: Any) -> None:
    plan = planned("SELECT stddev(x), stddev(x) + 1, twa(x), twa(x) * 2 FROM d1 SESSION(ts, 1s)")
    walked = plan.steps[1]
    assert len(walked.arguments["functions"]) == 1
    assert plan.sql.count("STDDEV") == 1


def test_a_query_that_is_read_twice_is_held(planned: Any) -> None:
    inner = "SELECT count(*) c FROM a SESSION(time, 1s)"
    sql = f"WITH a AS (SELECT * FROM m) SELECT b.c FROM ({inner}) b, a"
    assert not planned(sql).is_single_pass


def test_parameters_go_to_the_steps_that_have_them(planned: Any) -> None:
    plan = planned("SELECT stddev(x) + ? FROM m WHERE y > ? SESSION(ts, 1s)", 10, 1)
    assert plan.steps[0].params == (1,)
    assert plan.params == (10,)


# Programs


def program(*steps: Any, **fields: Any) -> Program:
    limits = fields.pop("limits", SqlLimits())
    return Program("SELECT 1", (), "UTC", (), False, limits, steps, **fields)


def test_programs_cross_to_a_worker_as_plain_values() -> None:
    made = program(
        SqlStep("#0:source", "SELECT $1", (1, "x", None)),
        WalkStep("#0", "#0:source", "points", {"keys": 0, "functions": [], "with_rows": False}),
    )
    assert Program.from_map(msgpack.unpackb(msgpack.packb(made.to_map()))) == made


def test_walks_of_all_statements_cross_too(planned: Any) -> None:
    for sql in (
        "SELECT count(x) FROM m PARTITION BY loc INTERVAL(1d, 6h) SLIDING(12h) FILL(PREV)",
        "SELECT count(x) FROM d1 GROUP BY CONDITION(y > 1, KEEP >= 2)",
        "SELECT count(x) FROM d1 EVENT_WINDOW START WITH x > 1 END WITH x < 1 TRUE_FOR(1s)",
        "SELECT m4(x, 'windowSize'='2'), top(x, 2) FROM d1",
        "SELECT _irowts, interp(x) FROM d1 RANGE(0, 3000) EVERY(1s) FILL(LINEAR)",
    ):
        made = program(*planned(sql).steps)
        assert Program.from_map(msgpack.unpackb(msgpack.packb(made.to_map()))) == made


def test_what_steps_make_is_bounded(engine: Engine) -> None:
    limits = replace(SqlLimits(), input_bytes_max=4096)
    session = Session(engine, InProcessExecutor(limits))
    assert session.execute("SELECT count(*) FROM d1 INTERVAL(1s)").row_count == 2
    series = "SELECT to_timestamp(i) AS time, i AS x FROM range(10000) AS r(i)"
    with pytest.raises(SqlLimitError, match="need more than"):
        session.execute(f"SELECT diff(x) FROM ({series})")
    session.close()


def test_windows_that_overlap_are_bounded(engine: Engine) -> None:
    limits = replace(SqlLimits(), input_bytes_max=1 << 20)
    session = Session(engine, InProcessExecutor(limits))
    series = "SELECT to_timestamp(i) AS time, i AS x FROM range(10000) AS r(i)"
    with pytest.raises(SqlLimitError, match="windows that overlap need more"):
        session.execute(f"SELECT stddev(x) FROM ({series}) INTERVAL(1m) SLIDING(1s)")
    session.close()


# Walks


def rows_table(seconds: list[int], **columns: Any) -> pa.Table:
    times = pa.array([s * 1_000_000 for s in seconds], pa.timestamp("us", "UTC"))
    return pa.table({"#t": times, **{f"#{name}": values for name, values in columns.items()}})


def windows_of(table: pa.Table, window: dict[str, Any], **arguments: Any) -> dict[str, pa.Table]:
    filled = {
        "keys": 0,
        "window": window,
        "controls": [],
        "expected": None,
        "functions": [],
        "columns": [],
        "with_empty": False,
        "span": [None, None],
        "zone": "UTC",
        "precision_ns": 1_000_000,
        **arguments,
    }
    return walk(WalkStep("#0", "s", "windows", filled), table, 1 << 30)


def test_rows_of_windows_that_touch_are_not_copied() -> None:
    table = rows_table([1, 2, 9], a0=pa.array([1.0, 2.0, 3.0]))
    made = windows_of(table, {"kind": "session", "gap_ns": 10**9}, columns=["#a0"])
    assert made["windows"].column("#g").to_pylist() == [0, 1]
    assert made["rows"].column("#g").to_pylist() == [0, 0, 1]
    assert made["rows"].column("#a0").chunk(0).buffers()[1].address == (
        table.column("#a0").chunk(0).buffers()[1].address
    )


def test_windows_without_rows_have_a_row_of_nulls_if_it_is_asked_for() -> None:
    table = rows_table([0, 2], a0=pa.array(["p", "q"]))
    window = {
        "kind": "range",
        "start_ns": 0,
        "end_ns": 3 * 10**9,
        "interval": [0, 10**9],
        "step": None,
        "is_right_closed": False,
    }
    made = windows_of(table, window, columns=["#a0"], with_empty=True)["rows"]
    assert sorted(zip(made["#g"].to_pylist(), made["#a0"].to_pylist(), strict=True)) == [
        (0, "p"),
        (1, None),
        (2, "q"),
    ]
    assert windows_of(table, window, columns=["#a0"])["rows"].num_rows == 2


def test_nulls_of_keys_are_one_partition() -> None:
    table = rows_table([1, 2, 3, 4], p0=pa.array([None, None, "a", "b"]), a0=pa.array([1, 2, 3, 4]))
    made = windows_of(table, {"kind": "whole"}, keys=1, columns=["#a0"])
    assert made["windows"].column("#p0").to_pylist() == [None, "a", "b"]
    assert made["rows"].column("#g").to_pylist() == [0, 0, 1, 2]


def test_points_of_several_functions_meet_at_their_times() -> None:
    table = rows_table([1, 2, 3], a0=pa.array([5.0, 1.0, 9.0]))
    call = {"columns": ["#a0"], "options": {"k": 1}}
    functions = [
        {"name": "top", "outputs": ["#f0"], **call},
        {"name": "bottom", "outputs": ["#f1"], **call},
    ]
    for with_rows, count in ((False, 2), (True, 3)):
        arguments = {"keys": 0, "functions": functions, "with_rows": with_rows}
        made = walk(WalkStep("#0", "s", "points", arguments), table, 1 << 30)["rows"]
        assert made.num_rows == count
    assert made.column("#a0").to_pylist() == [5.0, 1.0, 9.0]
    assert made.column("#f0").to_pylist() == [None, None, 9.0]
    assert made.column("#f1").to_pylist() == [None, 1.0, None]


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT "#t", count(*) FROM d1 INTERVAL(2s)',
        'SELECT count(*) FROM d1 INTERVAL(2s) ORDER BY "#g"',
        'SELECT count("#a0") FROM d1 INTERVAL(2s)',
        'SELECT diff(x), "#p0" FROM m PARTITION BY tbname',
        'SELECT x, "#i0" FROM d1 FILL(PREV)',
        'SELECT interp(x), "#origin" FROM d1 RANGE(0, 3000) EVERY(1s) FILL(PREV)',
    ],
)
def test_columns_of_walks_are_not_reached_by_name(engine: Engine, sql: str) -> None:
    with pytest.raises(NotFoundError, match="there is no column '#"):
        engine.sql(sql)


def test_names_of_items_may_look_like_those_of_walks(engine: Engine) -> None:
    sql = 'SELECT max("#t") FROM (SELECT count(*) AS "#t" FROM d1 INTERVAL(5s) ORDER BY "#t")'
    assert engine.sql(sql).rows() == [[2]]
