"""An edge that is killed again and again tells a receiver that fails at random of every alarm.

1. A value goes up and down; each change is durable when the post is answered.
2. The receiver refuses connections at first, then answers 503 or hangs up as dice fall.
3. The edge is killed with -9 between posts, and while it tells.

In the end the receiver has each change at least once, for the first time in the order in which they
happened, and a change that came twice is the same to the last byte.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from processes import Processes, section

pytestmark = [pytest.mark.crash, pytest.mark.slow]

CHANGES = 24
KILL_EVERY = 6
DEADLINE_S = 120.0
SEED = 8


class FlakyHook:
    """Fails at one in five notices. ``got``: also those whose answer was lost, as bodies."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.got: list[bytes] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        fate = self._rng.random()
        if fate < 0.1:
            return web.Response(status=503)
        self.got.append(body)
        if fate < 0.2:  # taken, and the answer is lost
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=204)

    async def start(self, stack: AsyncExitStack, port: int) -> None:
        application = web.Application()
        application.router.add_post("/", self.handle)
        runner = web.AppRunner(application, access_log=None)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    @property
    def ids(self) -> list[str]:
        """Each once, as they came first."""
        return list(dict.fromkeys(json.loads(body)["id"] for body in self.got))


def edge(hook_port: int) -> dict[str, Any]:
    push = {"type": "http_push", "name": "m1", "template": "pump", "device": "root.plant.m1",
            "codec": "json"}  # fmt: skip
    rule = {"name": "hot", "template": "pump", "measurement": "heat", "above": 90}
    hook = {"type": "webhook", "url": f"http://127.0.0.1:{hook_port}", "per_minute": 6000}
    return {"collectors": [push], "rules": [rule | {"actions": ["webhook"]}], "notify": [hook],
            "paths": ["root.plant"]}  # fmt: skip


async def test_no_change_is_lost_and_none_overtakes_another(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    hook = FlakyHook(rng)
    templates = {"pump": {"heat": "DOUBLE"}}
    async with AsyncExitStack() as stack:
        nodes = Processes(
            tmp_path, "river", templates, [section("edge", "edge")], extra_ports=["hook"]
        )
        nodes.rewrite(lambda node: node.update(edge(nodes.ports["hook"])), "edge")
        stack.callback(nodes.stop)
        await asyncio.to_thread(nodes.start)
        began_ms = time.time_ns() // 10**6
        for number in range(CHANGES):
            if number == KILL_EVERY:
                await hook.start(stack, nodes.ports["hook"])
            row = {"heat": 10.0 if number % 2 else 95.0, "ts": began_ms + number}
            await asyncio.to_thread(nodes["edge"].request, "/collect/v1/m1", row)
            if number % KILL_EVERY == KILL_EVERY - 1:
                await asyncio.to_thread(nodes.restart, "edge")
        async with asyncio.timeout(DEADLINE_S):
            while len(hook.ids) < CHANGES:  # noqa: ASYNC110 - another process tells
                await asyncio.sleep(0.05)
            await asyncio.to_thread(nodes.restart, "edge")
            while await asyncio.to_thread(pending, nodes):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
    told = [json.loads(body) for body in dict.fromkeys(hook.got)]
    assert len(told) == len(hook.ids) == CHANGES
    assert [each["time"] - began_ms for each in told] == list(range(CHANGES))
    assert [each["change"] for each in told] == ["raised", "cleared"] * (CHANGES // 2)


def pending(nodes: Processes) -> int:
    """Of the node as it is now; one that is not up yet owes something."""
    status = nodes["edge"].status()
    return 1 if status is None else int(status["notify"][0]["pending"])
