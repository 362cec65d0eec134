"""A point is traced over HTTP; looking again at stored rows is asked for."""

from __future__ import annotations

from typing import Any

import aiohttp

from mainstem_node.node import Node

T0 = 1_700_000_040_000


async def get(http: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with http.get(f"/api/v1/{path}") as answer:
        return answer.status, await answer.json()


async def test_a_point_is_traced(node: Node, http: aiohttp.ClientSession) -> None:
    row = {"template": "pump", "device": "root.plant.edge.p1", "rows": [{"time": T0, "flow": 1.5}]}
    async with http.post("/api/v1/write", json=row) as answer:
        lsn = (await answer.json())["lsn"]
    place = "trace?device=root.plant.edge.p1&measurement=flow"
    status, found = await get(http, f"{place}&at={T0}")
    assert status == 200
    name = node.config.id
    assert found["versions"] == [{"node": name, "epoch": 0, "lsn": lsn, "value": 1.5}]
    assert [hop["node"] for hop in found["hops"]] == [name]
    status, empty = await get(http, f"{place}&at={T0 + 1}")
    assert (status, empty["versions"], empty["hops"]) == (200, [], [])
    for missing in ("trace", "trace?device=a&measurement=b", "trace?device=a&at=1"):
        assert (await get(http, missing))[0] == 400
    assert (await get(http, f"trace?device=root.plant.none&measurement=flow&at={T0}"))[0] == 404


async def test_verify_says_whether_it_looked_again(http: aiohttp.ClientSession) -> None:
    status, found = await get(http, "verify?rescan=1")
    assert (status, found["rescanned"]) == (200, True)
    assert "rescanned" not in (await get(http, "verify"))[1]
