"""The edge as a whole: from a broker to its tables, its status, and an orderly stop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_edge.node import EdgeNode
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.config import load_topology
from mainstem_node.node import tier_class
from mainstem_node.reconfiguring import takes_no_start
from mainstem_node.replay import BrokerAddress, Publisher

TIMEOUT_S = 20.0


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Polls until it holds; fails with ``what`` at the deadline."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - what is watched runs in threads
            await asyncio.sleep(0.02)


async def connected(node: EdgeNode) -> None:
    await eventually(
        lambda: node.status_fields()["collectors"][0]["state"] == "connected", "connected"
    )


def edge(place: Path, broker: EmbeddedBroker, *further: dict[str, Any], **options: Any) -> EdgeNode:
    """``further``: collectors beside the one at the broker."""
    document = {
        "templates": {
            "pump": {
                "expect_every": "10s",
                "measurements": {"flow": {"type": "DOUBLE"}, "count": {"type": "INT64"}},
            },
            "weather": {"measurements": {"wind": {"type": "DOUBLE"}}},
        },
        "nodes": [
            {
                "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
                "paths": ["root.plant"], "auth": {"loopback": "open"},
                "collectors": [
                    {
                        "type": "mqtt", "url": broker.url,
                        "subscriptions": [
                            {"topic": "plant/+/t", "template": "pump",
                             "device": "root.plant.{topic[1]}"}
                        ],
                    },
                    *further,
                ],
                "rollups": [{"template": "pump", "every": "1m", "lateness": "5s"}],
                **options,
            },
            {"id": "other", "tier": "edge", "listen": "127.0.0.1:1", "data_dir": "other",
             "paths": ["root.plant.theirs"]},
        ],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    topology = load_topology(path)
    return EdgeNode(topology, topology.nodes[0])


@asynccontextmanager
async def connected_edge(place: Path) -> AsyncIterator[tuple[EdgeNode, EmbeddedBroker]]:
    """A running edge that is connected to a broker of its own."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(place / "broker", sync_always=False))
        node = edge(place, broker)
        stack.push_async_callback(node.stop)
        await node.start()
        await connected(node)
        yield node, broker


def publish(broker: EmbeddedBroker, count: int, name: str = "m1") -> None:
    now_ms = time.time_ns() // 10**6
    with Publisher(BrokerAddress.parse(broker.url)) as publisher:
        for number in range(count):
            row = {"ts": now_ms + number, "count": number}
            publisher.publish(f"plant/{name}/t", json.dumps(row).encode())
        publisher.drain()


def rows(node: EdgeNode) -> int:
    counts = node.engine.store_accounting().get("pump")
    return 0 if counts is None else counts.logged


async def test_from_the_broker_to_the_table_and_a_stop_that_loses_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(tmp_path / "broker", sync_always=False))
        node = edge(tmp_path, broker)
        stack.push_async_callback(node.stop)
        await node.start()
        assert node.not_ready() == []
        await connected(node)
        await asyncio.to_thread(publish, broker, 100)
        await eventually(lambda: rows(node) == 100, "stored")
        status = node.status_fields()
        (collector,) = status["collectors"]
        assert (collector["state"], collector["protocol"]) == ("connected", "3.1.1")
        assert collector["messages"] == 100
        await eventually(lambda: node.frontier_ns() > 0, "the frontier is known")
        assert node.status_fields()["frontier"] <= node.clock_ns() // 10**6
        assert node.collector_gaps() == {}
        assert node.missing_sources() == {}
        # Stopped while the node goes on: waits for the broker's queue to be empty.
        await node.stop_intake()
        assert node.status_fields()["collectors"][0]["state"] == "stopped"
        now = node.clock_ns()
        assert node.frontier_ns() >= now
        await asyncio.to_thread(publish, broker, 5)
        await node.stop()
        again = edge(tmp_path, broker)
        stack.push_async_callback(again.stop)
        await again.start()
        await eventually(lambda: rows(again) == 105, "what came meanwhile is stored")
        await again.stop()


async def test_a_device_of_another_node_is_put_aside(tmp_path: Path) -> None:
    async with connected_edge(tmp_path) as (node, broker):
        await asyncio.to_thread(publish, broker, 1, "theirs")
        quarantine = node.federation.quarantine
        await eventually(lambda: quarantine.statistics().items == 1, "put aside")
        assert quarantine.items()[0]["reason"] == "not_owner"


