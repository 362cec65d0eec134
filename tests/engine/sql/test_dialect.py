"""Text to statements: both peers' spellings, and what is refused by name."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
from sqlglot import exp

from mainstem_engine import ColumnType
from mainstem_engine.errors import (
    SchemaError,
    SqlError,
    SqlLimitError,
    SqlSyntaxError,
    SqlUnsupportedError,
)
from mainstem_engine.sql.grammar.dialect import NAME, STATEMENT_CHARS_MAX, parse
from mainstem_engine.sql.statements import (
    CreateDatabase,
    CreateDevices,
    CreateTemplate,
    Describe,
    Explain,
    Insert,
    InsertTarget,
    Name,
    Now,
    Parameter,
    Query,
    SetTemplate,
    Show,
    UseDatabase,
)

DAY_NS = 86_400 * 10**9


def one(sql: str) -> Any:
    (statement,) = parse(sql)
    return statement


def targets(sql: str) -> tuple[InsertTarget, ...]:
    return cast("Insert", one(sql)).targets


SEED_TEMPLATE = """create schema template car_template(
    (s1 INT32 encoding=Gorilla compression=SNAPPY), (s2 FLOAT encoding=RLE compression=SNAPPY),)"""


@pytest.mark.parametrize(
    "sql",
    [
        SEED_TEMPLATE,
        f"{SEED_TEMPLATE};",
        SEED_TEMPLATE.upper()
        .replace("CAR_TEMPLATE", "car_template")
        .replace("S1", "s1")
        .replace("S2", "s2"),
        """CREATE DEVICE TEMPLATE car_template ALIGNED (
            s1 INT32 encoding=GORILLA compressor=SNAPPY, s2 FLOAT ENCODING RLE
            COMPRESSOR snappy)""",
    ],
)
def test_every_spelling_of_a_schema_template(sql: str) -> None:
    statement = one(sql)
    assert isinstance(statement, CreateTemplate)
    assert statement.template.name == "car_template"
    assert [
        (m.name, m.type, m.encoding, m.compression) for m in statement.template.measurements
    ] == [
        ("s1", ColumnType.INT32, "GORILLA", "SNAPPY"),
        ("s2", ColumnType.FLOAT, "RLE", "SNAPPY"),
    ]
    assert statement.warnings == ()


def test_a_stable_names_its_time_and_its_tags() -> None:
    statement = one(
        """CREATE STABLE IF NOT EXISTS power.meters (ts TIMESTAMP,
            a FLOAT ENCODE 'delta-d' LEVEL 'h', `odd name` INT UNSIGNED, c VARCHAR(64))
            TAGS (location BINARY(64), groupid INT)"""
    )
    assert isinstance(statement, CreateTemplate)
    template = statement.template
    assert (template.name, template.time_name, statement.if_not_exists) == ("meters", "ts", True)
    assert [(m.name, m.type) for m in template.measurements] == [
        ("a", ColumnType.FLOAT),
        ("odd name", ColumnType.UINT32),
        ("c", ColumnType.TEXT),
    ]
    assert [(t.name, t.type) for t in template.tags] == [
        ("location", ColumnType.TEXT),
        ("groupid", ColumnType.INT32),
    ]
    assert any("DELTA-D is stored as PCO" in warning for warning in statement.warnings)


def test_a_stable_begins_with_its_time() -> None:
    with pytest.raises(SqlSyntaxError, match="ts TIMESTAMP"):
        parse("CREATE STABLE m (a INT) TAGS (b INT)")


def test_a_numeric_encoding_cannot_hold_text() -> None:
    with pytest.raises(SchemaError, match="DICTIONARY or PLAIN"):
        parse("CREATE SCHEMA TEMPLATE t (s TEXT encoding=GORILLA)")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE DATABASE root.power WITH (keep='365d', duration='10d', precision='us', vgroups=2)",
        "CREATE DATABASE power KEEP 365d DURATION 10d PRECISION 'us' VGROUPS 2",
        "create database power keep 365 days 10 precision us vgroups 2",
    ],
)
def test_every_spelling_of_a_database(sql: str) -> None:
    statement = one(sql)
    assert isinstance(statement, CreateDatabase)
    assert statement.name.elements[-1] == "power"
    assert (statement.keep_ns, statement.duration_ns) == (365 * DAY_NS, 10 * DAY_NS)
    assert (statement.precision, statement.options) == ("us", {"vgroups": "2"})


def test_definitions_of_devices() -> None:
    assert one("set schema template t to root.beijing") == SetTemplate(
        "t", Name(("root", "beijing"))
    )
    statement = one("CREATE TABLE IF NOT EXISTS d1 USING st TAGS ('x', 1) d2 USING st (g) TAGS (2)")
    assert isinstance(statement, CreateDevices)
    assert [(str(d.name), d.tag_names, d.tag_values) for d in statement.devices] == [
        ("d1", None, ("x", 1)),
        ("d2", ("g",), (2,)),
    ]


def test_inserts_of_both_peers() -> None:
    (target,) = targets(
        "INSERT INTO root.beijing.d1(time, s1, s2) ALIGNED VALUES (1, 2, 3.5), (2, null, -4.5e3);"
    )
    assert str(target.name) == "root.beijing.d1"
    assert target.columns == ("time", "s1", "s2")
    assert target.rows == ((1, 2, 3.5), (2, None, -4500.0))
    first, second = targets(
        "INSERT INTO d1 USING st TAGS ('a', 2) VALUES (now, 1) (now()+1s-2ms, 2)"
        " d2 USING st (g) TAGS (3) (ts, x) VALUES ('2026-10-03', NaN)"
    )
    assert first.using is not None
    assert first.using.tag_values == ("a", 2)
    assert first.rows == ((Now(), 1), (Now(998_000_000), 2))
    assert second.columns == ("ts", "x")
    assert math.isnan(cast("float", second.rows[0][1]))


def test_literals_of_every_kind() -> None:
    (target,) = targets(
        "INSERT INTO t VALUES (2023-02-01T11:47:00.000+08:00, x'CAFE', TRUE, -Infinity, 'it''s',"
        ' "text", ?, +7, .5, ?)'
    )
    assert target.rows == (
        (
            "2023-02-01T11:47:00.000+08:00",
            b"\xca\xfe",
            True,
            -math.inf,
            "it's",
            "text",
            Parameter(0),
            7,
            0.5,
            Parameter(1),
        ),
    )


@pytest.mark.parametrize(
    ("sql", "elements"),
    [
        ("root.plant.line1", ("root", "plant", "line1")),
        ("root.1.2d.3e5", ("root", "1", "2d", "3e5")),
        ("root.`a b`.`x``y`", ("root", "a b", "x`y")),
        ("root.order.select", ("root", "order", "select")),
        ("d1001", ("d1001",)),
        ('"d1001"', ("d1001",)),
        ("root.Größe.d1", ("root", "Größe", "d1")),
    ],
)
def test_names_in_from_are_paths(sql: str, elements: tuple[str, ...]) -> None:
    tree = one(f"SELECT * FROM {sql} WHERE time > 1").tree
    assert tree.find(exp.Table).meta[NAME] == Name(elements)


def test_patterns_know_their_wildcards() -> None:
    tree = one("SELECT * FROM root.a.*.`*`.** LIMIT 3").tree
    assert tree.find(exp.Table).meta[NAME] == Name(("root", "a", "*", "*", "**"), frozenset({2, 4}))


def test_placeholders_are_numbered_through_the_script() -> None:
    first, second = parse("SELECT a FROM t WHERE b = ? AND c IN (?, ?); SELECT ?")
    assert isinstance(first, Query)
    assert isinstance(second, Query)
    assert [p.name for p in first.tree.find_all(exp.Placeholder)] == ["1", "2", "3"]
    assert [p.name for p in second.tree.find_all(exp.Placeholder)] == ["4"]


def test_listings_and_the_rest() -> None:
    assert one("USE power") == UseDatabase(Name(("power",)))
    assert one("show schema templates") == Show("TEMPLATES")
    assert one("SHOW DEVICES root.a.** LIMIT 3 OFFSET 1") == Show(
        "DEVICES", Name(("root", "a", "**"), frozenset({2})), None, 3, 1
    )
    assert one("SHOW TABLES LIKE 'd%'") == Show("TABLES", None, "d%")
    assert one("SHOW TAGS FROM d1") == Show("TAGS", Name(("d1",)))
    assert one("DESC root.a.d1") == Describe(Name(("root", "a", "d1")))
    assert isinstance(one("EXPLAIN SELECT 1"), Explain)


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("INSERT INTO a FILE 'x.csv'", "INSERT ... FILE"),
        ("CREATE TABLE t (ts TIMESTAMP) AS SELECT 1", "CREATE TABLE"),
        ("SHOW VERSION", "VERSION"),
        ("DROP VIEW v", "VIEW"),
        ("ALTER STABLE m COMMENT 'x'", "COMMENT"),
        ("ALTER USER x", "USER"),
        ("ALTER STABLE m MODIFY COLUMN a INT UNIT='V'", "unit"),
        ("EXPLAIN ANALYZE DELETE FROM t", "EXPLAIN"),
        ("CREATE SCHEMA TEMPLATE t (a DECIMAL)", "DECIMAL"),
    ],
)
def test_what_is_not_there_is_refused_by_name(sql: str, named: str) -> None:
    with pytest.raises(SqlUnsupportedError, match=named.replace(".", r"\.")) as caught:
        parse(sql)
    assert caught.value.hint


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "SELEC 1",
        "SELECT 'open",
        "SELECT ((",
        "INSERT INTO t VALUES",
        "INSERT INTO t VALUES (1,)",
        "INSERT INTO t VALUES (1e999)",
        "INSERT INTO d (a) USING m TAGS (1) (b) VALUES (1)",
        "CREATE STABLE t () TAGS ()",
        "CREATE DATABASE d KEEP soon",
        "SELECT a FROM root..d",
        "USE root.*",
        "getenv",
    ],
)
def test_syntax_errors_are_ours(sql: str) -> None:
    with pytest.raises(SqlSyntaxError):
        parse(sql)


def test_a_syntax_error_names_its_place() -> None:
    with pytest.raises(SqlSyntaxError, match="line 2, column"):
        parse("SELECT 1;\nINSERT INTO t VALUE 5")


def test_what_is_too_large_or_too_deep_is_refused() -> None:
    with pytest.raises(SqlLimitError):
        parse("SELECT 1" + " " * STATEMENT_CHARS_MAX)
    with pytest.raises(SqlError, match=r"deep|large"):
        parse("SELECT " + "(" * 2_000 + "1" + ")" * 2_000)
    with pytest.raises(SqlLimitError, match="too large"):
        parse("SELECT " + ", ".join("a" for _ in range(12_000)))


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO root.sg.d$1(time, a) VALUES (3, 1)",
        "INSERT INTO root.sg.d1(time, a$b) VALUES (3, 1)",
        "DROP TABLE d1$",
        "INSERT INTO root.sg.d1(time, a) VALUES (2023-10-01T10:00:00Zone, 1)",
    ],
)
def test_a_name_does_not_lose_its_end(sql: str) -> None:
    with pytest.raises(SqlSyntaxError, match="backquotes"):
        parse(sql)


@pytest.mark.parametrize("number", ["1e", "1e-x", "-1e", "1e400", ".3.5", "-.5e"])
def test_a_number_that_is_none_is_told(number: str) -> None:
    with pytest.raises(SqlSyntaxError, match=r"no number|out of range|near"):
        parse(f"INSERT INTO d1(time, a) VALUES (1, {number})")


@pytest.mark.parametrize("sql", ["DELETE FROM root.a.b WHERE", "SELECT * FROM", "SELECT schema("])
def test_messages_are_free_of_the_parsers_own_words(sql: str) -> None:
    with pytest.raises(SqlSyntaxError) as caught:
        parse(sql)
    assert "<" not in str(caught.value)
    assert "sqlglot" not in str(caught.value)
