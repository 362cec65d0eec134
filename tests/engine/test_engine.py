"""The public face: definitions, writes, the exported names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mainstem_engine
from mainstem_engine import (
    ColumnType,
    CorruptionError,
    Engine,
    Measurement,
    NotFoundError,
    OutOfRangeError,
    SchemaError,
    Tag,
    Template,
)
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_engine.testing.clock import FakeClock

MS = 1_000_000


def rows(engine: Engine, table: str = "meters") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.scan(table).read_all().to_pylist()
    return [{k: v for k, v in row.items() if v is not None} for row in found]


@pytest.fixture
def engine(open_engine: Any, meters: Template) -> Engine:
    found: Engine = open_engine()
    found.create_template(meters)
    return found


def test_the_exported_names() -> None:
    assert sorted(mainstem_engine.__all__) == [
        "Ack", "AppliedDelete", "AppliedRows", "BackupReport", "CheckReport", "ClosedError",
        "Column", "ColumnType", "CorruptionError", "Damage", "Deletion", "DirectoryStatistics",
        "Durability", "Engine", "EngineError", "EngineOptions", "EngineStatistics", "LockedError",
        "LogConsumer", "LogFailedError", "MainstemError", "Measurement", "NotFoundError",
        "NotOwnerError", "Origin", "OutOfRangeError", "OutOfRetentionError", "OverloadedError",
        "RepairPlan", "RepairReport", "RestoreReport", "RollupDefinition", "Rollups", "RowSink",
        "Rows", "SchemaError", "SliceDigests", "SliceImage", "SqlError", "StaleImageError",
        "StoreCounts", "Tag", "Template", "check_directory", "directory_statistics", "plan_repair",
        "repair_directory", "restore",
    ]  # fmt: skip
    for name in mainstem_engine.__all__:
        assert getattr(mainstem_engine, name)


def test_an_idle_engine_imports_neither_arrow_nor_duckdb() -> None:
    code = (
        "import sys, mainstem_engine\n"
        "print([m for m in ('pyarrow', 'duckdb', 'asyncio', 'sqlglot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_documentation(engine: Engine) -> None:
    ids = engine.device_ids(
        "meters", ["root.a.d1", "root.a.d2"], tags={"location": ["x", "y"]}, create=True
    )
    assert ids.dtype == np.uint32
    current, voltage = np.array([1.5, 2.5], np.float32), np.array([219, 220], np.int32)
    ack = engine.write(
        "meters", ids, np.array([1000, 2000]), {"current": current, "voltage": voltage}
    )
    ack.wait()
    found = engine.scan("meters", devices=ids, start=1000, end=2001, columns=["current"])
    assert isinstance(found, pa.RecordBatchReader)
    assert found.read_all()["current"].to_pylist() == [1.5, 2.5]
    assert engine.last("meters", devices=ids)["voltage"].to_pylist() == [219, 220]


def test_rows_of_one_time_are_merged_and_counted(engine: Engine) -> None:
    ack = engine.write(
        "meters",
        ["root.a.d2", "root.a.d1", "root.a.d2", "root.a.d2"],
        [5, 5, 5, 4],
        {"current": [1, 2, None, 4], "voltage": [1, 2, 3, 4]},
        intake={"received": 5, "filtered": 1},
        header={"source": "test"},
    )
    ack.wait()
    assert rows(engine) == [
        {"time": 4, "device": "root.a.d2", "current": 4.0, "voltage": 4},
        {"time": 5, "device": "root.a.d2", "current": 1.0, "voltage": 3},
        {"time": 5, "device": "root.a.d1", "current": 2.0, "voltage": 2},
    ]
    engine.log.barrier()
    engine.flush()
    engine.write("meters", "root.a.d1", [6], {}).wait()


def test_the_header_of_a_record(engine: Engine) -> None:
    ack = engine.write(
        "METERS", "root.a.d", [2, 1, 1], {}, intake={"received": 4}, header={"source": "s"}
    )
    ack.wait()
    engine.log.rotate()
    (record,) = engine.log.read(ack.lsn, ack.lsn)
    assert record.kind == RecordKind.PTS
    header, _ = decode_payload(record.payload)
    wanted = {"t": "meters", "rev": 1, "n": 2, "acc": 3, "mrg": 1, "der": 0, "in": {"received": 4}}
    assert {key: header[key] for key in wanted} == wanted
    assert header["source"] == "s"
    derived = engine.write("meters", "root.a.d", [9], {}, derived=True)
    derived.wait()
    engine.log.rotate()
    (record,) = engine.log.read(derived.lsn, derived.lsn)
    header, _ = decode_payload(record.payload)
    assert (header["acc"], header["mrg"], header["der"], header["n"]) == (0, 0, 1, 1)


def test_every_start_is_in_the_log(open_engine: Any) -> None:
    clock = FakeClock()
    for _ in range(2):
        engine: Engine = open_engine(clock=clock)
        clock.advance(5)
        engine.close()
    engine = open_engine(clock=clock)
    engine.log.rotate()
    headers = [decode_payload(r.payload)[0] for r in engine.log.read(1)]
    assert [r.kind for r in engine.log.read(1)] == [RecordKind.BOOT] * 3
    assert [h["at"] - headers[0]["at"] for h in headers] == [0, 5, 10]
    assert len({h["id"] for h in headers}) == 3


def test_precisions(open_engine: Any, meters: Template) -> None:
    engine: Engine = open_engine()
    engine.create_template(meters)
    engine.create_database("fine", precision="us")
    engine.write("meters", "root.coarse.d", [7], {"voltage": [1]}).wait()
    assert engine.precision_ns("meters") == MS
    assert rows(engine)[0]["time"] == 7
    engine.write("meters", "root.fine.d", [7_500], {"voltage": [2]}).wait()
    assert engine.precision_ns("METERS") == 1000
    assert [r["time"] for r in rows(engine)] == [7_000, 7_500]
    assert engine.scan("meters", start=7_001).read_all().num_rows == 1


def test_devices_that_data_may_create(engine: Engine) -> None:
    engine.write("meters", "root.anywhere.d", [1], {"voltage": [1]}).wait()
    engine.set_template("Meters", "root.plant.line1")
    engine.set_template("meters", "root.plant.line1")
    engine.write("meters", ["root.plant.line1.d", "root.plant.line1.x.e"], [1, 1], {}).wait()
    with pytest.raises(NotFoundError, match="SET SCHEMA TEMPLATE") as caught:
        engine.write("meters", "root.plant.line2.d", [1], {})
    assert caught.value.field == "root.plant.line2.d"
    engine.device_ids("meters", ["root.plant.line2.d"], create=True)
    engine.write("meters", "root.plant.line2.d", [1], {}).wait()
    engine.write("meters", "root.plant.`line2`.d", [2], {}).wait()
    assert len(engine.catalog.devices) == 4


def test_devices_by_id(engine: Engine) -> None:
    ids = engine.device_ids("meters", ["root.a.d0", "root.a.d1", "root.a.d0"], create=True)
    assert ids.tolist() == [0, 1, 0]
    engine.write("meters", np.int64(1), [1, 2], {"voltage": [1, 2]}).wait()
    engine.write("meters", np.array(0, np.uint32), [3], {"voltage": [3]}).wait()
    assert [r["device"] for r in rows(engine)] == ["root.a.d0", "root.a.d1", "root.a.d1"]
    with pytest.raises(NotFoundError, match="id 7"):
        engine.write("meters", np.array([7], np.uint32), [1], {})
    with pytest.raises(SchemaError, match="one per row"):
        engine.write("meters", ids, [1], {})
    engine.create_template(Template("other", (Measurement(0, "x", ColumnType.INT8),)))
    for devices in (ids[:1], "root.a.d0"):
        with pytest.raises(SchemaError, match="belongs to template meters"):
            engine.write("other", devices, [1], {})


def test_device_ids(engine: Engine) -> None:
    with pytest.raises(NotFoundError, match=r"root\.a\.d"):
        engine.device_ids("meters", ["root.a.d"])
    first = engine.device_ids(
        "meters", ["root.a.d"], {"location": ["x"], "group": [1]}, create=True, foreign=True
    )
    again = engine.device_ids("meters", ["root.a.d"], {"location": ["other"]}, create=True)
    assert first.tolist() == again.tolist()
    assert engine.catalog.devices.tags(0) == {"location": "x", "group": 1}
    assert engine.catalog.devices.is_foreign(0)
    with pytest.raises(NotFoundError, match="no tag"):
        engine.device_ids("meters", ["root.a.e"], {"colour": ["red"]}, create=True)
    assert len(engine.device_ids("meters", [])) == 0


def test_definitions_that_exist(engine: Engine, meters: Template) -> None:
    with pytest.raises(SchemaError, match="IF NOT EXISTS"):
        engine.create_template(meters)
    same = engine.create_template(Template("METERS", meters.measurements), if_not_exists=True)
    assert same.name == "meters"
    more = Template("meters", (*meters.measurements, Measurement(0, "more", ColumnType.INT8)))
    assert len(engine.create_template(more, foreign=True).measurements) == 5
    assert len(engine.create_template(more, foreign=True).measurements) == 5
    assert not engine.catalog.is_foreign("meters")
    engine.create_database("power", keep_ns=10**18, colour="red")
    with pytest.raises(SchemaError, match="exists"):
        engine.create_database("root.power")
    found = engine.create_database("power", if_not_exists=True)
    assert (found.name, found.keep_ns, found.options) == ("root.power", 10**18, {"colour": "red"})
    assert [d.name for d in engine.databases] == ["root.power"]
    engine.extend_template("meters", more.measurements)
    with pytest.raises(NotFoundError):
        engine.extend_template("nothing", more.measurements)


def test_errors_name_what_is_wrong(engine: Engine) -> None:
    for columns, error, field in (
        ({"pressure": [1]}, NotFoundError, "pressure"),
        ({"voltage": ["x"]}, SchemaError, "voltage"),
        ({"voltage": [2**40]}, OutOfRangeError, "voltage"),
    ):
        with pytest.raises(error) as caught:
            engine.write("meters", "root.a.d", [1], columns)
        assert caught.value.field == field
    with pytest.raises(SchemaError, match="one per row"):
        engine.write("meters", "root.a.d", 5, {})
    with pytest.raises(SchemaError, match=r"root\."):
        engine.write("meters", "d1", [1], {})
    assert rows(engine) == []


def test_definitions_survive(open_engine: Any, meters: Template) -> None:
    engine: Engine = open_engine()
    engine.create_template(meters)
    engine.create_database("power", precision="ns")
    engine.set_template("meters", "root.power")
    engine.write("meters", "root.power.d", [5], {"note": ["é"]}).wait()
    uuid = engine.node_uuid
    for stop in (engine.abandon, None):
        if stop is not None:
            stop()
        else:
            engine.close()
        engine = open_engine()
        assert engine.node_uuid == uuid
        assert engine.catalog.table("meters").set_paths == ("root.power",)
        assert rows(engine) == [{"time": 5, "device": "root.power.d", "note": "é"}]
    assert engine.path.name == "data"
    assert engine.options.durability == "os"
    assert engine.settled(0) > 0


def test_many_devices_are_created_in_several_records(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_engine.definitions.DEVICES_PER_RECORD", 3)
    before = engine.log.appended_lsn
    paths = [f"root.a.d{i}" for i in range(8)]
    ids = engine.device_ids("meters", paths, {"group": list(range(8))}, create=True)
    assert ids.tolist() == list(range(8))
    assert engine.log.appended_lsn == before + 1 + 3
    assert engine.catalog.devices.tags(7) == {"group": 7}


@pytest.mark.parametrize("content", ["", "{}", '{"node_uuid": "xyz"}', '{"node_uuid": 5}', "[]"])
def test_an_identity_that_cannot_be_read_is_not_replaced(
    open_engine: Any, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "data" / "identity.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(CorruptionError, match="node_uuid"):
        open_engine()
    assert path.read_text() == content


def test_an_identity_that_is_given_is_kept(open_engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "data" / "identity.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"node_uuid": "ab" * 16, "node": "plant_a"}))
    engine: Engine = open_engine(node_name="plant_a")
    assert engine.node_uuid == "ab" * 16
    assert engine.origins[0].node == "plant_a"


def test_a_rollup_table_without_its_source(open_engine: Any) -> None:
    """What a parent holds that receives only the rollup."""
    engine: Engine = open_engine()
    received = Template(
        "T_1m",
        (Measurement(0, "x_count", ColumnType.INT64),),
        (Tag("line"),),
        rollup_of="T",
        every_ns=60,
    )
    engine.create_template(received, foreign=True)
    ids = engine.device_ids("T", ["root.a.d"], {"line": ["x"]}, create=True, foreign=True)
    assert engine.device_ids("T_1m", ["root.a.d"]).tolist() == ids.tolist()
    engine.write("t_1m", ids, [5], {"x_count": [3]}, derived=True).wait()
    assert engine.scan("T_1m", tags={"line": "x"}).read_all()["x_count"].to_pylist() == [3]
