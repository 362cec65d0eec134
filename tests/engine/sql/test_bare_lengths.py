"""Lengths without a unit count in the precision of the statement's tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine.errors import SqlSyntaxError
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
