"""A platform and an edge below it in one process, each with its host: configurations go down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mainstem_node.auth import ensure_link_tokens
from mainstem_node.config import load_topology
from mainstem_node.desired.agent import KIND, SLOT
from mainstem_node.desired.documents import documents_of, packed
from mainstem_node.host import MakeNode, NodeHost
from mainstem_node.node import Node
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import Order

DEADLINE_S = 60.0
PUMP: dict[str, Any] = {"tags": {"line": "TEXT"}, "measurements": {"flow": {"type": "DOUBLE"}}}


class Pair:
    """A platform and an edge below it, each with its host."""

    def __init__(self, place: Path, ports: tuple[int, int]) -> None:
        self.place = place
        self.make: MakeNode = lambda topology, config, host: Node(topology, config, host=host)
        self.ports = ports
        self.hosts: dict[str, NodeHost] = {}
        self.document: dict[str, Any] = {
            "templates": {"pump": PUMP},
            "nodes": [
                {"id": "plant", "tier": "platform", "listen": f"127.0.0.1:{ports[0]}",
                 "data_dir": "data/plant", "auth": {"loopback": "open"}},
                {"id": "edge", "tier": "edge", "listen": f"127.0.0.1:{ports[1]}",
                 "data_dir": "data/edge", "auth": {"loopback": "open"}, "paths": ["root.p.e"],
                 "parent": {"node": "plant"}, "export": [{"template": "pump", "mode": "raw"}],
                 "link": {"reach_within": "1500ms"}},
            ],
        }  # fmt: skip
        self.number = 0

    def topology(self) -> Any:
        path = self.place / "topology.yaml"
        path.write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")
        return load_topology(path)

    async def start(self, name: str) -> NodeHost:
        topology = self.topology()
        ensure_link_tokens(topology)
        host = NodeHost(topology, name, self.make, clock_ns=time.time_ns, ready_s=20.0)
        self.hosts[name] = host
        await host.start()
        return host

    async def give(self, change: Callable[[dict[str, Any]], None], base: object = None) -> str:
        """An order with a changed document for the edge; returns its id."""
        document = documents_of(self.topology())["edge"]
        change(document)
        return await self.order({"document": packed(document), "base": base})

    async def order(self, body: dict[str, Any]) -> str:
        self.number += 1
        order = Order(f"o{self.number}", KIND, "edge", body, 1, "plant", "ann", slot=SLOT)
        await asyncio.to_thread(self.plant().federation.down.give, order)
        return order.id

    async def end_of(self, ident: str) -> Standing:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            found = self.plant().federation.down.orders.find(ident)
            if found is not None and found.state.is_final:
                return found
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)

    def edge(self) -> Node:
        return self.node("edge")

    def plant(self) -> Node:
        return self.node("plant")

    def node(self, name: str) -> Node:
        node = self.hosts[name].node
        assert node is not None
        return node

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, what
            await asyncio.sleep(0.05)
