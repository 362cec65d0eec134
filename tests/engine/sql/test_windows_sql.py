"""Windows and functions of time through SQL, from text to answer, here and in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import NotFoundError, SqlError
from mainstem_engine.sql.running.executors import WorkerExecutor
from mainstem_engine.sql.session import Session


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("windows") / "data"
    with Engine.open(path) as opened:
        opened.sql("CREATE STABLE m (ts TIMESTAMP, x DOUBLE, y INT) TAGS (loc TEXT)")
        opened.sql(
            "INSERT INTO d1 USING m TAGS ('a') VALUES"
            " (1000, 1.5, 1), (2000, 2.5, 2), (3500, 4, null), (9000, 7, 3)"
        )
        opened.sql("INSERT INTO d2 USING m TAGS ('b') VALUES (1500, 10, 1), (2600, 20, 2)")
        yield opened


@pytest.fixture
def rows(engine: Engine) -> Any:
    return lambda sql, *params: engine.sql(sql, list(params)).rows()


def test_interval_leaves_empty_windows_out(rows: Any) -> None:
    found = rows("SELECT _wstart, _wend, _wduration, count(*), last(y) FROM d1 INTERVAL(2s)")
    assert found == [
        [0, 2000, 2000, 1, 1],
        [2000, 4000, 2000, 2, 2],
        [8000, 10000, 2000, 1, 3],
    ]


def test_range_has_empty_windows(rows: Any) -> None:
    found = rows("SELECT count(*), count(y), sum(x) FROM d1 GROUP BY ([0, 6000), 2s)")
    assert found == [[0, 1, 1, 1.5], [2000, 2, 1, 6.5], [4000, 0, 0, None]]


def test_sessions_of_each_partition(rows: Any) -> None:
    found = rows("SELECT loc, _wstart, count(*) FROM m PARTITION BY loc SESSION(ts, 1s)")
    assert found == [["a", 1000, 2], ["a", 3500, 1], ["a", 9000, 1], ["b", 1500, 1], ["b", 2600, 1]]


def test_having_order_and_limit_are_of_windows(rows: Any) -> None:
    found = rows(
        "SELECT loc, _wstart AS s, count(*) FROM m PARTITION BY loc INTERVAL(1s)"
        " HAVING avg(x) > 2 ORDER BY loc DESC, s DESC LIMIT 3 OFFSET 1"
    )
    assert found == [["b", 1000, 1], ["a", 9000, 1], ["a", 3000, 1]]


def test_all_devices_of_a_template_are_one_partition(rows: Any) -> None:
    found = rows("SELECT _wstart, count(*), max(x) - min(x) FROM m INTERVAL(2s)")
    assert found == [[0, 2, 8.5], [2000, 3, 17.5], [8000, 1, 0.0]]


def test_windows_in_a_sub_query_and_over_one(rows: Any) -> None:
    inner = "SELECT _wstart AS w, avg(x) AS a FROM d1 INTERVAL(2s)"
    assert rows(f"SELECT w, a FROM ({inner}) WHERE w > 1000") == [[2000, 3.25], [8000, 7.0]]
    assert rows(f"SELECT diff(a) FROM ({inner})") == [[None], [1.75], [3.75]]
    found = rows(
        "WITH c AS (SELECT * FROM m WHERE x > 2) SELECT _wstart, count(*) FROM c INTERVAL(2s)"
    )
    assert found == [[0, 1], [2000, 3], [8000, 1]]


def test_parameters_stay_with_their_step(rows: Any) -> None:
    found = rows("SELECT _wstart, count(*) + ? FROM m WHERE y > ? INTERVAL(2s)", 10, 1)
    assert found == [[2000, 12], [8000, 11]]


def test_points_that_keep_the_rows_stand_beside_columns(rows: Any) -> None:
    found = rows("SELECT ts, y, diff(x) * 2 FROM d1")
    assert found == [[1000, 1, None], [2000, 2, 2.0], [3500, None, 3.0], [9000, 3, 6.0]]


def test_points_of_each_partition(rows: Any) -> None:
    found = rows("SELECT loc, diff(x) FROM m PARTITION BY loc")
    assert found == [["a", None], ["a", 1.0], ["a", 1.5], ["a", 3.0], ["b", None], ["b", 10.0]]


def test_points_of_their_own_come_with_their_time(rows: Any) -> None:
    assert rows("SELECT top(x, 2) FROM d1") == [[3500, 4.0], [9000, 7.0]]


def test_functions_in_where_see_the_rows_that_other_conditions_leave_out(rows: Any) -> None:
    found = rows("SELECT x FROM d1 WHERE diff(x) > 1 AND y IS NOT NULL AND ts > 1000")
    assert found == [[9000, 7.0]]
    assert rows("SELECT * FROM d1 WHERE diff(x) BETWEEN 1 AND 2") == [
        [2000, 2.5, 2],
        [3500, 4, None],
    ]


def test_functions_inside_of_functions_aggregates_and_clauses(rows: Any) -> None:
    assert rows("SELECT csum(diff(x)) FROM d1") == [[2000, 1.0], [3500, 2.5], [9000, 5.5]]
    assert rows("SELECT avg(diff(x)) FROM d1 INTERVAL(2s)") == [[0, None], [2000, 1.25], [8000, 3]]
    assert rows("SELECT count(change_points(y)) FROM d1") == [[3]]
    assert rows("SELECT count(*) FROM d1 STATE_WINDOW(diff(x) > 1)") == [[1000, 2], [3500, 2]]


def test_levels_and_tags(rows: Any) -> None:
    assert rows("SELECT count(x), max(x) FROM root.main.* GROUP BY LEVEL = 1") == [[6, 20.0]]
    assert rows("SELECT count(x) FROM root.main.* GROUP BY LEVEL = 2") == [[4, 2]]
    assert rows("SELECT count(x) FROM root.main.* GROUP BY TAGS(loc)") == [["a", 4], ["b", 2]]
    found = rows("SELECT count(x) FROM root.main.* GROUP BY ([0, 4000), 2s), LEVEL = 1")
    assert found == [[0, 2], [2000, 3]]


def test_devices_of_a_pattern_stand_side_by_side(engine: Engine, rows: Any) -> None:
    sql = "SELECT count(x), avg(x) FROM root.main.* INTERVAL(2s)"
    names = [column["name"] for column in engine.sql(sql).columns]
    assert names[:3] == ["time", "root.main.d1.count(x)", "root.main.d1.avg(x)"]
    assert rows(sql)[-1] == [8000, 1, 7.0, None, None]
    by_device = rows("SELECT avg(x) FROM root.main.* INTERVAL(2s) ALIGN BY DEVICE")
    assert by_device[0] == [0, "root.main.d1", 1.5]
    points = rows("SELECT top(x, 1) FROM root.main.*")
    assert points == [[2600, None, 20.0], [9000, 7.0, None]]


def test_functions_of_a_star(rows: Any) -> None:
    assert rows("SELECT last_value(*) FROM d1") == [[7.0, 3]]
    assert rows("SELECT count(*) FROM root.main.d1") == [[4, 3]]
    assert rows("SELECT count(*) FROM d1") == [[4]]
    assert rows("SELECT diff(*) FROM d1")[1] == [2000, 1.0, 1]


def test_functions_of_windows_without_a_window(rows: Any) -> None:
    assert rows("SELECT loc, twa(x) FROM m GROUP BY loc HAVING twa(x) > 5") == [["b", 15.0]]
    assert rows("SELECT twa(x), avg(x) FROM d1") == [[4.640625, 3.75]]
    assert rows("SELECT twa(x), count(*) FROM d1 WHERE x > 100") == [[None, 0]]
    assert rows("SELECT twa(x) FROM d1 WHERE x > 100") == []


def test_percentiles_and_extremes(rows: Any) -> None:
    found = rows("SELECT percentile(x, 50), apercentile(x, 50), extreme(x - 6) FROM d1")
    assert found == [[3.25, 3.25, -4.5]]


def test_last_over_a_sub_query_goes_by_its_time(rows: Any) -> None:
    inner = "SELECT _wstart AS time, avg(x) AS a FROM m INTERVAL(1s) ORDER BY a"
    found = rows(f"SELECT time, last(a) FROM ({inner}) INTERVAL(2s)")
    assert found == [[0, 5.75], [2000, 4.0], [8000, 7.0]]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT x FROM d1 INTERVAL(1s)", "neither aggregated nor a key"),
        ("SELECT * FROM d1 INTERVAL(1s)", "neither aggregated nor a key"),
        ("SELECT count(*) FROM d1 INTERVAL(1s) SLIDING(2s)", "SLIDING is longer"),
        ("SELECT count(*) FROM (SELECT x FROM d1) INTERVAL(1s)", "has no time"),
        ("SELECT max(twa(x)) FROM d1 INTERVAL(1s)", "cannot be aggregated"),
        ("SELECT diff(avg(x)) FROM d1 INTERVAL(1s)", "of an aggregate"),
        ("SELECT max(x), csum(x) FROM d1", "one value, beside"),
        ("SELECT count(*) FROM d1 SESSION(x, 1s)", "not by x"),
        ("SELECT a.x FROM d1 a JOIN d2 b ON a.time = b.time WHERE diff(a.x) > 0", "over a join"),
        ("SELECT x FROM root.main.* WHERE diff(x) > 0", "several devices"),
        ("SELECT count(x) FROM root.main.* INTERVAL(1s) ORDER BY count(x)", "ordered by time"),
        ("SELECT twa(loc) FROM m", "takes numbers"),
    ],
)
def test_refusals(rows: Any, sql: str, says: str) -> None:
    with pytest.raises(SqlError, match=says):
        rows(sql)


def test_programs_of_steps_run_in_a_worker(engine: Engine) -> None:
    executor = WorkerExecutor(pool_size=1)
    session = Session(engine, executor)
    try:
        sql = "SELECT loc, _wstart, count(*), avg(x) FROM m PARTITION BY loc INTERVAL(2s)"
        assert session.execute(sql).rows() == engine.sql(sql).rows()
        points = "SELECT top(x, 2) FROM d1"
        assert session.execute(points).rows() == engine.sql(points).rows()
        joined = (
            "SELECT a._wstart, b.x FROM (SELECT _wstart, avg(x) AS x FROM d1 INTERVAL(2s)) AS a"
        )
        joined += " JOIN d1 AS b ON b.time = a._wstart"
        assert session.execute(joined).rows() == engine.sql(joined).rows() == [[2000, 2.5]]
    finally:
        session.close()


def test_measurements_named_with_the_end_of_a_path(engine: Engine, rows: Any) -> None:
    sql = "SELECT count(d1.x), avg(d2.x) FROM root.** GROUP BY ([0, 4000), 2s)"
    names = [column["name"] for column in engine.sql(sql).columns]
    assert names == ["time", "root.main.d1.count(d1.x)", "root.main.d2.avg(d2.x)"]
    assert rows(sql) == [[0, 1, 10.0], [2000, 2, 20.0]]
    assert rows("SELECT d1.x, d2.y FROM root.main")[:2] == [[1000, 1.5, None], [1500, None, 1]]
    with pytest.raises(NotFoundError, match="d7"):
        rows("SELECT d7.x FROM root.**")


def test_points_of_each_window(rows: Any) -> None:
    found = rows("SELECT _wstart, ts, top(x, 2), count(*) FROM d1 INTERVAL(5s)")
    assert found == [[0, 2000, 2.5, 3], [0, 3500, 4.0, 3], [5000, 9000, 7.0, 1]]
    found = rows(
        "SELECT loc, _wstart, change_points(y), max(x) FROM m PARTITION BY loc INTERVAL(5s)"
    )
    assert found[:3] == [["a", 0, 1, 4.0], ["a", 0, 2, 4.0], ["a", 5000, 3, 7.0]]
    found = rows("SELECT top(x, 1) FROM root.main.* INTERVAL(5s)")
    assert found == [[2600, None, 20.0], [3500, 4.0, None], [9000, 7.0, None]]


def test_limits_of_partitions_and_of_their_rows(rows: Any) -> None:
    windows = "SELECT loc, _wstart, count(*) FROM m PARTITION BY loc INTERVAL(2s)"
    assert rows(f"{windows} LIMIT 1 OFFSET 1") == [["a", 2000, 2], ["b", 2000, 1]]
    assert rows(f"{windows} SLIMIT 1 LIMIT 2") == [["a", 0, 1], ["a", 2000, 2]]
    assert rows(f"{windows} ORDER BY loc, _wstart LIMIT 1") == [["a", 0, 1]]
    filled = windows.replace("PARTITION", "WHERE ts >= 0 AND ts < 8000 PARTITION")
    assert rows(f"{filled} FILL(PREV) LIMIT 1") == [["a", 0, 1], ["b", 0, 1]]
    assert rows("SELECT loc, x FROM m PARTITION BY loc LIMIT 1") == [["a", 1.5], ["b", 10.0]]
    assert rows("SELECT loc, avg(x) FROM m PARTITION BY loc SLIMIT 1 SOFFSET 1") == [["b", 15.0]]
    assert rows("SELECT x FROM root.main.* SLIMIT 1 SOFFSET 1") == [[1500, 10.0], [2600, 20.0]]
    sides = rows("SELECT count(x) FROM root.main.* INTERVAL(2s) SLIMIT 1 SOFFSET 1")
    assert sides == [[0, 1], [2000, 1]]


def test_several_columns_of_one_function(engine: Engine, rows: Any) -> None:
    result = engine.sql("SELECT last(x, y), last_row(y, ts) FROM d1 WHERE ts < 4000")
    names = [column["name"] for column in result.columns]
    assert names == ["last(x)", "last(y)", "last_row(y)", "last_row(ts)"]
    assert result.rows() == [[4.0, 2, None, 3500]]


def test_tags_stand_beside_aggregates_of_a_partition(rows: Any) -> None:
    found = rows("SELECT upper(loc), tbname, avg(x) FROM m PARTITION BY device ORDER BY 1")
    assert found == [["A", "d1", 3.75], ["B", "d2", 15.0]]
    found = rows("SELECT loc, avg(x) FROM m PARTITION BY tbname INTERVAL(10s)")
    assert found == [["a", 3.75], ["b", 15.0]]


def test_common_table_expressions_over_walks_and_under_them(rows: Any) -> None:
    found = rows(
        "WITH a AS (SELECT _wstart w, avg(x) v FROM m INTERVAL(2s)),"
        " b AS (SELECT w, v, diff(v) AS d FROM a WHERE w >= 0) SELECT w, d FROM b ORDER BY w"
    )
    assert found == [[0, None], [2000, pytest.approx(3.0833333)], [8000, pytest.approx(-1.8333333)]]
    found = rows(
        "WITH a AS (SELECT * FROM m), b AS (SELECT _wstart w, count(*) c FROM a INTERVAL(2s))"
        " SELECT b.w, b.c, a.x FROM b JOIN a ON a.time = b.w"
    )
    assert found == [[2000, 3, 2.5]]


def test_windows_in_set_operations_and_conditions(rows: Any) -> None:
    windows = "SELECT _wstart, count(*) FROM {} INTERVAL(2s)"
    found = rows(f"{windows.format('d1')} UNION ALL {windows.format('d2')} ORDER BY 1, 2")
    assert found == [[0, 1], [0, 1], [2000, 1], [2000, 2], [8000, 1]]
    found = rows("SELECT ts FROM d1 WHERE ts IN (SELECT _wstart FROM m INTERVAL(1s))")
    assert found == [[1000], [2000], [9000]]


def test_pseudo_columns_are_times(rows: Any) -> None:
    assert rows("SELECT count(*), _wend AS time FROM d1 INTERVAL(10s)") == [[4, 10000]]
    found = rows("SELECT count(*) FROM d1 INTERVAL(2s) HAVING _wstart >= '1970-01-01T00:00:02Z'")
    assert found == [[2000, 2], [8000, 1]]
    found = rows("SELECT _wstart + 1s, _wend > 2000 FROM d1 INTERVAL(2s)")
    assert found == [[0, 1000, False], [2000, 3000, True], [8000, 9000, True]]
    found = rows("SELECT _qstart, _qend FROM d1 WHERE ts >= 1000 AND ts <= 1500 INTERVAL(2s)")
    assert found == [[0, 1000, 1500]]


def test_paths_from_the_root_are_aligned_by_time(rows: Any) -> None:
    paths = "root.main.d1, root.main.d2"
    found = rows(f"SELECT count(x) FROM {paths} GROUP BY ([0, 4000), 2s)")
    assert found == [[0, 1, 1], [2000, 2, 1]]
    assert rows(f"SELECT x FROM {paths}")[:2] == [[1000, 1.5, None], [1500, None, 10.0]]
    joined = rows(f"SELECT d1.x, d2.x FROM {paths} WHERE d1.ts = d2.ts - 500a")
    assert joined == [[1.5, 10.0]]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_bound_beyond_all_times_is_no_bound(engine: Engine, zone: str) -> None:
    sql = "SELECT _wstart, count(x) FROM d1 {} INTERVAL(2s)"
    every = engine.sql(sql.format(""), time_zone=zone).rows()
    for bounds in ("WHERE ts < 1000000000000000", "WHERE ts > -2000000000000000"):
        assert engine.sql(sql.format(bounds), time_zone=zone).rows() == every
