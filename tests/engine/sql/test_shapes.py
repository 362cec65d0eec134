"""The shape of answers: devices side by side or below each other, in sub-queries too."""

from __future__ import annotations

import pytest

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.lowering import windows as windows_of
from mainstem_engine.sql.result import Result

from .conftest import Run


def names(result: Result) -> list[str]:
    return [str(column["name"]) for column in result.columns]


@pytest.mark.parametrize(
    "aligned",
    [
        "SELECT s1, s2 FROM root.beijing.** ALIGN BY DEVICE",
        "SELECT * FROM root.beijing.** ALIGN BY DEVICE",
        "SELECT * FROM root.beijing.** WHERE s1 > 1 ALIGN BY TIME",
        "SELECT s1 FROM root.beijing.d1, root.beijing.d2 ALIGN BY TIME",
        "SELECT count(s1), max(s2) FROM root.beijing.** ALIGN BY DEVICE",
        "SELECT count(s1) FROM root.beijing.** GROUP BY ([0, 4000), 2s) ALIGN BY DEVICE",
        "SELECT count(s1) FROM root.beijing.** GROUP BY ([0, 4000), 2s) ALIGN BY TIME",
        "SELECT diff(s1) FROM root.beijing.** ALIGN BY DEVICE",
        "SELECT s1 FROM root.beijing.** ALIGN BY DEVICE FILL(PREVIOUS)",
    ],
)
def test_align_by_in_a_sub_query(plant: Run, aligned: str) -> None:
    expected = plant(aligned)
    for sql in (f"SELECT * FROM ({aligned})", f"WITH a AS ({aligned}) SELECT * FROM a"):
        found = plant(sql)
        assert names(found) == names(expected)
        assert sorted(map(repr, found.rows())) == sorted(map(repr, expected.rows()))


def test_windows_of_devices_that_a_sub_query_shows(plant: Run) -> None:
    rows = plant(
        "SELECT device, _wstart, sum(s) FROM (SELECT s1 AS s FROM root.beijing.** ALIGN BY DEVICE)"
        " PARTITION BY device INTERVAL(2s)"
    ).rows()
    assert rows == [
        ["root.beijing.d1", 0, 1],
        ["root.beijing.d1", 2000, None],
        ["root.beijing.d2", 0, 10],
        ["root.beijing.d2", 2000, 30],
    ]


def test_devices_side_by_side_are_ordered_by_time(plant: Run) -> None:
    with pytest.raises(SqlError, match="ordered by time"):
        plant("SELECT s1 FROM root.beijing.** ORDER BY s1")
    assert plant("SELECT s1 FROM root.beijing.** ORDER BY time DESC LIMIT 1").rows() == [
        [3000, None, 30]
    ]


def test_partitions_that_having_chooses(plant: Run) -> None:
    sql = "SELECT tbname FROM meters PARTITION BY tbname HAVING count(current) > 1"
    assert plant(sql).rows() == [["d1001"]]
    levels = plant("SELECT count(s1) FROM root.beijing.** GROUP BY LEVEL = 2 HAVING count(s1) > 1")
    assert levels.rows() == [[None, 2]]


def test_distinct_rows_have_no_time_in_front(plant: Run) -> None:
    found = plant("SELECT DISTINCT count(*) FROM root.main.d1001 INTERVAL(1s)")
    assert found.rows() == [[1, 1]]


def test_columns_beside_the_last_row(plant: Run) -> None:
    assert plant("SELECT last_row(current), tbname, ts FROM meters").rows() == [
        [None, "d1002", 3000]
    ]


def test_a_query_without_tables(run: Run) -> None:
    assert run("SELECT avg(x) FROM (SELECT 1 AS x)").rows() == [[1.0]]


@pytest.mark.parametrize("path", ["root.beijing.**", "root.beijing.d1, root.beijing.d2"])
def test_devices_without_rows_have_windows_too(plant: Run, path: str) -> None:
    sql = f"SELECT count(s1), avg(s1) FROM {path} GROUP BY ([2500, 4500), 1s)"
    assert plant(sql).rows() == [[2500, 0, None, 1, 30.0], [3500, 0, None, 0, None]]
    assert plant(f"{sql} ALIGN BY DEVICE").rows() == [
        [2500, "root.beijing.d1", 0, None],
        [3500, "root.beijing.d1", 0, None],
        [2500, "root.beijing.d2", 1, 30.0],
        [3500, "root.beijing.d2", 0, None],
    ]
    later = sql.replace("2500, 4500", "9000, 10000")
    assert plant(later).rows() == [[9000, 0, None, 0, None]]
    assert plant(f"{later} FILL(0)").rows() == [[9000, 0, 0.0, 0, 0.0]]
    chosen = f"{sql} HAVING count(s1) > 0 ALIGN BY DEVICE"
    assert plant(chosen).rows() == [[2500, "root.beijing.d2", 1, 30.0]]


def test_only_devices_that_are_meant_have_windows(
    plant: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = "GROUP BY ([2500, 3500), 1s) ALIGN BY DEVICE"
    found = plant(f"SELECT count(current) FROM root.** {windows}").rows()
    assert [row[1] for row in found] == ["root.main.d1001", "root.main.d1002"]
    where = "WHERE location = 'south'"
    assert plant(f"SELECT count(current) FROM root.main.** {where} {windows}").rows() == [
        [2500, "root.main.d1002", 0]
    ]
    assert plant(
        f"SELECT count(current) FROM root.main.** WHERE voltage > 300 {windows}"
    ).rows() == [
        [2500, "root.main.d1001", 0],
        [2500, "root.main.d1002", 0],
    ]
    levels = plant("SELECT count(s1) FROM root.beijing.** GROUP BY ([2500, 3500), 1s), LEVEL = 2")
    assert levels.rows() == [[2500, 0, 1]]
    monkeypatch.setattr(windows_of, "DEVICES_MAX", 1)
    few = plant(f"SELECT count(s1) FROM root.beijing.** {windows} ")
    assert few.rows() == [[2500, "root.beijing.d2", 1]]


@pytest.mark.parametrize(
    ("named", "written"),
    [
        ("SELECT p, count(*) FROM meters PARTITION BY voltage % 2 AS p INTERVAL(1s)",
         "SELECT voltage % 2 AS p, count(*) FROM meters PARTITION BY voltage % 2 INTERVAL(1s)"),
        ("SELECT p + 1 AS q, count(*) FROM meters PARTITION BY voltage % 2 AS p HAVING p = 1",
         "SELECT voltage % 2 + 1 AS q, count(*) FROM meters PARTITION BY voltage % 2"
         " HAVING voltage % 2 = 1"),
        ("SELECT t, count(voltage) FROM meters PARTITION BY tbname AS t ORDER BY t DESC",
         "SELECT tbname AS t, count(voltage) FROM meters PARTITION BY tbname ORDER BY tbname DESC"),
        ("SELECT voltage, max(voltage) FROM meters PARTITION BY location AS voltage",
         "SELECT location AS voltage, max(voltage) FROM meters PARTITION BY location"),
    ],
)  # fmt: skip
def test_names_of_keys(plant: Run, named: str, written: str) -> None:
    found, expected = plant(named), plant(written)
    assert names(found) == names(expected)
    assert found.rows() == expected.rows() != []


@pytest.mark.parametrize(
    "window",
    ["STATE_WINDOW(avg(current))", "EVENT_WINDOW START WITH max(current) > 1 END WITH current < 1"],
)
def test_aggregates_do_not_cut_rows(plant: Run, window: str) -> None:
    with pytest.raises(SqlError, match="by their values"):
        plant(f"SELECT count(*) FROM meters {window}")
