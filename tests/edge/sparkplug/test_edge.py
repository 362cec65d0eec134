"""A whole edge as a Sparkplug host: from a device at the broker to its tables, status and metrics,
and a command back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from mainstem_edge.node import EdgeNode
from mainstem_edge.testing import sparkplug_encoder as enc
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.config import load_topology

TIMEOUT_S = 20.0


async def eventually(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - what is watched runs in threads
            await asyncio.sleep(0.02)


def edge(place: Path, broker: EmbeddedBroker) -> EdgeNode:
    node = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
        "auth": {"loopback": "open"},
        "collectors": [{"type": "sparkplug", "url": broker.url, "host_id": "host"}],
        "actions": [{"type": "sparkplug.dcmd", "host_id": "host", "metrics": ["G/N/*/level"]}],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump({"nodes": [node]}), encoding="utf-8")
    topology = load_topology(path)
    return EdgeNode(topology, topology.nodes[0])


class Tank:
    """An edge node with one device: born when it is asked, does what it is told."""

    def __init__(self, broker: EmbeddedBroker, now_ms: int) -> None:
        self._now_ms = now_ms
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "tank")
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.client.subscribe([("spBv1.0/G/NCMD/N", 1), ("spBv1.0/G/DCMD/N/Tank", 1)])

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        if "/NCMD/" in message.topic:
            self.send("NBIRTH/N", enc.metric("bdSeq", enc.INT64, 0), seq=0)
            self.send("DBIRTH/N/Tank", enc.metric("level", enc.INT32, 1, alias=1), seq=1)
        else:
            self.level(42, seq=7)

    def level(self, value: int, seq: int) -> None:
        data = enc.metric(None, enc.INT32, value, alias=1, write_kind=False)
        self.send("DDATA/N/Tank", data, seq=seq)

    def send(self, topic: str, *metrics: bytes, seq: int | None = None) -> None:
        self._now_ms += 1
        payload = enc.payload(metrics, time_ms=self._now_ms, seq=seq)
        self.client.publish(f"spBv1.0/G/{topic}", payload)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def test_from_a_device_to_its_table_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_edge.sparkplug.sequence.REORDER_S", 0.1)
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(tmp_path / "broker", sync_always=False))
        node = edge(tmp_path, broker)
        stack.push_async_callback(node.stop)
        await node.start()

        def status() -> dict[str, object]:
            found: dict[str, object] = node.status_fields()["collectors"][0]
            return found

        await eventually(lambda: status()["state"] == "connected", "connected")
        tank = Tank(broker, node.clock_ns() // 10**6)
        stack.callback(tank.close)
        tank.level(0, seq=9)  # unknown: the host asks for births
        await eventually(lambda: status()["edge_nodes_online"] == 1, "a birth")
        for seq in (2, 3, 6):
            tank.level(seq, seq=seq)
        await eventually(lambda: status()["lost_messages"] == 2, "a loss that is measured")

        def levels() -> list[int]:
            if node.engine.catalog.templates.find("G_Tank") is None:
                return []
            rows = node.engine.scan("G_Tank").read_all().to_pylist()
            return [row["level"] for row in rows if row["device"] == "root.G.N.Tank"]

        await eventually(lambda: levels() == [1, 2, 3, 6], "the rows")
        (action,) = node.actions()
        arguments = {"group": "G", "node": "N", "device": "Tank", "metric": "level", "value": 42}
        action.check(arguments)
        told = await asyncio.to_thread(action.run, arguments)
        assert told["reported"] == 42
        text = node.metrics.render().decode()
        line = 'mainstem_sparkplug_lost_messages_total{collector="sparkplug-0",edge_node="G/N"} 2.0'
        assert line in text
        assert 'mainstem_collector_connected{collector="sparkplug-0"} 1.0' in text
