"""From the configuration to rules, subscriptions and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.assembly.mqtt import mqtt_settings
from mainstem_edge.assembly.rules import template_rules
from mainstem_edge.preprocess import HEARTBEAT_NS
from mainstem_edge.testing.parts import FakeOrigin, message
from mainstem_edge.value_memory import ValueFilter
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType
from mainstem_node.config import load_topology
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

SECOND_NS = 10**9
TEMPLATES = {
    "machine": {
        "tags": {"line": "TEXT"},
        "expect_every": "10s",
        "measurements": {
            "temperature": {
                "type": "DOUBLE", "unit": "degC", "from": "temp_f", "source_unit": "degF",
                "range": [-40, 900], "deadband": 0.05,
            },
            "pressure": {"type": "DOUBLE", "unit": "bar", "scale": 0.001},
            "running": {"type": "BOOLEAN"},
        },
    }
}  # fmt: skip


def topology(place: Path, collector: dict[str, Any] | None = None, **node: Any) -> Topology:
    subscription = {
        "topic": "plant/+/t", "template": "machine", "device": "root.plant.{topic[1]}",
        "tags": {"line": "{topic[0]}"},
    }  # fmt: skip
    mqtt = {
        "type": "mqtt", "url": "mqtt://127.0.0.1:1883", "subscriptions": [subscription],
        **(collector or {}),
    }  # fmt: skip
    document = {
        "templates": TEMPLATES,
        "nodes": [
            {"id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
             "collectors": [mqtt, mqtt], **node}
        ],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_topology(path)


def test_rules_come_from_the_template(tmp_path: Path, engine: Engine) -> None:
    found = topology(tmp_path)
    declare(engine, found, found.nodes[0])
    rules = template_rules(engine.catalog.table("machine"), found.templates["machine"])
    temperature, pressure, running = rules.measurements
    assert temperature.source == "temp_f"
    assert temperature.linear is not None
    assert temperature.linear[0] * 212 + temperature.linear[1] == pytest.approx(100)
    assert (temperature.low, temperature.high) == (-40, 900)
    assert temperature.filter == ValueFilter(band=0.05)
    assert pressure.linear == (0.001, 0.0)
    assert (running.type, running.linear) == (ColumnType.BOOLEAN, None)
    assert rules.heartbeat_ns == 10 * SECOND_NS
    assert template_rules(engine.catalog.table("press"), None).heartbeat_ns == HEARTBEAT_NS


def test_an_intake_per_collector_shares_the_template(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    found = topology(tmp_path)
    declare(engine, found, found.nodes[0])
    bench = Workbench(found, found.nodes[0], engine, quarantine)
    first, second = Assembly(bench).intakes()
    assert [first.collector.name, second.collector.name] == ["mqtt-0", "mqtt-1"]
    origin = FakeOrigin()
    row = {"ts": 1_700_000_000_000, "temp_f": 212, "pressure": 1500}
    first.process([message(row, origin=origin)])
    second.process([message({"ts": row["ts"] + 1, "temp_f": 212.01}, origin=origin)])
    origin.wait(2)
    (one,) = engine.scan("machine").read_all().to_pylist()  # the second one changed nothing
    assert (one["device"], one["line"], one["pressure"]) == ("root.plant.m1", "plant", 1.5)
    assert one["temperature"] == pytest.approx(100)


def broker(node: NodeConfig, number: int = 0) -> MqttCollectorConfig:
    """A collector of the node."""
    found = node.collectors[number]
    assert isinstance(found, MqttCollectorConfig)
    return found


def test_client_ids_are_fixed_and_differ(tmp_path: Path) -> None:
    node = topology(tmp_path).nodes[0]
    ids = [mqtt_settings("edge", n, broker(node, n)).client_id for n in range(2)]
    assert ids == ["mainstem-edge", "mainstem-edge-1"]


def test_broker_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "secret")
    options = {
        "url": "mqtt://someone@broker.example", "username": "edge",
        "password": "${BROKER_PASSWORD}", "qos": 2, "keepalive": "45s", "client_id": "own",
    }  # fmt: skip
    settings = mqtt_settings("edge", 0, broker(topology(tmp_path, options).nodes[0]))
    assert (settings.host, settings.port, settings.keepalive_s) == ("broker.example", 1883, 45)
    assert (settings.username, settings.password, settings.client_id) == ("edge", "secret", "own")
    assert settings.topics == (("plant/+/t", 1),)
    assert settings.tls is None
    assert "secret" not in repr(settings)
    secure = broker(topology(tmp_path, {"url": "mqtts://broker.example"}).nodes[0])
    found = mqtt_settings("edge", 0, secure)
    assert found.port == 8883
    assert found.tls is not None
    assert found.tls.check_hostname


def test_a_dropped_measurement_is_reached_by_no_name(engine: Engine) -> None:
    table = engine.catalog.table("press")
    gone = table.template.measurements[0]
    engine.hide_measurements("press", [gone.name])
    names = [rule.name for rule in template_rules(engine.catalog.table("press"), None).measurements]
    assert len(names) == len(table.template.measurements) - 1
    assert not any(name.startswith("#") for name in names)
