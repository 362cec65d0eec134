"""ALTER, KEEP, TTL and UNSET, in both peers' spellings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine import ColumnType, Engine
from mainstem_engine.errors import (
    EngineError,
    NotFoundError,
    OutOfRetentionError,
    SchemaError,
    SqlSyntaxError,
    SqlUnsupportedError,
)
from mainstem_engine.sql.result import Result

from .conftest import NOW_MS

Run = Callable[..., Result]
DAY_NS = 86_400 * 10**9


def columns(engine: Engine, template: str) -> dict[str, ColumnType]:
    return {m.name: m.type for m in engine.catalog.template(template).measurements}


def test_columns_are_added_in_every_spelling(own_plant: Run, engine: Engine) -> None:
    own_plant("ALTER SCHEMA TEMPLATE car ADD (s3 DOUBLE encoding=Gorilla compression=SNAPPY)")
    own_plant("ALTER DEVICE TEMPLATE car ADD ((s4 TEXT), (s5 BOOLEAN),)")
    own_plant("ALTER STABLE meters ADD COLUMN power DOUBLE, ADD COLUMN name VARCHAR(20)")
    own_plant("ALTER TABLE meters ADD phase FLOAT UNIT='deg'")
    assert list(columns(engine, "car")) == ["s1", "s2", "s3", "s4", "s5"]
    assert list(columns(engine, "meters")) == ["current", "voltage", "power", "name", "phase"]
    assert engine.catalog.template("car").measurements[2].encoding == "GORILLA"
    own_plant("INSERT INTO root.beijing.d1(time, s1, s3) VALUES (5000, 5, 0.5)")
    rows = own_plant("SELECT s1, s3 FROM root.beijing.d1").rows()
    assert rows == [[1000, 1, None], [2000, None, None], [5000, 5, 0.5]]


def test_a_column_is_widened_and_renamed_with_its_values(own_plant: Run, engine: Engine) -> None:
    own_plant("ALTER STABLE meters MODIFY COLUMN voltage BIGINT, RENAME COLUMN current TO amps")
    own_plant("ALTER STABLE meters ALTER COLUMN amps SET DATA TYPE DOUBLE ENCODING PCO")
    assert columns(engine, "meters") == {"amps": ColumnType.DOUBLE, "voltage": ColumnType.INT64}
    own_plant("INSERT INTO d1001 VALUES (9000, 0.1, 5000000000)")
    rows = own_plant("SELECT amps, voltage FROM d1001").rows()
    assert rows == [[1000, 10.5, 219], [2000, 11.0, 220], [9000, 0.1, 5_000_000_000]]
    own_plant(
        "ALTER SCHEMA TEMPLATE car RENAME s1 TO speed; ALTER SCHEMA TEMPLATE car ADD (s1 TEXT)"
    )
    assert own_plant("SELECT speed, s1 FROM root.beijing.d2").rows() == [
        [1000, 10, None],
        [3000, 30, None],
    ]


def test_an_encoding_is_changed_for_what_comes(own_plant: Run, engine: Engine) -> None:
    result = own_plant("ALTER STABLE meters MODIFY COLUMN current ENCODING CHIMP COMPRESSION 'lz4'")
    assert result.warnings == ["column current: encoding CHIMP is stored as PCO"]
    described = {row[0]: row for row in own_plant("DESCRIBE meters").rows()}
    assert described["current"][-2:] == ["PCO", "LZ4"]
    own_plant("ALTER STABLE meters ADD COLUMN note TEXT")
    with pytest.raises(SchemaError, match="cannot hold TEXT"):
        own_plant("ALTER STABLE meters MODIFY COLUMN note ENCODING RLE")


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("ALTER STABLE meters MODIFY COLUMN voltage DOUBLE", SchemaError, "add a new measurement"),
        ("ALTER STABLE meters MODIFY COLUMN nothing INT", NotFoundError, "it has current, voltage"),
        ("ALTER STABLE meters RENAME COLUMN current TO voltage", SchemaError, "already"),
        ("ALTER STABLE meters RENAME COLUMN location TO place", SchemaError, "is a tag"),
        ("ALTER STABLE meters ADD COLUMN voltage DOUBLE", SchemaError, "INT32, not DOUBLE"),
        ("ALTER TABLE d1001 ADD COLUMN x INT", SchemaError, "a device of meters"),
        ("ALTER STABLE nothing ADD COLUMN x INT", NotFoundError, "SHOW TEMPLATES"),
        ("ALTER STABLE meters FROB x", SqlSyntaxError, "ADD, MODIFY, RENAME, DROP or KEEP"),
        ("ALTER STABLE meters ADD COLUMN x INT frob", SqlUnsupportedError, "FROB"),
        ("ALTER DATABASE root.beijing SET precision='ns'", SchemaError, "precision"),
        ("ALTER DATABASE nothing KEEP 3d", NotFoundError, "SHOW DATABASES"),
        ("ALTER DATABASE root.beijing KEEP 3x", SqlSyntaxError, "not a duration"),
        ("CREATE DATABASE root.z WITH (duration='0d')", SchemaError, "too short"),
        ("SET TTL TO root.*.b 5", SqlUnsupportedError, r"root\.a\.\*\*"),
        ("UNSET SCHEMA TEMPLATE car FROM root.x", NotFoundError, r"set on root\.beijing"),
    ],
)
def test_what_cannot_be_altered_says_why(
    own_plant: Run, sql: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        own_plant(sql)


def test_keep_of_a_database_and_of_a_template(own_plant: Run, engine: Engine) -> None:
    own_plant("CREATE DATABASE power WITH (keep='3650d')")
    for sql, keep_ns in [
        ("ALTER DATABASE root.power SET KEEP '30d'", 30 * DAY_NS),
        ("ALTER DATABASE power KEEP 20", 20 * DAY_NS),
        ("ALTER DATABASE power WITH (keep='2h', duration='1d')", 2 * 3600 * 10**9),
        ("ALTER DATABASE power SET duration='2d'", 2 * 3600 * 10**9),
        ("ALTER DATABASE power KEEP unlimited", None),
    ]:
        own_plant(sql)
        database = engine.catalog.databases.get("power")
        assert database is not None
        assert database.keep_ns == keep_ns, sql
        duration_ns = database.duration_ns
    assert duration_ns == 2 * DAY_NS
    own_plant("ALTER STABLE meters KEEP 30d")
    with pytest.raises(OutOfRetentionError) as caught:
        own_plant("INSERT INTO d1001 VALUES (1000, 1, 1)")
    assert caught.value.code == "OUT_OF_RETENTION"
    assert own_plant("SELECT count(*) FROM meters").rows() == [[0]]
    own_plant("INSERT INTO d1001 VALUES (?, 1, 1)", NOW_MS)
    assert own_plant("SELECT count(*) FROM meters").rows() == [[1]]


def test_ttl_of_a_path(own_plant: Run) -> None:
    own_plant("SET TTL TO root.beijing.** 3600000")
    own_plant("SET TTL TO root.beijing.d2 1d")
    listed = own_plant("SHOW ALL TTL")
    assert listed.rows() == [
        ["root.beijing", "1h", 3_600_000],
        ["root.beijing.d2", "1d", 86_400_000],
    ]
    assert own_plant("SHOW TTL ON root.beijing.d2").rows() == [
        ["root.beijing.d2", "1d", 86_400_000]
    ]
    assert own_plant("SELECT s1 FROM root.beijing.d1").rows() == []
    own_plant("UNSET TTL TO root.beijing.**; UNSET TTL FROM root.beijing.d2")
    assert own_plant("SHOW ALL TTL").rows() == []


def test_a_template_is_taken_off_a_path(own_plant: Run, engine: Engine) -> None:
    own_plant("CREATE DATABASE root.paris; SET SCHEMA TEMPLATE car TO root.paris")
    own_plant("UNSET SCHEMA TEMPLATE car FROM root.paris")
    result = own_plant("INSERT INTO root.paris.d1(time, s1) VALUES (1, 1)")
    assert result.warnings == ["root.paris.d1 is new and has no template: it gets s1 DOUBLE"]
    assert engine.catalog.table("car").set_paths == ("root.beijing",)


def test_options_of_a_database_are_checked_and_unknown_ones_named(run: Run, engine: Engine) -> None:
    options = "block_rows=512, compression='SNAPPY', flush_every='60s', auto_extend='on'"
    result = run(f"CREATE DATABASE root.a WITH ({options}, vgroups=4)")
    assert result.warnings == ["database option vgroups=4 has no effect"]
    (database,) = engine.databases
    assert database.options["block_rows"] == "512"
    for wrong in ("block_rows=4", "compression='RAR'", "auto_extend='maybe'", "flush_every=soon"):
        with pytest.raises(SchemaError, match=wrong.partition("=")[0]):
            run(f"CREATE DATABASE root.b WITH ({wrong})")
    assert run("ALTER DATABASE root.a SET block_rows=1024, buffer=3").warnings
    assert engine.databases[0].options["block_rows"] == "1024"


def test_a_database_may_let_rows_extend_their_template(run: Run, engine: Engine) -> None:
    run("CREATE DATABASE root.a WITH (auto_extend='on'); CREATE DATABASE root.b")
    run("CREATE SCHEMA TEMPLATE t (s INT32)")
    run("SET SCHEMA TEMPLATE t TO root.a; SET SCHEMA TEMPLATE t TO root.b")
    run("INSERT INTO root.a.d(time, s, f, n, w) VALUES (1, 1, NULL, 2, 'x'), (2, 2, 0.5, 3, 'y')")
    kinds = [ColumnType.INT32, ColumnType.DOUBLE, ColumnType.DOUBLE, ColumnType.TEXT]
    assert list(columns(engine, "t").values()) == kinds
    rows = run("SELECT f, n, w FROM root.a.d").rows()
    assert rows == [[1, None, 2, "x"], [2, 0.5, 3, "y"]]
    with pytest.raises(NotFoundError, match="ALTER STABLE t ADD COLUMN"):
        run("INSERT INTO root.b.d(time, s, z) VALUES (1, 1, 1)")


def test_a_template_is_activated_for_a_device(own_plant: Run) -> None:
    own_plant("CREATE TIMESERIES OF DEVICE TEMPLATE ON root.beijing.d7")
    own_plant("create timeseries using schema template on root.beijing.d7")
    assert own_plant("COUNT TIMESERIES root.beijing.d7.*").rows() == [[2]]
    with pytest.raises(NotFoundError, match="no template is set above it"):
        own_plant("CREATE TIMESERIES OF DEVICE TEMPLATE ON root.nowhere.d7")
    with pytest.raises(SchemaError, match="series of template car"):
        own_plant("CREATE TIMESERIES root.beijing.d7.s9 INT32")


def test_a_template_may_begin_empty(run: Run, engine: Engine) -> None:
    run("CREATE DATABASE root.a WITH (auto_extend='on'); create device template e_t")
    run("SET DEVICE TEMPLATE e_t TO root.a; alter device template e_t add(s1 int32)")
    run("INSERT INTO root.a.d(time, s2, s3) VALUES (1, 1, true)")
    assert list(columns(engine, "e_t")) == ["s1", "s2", "s3"]
    run("CREATE SCHEMA TEMPLATE IF NOT EXISTS e_t ()")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE odd (ts TIMESTAMP, `#t` INT)",
        "CREATE SCHEMA TEMPLATE odd (`#0` INT32)",
        "CREATE STABLE odd (ts TIMESTAMP, x INT) TAGS (`#t` INT)",
        "INSERT INTO root.here.odd(time, `#t`) VALUES (1, 2)",
    ],
)
def test_columns_that_would_not_be_shown_are_refused(run: Run, sql: str) -> None:
    with pytest.raises(EngineError, match="#"):
        run(sql)
