"""Lengths without a unit, and lengths and counts that are parameters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from mainstem_engine.errors import SqlError, SqlSyntaxError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]


@pytest.fixture
def fine(run: Run) -> Run:
    """One table of milliseconds and one of microseconds, rows at 0, 1, 2, 5 and 6 units."""
    run("CREATE DATABASE fine PRECISION 'us'; CREATE TABLE fine.t (ts TIMESTAMP, v INT)")
    run("CREATE TABLE t (ts TIMESTAMP, v INT)")
    for table in ("t", "fine.t"):
        run(f"INSERT INTO {table} VALUES (0, 1) (1, 2) (2, 3) (5, 4) (6, 5)")
    return run


@pytest.mark.parametrize("table", ["t", "fine.t"])
@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("INTERVAL(2)", [[0, 2], [2, 1], [4, 1], [6, 1]]),
        ("INTERVAL(2, 1)", [[-1, 1], [1, 2], [5, 2]]),
        ("INTERVAL(2, 0)", [[0, 2], [2, 1], [4, 1], [6, 1]]),
        ("INTERVAL(4) SLIDING(2)", [[-2, 2], [0, 3], [2, 2], [4, 2], [6, 1]]),
        ("SESSION(ts, 2)", [[0, 3], [5, 2]]),
    ],
)
def test_windows(fine: Run, table: str, clause: str, expected: list[list[int]]) -> None:
    assert fine(f"SELECT _wstart, count(*) FROM {table} {clause}").rows() == expected


@pytest.mark.parametrize("table", ["t", "fine.t"])
def test_steps_of_interpolation(fine: Run, table: str) -> None:
    sql = f"SELECT _irowts, INTERP(v) FROM {table} RANGE(2, 5) EVERY(1) FILL(PREV)"
    assert fine(sql).rows() == [[2, 3], [3, 3], [4, 3], [5, 4]]


def test_of_a_sub_query(fine: Run) -> None:
    sql = "SELECT max(n) FROM (SELECT _wstart, count(*) AS n FROM fine.t INTERVAL(3))"
    assert fine(sql).rows() == [[3]]


@pytest.mark.parametrize(
    "clause",
    [
        "INTERVAL(0)",
        "INTERVAL(2) SLIDING(3)",
        "INTERVAL(1s) SLIDING(2000)",
        "INTERVAL(1.5)",
        "SESSION(ts, 0)",
        "INTERVAL(99999999999999999999)",
    ],
)
def test_what_is_refused(fine: Run, clause: str) -> None:
    with pytest.raises(SqlSyntaxError):
        fine(f"SELECT count(*) FROM t {clause}")


@pytest.mark.parametrize(
    ("clause", "params", "written"),
    [
        ("INTERVAL(?)", ["2ms"], "INTERVAL(2ms)"),
        ("INTERVAL(?)", [2], "INTERVAL(2ms)"),
        ("INTERVAL(?)", [np.int64(2)], "INTERVAL(2ms)"),
        ("INTERVAL(?)", [timedelta(milliseconds=2)], "INTERVAL(2ms)"),
        ("INTERVAL(?)", ["1mo"], "INTERVAL(1mo)"),
        ("INTERVAL(?, ?) SLIDING(?)", [4, 1, "2ms"], "INTERVAL(4ms, 1ms) SLIDING(2ms)"),
        ("WHERE ts >= ? SESSION(ts, ?)", [1, "1ms"], "WHERE ts >= 1 SESSION(ts, 1ms)"),
        ("GROUP BY SESSION(?)", [1], "GROUP BY SESSION(1ms)"),
        ("GROUP BY ([?, ?), ?, ?)", [0, 8, 4, 2], "GROUP BY ([0, 8), 4ms, 2ms)"),
        ("COUNT_WINDOW(?, ?)", [3, 2], "COUNT_WINDOW(3, 2)"),
        ("COUNT_WINDOW(?, ?, v)", [3, 2], "COUNT_WINDOW(3, 2, v)"),
        ("GROUP BY COUNT(v, ?)", [2], "GROUP BY COUNT(v, 2)"),
        ("GROUP BY VARIATION(v, ?)", [1], "GROUP BY VARIATION(v, 1)"),
        ("GROUP BY CONDITION(v < ?, KEEP >= ?)", [4, 2], "GROUP BY CONDITION(v < 4, KEEP >= 2)"),
        ("STATE_WINDOW(v < 3) TRUE_FOR(?)", ["2ms"], "STATE_WINDOW(v < 3) TRUE_FOR(2ms)"),
        ("STATE_WINDOW(v < 3) TRUE_FOR(COUNT ?)", [3], "STATE_WINDOW(v < 3) TRUE_FOR(COUNT 3)"),
        ("INTERVAL(?) LIMIT ? OFFSET ?", [2, 2, 1], "INTERVAL(2ms) LIMIT 2 OFFSET 1"),
        ("PARTITION BY v % 2 INTERVAL(?) SLIMIT ? SOFFSET ?", [2, 1, 1],
         "PARTITION BY v % 2 INTERVAL(2ms) SLIMIT 1 SOFFSET 1"),
    ],
)  # fmt: skip
def test_parameters(fine: Run, clause: str, params: list[Any], written: str) -> None:
    found = fine(f"SELECT count(*), sum(v) FROM t {clause}", *params).rows()
    assert found == fine(f"SELECT count(*), sum(v) FROM t {written}").rows() != []


def test_a_plan_holds_for_its_lengths(fine: Run) -> None:
    sql = "SELECT _wstart, count(*) FROM t INTERVAL(?)"
    found = [fine(sql, length).rows() for length in (2, 4, "2ms", 4)]
    assert found[0] == found[2] == [[0, 2], [2, 1], [4, 1], [6, 1]]
    assert found[1] == found[3] == [[0, 3], [4, 2]]


@pytest.mark.parametrize(
    ("sql", "params", "written"),
    [
        ("SELECT INTERP(v) FROM t RANGE(?, ?) EVERY(?) FILL(PREV)", [2, 5, 1],
         "SELECT INTERP(v) FROM t RANGE(2, 5) EVERY(1ms) FILL(PREV)"),
        ("SELECT INTERP(v) FROM t RANGE(?, ?, ?) EVERY(?) FILL(PREV, ?)", [0, 9, "1ms", 1, 7],
         "SELECT INTERP(v) FROM t RANGE(0, 9, 1ms) EVERY(1ms) FILL(PREV, 7)"),
        ("SELECT nullif(v, 3) FROM t FILL(PREV, ?)", ["1ms"],
         "SELECT nullif(v, 3) FROM t FILL(PREV, 1ms)"),
        ("SELECT nullif(v, 3) FROM t FILL(VALUE, ?)", [9],
         "SELECT nullif(v, 3) FROM t FILL(VALUE, 9)"),
        ("SELECT v FROM t ALIGN(EVERY ?, v PREVIOUS(?))", [2, "1ms"],
         "SELECT v FROM t ALIGN(EVERY 2ms, v PREVIOUS(1ms))"),
        ("SHOW TABLES LIMIT ? OFFSET ?", [1, 1], "SHOW TABLES LIMIT 1 OFFSET 1"),
    ],
)  # fmt: skip
def test_parameters_elsewhere(fine: Run, sql: str, params: list[Any], written: str) -> None:
    found = fine(sql, *params).rows()
    fine("USE main")
    assert found == fine(written).rows()


@pytest.mark.parametrize(
    ("clause", "value"),
    [
        ("INTERVAL(?)", 0),
        ("INTERVAL(?)", None),
        ("INTERVAL(?)", True),
        ("INTERVAL(?)", "2 bananas"),
        ("INTERVAL(?)", "2"),
        ("INTERVAL(?)", -1),
        ("INTERVAL(?)", 2**63),
        ("INTERVAL(1ms) SLIDING(?)", 2),
        ("COUNT_WINDOW(?)", 0),
        ("COUNT_WINDOW(?)", "2"),
        ("COUNT_WINDOW(2, ?)", 3),
        ("GROUP BY VARIATION(v, ?)", -1),
        ("STATE_WINDOW(v) TRUE_FOR(?)", "1mo"),
        ("INTERVAL(1ms) SLIMIT ?", -1),
        ("STATE_WINDOW(v) EXTEND(?)", 1),
        ("GROUP BY LEVEL = ?", 1),
    ],
)
def test_parameters_that_are_refused(fine: Run, clause: str, value: Any) -> None:
    with pytest.raises(SqlError) as raised:
        fine(f"SELECT count(*) FROM t {clause}", value)
    assert raised.value.hint


def test_a_parameter_of_show_is_a_number(run: Run) -> None:
    with pytest.raises(SqlError, match="parameter 1 is no number of rows"):
        run("SHOW DATABASES LIMIT ?", "x")
