"""Case 17: half-open connections. Both sides notice within half a minute, and the child tries again
for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp
import pytest

from mainstem_sync.http import client as http_client
from mainstem_sync.http.client import HELLO_TIMEOUT_S, REQUEST_TIMEOUT_S, Uplink
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.messages import OFFLINE_AFTER_S


def test_case_17_within_half_a_minute() -> None:
    assert HELLO_TIMEOUT_S < REQUEST_TIMEOUT_S <= 30
    assert OFFLINE_AFTER_S <= 30


async def test_case_17_a_server_that_never_answers_is_asked_again_and_again(
    make_tiers: Callable[..., Tiers], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from mainstem_sync.testing.nodes import ManualClock

    monkeypatch.setattr(ManualClock, "monotonic", lambda _: time.monotonic())
    soon = aiohttp.ClientTimeout(total=0.05)
    monkeypatch.setattr(http_client, "HELLO_TIMEOUT", soon)
    tiers = make_tiers()
    asked = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sender = tiers.edge.sender()
    assert sender is not None
    task = asyncio.create_task(Uplink(sender, [f"http://127.0.0.1:{port}"], "token").run())
    try:
        deadline = asyncio.get_running_loop().time() + 30
        while asked < 4:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        assert "Timeout" in (sender.error or "")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        server.close()
        await server.wait_closed()


def test_case_17_the_parent_sees_a_silent_child(tiers: Tiers) -> None:
    tiers.write()
    tiers.run(5)
    assert tiers.plant.federation.children()[0]["state"] == "live"
    tiers.clock.advance(OFFLINE_AFTER_S + 1)
    assert tiers.plant.federation.children()[0]["state"] == "offline"
    tiers.run(5)
    assert tiers.plant.federation.children()[0]["state"] == "live"
