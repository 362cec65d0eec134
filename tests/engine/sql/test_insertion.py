"""INSERT and CREATE TABLE: literals to rows, devices and tags."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import (
    MainstemError,
    NotFoundError,
    OutOfRangeError,
    SchemaError,
    SqlError,
)
from mainstem_engine.sql.result import Result

from .conftest import NOW_MS

Run = Callable[..., Result]


@pytest.fixture
def meters(run: Run) -> Run:
    run("CREATE STABLE meters (ts TIMESTAMP, a FLOAT, b INT8, c TEXT, d TIMESTAMP, e BLOB, f BOOL)"
        " TAGS (location TEXT, groupid INT)")  # fmt: skip
    return run


def test_rows_are_counted_and_visible(meters: Run) -> None:
    result = meters(
        "INSERT INTO d1 USING meters TAGS ('x', 1) VALUES"
        " (1, 1.5, -128, 'text', 2, x'00ff', TRUE) (2, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    assert (result.rows_affected, result.row_count) == (2, 0)
    assert meters("SELECT * FROM d1").rows() == [
        [1, 1.5, -128, "text", 2, b"\x00\xff", True],
        [2, None, None, None, None, None, None],
    ]


def test_rows_of_one_time_merge_and_null_does_not_erase(meters: Run) -> None:
    meters("INSERT INTO d1 USING meters TAGS ('x', 1) (ts, a, b) VALUES (1, 1, 2), (1, NULL, 3)")
    meters("INSERT INTO d1 (ts, b) VALUES (1, NULL)")
    assert meters("SELECT a, b FROM d1").rows() == [[1, 1.0, 3]]


def test_times_as_users_write_them(meters: Run) -> None:
    meters(
        "INSERT INTO d1 USING meters TAGS ('x', 1) (ts, b, d) VALUES"
        " ('1970-01-01T00:00:01Z', 1, '1970-01-01 00:00:00.002')"
        " (1970-01-01T00:00:02, 2, now) (now - 1h, 3, ?)",
        dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
    )
    assert meters("SELECT b, d FROM d1").rows() == [
        [1000, 1, 2],
        [2000, 2, NOW_MS],
        [NOW_MS - 3_600_000, 3, 0],
    ]


def test_a_time_without_zone_is_read_in_the_requests_zone(meters: Run) -> None:
    meters(
        "INSERT INTO d1 USING meters TAGS ('x', 1) (ts, b) VALUES ('1970-01-01 01:00', 1)",
        time_zone="Europe/Berlin",
    )
    assert meters("SELECT b FROM d1").rows() == [[0, 1]]


def test_without_a_time_a_row_is_of_now(meters: Run) -> None:
    meters("INSERT INTO d1 USING meters TAGS ('x', 1) (b) VALUES (7)")
    assert meters("SELECT b FROM d1").rows() == [[NOW_MS, 7]]
    with pytest.raises(SqlError, match="without a time"):
        meters("INSERT INTO d1 (b) VALUES (7), (8)")


def test_values_of_floats(meters: Run) -> None:
    meters("INSERT INTO d1 USING meters TAGS ('x', 1) (ts, a) VALUES (1, NaN), (2, '-Infinity')")
    values = [row[1] for row in meters("SELECT a FROM d1").rows()]
    assert math.isnan(values[0])
    assert values[1] == -math.inf


def test_parameters_are_values(meters: Run) -> None:
    meters("INSERT INTO d1 USING meters TAGS (?, ?) (ts, c) VALUES (?, ?)", "o'x", 1, 5, "it's")
    assert meters("SELECT location, c FROM d1").rows() == [[5, "o'x", "it's"]]
    with pytest.raises(SqlError, match="one value for each"):
        meters("INSERT INTO d1 (ts, b) VALUES (?, ?)", 1)


def test_several_tables_in_one_statement(meters: Run, engine: Engine) -> None:
    meters("CREATE SCHEMA TEMPLATE car (s1 INT32); SET SCHEMA TEMPLATE car TO root.beijing")
    before = engine.committed_lsn
    result = meters(
        "INSERT INTO d1 USING meters TAGS ('x', 1) (ts, b) VALUES (1, 1)"
        " d2 USING meters (groupid) TAGS (2) (ts, b) VALUES (1, 2) (2, 3)"
        " root.beijing.line.c1 (time, s1) VALUES (9, 9)"
    )
    assert result.rows_affected == 4
    assert meters("SELECT tbname, location, groupid, b FROM meters").rows() == [
        ["d1", "x", 1, 1],
        ["d2", None, 2, 2],
        ["d2", None, 2, 3],
    ]
    assert meters("SELECT s1 FROM root.beijing.line.c1").rows() == [[9, 9]]
    # Two records of rows, the devices of each template, and the database of the new path.
    assert engine.committed_lsn - before <= 6


def test_rows_are_routed_by_tbname_or_device(meters: Run) -> None:
    result = meters(
        "INSERT INTO meters (tbname, location, groupid, ts, b) VALUES"
        " ('d1', 'x', 2, 1, 1) ('d1', 'y', 2, 2, 2) ('root.other.d9', NULL, 3, 1, 3)"
    )
    assert any("d1 keeps the tags" in warning for warning in result.warnings)
    assert meters("SELECT device, location, b FROM meters").rows() == [
        ["root.main.d1", "x", 1],
        ["root.main.d1", "x", 2],
        ["root.other.d9", None, 3],
    ]


def test_tags_are_given_once(meters: Run) -> None:
    meters("CREATE TABLE d1 USING meters TAGS ('x', 1)")
    again = meters("INSERT INTO d1 USING meters TAGS ('y', 1) (ts, b) VALUES (1, 1)")
    assert again.warnings == [
        "root.main.d1 keeps the tags that it was created with (location differ)"
    ]
    assert meters("SHOW TAGS FROM d1").rows() == [["root.main.d1", "x", 1]]
    same = meters("INSERT INTO d1 USING meters TAGS ('x', 1) (ts, b) VALUES (2, 1)")
    assert same.warnings == []


def test_tables_are_created_once(meters: Run) -> None:
    meters("CREATE TABLE d1 USING meters TAGS ('x', 1) d2 USING meters (groupid) TAGS (2)")
    assert meters("SHOW TABLES").row_count == 2
    with pytest.raises(SchemaError, match="IF NOT EXISTS"):
        meters("CREATE TABLE d1 USING meters TAGS ('x', 1)")
    meters("CREATE TABLE IF NOT EXISTS d1 USING meters TAGS ('x', 1)")


def test_the_deepest_template_above_a_path_makes_the_device(run: Run) -> None:
    run(
        "CREATE SCHEMA TEMPLATE high (s INT32); CREATE SCHEMA TEMPLATE low (s INT64);"
        "SET SCHEMA TEMPLATE high TO root.a; SET SCHEMA TEMPLATE low TO root.a.b;"
        "INSERT INTO root.a.d(time, s) VALUES (1, 1); INSERT INTO root.a.b.d(time, s) VALUES (1, 2)"
    )
    assert [row[1] for row in run("SHOW DEVICES").rows()] == ["high", "low"]
    run("CREATE SCHEMA TEMPLATE other (s INT64); SET SCHEMA TEMPLATE other TO root.a.b")
    with pytest.raises(SchemaError, match=r"several templates.*low, other"):
        run("INSERT INTO root.a.b.new(time, s) VALUES (1, 2)")


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("INSERT INTO d9 (ts, b) VALUES (1, 1)", NotFoundError, "USING template"),
        ("INSERT INTO d1 (ts, x) VALUES (1, 1)", NotFoundError, "no measurement 'x'"),
        ("INSERT INTO d1 (ts, b) VALUES (1)", SqlError, "row 1 has 1 values for 2 columns"),
        ("INSERT INTO d1 VALUES (1, 2)", SqlError, "2 values for 7 columns"),
        ("INSERT INTO d1 (ts, b) VALUES (1, 128)", OutOfRangeError, "INT8 and cannot hold 128"),
        ("INSERT INTO d1 (ts, b) VALUES (1, 1.5)", OutOfRangeError, "cannot hold 1.5"),
        ("INSERT INTO d1 (ts, b) VALUES (1, '1')", SchemaError, "not str"),
        ("INSERT INTO d1 (ts, a) VALUES (1, '1.5')", SchemaError, "not str"),
        ("INSERT INTO d1 (ts, c) VALUES (1, 5)", SchemaError, "not int"),
        ("INSERT INTO d1 (ts, f) VALUES (1, 2)", OutOfRangeError, "cannot hold .*2"),
        ("INSERT INTO d1 (ts, b) VALUES (1.5, 1)", SchemaError, "ts|time is a time"),
        ("INSERT INTO d1 (ts, b) VALUES (NULL, 1)", SchemaError, "is a time"),
        ("INSERT INTO d1 (ts, b) VALUES ('1970-01-01 00:00:00.0001', 1)", OutOfRangeError, "finer"),
        ("INSERT INTO d1 (ts, b) VALUES (9223372036854775807, 1)", OutOfRangeError, "time"),
        ("INSERT INTO d5 USING nope TAGS (1) VALUES (1, 1)", NotFoundError, "no template"),
        ("INSERT INTO d5 USING meters TAGS (1) (ts, b) VALUES (1, 1)", SqlError, "1 tag values"),
        ("INSERT INTO d5 USING meters TAGS (1, 1) (ts, b) VALUES (1, 1)", SchemaError, "not int"),
        ("INSERT INTO d5 USING meters (x) TAGS (1) (ts, b) VALUES (1, 1)", NotFoundError, "no tag"),
        ("INSERT INTO meters (device, ts, b) VALUES (5, 1, 1)", SqlError, "name or path"),
        ("INSERT INTO `a/b` USING meters TAGS ('x', 1) (ts) VALUES (1)", SchemaError, "refused"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused(
    meters: Run, sql: str, error: type[MainstemError], message: str
) -> None:
    meters("CREATE TABLE d1 USING meters TAGS ('x', 1)")
    with pytest.raises(error, match=message):
        meters(sql)


def test_a_statement_with_a_bad_value_leaves_nothing_behind(meters: Run) -> None:
    with pytest.raises(OutOfRangeError):
        meters(
            "INSERT INTO d1 USING meters TAGS ('x', 1) (ts, b) VALUES (1, 1)"
            " d2 USING meters TAGS ('x', 1) (ts, b) VALUES (1, 1000)"
        )
    assert meters("SHOW DEVICES").row_count == 0
    assert meters("SELECT count(*) FROM meters").rows() == [[0]]


def test_a_device_keeps_its_template(meters: Run) -> None:
    meters("CREATE SCHEMA TEMPLATE car (s1 INT32); CREATE TABLE d1 USING meters TAGS ('x', 1)")
    with pytest.raises(SchemaError, match="belongs to template meters"):
        meters("INSERT INTO d1 USING car TAGS () VALUES (1, 1)")


@pytest.mark.parametrize("rows", ["VALUES (1, 2, 3)", "SELECT 1, 2, 3"])
def test_a_column_is_named_once(meters: Run, rows: str) -> None:
    for target in ("root.main.d5(time, v, V)", "meters(tbname, ts, TS)"):
        with pytest.raises(SqlError, match="named twice"):
            meters(f"INSERT INTO {target} {rows}")
    assert meters("SHOW DEVICES").rows() == []
