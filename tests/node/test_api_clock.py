"""The clock of retention over HTTP."""

from __future__ import annotations

import aiohttp
import pytest

from mainstem_engine.retention_clock import RetentionClock
from mainstem_engine.testing.clock import FakeClock
from mainstem_node.node import Node

YEAR_NS = 365 * 86_400 * 10**9


async def test_a_jump_is_shown_and_may_be_confirmed(
    node: Node, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, monotonic = FakeClock(), FakeClock(0)
    monkeypatch.setattr(node.engine._store.retention, "clock", RetentionClock(wall, monotonic))
    wall.advance(YEAR_NS)
    async with http.get("/api/v1/clock") as answer:
        shown = await answer.json()
    assert (shown["paused"], shown["ahead_ms"]) == (True, YEAR_NS // 10**6)
    async with http.post("/api/v1/clock/confirm") as answer:
        assert answer.status == 200
        assert await answer.json() == {
            "now": wall() // 10**6,
            "paused": False,
            "ahead_ms": 0,
        }
