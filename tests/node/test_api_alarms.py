"""Alarms over HTTP, and how many there are in the status."""

from __future__ import annotations

import aiohttp

from mainstem_engine.log.records import RecordKind
from mainstem_node.node import Node
from mainstem_node.overview import flatten


async def test_alarms_are_listed_and_counted(node: Node, http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/alarms") as answer:
        assert (answer.status, await answer.json()) == (200, [])
    told = {"code": "FENCED", "node": "press", "text": "two processes of press", "at": 5}
    node.engine.append(RecordKind.EVT, {"op": "alarm", **told}).wait()
    async with http.get("/api/v1/alarms") as answer:
        assert await answer.json() == [told]
    async with http.get("/api/v1/status") as answer:
        status = await answer.json()
    assert status["alarms"] == 1
    assert [line.alarms for line in flatten(status)] == [1]
