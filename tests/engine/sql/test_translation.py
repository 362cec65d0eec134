"""Every refusal says what is wrong, of which name, and what to do, and shows no generated SQL."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import EngineError, SqlError, SqlLimitError
from mainstem_engine.sql.running.translation import translate_error

from .conftest import Run

LEAKS = re.compile(r"mainstem_\d|\"?#\w|Candidate|LINE \d|Binder|Values list|\n")
"""What no message has: names that planning makes, and the executing database's own remarks."""


@pytest.mark.parametrize(
    ("sql", "field", "said"),
    [
        ("SELECT foo FROM d1001", "foo", "DESCRIBE"),
        ("SELECT d1001.foo FROM d1001", "foo", "DESCRIBE"),
        ("SELECT _wstart, avg(foo) FROM d1001 INTERVAL(1s)", "foo", "DESCRIBE"),
        ("SELECT _wstart FROM d1001", "_wstart", "beside a window"),
        ("SELECT _isfilled, current FROM d1001", "_isfilled", "beside INTERP"),
        ("SELECT avg(current), voltage FROM meters", "voltage", "last(voltage)"),
        ("SELECT avg(location) FROM meters", "avg", "CAST"),
        ("SELECT spread(location) FROM meters", "-", "CAST"),
        ("SELECT current FROM d1001 WHERE location > 5", None, "cast one side"),
        ("SELECT CAST(location AS INT) FROM meters", None, "TRY_CAST"),
        ("SELECT 1 // 0", None, "nullif"),
        (
            "SELECT unique(current) FROM d1001 UNION ALL SELECT avg(current), 1 FROM d1001",
            None,
            "compare a time",
        ),
        ("SELECT count(*) FROM d1001 UNION ALL SELECT CAST('x' AS INT)", None, "TRY_CAST"),
        ("(SELECT ts, current FROM d1001) GROUP BY ([0, 9), 2s)", "GROUP BY", "inside of them"),
        ("SELECT (SELECT current FROM meters)", None, "LIMIT 1"),
        ("SELECT current FROM d1001 WHERE sum(current) > 1", None, "HAVING"),
        ("SELECT current FROM d1001 ORDER BY 9", None, "from 1"),
        ("SELECT current FROM d1001 UNION SELECT current, voltage FROM d1001", None, "as many"),
        ("SELECT a.ts FROM d1001 a, d1002 b WHERE current > 1", "current", "which table"),
        ("SELECT current FROM d1001 LIMIT -1", None, "zero or more"),
        ("SELECT current FROM d1001 WHERE ts > true", None, "compare a time"),
        ("SELECT current FROM", None, "docs/sql.md"),
        ("SELECT 'current", None, "close every quote"),
        ("SELECT count(*) FROM d1001 STATE_WINDOW(x) EXTEND(?)", "?", "write names"),
        ("SELECT top(current, 0) FROM d1001", "top", "k: an integer"),
        ("SELECT diff(current) OVER (ORDER BY ts) FROM d1001", "diff", "PARTITION BY"),
        ("SELECT diff(location) FROM d1001", "diff", "numbers"),
        ("SELECT percentile(current, 101) FROM d1001", "percentile", "median"),
        ("SELECT statecount(current, 'FOO', 1) FROM d1001", "statecount", "lt or gt"),
        ("SELECT count(*) FROM meters GROUP BY CONDITION(location)", "condition", "compare it"),
        ("SELECT count_if(location, 2) FROM d1001", "count_if", "numbers"),
    ],
)
def test_field_and_hint(plant: Run, sql: str, field: str | None, said: str) -> None:
    with pytest.raises(SqlError) as refused:
        plant(sql)
    assert refused.value.hint is not None
    assert said in str(refused.value)
    if field is not None:
        assert refused.value.field == field
    assert LEAKS.search(str(refused.value)) is None, str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT _irowts, interp(current) FROM d1001 RANGE(-9223372036855, 1) EVERY(1d)",
        "SELECT current FROM d1001 WHERE ts = '2026-02-30'",
    ],
)
def test_moments_that_do_not_exist(plant: Run, sql: str) -> None:
    with pytest.raises(EngineError) as refused:
        plant(sql)
    assert refused.value.hint is not None


def test_walks_refuse_what_numpy_cannot(plant: Run, monkeypatch: Any, plant_engine: Engine) -> None:
    from mainstem_engine.sql.walks import point_walk

    def overflow(*_: Any) -> None:
        raise OverflowError("too large")

    monkeypatch.setattr(point_walk, "run", overflow)
    with pytest.raises(SqlError, match="too large") as refused:
        plant("SELECT diff(current) FROM d1001")
    assert refused.value.field == "points"


@pytest.mark.parametrize("function", ["elapsed(ts)", "diff(x)", "twa(x)", "time_duration(x)"])
def test_rows_too_far_apart_for_differences(run: Run, function: str) -> None:
    run("CREATE TABLE ends (ts TIMESTAMP, x DOUBLE)")
    run("INSERT INTO ends VALUES (-9223372036854, 2) (9223372036854, 1)")
    with pytest.raises(SqlError, match="292 years"):
        run(f"SELECT {function} FROM ends")
    assert len(run(f"SELECT {function} FROM ends WHERE ts > 0").rows()) == 1


@pytest.mark.parametrize(
    "error",
    [
        duckdb.OutOfMemoryException("Out of Memory Error: no"),
        duckdb.IOException("IO Error: failed to allocate 16 bytes"),
        duckdb.FatalException("FATAL Error: std::bad_alloc"),
        duckdb.InvalidInputException("Invalid Input Error: malloc of size 65536 failed"),
    ],
)
def test_what_ends_for_want_of_memory_is_a_limit_whoever_says_it(error: Exception) -> None:
    found = translate_error(error)
    assert isinstance(found, SqlLimitError)
    assert found.hint is not None
    assert "narrow" in found.hint


def test_a_value_that_speaks_of_memory_is_no_want_of_it() -> None:
    error = duckdb.ConversionException("Conversion Error: Could not convert 'out of memory'")
    assert not isinstance(translate_error(error), SqlLimitError)
