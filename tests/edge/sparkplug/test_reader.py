"""From bundles to stored rows: templates, devices, names, quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.sparkplug import SparkplugCollector
from mainstem_edge.intake import Intake
from mainstem_edge.sparkplug.placing import Placing
from mainstem_edge.sparkplug.rows import Source
from mainstem_edge.sparkplug.topics import NodeKey
from mainstem_edge.testing import sparkplug_encoder as enc
from mainstem_edge.testing.parts import NOW_NS, T0_MS, FakeOrigin
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType
from mainstem_node.config import load_topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

MACHINE = {
    "quality": True,
    "measurements": {
        "rpm": {"type": "DOUBLE", "from": "Motor/rpm"},
        "Hydraulics_pressure": {"type": "FLOAT"},
        "state": {"type": "TEXT"},
    },
}
PLAIN = {"measurements": {"level": {"type": "INT32"}}}


class Plant:
    """An edge whose Sparkplug collector is told messages without a broker."""

    def __init__(
        self, path: Path, engine: Engine, quarantine: QuarantineStore, **config: Any
    ) -> None:
        collector = {
            "type": "sparkplug", "url": "mqtt://127.0.0.1:1", "host_id": "host",
            "device": "root.{group}.{node}.{device}", **config,
        }  # fmt: skip
        intake = {"auto_template": collector.pop("auto_template", False)}
        node = {
            "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
            "collectors": [collector], "intake": intake,
        }  # fmt: skip
        file = path / "topology.yaml"
        text = yaml.safe_dump({"templates": {"machine": MACHINE, "plain": PLAIN}, "nodes": [node]})
        file.write_text(text, encoding="utf-8")
        topology = load_topology(file)
        declare(engine, topology, topology.nodes[0])
        bench = Workbench(topology, topology.nodes[0], engine, quarantine, clock_ns=lambda: NOW_NS)
        (self.intake,) = Assembly(bench).intakes()
        assert isinstance(self.intake, Intake)
        collector_ = self.intake.collector
        assert isinstance(collector_, SparkplugCollector)
        self.collector = collector_
        self.engine = engine
        self.origin = FakeOrigin()

    def send(
        self, topic: str, *metrics: bytes, seq: int | None = None, number: int = 0, at: int = 0
    ) -> None:
        octets = enc.payload(metrics, time_ms=T0_MS + at, seq=seq)
        arrived = Message(f"spBv1.0/{topic}", octets, NOW_NS, False, False, number, self.origin)
        self.collector._on_messages([arrived])

    def born(self, *metrics: bytes) -> None:
        self.send("G/NBIRTH/N", enc.metric("bdSeq", enc.INT64, 0), *metrics, seq=0)

    def process(self) -> None:
        messages = self.collector.queue.take(100, 1 << 20, 0.01)
        if messages:
            self.intake.process(messages)

    def rows(self, template: str) -> list[dict[str, Any]]:
        assert self.intake.drain(10)
        table = self.engine.scan(template).read_all()
        return [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]


@pytest.fixture
def plant(tmp_path: Path, engine: Engine, quarantine: QuarantineStore) -> Plant:
    return Plant(
        tmp_path, engine, quarantine,
        template={"G/*/M*": "machine", "G/*/T*": "plain"}, definitions={"Motor": "machine"},
    )  # fmt: skip


def test_metrics_become_measurements_and_a_death_is_quality(
    plant: Plant, quarantine: QuarantineStore
) -> None:
    plant.born()
    plant.send(
        "G/DBIRTH/N/M1",
        enc.metric("Motor/rpm", enc.DOUBLE, 1500.0, alias=1),
        enc.metric("Hydraulics/pressure", enc.FLOAT, 1.5, alias=2),
        enc.metric("state", 24, b"\1\0\0\0", alias=3),
        seq=1,
    )
    data = enc.metric(None, enc.DOUBLE, 1501.0, alias=1, quality=0, write_kind=False)
    plant.send("G/DDATA/N/M1", data, seq=2, at=1000)
    plant.send("G/DDATA/N/M1", enc.metric(None, alias=2, null=True), seq=3, at=2000)
    plant.send("G/NDEATH/N", enc.metric("bdSeq", enc.INT64, 0), number=7)
    plant.process()
    rows = plant.rows("machine")
    assert [row["device"] for row in rows] == ["root.G.N.M1"] * 4
    assert [{k: v for k, v in row.items() if k not in ("device", "time")} for row in rows] == [
        {"rpm": 1500.0, "Hydraulics_pressure": 1.5, "state": "[1]"},
        {"rpm": 1501.0, "rpm_quality": 2},
        {"Hydraulics_pressure_quality": 2},
        {"rpm_quality": 3, "Hydraulics_pressure_quality": 3, "state_quality": 3},
    ]
    assert not quarantine.items()
    assert plant.origin.wait(1) == [7]  # the death came with QoS 1: acknowledged once durable


def test_without_quality_bad_values_are_put_aside_and_deaths_store_nothing(
    plant: Plant, quarantine: QuarantineStore
) -> None:
    plant.born()
    plant.send("G/DBIRTH/N/T1", enc.metric("level", enc.INT32, 5, alias=1), seq=1)
    bad = enc.metric(None, enc.INT32, 6, alias=1, quality=0, write_kind=False)
    plant.send("G/DDATA/N/T1", bad, seq=2, at=1000)
    plant.send("G/DDATA/N/T1", enc.metric(None, alias=1, null=True), seq=3, at=2000)
    plant.send("G/NDEATH/N", enc.metric("bdSeq", enc.INT64, 0))
    plant.process()
    assert [row["level"] for row in plant.rows("plain")] == [5]
    assert [item["reason"] for item in quarantine.items()] == ["bad_quality"]
    assert plant.collector.status()["valueless_rows"] == 2


def test_what_has_no_template_is_put_aside(plant: Plant, quarantine: QuarantineStore) -> None:
    plant.born(enc.metric("x", enc.INT32, 1))
    plant.send("G/DDATA/N/M7", enc.metric(None, enc.INT32, 1, alias=99), seq=1)
    plant.collector._on_messages(
        [Message("spBv1.0/G/NDATA/N", b"\xff\xff", NOW_NS, False, False, 0, plant.origin)]
    )
    plant.process()
    assert sorted(item["reason"] for item in quarantine.items()) == [
        "malformed", "malformed", "unknown_template",
    ]  # fmt: skip


def test_an_instance_of_a_definition_is_a_device(plant: Plant) -> None:
    members = [enc.metric("Motor/rpm", enc.DOUBLE, 3.0)]
    instance = enc.template(members, reference="Motor")
    plant.born(enc.metric("Hall 1/M1", enc.TEMPLATE, instance))
    plant.process()
    (row,) = plant.rows("machine")
    assert (row["device"], row["rpm"]) == ("root.G.N.Hall 1_M1", 3.0)


def test_births_make_templates(tmp_path: Path, engine: Engine, quarantine: QuarantineStore) -> None:
    plant = Plant(tmp_path, engine, quarantine, auto_template=True)
    definition = enc.template([enc.metric("rpm", enc.DOUBLE)], definition=True)
    members = enc.template([enc.metric("rpm", enc.DOUBLE, 3.0)], reference="Motor")
    plant.born(
        enc.metric("Motor", enc.TEMPLATE, definition), enc.metric("A", enc.TEMPLATE, members)
    )
    plant.send(
        "G/DBIRTH/N/Tank",
        enc.metric("level/now", enc.INT16, -5, alias=1),
        enc.metric("time", enc.DATETIME, T0_MS, alias=2),
        seq=1,
    )
    plant.process()
    plant.send("G/DDATA/N/Tank", enc.metric(None, enc.INT16, 6, alias=1), seq=2, at=1000)
    plant.process()
    kinds = {m.name: m.type for m in engine.catalog.table("G_Tank").shown}
    assert kinds == {"level_now": ColumnType.INT16, "time_value": ColumnType.TIMESTAMP}
    assert [m.name for m in engine.catalog.table("Motor").shown] == ["rpm"]
    assert plant.intake.collector.readers[0].templates == ("Motor", "G_Tank")
    assert [row["level_now"] for row in plant.rows("G_Tank")] == [-5, 6]
    assert [row["rpm"] for row in plant.rows("Motor")] == [3.0]
    assert not quarantine.items()


def test_paths_of_nodes_and_instances() -> None:
    placing = Placing("root.a.{group}.{node}.{device}", {}, {}, own_templates=False)
    key = NodeKey("G", "N.1")
    assert placing.path(Source(key)) == "root.a.G.`N.1`"
    assert placing.path(Source(key, "D", "x/y", "T")) == "root.a.G.`N.1`.D.x_y"
    assert placing.path(Source(key, "", "x", "T")) == "root.a.G.`N.1`.x"
    assert placing.place(Source(key)) is None
