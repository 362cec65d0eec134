"""Three tiers in one process: what an edge takes is complete at the group, with every sum."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from mainstem_engine.sql.result import Result
from mainstem_node.auth import ensure_link_tokens
from mainstem_node.config import Topology, load_topology
from mainstem_node.credentials import new_token, write_token
from mainstem_node.node import Node
from mainstem_node.statements import IncompleteError
from mainstem_sync.receiving.quarantine import QuarantineItem
from mainstem_sync.state import accounting

DEADLINE_S = 60.0


def document(ports: list[int]) -> dict[str, Any]:
    exports = [
        {"template": "pump", "mode": "raw"}, {"template": "pump", "mode": "rollup", "every": "1m"},
    ]  # fmt: skip
    nodes: list[dict[str, Any]] = [
        {"id": "group", "tier": "group"},
        {"id": "plant", "tier": "platform", "parent": {"node": "group"}, "export": exports},
        {"id": "edge", "tier": "edge", "parent": {"node": "plant"}, "export": exports,
         "paths": ["root.plant.edge"],
         "rollups": [{"template": "pump", "every": "1m", "lateness": "1s"}]},
    ]  # fmt: skip
    for node, port in zip(nodes, ports, strict=True):
        node |= {
            "listen": f"127.0.0.1:{port}",
            "data_dir": f"data/{node['id']}",
            "auth": {"loopback": "open"},
        }
    measurements = {"flow": {"type": "DOUBLE"}, "count": {"type": "INT64"}}
    return {"templates": {"pump": {"measurements": measurements}}, "nodes": nodes}


@pytest.fixture
def topology(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> Topology:
    ports = [unused_tcp_port_factory() for _ in range(3)]
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(document(ports), sort_keys=False))
    return load_topology(path)


@pytest.fixture
async def tiers(topology: Topology) -> AsyncIterator[dict[str, Node]]:
    ensure_link_tokens(topology)
    async with AsyncExitStack() as stack:
        nodes = {}
        for config in topology.nodes:
            node = nodes[config.id] = Node(topology, config)
            stack.push_async_callback(node.stop)
            await node.start()
        yield nodes


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - three nodes; there is no one event
            await asyncio.sleep(0.05)
    assert condition(), what


async def write(node: Node, first: int, count: int) -> None:
    rows = [{"time": first + 1000 * n, "flow": n / 3, "count": n} for n in range(count)]
    group = {"template": "pump", "device": "root.plant.edge.p1", "rows": rows}
    url = f"http://127.0.0.1:{node.port}/api/v1/write"
    async with aiohttp.ClientSession() as http, http.post(url, json=group) as answer:
        assert answer.status == 200, await answer.text()


def complete(node: Node, tables: set[str]) -> bool:
    found = {c["table"]: c["state"] for c in node.federation.completeness()}
    return {name for name, state in found.items() if state == "complete"} >= tables


async def test_what_the_edge_takes_is_complete_at_the_group(tiers: dict[str, Node]) -> None:
    first = (int(time.time()) // 60 - 20) * 60_000
    await write(tiers["edge"], first, 600)
    for name in ("edge", "plant", "group"):
        node = tiers[name]
        await until(lambda node=node: complete(node, {"pump", "pump_1m"}), name)  # type: ignore[misc]
    group = tiers["group"]
    body = {"sql": "SELECT count(*), sum(count) FROM pump", "on_incomplete": "fail"}
    url = f"http://127.0.0.1:{group.port}/api/v1/sql"
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        found = await answer.json()
        assert answer.status == 200, found
    assert found["rows"] == [[600, 600 * 599 // 2]]
    assert {c["node"] for c in found["completeness"]} == {"edge"}
    await until(lambda: tiers["edge"].runtime.status()["delivery"]["pending_rows"] == 0, "drained")
    for node in tiers.values():
        assert accounting.check(node.runtime.status()["accounting"]) == []

    def tree() -> list[dict[str, Any]]:
        children: list[dict[str, Any]] = group.runtime.status()["children"]
        return children

    assert [child["node"] for child in tree()] == ["plant"]
    await until(lambda: [c["node"] for c in tree()[0]["children"]] == ["edge"], "the tree")
    await until(lambda: tree()[0]["state"] == "live", "a live child")
    assert group.federation.verify()["slices"] == []


@pytest.mark.slow
async def test_pages_of_the_quarantines_below_come_up(tiers: dict[str, Node]) -> None:
    group = tiers["group"]
    await until(lambda: [c["node"] for c in group.federation.children()] == ["plant"], "known")
    await until(
        lambda: [c["node"] for c in group.federation.children()[0]["children"]] == ["edge"], "tree"
    )
    for name, count in (("edge", 60), ("plant", 7), ("group", 3)):
        tiers[name].federation.quarantine.add(
            QuarantineItem(name, "pump", "root.plant.edge.q", n, "flow", "range", n, 5)
            for n in range(count)
        )
    url = f"http://127.0.0.1:{group.port}/api/v1/quarantine?below=1&limit=25"
    seen: list[str] = []
    pages = 0
    async with aiohttp.ClientSession() as http:
        query: dict[str, str] = {}
        while True:
            async with http.get(url, params=query) as answer:
                page = await answer.json()
            assert page["unheard"] == []
            assert len(page["items"]) <= 25
            seen += [item["id"] for item in page["items"]]
            pages += 1
            if page["next"] is None:
                break
            query = {"after": page["next"]}
        async with http.get(url, params={"node": "plant"}) as answer:
            assert len((await answer.json())["items"]) == 7
        async with http.get(url, params={"after": "x"}) as answer:
            assert answer.status == 400
    assert (len(seen), len(set(seen)), pages) == (70, 70, 3)


async def test_a_revoked_child_is_refused_at_its_next_request(tiers: dict[str, Node]) -> None:
    edge, plant = tiers["edge"], tiers["plant"]
    await until(lambda: edge.runtime.status()["link"]["state"] == "connected", "connected")
    plant.registry.revoke("edge")
    await until(lambda: edge.runtime.status()["state"] == "offline", "refused")
    await write(edge, 1_700_000_040_000, 5)
    assert edge.runtime.status()["delivery"]["pending_rows"] == 5
    assert len(plant.engine.scan_rows("pump")) == 0


async def test_another_data_directory_under_the_same_name_is_refused(
    topology: Topology, tiers: dict[str, Node], tmp_path: Path
) -> None:
    edge = tiers["edge"]
    await until(lambda: edge.runtime.status()["link"]["state"] == "connected", "connected")
    await edge.stop()
    path = tmp_path / "other.yaml"
    changed = yaml.safe_load((tmp_path / "t.yaml").read_text())
    changed["nodes"][2]["data_dir"] = "data/another"
    path.write_text(yaml.safe_dump(changed))
    other_topology = load_topology(path)
    other = Node(other_topology, other_topology.node("edge"))
    await other.start()
    try:
        await until(lambda: "another data directory" in str(other.federation.link()), "refused")
        # Until somebody says that it takes the place of the old one.
        tiers["plant"].registry.replace("edge")
        await until(lambda: other.runtime.status()["link"]["state"] == "connected", "let in")
    finally:
        await other.stop()


async def test_a_wrong_token_never_connects(topology: Topology, tmp_path: Path) -> None:
    ensure_link_tokens(topology)
    write_token(tmp_path / "secrets/plant", new_token("msl"))
    group = Node(topology, topology.node("group"))
    plant = Node(topology, topology.node("plant"))
    await group.start()
    await plant.start()
    try:
        await until(lambda: bool((plant.federation.link() or {})["error"]), "an error")
        assert plant.runtime.status()["state"] == "offline"
        assert group.federation.children() == []
    finally:
        await plant.stop()
        await group.stop()


async def test_case_20_of_a_child_that_was_never_heard_rows_are_unknown_and_not_none(
    topology: Topology,
) -> None:
    """Case 20 of what the protocol must survive, as a query sees it: the relay never came."""
    ensure_link_tokens(topology)
    async with AsyncExitStack() as stack:
        nodes = [Node(topology, config) for config in topology.nodes]

        async def start(node: Node) -> None:
            stack.push_async_callback(node.stop)
            await node.start()

        async def ask(**options: Any) -> Result:
            execute = nodes[0].runtime.statements.execute
            return await asyncio.to_thread(execute, "SELECT count(*) FROM pump", **options)

        await start(nodes[0])
        found = await ask()
        assert [(c["node"], c["table"], c["state"]) for c in found.completeness] == [
            ("plant", "pump", "unknown")
        ]
        with pytest.raises(IncompleteError, match="plant: pump is unknown"):
            await ask(must_be_complete=True)
        for node in nodes[1:]:
            await start(node)
        await write(nodes[2], time.time_ns() // 10**6 - 600_000, 5)
        await until(
            lambda: nodes[0].federation.completeness(["pump"]) != [], "the group hears of the rows"
        )
        assert {c["node"] for c in (await ask()).completeness} == {"edge"}
