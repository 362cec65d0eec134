"""FROM a, b ALIGN BY TIME and ALIGN BY DEVICE."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine.errors import NotFoundError, SqlError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]

D1, D2, NORTH = "root.beijing.d1", "root.beijing.d2", "root.main.d1001"


def names(result: Result) -> list[str | None]:
    return [column["name"] for column in result.columns]


def test_devices_of_several_templates_stand_side_by_side(plant: Run) -> None:
    found = plant(f"SELECT * FROM {D1}, d1001 ALIGN BY TIME")
    assert names(found) == [
        "time",
        f"{D1}.s1",
        f"{D1}.s2",
        f"{NORTH}.current",
        f"{NORTH}.voltage",
    ]
    assert found.rows() == [[1000, 1, 1.5, 10.5, 219], [2000, None, 2.5, 11.0, 220]]


def test_one_row_per_device_and_time(plant: Run) -> None:
    found = plant(f"SELECT s1 FROM {D1}, {D2} WHERE time < 3000 ALIGN BY DEVICE ORDER BY 1, 2")
    assert found.rows() == [[1000, D1, 1], [1000, D2, 10], [2000, D1, None]]


def test_qualified_columns_are_of_their_device(plant: Run) -> None:
    found = plant(f"SELECT a.s1, b.s2 AS x FROM {D1} a, {D2} AS b ALIGN BY TIME")
    assert names(found) == ["time", f"{D1}.s1", f"{D2}.x"]
    assert found.rows() == [[1000, 1, None], [2000, None, None], [3000, None, 3.5]]
    ends = plant(f"SELECT d1.s1, d2.s1 FROM {D1}, {D2} ALIGN BY TIME")
    assert names(ends) == ["time", f"{D1}.s1", f"{D2}.s1"]


def test_aggregates_windows_and_fills(plant: Run) -> None:
    assert plant(f"SELECT count(s1) FROM {D1}, {D2} ALIGN BY TIME").rows() == [[1, 2]]
    windows = plant(f"SELECT max(s1) FROM {D1}, {D2} GROUP BY ([0, 4000), 2s) ALIGN BY TIME")
    assert windows.rows() == [[0, 1, 10], [2000, None, 30]]
    filled = plant(f"SELECT s1 FROM {D1}, {D2} FILL(PREVIOUS) ALIGN BY TIME")
    assert filled.rows() == [[1000, 1, 10], [2000, 1, 10], [3000, 1, 30]]


def test_patterns_and_templates_bring_all_their_devices(plant: Run) -> None:
    found = plant(f"SELECT s1, voltage FROM {D1}, meters ALIGN BY TIME LIMIT 1")
    assert names(found) == ["time", f"{D1}.s1", f"{NORTH}.voltage", "root.main.d1002.voltage"]
    twice = plant(f"SELECT s1 FROM {D1}, root.beijing.* ALIGN BY TIME LIMIT 1")
    assert twice.rows() == [[1000, 1, 10]]


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        (f"SELECT * FROM {D1} a JOIN {D2} b ON a.time = b.time ALIGN BY TIME", SqlError, "JOIN"),
        (f"SELECT * FROM {D1}, (SELECT 1) x ALIGN BY TIME", SqlError, "sub-queries"),
        (f"SELECT * FROM {D1}, root.beijing.d9 ALIGN BY TIME", NotFoundError, "d9"),
        (f"SELECT p.s1 FROM {D1}, root.beijing.* p ALIGN BY TIME", SqlError, "pattern"),
    ],
)
def test_what_cannot_be_aligned_is_named(
    plant: Run, sql: str, error: type[SqlError], message: str
) -> None:
    with pytest.raises(error, match=message):
        plant(sql)
