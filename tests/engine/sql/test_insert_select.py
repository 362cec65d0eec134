"""INSERT ... SELECT: the answer of a query as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import (
    MainstemError,
    NotFoundError,
    OutOfRangeError,
    SchemaError,
    SqlError,
    SqlSyntaxError,
)
from mainstem_engine.sql import result as results
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]


def test_into_a_plain_table(own_plant: Run) -> None:
    own_plant("CREATE TABLE copy (ts TIMESTAMP, v INT, c DOUBLE)")
    result = own_plant(
        "INSERT INTO copy SELECT ts, voltage, current FROM meters WHERE voltage > ?", 219
    )
    assert result.rows_affected == 3
    rows = own_plant("SELECT * FROM copy").rows()
    assert rows == [[1000, 221, 12.25], [2000, 220, 11.0], [3000, 222, None]]


def test_into_a_super_table_by_name(own_plant: Run) -> None:
    own_plant("CREATE STABLE means (ts TIMESTAMP, v DOUBLE)")
    own_plant(
        "INSERT INTO means(tbname, ts, v)"
        " SELECT 'm_' || tbname, min(ts), avg(voltage) FROM meters GROUP BY tbname"
    )
    rows = own_plant("SELECT tbname, ts, v FROM means ORDER BY tbname").rows()
    assert rows == [["m_d1001", 1000, 219.5], ["m_d1002", 1000, 221.5]]


def test_into_a_new_device_by_its_path(own_plant: Run) -> None:
    result = own_plant(
        "INSERT INTO root.paris.d(time, speed, twice, word)"
        " WITH a AS (SELECT * FROM root.beijing.d1) SELECT time, s1, s2 * 2, 'x' FROM a"
    )
    assert result.warnings == [
        "root.paris.d is new and has no template: it gets speed DOUBLE, twice DOUBLE, word TEXT"
    ]
    rows = own_plant("SELECT * FROM root.paris.d").rows()
    assert rows == [[1000, 1.0, 3.0, "x"], [2000, None, 5.0, "x"]]


def test_with_tags_and_integers_of_time(own_plant: Run) -> None:
    own_plant("INSERT INTO d1009 USING meters TAGS ('east', 9) (ts, voltage) SELECT 5000, 7")
    assert own_plant("SELECT ts, location, voltage FROM meters WHERE tbname = 'd1009'").rows() == [
        [5000, "east", 7]
    ]


def test_of_nothing(own_plant: Run) -> None:
    sql = "INSERT INTO d1001 SELECT ts, current, voltage FROM meters WHERE voltage > 1000"
    assert own_plant(sql).rows_affected == 0


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("INSERT INTO d1001 SELECT ts, current FROM d1002", SqlError, "2 columns, not 3"),
        ("INSERT INTO d1001 (ts, voltage) SELECT ts, 'x' FROM d1002", SchemaError, "not str"),
        ("INSERT INTO d1001 (ts, voltage) SELECT 'soon', 1", SchemaError, "time of a row"),
        ("INSERT INTO d1001 (ts, voltage) SELECT NULL::BIGINT, 1", SchemaError, "without a time"),
        ("INSERT INTO d1001 (voltage) SELECT 1", SqlError, "without a time"),
        ("INSERT INTO d7 SELECT ts, voltage FROM d1001", NotFoundError, "no table d7"),
        ("INSERT INTO meters (tbname, ts) SELECT 5, ts FROM d1001", SqlError, "name or path"),
        ("INSERT INTO meters (tbname, ts) SELECT NULL, ts FROM d1001", SqlError, "name or path"),
        ("INSERT INTO d1001 (ts, voltage) SELECT ts, [1] FROM d1002", SchemaError, "of type list"),
        ("INSERT INTO d1001 (ts, voltage) SELECT ts, ts FROM d1002", SchemaError, "voltage"),
    ],
)
def test_what_cannot_be_inserted(
    own_plant: Run, sql: str, error: type[MainstemError], message: str
) -> None:
    with pytest.raises(error, match=message):
        own_plant(sql)
    assert own_plant("SELECT count(*) FROM meters").rows() == [[4]]


@pytest.fixture
def written(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each record, where an answer comes in small pieces."""
    monkeypatch.setattr(results, "HEAD_BYTES", 1)
    monkeypatch.setattr(results, "PIECE_BYTES", 1)
    sizes: list[int] = []
    write_rows = engine.write_rows

    def noted(table: Any, rows: Any, **options: Any) -> Any:
        sizes.append(len(rows))
        return write_rows(table, rows, **options)

    monkeypatch.setattr(engine, "write_rows", noted)
    return sizes


MANY = 40_000
"""Rows of a few batches."""


