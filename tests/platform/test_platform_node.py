"""The platform is registered and is a whole node."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import yaml

from mainstem_node.config import load_topology
from mainstem_node.node import tier_class
from mainstem_platform.node import PlatformNode


def test_the_platform_is_registered() -> None:
    assert tier_class("platform") is PlatformNode


async def test_it_starts_answers_and_stops(tmp_path: Path) -> None:
    path = tmp_path / "topology.yaml"
    document = {
        "templates": {"pump": {"measurements": {"flow": {"type": "DOUBLE"}}}},
        "nodes": [
            {"id": "plant", "tier": "platform", "listen": "127.0.0.1:0", "data_dir": "data",
             "auth": {"loopback": "open"}}
        ],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    topology = load_topology(path)
    async with AsyncExitStack() as stack:
        node = PlatformNode(topology, topology.nodes[0])
        stack.push_async_callback(node.stop)
        await node.start()
        assert node.port > 0
        assert node.engine.catalog.template("pump").name == "pump"
        before = node.clock_ns()
        assert node.frontier_ns() >= before
