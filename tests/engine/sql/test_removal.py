"""DROP, DEACTIVATE, and other tags: what goes, what stays, and what comes again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import (
    MainstemError,
    NotFoundError,
    SchemaError,
    SqlUnsupportedError,
)
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

from .conftest import open_engine, runner

Run = Callable[..., Result]


class Reopened:
    """Runs SQL on an engine that is closed and opened again now and then."""

    def __init__(self, path: Path, executor: InProcessExecutor) -> None:
        self._path = path
        self._executor = executor
        self.engine = open_engine(path)

    def __call__(self, sql: str, *params: Any) -> list[list[Any]]:
        result = runner(Session(self.engine, self._executor))(sql, *params)
        return [list(row) for row in result.rows()]

    def again(self, *, flush: bool, merge: bool = False) -> None:
        """``flush`` False: as after a crash, from the log alone."""
        if merge:
            self.engine._store.catalog_files.merge_next = True
        if flush:
            self.engine.flush()
            self.engine.close()
        else:
            self.engine.abandon()
        self.engine = open_engine(self._path)


@pytest.fixture
def reopened(tmp_path: Path, executor: InProcessExecutor) -> Iterator[Reopened]:
    found = Reopened(tmp_path / "data", executor)
    yield found
    found.engine.close()


HOW = pytest.mark.parametrize(
    "how", [{"flush": False}, {"flush": True}, {"flush": True, "merge": True}]
)


def make_meters(run: Callable[[str], Any]) -> None:
    run(
        "CREATE STABLE meters (ts TIMESTAMP, v INT) TAGS (place TEXT, number INT);"
        "INSERT INTO d1 USING meters TAGS ('north', 1) VALUES (1, 10) (2, 20)"
        " d2 USING meters TAGS ('south', 2) VALUES (1, 30)"
    )


@HOW
def test_a_dropped_table_is_gone_with_its_rows(reopened: Reopened, how: dict[str, bool]) -> None:
    make_meters(reopened)
    reopened.engine.flush()
    reopened("DROP TABLE d1")
    for _ in range(2):
        assert reopened("SELECT tbname, v FROM meters") == [["d2", 30]]
        assert [row[0] for row in reopened("SHOW TABLES")] == ["d2"]
        assert reopened("SHOW DEVICES meters WHERE place = 'north'") == []
        with pytest.raises(NotFoundError):
            reopened("SELECT * FROM d1")
        reopened.again(**how)


@HOW
def test_a_dropped_table_comes_again_with_new_tags(
    reopened: Reopened, how: dict[str, bool]
) -> None:
    make_meters(reopened)
    reopened.again(flush=True, merge=True)
    reopened("DROP TABLE d1, d2")
    reopened("INSERT INTO d1 USING meters (place) TAGS ('west') VALUES (5, 50)")
    for _ in range(2):
        assert reopened("SHOW TAGS FROM meters") == [["root.main.d1", "west", None]]
        assert reopened("SELECT ts, place, number, v FROM meters") == [[5, "west", None, 50]]
        assert reopened("SELECT v FROM meters WHERE place = 'north'") == []
        reopened.again(**how)


def test_a_path_keeps_its_template(reopened: Reopened) -> None:
    make_meters(reopened)
    reopened("DROP TABLE d1; CREATE STABLE others (ts TIMESTAMP, x INT) TAGS (t INT)")
    with pytest.raises(SchemaError, match="was a device of meters"):
        reopened("CREATE TABLE d1 USING others TAGS (1)")


def test_rows_by_id_bring_a_dropped_device_back(reopened: Reopened) -> None:
    make_meters(reopened)
    engine = reopened.engine
    (device,) = engine.device_ids("meters", ["root.main.d1"])
    reopened("DROP TABLE d1")
    engine.write("meters", int(device), [9], {"v": [90]}).wait()
    engine.write("meters", [device, device], [10, 11], {"v": [91, 92]}).wait()
    assert reopened("SELECT ts, v FROM d1") == [[9, 90], [10, 91], [11, 92]]


@HOW
def test_a_plain_table_is_made_anew(reopened: Reopened, how: dict[str, bool]) -> None:
    reopened("CREATE TABLE t (ts TIMESTAMP, a INT, b TEXT); INSERT INTO t VALUES (1, 1, 'x')")
    reopened.engine.flush()
    reopened("DROP TABLE t; DROP TABLE IF EXISTS t; CREATE TABLE t (ts TIMESTAMP, a TEXT)")
    reopened("INSERT INTO t VALUES (2, 'one')")
    for _ in range(2):
        assert reopened("SELECT * FROM t") == [[2, "one"]]
        assert [row[0] for row in reopened("DESCRIBE t")] == ["ts", "a"]
        reopened.again(**how)
    reopened.engine.compact()
    assert reopened("SELECT * FROM t") == [[2, "one"]]


@HOW
def test_a_super_table_goes_with_its_tables_and_comes_again(
    reopened: Reopened, how: dict[str, bool]
) -> None:
    make_meters(reopened)
    reopened.engine.create_rollup("meters", "1m", 60 * 10**9)
    reopened("DROP STABLE meters")
    assert reopened("SHOW STABLES; SHOW STREAMS; SHOW TABLES") == []
    for sql in ("SELECT * FROM meters", "SELECT * FROM meters_1m", "DROP STABLE meters",
                "INSERT INTO d1 USING meters TAGS ('x', 1) VALUES (1, 1)"):  # fmt: skip
        with pytest.raises(NotFoundError):
            reopened(sql)
    reopened.again(**how)
    assert reopened("SHOW STABLES") == []
    reopened("CREATE STABLE meters (ts TIMESTAMP, v TEXT) TAGS (number TEXT)")
    reopened("INSERT INTO d1 USING meters TAGS ('one') VALUES (1, 'ten')")
    reopened.again(**how)
    assert reopened("SELECT * FROM meters") == [[1, "root.main.d1", "one", "ten"]]


def test_a_column_is_dropped_with_its_values(reopened: Reopened) -> None:
    make_meters(reopened)
    reopened("ALTER STABLE meters ADD COLUMN w DOUBLE; INSERT INTO d1 VALUES (3, 7, 0.5)")
    reopened.engine.create_rollup("meters", "1m", 60 * 10**9)
    reopened("ALTER STABLE meters DROP COLUMN v, ADD COLUMN x TEXT")
    reopened("INSERT INTO d1 VALUES (4, 1.5, 'new')")
    assert [row[0] for row in reopened("DESCRIBE meters")][2:] == ["place", "number", "w", "x"]
    rows = [[3, 0.5, None], [4, 1.5, "new"]]
    assert reopened("SELECT ts, w, x FROM d1") == rows
    assert reopened("SELECT * FROM d1") == rows
    assert "v_count" not in [row[0] for row in reopened("DESCRIBE meters_1m")]
    reopened("ALTER STABLE meters ADD COLUMN v TEXT")
    assert reopened("SELECT ts, v FROM d1") == [[3, None], [4, None]]
    with pytest.raises(NotFoundError, match="no column 'nothing'"):
        reopened("ALTER STABLE meters DROP COLUMN nothing")


@HOW
def test_tags_are_changed(reopened: Reopened, how: dict[str, bool]) -> None:
    make_meters(reopened)
    reopened.again(flush=True, merge=True)
    reopened("ALTER TABLE d1 SET TAG place = 'west', number = NULL")
    reopened("INSERT INTO d3 USING meters TAGS ('west', 3) VALUES (1, 0)")
    for _ in range(3):
        assert reopened("SHOW TAGS FROM meters") == [
            ["root.main.d1", "west", None],
            ["root.main.d2", "south", 2],
            ["root.main.d3", "west", 3],
        ]
        assert reopened("SELECT DISTINCT tbname FROM meters WHERE place = 'west' ORDER BY 1") == [
            ["d1"],
            ["d3"],
        ]
        assert reopened("SELECT v FROM meters WHERE place = 'north'") == []
        reopened.again(**how)


@HOW
def test_declared_tags_are_changed(reopened: Reopened, how: dict[str, bool]) -> None:
    make_meters(reopened)
    reopened.again(flush=True, merge=True)
    reopened("ALTER STABLE meters ADD TAG zone TEXT, RENAME TAG place TO site")
    reopened("ALTER TABLE d2 SET TAG zone = 'a'")
    reopened("INSERT INTO d3 USING meters (site, zone) TAGS ('east', 'b') VALUES (1, 0)")
    reopened("ALTER STABLE meters DROP TAG number; ALTER STABLE meters ADD TAG number TEXT")
    reopened("ALTER STABLE meters MODIFY TAG site BINARY(100); ALTER TABLE d3 SET TAG number='3'")
    for _ in range(3):
        assert reopened("SELECT DISTINCT tbname, site, zone, number FROM meters ORDER BY 1") == [
            ["d1", "north", None, None],
            ["d2", "south", "a", None],
            ["d3", "east", "b", "3"],
        ]
        assert [row[:2] for row in reopened("SHOW DEVICES meters WHERE site = 'north'")] == [
            ["root.main.d1", "meters"]
        ]
        reopened.again(**how)


def test_a_name_of_a_tag_does_not_bring_old_values_back(reopened: Reopened) -> None:
    make_meters(reopened)
    for _ in range(3):
        reopened("ALTER STABLE meters DROP TAG place; ALTER STABLE meters ADD TAG place TEXT")
        assert [row[2] for row in reopened("SHOW TAGS FROM meters")] == [None, None]
        reopened("ALTER TABLE d1 SET TAG place = 'x'")
    reopened("ALTER STABLE meters RENAME TAG place TO site; ALTER STABLE meters ADD TAG place TEXT")
    assert reopened("SHOW TAGS FROM d1") == [["root.main.d1", 1, "x", None]]


def test_a_template_is_deactivated_unset_and_dropped_in_this_order(own_plant: Run) -> None:
    for sql in ("UNSET SCHEMA TEMPLATE car FROM root.beijing", "DROP SCHEMA TEMPLATE car"):
        with pytest.raises(SchemaError, match="DEACTIVATE"):
            own_plant(sql)
    own_plant("DEACTIVATE DEVICE TEMPLATE car FROM root.beijing.d1")
    assert own_plant("SHOW TIMESERIES root.beijing.**").row_count == 2
    own_plant("DELETE TIMESERIES OF SCHEMA TEMPLATE car FROM root.beijing.*")
    assert own_plant("SHOW DEVICES root.beijing.**").row_count == 0
    with pytest.raises(NotFoundError, match="no device of car"):
        own_plant("DEACTIVATE SCHEMA TEMPLATE car FROM root.beijing.*")
    own_plant("INSERT INTO root.beijing.d1(time, s1) VALUES (7, 7)")
    assert own_plant("SELECT * FROM root.beijing.d1").rows() == [[7, 7, None]]
    own_plant("DEACTIVATE SCHEMA TEMPLATE car FROM root.beijing.d1")
    own_plant("UNSET SCHEMA TEMPLATE car FROM root.beijing; DROP SCHEMA TEMPLATE car")
    assert [row[0] for row in own_plant("SHOW TEMPLATES").rows()] == ["meters"]
    own_plant("CREATE SCHEMA TEMPLATE car (other TEXT); SET SCHEMA TEMPLATE car TO root.beijing")
    own_plant("INSERT INTO root.beijing.d1(time, other) VALUES (8, 'x')")
    assert own_plant("SELECT * FROM root.beijing.d1").rows() == [[8, "x"]]


def test_what_was_said_of_a_dropped_table_is_forgotten(run: Run) -> None:
    run("CREATE STABLE s (ts TIMESTAMP, v INT) TAGS (t INT) KEEP 90d; ALTER STABLE s KEEP 10d")
    assert run("SHOW STABLES").rows()[0][-1] == "10d"
    run("DROP STABLE s; CREATE STABLE s (ts TIMESTAMP, v INT) TAGS (t INT) KEEP 30d")
    assert run("SHOW STABLES").rows()[0][-1] == "30d"


def test_series_go_one_by_one(run: Run) -> None:
    run("INSERT INTO root.ln.d(time, a, b) VALUES (1, 1, 2), (2, NULL, 3)")
    run("DELETE TIMESERIES root.ln.d.a")
    assert run("SELECT * FROM root.ln.d").rows() == [[1, 2.0], [2, 3.0]]
    run("INSERT INTO root.ln.d(time, a) VALUES (3, 'now text')")
    assert run("SELECT a FROM root.ln.d WHERE time = 3").rows() == [[3, "now text"]]
    run("DROP TIMESERIES root.ln.d.*")
    assert run("SHOW DEVICES root.ln.**").rows() == []


def test_a_database_goes_with_its_devices(own_plant: Run) -> None:
    own_plant("CREATE TIMESERIES root.paris.x.own INT32")
    own_plant("DELETE DATABASE root.beijing; DROP DATABASE IF EXISTS nothing")
    assert [row[0] for row in own_plant("SHOW DATABASES").rows()] == ["root.main", "root.paris"]
    assert own_plant("SHOW DEVICES root.beijing.**").rows() == []
    assert own_plant("SHOW TEMPLATES LIKE 'car'").rows()[0][4] == ""
    with pytest.raises(NotFoundError):
        own_plant("USE beijing")
    own_plant("CREATE DATABASE root.beijing WITH (keep='30d')")
    assert own_plant("SHOW DATABASES LIKE '%beijing'").rows()[0][1] == "30d"
    own_plant("DROP DATABASE root.main")
    own_plant("INSERT INTO d1001 USING meters TAGS ('x', 1) VALUES (1000, 1, 1)")
    assert "root.main" in [row[0] for row in own_plant("SHOW DATABASES").rows()]
    assert own_plant("SELECT count(*) FROM meters").rows() == [[1]]


def test_series_have_tags_of_their_device(run: Run) -> None:
    run("CREATE TIMESERIES root.ln.d.a INT32 TAGS(k1=v1)")
    run("CREATE TIMESERIES root.ln.d.b INT32 TAGS(k1=v1, k2=v2)")
    result = run("CREATE TIMESERIES root.ln.d.c INT32 TAGS(k1=other)")
    assert result.warnings == ["root.ln.d keeps the tags that it has (k1 differ)"]
    run("ALTER TIMESERIES root.ln.d.a UPSERT TAGS(k1=other, k3='x')")
    run("ALTER TIMESERIES root.ln.d.a ADD TAGS k4='y'")
    assert run("SHOW TAGS FROM root.ln.d").rows() == [["root.ln.d", "other", "v2", "x", "y"]]


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("DROP TABLE meters", SchemaError, "use DROP STABLE"),
        ("DROP TABLE nothing", NotFoundError, "no table"),
        ("DROP STABLE nothing", NotFoundError, "no template"),
        ("DROP DATABASE nothing", NotFoundError, "no database"),
        ("DROP VIEW x", SqlUnsupportedError, "DROP VIEW"),
        ("DELETE USER x", SqlUnsupportedError, "DELETE USER"),
        ("ALTER TABLE d1001 SET TAG colour = 'red'", NotFoundError, "no tag 'colour'"),
        ("ALTER TABLE d1001 SET TAG groupid = 'red'", SchemaError, "INT32, not str"),
        ("ALTER TABLE nothing SET TAG groupid = 1", NotFoundError, "no table"),
        ("ALTER STABLE meters ADD TAG voltage INT", SchemaError, "declared twice"),
        ("ALTER STABLE meters DROP TAG colour", NotFoundError, "no tag 'colour'"),
        ("ALTER STABLE meters MODIFY TAG groupid TEXT", SchemaError, "cannot become TEXT"),
        ("ALTER TIMESERIES root.beijing.d1.s1 ADD TAGS a='b'", NotFoundError, "no tag"),
        ("ALTER TIMESERIES root.beijing.d1.s1 RENAME a TO b", SchemaError, "device of car"),
        ("ALTER TIMESERIES root.beijing.d1.s1 MEND", SqlUnsupportedError, "ADD TAGS"),
        ("ALTER TIMESERIES root.beijing.d1.s9 ADD TAGS a=b", NotFoundError, "no series"),
        ("ALTER STABLE meters DROP COLUMN ts", SchemaError, "cannot be dropped"),
        ("ALTER STABLE meters DROP COLUMN location", SchemaError, "DROP TAG"),
        ("ALTER STABLE meters ADD COLUMN x INT, DROP COLUMN nope", NotFoundError, "no column"),
        ("ALTER STABLE meters DROP COLUMN current, ADD COLUMN groupid INT", SchemaError, "a tag"),
        ("DROP STABLE root.main.d1001", SchemaError, "DROP TABLE"),
        ("DROP DATABASE root.nothing*", NotFoundError, "no database matches"),
    ],
)
def test_what_cannot_be_taken_away_or_changed(
    own_plant: Run, engine: Engine, sql: str, error: type[MainstemError], message: str
) -> None:
    before = engine.catalog.revision
    with pytest.raises(error, match=message):
        own_plant(sql)
    assert engine.catalog.revision == before


def test_tags_of_a_template_that_is_made_anew_begin_empty(run: Run) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT) TAGS (x TEXT, y INT)")
    run("CREATE TABLE d1 USING t TAGS ('old', 7) d2 USING t TAGS ('old', 8)")
    run("INSERT INTO d1 VALUES (1, 1) d2 VALUES (1, 1)")
    run("DROP STABLE t; CREATE STABLE t (ts TIMESTAMP, a INT) TAGS (y TEXT)")
    run("INSERT INTO d1 USING t TAGS ('new') VALUES (2, 2); ALTER STABLE t ADD TAG x INT")
    assert run("SELECT TAGS tbname, y, x FROM t").rows() == [["d1", "new", None]]
    assert run("SELECT ts, y, x FROM t").rows() == [[2, "new", None]]
    run("ALTER TABLE d1 SET TAG x = 5; INSERT INTO d2 USING t (x) TAGS (6) VALUES (3, 3)")
    assert run("SELECT tbname, x FROM t WHERE x > 4 ORDER BY x").rows() == [["d1", 5], ["d2", 6]]
