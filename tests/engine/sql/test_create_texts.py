"""SHOW CREATE: the statement makes the same again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine.errors import EngineError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]

MADE = (
    "CREATE DATABASE root.power WITH (keep='400d', duration='5d', precision='us', comp='2')",
    "CREATE STABLE s1 (ts TIMESTAMP, a FLOAT ENCODING=GORILLA COMPRESSION=LZ4, `b c` INT"
    " UNIT='it''s', d BLOB) TAGS (place TEXT, n INT, ok BOOL) KEEP 30d",
    "CREATE STABLE s2 (ts TIMESTAMP, a INT)",
    "USE power",
    "CREATE TABLE d1 USING s1 TAGS ('it''s', -2, true)",
    "CREATE TABLE d2 USING s1 (n) TAGS (3)",
    "CREATE TABLE `d-3` USING s2 TAGS ()",
    "CREATE TABLE plain (ts TIMESTAMP, x DOUBLE, y TEXT)",
    "CREATE TIMESERIES root.power.own.x WITH DATATYPE=INT32 TAGS(maker=us)",
)
TABLES = ("d1", "d2", "`d-3`", "plain", "root.power.own")


def described(run: Run) -> list[list[list[Any]]]:
    """What was made, as far as it is shown."""
    listed = [run(f"DESCRIBE {name}").rows() for name in ("s1", "s2", *TABLES)]
    listed += [run(f"SHOW {what}").rows() for what in ("DATABASES", "TEMPLATES", "TABLES")]
    return [*listed, run("SELECT TAGS tbname, place, n, ok FROM s1").rows()]


def test_what_is_shown_makes_the_same_again(run: Run) -> None:
    for statement in MADE:
        run(statement)
    expected = described(run)
    shown = [run("SHOW CREATE DATABASE power").rows()[0][1]]
    shown += [run(f"SHOW CREATE STABLE {name}").rows()[0][1] for name in ("s1", "s2")]
    shown += [run(f"SHOW CREATE TABLE {name}").rows()[0][1] for name in TABLES]
    run("DROP DATABASE power; DROP STABLE s1; DROP STABLE s2")
    for statement in shown:
        run(statement)
    # A template that comes back under its old name has another revision.
    again = described(run)
    assert again[:7] == expected[:7]
    assert again[7] == expected[7]
    assert [row[:7] for row in again[8]] == [row[:7] for row in expected[8]]
    assert again[9:] == expected[9:]


def test_columns_and_names(run: Run) -> None:
    run("CREATE STABLE m (ts TIMESTAMP, v INT) TAGS (a TEXT); CREATE TABLE d USING m TAGS ('x')")
    result = run("SHOW CREATE TABLE d")
    assert [column["name"] for column in result.columns] == ["table", "create_table"]
    assert result.rows() == [["d", "CREATE TABLE root.main.d USING `m` (`a`) TAGS ('x')"]]
    assert run("SHOW CREATE TABLE m").rows()[0][0] == "m"


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW CREATE TABLE nothing",
        "SHOW CREATE DATABASE nothing",
        "SHOW CREATE USER u",
        "SHOW CREATE",
    ],
)
def test_what_is_not_there(run: Run, sql: str) -> None:
    with pytest.raises(EngineError):
        run(sql)
