"""Quality functions in statements: of groups and windows, of runs of readings, beside others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.result import Result

TIMES_S = [2, 3, 4, 6, 8, 10, 14, 15, 16, 18, 20, 22, 26, 28, 30]
NOT_SCORED = range(0, 20, 2)


@pytest.fixture(autouse=True)
def _readings(run: Callable[..., Result]) -> None:
    run("CREATE STABLE press (ts TIMESTAMP, t DOUBLE, mode TEXT) TAGS (line TEXT)")
    rows = ", ".join(f"({time}000, {100 + time})" for time in TIMES_S)
    run(f"INSERT INTO p1 USING press TAGS ('north') (ts, t) VALUES {rows}")
    rows = ", ".join(f"({time}000, 5)" for time in NOT_SCORED)
    run(f"INSERT INTO p2 USING press TAGS ('south') (ts, t) VALUES {rows}")
    rows = ", ".join(f"({100 + time}000, 1)" for time in range(20))
    run(f"INSERT INTO p1 (ts, t) VALUES {rows}")


def rows_of(result: Result) -> list[list[Any]]:
    return [list(row) for row in result.rows("integer")]


def test_groups(run: Callable[..., Result]) -> None:
    found = run(
        "SELECT tbname, completeness(t), consistency(t), timeliness(t), validity(t)"
        " FROM press WHERE ts < 60000 GROUP BY tbname ORDER BY tbname"
    )
    scores = [pytest.approx(score) for score in (1 - 1 / 16, 14 / 15, 14 / 15, 1 - 6 / 60)]
    assert rows_of(found) == [["p1", *scores], ["p2", None, None, None, None]]


def test_windows_of_the_query(run: Callable[..., Result]) -> None:
    found = run("SELECT completeness(t), count(t) FROM p1 GROUP BY ([0, 180000), 1m)")
    assert rows_of(found) == [[0, 15 / 16, 15], [60_000, 1, 20], [120_000, None, 0]]


def test_windows_of_the_function(run: Callable[..., Result]) -> None:
    by_count = rows_of(run("SELECT timeliness(t, 'window'='15') FROM p1"))
    assert by_count == [[2_000, pytest.approx(14 / 15)], [100_000, 1]]
    by_time = rows_of(run("SELECT completeness(t, 'window'='1m') FROM p1"))
    assert by_time == [[2_000, 15 / 16], [100_000, 1]]


def test_windows_of_the_function_in_partitions(run: Callable[..., Result]) -> None:
    found = run(
        "SELECT tbname, completeness(t, 'window'='15') FROM press PARTITION BY tbname ORDER BY 1, 2"
    )
    assert [row[1:] for row in rows_of(found)] == [["p1", 15 / 16], ["p1", 1]]
    found = run("SELECT tbname, completeness(t) FROM press PARTITION BY tbname ORDER BY tbname")
    assert rows_of(found)[1] == ["p2", None]


def test_downtime(run: Callable[..., Result]) -> None:
    strict = rows_of(run("SELECT completeness(t) FROM p1"))[0][1]
    excused = rows_of(run("SELECT completeness(t, 'downtime'='true') FROM p1"))[0][1]
    assert strict < 0.5 < excused


def test_scores_are_numbers_like_others(run: Callable[..., Result]) -> None:
    found = run(
        "SELECT tbname FROM press WHERE ts < 60000 GROUP BY tbname HAVING completeness(t) < 0.95"
    )
    assert rows_of(found) == [["p1"]]
    found = run("SELECT max(c) FROM (SELECT completeness(t) AS c FROM press GROUP BY tbname)")
    assert found.row_count == 1


def test_texts_have_no_quality(run: Callable[..., Result]) -> None:
    with pytest.raises(SqlError, match="completeness takes numbers, not text"):
        run("SELECT completeness(mode) FROM p1")
