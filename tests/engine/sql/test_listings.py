"""SHOW and DESCRIBE."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import NotFoundError, SchemaError, SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.times import duration_text

Run = Callable[..., Result]


def test_databases(run: Run) -> None:
    run("CREATE DATABASE power WITH (keep='365d', duration='36h', precision='us', vnodes=1)")
    result = run("SHOW DATABASES")
    assert [c["name"] for c in result.columns] == [
        "database",
        "keep",
        "duration",
        "precision",
        "options",
        "vnodes",
    ]
    assert result.rows() == [["root.power", "365d", "36h", "us", "vnodes=1", 1]]
    with pytest.raises(SchemaError, match="IF NOT EXISTS"):
        run("CREATE DATABASE power")
    run("CREATE DATABASE IF NOT EXISTS power")


def test_templates_and_stables(plant: Run) -> None:
    rows = plant("SHOW TEMPLATES").rows()
    assert [row[:5] for row in rows] == [
        ["car", 2, 0, 2, "root.beijing"],
        ["meters", 2, 2, 2, ""],
    ]
    assert plant("SHOW STABLES LIKE 'm%'").rows() == rows[1:]


def test_devices(plant: Run) -> None:
    every = plant("SHOW DEVICES").rows()
    assert every[0] == ["root.beijing.d1", "car", "root.beijing"]
    assert len(every) == 4
    assert plant("SHOW DEVICES meters").rows() == every[2:]
    assert plant("SHOW DEVICES FROM root.beijing").rows() == every[:2]
    assert plant("SHOW DEVICES root.*.d2").rows() == every[1:2]
    assert plant("SHOW DEVICES LIMIT 1 OFFSET 2").rows() == every[2:3]
    assert plant("SHOW DEVICES LIKE '%d1'").rows() == every[:1]


def test_a_long_list_is_cut_with_a_warning(plant: Run) -> None:
    result = plant("SHOW DEVICES", row_limit=3)
    assert result.row_count == 3
    assert "first 3 rows" in result.warnings[0]


def test_tables_are_those_of_the_current_database(plant: Run) -> None:
    assert [row[0] for row in plant("SHOW TABLES").rows()] == ["d1001", "d1002"]
    assert [row[0] for row in plant("SHOW TABLES", database="beijing").rows()] == ["d1", "d2"]
    assert [row[0] for row in plant("SHOW TABLES FROM beijing").rows()] == ["d1", "d2"]


def test_tags(plant: Run) -> None:
    result = plant("SHOW TAGS FROM meters")
    assert [c["name"] for c in result.columns] == ["device", "location", "groupid"]
    assert result.rows() == [["root.main.d1001", "north", 2], ["root.main.d1002", "south", 3]]
    assert plant("SHOW TAGS FROM d1002").rows() == result.rows()[1:]
    assert plant("SHOW TAGS").rows() == [
        ["meters", "location", "TEXT"],
        ["meters", "groupid", "INT32"],
    ]
    assert plant("COUNT TAGS").rows() == [[2]]
    with pytest.raises(SqlSyntaxError, match="FROM and a table"):
        plant("SHOW TAGS meters")


def test_describe(plant: Run, own_plant: Run, engine: Engine) -> None:
    rows = plant("DESCRIBE meters").rows()
    assert [row[:3] for row in rows] == [
        ["ts", "TIMESTAMP", "TIME"],
        ["device", "TEXT", "DEVICE"],
        ["location", "TEXT", "TAG"],
        ["groupid", "INT32", "TAG"],
        ["current", "FLOAT", "MEASUREMENT"],
        ["voltage", "INT32", "MEASUREMENT"],
    ]
    assert plant("DESC d1001").rows() == rows
    assert plant("DESC root.beijing.d1").rows()[2] == [
        "s1",
        "INT32",
        "MEASUREMENT",
        "rpm",
        "AUTO",
        "AUTO",
    ]
    engine.create_rollup("car", "1m", 60 * 10**9)
    kinds = {row[0]: row[2] for row in own_plant("DESCRIBE car_1m").rows()}
    assert (kinds["s1_mean"], kinds["s1_count"]) == ("COMPUTED", "MEASUREMENT")
    assert own_plant("SHOW TEMPLATES LIKE '%1m'").rows()[0][5:7] == ["car", "1m"]
    with pytest.raises(NotFoundError, match="SHOW TEMPLATES"):
        plant("DESCRIBE nothing")


def test_plain_rows_are_arrow_too(plant: Run) -> None:
    table = plant("SHOW DEVICES").arrow()
    assert table.column_names == ["device", "template", "database"]
    assert table.num_rows == 4
    assert plant("SHOW DEVICES root.main.none").arrow().num_rows == 0


@pytest.mark.parametrize(
    ("length_ns", "text"), [(864 * 10**11, "1d"), (90 * 10**9, "90s"), (5, "5ns"), (10**6, "1ms")]
)
def test_durations_are_shown_in_their_largest_unit(length_ns: int, text: str) -> None:
    assert duration_text(length_ns) == text


def test_devices_by_their_tags(plant: Run) -> None:
    def paths(where: str, *params: object) -> list[str]:
        return [row[0] for row in plant(f"SHOW DEVICES {where}", *params).rows()]

    assert paths("WHERE location = 'south'") == ["root.main.d1002"]
    assert paths("root.main.** WHERE groupid IN (2, 3)") == ["root.main.d1001", "root.main.d1002"]
    assert paths("meters WHERE location = ? LIMIT 5", "north") == ["root.main.d1001"]
    assert paths("WHERE tbname = 'd1'") == ["root.beijing.d1"]
    assert paths("WHERE device LIKE '%d2' AND device LIKE 'root.b%'") == ["root.beijing.d2"]
    assert paths("root.beijing.** WHERE device = 'root.main.d1001'") == []
    for wrong in ("voltage = 219", "ts < 5", "location = (SELECT 'a')", "max(location) = 'a'"):
        with pytest.raises(SqlUnsupportedError, match=r"location|listing"):
            plant(f"SHOW DEVICES WHERE {wrong}")


def test_streams_are_the_rollups(own_plant: Run, engine: Engine) -> None:
    engine.create_rollup("meters", "1m", 60 * 10**9)
    own_plant("ALTER STABLE meters_1m KEEP 365d")
    assert own_plant("SHOW STREAMS").rows() == [["meters_1m", "meters", "1m", "365d", None, None]]
    assert own_plant("SHOW TEMPLATES LIKE 'meters_1m'").rows()[0][7:] == [1, "365d"]


def test_what_a_node_adds_is_empty_without_one(own_plant: Run, engine: Engine) -> None:
    for subject, first in (("NODES", "node"), ("QUARANTINE", "id"), ("JOBS", "job")):
        result = own_plant(f"SHOW {subject}")
        assert result.rows() == []
        assert result.columns[0]["name"] == first
        assert result.arrow().num_rows == 0
    engine.create_rollup("meters", "1m", 60 * 10**9)
    session = Session(
        engine,
        listings={
            "JOBS": lambda: [{"job": "flush", "runs": 3}, {"job": "expire", "failures": 1}],
            "STREAMS": lambda: [{"stream": "Meters_1m", "lateness": "30s", "pending": 2}],
        },
    )
    assert session.execute("SHOW JOBS LIKE 'f%'").rows() == [["flush", 3, None, None]]
    assert session.execute("SHOW STREAMS").rows()[0][4:] == ["30s", 2]
    assert session.execute("SHOW NODES").rows() == []
    session.close()


def test_series_are_the_measurements_of_devices(plant: Run) -> None:
    every = plant("SHOW TIMESERIES").rows()
    assert len(every) == 8
    first = ["root.beijing.d1.s1", "car", "root.beijing", "INT32", "AUTO", "AUTO", "rpm"]
    assert every[0] == first
    for pattern, count in [
        ("root.beijing.**", 4),
        ("root.beijing.d1.*", 2),
        ("root.beijing.*.s1", 2),
        ("root.bei*.*.s*", 4),
        ("root.**", 8),
        ("root.**.volt*", 2),
        ("root.beijing.d1", 2),
        ("root.beijing.d2.s2", 1),
        ("root.beijing.d2.s9", 0),
        ("root.nothing.**", 0),
    ]:
        assert plant(f"SHOW TIMESERIES {pattern}").row_count == count, pattern
        assert plant(f"COUNT TIMESERIES {pattern}").rows() == [[count]], pattern
    assert plant("COUNT DEVICES root.beijing.**").rows() == [[2]]
    assert plant("COUNT DEVICES WHERE location = 'south'").rows() == [[1]]
    assert plant("COUNT DATABASES").columns[0]["name"] == "count(databases)"


def test_parts_of_elements_may_be_left_open(plant: Run) -> None:
    assert plant("SHOW DEVICES root.*ing.d*").row_count == 2
    assert plant("SELECT voltage FROM root.m*n.d*1").rows() == [[1000, 219], [2000, 220]]


def test_paths_and_levels(own_plant: Callable[..., Result]) -> None:
    def rows(sql: str) -> list[list[object]]:
        return [list(row) for row in own_plant(sql).rows()]

    own_plant("CREATE TIMESERIES root.paris.line.x.speed FLOAT")
    assert rows("SHOW CHILD PATHS root.beijing") == [["root.beijing.d1"], ["root.beijing.d2"]]
    assert rows("SHOW CHILD NODES") == [["beijing"], ["main"], ["paris"]]
    assert rows("SHOW CHILD NODES root.beijing.d1") == [["s1"], ["s2"]]
    assert rows("COUNT NODES root.** LEVEL=1") == [[3]]
    assert rows("COUNT NODES root.paris.** LEVEL=4") == [[1]]
    assert rows("COUNT TIMESERIES root.** GROUP BY LEVEL=1") == [
        ["root.beijing", 4],
        ["root.main", 4],
        ["root.paris", 1],
    ]
    assert rows("COUNT DEVICES root.beijing.** GROUP BY LEVEL=1") == [["root.beijing", 2]]
    assert rows("COUNT DEVICES root.beijing.**") == [[2]]


def test_where_templates_are_set_and_used(own_plant: Callable[..., Result]) -> None:
    def rows(sql: str) -> list[list[object]]:
        return [list(row) for row in own_plant(sql).rows()]

    assert [row[:2] for row in rows("SHOW NODES IN DEVICE TEMPLATE car")] == [
        ["s1", "INT32"],
        ["s2", "FLOAT"],
    ]
    assert rows("SHOW PATHS SET SCHEMA TEMPLATE car") == [["root.beijing"]]
    assert rows("SHOW PATHS USING DEVICE TEMPLATE car") == [
        ["root.beijing.d1"],
        ["root.beijing.d2"],
    ]
    with pytest.raises(NotFoundError, match="nothing"):
        rows("SHOW PATHS USING DEVICE TEMPLATE nothing")
    assert rows("SHOW PATHS SET DEVICE TEMPLATE *") == [["root.beijing"]]
    assert len(rows("SHOW PATHS USING DEVICE TEMPLATE *")) == 4
    assert rows("SHOW DEVICES root.beijing.** WITH DATABASE LIMIT 1")[0][2] == "root.beijing"


def test_tags_by_table_and_tables_by_database(own_plant: Callable[..., Result]) -> None:
    wanted = [["d1001", "north", 2], ["d1002", "south", 3]]
    assert own_plant("SHOW TABLE TAGS FROM meters").rows() == wanted
    assert own_plant("SHOW TABLE TAGS location, groupid FROM meters").rows() == wanted
    own_plant("USE beijing")
    assert [row[0] for row in own_plant("SHOW main.TABLES").rows()] == ["d1001", "d1002"]
    assert [row[0] for row in own_plant("SHOW main.STABLES LIKE 'm%'").rows()] == ["meters"]


def test_databases_of_a_pattern(own_plant: Callable[..., Result]) -> None:
    own_plant("CREATE DATABASE root.beijing2; CREATE DATABASE root.paris")
    for pattern, names in {
        "root.beijing*": ["root.beijing", "root.beijing2"],
        "root.**": ["root.beijing", "root.main", "root.beijing2", "root.paris"],
        "root.paris": ["root.paris"],
        "paris": ["root.paris"],
    }.items():
        assert [row[0] for row in own_plant(f"SHOW DATABASES {pattern}").rows()] == names
        assert own_plant(f"COUNT DATABASES {pattern}").rows() == [[len(names)]]


def test_the_latest_series_first(own_plant: Run) -> None:
    own_plant("INSERT INTO root.beijing.d2(time, s1) VALUES (9000, 1)")

    def latest(of: str) -> list[str]:
        return [row[0] for row in own_plant(f"SHOW LATEST TIMESERIES {of}").rows()]

    assert latest("root.beijing.**") == [
        "root.beijing.d2.s1",
        "root.beijing.d2.s2",
        "root.beijing.d1.s2",
        "root.beijing.d1.s1",
    ]
    assert latest("root.beijing.*.s1 LIMIT 1") == ["root.beijing.d2.s1"]
    assert latest("WHERE TAGS(location) = 'north'") == [
        "root.main.d1001.current",
        "root.main.d1001.voltage",
    ]
    own_plant("CREATE TABLE empty (ts TIMESTAMP, v INT)")
    assert latest("root.main.empty.**") == []
    with pytest.raises(SqlSyntaxError):
        own_plant("SHOW LATEST DEVICES")
