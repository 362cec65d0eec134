"""Statements as users of the peers write them, beside each other in ways that none of their pages
shows: answers are worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import SqlError

from .conftest import open_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("statements")
    with open_engine(path) as opened:
        opened.sql(
            """
            CREATE STABLE m (ts TIMESTAMP, x DOUBLE, y INT, s TEXT, b BOOL)
                TAGS (loc TEXT, g INT);
            INSERT INTO d1 USING m TAGS ('a', 1) VALUES (1000, 1.5, 1, 'r', true)
                (2000, 2.5, 2, 'r', true) (3500, 4, null, 's', false) (9000, 7, 3, 's', null);
            INSERT INTO d2 USING m TAGS ('b', 2) VALUES (1500, 10, 1, 'p', true)
                (2600, 20, 2, null, false);
            CREATE TABLE d3 USING m TAGS ('c', 3);
            """
        )
        yield opened


@pytest.fixture
def rows(engine: Engine) -> Any:
    return lambda sql, *params: engine.sql(sql, list(params)).rows()


def columns(engine: Engine, sql: str) -> list[str]:
    return [str(column["name"]) for column in engine.sql(sql).columns]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT _wstart, count(*) FROM d1 INTERVAL(2s)", ["_wstart", "count(*)"]),
        ("SELECT _wstart AS w, avg(x) FROM root.main.d1 INTERVAL(2s)", ["w", "avg(x)"]),
        ("SELECT count(*), _WSTART FROM d1 SESSION(ts, 1s)", ["count(*)", "_WSTART"]),
        ("SELECT _wend, count(*) FROM d1 INTERVAL(2s)", ["time", "_wend", "count(*)"]),
        ("SELECT _irowts, interp(x) FROM d1 RANGE(0, 9) EVERY(1s)", ["_irowts", "interp(x)"]),
        ("SELECT interp(x) FROM d1 RANGE(0, 9) EVERY(1s)", ["time", "interp(x)"]),
    ],
)
def test_time_is_not_put_before_an_item_that_is_the_time(
    engine: Engine, sql: str, expected: list[str]
) -> None:
    assert columns(engine, sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT avg(x) FROM d1 INTERVAL(1s) GROUP BY ([0, 10), 1s)",
        "SELECT avg(x) FROM d1 SESSION(ts, 1s) GROUP BY COUNT(x, 2)",
        "SELECT avg(x) FROM m PARTITION BY tbname GROUP BY ([0, 5000), 1s), loc",
        "SELECT x FROM d1 ALIGN BY DEVICE ALIGN BY TIME",
        "SELECT interp(x, 2) FROM d1 RANGE(0, 1000) EVERY(1s) FILL(PREV)",
        "SELECT interp(x, 'a') FROM d1 RANGE(0, 1000) EVERY(1s) FILL(PREV)",
    ],
)
def test_no_clause_is_ignored(rows: Any, sql: str) -> None:
    with pytest.raises(SqlError) as refused:
        rows(sql)
    assert refused.value.hint is not None


def test_a_star_of_a_function_in_a_sub_query(engine: Engine, rows: Any) -> None:
    names = ["last(x)", "last(y)", "last(s)", "last(b)"]
    assert columns(engine, "SELECT * FROM (SELECT last(*) FROM d1)") == names
    sql = "WITH c AS (SELECT diff(x), change_points(*) FROM d1) SELECT * FROM c"
    assert columns(engine, sql)[1:3] == ["diff(x)", "change_points(x)"]
    # Beside others, count(*) is of rows.
    assert rows("SELECT sum(n) FROM (SELECT count(*) AS n FROM root.main.d1)") == [[4]]
    for sql in (
        "SELECT last(*) FROM (SELECT ts, x FROM d1)",
        "SELECT diff(*) FROM (SELECT ts, x FROM d1)",
        "SELECT twa(*) FROM d1 a JOIN d2 b ON a.ts = b.ts",
    ):
        with pytest.raises(SqlError, match="name the columns"):
            rows(sql)


def test_items_of_sub_queries_are_called_by_their_text(engine: Engine, rows: Any) -> None:
    sql = "SELECT * FROM (SELECT last(x), spread(x), count(*), x + 1 FROM d1 GROUP BY x)"
    assert columns(engine, sql) == ["last(x)", "spread(x)", "count(*)", "x + 1"]
    assert rows('SELECT "last(x)" FROM (SELECT last(x) FROM d1)') == [[7.0]]
    assert rows("SELECT (SELECT max(x) FROM d1) + 1") == [[8.0]]


def test_a_function_in_the_condition_on_a_sub_query_without_a_name(rows: Any) -> None:
    sql = "SELECT ts, x FROM (SELECT ts, x FROM d1) WHERE diff(x) > 1"
    assert rows(sql) == [[3500, 4.0], [9000, 7.0]]


def test_levels_without_an_aggregate(rows: Any) -> None:
    sub = "(SELECT ts, x FROM d1)"
    assert rows(f"SELECT ts FROM {sub} WHERE x > 1 GROUP BY LEVEL = 1 SLIMIT 1") == [[1000]]


def test_the_plan_of_a_device_without_rows(rows: Any) -> None:
    sql = "EXPLAIN SELECT _qstart FROM d3 EVENT_WINDOW START WITH x > 1 END WITH y > 1 SLIMIT 1"
    assert rows(sql)[0] == ["scan m as mainstem_0"]


def test_quality_beside_an_aggregate_is_of_all_rows(rows: Any) -> None:
    assert rows("SELECT count(x), completeness(x) FROM d1") == [[4, None]]
    assert rows("SELECT completeness(x), elapsed(ts) FROM d1") == [[None, 8000]]
    # Inside of an aggregate it has windows of its own, of which none is long enough.
    assert rows("SELECT max(completeness(x)) FROM d1") == [[None]]
