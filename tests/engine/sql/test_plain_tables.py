"""Tables and devices with columns of their own, in both peers' spellings."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine import ColumnType, Engine
from mainstem_engine.errors import (
    MainstemError,
    NotFoundError,
    OutOfRangeError,
    OutOfRetentionError,
    SchemaError,
    SqlError,
    SqlSyntaxError,
    SqlUnsupportedError,
)
from mainstem_engine.sql.planning import planner
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.session import Session

from .conftest import open_engine, runner

Run = Callable[..., Result]


def columns(run: Run, table: str) -> dict[str, str]:
    return {row[0]: row[1] for row in run(f"DESCRIBE {table}").rows()}


def test_no_table_of_its_own_below_a_template(run: Run) -> None:
    run("CREATE SCHEMA TEMPLATE car (s1 INT32); SET SCHEMA TEMPLATE car TO root.fleet")
    for sql in ("CREATE TABLE root.fleet.d1 (ts TIMESTAMP, x INT)",
                "CREATE TIMESERIES root.fleet.d1.x INT32"):  # fmt: skip
        with pytest.raises(SchemaError, match="car") as caught:
            run(sql)
        assert (caught.value.field, caught.value.hint is None) == ("root.fleet.d1", False)
    run("CREATE TABLE root.fleet.d1 USING car TAGS ()")


def test_a_table_without_tags_is_a_device_of_its_own(run: Run) -> None:
    result = run("CREATE TABLE d (ts TIMESTAMP, k INT ENCODE 'delta-i', v BINARY(8)) TTL 30 SMA(k)")
    assert result.warnings == [
        "column k: encoding DELTA-I is stored as PCO",
        "table d: TTL '30' has no effect",
        "table d: SMA has no effect",
    ]
    run("INSERT INTO d VALUES (1, 2, 'a') (2, NULL, 'b')")
    assert run("SELECT * FROM d").rows() == [[1, 2, "a"], [2, None, "b"]]
    assert run("SELECT ts, v FROM root.main.d WHERE k = 2").rows() == [[1, "a"]]
    assert columns(run, "d") == {"ts": "TIMESTAMP", "k": "INT32", "v": "TEXT"}
    assert run("SHOW TABLES").rows() == [["d", None, "root.main.d"]]
    assert run("SHOW STABLES").rows() == []


def test_a_table_keeps_its_rows_for_a_time_of_its_own(run: Run, engine: Engine) -> None:
    run("CREATE TABLE d (ts TIMESTAMP, k INT) KEEP 1d")
    assert engine.catalog.template("root.main.d").keep_ns == 86_400 * 10**9
    with pytest.raises(OutOfRetentionError):
        run("INSERT INTO d VALUES (now - 2d, 1)")
    run("CREATE STABLE s (ts TIMESTAMP, k INT) TAGS (t INT)")
    result = run("CREATE TABLE e USING s TAGS (1) TTL 90 COMMENT 'x' f USING s TAGS (2)")
    assert result.warnings == [
        "table e: TTL '90' has no effect",
        "table e: COMMENT 'x' has no effect",
    ]
    assert [row[0] for row in run("SHOW TABLES").rows()] == ["d", "e", "f"]


def test_tables_of_one_name_in_two_databases(run: Run) -> None:
    run("CREATE DATABASE a; CREATE DATABASE b")
    run("CREATE TABLE a.t (ts TIMESTAMP, x INT); CREATE TABLE b.t (ts TIMESTAMP, y TEXT)")
    run("USE a; INSERT INTO t VALUES (1, 5); INSERT INTO b.t VALUES (1, 'five')")
    assert run("SELECT * FROM t").rows() == [[1, 5]]
    assert run("SELECT * FROM b.t").rows() == [[1, "five"]]


def test_a_table_is_altered_as_a_template_is(run: Run) -> None:
    run("CREATE TABLE d (ts TIMESTAMP, k INT); INSERT INTO d VALUES (1, 2)")
    run("ALTER TABLE d ADD COLUMN v DOUBLE, RENAME COLUMN k TO n")
    run("INSERT INTO d VALUES (2, 3, 0.5)")
    assert run("SELECT n, v FROM d").rows() == [[1, 2, None], [2, 3, 0.5]]


def test_if_not_exists(run: Run) -> None:
    run("CREATE TABLE d (ts TIMESTAMP, k INT); CREATE STABLE s (ts TIMESTAMP, k INT) TAGS (t INT)")
    run("CREATE TABLE IF NOT EXISTS d (ts TIMESTAMP, other TEXT)")
    assert columns(run, "d") == {"ts": "TIMESTAMP", "k": "INT32"}
    with pytest.raises(SchemaError, match=r"root\.main\.d exists"):
        run("CREATE TABLE d (ts TIMESTAMP, k INT)")
    with pytest.raises(SchemaError, match="s is a template"):
        run("CREATE TABLE s (ts TIMESTAMP, k INT)")
    with pytest.raises(SqlSyntaxError, match="first column"):
        run("CREATE TABLE x (k INT, ts TIMESTAMP)")


def test_a_super_table_without_tags(run: Run) -> None:
    run("CREATE STABLE s (ts TIMESTAMP, k INT) KEEP 3650d; CREATE TABLE d USING s TAGS ()")
    run("INSERT INTO d VALUES (now, 1); INSERT INTO s(tbname, ts, k) VALUES ('e', now, 2)")
    assert run("SELECT tbname, k FROM s ORDER BY k").rows() == [["d", 1], ["e", 2]]
    assert run("SHOW STABLES").rows()[0][-1] == "3650d"


def test_series_are_created_one_by_one(run: Run) -> None:
    run("CREATE TIMESERIES root.ln.d.s1 WITH DATATYPE=FLOAT, ENCODING=RLE, COMPRESSOR=SNAPPY")
    run("create timeseries root.ln.d.s2 INT32 encoding=PLAIN")
    result = run(
        "CREATE TIMESERIES root.ln.e.s1(temperature) WITH datatype=BOOLEAN, encoding=RLE"
        " TAGS(unit=degC, 'owner'='us') ATTRIBUTES(since='2020')"
    )
    assert result.warnings == [
        "series root.ln.e.s1: alias temperature has no effect",
        "root.ln.e.s1: ATTRIBUTES since have no effect",
    ]
    assert [row[:1] + row[3:6] for row in run("SHOW TIMESERIES root.ln.**").rows()] == [
        ["root.ln.d.s1", "FLOAT", "RLE", "SNAPPY"],
        ["root.ln.d.s2", "INT32", "PLAIN", "AUTO"],
        ["root.ln.e.s1", "BOOLEAN", "RLE", "AUTO"],
    ]
    assert run("SHOW TAGS FROM root.ln.e").rows() == [["root.ln.e", "degC", "us"]]
    with pytest.raises(SchemaError, match=r"root\.ln\.d\.s2 exists"):
        run("CREATE TIMESERIES root.ln.d.s2 INT32")


def test_aligned_series(run: Run) -> None:
    run("CREATE ALIGNED TIMESERIES root.ln.d(s1 INT32 encoding=RLE compressor=LZ4, s2 DOUBLE)")
    run("INSERT INTO root.ln.d(time, s1, s2) ALIGNED VALUES (1, 2, ?), (2, ?, 0.5)", None, 7)
    assert run("SELECT s1, s2 FROM root.ln.d").rows() == [[1, 2, None], [2, 7, 0.5]]


def test_options_of_the_peers_that_mean_nothing_here(run: Run) -> None:
    run("CREATE DATABASE power KEEP 10d,20d,30d REPLICA 1")
    assert run("SHOW DATABASES power").rows()[0][1] == "30d"
    run("CREATE TABLE power.d (ts TIMESTAMP PRIMARY KEY, v INT)")
    with pytest.raises(SqlUnsupportedError, match="PRIMARY"):
        run("CREATE TABLE power.e (ts TIMESTAMP, v INT PRIMARY KEY)")
    result = run(
        "CREATE ALIGNED TIMESERIES root.ln.g(a FLOAT tags(x=y) attributes(z='1'), b INT32)"
    )
    assert result.warnings == [
        "column a: TAGS x have no effect",
        "column a: ATTRIBUTES z have no effect",
    ]


def test_no_series_beside_those_of_a_template(own_plant: Run) -> None:
    for sql in ("CREATE TIMESERIES root.beijing.d1.x INT32",
                "CREATE ALIGNED TIMESERIES root.beijing.d9(x INT32)"):  # fmt: skip
        with pytest.raises(SchemaError, match="series of template car"):
            own_plant(sql)
    own_plant("CREATE TIMESERIES root.paris.d1.x INT32")
    with pytest.raises(SchemaError, match=r"root\.paris\.d1 has series of its own"):
        own_plant("SET SCHEMA TEMPLATE car TO root.paris")
    with pytest.raises(SchemaError, match="that of a device"):
        own_plant("CREATE SCHEMA TEMPLATE `root.x` (s1 INT32)")


def test_the_first_row_makes_a_device_by_its_full_path(run: Run) -> None:
    result = run(
        "INSERT INTO root.ln.d(time, b, i, f, t, big, at, gone) VALUES"
        " (1, true, 1, NaN, 'x', 9007199254740993, now, NULL),"
        " (2, NULL, 0.5, 2, NULL, NULL, NULL, NULL)"
    )
    assert result.warnings == [
        "root.ln.d: gone has no value yet, and so no type",
        "root.ln.d is new and has no template: it gets b BOOLEAN, i DOUBLE, f DOUBLE, t TEXT,"
        " big INT64, at TIMESTAMP",
    ]
    assert result.rows_affected == 2
    rows = run("SELECT b, i, f, t, big FROM root.ln.d").rows()
    assert rows[0][:3] + rows[0][4:] == [1, True, 1.0, "x", 9_007_199_254_740_993]
    assert math.isnan(rows[0][3])
    assert rows[1] == [2, None, 0.5, 2.0, None, None]


def test_later_rows_extend_it(run: Run, engine: Engine) -> None:
    run("INSERT INTO root.ln.d(time, a) VALUES (1, 1)")
    result = run("INSERT INTO root.ln.d(time, a, b) VALUES (2, 2, 'x')")
    assert result.warnings == ["root.ln.d gets new measurements: b TEXT"]
    assert run("INSERT INTO root.ln.d(time, a, b) VALUES (3, 2, 'x')").warnings == []
    assert run("SELECT a, b FROM root.ln.d").rows()[:2] == [[1, 1.0, None], [2, 2.0, "x"]]
    with pytest.raises(SchemaError, match="DOUBLE, not str"):
        run("INSERT INTO root.ln.d(time, a, c) VALUES (3, 'x', 1)")
    types = [m.type for m in engine.catalog.template("root.ln.d").measurements]
    assert types == [ColumnType.DOUBLE, ColumnType.TEXT]


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("INSERT INTO d(ts, a) VALUES (1, 1)", NotFoundError, "write the whole path"),
        ("INSERT INTO ln.d(ts, a) VALUES (1, 1)", NotFoundError, "write the whole path"),
        ("INSERT INTO root.ln.d VALUES (1, 1)", SqlError, "name the columns"),
        ("INSERT INTO root.ln.d(time, a) VALUES (1, 1, 2)", SqlError, "3 values for 2"),
        ("INSERT INTO root.ln.d(time, a) VALUES ('soon', 1)", MainstemError, "soon"),
        ("INSERT INTO root.ln.d(time, a) VALUES (1, 1), (2, 'x')", SchemaError, "not"),
        (
            "INSERT INTO root.ln.d(time, a) VALUES (1, 1) root.ln.e(time, a) VALUES (1e30, 1)",
            MainstemError,
            "time",
        ),
    ],
)
def test_a_refused_statement_defines_nothing(
    run: Run, engine: Engine, sql: str, error: type[MainstemError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(sql)
    assert engine.catalog.templates.all() == []
    assert run("SHOW DEVICES").row_count == 0


def test_a_bad_row_does_not_extend_a_template(run: Run, engine: Engine) -> None:
    run("CREATE DATABASE root.a WITH (auto_extend='on'); CREATE SCHEMA TEMPLATE t (s INT8)")
    run("SET SCHEMA TEMPLATE t TO root.a")
    with pytest.raises(OutOfRangeError):
        run("INSERT INTO root.a.d(time, s, x) VALUES (1, 1000, 1)")
    assert [m.name for m in engine.catalog.template("t").measurements] == ["s"]


def test_paths_that_differ_in_case_are_two_devices(run: Run) -> None:
    run("INSERT INTO root.ln.D(time, a) VALUES (1, 1)")
    run("INSERT INTO root.ln.d(time, a) VALUES (1, 'x')")
    assert run("SELECT a FROM root.ln.D").rows() == [[1, 1.0]]
    assert run("SELECT a FROM root.ln.d").rows() == [[1, "x"]]


def test_plain_tables_survive_a_restart(tmp_path: Path) -> None:
    with open_engine(tmp_path / "data") as engine:
        run = runner(Session(engine))
        run("CREATE TABLE d (ts TIMESTAMP, k INT); INSERT INTO d VALUES (1, 2)")
        run("INSERT INTO root.ln.d(time, a) VALUES (1, 'x')")
        engine.flush()
    with open_engine(tmp_path / "data") as engine:
        run = runner(Session(engine))
        run("INSERT INTO root.ln.d(time, b) VALUES (2, 1); INSERT INTO d VALUES (2, 3)")
        assert run("SELECT * FROM d").rows() == [[1, 2], [2, 3]]
        assert run("SELECT * FROM root.ln.d").rows() == [[1, "x", None], [2, None, 1.0]]


def test_the_time_may_be_called_timestamp(run: Run) -> None:
    run("INSERT INTO root.ln.d(timestamp, status) VALUES (1, true)")
    run("insert into root.ln.d(Timestamp, status, timestamp2) values (2, false, 5)")
    assert run("SELECT * FROM root.ln.d").rows() == [[1, True, None], [2, False, 5.0]]
    run("CREATE TABLE t (ts TIMESTAMP, timestamp INT)")
    run("INSERT INTO t (ts, timestamp) VALUES (3, 7)")
    assert run("SELECT * FROM t").rows() == [[3, 7]]


def test_a_pattern_of_many_devices_of_their_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "UNION_MAX", 3)
    count = 3 * 3 + 1  # two levels of groups, and one more
    values = " ".join(f"root.many.d{n}(time, s{n % 2}) VALUES (1, {n})" for n in range(count))
    assert run(f"INSERT INTO {values}").rows_affected == count
    rows = run("SELECT device, s0, s1 FROM root.many.** ORDER BY device").rows()
    assert rows == [
        [1, f"root.many.d{n}", *((None, float(n)) if n % 2 else (float(n), None))]
        for n in range(count)
    ]
    assert run("SELECT sum(s0), sum(s1) FROM (SELECT s0, s1 FROM root.many.d*)").rows() == [
        [20.0, 25.0]
    ]
