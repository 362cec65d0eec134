"""SELECT over templates, paths, patterns and rollups: columns, shapes, names, times."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import (
    NotFoundError,
    SqlError,
    SqlLimitError,
    SqlSyntaxError,
    SqlTimeoutError,
    SqlUnsupportedError,
)
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]

NORTH, SOUTH = "root.main.d1001", "root.main.d1002"


def names(result: Result) -> list[str | None]:
    return [column["name"] for column in result.columns]


# Templates


def test_a_template_is_a_table_of_all_its_devices(plant: Run) -> None:
    result = plant("SELECT * FROM meters")
    assert names(result) == ["time", "device", "location", "groupid", "current", "voltage"]
    assert result.rows() == [
        [1000, NORTH, "north", 2, 10.5, 219],
        [2000, NORTH, "north", 2, 11.0, 220],
        [1000, SOUTH, "south", 3, 12.25, 221],
        [3000, SOUTH, "south", 3, None, 222],
    ]
    assert result.tables == {"meters"}
    assert [column["type"] for column in result.columns] == [
        "TIMESTAMP",
        "TEXT",
        "TEXT",
        "INT32",
        "FLOAT",
        "INT32",
    ]


def test_names_of_templates_columns_and_tags_are_not_case_sensitive(plant: Run) -> None:
    assert plant("SELECT LOCATION, Voltage FROM METERS WHERE TS = 2000").rows() == [["north", 220]]


def test_the_time_answers_to_both_names_and_tbname_to_the_last_element(plant: Run) -> None:
    result = plant("SELECT ts, time, tbname FROM meters WHERE tbname = 'd1002' ORDER BY ts DESC")
    assert names(result) == ["ts", "time", "tbname"]
    assert result.rows() == [[3000, 3000, "d1002"], [1000, 1000, "d1002"]]


def test_the_declared_name_of_the_time_passes_through_a_star(plant: Run) -> None:
    result = plant("SELECT ts, voltage FROM (SELECT * FROM meters) WHERE ts > 1500 ORDER BY ts")
    assert names(result) == ["ts", "voltage"]
    assert result.rows() == [[2000, 220], [3000, 222]]


def test_a_star_beside_a_hidden_column_stays_as_declared(plant: Run) -> None:
    result = plant("SELECT *, tbname FROM meters WHERE ts = 3000")
    assert names(result)[:3] == ["time", "device", "location"]
    assert names(result)[-1] == "tbname"
    assert len(names(result)) == 7
    joined = plant("SELECT a.*, b.* FROM meters a JOIN meters b ON a.ts = b.ts AND a.ts = 3000")
    assert len(names(joined)) == 12
    both = plant("SELECT * FROM meters a JOIN (SELECT 7 AS ts) b ON a.ts = 3000")
    assert names(both)[-1] == "ts"
    assert len(names(both)) == 7


def test_a_template_in_a_database(own_plant: Run) -> None:
    own_plant(
        "CREATE DATABASE power; INSERT INTO power.d1 USING meters TAGS ('x', 1) VALUES (5, 1, 2)"
    )
    assert own_plant("SELECT voltage FROM power.meters").rows() == [[2]]
    assert own_plant("SELECT count(*) FROM meters").rows() == [[5]]
    assert own_plant("SELECT voltage FROM power.d1").rows() == [[5, 2]]


# Paths


def test_from_a_path_time_comes_first(plant: Run) -> None:
    assert plant("SELECT s1 FROM root.beijing.d1").rows() == [[1000, 1], [2000, None]]
    assert plant("SELECT s1, time FROM root.beijing.d1 LIMIT 1").rows() == [[1, 1000]]
    assert plant("SELECT current FROM d1001").rows() == [[1000, 10.5], [2000, 11.0]]


def test_the_star_of_a_path_is_time_and_measurements(plant: Run) -> None:
    result = plant("SELECT * FROM d1001")
    assert names(result) == ["time", "current", "voltage"]
    assert plant("SELECT location, device FROM d1001 LIMIT 1").rows() == [[1000, "north", NORTH]]


@pytest.mark.parametrize(
    ("items", "rows"),
    [
        ("count(s1), sum(s2)", [[1, 4.0]]),
        ("count(*)", [[1, 2]]),
        ("count(*) AS n", [[2]]),
        ("max_time(s1), min_value(s2)", [[1000, 1.5]]),
        ("spread(s2)", [[1.0]]),
        ("LAST(s1), LAST_ROW(s1), FIRST(s2)", [[1, None, 1.5]]),
    ],
)
def test_aggregates_of_a_path_have_no_time(plant: Run, items: str, rows: list[Any]) -> None:
    assert plant(f"SELECT {items} FROM root.beijing.d1").rows() == rows


def test_groups_of_a_path_have_no_time(plant: Run) -> None:
    rows = plant("SELECT s1 > 0 AS up, count(*) FROM root.beijing.d1 GROUP BY up ORDER BY ALL")
    assert rows.rows() == [[True, 1], [None, 1]]
    assert plant("SELECT DISTINCT s1 FROM root.beijing.d1 WHERE s1 = 1").rows() == [[1]]


def test_paths_in_a_join_are_standard_sql(plant: Run) -> None:
    result = plant("SELECT a.s1, b.s1 FROM root.beijing.d1 a JOIN root.beijing.d2 b USING (time)")
    assert result.rows() == [[1, 10]]


def test_elements_of_a_path_are_case_sensitive(plant: Run) -> None:
    with pytest.raises(NotFoundError, match="no table"):
        plant("SELECT s1 FROM root.beijing.D1")


def test_odd_elements_stand_in_backquotes(own_plant: Run) -> None:
    own_plant("INSERT INTO root.beijing.`a.b c`(time, s1) VALUES (1, 5)")
    assert own_plant("SELECT s1 FROM root.beijing.`a.b c`").rows() == [[1, 5]]
    rows = own_plant("SELECT tbname, device FROM car WHERE tbname = 'a.b c'").rows()
    assert rows == [["a.b c", "root.beijing.`a.b c`"]]


# Patterns


def test_devices_of_a_pattern_stand_side_by_side(plant: Run) -> None:
    result = plant("SELECT s1, s2 FROM root.beijing.**")
    assert names(result) == [
        "time",
        "root.beijing.d1.s1",
        "root.beijing.d1.s2",
        "root.beijing.d2.s1",
        "root.beijing.d2.s2",
    ]
    assert result.rows() == [
        [1000, 1, 1.5, 10, None],
        [2000, None, 2.5, None, None],
        [3000, None, None, 30, 3.5],
    ]


def test_aggregates_of_a_pattern_are_of_each_device(plant: Run) -> None:
    result = plant("SELECT count(s1), max(s2) FROM root.*.* WHERE time < 3000")
    assert names(result)[0] == "root.beijing.d1.count(s1)"
    assert result.rows() == [[1, 2.5, 1, None]]


def test_a_pattern_that_asks_for_the_device_keeps_rows(plant: Run) -> None:
    rows = plant("SELECT device, s1 FROM root.beijing.* WHERE s1 IS NOT NULL").rows()
    assert rows == [
        [1000, "root.beijing.d1", 1],
        [1000, "root.beijing.d2", 10],
        [3000, "root.beijing.d2", 30],
    ]
    grouped = plant("SELECT device, count(s1) FROM root.beijing.** GROUP BY device ORDER BY 1")
    assert grouped.rows() == [["root.beijing.d1", 1], ["root.beijing.d2", 2]]


def test_align_by_device_shows_the_device(plant: Run) -> None:
    result = plant("SELECT s1, s2 FROM root.beijing.** WHERE time < 2000 ALIGN BY DEVICE")
    assert names(result) == ["time", "device", "s1", "s2"]
    assert result.rows() == [[1000, "root.beijing.d1", 1, 1.5], [1000, "root.beijing.d2", 10, None]]
    counts = plant("SELECT count(s1) FROM root.beijing.** ALIGN BY DEVICE")
    assert sorted(counts.rows()) == [["root.beijing.d1", 1], ["root.beijing.d2", 2]]
    by_time = plant("SELECT s1 FROM root.beijing.** ALIGN BY TIME")
    assert by_time.rows() == plant("SELECT s1 FROM root.beijing.**").rows()
    with pytest.raises(SqlUnsupportedError, match="not templates and joins"):
        plant("SELECT current FROM meters ALIGN BY TIME")


def test_a_pattern_over_several_templates(plant: Run) -> None:
    result = plant("SELECT * FROM root.**")
    assert "root.main.d1001.voltage" in names(result)
    assert "root.beijing.d2.s2" in names(result)
    assert result.tables == {"car", "meters"}
    narrow = plant("SELECT s1 FROM root.**")
    assert narrow.tables == {"car"}


def test_a_pattern_with_too_many_columns_is_refused(own_plant: Run) -> None:
    rows = ", ".join(f"('w{i}', 1, 1)" for i in range(1001))
    own_plant(f"INSERT INTO meters(tbname, ts, voltage) VALUES {rows}")
    with pytest.raises(SqlLimitError, match="device"):
        own_plant("SELECT voltage FROM root.main.**")


def test_window_functions_over_a_pattern_keep_rows_apart(plant: Run) -> None:
    result = plant("SELECT lag(s1) OVER (ORDER BY time) AS p FROM root.beijing.**")
    assert names(result) == ["time", "device", "p"]
    assert result.warnings


# LAST


def test_last_values_per_device(plant: Run) -> None:
    rows = plant("SELECT device, LAST(current), LAST_ROW(current) FROM meters PARTITION BY device")
    assert sorted(rows.rows()) == [[NORTH, 11.0, 11.0], [SOUTH, 12.25, None]]


def test_select_last_lists_series(plant: Run) -> None:
    result = plant("SELECT LAST s1, s2 FROM root.beijing.**")
    assert names(result) == ["time", "series", "value", "type"]
    assert result.rows() == [
        [1000, "root.beijing.d1.s1", "1", "INT32"],
        [2000, "root.beijing.d1.s2", "2.5", "FLOAT"],
        [3000, "root.beijing.d2.s1", "30", "INT32"],
        [3000, "root.beijing.d2.s2", "3.5", "FLOAT"],
    ]
    later = plant(
        "SELECT LAST * FROM root.beijing.* WHERE time > 2500 ORDER BY TIMESERIES DESC LIMIT 1"
    )
    assert later.rows() == [[3000, "root.beijing.d2.s2", "3.5", "FLOAT"]]


# Rollups


def test_a_rollup_is_a_table_with_a_computed_mean(own_plant: Run, engine: Engine) -> None:
    rollup = engine.create_rollup("car", "1m", 60 * 10**9)
    ids = engine.device_ids("car", ["root.beijing.d1"])
    columns = {"s1_count": [2], "s1_sum": [5.0], "s1_min": [2], "s1_last_time": [1500]}
    engine.write(rollup.name, ids, [0], columns).wait()
    result = own_plant("SELECT * FROM car_1m")
    assert names(result)[:2] == ["time", "device"]
    row = dict(zip(names(result), result.rows()[0], strict=True))
    assert (row["s1_mean"], row["s1_min"], row["s1_last_time"]) == (2.5, 2, 1500)
    assert row["s2_mean"] is None
    assert result.tables == {"car_1m"}
    assert own_plant("SELECT s1_mean FROM car_1m WHERE s1_last_time > 1000").rows() == [[2.5]]


# Times


@pytest.mark.parametrize(
    "condition",
    [
        "ts > 2000",
        "2000 < ts",
        "ts > '1970-01-01T00:00:02Z'",
        "ts > '1970-01-01 00:00:02'",
        "ts > 1970-01-01T00:00:02",
        "ts > TIMESTAMP '1970-01-01 00:00:02'",
        "ts > 1000 + 1000",
        "ts BETWEEN 2001 AND '2026-01-01'",
        "ts IN (3000, '1970-01-02')",
        "ts < now() AND ts > now() - INTERVAL '20746 days' - 86498s",
        "ts > 2000 AND ts < 9223372036854775807",
        "ts > -9223372036854775808 AND voltage = 222",
        "ts > '1970-01-01T00:00:02.0000005Z'",
    ],
)
def test_times_are_compared_with_what_users_write(plant: Run, condition: str) -> None:
    assert plant(f"SELECT ts FROM meters WHERE {condition}").rows() == [[3000]]


def test_a_literal_without_zone_is_read_in_the_requests_zone(plant: Run) -> None:
    sql = "SELECT ts FROM meters WHERE ts >= '1970-01-01 01:00:03'"
    assert plant(sql).rows() == []
    result = plant(sql, time_zone="Europe/Berlin")
    assert result.rows() == [[3000]]
    assert result.columns[0]["zone"] == "Europe/Berlin"


def test_days_begin_in_the_requests_zone(plant: Run) -> None:
    sql = "SELECT DISTINCT date_trunc('day', ts) AS day FROM meters"
    assert plant(sql).rows() == [[0]]
    assert plant(sql, time_zone="Asia/Shanghai").rows() == [[-8 * 3600 * 1000]]
    rfc = plant(sql, time_zone="+08:00").rows(time_format="rfc3339")
    assert rfc == [["1970-01-01T00:00:00.000+08:00"]]


def test_times_through_sub_queries_and_aggregates(plant: Run) -> None:
    rows = plant(
        """
        WITH newest(d, t) AS (SELECT device, max(ts) FROM meters GROUP BY device)
        SELECT d, t FROM newest WHERE t > 2500
        """
    ).rows()
    assert rows == [[SOUTH, 3000]]
    rows = plant("SELECT device, max(ts) FROM meters GROUP BY device HAVING max(ts) < 2500").rows()
    assert rows == [[NORTH, 2000]]
    spans = plant("SELECT max(ts) - min(ts) AS span, CASE WHEN max(ts) > 5 THEN 1 END FROM meters")
    assert spans.rows() == [[2000, 1]]


def test_now_is_the_clock_of_the_engine(plant: Run) -> None:
    rows = plant("SELECT now() AS a, now - 1h AS b, CURRENT_TIMESTAMP AS c").rows()
    assert rows == [[1_792_540_900_000, 1_792_537_300_000, 1_792_540_900_000]]


def test_text_that_is_not_a_time_is_refused(plant: Run) -> None:
    with pytest.raises(SqlSyntaxError, match="'soon' is not a time"):
        plant("SELECT * FROM meters WHERE ts > 'soon'")
    with pytest.raises(SqlError, match="compare a time"):
        plant("SELECT ts + 5 FROM meters")


@pytest.fixture
def nanos(run: Run) -> Run:
    """A template in a database of nanosecond precision."""
    run(
        """
        CREATE DATABASE root.fast WITH (precision='ns');
        CREATE STABLE f (ts TIMESTAMP, a INT, at TIMESTAMP) TAGS (line TEXT);
        INSERT INTO root.fast.x USING f TAGS ('l') VALUES
            (1792540800000000001, 1, 1), (1792540800000000002, 2, NULL),
            ('2026-10-21T00:00:00.000000003Z', 3, '1970-01-01T00:00:00.000000009Z')
        """
    )
    return run


def test_nanoseconds_are_kept(nanos: Run) -> None:
    result = nanos("SELECT * FROM f")
    assert [row[0] for row in result.rows()] == [1792540800000000000 + i for i in (1, 2, 3)]
    assert [row[-1] for row in result.rows()] == [1, None, 9]
    assert result.columns[0]["unit"] == "ns"
    assert nanos("SELECT a FROM f WHERE ts > 1792540800000000002").rows() == [[3]]
    assert nanos("SELECT a FROM f WHERE ts = '2026-10-21T00:00:00.000000001Z'").rows() == [[1]]
    assert nanos("SELECT max(ts), min(ts) FROM f").rows()[0][0] == 1792540800000000003
    assert nanos("SELECT a FROM f WHERE at < 5").rows() == [[1]]


def test_functions_of_nanoseconds_work_in_microseconds(nanos: Run) -> None:
    minute = 1792540800000000000
    rows = nanos("SELECT time_bucket(INTERVAL '1 minute', ts) AS m, count(*) FROM f GROUP BY m")
    assert rows.rows() == [[minute, 3]]
    assert nanos("SELECT date_trunc('hour', ts) < now() FROM f LIMIT 1").rows() == [[True]]
    assert nanos("SELECT ts - INTERVAL '1 hour' AS t FROM f LIMIT 1").rows() == [
        [minute - 3600 * 10**9]
    ]
    assert nanos("SELECT count(*) FROM f WHERE ts > now() - 1d").rows() == [[3]]
    joined = nanos("SELECT count(*) FROM f a JOIN f b ON a.ts < b.ts - INTERVAL '1 hour'")
    assert joined.rows() == [[0]]


def test_a_statement_over_two_precisions_has_the_finer_one(own_plant: Run, nanos: Run) -> None:
    result = nanos("SELECT m.ts, f.ts FROM meters m JOIN f ON m.ts < f.ts ORDER BY ALL LIMIT 1")
    assert result.rows() == [[1_000_000_000, 1792540800000000001]]


# Everything else that DuckDB can do


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT sum(voltage) FROM meters", [[882]]),
        ("SELECT location, avg(voltage) a FROM meters GROUP BY ALL ORDER BY a", [
            ["north", 219.5], ["south", 221.5]]),
        ("SELECT voltage FROM meters ORDER BY voltage DESC LIMIT 1 OFFSET 1", [[221]]),
        ("SELECT sum(voltage) OVER (PARTITION BY device ORDER BY ts) s FROM meters WHERE ts < 3000",
         [[219], [439], [221]]),
        ("SELECT a.voltage, b.voltage FROM d1001 a ASOF JOIN d1002 b ON a.ts >= b.ts",
         [[219, 221], [220, 221]]),
        ("SELECT voltage FROM meters QUALIFY row_number() OVER (ORDER BY voltage) = 2", [[220]]),
        ("SELECT count(*) FILTER (WHERE voltage > 220) FROM meters", [[2]]),
        ("SELECT max(x) FROM (SELECT 1 AS x UNION ALL SELECT 5)", [[5]]),
        ("SELECT m.voltage FROM meters m WHERE EXISTS (SELECT 1 FROM d1002 d WHERE d.ts = m.ts"
         " AND m.location = 'north')", [[219]]),
        ("SELECT * EXCLUDE (location, groupid, device, current) FROM meters WHERE voltage = 219",
         [[1000, 219]]),
        ("WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 4)"
         " SELECT sum(i) FROM r", [[10]]),
        ("WITH meters AS (SELECT 1 AS x) SELECT * FROM meters", [[1]]),
        ("WITH meters AS (SELECT voltage FROM meters WHERE ts = 3000) FROM meters", [[222]]),
        ("FROM meters SELECT count(DISTINCT device)", [[2]]),
        ("SELECT i FROM range(3) r(i) WHERE i > 1", [[2]]),
        ("SELECT CAST(200 AS INT16) // 3", [[66]]),
        ("SELECT meters.voltage FROM meters WHERE meters.ts = 3000", [[222]]),
        ("(SELECT 1 AS a) UNION ALL (SELECT 2) ORDER BY a DESC", [[2], [1]]),
        ("SELECT v FROM meters AS m(t, d, l, g, c, v) WHERE l = 'south' AND v > 221", [[222]]),
        ("SELECT m.voltage FROM meters m NATURAL JOIN (SELECT 222 AS voltage) x", [[222]]),
    ],
)  # fmt: skip
def test_standard_sql_works_over_tables(plant: Run, sql: str, rows: list[Any]) -> None:
    assert plant(sql).rows() == rows


def test_headings_are_as_written(plant: Run) -> None:
    result = plant("SELECT Avg(voltage), voltage+1, VOLTAGE v, max(ts) FROM meters GROUP BY ALL")
    assert names(result) == ["Avg(voltage)", "voltage+1", "v", "max(ts)"]


def test_units_follow_the_measurement(plant: Run) -> None:
    result = plant("SELECT s1, avg(s1) OVER (), s1 + 1, count(s1) OVER () FROM car")
    assert [column["unit"] for column in result.columns] == ["rpm", "rpm", None, None]
    assert plant("SELECT * FROM car").columns[2]["unit"] == "rpm"
    windows = plant("SELECT _wstart, last(s1), count(s1), avg(s1) AS a FROM car INTERVAL(1s)")
    assert [column["unit"] for column in windows.columns] == ["ms", "rpm", None, "rpm"]
    inner = "SELECT time, avg(s1) AS a FROM car INTERVAL(1s)"
    assert plant(f"SELECT max(a) FROM ({inner})").columns[0]["unit"] == "rpm"


# Parameters and limits


def test_parameters_are_bound_by_position(plant: Run) -> None:
    rows = plant(
        "SELECT voltage FROM meters WHERE location = ? AND ts BETWEEN ? AND ? AND voltage > ?",
        "south",
        "1970-01-01",
        3000,
        221,
    ).rows()
    assert rows == [[222]]
    moment = dt.datetime(1970, 1, 1, 0, 0, 2, tzinfo=dt.UTC)
    assert plant("SELECT voltage FROM meters WHERE ts = ?", moment).rows() == [[220]]
    assert plant("SELECT ? AS a, ? AS b, ? AS c", None, "'; DROP", 2.5).rows() == [
        [None, "'; DROP", 2.5]
    ]
    assert plant("SELECT count(*) FROM meters LIMIT ?", 1).row_count == 1


def test_parameters_that_cannot_be_bound_are_refused(plant: Run) -> None:
    with pytest.raises(SqlError, match="one value for each"):
        plant("SELECT ?")
    with pytest.raises(SqlError, match="64 bits"):
        plant("SELECT ?", 2**70)
    with pytest.raises(SqlError, match="type set"):
        plant("SELECT ?", {1})
    with pytest.raises(SqlError, match=r"write \?"):
        plant("SELECT $name")


def test_a_result_has_a_bound(plant: Run) -> None:
    with pytest.raises(SqlLimitError, match="more than 3 rows"):
        plant("SELECT * FROM meters", row_limit=3)
    assert plant("SELECT * FROM meters", row_limit=4).row_count == 4


def test_a_statement_has_a_time_limit(plant: Run) -> None:
    with pytest.raises(SqlTimeoutError, match=r"0\.05 s"):
        plant("SELECT count(*) FROM range(100000000000)", timeout_s=0.05)


def test_unknown_columns_name_the_remedy(plant: Run) -> None:
    with pytest.raises(SqlError, match=r"nope.*DESCRIBE"):
        plant("SELECT nope FROM meters")


def test_unknown_functions_are_named(plant: Run) -> None:
    with pytest.raises(SqlUnsupportedError, match="gamma_ray"):
        plant("SELECT gamma_ray(voltage) FROM meters")


def test_the_engine_runs_sql_by_itself(engine: Engine) -> None:
    engine.sql("CREATE STABLE m (ts TIMESTAMP, a INT) TAGS (b INT); CREATE DATABASE power")
    engine.sql("USE power; INSERT INTO d1 USING m TAGS (?) VALUES (?, ?)", [1, 2, 3])
    assert engine.sql("SELECT * FROM d1").rows() == [[2, 3]]
    assert engine.sql("SELECT * FROM m", database="root.main").arrow().num_rows == 1


def test_a_script_answers_with_its_last_statement(plant: Run) -> None:
    result = plant("USE root.beijing; SELECT s1 FROM d2 WHERE time = ?", 3000)
    assert result.rows() == [[3000, 30]]
    assert plant("SELECT s1 FROM d2", database="beijing").row_count == 2


def test_use_holds_for_the_session_unless_the_call_names_a_database(plant: Run) -> None:
    plant("USE beijing", database="root.main")
    with pytest.raises(NotFoundError):
        plant("SELECT s1 FROM d2")
    plant("USE beijing")
    assert plant("SELECT s1 FROM d2").row_count == 2
    with pytest.raises(NotFoundError, match="CREATE DATABASE"):
        plant("USE nowhere")


def test_explain_says_what_would_be_read(plant: Run) -> None:
    lines = [row[0] for row in plant(
        "EXPLAIN SELECT voltage FROM meters WHERE location = 'north' AND ts >= 1000 AND ts < 2000"
    ).rows()]  # fmt: skip
    assert lines[:4] == [
        "scan meters as mainstem_0",
        "  devices: 1",
        "  time: 1970-01-01T00:00:01.000000000Z to 1970-01-01T00:00:02.000000000Z",
        "  columns: location, voltage, time",
    ]


def test_explain_analyze_runs_the_query_and_counts(plant: Run) -> None:
    query = "SELECT device, voltage FROM meters WHERE ts < 2000"
    plan = [row[0] for row in plant(f"EXPLAIN {query}").rows()]
    lines = [row[0] for row in plant(f"EXPLAIN ANALYZE {query}").rows()]
    count = plant(query).row_count
    assert lines[: len(plan)] == plan
    assert re.fullmatch(rf"read {count} rows of mainstem_0, \d+ bytes, in [0-9.]+ ms", lines[-3])
    assert re.fullmatch("plan [0-9.]+ ms, read [0-9.]+ ms, run [0-9.]+ ms", lines[-2])
    assert re.fullmatch(rf"answer {count} rows in [0-9.]+ ms", lines[-1])
    with pytest.raises(SqlError):
        plant("EXPLAIN ANALYZE SELECT nothing FROM meters")


def test_a_device_keeps_the_precision_of_its_database_in_a_finer_table(
    own_plant: Run, engine: Engine
) -> None:
    # The table's integers are nanoseconds, those of the path milliseconds, before 1970 too.
    own_plant("CREATE DATABASE root.slow")
    own_plant("CREATE DATABASE root.fast WITH (precision='ns')")
    own_plant("CREATE STABLE mixed (ts TIMESTAMP, v INT, at TIMESTAMP) TAGS (k INT)")
    own_plant(
        "INSERT INTO root.slow.d USING mixed TAGS (1) VALUES (1792540800123, 1, -7), (5, 2, NULL)"
    )
    own_plant("INSERT INTO root.fast.d USING mixed TAGS (2) VALUES (1792540800123456789, 3, 1)")
    engine.write("mixed", ["root.slow.d"], [-1_500_000], {"v": [4], "at": [-1]}).wait()
    rows = [[-2, 4, -1], [5, 2, None], [1792540800123, 1, -7]]
    for _ in range(2):
        assert own_plant("SELECT v, at FROM root.slow.d").rows() == rows
        assert own_plant("SELECT v FROM root.slow.d WHERE time = 1792540800123").row_count == 1
        assert own_plant("SELECT max(time), count(v) FROM root.slow.d").rows() == [
            [1792540800123, 3]
        ]
        assert own_plant("SELECT v FROM root.fast.d").rows() == [[1792540800123456789, 3]]
        assert own_plant("SELECT ts FROM mixed WHERE k = 1 ORDER BY ts").rows()[-1] == [
            1792540800123000000
        ]
        engine.flush()
    assert own_plant("DELETE FROM root.slow.d WHERE at = -7 AND time > 6").rows_affected == 1
    assert own_plant("SELECT v, at FROM root.slow.d").rows() == rows[:2]
