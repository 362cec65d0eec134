"""INTERP over RANGE and EVERY: moments, neighbours, constants, devices, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]


@pytest.fixture
def tables(run: Run) -> Run:
    """Two subtables with gaps and nulls, and two devices of a template."""
    run(
        """
        CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, note TEXT)
            TAGS (location TEXT);
        INSERT INTO d1 USING meters TAGS ('n') VALUES (5000, 5, 50, 'a') (10000, 10, NULL, NULL)
            (15000, 15, 151, 'c');
        INSERT INTO d2 USING meters TAGS ('s') VALUES (8000, 80, 8, 'x')
        """
    )
    return run


def interp(tables: Run, clauses: str, items: str = "_irowts, INTERP(current)") -> list[list[Any]]:
    return tables(f"SELECT {items} FROM d1 {clauses}").rows()


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("PREV", [[6000, 5.0], [9000, 5.0], [12000, 10.0], [15000, 15.0], [18000, 15.0]]),
        (
            "NEXT",
            [[3000, 5.0], [6000, 10.0], [9000, 10.0], [12000, 15.0], [15000, 15.0]],
        ),
        ("LINEAR", [[6000, 6.0], [9000, 9.0], [12000, 12.0], [15000, 15.0]]),
        (
            "NEAR",
            [
                [3000, 5.0],
                [6000, 5.0],
                [9000, 10.0],
                [12000, 10.0],
                [15000, 15.0],
                [18000, 15.0],
            ],
        ),
        ("VALUE, 1", [[t, 15.0 if t == 15000 else 1.0] for t in range(3000, 19000, 3000)]),
        ("NULL", [[t, 15.0 if t == 15000 else None] for t in range(3000, 19000, 3000)]),
        ("NONE", [[15000, 15.0]]),
    ],
)
def test_every_mode(tables: Run, fill: str, expected: list[list[Any]]) -> None:
    assert interp(tables, f"RANGE(3000, 18000) EVERY(3s) FILL({fill})") == expected


def test_pseudo_columns_say_where_values_are_from(tables: Run) -> None:
    items = "_irowts, INTERP(voltage, 1) AS v, _isfilled, _irowts_origin"
    assert interp(tables, "RANGE(5000, 15000) EVERY(5s) FILL(PREV)", items) == [
        [5000, 50, False, 5000],
        [10000, 50, True, 5000],
        [15000, 151, False, 15000],
    ]
    # Nulls count as rows unless they are ignored.
    items = "INTERP(voltage), INTERP(voltage, 1)"
    assert interp(tables, "RANGE(8000, 11000) EVERY(3s) FILL(LINEAR)", items) == [
        [8000, None, 80],
        [11000, None, 110],
    ]


def test_one_moment_and_how_far_neighbours_may_be(tables: Run) -> None:
    assert interp(tables, "RANGE('1970-01-01T00:00:07Z') FILL(LINEAR)") == [[7000, 7.0]]
    assert interp(tables, "RANGE(7000, 2s) FILL(PREV, 99)") == [[7000, 5.0]]
    assert interp(tables, "RANGE(7000, 1s) FILL(PREV, 99)") == [[7000, 99.0]]
    assert interp(tables, "RANGE(7000, 1s) FILL(PREV)") == []
    assert interp(tables, "RANGE(4000, 9000, 1s) EVERY(1s) FILL(NEAR, 0)") == [
        [4000, 5.0],
        [5000, 5.0],
        [6000, 5.0],
        [7000, 0.0],
        [8000, 0.0],
        [9000, 10.0],
    ]


def test_the_nearest_rows_outside_of_range_are_seen(tables: Run) -> None:
    assert interp(tables, "RANGE(17000) FILL(PREV)") == [[17000, 15.0]]
    assert interp(tables, "RANGE(1000) FILL(NEXT)") == [[1000, 5.0]]
    assert interp(tables, "RANGE(11000, 12000) EVERY(1s) FILL(LINEAR)") == [
        [11000, 11.0],
        [12000, 12.0],
    ]


def test_a_moment_is_there_when_one_column_has_it(tables: Run) -> None:
    items = "_irowts, INTERP(voltage, 1), INTERP(current, 1)"
    clauses = "WHERE ts >= 10000 RANGE(12000, 15000) EVERY(3s) FILL(PREV)"
    assert interp(tables, clauses, items) == [[12000, None, 10.0], [15000, 151, 15.0]]


def test_where_limit_order_and_rows_of_a_path(tables: Run) -> None:
    clauses = (
        "WHERE ts < 15000 RANGE(5000, 15000) EVERY(5s) FILL(PREV) ORDER BY _irowts DESC LIMIT 2"
    )
    assert interp(tables, clauses) == [[15000, 10.0], [10000, 10.0]]
    found = tables("SELECT INTERP(note), INTERP(current) * 2 FROM d1 EVERY(5s) FILL(NULL)")
    assert [column["name"] for column in found.columns][:2] == ["time", "INTERP(note)"]
    assert found.rows() == [[5000, "a", 10.0], [10000, None, 20.0], [15000, "c", 30.0]]


def test_partitions_and_devices_side_by_side(tables: Run) -> None:
    found = tables(
        """SELECT _irowts, tbname, location, INTERP(current) FROM meters PARTITION BY tbname
        RANGE(6000, 9000) EVERY(3s) FILL(PREV)"""
    )
    assert found.rows() == [
        [6000, "d1", "n", 5.0],
        [9000, "d1", "n", 5.0],
        [9000, "d2", "s", 80.0],
    ]
    # All devices of a template are one row of values in order of time.
    together = tables("SELECT INTERP(current) FROM meters RANGE(6000, 9000) EVERY(3s) FILL(PREV)")
    assert [row[-1] for row in together.rows()] == [5.0, 80.0]
    beside = tables("SELECT INTERP(current) FROM root.main.* RANGE(9000) FILL(PREV)")
    assert beside.rows() == [[9000, 5.0, 80.0]]


def test_nothing_comes_of_nothing_unless_forced(tables: Run) -> None:
    nothing = "WHERE ts > 99000 RANGE(0, 2000) EVERY(1s) FILL"
    assert interp(tables, f"{nothing}(VALUE, 7)") == []
    assert [row[-1] for row in interp(tables, f"{nothing}(VALUE_F, 7)")] == [7.0] * 3
    assert [row[-1] for row in interp(tables, f"{nothing}(NULL_F)")] == [None] * 3
    assert interp(tables, f"{nothing}(PREV)") == []
    assert interp(tables, "WHERE ts > 99000 EVERY(1s) FILL(NULL)") == []


def test_parts_of_a_union_keep_their_order_and_limit(tables: Run) -> None:
    found = tables(
        """SELECT _irowts AS t, INTERP(current) AS v FROM d1 RANGE(5000, 15000) EVERY(1s)
        FILL(LINEAR) UNION ALL SELECT _wstart, max(current) FROM d2 INTERVAL(1s)
        ORDER BY v DESC LIMIT 2"""
    )
    assert found.rows() == [[8000, 80.0], [15000, 15.0]]


def test_types_and_units_are_those_of_the_column(run: Run) -> None:
    run("CREATE STABLE m (ts TIMESTAMP, v INT UNIT='V') TAGS (t TEXT)")
    run("INSERT INTO x USING m TAGS ('a') VALUES (1000, 1) (3000, 4)")
    found = run("SELECT INTERP(v) AS w FROM x EVERY(1s) FILL(LINEAR)")
    assert found.rows() == [[1000, 1], [2000, 2], [3000, 4]]
    assert (found.columns[-1]["type"], found.columns[-1]["unit"]) == ("INT32", "V")


def test_answers_are_rows_like_others(tables: Run) -> None:
    found = tables(
        """SELECT avg(v) FROM (SELECT _irowts, INTERP(current) AS v FROM d1
        RANGE(5000, 15000) EVERY(1s) FILL(LINEAR)) WHERE v < 10"""
    )
    assert found.rows() == [[7.0]]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT INTERP(note) FROM d1 RANGE(7000) FILL(LINEAR)", "numbers"),
        ("SELECT INTERP(current) FROM d1 RANGE(1, 5)", "EVERY"),
        ("SELECT INTERP(current) FROM d1 RANGE(5, 1) EVERY(1s)", "before"),
        ("SELECT INTERP(current) FROM d1", "RANGE"),
        ("SELECT current FROM d1 RANGE(1, 5) EVERY(1s)", "no value|INTERP"),
        ("SELECT INTERP(current), current FROM d1 RANGE(1)", "current has no value"),
        ("SELECT INTERP(current, 1, 2) FROM d1 RANGE(1)", "INTERP takes"),
        ("SELECT INTERP(current), max(current) FROM d1 RANGE(1)", "one value"),
        ("SELECT INTERP(current) FROM d1 RANGE(1) COUNT_WINDOW(2)", "window"),
        ("SELECT INTERP(current), DIFF(current) FROM d1 RANGE(1)", "diff"),
        ("SELECT INTERP(current) FROM d1 RANGE(1) FILL(PREV, 5)", "how far"),
        ("SELECT INTERP(current) FROM d1 RANGE(1) FILL(VALUE, 5, 6)", "2 values"),
        ("SELECT INTERP(voltage) FROM d1 EVERY(1s) FILL(VALUE, 3000000000)", "fit"),
        ("SELECT INTERP(current) FROM d1 RANGE(voltage)", "not a time"),
        ("SELECT INTERP(current) FROM d1 RANGE(0, 9000000000000) EVERY(1s)", "more than"),
    ],
)
def test_what_cannot_be_interpolated_is_named(tables: Run, sql: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        tables(sql)


@pytest.mark.parametrize(
    ("every", "zone", "expected"),
    [
        ("1mo", "UTC", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("1n", "Europe/Berlin", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("2mo", "UTC", ["2026-01-31", "2026-03-31"]),
        ("1y", "UTC", ["2026-01-31"]),
    ],
)
def test_steps_of_months(tables: Run, every: str, zone: str, expected: list[str]) -> None:
    """Each is reckoned from the first moment: short months do not shorten the next."""
    found = tables(
        "SELECT CAST(_irowts AS TEXT)[:10] FROM (SELECT _irowts, INTERP(current) FROM d1"
        f" RANGE('2026-01-31', '2026-05-01') EVERY({every}) FILL(PREV))",
        time_zone=zone,
    )
    assert [row[0] for row in found.rows()] == expected


def test_days_keep_the_time_of_day(tables: Run) -> None:
    found = tables(
        "SELECT _irowts FROM (SELECT _irowts, INTERP(current) FROM d1"
        " RANGE('2026-03-28', '2026-03-31') EVERY(1d) FILL(PREV))",
        time_zone="Europe/Berlin",
    )
    times = [row[0] for row in found.rows()]
    assert [b - a for a, b in itertools.pairwise(times)] == [
        86_400_000, 23 * 3_600_000, 86_400_000
    ]  # fmt: skip
