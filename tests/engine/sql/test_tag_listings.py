"""SELECT TAGS, and what tags narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine.errors import MainstemError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]


def test_values_of_tags(own_plant: Run) -> None:
    own_plant("CREATE TABLE d1003 USING meters TAGS ('west', NULL)")  # without a row
    result = own_plant("SELECT TAGS tbname, groupid, location FROM meters")
    assert [(c["name"], c["type"]) for c in result.columns] == [
        ("tbname", "TEXT"),
        ("groupid", "INT32"),
        ("location", "TEXT"),
    ]
    rows: list[list[Any]] = [["d1001", 2, "north"], ["d1002", 3, "south"], ["d1003", None, "west"]]
    assert result.rows() == rows
    assert own_plant("select tags * from meters").rows() == [[row[2], row[1]] for row in rows]
    assert own_plant("SELECT TAGS device FROM d1002").rows() == [["root.main.d1002"]]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("WHERE groupid = 3", ["d1002"]),
        ("WHERE location = 'north' AND groupid IN (2, 3)", ["d1001"]),
        ("WHERE tbname = ?", ["d1001"]),
        ("LIMIT 1 OFFSET 1", ["d1002"]),
    ],
)
def test_some_of_them(plant: Run, end: str, expected: list[str]) -> None:
    params = ["d1001"] if "?" in end else []
    rows = plant(f"SELECT TAGS tbname FROM meters {end}", *params).rows()
    assert [name for (name,) in rows] == expected


def test_a_column_may_be_called_tags(run: Run) -> None:
    run("CREATE TABLE t (ts TIMESTAMP, tags INT); INSERT INTO t VALUES (1, 5)")
    assert run("SELECT tags FROM t").rows() == [[1, 5]]
    assert run("SELECT tags * 2 AS x FROM t").rows() == [[1, 10]]
    assert run("SELECT tags, ts FROM t").rows() == [[5, 1]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT TAGS colour FROM meters",
        "SELECT TAGS tbname FROM nothing",
        "SELECT TAGS voltage FROM meters",
        "SELECT TAGS tbname FROM meters WHERE voltage > 1",
        "SELECT TAGS tbname FROM meters ORDER BY tbname",
        "SHOW TIMESERIES WHERE TAGS(colour) = 'x'",
        "COUNT TIMESERIES root.** WHERE location = 'x' GROUP BY LEVEL = 1",
        "COUNT TIMESERIES root.** GROUP BY LEVEL = 1 WHERE location = 'x'",
    ],
)
def test_what_is_refused(plant: Run, sql: str) -> None:
    with pytest.raises(MainstemError):
        plant(sql)


@pytest.mark.parametrize("condition", ["TAGS(location) = 'south'", "location = 'south'"])
def test_series_by_tags(plant: Run, condition: str) -> None:
    rows = plant(f"SHOW TIMESERIES root.main.** WHERE {condition}").rows()
    assert [row[0] for row in rows] == ["root.main.d1002.current", "root.main.d1002.voltage"]
    assert plant(f"COUNT TIMESERIES root.** WHERE {condition}").rows() == [[2]]
    assert plant(f"SHOW DEVICES WHERE {condition}").rows()[0][0] == "root.main.d1002"
