"""Functions that make points, in statements: which rows they see, and what stands beside them."""

from __future__ import annotations

import pytest

from mainstem_engine.errors import SqlError

from .conftest import Run

LARGEST = 2**64 - 1


@pytest.fixture
def presses(run: Run) -> Run:
    """Two devices whose rows are at the same times, in a database of milliseconds."""
    run(
        """
        CREATE STABLE press (ts TIMESTAMP, force DOUBLE, strokes BIGINT, id BIGINT UNSIGNED)
            TAGS (hall TEXT);
        INSERT INTO p1 USING press TAGS ('a') VALUES
            (1000, 1, 10, 18446744073709551615) (2000, 4, 12, 18446744073709551613)
            (3000, 2, NULL, 7) (4000, 2, 5, 8)
            p2 USING press TAGS ('b') VALUES (1000, 100, 1, 1) (2000, 90, 2, 2) (3000, 95, 3, 3)
        """
    )
    return run


def rows(run: Run, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in run(sql).rows()]


def test_a_function_does_not_look_from_one_device_to_the_next(presses: Run) -> None:
    found = rows(presses, "SELECT diff(force) FROM root.main.* ORDER BY time")
    assert found == [(1000, None, None), (2000, 3, -10), (3000, -2, 5), (4000, 0, None)]
    named = "SELECT time, device, diff(force) AS d FROM root.main.* WHERE time <= 2000"
    assert rows(presses, named) == [
        (1000, "root.main.p1", None),
        (2000, "root.main.p1", 3),
        (1000, "root.main.p2", None),
        (2000, "root.main.p2", -10),
    ]
    apart = "SELECT tbname, diff(force) AS d FROM press PARTITION BY tbname ORDER BY tbname, ts"
    assert rows(presses, apart)[4:] == [("p2", None), ("p2", -10), ("p2", 5)]


def test_windows_of_a_pattern_that_shows_devices_are_of_each_device(presses: Run) -> None:
    whole = "SELECT device, elapsed(ts) AS e FROM root.main.*"
    assert rows(presses, whole) == [("root.main.p1", 3000), ("root.main.p2", 2000)]
    windows = "SELECT tbname, max(force) AS m FROM root.main.* INTERVAL(2s)"
    assert rows(presses, windows) == [
        (0, "p1", 1),
        (2000, "p1", 4),
        (4000, "p1", 2),
        (0, "p2", 100),
        (2000, "p2", 95),
    ]


def test_the_devices_of_a_template_are_one_partition(presses: Run) -> None:
    assert rows(presses, "SELECT ts, top(force, 1) FROM press") == [(1000, 100)]
    apart = "SELECT tbname, top(force, 1) FROM press PARTITION BY tbname"
    assert rows(presses, apart) == [(2000, "p1", 4), (1000, "p2", 100)]


def test_differences_that_are_ignored_leave_no_row_where_all_are(presses: Run) -> None:
    assert rows(presses, "SELECT diff(strokes, 2) FROM p1") == [(2000, 2), (4000, -7)]
    assert rows(presses, "SELECT diff(strokes, 3) FROM p1") == [(2000, 2)]
    both = "SELECT diff(strokes, 3), diff(force, 2) FROM p1"
    assert rows(presses, both) == [(2000, 2, 3), (3000, None, -2), (4000, None, 0)]
    assert len(rows(presses, "SELECT diff(strokes, 3), diff(force) FROM p1")) == 4


def test_a_condition_sees_every_row(presses: Run) -> None:
    found = rows(presses, "SELECT force FROM p1 WHERE diff(force) < 0")
    assert found == [(3000, 2)]


def test_having_sees_what_the_functions_made(presses: Run) -> None:
    assert rows(presses, "SELECT diff(force) AS d FROM p1 HAVING d > 0") == [(2000, 3)]
    found = rows(presses, "SELECT force FROM p1 HAVING diff(force) = 0 OR mavg(force, 2) = 3")
    assert found == [(3000, 2), (4000, 2)]


def test_functions_nest_and_stand_in_expressions(presses: Run) -> None:
    assert rows(presses, "SELECT abs(diff(force)) * 2 AS d FROM p1")[1:] == [
        (2000, 6),
        (3000, 4),
        (4000, 0),
    ]
    assert rows(presses, "SELECT max(d) FROM (SELECT diff(force) AS d FROM p1)") == [(3,)]
    assert rows(presses, "SELECT diff(diff(force)) AS d FROM p1")[2:] == [(3000, -5), (4000, 2)]
    assert rows(presses, "SELECT mavg(force + strokes, 2) FROM p1") == [(2000, 13.5), (4000, 11.5)]


def test_whole_numbers_come_back_with_every_digit(presses: Run) -> None:
    assert rows(presses, "SELECT top(id, 1) FROM p1") == [(1000, LARGEST)]
    assert rows(presses, "SELECT diff(id) FROM p1 WHERE ts < 3000")[1:] == [(2000, -2)]
    with pytest.raises(SqlError, match="64 bits"):
        presses("SELECT diff(id) FROM p1")


def test_plain_durations_count_in_the_precision_of_the_database(run: Run) -> None:
    run(
        """
        CREATE DATABASE root.fine WITH (precision='ns');
        INSERT INTO root.fine.d(time, x) VALUES (10, 1), (30, 0), (45, 0), (1000000010, 5)
        """
    )
    found = rows(run, "SELECT time_difference(x), time_difference(x, 1s) FROM root.fine.d")
    assert found[0] == (30, 20, 0)
    assert found[2][2] == 0
    assert rows(run, "SELECT zero_duration(x, 'min'='15') FROM root.fine.d") == [(30, 15)]
    assert rows(run, "SELECT zero_duration(x, 'min'='16') FROM root.fine.d") == []
    window = "SELECT m4(x, 'timeInterval'='20', 'displayWindowEnd'='45') FROM root.fine.d"
    assert rows(run, window) == [(10, 1), (30, 0)]


def test_parameters_are_checked_before_anything_is_read(presses: Run) -> None:
    for statement, message in {
        "SELECT top(force) FROM p1": "top needs k",
        "SELECT top(force, 'x') FROM p1": "an integer",
        "SELECT top(force, 0) FROM p1": "at least 1",
        "SELECT tail(force, 1, 2, 3) FROM p1": "takes 2 parameters",
        "SELECT mavg(force, 'z'='1') FROM p1": "no parameter 'z'",
        "SELECT statecount(force, 'LIKE', 1) FROM p1": "lt or gt",
    }.items():
        with pytest.raises(SqlError, match=message):
            presses(statement)


@pytest.mark.parametrize("clause", ["QUALIFY row_number() OVER () = 1", "USING SAMPLE 1"])
def test_a_clause_that_would_be_ignored_is_refused(presses: Run, clause: str) -> None:
    for statement in ("SELECT diff(force) FROM p1", "SELECT avg(force) FROM p1 INTERVAL(1s)"):
        with pytest.raises(SqlError, match="sub-query"):
            presses(f"{statement} {clause}")