async def test_other_templates_and_rules_while_the_broker_stays_connected(tmp_path: Path) -> None:
    async with connected_edge(tmp_path) as (node, broker):
        await asyncio.to_thread(publish, broker, 3)
        await eventually(lambda: rows(node) == 3, "stored")
        connection = node._intakes[0].collector.state().connection
        path = tmp_path / "topology.yaml"
        document = yaml.safe_load(path.read_text())
        measurements = document["templates"]["pump"]["measurements"]
        measurements["half"] = {"type": "DOUBLE", "from": "count", "scale": 0.5}
        measurements["count"]["range"] = [0, 5]
        document["nodes"][0]["rollups"][0]["lateness"] = "90s"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        topology = load_topology(path)
        assert takes_no_start(node.topology, topology, "edge")
        await node.reconfigure(topology)
        await asyncio.to_thread(publish, broker, 8, "m2")
        await eventually(lambda: rows(node) == 11, "stored by the new rules")
        table = node.engine.scan("pump", columns=["count", "half"]).read_all().to_pydict()
        assert sorted(n for n in table["count"] if n is not None) == [0, 0, 1, 1, 2, 2, 3, 4, 5]
        assert max(x for x in table["half"] if x is not None) == 3.5
        assert node._intakes[0].collector.state().connection is connection
        assert node._frontier.lateness_ns == 90 * 10**9
        reasons = {item["reason"] for item in node.federation.quarantine.items()}
        assert reasons == {"out_of_range"}


async def test_without_collectors_the_frontier_is_now(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        node = edge(tmp_path, EmbeddedBroker(tmp_path / "broker", port=1), collectors=[])
        stack.push_async_callback(node.stop)
        await node.start()
        before = node.clock_ns()
        assert node.frontier_ns() >= before
        assert node.status_fields() == {"collectors": [], "frontier": None}
        await node.stop_intake()


async def test_a_page_that_does_not_answer_holds_its_own_table_only(tmp_path: Path) -> None:
    page = {
        "type": "http_poll", "url": "http://127.0.0.1:1/", "every": "1h", "codec": "json",
        "template": "weather", "device": "root.plant.outside",
    }  # fmt: skip
    with EmbeddedBroker(tmp_path / "broker", sync_always=False) as broker:
        node = edge(tmp_path, broker, page)
        await node.start()
        try:
            polled = node._intakes[1].collector
            await eventually(lambda: polled.status()["disconnects"] > 0, "no answer")
            await connected(node)
            await asyncio.to_thread(publish, broker, 1)
            before = node.clock_ns()
            await eventually(lambda: node.frontier_ns() >= before, "the frontier goes on")
            assert node.table_frontiers()["weather"] == 0
            assert "pump" not in node.table_frontiers()
        finally:
            await node.stop()


async def test_a_silent_device_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected_edge(tmp_path) as (node, broker):
        await asyncio.to_thread(publish, broker, 1)
        await eventually(lambda: rows(node) == 1, "stored")
        later = node.clock_ns() + 60 * 10**9
        monkeypatch.setattr(node, "frontier_ns", lambda: later)
        assert node.missing_sources() == {"pump": ["root.plant.m1"]}


async def test_a_failed_intake_makes_the_node_not_ready(tmp_path: Path) -> None:
    async with connected_edge(tmp_path) as (node, broker):
        node.federation.quarantine.close()
        with Publisher(BrokerAddress.parse(broker.url)) as publisher:
            publisher.publish("plant/m1/t", b"{")
        await eventually(lambda: bool(node.not_ready()), "failed")
        assert "quarantine is closed" in node.not_ready()[0]
        assert node.status_fields()["collectors"][0]["state"] == "failed"


def test_the_edge_is_registered() -> None:
    assert tier_class("edge") is EdgeNode


async def test_a_stop_does_not_wait_for_sources_that_keep_nothing(tmp_path: Path) -> None:
    """One that sends without end, and one that is not there."""
    modbus = {"device": "root.plant.m", "template": "pump", "registers": {"flow": {"address": 0}}}
    collectors = [
        {"type": "simulator", "template": "pump", "device": "root.plant.s", "every": "20ms"},
        {"type": "modbus", "url": "tcp://127.0.0.1:1", "devices": [modbus]},
    ]
    with EmbeddedBroker(tmp_path / "broker", sync_always=False) as broker:
        node = edge(tmp_path, broker, collectors=collectors)
    await node.start()
    try:
        await eventually(
            lambda: node._intakes[0].collector.state().last_arrival_ns is not None, "rows"
        )
        await eventually(lambda: all(map(node._is_idle, node._intakes)), "nothing to wait for")
    finally:
        await node.stop()
