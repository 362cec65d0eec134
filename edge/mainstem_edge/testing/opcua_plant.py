"""Two machines on a real server, and an edge that collects from them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncua import ua

from mainstem_edge.collectors.opcua import OpcuaCollector
from mainstem_edge.intake import Intake
from mainstem_edge.testing.opcua_server import OpcuaServer
from mainstem_engine.engine import Engine

WAIT_S = 15.0
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
"""Times in the tests are just before it: the clock of the edge is the real one."""


async def plant(server: OpcuaServer) -> None:
    """Line1 with M1 and M2, each with a motor below; text, booleans, an array, history."""
    line = await server.server.nodes.objects.add_object(ua.NodeId("Line1", 2), "2:Line1")
    for name in ("M1", "M2"):
        machine = await line.add_object(ua.NodeId(name, 2), f"2:{name}")
        motor = await machine.add_object(ua.NodeId(f"{name}.Motor", 2), "2:Motor")
        add = machine.add_variable
        nodes = [
            await add(ua.NodeId(f"{name}.T", 2), "2:Temperature", 20.0),
            await motor.add_variable(
                ua.NodeId(f"{name}.Speed", 2), "2:Speed", 100, ua.VariantType.Int32
            ),
            await add(ua.NodeId(f"{name}.State", 2), "2:State", "idle"),
            await add(ua.NodeId(f"{name}.Running", 2), "2:Running", False),
            await add(ua.NodeId(f"{name}.Other", 2), "2:Other", 1.0),
        ]
        for node in nodes[:2]:
            await node.set_writable()


@dataclass
class Edge:
    """A running intake. ``rows``: of a table, nulls left out."""

    intake: Intake
    engine: Engine

    @property
    def collector(self) -> OpcuaCollector:
        found = self.intake.collector
        assert isinstance(found, OpcuaCollector)
        return found

    @property
    def status(self) -> dict[str, Any]:
        return self.collector.status()

    def rows(self, table: str = "machine") -> list[dict[str, Any]]:
        found = self.engine.scan(table).read_all().to_pylist()
        return [{k: v for k, v in row.items() if v is not None} for row in found]


def until(condition: Callable[[], Any], what: Callable[[], Any] = lambda: "") -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
