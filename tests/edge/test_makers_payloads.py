"""Payloads as makers and platforms send them, each read by the few lines of configuration that
``docs/payloads.md`` gives for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.intake import Intake
from mainstem_edge.testing.parts import NOW_NS, T0_MS, message
from mainstem_engine.engine import Engine
from mainstem_node.config import load_topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

PAGE = Path(__file__).resolve().parents[2] / "docs" / "payloads.md"
MEASUREMENTS = {
    "temperature": {"type": "DOUBLE"},
    "humidity": {"type": "DOUBLE"},
    "running": {"type": "BOOLEAN"},
    "usage_idle": {"type": "DOUBLE"},
    "power": {"type": "DOUBLE"},
    "energy": {"type": "DOUBLE"},
}


def recipe(heading: str) -> dict[str, Any]:
    """The subscription that the page gives under a heading."""
    section = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S
    )
    assert section is not None, heading
    block = re.search(r"```yaml\n(.*?)```", section[1], re.S)
    assert block is not None
    (found,) = yaml.safe_load(block[1])
    return dict(found)


@pytest.fixture
def read(tmp_path: Path, engine: Engine, quarantine: QuarantineStore) -> Any:
    """Stores messages by the recipe under a heading: (rows, what was put aside, the intake)."""

    def run(
        heading: str, *messages: tuple[str, Any]
    ) -> tuple[list[dict[str, Any]], list[tuple[str, str]], Intake]:
        section = recipe(heading)
        template = {"tags": {"host": "TEXT"}, "measurements": MEASUREMENTS}
        node = {
            "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
            "clock": {"past": "2010-01-01", "future": "36500d"},
            "databases": {"root.plant": {"precision": "ms"}},
            "collectors": [
                {"type": "mqtt", "url": "mqtt://127.0.0.1:1", "subscriptions": [section]}
            ],
        }  # fmt: skip
        path = tmp_path / "topology.yaml"
        path.write_text(yaml.safe_dump({"templates": {"sensor": template}, "nodes": [node]}))
        found = load_topology(path)
        declare(engine, found, found.nodes[0])
        bench = Workbench(found, found.nodes[0], engine, quarantine, clock_ns=lambda: NOW_NS)
        (intake,) = Assembly(bench).intakes()
        for topic, payload in messages:
            data = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
            intake.process([message(data, topic)])
        assert intake.drain(10)
        rows = [
            {name: value for name, value in row.items() if value is not None}
            for row in engine.scan("sensor").read_all().to_pylist()
        ]
        aside = [(item["measurement"], item["reason"]) for item in quarantine.items()]
        return rows, aside, intake

    return run


def test_numbers_as_text(read: Any) -> None:
    row = {"temperature": "21,5", "running": "ON", "day": "21.10.2026", "clock": "02:00:00"}
    wrong = {**row, "clock": "02:00:01", "temperature": "1.234"}
    rows, aside, _ = read(
        "Numbers as text, decimal commas, other dates",
        ("line/m7/values", row),
        ("line/m7/values", wrong),
    )
    assert rows == [
        {"device": "root.plant.m7", "time": T0_MS, "temperature": 21.5, "running": True},
        {"device": "root.plant.m7", "time": T0_MS + 1000, "running": True},
    ]
    assert aside == [("temperature", "wrong_type")]


def test_zigbee2mqtt(read: Any) -> None:
    state = {
        "temperature": 27.34, "humidity": 44.72, "linkquality": 120, "battery": 97,
        "update": {"state": "idle", "installed_version": 5}, "last_seen": "2026-10-21T00:00:00Z",
    }  # fmt: skip
    rows, aside, _ = read("Zigbee2MQTT", ("zigbee2mqtt/cellar", state))
    assert rows == [
        {"device": "root.plant.cellar", "time": T0_MS + 10_000, "temperature": 27.34,
         "humidity": 44.72}
    ]  # fmt: skip
    assert aside == []


def test_tasmota(read: Any) -> None:
    state = {
        "Time": "2026-10-21T02:00:00",
        "AM2301": {"Temperature": 21.3, "Humidity": 45.1, "DewPoint": 8.9},
        "TempUnit": "C",
    }
    rows, aside, _ = read("Tasmota", ("tele/hall/SENSOR", state))
    assert rows == [  # two o'clock in Berlin's summer
        {"device": "root.plant.hall", "time": T0_MS, "temperature": 21.3, "humidity": 45.1}
    ]
    assert aside == []


def test_shelly(read: Any) -> None:
    switch = {"id": 0, "apower": 42.1, "aenergy": {"total": 1234.5, "by_minute": [1, 2, 3]}}
    status = {"method": "NotifyStatus", "params": {"ts": T0_MS / 1000 + 0.5, "switch:0": switch}}
    other = {"method": "NotifyStatus", "params": {"ts": T0_MS / 1000 + 1, "sys": {}}}
    rows, aside, _ = read(
        "Shelly, second generation and later", ("s1/events/rpc", status), ("s1/events/rpc", other)
    )
    assert rows == [
        {"device": "root.plant.s1", "time": T0_MS + 500, "power": 42.1, "energy": 1234.5}
    ]
    assert aside == [("", "no_values")]


def test_home_assistant(read: Any) -> None:
    topic = "homeassistant/sensor/hall/state"
    rows, aside, _ = read("Home Assistant, statestream", (topic, b"21.7"), (topic, b"unavailable"))
    assert [(row["device"], row["temperature"]) for row in rows] == [("root.plant.hall", 21.7)]
    assert aside == [("temperature", "wrong_type")]


def test_telegraf(read: Any) -> None:
    metric = {
        "fields": {"usage_idle": 97.5, "usage_user": 1.5}, "name": "cpu",
        "tags": {"cpu": "cpu0", "host": "raynor"}, "timestamp": 1_792_540_800,
    }  # fmt: skip
    later = {**metric, "timestamp": 1_792_540_810, "fields": {"usage_idle": 96}}
    rows, aside, _ = read("Telegraf's JSON", ("telegraf/raynor", {"metrics": [metric, later]}))
    assert [(row["time"], row["usage_idle"], row["host"]) for row in rows] == [
        (T0_MS, 97.5, "raynor"), (T0_MS + 10_000, 96.0, "raynor"),
    ]  # fmt: skip
    assert {row["device"] for row in rows} == {"root.plant.raynor.cpu0"}
    assert aside == [("usage_user", "unknown_measurement")]


def test_telegraf_one_metric_a_message(read: Any) -> None:
    metric = {
        "fields": {"usage_idle": 97.5}, "name": "cpu",
        "tags": {"cpu": "cpu0", "host": "raynor"}, "timestamp": 1_792_540_800,
    }  # fmt: skip
    rows, aside, _ = read("Telegraf's JSON, one metric a message", ("telegraf/raynor", metric))
    assert [(row["time"], row["usage_idle"]) for row in rows] == [(T0_MS, 97.5)]
    assert aside == []


def test_thingsboard_device(read: Any) -> None:
    rows, aside, _ = read(
        "ThingsBoard, a device",
        ("v1/devices/me/telemetry", {"temperature": 42.2, "running": True}),
        ("v1/devices/me/telemetry", {"ts": T0_MS, "values": {"temperature": 41.0}}),
        ("v1/devices/me/telemetry", [{"ts": T0_MS + 1, "values": {"humidity": 5}},
                                     {"ts": T0_MS + 2, "values": {"humidity": 6}}]),
    )  # fmt: skip
    assert [{k: v for k, v in row.items() if k != "device"} for row in rows] == [
        {"time": T0_MS, "temperature": 41.0}, {"time": T0_MS + 1, "humidity": 5.0},
        {"time": T0_MS + 2, "humidity": 6.0},
        {"time": T0_MS + 10_000, "temperature": 42.2, "running": True},
    ]  # fmt: skip
    assert aside == []


def test_thingsboard_gateway(read: Any) -> None:
    payload = {
        "Device A": [
            {"ts": T0_MS, "values": {"temperature": 42, "humidity": 80}},
            {"ts": T0_MS + 1000, "values": {"temperature": 43}},
        ],
        "Device B": [{"ts": T0_MS, "values": {"temperature": 36}}],
    }
    rows, aside, _ = read("ThingsBoard, a gateway", ("v1/gateway/telemetry", payload))
    assert [(row["device"], row["time"] - T0_MS, row["temperature"]) for row in rows] == [
        ("root.plant.Device A", 0, 42.0), ("root.plant.Device A", 1000, 43.0),
        ("root.plant.Device B", 0, 36.0),
    ]  # fmt: skip
    assert aside == []


def test_united_manufacturing_hub(read: Any) -> None:
    place = "umh/v1/acme/cologne/press/m7/_historian/"
    rows, aside, _ = read(
        "United Manufacturing Hub",
        (place + "temperature", {"timestamp_ms": T0_MS, "value": 81.5}),
        (place + "running", {"timestamp_ms": T0_MS, "value": True}),
        (place + "temperature", {"timestamp_ms": T0_MS + 5, "value": 82}),
    )
    assert rows == [
        {"device": "root.plant.cologne.press.m7", "time": T0_MS, "temperature": 81.5,
         "running": True},
        {"device": "root.plant.cologne.press.m7", "time": T0_MS + 5, "temperature": 82.0},
    ]  # fmt: skip
    assert aside == []


def test_aws_iot_shadow(read: Any) -> None:
    payload = {
        "state": {"desired": {"running": False}, "reported": {"temperature": 5.5, "running": True}},
        "metadata": {"reported": {"temperature": {"timestamp": 1_792_540_800}}},
        "version": 10, "clientToken": "x",
    }  # fmt: skip
    rows, aside, _ = read("AWS IoT shadow", ("$aws/things/oven/shadow/update", payload))
    assert rows == [
        {"device": "root.plant.oven", "time": T0_MS, "temperature": 5.5, "running": True}
    ]
    assert aside == []


def test_columns_of_a_forecast(read: Any) -> None:
    payload = {
        "latitude": 52.52, "hourly_units": {"time": "iso8601", "temperature_2m": "°C"},
        "hourly": {
            "time": ["2026-10-21T00:00", "2026-10-21T01:00", "2026-10-21T02:00"],
            "temperature_2m": [13.3, None, 12.8],
            "relative_humidity_2m": [82, 83, 86],
        },
    }  # fmt: skip
    rows, aside, _ = read("Columns side by side", ("weather/berlin", payload))
    assert [(r["time"] - T0_MS, r.get("temperature"), r["humidity"]) for r in rows] == [
        (0, 13.3, 82.0), (3_600_000, None, 83.0), (7_200_000, 12.8, 86.0),
    ]  # fmt: skip
    assert aside == []


def test_one_value_a_message(read: Any) -> None:
    rows, aside, _ = read(
        "One value a message", ("plant/m7/temperature", b"81.5"), ("plant/m7/running", b"on")
    )
    assert rows == [  # at the same nanosecond, as both came in this test
        {"device": "root.plant.m7", "time": T0_MS + 10_000, "temperature": 81.5, "running": True}
    ]
    assert aside == []


def test_whatever_comes(read: Any) -> None:
    rows, aside, intake = read(
        "Whatever comes",
        ("try/a/temperature", b"20"),
        ("try/b/x", {"temperature": 21, "ts": T0_MS}),
        ("try/c/x", b"ts;temperature\n2026-10-21T00:00:00Z;22\n2026-10-21T00:00:01Z;23"),
        ("try/d/x", b"sensor,host=h temperature=24,running=true 1792540800000000000"),
        ("try/e/x", msgspec.msgpack.encode({"temperature": 25.0, "ts": T0_MS})),
        ("try/f/x", b'{"temperature": '),
    )
    assert [(row["device"][-1], row["temperature"]) for row in rows] == [
        ("a", 20.0), ("b", 21.0), ("c", 22.0), ("c", 23.0), ("d", 24.0), ("e", 25.0),
    ]  # fmt: skip
    assert all(row["time"] in (T0_MS, T0_MS + 1000) for row in rows[1:])
    assert aside == [("", "malformed")]
    assert intake.status()["formats"] == {
        "try/a/temperature": "raw", "try/b/x": "json", "try/c/x": "csv",
        "try/d/x": "line_protocol", "try/e/x": "msgpack", "try/f/x": "json",
    }  # fmt: skip
