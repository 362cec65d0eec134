"""What may run, as DuckDB itself reads it; and that every function it has was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from mainstem_engine.errors import SqlError, SqlUnsupportedError
from mainstem_engine.sql.running import admission
from mainstem_engine.sql.running.admission import Admission
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.running.sandbox import Program
from mainstem_engine.sql.select.function_list import (
    ALLOWED,
    REFUSED,
    ROW_FUNCTIONS,
    TABLE_FUNCTIONS,
    is_refused,
)


@pytest.fixture(scope="module")
def database() -> Iterator[Any]:
    with duckdb.connect(":memory:", config={"threads": "1"}) as database:
        yield database


COMPUTING = [
    "SELECT 1 FROM (SELECT 2) USING SAMPLE 1",
    "SELECT 1",
    "VALUES (1, 'a')",
    "SELECT sum(a) + 1, 'x'.upper(), max(b) OVER (PARTITION BY c) FROM t GROUP BY ALL",
    "WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x + 1 FROM r) SELECT * FROM r",
    "SELECT * FROM range(10), unnest([1]) u, generate_series(1, 2) JOIN t USING (x)",
    "SELECT a // 2, a IN (1, 2), a LIKE 'x', -a, a::INT, t AT TIME ZONE 'UTC', a ~ 'b' FROM t",
    "SELECT list_transform([1], lambda x: x + 1), {'a': 1}.a, [1, 2][1:2], map {'a': 1}",
    "SELECT quantile_cont(a, 0.5), first(a ORDER BY b), count(*) FILTER (WHERE a > 1) FROM t",
    "SELECT time_bucket(INTERVAL 1 DAY, a), date_trunc('day', a), extract(year FROM a) FROM t",
    "SELECT * FROM a ASOF JOIN b ON a.t >= b.t",
    "SELECT lag(a IGNORE NULLS) OVER (ORDER BY b), current_date, now(), random() FROM t",
]
REFUSALS = [
    ("SELECT current_setting('memory_limit')", "current_setting is not available"),
    ("SELECT 'x'.getvariable()", "getvariable is not available"),
    ("SELECT * FROM read_csv('x')", "table function read_csv"),
    ("SELECT * FROM t, LATERAL (SELECT * FROM glob('*'))", "table function glob"),
    ("SELECT (SELECT max(content) FROM read_text('x'))", "table function read_text"),
    ("SELECT * FROM query('SELECT 1')", "table function query"),
    ("SELECT system.main.upper('a')", "of a schema"),
    ("SELECT * FROM duckdb_settings", "table duckdb_settings"),
    ("SELECT * FROM pg_catalog.pg_settings", "table pg_settings"),
    ("SELECT * FROM duckdb_logs, (WITH duckdb_logs AS (SELECT 1) SELECT 1)", "table duckdb_logs"),
    ("SELECT * FROM information_schema.tables", "table tables"),
    ("SELECT a FROM t; SELECT 1", "several statements"),
    ("SELECT uper('a')", "uper is not known; did you mean upper"),
    ("SELECT pg_sleep(1)", "pg_sleep is not available"),
    ("SELECT sleep_ms(1)", "sleep_ms is not available"),
    ("DESCRIBE t", "show_ref"),
    ("SELECT * FROM (SUMMARIZE t)", "show_ref"),
    ("COPY t TO 'x'", "Only SELECT"),
    ("ATTACH 'x'", "Only SELECT"),
    ("SET threads = 9", "Only SELECT"),
    ("PRAGMA version", "Only SELECT|syntax|not available"),
    ("CREATE TABLE x AS SELECT 1", "Only SELECT"),
    ("INSTALL httpfs", "Only SELECT"),
]


@pytest.mark.parametrize("sql", COMPUTING)
def test_what_computes_is_admitted(database: Any, sql: str) -> None:
    Admission().check(database, sql)


@pytest.mark.parametrize(("sql", "reason"), REFUSALS)
def test_what_reaches_out_is_not(database: Any, sql: str, reason: str) -> None:
    with pytest.raises(SqlUnsupportedError, match=reason):
        Admission().check(database, sql)


def test_what_is_no_sql_is_an_error(database: Any) -> None:
    with pytest.raises(SqlError, match="syntax"):
        Admission().check(database, "SELEC 1")


def test_every_function_of_the_database_was_looked_at(database: Any) -> None:
    """A release with new functions fails here, until each is allowed or refused."""
    rows = database.execute("SELECT DISTINCT function_type, function_name FROM duckdb_functions()")
    kinds: dict[str, set[str]] = {}
    for kind, name in rows.fetchall():
        kinds.setdefault(kind, set()).add(name.lower())
    values = set.union(*(kinds[kind] for kind in ("scalar", "aggregate", "macro", "window")))
    unknown = {name for name in values - ALLOWED if not is_refused(name)}
    # Predicates of the grammar, which are no calls.
    assert unknown <= {"is distinct from", "is not distinct from"}
    assert values >= ALLOWED - TABLE_FUNCTIONS
    assert not ALLOWED & REFUSED
    assert kinds["table"] >= TABLE_FUNCTIONS
    assert ALLOWED >= ROW_FUNCTIONS


def test_a_text_is_read_once_and_few_are_remembered(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "TEXTS_MAX", 2)
    check = Admission()
    for number in (1, 2, 1, 3):
        check.check(database, f"SELECT {number}")
    assert list(check._admitted) == ["SELECT 1", "SELECT 3"]
    check.check(None, "SELECT 1")
    with pytest.raises(AttributeError):
        check.check(None, "SELECT 2")


def test_depth_does_not_exhaust_this_process(database: Any) -> None:
    Admission().check(database, "SELECT " + "(" * 500 + "1" + ")" * 500)
    with pytest.raises((SqlError, duckdb.Error, RecursionError)):
        Admission().check(database, "SELECT " + "(" * 50_000 + "1" + ")" * 50_000)


@pytest.mark.parametrize("sql", ["SELECT * FROM duckdb_settings", "SELECT uper('a')", "DESCRIBE t"])
def test_a_program_is_read_before_it_runs(executor: InProcessExecutor, sql: str) -> None:
    with pytest.raises(SqlUnsupportedError, match=r"not available|not known"):
        executor.execute(Program(sql, (), "UTC", (), False, executor.limits), lambda name: None)


def test_what_runs_in_the_node_itself_calls_less(database: Any) -> None:
    """A condition of DELETE: its values stay about as large as they are stored."""
    check = Admission(ROW_FUNCTIONS)
    check.check(
        database, "SELECT 1 FROM t WHERE abs(v) + 1 > 2 AND lower(s) LIKE 'a%' AND v IN (1)"
    )
    for call in (
        "repeat(s, 1000000000)",
        "s || s",
        "range(1000000000)",
        "lpad(s, 1000000000, 'x')",
    ):
        with pytest.raises(SqlUnsupportedError, match="not available"):
            check.check(database, f"SELECT 1 FROM t WHERE {call} IS NULL")
