"""FILL of both peers over windows, rows, patterns and templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]


@pytest.fixture
def gaps(run: Run) -> Run:
    """A template and a super table whose rows have nulls."""
    run(
        """
        CREATE DATABASE root.sg;
        CREATE SCHEMA TEMPLATE g (s1 INT32, s2 FLOAT, s3 BOOLEAN, s4 TEXT);
        SET SCHEMA TEMPLATE g TO root.sg;
        INSERT INTO root.sg.d1(time, s1, s2, s3, s4) VALUES (1000, 1, NULL, true, 'a'),
            (2000, NULL, 1.5, NULL, NULL), (4000, NULL, NULL, false, 'b'),
            (5000, 9, 4.5, NULL, NULL);
        INSERT INTO root.sg.d2(time, s1, s2) VALUES (1500, 10, NULL), (2000, 30, 3.5),
            (5000, NULL, 4.5);
        CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT) TAGS (location TEXT);
        INSERT INTO d1 USING meters TAGS ('n') VALUES (1000, 1, 5) (2000, NULL, NULL)
            (3000, 3, NULL);
        INSERT INTO d2 USING meters TAGS ('s') VALUES (1500, NULL, 7) (2500, 2.5, NULL)
        """
    )
    return run


@pytest.mark.parametrize(
    ("fill", "rows"),
    [
        (
            "previous",
            [[1, None, True, "a"], [1, 1.5, True, "a"], [1, 1.5, False, "b"], [9, 4.5, False, "b"]],
        ),
        (
            "previous, 1s",
            [
                [1, None, True, "a"],
                [1, 1.5, True, "a"],
                [None, None, False, "b"],
                [9, 4.5, False, "b"],
            ],
        ),
        (
            "linear",
            [
                [1, None, True, "a"],
                [3, 1.5, None, None],
                [7, 3.5, False, "b"],
                [9, 4.5, None, None],
            ],
        ),
        (
            "7",
            [[1, 7.0, True, "a"], [7, 1.5, None, "7"], [7, 7.0, False, "b"], [9, 4.5, None, "7"]],
        ),
        (
            "true",
            [
                [1, None, True, "a"],
                [None, 1.5, True, "true"],
                [None, None, False, "b"],
                [9, 4.5, True, "true"],
            ],
        ),
        (
            "near",
            [[1, 1.5, True, "a"], [1, 1.5, True, "a"], [9, 4.5, False, "b"], [9, 4.5, False, "b"]],
        ),
    ],
)
def test_rows_of_a_path(gaps: Run, fill: str, rows: list[list[Any]]) -> None:
    found = gaps(f"SELECT s1, s2, s3, s4 FROM root.sg.d1 FILL({fill})")
    assert [row[1:] for row in found.rows()] == rows
    assert [row[0] for row in found.rows()] == [1000, 2000, 4000, 5000]
    types = [column["type"] for column in found.columns]
    assert types[1:] == ["INT32", "FLOAT", "BOOLEAN", "TEXT"]


def test_order_and_limit_come_after_the_fill(gaps: Run) -> None:
    found = gaps("SELECT s1 FROM root.sg.d1 FILL(PREVIOUS) ORDER BY time DESC LIMIT 2 OFFSET 1")
    assert found.rows() == [[4000, 1], [2000, 1]]
    by_value = gaps("SELECT s1 AS v FROM root.sg.d1 FILL(LINEAR) ORDER BY s2, v LIMIT 1")
    assert by_value.rows() == [[2000, 3]]


def test_devices_side_by_side_are_columns(gaps: Run) -> None:
    found = gaps("SELECT s1 FROM root.sg.** FILL(PREVIOUS)")
    assert found.rows() == [
        [1000, 1, None],
        [1500, 1, 10],
        [2000, 1, 30],
        [4000, 1, 30],
        [5000, 9, 30],
    ]


def test_nothing_leaks_from_device_to_device(gaps: Run) -> None:
    found = gaps("SELECT s1 FROM root.sg.** FILL(PREVIOUS) ALIGN BY DEVICE")
    assert found.rows()[4:] == [
        [1500, "root.sg.d2", 10],
        [2000, "root.sg.d2", 30],
        [5000, "root.sg.d2", 30],
    ]
    of_template = gaps("SELECT ts, tbname, location, current FROM meters FILL(NEXT)").rows()
    assert of_template == [
        [1000, "d1", "n", 1.0],
        [2000, "d1", "n", 3.0],
        [3000, "d1", "n", 3.0],
        [1500, "d2", "s", 2.5],
        [2500, "d2", "s", 2.5],
    ]
    of_pattern = gaps("SELECT s1 FROM root.sg.* PARTITION BY device FILL(PREVIOUS)").rows()
    assert of_pattern[4:] == [[1500, 10], [2000, 30], [5000, 30]]
    mixed = gaps("SELECT ts, voltage FROM meters PARTITION BY location = 'x' FILL(PREV)").rows()
    assert mixed == [[1000, 5], [1500, 7], [2000, 7], [2500, 7], [3000, 7]]


def test_star_and_sub_queries(gaps: Run) -> None:
    found = gaps("SELECT * FROM root.sg.d1 FILL(0.5) LIMIT 2")
    assert found.rows() == [[1000, 1, 0.5, True, "a"], [2000, None, 1.5, None, "0.5"]]
    inner = gaps(
        "SELECT sum(v) FROM (SELECT time, s1 AS v FROM root.sg.d1 FILL(LINEAR)) WHERE time > 1000"
    )
    assert inner.rows() == [[19]]
    untimed = gaps("SELECT * FROM (SELECT s1 FROM root.sg.d1 FILL(PREVIOUS)) ORDER BY 1")
    assert untimed.rows() == [[1], [1], [1], [9]]
    parts = gaps(
        """SELECT time, s1 FROM root.sg.d1 FILL(LINEAR)
        UNION ALL SELECT time, s1 FROM root.sg.d2 FILL(PREVIOUS) ORDER BY time, s1"""
    )
    assert [row[1] for row in parts.rows()] == [1, 10, 3, 30, 7, 9, 30]
    outer = gaps("SELECT ts, current + 1 AS c FROM (SELECT * FROM meters) t FILL(VALUE, ?)", 5)
    assert [row[1] for row in outer.rows()] == [2.0, 5.0, 5.0, 3.5, 4.0]


def test_groups_of_the_time_and_single_rows(gaps: Run) -> None:
    for key in ("second", "1", "time_bucket(INTERVAL '2 seconds', time)"):
        found = gaps(
            f"""SELECT time_bucket(INTERVAL '2 seconds', time) AS second, max(s1) AS top
            FROM root.sg.d1 GROUP BY {key} HAVING second < 6000 FILL(PREVIOUS) ORDER BY second"""
        )
        assert found.rows() == [[0, 1], [2000, 1], [4000, 9]]
    single = gaps("SELECT count(s1), max(s2) FROM root.sg.d1 WHERE time < 2000 FILL(0)")
    assert single.rows() == [[1, 0.0]]


def test_windows_with_every_mode(gaps: Run) -> None:
    def filled(fill: str) -> list[Any]:
        sql = f"""SELECT _wstart, sum(voltage) FROM d1 WHERE ts >= 0 AND ts < 3000
            INTERVAL(1s) FILL({fill})"""
        return [row[-1] for row in gaps(sql).rows()]

    assert filled("NULL") == [None, 5, None]
    assert filled("PREV") == [None, 5, 5]
    assert filled("NEXT") == [5, 5, None]
    assert filled("NEAR") == [5, 5, 5]
    assert filled("LINEAR") == [None, 5, None]
    assert filled("VALUE, 8") == [8, 5, 8]
    # A window with a row is there without FILL too, whatever the value.
    assert filled("NONE") == [5, None]
    nothing = "SELECT sum(voltage) FROM d1 WHERE ts >= 9000 AND ts < 11000 INTERVAL(1s) FILL"
    assert gaps(f"{nothing}(VALUE, 1)").rows() == []
    assert [row[-1] for row in gaps(f"{nothing}(VALUE_F, 1)").rows()] == [1, 1]
    assert [row[-1] for row in gaps(f"{nothing}(NULL_F)").rows()] == [None, None]


def test_values_go_to_the_columns_that_are_filled(gaps: Run) -> None:
    found = gaps(
        """SELECT _wstart, location, max(voltage), first(current) FROM meters
        WHERE ts >= 1000 AND ts < 3000 PARTITION BY location INTERVAL(1s)
        FILL(VALUE, 1, -2.5) ORDER BY location, _wstart"""
    )
    assert found.rows() == [
        [1000, "n", 5, 1.0],
        [2000, "n", 1, -2.5],
        [1000, "s", 7, -2.5],
        [2000, "s", 1, 2.5],
    ]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT s4, max(s1) FROM root.sg.d1 GROUP BY s4 FILL(PREVIOUS)", "time"),
        ("SELECT s1, s2, s3 FROM root.sg.d1 FILL(VALUE, 1, 2)", "2 values for 3"),
        ("SELECT s1, s3 FROM root.sg.d1 FILL(VALUE, 1, 'x')", "another type"),
        ("SELECT s1 FROM root.sg.d1 FILL(VALUE, 3000000000)", "INT32|int32"),
        ("SELECT s1 FROM root.sg.d1 FILL(PREV, 5)", "INTERP"),
        ("SELECT s1 FROM root.sg.d1 FILL(PREV, 1mo)", "months"),
        ("SELECT s1 FROM root.sg.d1 FILL(VALUE, s2)", "constant"),
        ("SELECT * FROM (SELECT * FROM meters) FILL(PREV)", r"\*"),
    ],
)
def test_what_cannot_be_filled_is_named(gaps: Run, sql: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        gaps(sql)
