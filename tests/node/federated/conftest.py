"""A group, two plants and three edges in one process. Raw rows stay at the edges: only rollups of a
minute go up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import yaml

from mainstem_engine.engine import Engine
from mainstem_engine.options import EngineOptions
from mainstem_engine.sql.running.executors import WorkerExecutor
from mainstem_node.auth import ensure_link_tokens
from mainstem_node.config import Topology, load_topology
from mainstem_node.node import Node
from mainstem_node.statements import Statements

DEADLINE_S = 60.0
EDGES = {"edge_a1": "plant_a", "edge_a2": "plant_a", "edge_b1": "plant_b"}
ROWS = 4000
STEP_MS = 1000


def document(ports: list[int], edge_export: list[dict[str, Any]]) -> dict[str, Any]:
    rolled = [{"template": "pump", "mode": "rollup", "every": "1m"}]
    nodes: list[dict[str, Any]] = [{"id": "group", "tier": "group"}]
    nodes += [
        {"id": plant, "tier": "platform", "parent": {"node": "group"}, "export": rolled}
        for plant in ("plant_a", "plant_b")
    ]
    for edge, plant in EDGES.items():
        nodes.append(
            {
                "id": edge,
                "tier": "edge",
                "parent": {"node": plant},
                "export": [*rolled, *edge_export],
                "paths": [f"root.{plant}.{edge}"],
                "rollups": [{"template": "pump", "every": "1m", "lateness": "1s"}],
            }
        )
    for node, port in zip(nodes, ports, strict=True):
        node |= {
            "listen": f"127.0.0.1:{port}",
            "data_dir": f"data/{node['id']}",
            "auth": {"loopback": "open"},
        }
    measurements = {
        "flow": {"type": "DOUBLE"},
        "count": {"type": "INT64"},
        "running": {"type": "BOOLEAN"},
        "note": {"type": "TEXT"},
    }
    return {"templates": {"pump": {"measurements": measurements}}, "nodes": nodes}


def columns_of(edge: str, rows: int = ROWS) -> dict[str, Any]:
    """One device's rows: values with gaps, infinities apart, and long mantissas."""
    rng = np.random.default_rng(list(EDGES).index(edge))
    flow = rng.normal(10.0, 3.0, rows)
    return {
        "flow": flow,
        "count": rng.integers(-(2**40), 2**40, rows),
        "running": rng.random(rows) < 0.5,
        "note": np.array([f"{edge} {n % 7}" for n in range(rows)], object),
    }


class Fleet:
    """The nodes, the same rows in one engine, and ways to ask both."""

    def __init__(self, nodes: dict[str, Node], central: Engine, start_ms: int) -> None:
        self.nodes = nodes
        self.central = central
        self.start_ms = start_ms

    async def ask(self, sql: str, node: str = "group", **more: Any) -> dict[str, Any]:
        body = {"sql": sql, "on_incomplete": "fetch", **more}
        url = f"http://127.0.0.1:{self.nodes[node].port}/api/v1/sql"
        async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.status == more.get("status", 200), found
            return found

    def truth(self, sql: str) -> list[list[Any]]:
        return self.central.sql(sql).rows()

    def travelled(self) -> int:
        """Bytes of answers that came to the group since its start."""
        return self.nodes["group"].federation.down.questions.wire_bytes

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - six nodes; there is no one event
                await asyncio.sleep(0.05)
        assert condition(), what

    def write(self) -> None:
        times = self.start_ms + np.arange(ROWS) * STEP_MS
        for edge, plant in EDGES.items():
            path = f"root.{plant}.{edge}.p1"
            for engine in (self.nodes[edge].engine, self.central):
                ids = engine.device_ids("pump", [path], create=True)
                engine.write("pump", np.repeat(ids, ROWS), times, columns_of(edge)).wait()
            self.nodes[edge].engine.flush()

    async def settle(self) -> None:
        """Until the group knows every device, and what the edges hold."""
        group = self.nodes["group"]

        def known() -> bool:
            items = group.federation.completeness(["pump"])
            through = {item["node"] for item in items if item["complete_through"]}
            takers = [self.nodes[plant].federation.down.questions for plant in EDGES.values()]
            ready = group.federation.down.questions.takers() == {"plant_a", "plant_b"}
            below = set().union(*(questions.takers() for questions in takers))
            return through == set(EDGES) and ready and below == set(EDGES)

        await self.until(known, "known")


@pytest.fixture
def edge_export() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def topology(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int], edge_export: list[dict[str, Any]]
) -> Topology:
    ports = [unused_tcp_port_factory() for _ in range(6)]
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(document(ports, edge_export), sort_keys=False))
    return load_topology(path)


@pytest.fixture
async def fleet(
    topology: Topology,
    tmp_path: Path,
    sql_processes: WorkerExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Fleet]:
    """Rows are written, and the group knows where they are."""
    monkeypatch.setattr(Statements, "_worker", lambda self: sql_processes)
    ensure_link_tokens(topology)
    async with AsyncExitStack() as stack:
        central = stack.enter_context(Engine.open(tmp_path / "central", EngineOptions()))
        nodes: dict[str, Node] = {}
        for config in topology.nodes:
            node = nodes[config.id] = Node(topology, config)
            stack.push_async_callback(node.stop)
            await node.start()
        central.create_template(nodes["edge_a1"].engine.catalog.table("pump").template)
        fleet = Fleet(nodes, central, (int(time.time()) // 3600 - 2) * 3_600_000)
        await asyncio.to_thread(fleet.write)
        await fleet.settle()
        yield fleet
