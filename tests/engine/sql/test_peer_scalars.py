"""Functions of one value that the peers have: what they answer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import SqlError
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.select.time_formats import strftime_format

from .conftest import open_engine

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(tmp_path_factory.mktemp("scalars") / "data") as opened:
        opened.sql("CREATE STABLE m (ts TIMESTAMP, x DOUBLE, y BIGINT, s TEXT) TAGS (loc TEXT)")
        opened.sql("INSERT INTO d1 USING m TAGS ('a') VALUES (1000, 8, 1500, 'run')")
        opened.sql("INSERT INTO d1 VALUES (93600000, -2.25, NULL, '1970-01-01 00:00:02')")
        opened.sql("INSERT INTO d2 USING m TAGS ('b') VALUES (1000, 1, 5, 'été')")
        opened.sql("CREATE DATABASE fine PRECISION 'ns'; CREATE TABLE fine.t (ts TIMESTAMP, v INT)")
        opened.sql("INSERT INTO fine.t VALUES (1000000001, 1)")
        yield opened


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("TIMETRUNCATE(ts, 1h)", 0),
        ("TIMETRUNCATE(ts, '1s')", 1000),
        ("TIMETRUNCATE('2026-10-21T10:11:12Z', 1d)", 1_792_540_800_000),
        ("TIMETRUNCATE(1000, 1a)", 1000),
        ("TIMEDIFF(ts, 400)", 600),
        ("TIMEDIFF(ts, '1970-01-01T00:00:10.5Z', 1s)", -9),
        ("TIMEDIFF('2026-01-02', '2026-01-01', 1h)", 24),
        ("TO_ISO8601(ts)", "1970-01-01T00:00:01.000+0000"),
        ("TO_ISO8601(1500, '+05:30')", "1970-01-01T05:30:01.500+05:30"),
        ("TO_ISO8601(y, 'z')", "1970-01-01T00:00:01.500Z"),
        ("TO_ISO8601(ts, '-0100')", "1969-12-31T23:00:01.000-0100"),
        ("TO_UNIXTIMESTAMP('1970-01-01T00:00:01.5Z')", 1500),
        ("TO_UNIXTIMESTAMP('1970-01-01', 1)", 0),
        ("TO_UNIXTIMESTAMP(s)", None),
        ("TO_CHAR(ts, 'yyyy-mm-dd hh24:mi:ss.ms')", "1970-01-01 00:00:01.000"),
        ("TO_TIMESTAMP('21.10.2026 10', 'dd.mm.yyyy hh24')", 1_792_576_800_000),
        ("TO_TIMESTAMP('x', 'dd.mm.yyyy hh24')", None),
        ("CAST(ts AS BIGINT)", 1000),
        ("CAST(1500 AS TIMESTAMP)", 1500),
        ("CAST(-1500 AS TIMESTAMP)", -1500),
        ("CAST(s AS BINARY(8))", "run"),
        ("WEEK('2026-01-01', 0)", 0),
        ("WEEK('2021-01-01', 1)", 0),
        ("WEEK('2021-01-01', 3)", 53),
        ("WEEK('2026-01-05', 5)", 1),
        ("WEEKDAY('2026-10-21')", 3),
        ("TIMEZONE()", "UTC"),
        ("DATABASE()", "main"),
        ("LOG(x, 2)", 3.0),
        ("LOG(2, x)", 3.0),
        ("LOG(x)", 0.9030899869919435),
        ("FLOOR(x / 3, 1)", 2.6),
        ("CEIL(x / 3, 1)", 2.7),
        ("ROUND(x / 3, 2)", 2.67),
        ("ROUND(x / 3, 'places'='1')", 2.7),
        ("SUBSTRING_INDEX('a.b.c', '.', 2)", "a.b"),
        ("SUBSTRING_INDEX('a.b.c', '.', -1)", "c"),
        ("CHAR_LENGTH(s)", 3),
        ("CONCAT_WS('-', s, 'x')", "run-x"),
        ("STRING_CONTAINS(s, 's'='un')", True),
        ("STRING_MATCHES(s, 'regex'='r.')", False),
        ("STRCMP(s, 'sun')", -1),
        ("STARTSWITH(s, 'target'='r')", True),
        ("ENDSWITH(s, \"target\"=\"r\")", False),
        ("SUBSTR(s, 'start'='1', 'end'='2')", "u"),
        ("SUBSTR(s, 'start'='1')", "un"),
        ("SUBSTR(s, 2, 2)", "un"),
        ("LOCATE(s, 'target'='n')", 2),
        ("LOCATE('n', s)", 3),
        ("STRREPLACE(s, 'target'='r', 'replace'='f')", "fun"),
        ("REGEXREPLACE(s, 'regex'='[aeiou]', 'replace'='a')", "ran"),
        ("REGEXMATCH(s, 'regex'='r(.)', 'group'='1')", "u"),
        ("REGEXMATCH(s, 'regex'='q')", None),
        ("CONCAT(s, 'targets'='!')", "run!"),
        ("CONST(x, 'value'='7', 'type'='INT32')", 7),
        ("BITAND(y, 'binary'='12')", 12),
        ("ISNOTNULL(s)", True),
        ("FIND_IN_SET('b', 'a,b')", 2),
        ("s MATCH '^r'", True),
        ("s NMATCH '^r'", False),
    ],
)  # fmt: skip
def test_calls(engine: Engine, call: str, expected: Any) -> None:
    (row,) = engine.sql(f"SELECT {call} AS c FROM m WHERE ts < 2000 AND tbname = 'd1'").rows()
    assert row[0] == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_days_and_weeks_are_those_of_the_zone(engine: Engine) -> None:
    moment = "'2026-10-20T23:30:00Z'"
    sql = (
        f"SELECT TIMETRUNCATE({moment}, 1d), TIMETRUNCATE({moment}, 1d, 0),"
        f" TIMETRUNCATE({moment}, 1w), TIMETRUNCATE({moment}, 1w, 0), TIMEZONE(),"
        f" TO_ISO8601({moment}), TO_TIMESTAMP('2026-10-21', 'yyyy-mm-dd')"
    )
    hour, day = 3_600_000, 86_400_000
    midnight = 1_792_540_800_000
    assert engine.sql(sql, time_zone="Europe/Berlin").rows() == [
        [
            midnight - 2 * hour,
            midnight - day,
            midnight - 6 * day - 2 * hour,
            midnight - 6 * day,
            "Europe/Berlin",
            "2026-10-21T01:30:00.000+0200",
            midnight - 2 * hour,
        ]
    ]
    (row,) = engine.sql("SELECT TO_ISO8601(0)", time_zone="Asia/Kolkata").rows()
    assert row == ["1970-01-01T05:30:00.000+0530"]


def test_nanoseconds_are_kept(engine: Engine) -> None:
    sql = (
        "SELECT TO_ISO8601(ts), CAST(ts AS BIGINT), TIMEDIFF(ts, 1), TIMETRUNCATE(ts, 1s),"
        " TO_UNIXTIMESTAMP('1970-01-01T00:00:00.000000001Z'), TO_CHAR(ts, 'ss.ns') FROM fine.t"
    )
    assert engine.sql(f"SELECT * FROM ({sql})").rows() == [
        ["1970-01-01T00:00:01.000000001+0000", 1000000001, 1000000000, 1000000000, 1,
         "01.000000001"]
    ]  # fmt: skip


def test_times_of_windows(engine: Engine) -> None:
    sql = (
        "SELECT CAST(_wstart AS BIGINT) AS a, TO_ISO8601(_wend, 'Z') AS b,"
        " TIMEDIFF(_wend, _wstart, 1m), count(*) FROM d1 INTERVAL(1h)"
    )
    assert engine.sql(sql.replace("d1", "m WHERE tbname = 'd1'")).rows() == [
        [0, "1970-01-01T01:00:00.000Z", 60, 1],
        [93_600_000, "1970-01-02T03:00:00.000Z", 60, 1],
    ]


def test_conditions_and_groups(engine: Engine) -> None:
    assert engine.sql("SELECT x FROM d1 WHERE s MATCH '^r' AND x > 1").rows() == [[1000, 8.0]]
    assert engine.sql("SELECT x FROM d1 WHERE s NMATCH '^r'").rows() == [[93_600_000, -2.25]]
    assert engine.sql("SELECT x match FROM d1 LIMIT 1").rows() == [[1000, 8.0]]
    found = engine.sql("SELECT TIMETRUNCATE(ts, 1d) AS d, count(*) FROM m GROUP BY d ORDER BY d")
    assert found.rows() == [[0, 2], [86_400_000, 1]]


def test_columns_of_a_chosen_row(engine: Engine) -> None:
    run = engine.sql
    found = run("SELECT cols(last(ts), x, s AS t), cols(max(x), y), count(*) FROM d1")
    assert [c["name"] for c in found.columns] == ["x", "t", "y", "count(*)"]
    assert found.rows() == [[-2.25, "1970-01-01 00:00:02", 1500, 2]]
    found = run("SELECT tbname, cols(first(ts), x AS a) FROM m PARTITION BY tbname ORDER BY tbname")
    assert found.rows() == [["d1", 8.0], ["d2", 1.0]]
    found = run("SELECT _wstart, cols(min(x), s) FROM m INTERVAL(1d)")
    assert found.rows() == [[0, "été"], [86_400_000, "1970-01-01 00:00:02"]]
    for call in ("cols(avg(x), y)", "cols(x, y)", "cols(last(x))", "cols(last(x), *)"):
        with pytest.raises(SqlError, match="COLS takes"):
            run(f"SELECT {call} FROM d1")


def test_times_are_counted(engine: Engine) -> None:
    assert engine.sql("SELECT COUNT_TIME(*) FROM root.main.d1").rows() == [[2]]
    assert engine.sql("SELECT COUNT_TIME(*) FROM m").rows() == [[2]]
    found = engine.sql("SELECT COUNT_TIME(x) AS n FROM root.main.d2 GROUP BY ([0, 2000), 1s)")
    assert found.rows() == [[0, 0], [1000, 1]]


def test_devices_without_rows_have_counts_of_zero(engine: Engine) -> None:
    found = engine.sql(
        "SELECT count(x), avg(x) FROM root.main.* GROUP BY ([93600000, 93601000), 1s)"
    )
    assert found.rows() == [[93_600_000, 1, -2.25, 0, None]]


@pytest.mark.parametrize(
    "call",
    [
        "TIMETRUNCATE(ts)",
        "TIMETRUNCATE(ts, 1n)",
        "TIMETRUNCATE(ts, x)",
        "TIMEDIFF(ts)",
        "TIMEDIFF(ts, 1, 2, 3)",
        "TO_ISO8601(x)",
        "TO_ISO8601(ts, 'Berlin')",
        "TO_CHAR(ts, s)",
        "WEEK(ts, 2)",
        "SUBSTRING_INDEX(s, '.', y)",
        "CONST(x, 'value'='1', 'type'='FOO')",
        "TO_ISO8601('9999-12-31')",
        "CAST(9223372036854775807 AS TIMESTAMP)",
        "TIMETRUNCATE('0001-01-01', 1d)",
        "TIMEDIFF('1678-01-01', '2262-01-01')",
    ],
)
def test_what_is_refused(engine: Engine, call: str) -> None:
    with pytest.raises(SqlError) as raised:
        engine.sql(f"SELECT {call} FROM d1")
    assert raised.value.hint


def test_parameters_and_plans_that_are_kept(engine: Engine) -> None:
    for unit, moment in (("1s", 5), ("1h", 6), ("1s", 7)):
        found = engine.sql("SELECT TIMETRUNCATE(ts, ?), TO_ISO8601(?, 'Z') FROM d2", [unit, moment])
        expected = 1000 if unit == "1s" else 0
        assert found.rows() == [[1000, expected, f"1970-01-01T00:00:00.00{moment}Z"]]


def test_formats() -> None:
    assert strftime_format("YYYY/Mon/DD HH12:MI am") == "%Y/%b/%d %I:%M %p"
    assert strftime_format('dd "mm" 100% us ns DDD') == "%d mm 100%% %f %n %j"
