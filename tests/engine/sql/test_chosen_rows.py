"""Columns beside one function that chooses a row come from that row."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_engine.errors import MainstemError

from .conftest import Run


@pytest.fixture
def press(run: Run) -> Run:
    run("CREATE STABLE m (ts TIMESTAMP, a DOUBLE, n BIGINT, s TEXT) TAGS (site TEXT)")
    run(
        "INSERT INTO d1 USING m TAGS ('north') VALUES (0, 1, 7, 'x') (1000, 5, NULL, 'y')"
        " (2000, 2, 4, 'z') (3000, 9, 6, 'u') (4000, NULL, 8, 'v')"
    )
    run("INSERT INTO d2 USING m TAGS ('south') VALUES (500, 4, 1, 'p') (2500, -3, 2, 'q')")
    return run


@pytest.mark.parametrize(
    ("items", "answer"),
    [
        ("MAX(a), n", [9.0, 6]),
        ("n, s, MIN(a)", [7, "x", 1.0]),
        ("s, FIRST(n)", ["x", 7]),
        ("LAST(a), n + 1, ts", [9.0, 7, 3000]),
        ("max_value(n), s", [8, "v"]),
        ("MAX(n), a", [8, None]),
        ("MAX(a) + 1, n AS b", [10.0, 6]),
    ],
)
def test_of_all_rows(press: Run, items: str, answer: list[Any]) -> None:
    assert press(f"SELECT {items} FROM d1").rows() == [answer]


def test_of_windows_and_partitions(press: Run) -> None:
    found = press("SELECT _wstart, MAX(a), n, s FROM d1 INTERVAL(2s)")
    assert found.rows() == [[0, 5.0, None, "y"], [2000, 9.0, 6, "u"], [4000, None, None, None]]
    assert [column["name"] for column in found.columns][2:] == ["n", "s"]
    found = press("SELECT MIN(a), s, site FROM m PARTITION BY tbname, site ORDER BY 1")
    assert found.rows() == [[-3.0, "q", "south"], [1.0, "x", "north"]]
    found = press(
        "SELECT _wstart, LAST(a), s FROM m PARTITION BY tbname INTERVAL(2s) ORDER BY 1, 3"
    )
    assert found.rows() == [
        [0, 4.0, "p"],
        [0, 5.0, "y"],
        [2000, -3.0, "q"],
        [2000, 9.0, "u"],
        [4000, None, None],
    ]


def test_of_all_devices_the_device_too(press: Run) -> None:
    assert press("SELECT tbname, site, MIN(a), n FROM m").rows() == [["d2", "south", -3.0, 2]]


def test_keys_stay_keys(press: Run) -> None:
    found = press("SELECT n, MAX(a) FROM m GROUP BY n ORDER BY n")
    assert [row[0] for row in found.rows()] == [1, 2, 4, 6, 7, 8, None]


@pytest.mark.parametrize(
    "items",
    [
        "MAX(a), MIN(n), s",
        "MAX(a), COUNT(*), s",
        "AVG(a), s",
        "s, MAX(a), COUNT(*) OVER ()",
        "s, MAX(a), spread(n)",
        "s, MAX(a) FILTER (WHERE n > 1)",
    ],
)
def test_beside_others_no_row_is_chosen(press: Run, items: str) -> None:
    with pytest.raises(MainstemError):
        press(f"SELECT {items} FROM d1")