def test_a_large_answer_is_written_piece_by_piece(run: Run, written: list[int]) -> None:
    run("CREATE TABLE a (ts TIMESTAMP, v DOUBLE, w INT64)")
    many = f"SELECT range, range / 2, range FROM range({MANY})"
    assert run(f"INSERT INTO a {many}").rows_affected == MANY
    assert len(written) > 1
    assert sum(written) == MANY
    assert run("SELECT count(*), sum(w), max(v) FROM a").rows() == [
        [MANY, MANY * (MANY - 1) // 2, (MANY - 1) / 2]
    ]


def test_a_table_that_is_read_may_be_written(run: Run, written: list[int]) -> None:
    run("CREATE STABLE a (ts TIMESTAMP, v INT64) TAGS (place TEXT)")
    run("CREATE TABLE d USING a TAGS ('here')")
    run(f"INSERT INTO d SELECT range, range FROM range({MANY})")
    result = run(
        "INSERT INTO a (tbname, place, ts, v) SELECT tbname || v % 3, place || v % 3, ts, v FROM a"
    )
    assert result.rows_affected == MANY
    rows = run("SELECT tbname, place, count(*) FROM a GROUP BY ALL ORDER BY ALL").rows()
    third = MANY // 3
    assert rows == [
        ["d", "here", MANY],
        ["d0", "here0", third + 1],
        ["d1", "here1", third],
        ["d2", "here2", third],
    ]


def test_what_fails_late_leaves_the_pieces_before_it(run: Run, written: list[int]) -> None:
    run("CREATE TABLE a (ts TIMESTAMP, v INT8)")
    with pytest.raises(OutOfRangeError, match="v"):
        run(f"INSERT INTO a SELECT range, range // 200 FROM range({MANY})")
    assert run("SELECT count(*) FROM a").rows() == [[sum(written)]]
    assert 0 < sum(written) < 200 * 128


def test_types_of_new_measurements(own_plant: Run) -> None:
    own_plant(
        "INSERT INTO root.paris.e(time, a, b, c, d, e, f, g) SELECT 1, 1::TINYINT,"
        " 9007199254740993, true, 'x'::BLOB, 1.5::DECIMAL(5, 1), TIMESTAMP '1970-01-01', NULL"
    )
    rows = own_plant("DESCRIBE root.paris.e").rows()
    assert [row[:2] for row in rows[1:]] == [
        ["a", "DOUBLE"],
        ["b", "INT64"],
        ["c", "BOOLEAN"],
        ["d", "BLOB"],
        ["e", "DOUBLE"],
        ["f", "TIMESTAMP"],
    ]
    assert own_plant("SELECT * FROM root.paris.e").rows() == [
        [1, 1.0, 9007199254740993, True, b"x", 1.5, 0]
    ]


def test_nulls_keep_what_is_there(own_plant: Run) -> None:
    own_plant("INSERT INTO d1001 (ts, voltage, current) SELECT ts, NULL, current FROM d1002")
    assert own_plant("SELECT ts, current, voltage FROM d1001").rows() == [
        [1000, 12.25, 219],
        [2000, 11.0, 220],
        [3000, None, None],
    ]


def test_nothing_is_made_of_nothing(own_plant: Run) -> None:
    own_plant("INSERT INTO root.paris.f(time, a) SELECT ts, voltage FROM d1001 WHERE voltage < 0")
    assert own_plant("SHOW DEVICES root.paris.**").rows() == []


def test_a_time_that_is_finer_than_the_database(own_plant: Run) -> None:
    own_plant("CREATE DATABASE fine PRECISION 'us'; CREATE TABLE fine.t (ts TIMESTAMP, v INT)")
    own_plant("INSERT INTO fine.t VALUES (1000001, 1)")
    with pytest.raises(OutOfRangeError, match="finer"):
        own_plant("INSERT INTO d1001 (ts, voltage) SELECT ts, v FROM fine.t")
    own_plant(
        "INSERT INTO d1001 (ts, voltage) WITH f AS (SELECT * FROM fine.t)"
        " SELECT date_trunc('second', ts), v FROM f"
    )
    assert own_plant("SELECT voltage FROM d1001 WHERE ts = 1000").rows() == [[1000, 1]]


def test_values_and_a_query_in_one_statement(own_plant: Run) -> None:
    result = own_plant(
        "INSERT INTO d1001 (ts, voltage) VALUES (9000, 1) d1002 (ts, voltage) SELECT 9000, 2"
    )
    assert result.rows_affected == 2
    assert own_plant("SELECT voltage FROM meters WHERE ts = 9000 ORDER BY 1").rows() == [[1], [2]]
    with pytest.raises(OutOfRangeError):
        own_plant(
            "INSERT INTO d1001 (ts, voltage) VALUES (9001, 1) d1002 (ts, voltage) SELECT 1, 1e30"
        )
    assert own_plant("SELECT count(*) FROM meters WHERE ts = 9001").rows() == [[0]]


@pytest.mark.parametrize("aligned", ["", "ALIGNED "])
def test_select_into(own_plant: Run, aligned: str) -> None:
    result = own_plant(
        f"SELECT s1, s2 * 2 INTO {aligned}root.paris.g(a, b) FROM root.beijing.d1 WHERE time < 2000"
    )
    assert result.rows_affected == 1
    assert own_plant("SELECT * FROM root.paris.g").rows() == [[1000, 1.0, 3.0]]


def test_windows_into(own_plant: Run) -> None:
    own_plant(
        "SELECT count(voltage), max(voltage) INTO root.paris.h(n, most) FROM d1001"
        " GROUP BY ([0, 3000), 1s)"
    )
    rows = own_plant("SELECT * FROM root.paris.h").rows()
    assert rows == [[0, 0.0, None], [1000, 1.0, 219.0], [2000, 1.0, 220.0]]


def test_into_with_its_time(own_plant: Run) -> None:
    own_plant(
        "WITH a AS (SELECT ts, voltage FROM meters) SELECT voltage + 1, max(ts)"
        " INTO d1001(voltage, ts) FROM a WHERE voltage = 222 GROUP BY 1"
    )
    assert own_plant("SELECT voltage FROM d1001 WHERE ts = 3000").rows() == [[3000, 223]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT s1 INTO root.a.b FROM root.beijing.d1",
        "SELECT s1 INTO root.a.b(::) FROM root.beijing.d1",
        "SELECT s1 INTO ::(x) FROM root.beijing.d1",
        "SELECT s1, s2 INTO root.a.b(x), root.a.c(y) FROM root.beijing.d1",
        "SELECT 1 UNION SELECT s1 INTO root.a.b(x) FROM root.beijing.d1",
        "SELECT * FROM (SELECT s1 INTO root.a.b(x) FROM root.beijing.d1)",
        "EXPLAIN ANALYZE INSERT INTO d1001 SELECT ts, current, voltage FROM d1002",
        "EXPLAIN INSERT INTO d1001 VALUES (1, 2, 3)",
    ],
)
def test_what_is_not_done(own_plant: Run, sql: str) -> None:
    with pytest.raises(SqlError):
        own_plant(sql)
    assert own_plant("SHOW DEVICES root.a.**").rows() == []


