"""ALIGN(EVERY ...): sources of different clocks on one grid, and FROM a, b ALIGN BY."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine.errors import SqlError, SqlUnsupportedError
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]

HOUR_MS = 3_600_000


@pytest.fixture
def building(run: Run) -> Run:
    """A pump of every second, an energy counter of every quarter of an hour, which is exchanged
    once, the weather of every hour."""
    seconds = ", ".join(
        f"({t}, {t / 1000}, {t // 60_000 % 2 == 0})" for t in range(0, 300_000, 1000)
    )
    readings = [100.0, 190.0, 280.0, 45.0, 135.0]
    quarters = ", ".join(f"({n * HOUR_MS // 4}, {reading})" for n, reading in enumerate(readings))
    run(
        f"""
        CREATE STABLE pumps (ts TIMESTAMP, flow DOUBLE, running BOOL) TAGS (hall TEXT);
        CREATE STABLE counters (ts TIMESTAMP, energy DOUBLE) TAGS (hall TEXT);
        CREATE STABLE weather (ts TIMESTAMP, outside DOUBLE, sky TEXT) TAGS (place TEXT);
        INSERT INTO pump USING pumps TAGS ('A') VALUES {seconds};
        INSERT INTO counter USING counters TAGS ('A') VALUES {quarters};
        INSERT INTO station USING weather TAGS ('roof') VALUES (0, 10, 'clear')
            ({HOUR_MS}, 22, 'rain');
        INSERT INTO pump2 USING pumps TAGS ('B') VALUES (60000, 5, true) (180000, 11, false)
        """
    )
    return run


def names(result: Result) -> list[str | None]:
    return [column["name"] for column in result.columns]


def test_three_clocks_on_one_grid(building: Run) -> None:
    found = building(
        """SELECT flow, running, energy, outside, sky FROM pump, counter, station
        RANGE(60000, 300000)
        ALIGN(EVERY 1m, flow LINEAR, running PREVIOUS, energy RATE, outside LINEAR,
            sky PREVIOUS(2m))"""
    )
    assert names(found) == ["time", "flow", "running", "energy", "outside", "sky"]
    rows = found.rows()
    assert [row[:3] for row in rows] == [
        [60_000, 60.0, False],
        [120_000, 120.0, True],
        [180_000, 180.0, False],
        [240_000, 240.0, True],
        [300_000, None, True],
    ]
    assert [row[3] for row in rows] == pytest.approx([0.1] * 5)
    assert [row[4] for row in rows] == pytest.approx([10.2, 10.4, 10.6, 10.8, 11.0])
    assert [row[5] for row in rows] == ["clear", "clear", None, None, None]


def test_rates_add_up_to_what_the_counter_went(building: Run) -> None:
    for step, seconds in (("1m", 60), ("20m", 1200), ("1h", 3600)):
        found = building(f"SELECT energy FROM counter ALIGN(EVERY {step}, energy RATE)").rows()
        total = sum(row[1] * seconds for row in found if row[1] is not None)
        assert total == pytest.approx(90 + 90 + 45 + 90)


def test_the_grid_is_that_of_range_of_where_or_of_the_rows(building: Run) -> None:
    def moments(clauses: str) -> list[int]:
        sql = f"SELECT energy FROM counter {clauses}"
        return [row[0] // 60_000 for row in building(sql).rows()]

    assert moments("ALIGN(EVERY 30m)") == [0, 30, 60]
    assert moments("WHERE ts >= 600000 AND ts < 3600000 ALIGN(EVERY 20m)") == [20, 40]
    assert moments("RANGE(0, 7200000) ALIGN(EVERY 1h)") == [0, 60, 120]
    assert moments("WHERE ts > 99000000 ALIGN(EVERY 1h)") == []


def test_rows_outside_of_where_are_not_seen_those_outside_of_range_are(building: Run) -> None:
    narrow = "SELECT energy FROM counter {} ALIGN(EVERY 10m, PREVIOUS)"
    where = building(narrow.format("WHERE ts >= 1200000 AND ts < 2400000")).rows()
    assert where == [[1_200_000, None], [1_800_000, 280.0]]
    ranged = building(narrow.format("RANGE(1200000, 1800000)")).rows()
    assert ranged == [[1_200_000, 190.0], [1_800_000, 280.0]]


def test_devices_of_a_pattern_stand_side_by_side(building: Run) -> None:
    found = building(
        "SELECT flow, running FROM root.main.pump* RANGE(60000, 180000) ALIGN(EVERY 1m)"
    )
    assert names(found) == [
        "time",
        "root.main.pump.flow",
        "root.main.pump.running",
        "root.main.pump2.flow",
        "root.main.pump2.running",
    ]
    assert found.rows() == [
        [60_000, 60.0, False, 5.0, True],
        [120_000, 120.0, True, 8.0, True],
        [180_000, 180.0, False, 11.0, False],
    ]
    single = building("SELECT flow FROM root.main.pump2* RANGE(60000, 60000) ALIGN(EVERY 1m)")
    assert names(single) == ["time", "root.main.pump2.flow"]
    mixed = building(
        """SELECT p.flow - outside AS d FROM root.main.pump* p, station
        RANGE(60000, 60000) ALIGN(EVERY 1m)"""
    )
    assert names(mixed) == ["time", "root.main.pump.d", "root.main.pump2.d"]
    assert mixed.rows()[0][1:] == pytest.approx([49.8, -5.2])


def test_a_template_and_partitions_have_a_row_each(building: Run) -> None:
    found = building(
        """SELECT tbname, hall, flow FROM pumps WHERE ts >= 60000 AND ts < 180000
        ALIGN(EVERY 1m) ORDER BY time, tbname DESC LIMIT 3"""
    )
    assert names(found) == ["time", "tbname", "hall", "flow"]
    assert found.rows() == [
        [60_000, "pump2", "B", 5.0],
        [60_000, "pump", "A", 60.0],
        [120_000, "pump2", "B", None],
    ]
    star = building("SELECT * FROM pumps RANGE(120000, 120000) ALIGN(EVERY 1m)")
    assert names(star) == ["time", "device", "flow", "running"]
    halls = building(
        "SELECT hall, flow FROM pumps PARTITION BY hall RANGE(120000, 120000) ALIGN(EVERY 1m)"
    )
    assert halls.rows() == [[120_000, "A", 120.0], [120_000, "B", 8.0]]


def test_sub_queries_names_and_conditions(building: Run) -> None:
    found = building(
        """SELECT a.v, b.v FROM (SELECT ts, flow AS v FROM pump) a, (SELECT ts, flow AS v
        FROM pump2) b WHERE a.ts < 180000 AND a.v > 70 ALIGN(EVERY 1m)"""
    )
    assert names(found) == ["time", "a.v", "b.v"]
    assert found.rows() == [[60_000, None, 5.0], [120_000, 120.0, None]]
    inside = building(
        """WITH w AS (SELECT flow, outside FROM pump, station RANGE(0, 240000) ALIGN(EVERY 2m))
        SELECT corr(flow, outside), count(*) FROM w"""
    )
    assert inside.rows()[0] == [pytest.approx(1.0), 3]


def test_nothing_but_the_time_and_tables_without_rows(building: Run) -> None:
    only = building("SELECT time FROM pump, counter RANGE(0, 120000) ALIGN(EVERY 1m)")
    assert only.rows() == [[0], [60_000], [120_000]]
    building("CREATE TABLE idle USING pumps TAGS ('C')")
    found = building(
        """SELECT idle.flow, idle.running, outside FROM idle, station WHERE ts < 7200000
        ALIGN(EVERY 1h, idle.flow RATE)"""
    )
    assert found.rows() == [[0, None, None, 10.0], [3_600_000, None, None, 22.0]]
    nothing = building("SELECT flow, outside FROM idle, station RANGE(0, 1) ALIGN(EVERY 1h)")
    assert nothing.rows() == [[0, None, 10.0]]
    assert building("SELECT flow FROM idle RANGE(0, 1) ALIGN(EVERY 1h)").rows() == []


def test_types_and_units(run: Run) -> None:
    run("CREATE STABLE m (ts TIMESTAMP, v INT UNIT='V', e INT UNIT='Wh') TAGS (t TEXT)")
    run("INSERT INTO x USING m TAGS ('a') VALUES (0, 1, 10) (2000, 4, 14)")
    found = run("SELECT v, e FROM x ALIGN(EVERY 1s, v LINEAR, e RATE)")
    assert found.rows() == [[0, 1, 2.0], [1000, 2, 2.0], [2000, 4, None]]
    assert [(c["type"], c["unit"]) for c in found.columns[1:]] == [
        ("INT32", "V"),
        ("DOUBLE", "Wh/s"),
    ]
    other = run("SELECT x.e, e.v FROM x, (SELECT ts, v FROM x) e ALIGN(EVERY 1s, RATE)")
    assert [column["unit"] for column in other.columns[1:]] == ["Wh/s", "V/s"]


def test_days_begin_at_midnight_of_the_zone(building: Run) -> None:
    found = building(
        "SELECT energy FROM counter RANGE('1970-01-02', '1970-01-03') ALIGN(EVERY 1d)",
        time_zone="Asia/Shanghai",
    )
    assert [row[0] for row in found.rows()] == [16 * HOUR_MS, 40 * HOUR_MS]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT avg(flow) FROM pump ALIGN(EVERY 1m)", "sub-query"),
        ("SELECT flow FROM pump ALIGN(EVERY 1m) FILL(LINEAR)", "FILL"),
        ("SELECT flow FROM pump GROUP BY flow ALIGN(EVERY 1m)", "GROUP"),
        ("SELECT flow FROM pump ALIGN(EVERY 1m, nothing RATE)", "nothing"),
        ("SELECT nothing FROM pump ALIGN(EVERY 1m)", "nothing"),
        ("SELECT running FROM pump ALIGN(EVERY 1m, running LINEAR)", "running.*LINEAR"),
        ("SELECT flow FROM pump ALIGN(EVERY 1m, flow PREVIOUS(1mo))", "months"),
        ("SELECT flow FROM pump RANGE(5) ALIGN(EVERY 1m)", "two times"),
        ("SELECT flow FROM pump RANGE(1, 5) EVERY(1s) ALIGN(EVERY 1m)", "RANGE"),
        ("SELECT flow FROM pump, pumps ALIGN(EVERY 1m)", "PARTITION BY"),
        ("SELECT flow FROM pump p JOIN counter c ON p.ts = c.ts ALIGN(EVERY 1m)", "FROM a, b"),
        ("SELECT flow FROM pump, station WHERE flow > outside ALIGN(EVERY 1m)", "sub-query"),
        ("SELECT hall, flow FROM pumps PARTITION BY flow ALIGN(EVERY 1m)", "hall"),
        ("SELECT flow FROM pump RANGE(0, 9000000000000) ALIGN(EVERY 1ms)", "more than"),
    ],
)
def test_what_cannot_be_aligned_is_named(building: Run, sql: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        building(sql)


def test_a_name_that_several_tables_have_is_of_each(run: Run) -> None:
    run(
        "CREATE STABLE m (ts TIMESTAMP, x DOUBLE, y DOUBLE) TAGS (g INT);"
        "INSERT INTO d1 USING m TAGS (1) VALUES (0, 1, 10) (1000, 2, 20);"
        "INSERT INTO d2 USING m TAGS (2) VALUES (0, 3, 30)"
    )
    found = run("SELECT x, d1.y FROM d1, d2 ALIGN(EVERY 1s, PREVIOUS)")
    assert [c["name"] for c in found.columns] == ["time", "root.main.d1.x", "root.main.d2.x", "y"]
    assert found.rows() == [[0, 1.0, 3.0, 10.0], [1000, 2.0, 3.0, 20.0]]
    assert (
        run("SELECT x FROM d1, d2 ALIGN(EVERY 1s)").rows()
        == run("SELECT x FROM root.main.d1, root.main.d2 ALIGN(EVERY 1s)").rows()
    )
    for items in ("x + 1", "x AS v", "d1.x, y + d2.y"):
        with pytest.raises(SqlError, match="is a column of d1 and d2"):
            run(f"SELECT {items} FROM d1, d2 ALIGN(EVERY 1s)")


def test_joins_as_tdengine_writes_them(run: Run) -> None:
    run("CREATE TABLE a (ts TIMESTAMP, x INT); INSERT INTO a VALUES (1000, 1) (3000, 2)")
    run("CREATE TABLE b (ts TIMESTAMP, y INT); INSERT INTO b VALUES (2000, 7)")
    sql = "SELECT a.ts, b.y FROM a LEFT ASOF JOIN b ON a.ts >= b.ts ORDER BY a.ts"
    assert run(sql).rows() == [[1000, None], [3000, 7]]
    with pytest.raises(SqlUnsupportedError, match="WINDOW JOIN"):
        run("SELECT a.ts FROM a LEFT WINDOW JOIN b WINDOW_OFFSET(-1s, 1s)")
