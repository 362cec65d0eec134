"""Texts in double quotes are taken for what they are meant as, and names stay names."""

from __future__ import annotations

import pytest

from mainstem_engine.errors import SqlError

from .conftest import Run


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('location = "north"', [219, 220]),
        ('"north" = location', [219, 220]),
        ('location <> "north"', [221, 222]),
        ('location IN ("south", "west")', [221, 222]),
        ('location LIKE "n%"', [219, 220]),
        ('location MATCH "^s"', [221, 222]),
        ('tbname = "d1001"', [219, 220]),
        ('device = "root.main.d1002"', [221, 222]),
        ('ts >= "1970-01-01T00:00:02Z"', [220, 222]),
        ('ts BETWEEN "1970-01-01 00:00:02" AND "1970-01-01 00:00:02.5"', [220]),
        ('"voltage" > 219 AND "location" = "south"', [221, 222]),
        ('m."location" = "south"', [221, 222]),
    ],
)
def test_texts_in_double_quotes(plant: Run, condition: str, expected: list[int]) -> None:
    found = plant(f"SELECT voltage FROM meters m WHERE {condition} ORDER BY voltage").rows()
    assert [row[0] for row in found] == expected


def test_in_sub_queries_and_windows(plant: Run) -> None:
    sql = (
        'SELECT sum(n) FROM (SELECT count(*) AS n FROM meters WHERE location = "north"'
        ' AND ts < "1970-01-02" INTERVAL(1s))'
    )
    assert plant(sql).rows() == [[2]]


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT "nord" FROM meters',
        "SELECT voltage FROM meters WHERE location = `north`",
        'SELECT voltage FROM meters WHERE voltage = "219"',
        'SELECT voltage FROM meters WHERE meters."north" = location',
    ],
)
def test_names_stay_names(plant: Run, sql: str) -> None:
    with pytest.raises(SqlError):
        plant(sql)


def test_names_of_items_come_first(plant: Run) -> None:
    sql = (
        'SELECT voltage, location AS "north" FROM meters WHERE location = "north" AND voltage > 221'
    )
    assert plant(sql).rows() == [[222, "south"]]


def test_the_algorithm_of_a_percentile(plant: Run) -> None:
    written = plant("SELECT apercentile(voltage, 50) FROM meters").rows()
    for algorithm in ('"t-digest"', "'t-digest'", '"default"'):
        assert plant(f"SELECT apercentile(voltage, 50, {algorithm}) FROM meters").rows() == written


def test_slimit_needs_partitions(plant: Run) -> None:
    with pytest.raises(SqlError, match="PARTITION BY"):
        plant("SELECT voltage FROM meters SLIMIT 1")