def test_the_plan_of_an_insert(own_plant: Run) -> None:
    for sql in (
        "EXPLAIN INSERT INTO d1001 SELECT ts, current, voltage FROM d1002",
        "EXPLAIN SELECT current, voltage INTO d1001(current, voltage) FROM d1002",
    ):
        lines = [line for (line,) in own_plant(sql).rows()]
        assert lines[:2] == ["insert into d1001", "scan meters as mainstem_0"]
    assert own_plant("SELECT count(*) FROM meters").rows() == [[4]]


def test_a_query_may_stand_in_parentheses_or_begin_with_with(run: Run) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT) TAGS (g INT)")
    run("INSERT INTO d USING t TAGS (1) VALUES (1000, 1)")
    assert run("INSERT INTO d (ts, a) (SELECT ts, a FROM t)").rows_affected == 1
    assert run("INSERT INTO d (SELECT ts, a FROM t);").rows_affected == 1
    assert run("INSERT INTO d WITH q AS (SELECT ts, a FROM t) SELECT * FROM q").rows_affected == 1
    with pytest.raises(SqlSyntaxError, match="WITH stands before SELECT"):
        run("WITH q AS (SELECT 1) INSERT INTO d SELECT * FROM q")
    with pytest.raises(SqlSyntaxError, match="a column"):
        run("INSERT INTO d () VALUES (1, 1)")


def test_a_query_that_computes_the_time_has_no_other(run: Run) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT) TAGS (g INT)")
    run("INSERT INTO d USING t TAGS (1) VALUES (1000, 1) (2000, 2)")
    moved = "SELECT ts + INTERVAL '1 hour', a * 10 FROM d WHERE a > 1"
    assert run(f"INSERT INTO d (ts, a) {moved}").rows_affected == 1
    assert run(
        "INSERT INTO d (a, ts) SELECT a + 5, ts + 1s FROM d ORDER BY ts LIMIT 1"
    ).rows_affected
    assert run("SELECT ts, a FROM d").rows() == [[1000, 1], [2000, 6], [3_602_000, 20]]
    assert run("INSERT INTO d (ts, a) SELECT a FROM root.main.d LIMIT 1").rows_affected == 1
    with pytest.raises(SqlError, match="3 columns, not 2"):
        run("INSERT INTO d (ts, a) SELECT a, a FROM d")
