"""From a broker through an edge with a rule to its platform and group."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from typer.testing import CliRunner

from mainstem_edge.node import EdgeNode
from mainstem_node import cli
from mainstem_node.auth import ensure_link_tokens
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.config import load_topology
from mainstem_node.node import Node, tier_class
from mainstem_node.replay import BrokerAddress, Publisher

DEADLINE_S = 60.0


def document(ports: list[int], broker: str) -> dict[str, Any]:
    exports = [{"template": "alarms", "mode": "raw"}]
    reading = {"topic": "plant/+/t", "template": "pump", "device": "root.plant.edge.{topic[1]}"}
    nodes: list[dict[str, Any]] = [
        {"id": "group", "tier": "group"},
        {"id": "plant", "tier": "platform", "parent": {"node": "group"}, "export": exports},
        {"id": "edge", "tier": "edge", "parent": {"node": "plant"}, "export": exports,
         "paths": ["root.plant.edge"],
         "collectors": [{"type": "mqtt", "url": broker, "subscriptions": [reading]}],
         "rules": [{"name": "hot", "template": "pump", "measurement": "heat", "above": 90},
                   {"name": "gone", "template": "pump", "missing": "1s"}]},
    ]  # fmt: skip
    for node, port in zip(nodes, ports, strict=True):
        node |= {"listen": f"127.0.0.1:{port}", "data_dir": f"data/{node['id']}",
                 "auth": {"loopback": "open"}}  # fmt: skip
    return {"templates": {"pump": {"measurements": {"heat": {"type": "DOUBLE"}}}}, "nodes": nodes}


def alarms(node: Node, device: str) -> list[tuple[bool, float]]:
    """(raised, value) as a tier has them."""
    if node.engine.catalog.templates.get("alarms") is None:
        return []
    rows = node.engine.scan("alarms").read_all().to_pylist()
    return sorted((row["raised"], row["value"]) for row in rows if row["device"] == device)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - three nodes; there is no one event
            await asyncio.sleep(0.05)


async def test_an_alarm_reaches_platform_and_group(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(tmp_path / "broker", sync_always=False))
        path = tmp_path / "t.yaml"
        ports = [unused_tcp_port_factory() for _ in range(3)]
        path.write_text(yaml.safe_dump(document(ports, broker.url), sort_keys=False))
        topology = load_topology(path)
        ensure_link_tokens(topology)
        nodes: dict[str, Node] = {}
        for config in topology.nodes:
            node = nodes[config.id] = tier_class(config.tier)(topology, config)
            stack.push_async_callback(node.stop)
            await node.start()
        edge = nodes["edge"]
        assert isinstance(edge, EdgeNode)
        await until(lambda: edge.status_fields()["collectors"][0]["state"] == "connected")
        now_ms = time.time_ns() // 10**6
        with Publisher(BrokerAddress.parse(broker.url)) as publisher:
            for number, heat in enumerate((20.0, 95.0, 96.0, 30.0)):
                row = {"ts": now_ms + number, "heat": heat}
                publisher.publish("plant/m1/t", json.dumps(row).encode())
            await asyncio.to_thread(publisher.drain)
        device = "root.plant.edge.m1.alarms.hot"
        expected = [(False, 30.0), (True, 95.0)]
        for node in nodes.values():
            await until(lambda node=node: alarms(node, device) == expected)  # type: ignore[misc]
        silent = "root.plant.edge.m1.alarms.gone"
        await until(lambda: any(raised for raised, _ in alarms(nodes["group"], silent)))
        where = ["-c", str(path), "--url", f"http://127.0.0.1:{ports[2]}", "--json"]
        listed: dict[str, Any] = {"rules": []}
        # A slow machine may have called it silent between two rows already.
        while not any(each["active"] for each in listed["rules"]):
            listed = await asyncio.to_thread(said, "list", *where, "--active")
        assert [(each["rule"], each["condition"], each["active"]) for each in listed["rules"]] == [
            ("hot", "heat above 90", 0), ("gone", "missing 1s", 1)
        ]  # fmt: skip
        tried = await asyncio.to_thread(said, "test", *where)
        changes = [(each["rule"], each["raised"], each["value"]) for each in tried["changes"]]
        assert changes == [("hot", True, 95.0), ("hot", False, 30.0), ("gone", True, 1.0)]
        await acknowledge_at_the_group(nodes, silent)


async def acknowledge_at_the_group(nodes: dict[str, Node], alarm: str) -> None:
    """The order goes down to the edge, its row comes back up."""
    where = f"http://127.0.0.1:{nodes['group'].port}/api/v1/alarms/{alarm}/ack"
    async with (
        aiohttp.ClientSession() as session,
        session.post(where, json={"comment": "line is down"}) as answer,
    ):
        assert answer.status == 202, await answer.text()
        told = await answer.json()
    assert (told["command"]["node"], told["alarm"]["state"]) == ("edge", "active_unacknowledged")

    def seen(node: Node) -> tuple[str, str]:
        entry, _, _ = node.alarms.find(alarm)
        return entry["state"], entry["comment"]

    for node in (nodes["edge"], nodes["group"]):
        await until(lambda node=node: seen(node) == ("active_acknowledged", "line is down"))  # type: ignore[misc]


def said(*words: str) -> dict[str, Any]:
    answer = CliRunner().invoke(cli.app, ["rule", *words])
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found
