"""DELETE at a platform of rows that an edge owns, with real nodes and sockets.

Case 28 of what the protocol must survive is here: a delete by value during an outage.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_engine.sql.result import Result
from mainstem_node.auth import READ, ensure_link_tokens
from mainstem_node.config import load_topology
from mainstem_node.errors import ForbiddenError
from mainstem_node.node import Node
from mainstem_sync.wire.order import State

DEADLINE_S = 60.0
T0 = 1_700_000_040_000
PUMP: dict[str, Any] = {"measurements": {"n": {"type": "INT64"}, "label": {"type": "TEXT"}}}


class Factory:
    """A platform, and an edge that can be away. ``raw``: what the platform receives."""

    def __init__(self, place: Path, ports: tuple[int, int], mode: str) -> None:
        export = {"template": "pump", "mode": "raw"}
        if mode == "rollup":
            export |= {"mode": "rollup", "every": "1m"}
        edge = {
            "id": "edge", "tier": "edge", "listen": f"127.0.0.1:{ports[1]}",
            "data_dir": "data/edge", "auth": {"loopback": "open"}, "paths": ["root.p.e"],
            "parent": {"node": "plant"}, "export": [export],
            "rollups": [{"template": "pump", "every": ["1m"]}],
        }  # fmt: skip
        plant = {
            "id": "plant", "tier": "platform", "listen": f"127.0.0.1:{ports[0]}",
            "data_dir": "data/plant", "auth": {"loopback": "open"},
        }  # fmt: skip
        path = place / "topology.yaml"
        document = {"templates": {"pump": PUMP}, "nodes": [plant, edge]}
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        self.topology = load_topology(path)
        ensure_link_tokens(self.topology)
        self.nodes: dict[str, Node] = {}

    async def start(self, name: str) -> Node:
        node = self.nodes[name] = Node(self.topology, self.topology.node(name))
        await node.start()
        return node

    async def stop(self) -> None:
        for node in reversed(self.nodes.values()):
            await node.stop()

    async def sql(self, name: str, statement: str, *params: Any, **more: Any) -> Result:
        return await asyncio.to_thread(
            self.nodes[name].runtime.statements.execute, statement, params, **more
        )

    async def numbers(self, name: str, table: str = "pump") -> list[int]:
        found = await self.sql(name, f"SELECT n FROM {table} ORDER BY n")
        return [row[0] for row in found.rows()]

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not await condition():
            assert time.monotonic() < deadline, what
            await asyncio.sleep(0.05)

    async def has(self, name: str, numbers: list[int]) -> None:
        async def same() -> bool:
            return name in self.nodes and await self.numbers(name) == numbers

        await self.until(same, f"{name} has {numbers}")

    async def fill(self, count: int = 10) -> None:
        values = ", ".join(f"({T0 + n * 1000}, {n}, 'x{n % 3}')" for n in range(count))
        await self.sql("edge", f"INSERT INTO root.p.e.d1 USING pump TAGS () VALUES {values}")


@pytest.fixture
async def make_factory(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def make(mode: str = "raw") -> Factory:
            ports = (unused_tcp_port_factory(), unused_tcp_port_factory())
            factory = Factory(tmp_path, ports, mode)
            stack.push_async_callback(factory.stop)
            for name in ("plant", "edge"):
                await factory.start(name)
            await factory.fill()
            return factory

        yield make


async def test_a_delete_goes_to_the_owner_and_its_rows_go_everywhere(
    make_factory: Callable[..., Any],
) -> None:
    factory: Factory = await make_factory()
    await factory.has("plant", list(range(10)))
    result = await factory.sql("plant", "DELETE FROM pump WHERE n >= ? AND label <> ?", 4, "x1")
    assert result.rows_affected == 4
    assert result.warnings == []
    await factory.has("edge", [0, 1, 2, 3, 4, 7])
    await factory.has("plant", [0, 1, 2, 3, 4, 7])
    named = await factory.sql("plant", "DELETE FROM root.p.e.d1 WHERE n = 7")
    assert named.rows_affected == 1
    await factory.has("plant", [0, 1, 2, 3, 4])


async def test_case_28_a_delete_by_value_during_an_outage(
    make_factory: Callable[..., Any],
) -> None:
    factory: Factory = await make_factory()
    await factory.has("plant", list(range(10)))
    await factory.nodes.pop("edge").stop()
    result = await factory.sql("plant", "DELETE FROM pump WHERE n % 2 = 1", timeout_s=0.5)
    assert result.rows_affected == 0
    assert "edge has not deleted yet" in result.warnings[0]
    assert await factory.numbers("plant") == list(range(10))
    await factory.start("edge")
    await factory.has("edge", [0, 2, 4, 6, 8])
    await factory.has("plant", [0, 2, 4, 6, 8])
    orders = factory.nodes["plant"].federation.down.orders

    async def done() -> bool:
        return all(each.state is State.DONE for each in orders.all())

    await factory.until(done, "the owner has said how many rows went")
    assert [each.word.result["rows"] for each in orders.all() if each.word] == [5]


async def test_rows_that_are_held_below_only_are_deleted_too(
    make_factory: Callable[..., Any],
) -> None:
    factory: Factory = await make_factory("rollup")

    async def known() -> bool:
        return "edge" in factory.nodes["plant"].federation.nodes_below()

    await factory.until(known, "the plant knows the edge")
    assert await factory.numbers("plant") == []
    result = await factory.sql("plant", "DELETE FROM pump WHERE n < 5")
    assert result.rows_affected == 5
    assert await factory.numbers("edge") == [5, 6, 7, 8, 9]


async def test_now_is_that_of_whoever_asked(make_factory: Callable[..., Any]) -> None:
    factory: Factory = await make_factory()
    await factory.has("plant", list(range(10)))
    await factory.nodes.pop("edge").stop()
    await factory.sql("plant", "DELETE FROM pump WHERE time < now() - 1h", timeout_s=0.2)
    (standing,) = factory.nodes["plant"].federation.down.orders.all()
    assert standing.order.body["now_ns"] <= time.time_ns()
    await factory.start("edge")
    await factory.has("edge", [])


async def test_whoever_only_reads_deletes_nothing(make_factory: Callable[..., Any]) -> None:
    factory: Factory = await make_factory()
    with pytest.raises(ForbiddenError):
        await factory.sql("plant", "DELETE FROM pump", role=READ)
    assert factory.nodes["plant"].federation.down.orders.all() == []
    assert await factory.numbers("edge") == list(range(10))
