"""Nodes for tests: the real engine and federation in a temporary directory, on a free port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from mainstem_engine.sql.running.executors import WorkerExecutor
from mainstem_engine.sql.running.sandbox import SqlLimits
from mainstem_node.config import load_topology
from mainstem_node.node import Node
from mainstem_node.statements import Statements

TEMPLATES: dict[str, Any] = {
    "pump": {
        "tags": {"line": "TEXT"},
        "measurements": {
            "flow": {"type": "DOUBLE", "unit": "l/min"},
            "count": {"type": "INT64"},
            "running": {"type": "BOOLEAN"},
            "note": {"type": "TEXT"},
        },
    }
}
T0 = 1_700_000_040_000
"""A whole minute, in ms."""

StartNode = Callable[..., Awaitable[Node]]


@pytest.fixture(scope="session")
def sql_processes() -> Iterator[WorkerExecutor]:
    """The child processes that run queries, started once: each costs half a second."""
    executor = WorkerExecutor(SqlLimits(timeout_s=600.0), pool_size=3)
    yield executor
    executor.close()


@pytest.fixture
async def start_node(
    tmp_path: Path, sql_processes: WorkerExecutor, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartNode]:
    """Starts a node; options are keys of it. All are stopped at the end."""
    monkeypatch.setattr(Statements, "_worker", lambda self: sql_processes)
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Node:
            node = {
                "id": "edge",
                "tier": "edge",
                "listen": "127.0.0.1:0",
                "data_dir": "data",
                "paths": ["root.plant.edge"],
                "auth": {"loopback": "open"},
                **options,
            }
            others = node.pop("others", [])
            path = tmp_path / "topology.yaml"
            document = {"templates": TEMPLATES, "nodes": [node, *others]}
            path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
            topology = load_topology(path)
            made = Node(topology, topology.nodes[0])
            stack.push_async_callback(made.stop)
            await made.start()
            return made

        yield start


@pytest.fixture
async def node(start_node: StartNode) -> Node:
    """A running node that takes requests of this machine without a credential."""
    return await start_node()


@pytest.fixture
async def http(node: Node) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose addresses start at the node."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as session:
        yield session


@pytest.fixture
async def filled(http: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """The session of a node with 300 rows of two devices, one a second."""
    groups = [
        {
            "template": "pump",
            "device": f"root.plant.edge.{name}",
            "tags": {"line": name},
            "rows": [
                {"time": T0 + 1000 * n, "flow": n / 2, "count": n, "running": n % 2 == 0}
                for n in range(150)
            ],
        }
        for name in ("p1", "p2")
    ]
    async with http.post("/api/v1/write", json=groups) as answer:
        assert answer.status == 200, await answer.text()
    return http
