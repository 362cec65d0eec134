"""What a node without a host answers about configurations, and what it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from mainstem_node.node import Node

URL = "/api/v1/config"


async def test_nothing_is_known_before_anybody_said_a_word(
    node: Node, http: aiohttp.ClientSession
) -> None:
    async with http.get(URL, params={"documents": "1"}) as answer:
        assert answer.status == 200
        assert await answer.json() == {"nodes": []}
    async with http.get(f"{URL}/orders/unknown") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        (URL, {}, 400, "documents"),
        (URL, {"documents": {"edge": 3}}, 400, "documents"),
        (URL, {"documents": {"edge": {}}, "base": {"edge": -1}}, 400, "base"),
        (URL, {"documents": {"nobody": {}}}, 404, "nodes"),
        (f"{URL}/rollback", {"nodes": []}, 400, "nodes"),
        (f"{URL}/rollback", {"nodes": ["edge"], "to": "x"}, 400, "base"),
        (f"{URL}/rollback", {"nodes": ["nobody"]}, 404, "nodes"),
    ],
)
async def test_bad_requests_are_refused_and_order_nothing(
    node: Node,
    http: aiohttp.ClientSession,
    path: str,
    body: dict[str, Any],
    status: int,
    field: str,
) -> None:
    async with http.post(path, json=body) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["field"] == field
    assert node.federation.down.orders.all() == []


async def _ended(http: aiohttp.ClientSession, order: str) -> dict[str, Any]:
    """The order once it has ended: the node takes it up after the request was answered."""
    async with asyncio.timeout(30):
        while True:
            async with http.get(f"{URL}/orders/{order}") as answer:
                found: dict[str, Any] = await answer.json()
            if found["state"] in {"DONE", "FAILED", "EXPIRED", "UNKNOWN"}:
                return found
            await asyncio.sleep(0.01)


async def test_a_node_that_nobody_can_start_anew_says_so(
    node: Node, http: aiohttp.ClientSession
) -> None:
    async with http.post(URL, json={"documents": {"edge": {"nodes": []}}}) as answer:
        assert answer.status == 202
        (order,) = (await answer.json())["orders"]
    found = await _ended(http, order["id"])
    assert found["state"] == "FAILED"
