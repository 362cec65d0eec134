"""Definitions as users of both peers write them: what runs as it stands, and what is told else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import (
    EngineError,
    OutOfRangeError,
    SchemaError,
    SqlError,
    SqlUnsupportedError,
)
from mainstem_engine.sql.result import Result

Run = Callable[..., Result]


@pytest.fixture
def lift(run: Run) -> Run:
    run(
        "CREATE TIMESERIES root.ln.lift.load(alias) WITH DATATYPE=FLOAT, ENCODING=RLE "
        "TAGS(maker=us, floor=2) ATTRIBUTES(colour=red)"
    )
    return run


def tags(run: Run) -> dict[str, object]:
    listed = run("SHOW TAGS FROM root.ln.lift")
    names = [str(column["name"]) for column in listed.columns]
    return dict(zip(names[1:], listed.rows()[0][1:], strict=True))


def test_a_series_is_altered_in_every_spelling(lift: Run) -> None:
    lift("ALTER timeseries root.ln.lift.load RENAME maker TO builder")
    assert tags(lift) == {"builder": "us", "floor": "2"}
    lift("ALTER TIMESERIES root.ln.lift.load SET builder=them, 'floor'='3 b'")
    lift("ALTER TIMESERIES root.ln.lift.load ADD TAGS wing=north, door=4")
    assert tags(lift) == {"builder": "them", "floor": "3 b", "wing": "north", "door": "4"}
    lift("ALTER TIMESERIES root.ln.lift.load DROP wing, door")
    lift("ALTER TIMESERIES root.ln.lift.load SET floor = ?", "5")
    result = lift(
        "ALTER TIMESERIES root.ln.lift.load UPSERT ALIAS=weight TAGS(age=7) ATTRIBUTES(a=b, c=d)"
    )
    assert tags(lift) == {"builder": "them", "floor": "5", "age": "7"}
    assert [w.partition(": ")[2] for w in result.warnings] == [
        "ALIAS weight has no effect",
        "ATTRIBUTES a, c have no effect",
    ]
    lift("ALTER TIMESERIES root.ln.lift.load SET DATA TYPE DOUBLE")
    assert lift("SHOW TIMESERIES root.ln.lift.load").rows()[0][3] == "DOUBLE"


def test_a_series_that_may_be_there(lift: Run) -> None:
    lift("CREATE TIMESERIES IF NOT EXISTS root.ln.lift.load FLOAT")
    lift("CREATE ALIGNED TIMESERIES IF NOT EXISTS root.ln.lift(load FLOAT, speed DOUBLE)")
    assert lift("COUNT TIMESERIES root.ln.lift.**").rows() == [[2]]
    for sql in ("CREATE TIMESERIES root.ln.lift.load FLOAT",
                "CREATE TIMESERIES IF NOT EXISTS root.ln.lift.load INT32"):  # fmt: skip
        with pytest.raises(SchemaError, match="exists, as FLOAT") as caught:
            lift(sql)
        assert (caught.value.field, caught.value.hint is None) == ("load", False)


def test_databases_of_the_older_spelling_and_of_a_pattern(run: Run) -> None:
    run("SET STORAGE GROUP TO root.one; CREATE STORAGE GROUP root.one.two; CREATE DATABASE other")
    run("INSERT INTO root.one.two.d(time, a) VALUES (1, 1)")
    assert run("SHOW USER DATABASES").row_count == run("SHOW DATABASES DETAILS").row_count == 3
    run("DELETE DATABASE root.one**, root.one.**")
    assert run("SHOW DATABASES").rows()[0][0] == "root.other"
    assert run("SHOW DEVICES").rows() == []
    run("DROP DATABASE IF EXISTS root.none*")


def test_all_changes_of_a_statement_are_made_or_none(run: Run, engine: Engine) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT, b INT) TAGS (g INT)")
    run("INSERT INTO d USING t TAGS (1) VALUES (1, 2, 3)")
    for sql in (
        "ALTER STABLE t DROP COLUMN a, RENAME COLUMN b TO g",
        "ALTER STABLE t DROP COLUMN a, DROP COLUMN nope",
        "ALTER STABLE t ADD COLUMN c INT, DROP COLUMN nope",
        "ALTER STABLE t DROP COLUMN a, MODIFY COLUMN a BIGINT",
    ):
        with pytest.raises(SchemaError):
            run(sql)
    assert run("SELECT * FROM d").rows() == [[1, 2, 3]]
    run("ALTER STABLE t DROP COLUMN a, ADD COLUMN a TEXT, RENAME COLUMN b TO bb")
    run("INSERT INTO d (ts, a) VALUES (2, 'x')")
    assert run("SELECT bb, a FROM d").rows() == [[1, 3, None], [2, None, "x"]]


def test_a_name_with_dots_is_the_device_and_not_the_template(run: Run) -> None:
    run("CREATE STABLE pump (ts TIMESTAMP, a INT) TAGS (g INT)")
    run("CREATE TABLE root.q.pump (ts TIMESTAMP, only INT)")
    run("ALTER TABLE root.q.pump ADD COLUMN more INT")
    assert [row[0] for row in run("DESCRIBE q.pump").rows()] == ["ts", "only", "more"]
    assert [row[0] for row in run("DESCRIBE pump").rows()] == ["ts", "device", "g", "a"]
    with pytest.raises(SchemaError, match="lose all of its columns"):
        run("ALTER TABLE q.pump DROP COLUMN only, DROP COLUMN more, ADD COLUMN z INT")


def test_devices_are_named_as_they_are_shown(run: Run) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT, b INT) TAGS (g INT)")
    run("INSERT INTO t (device, ts, a) VALUES ('root.q.`a.b`', 1, 2), ('root.main.größe', 1, 3)")
    run("INSERT INTO t (device, ts, b) SELECT device, ts, a * 10 FROM t")
    assert run("SELECT device, tbname, a, b FROM t ORDER BY a").rows() == [
        ["root.q.`a.b`", "a.b", 2, 20],
        ["root.main.größe", "größe", 3, 30],
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t_1m (tbname, time, a_count) VALUES ('d', 1, 1)",
        "INSERT INTO d USING t_1m (g) TAGS (1) (time, a_count) VALUES (1, 1)",
        "INSERT INTO t_1m (tbname, time, a_count) SELECT tbname, time, 5 FROM t_1m",
        "CREATE TABLE other USING t_1m TAGS (1)",
        "SET SCHEMA TEMPLATE t_1m TO root.somewhere",
        "ALTER STABLE t_1m ADD COLUMN b INT",
        "ALTER STABLE t_1m DROP COLUMN a_count",
        "ALTER STABLE t_1m ADD TAG h INT",
        "DELETE FROM t_1m WHERE time < 5",
        "DROP STABLE t_1m",
        "CREATE STABLE t_1m (ts TIMESTAMP, a INT) TAGS (g INT)",
    ],
)
def test_a_rollup_is_not_written_or_altered_by_itself(run: Run, engine: Engine, sql: str) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT) TAGS (g INT); CREATE TABLE d USING t TAGS (1)")
    engine.create_rollup("t", "1m", 60 * 10**9)
    before = engine.catalog.revision
    with pytest.raises(SchemaError) as caught:
        run(sql)
    assert caught.value.field
    assert caught.value.hint
    assert engine.catalog.revision == before


def test_rollups_of_a_template_that_is_made_anew_have_its_tags(run: Run, engine: Engine) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT) TAGS (g INT, h TEXT)")
    engine.create_rollup("t", "1m", 60 * 10**9)
    run("DROP STABLE t; CREATE STABLE t (ts TIMESTAMP, b INT) TAGS (h INT, i INT)")
    assert [tag.name for tag in engine.catalog.template("t_1m").tags] == ["h", "i"]
    assert {
        row[0].partition("_")[0] for row in run("DESCRIBE t_1m").rows() if row[2] == "MEASUREMENT"
    } == {"b"}


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("CREATE DATABASE root", SchemaError, "above all databases"),
        ("SET SCHEMA TEMPLATE t TO root", SchemaError, "above all databases"),
        ("ALTER DATABASE root.main", SqlError, "a setting"),
        ("CREATE STABLE x (ts TIMESTAMP, d DECIMAL(10, 2)) TAGS (g INT)", SqlError, "DECIMAL"),
        ("CREATE STABLE x (ts TIMESTAMP, d INT) TAGS (g TIMESTAMP)", SqlError, "BIGINT"),
        ("ALTER STABLE t ADD TAG at TIMESTAMP", SqlError, "BIGINT"),
        ("CREATE STABLE x (ts TIMESTAMP, k INT PRIMARY KEY) TAGS (g INT)", SqlError, "device and"),
        ("CREATE STABLE x (ts TIMESTAMP, k INT NOT NULL) TAGS (g INT)", SqlError, "missing"),
        ("CREATE STABLE x (ts TIMESTAMP, `#1` INT) TAGS (g INT)", SchemaError, "dropped"),
        ("CREATE STABLE x (`#t` TIMESTAMP, a INT) TAGS (g INT)", SchemaError, "dropped"),
        ("CREATE STABLE x (ts TIMESTAMP, a INT) TAGS (a INT)", SchemaError, "another name"),
        ("CREATE TABLE d USING t TAGS (3000000000)", OutOfRangeError, "INT32"),
        ("ALTER TABLE e SET TAG g = -3000000000", OutOfRangeError, "INT32"),
        ("INSERT INTO d USING t TAGS (3000000000) VALUES (1, 1)", OutOfRangeError, "INT32"),
        ("INSERT INTO t (ts, a) VALUES (1, 1)", SqlError, "tbname"),
        ("INSERT INTO t VALUES (1, 1)", SqlError, "tbname"),
        ("INSERT INTO e (ts, time, a) VALUES (1, 2, 1)", SqlError, "both the time"),
        ("SHOW CQS", SqlUnsupportedError, "SHOW STREAMS"),
        ("KILL QUERY 3", SqlUnsupportedError, "request"),
        ("FULL MERGE", SqlUnsupportedError, "COMPACT"),
        ("ALTER TABLE e RENAME TO f", SqlUnsupportedError, "INSERT INTO"),
        ("SHOW CLUSTER", SqlUnsupportedError, "SHOW NODES"),
        ("SHOW CHILD STABLES", SqlError, "TABLES"),
        ("SHOW TABLE TAGS nope FROM t", SchemaError, "no tag"),
    ],
)
def test_what_is_refused_names_the_remedy(
    run: Run, sql: str, error: type[EngineError], message: str
) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, a INT) TAGS (g INT); CREATE TABLE e USING t TAGS (1)")
    with pytest.raises(error, match=message) as caught:
        run(sql)
    assert caught.value.field
    assert caught.value.hint
    assert [row[0] for row in run("SHOW DEVICES").rows()] == ["root.main.e"]


def test_lengths_beyond_64_bits(run: Run) -> None:
    run("CREATE DATABASE old KEEP 365000d; CREATE DATABASE older KEEP 30d")
    run("ALTER DATABASE older KEEP 9999999999999999999; SET TTL TO root.old.x 36000000003600000000")
    assert [row[1] for row in run("SHOW DATABASES").rows()] == [None, None]
    assert run("SHOW ALL TTL").rows() == []
    with pytest.raises(OutOfRangeError, match="292 years"):
        run("CREATE DATABASE x DURATION 365000d")
