"""INSERT ... SELECT: the answer of a query as rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine.errors import MainstemError, NotFoundError, SchemaError, SqlError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]


def test_into_a_plain_table(own_plant: Run) -> None:
    own_plant("CREATE TABLE copy (ts TIMESTAMP, v INT, c DOUBLE)")
    result = own_plant(
        "INSERT INTO copy SELECT ts, voltage, current FROM meters WHERE voltage > ?", 219
    )
    assert result.rows_affected == 3
    rows = own_plant("SELECT * FROM copy").rows()
    assert rows == [[1000, 221, 12.25], [2000, 220, 11.0], [3000, 222, None]]


def test_into_a_super_table_by_name(own_plant: Run) -> None:
    own_plant("CREATE STABLE means (ts TIMESTAMP, v DOUBLE)")
    own_plant(
        "INSERT INTO means(tbname, ts, v)"
        " SELECT 'm_' || tbname, min(ts), avg(voltage) FROM meters GROUP BY tbname"
    )
    rows = own_plant("SELECT tbname, ts, v FROM means ORDER BY tbname").rows()
    assert rows == [["m_d1001", 1000, 219.5], ["m_d1002", 1000, 221.5]]


def test_into_a_new_device_by_its_path(own_plant: Run) -> None:
    result = own_plant(
        "INSERT INTO root.paris.d(time, speed, twice, word)"
        " WITH a AS (SELECT * FROM root.beijing.d1) SELECT time, s1, s2 * 2, 'x' FROM a"
    )
    assert result.warnings == [
        "root.paris.d is new and has no template: it gets speed DOUBLE, twice DOUBLE, word TEXT"
    ]
    rows = own_plant("SELECT * FROM root.paris.d").rows()
    assert rows == [[1000, 1.0, 3.0, "x"], [2000, None, 5.0, "x"]]


def test_with_tags_and_integers_of_time(own_plant: Run) -> None:
    own_plant("INSERT INTO d1009 USING meters TAGS ('east', 9) (ts, voltage) SELECT 5000, 7")
    assert own_plant("SELECT ts, location, voltage FROM meters WHERE tbname = 'd1009'").rows() == [
        [5000, "east", 7]
    ]


def test_of_nothing(own_plant: Run) -> None:
    sql = "INSERT INTO d1001 SELECT ts, current, voltage FROM meters WHERE voltage > 1000"
    assert own_plant(sql).rows_affected == 0


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("INSERT INTO d1001 SELECT ts, current FROM d1002", SqlError, "2 columns, not 3"),
        ("INSERT INTO d1001 (ts, voltage) SELECT ts, 'x' FROM d1002", SchemaError, "not str"),
        ("INSERT INTO d1001 (ts, voltage) SELECT 'soon', 1", SchemaError, "time of a row"),
        ("INSERT INTO d1001 (ts, voltage) SELECT NULL::BIGINT, 1", SchemaError, "without a time"),
        ("INSERT INTO d1001 (voltage) SELECT 1", SqlError, "without a time"),
        ("INSERT INTO d7 SELECT ts, voltage FROM d1001", NotFoundError, "no table d7"),
        ("INSERT INTO meters (tbname, ts) SELECT 5, ts FROM d1001", SqlError, "name or path"),
    ],
)
def test_what_cannot_be_inserted(
    own_plant: Run, sql: str, error: type[MainstemError], message: str
) -> None:
    with pytest.raises(error, match=message):
        own_plant(sql)
    assert own_plant("SELECT count(*) FROM meters").rows() == [[4]]
