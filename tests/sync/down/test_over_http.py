"""The way down over real sockets: a waiting question is answered when there is an order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from mainstem_sync import Child
from mainstem_sync.http.client import Uplink
from mainstem_sync.http.down_client import Downlink
from mainstem_sync.http.down_server import down_routes
from mainstem_sync.http.server import sync_routes
from mainstem_sync.testing.nodes import ManualClock, TestNode
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.messages import DOWN_PATH, LEASE_HEADER, LINE_HEADER
from mainstem_sync.wire.order import Order, State

TOKEN = "edge-token"
DEADLINE_S = 20.0


async def authenticate(request: web.Request) -> Child:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized
    return Child("edge", ["root.p.e"])


@contextlib.asynccontextmanager
async def serving(node: TestNode, asked: list[str]) -> AsyncIterator[BaseTestServer]:
    @web.middleware
    async def count(request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        asked.append(request.path)
        return await handler(request)  # type: ignore[no-any-return, misc]

    application = web.Application(middlewares=[count])
    federation = node.federation
    application.add_routes(sync_routes(federation.receiver, authenticate))
    application.add_routes(down_routes(federation.down.giver, authenticate))
    async with TestServer(application) as server:
        yield server


@contextlib.asynccontextmanager
async def linked(node: TestNode, url: str) -> AsyncIterator[None]:
    sender, taker = node.federation.sender, node.federation.down.taker
    assert sender is not None
    assert taker is not None
    up = Uplink(sender, [url], TOKEN)
    down = Downlink(taker, lambda: up.address)
    tasks = [asyncio.create_task(up.run()), asyncio.create_task(down.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
def tiers(monkeypatch: pytest.MonkeyPatch, make_tiers: Callable[..., Tiers]) -> Tiers:
    """Tiers on the real monotonic clock: sockets do not wait for a hand."""
    monkeypatch.setattr(ManualClock, "monotonic", lambda _: time.monotonic())
    return make_tiers()


async def give(tiers: Tiers, ident: str) -> None:
    order = Order(ident, "command", "edge", {}, 1, "plant")
    await asyncio.to_thread(tiers.plant.federation.down.give, order)


async def test_a_waiting_question_is_answered_when_there_is_an_order(tiers: Tiers) -> None:
    told: list[str] = []
    tiers.edge.federation.down.on_order = lambda order: told.append(order.id)
    asked: list[str] = []
    async with (
        serving(tiers.plant, asked) as server,
        linked(tiers.edge, str(server.make_url("")).rstrip("/")),
    ):
        # The first question tells the line of the log, the second one waits.
        await until(lambda: asked.count(DOWN_PATH) == 2)
        for number in range(3):
            await give(tiers, f"o{number}")
            await until(lambda wanted=number + 1: len(told) == wanted)  # type: ignore[misc]
        assert told == ["o0", "o1", "o2"]
        assert asked.count(DOWN_PATH) <= 6
        found = tiers.plant.federation.down.orders
        await until(lambda: all(s.state is State.DELIVERED for s in found.all()))


async def test_a_newer_question_of_a_child_ends_the_older_one(tiers: Tiers) -> None:
    asked: list[str] = []
    async with serving(tiers.plant, asked) as server:
        url = str(server.make_url("")).rstrip("/")
        async with linked(tiers.edge, url):
            await until(lambda: asked.count(DOWN_PATH) == 2)
            sender = tiers.edge.federation.sender
            assert sender is not None
            lease = sender.lease
        headers = {
            "Authorization": f"Bearer {TOKEN}", LEASE_HEADER: lease,
            LINE_HEADER: f"{tiers.plant.engine.node_uuid}:0",
        }  # fmt: skip
        async with aiohttp.ClientSession() as session:
            first = asyncio.create_task(_get(session, url, headers))
            await until(lambda: asked.count(DOWN_PATH) == 3)
            second = asyncio.create_task(_get(session, url, headers))
            assert await asyncio.wait_for(first, DEADLINE_S) == 200
            tiers.plant.federation.down.giver.close()
            assert await asyncio.wait_for(second, DEADLINE_S) == 200


async def _get(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with session.get(f"{url}{DOWN_PATH}?wait=50s", headers=headers) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?cursor=0", {}, 400),
        ("?cursor=x", {LEASE_HEADER: "a"}, 400),
        ("?cursor=0&wait=soon", {LEASE_HEADER: "a"}, 400),
        ("?cursor=0", {LEASE_HEADER: "a", LINE_HEADER: "u:v"}, 400),
        ("?cursor=0", {LEASE_HEADER: "unknown"}, 409),
        ("?cursor=0&wait=50s", {LEASE_HEADER: "unknown"}, 409),
    ],
)
async def test_bad_questions_are_refused(
    tiers: Tiers, query: str, headers: dict[str, str], status: int
) -> None:
    async with serving(tiers.plant, []) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url(DOWN_PATH)) + query
        async with session.get(url, headers={"Authorization": f"Bearer {TOKEN}", **headers}) as got:
            assert got.status == status
        async with session.get(url, headers=headers) as got:
            assert got.status == 401
