"""The adapters over real sockets: delivery, limits, wrong credentials, portals, addresses."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from mainstem_sync import Child
from mainstem_sync.http import server as http_server
from mainstem_sync.http.body_room import BODIES_PER_CHILD
from mainstem_sync.http.client import Uplink
from mainstem_sync.http.server import sync_routes
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.session import LinkState
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.batch import encode_request
from mainstem_sync.wire.frames import REQUEST_BYTES_MAX
from mainstem_sync.wire.messages import BATCHES_PATH, HELLO_PATH, single_frame

TOKENS = {"edge-token": Child("edge", ["root.p.e"]), "plant-token": Child("plant", ["root.p"])}


async def authenticate(request: web.Request) -> Child:
    header = request.headers.get("Authorization", "")
    child = TOKENS.get(header.removeprefix("Bearer "))
    if child is None:
        raise web.HTTPUnauthorized
    return child


@contextlib.asynccontextmanager
async def serving(node: TestNode, port: int = 0) -> AsyncIterator[BaseTestServer]:
    application = web.Application()
    application.add_routes(sync_routes(node.federation.receiver, authenticate))
    async with TestServer(application, port=port or None) as server:
        yield server


@contextlib.asynccontextmanager
async def uplink(node: TestNode, urls: list[str], token: str) -> AsyncIterator[Uplink]:
    sender = node.federation.sender
    assert sender is not None
    link = Uplink(sender, urls, token)
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Threads and sockets change what is waited for; there is no event to wait on."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
def real_time(monkeypatch: pytest.MonkeyPatch, make_tiers: Callable[..., Tiers]) -> Tiers:
    """Tiers on the real monotonic clock: sockets do not wait for a hand."""
    import time

    from mainstem_sync.testing.nodes import ManualClock

    monkeypatch.setattr(ManualClock, "monotonic", lambda _: time.monotonic())
    return make_tiers()


def sender_of(node: TestNode) -> Sender:
    sender = node.federation.sender
    assert sender is not None
    return sender


async def test_rows_travel_over_two_hops(real_time: Tiers) -> None:
    tiers = real_time
    async with serving(tiers.plant) as plant, serving(tiers.group) as group:
        up = uplink(tiers.edge, [str(plant.make_url(""))], "edge-token")
        up2 = uplink(tiers.plant, [str(group.make_url(""))], "plant-token\n")
        async with up as link, up2 as link2:
            for n in range(20):
                await asyncio.to_thread(tiers.write, start_s=n * 10)
            assert await link.drain(20)
            assert await link2.drain(20)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    tiers.check()
    assert tiers.edge.federation.link() is not None
    assert sender_of(tiers.edge).clock_offset_ms is not None
    assert sender_of(tiers.edge).on_work is None


async def test_the_first_reachable_address_is_used(real_time: Tiers, unused_tcp_port: int) -> None:
    tiers = real_time
    async with serving(tiers.plant) as plant:
        urls = [f"http://127.0.0.1:{unused_tcp_port}/", str(plant.make_url(""))]
        async with uplink(tiers.edge, urls, "edge-token") as link:
            await asyncio.to_thread(tiers.write)
            assert await link.drain(20)
    async with uplink(tiers.edge, urls[:1], "edge-token") as link:
        sender = sender_of(tiers.edge)
        await asyncio.to_thread(tiers.write, start_s=100)
        await until(lambda: sender.state is LinkState.CONNECTING and sender.error is not None)
        assert not await link.drain(0.05)


async def test_a_parent_that_comes_back_is_found(real_time: Tiers, unused_tcp_port: int) -> None:
    tiers = real_time
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with uplink(tiers.edge, [url], "edge-token") as link:
        await until(lambda: sender_of(tiers.edge).error is not None)
        async with serving(tiers.plant, unused_tcp_port):
            await asyncio.to_thread(tiers.write)
            assert await link.drain(20)
        async with serving(tiers.plant, unused_tcp_port):
            await asyncio.to_thread(tiers.write, start_s=50)
            assert await link.drain(20)
    assert len(tiers.values(tiers.plant)) == 20


async def test_a_wrong_token_is_reported_and_read_anew(real_time: Tiers, tmp_path: Path) -> None:
    tiers = real_time
    file = tmp_path / "token"
    sender = sender_of(tiers.edge)

    async with serving(tiers.plant) as plant:
        link = Uplink(sender, [str(plant.make_url(""))], file.read_text)
        task = asyncio.create_task(link.run())
        await until(lambda: "FileNotFoundError" in (sender.error or ""))
        file.write_text("wrong")
        await until(lambda: "401" in (sender.error or ""))
        file.write_text("edge-token\n")
        await asyncio.to_thread(tiers.write)
        assert await link.drain(20)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_portal_that_answers_everything_is_no_parent(real_time: Tiers) -> None:
    tiers = real_time
    sender = sender_of(tiers.edge)

    async def welcome(_: web.Request) -> web.Response:
        return web.Response(text="<html>Please log in</html>", content_type="text/html")

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound("/login")

    for handler in (welcome, elsewhere):
        application = web.Application()
        application.router.add_route("*", "/{anything:.*}", handler)
        async with TestServer(application) as portal:
            url = str(portal.make_url(""))
            sender._session.error = None
            async with uplink(tiers.edge, [url], "edge-token"):
                await asyncio.to_thread(tiers.write)
                await until(lambda: sender.error is not None)
                assert sender.state is LinkState.CONNECTING
    assert tiers.forward(tiers.edge)["delivered"] == 0


async def post(server: BaseTestServer, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session:
        url = server.make_url(path)
        async with session.post(url, data=io.BytesIO(body), headers=headers) as response:
            return response.status, await response.read()


async def test_limits_are_checked_before_anything_is_decoded(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tiers.plant) as server:
        known = {"Authorization": "Bearer edge-token"}
        assert (await post(server, HELLO_PATH, b""))[0] == 401
        status, body = await post(server, HELLO_PATH, b"x", **known, **{"Content-Encoding": "gzip"})
        assert status == 415
        status, _ = await post(server, BATCHES_PATH, b"nonsense", **known)
        assert status == 400
        status, body = await post(server, BATCHES_PATH, bytes(REQUEST_BYTES_MAX + 1), **known)
        assert status == 413
        with pytest.raises(Exception, match="16777217 bytes"):
            single_frame(body)
        monkeypatch.setattr(http_server, "BODY_TIMEOUT_S", 0.05)
        reader, writer = await asyncio.open_connection(server.host, server.port)
        head = f"POST {BATCHES_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
        writer.write(f"{head}Authorization: Bearer edge-token\r\n\r\n1234".encode())
        answer = await reader.readline()
        assert b"408" in answer
        writer.close()
        await writer.wait_closed()


async def test_a_chunked_body_is_bounded_too(tiers: Tiers) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(1 << 20)

    async with serving(tiers.plant) as server, aiohttp.ClientSession() as session:
        headers = {"Authorization": "Bearer edge-token"}
        with contextlib.suppress(aiohttp.ClientError):
            url = server.make_url(BATCHES_PATH)
            async with session.post(url, data=endless(), headers=headers) as response:
                assert response.status == 413


async def test_requests_beyond_the_bound_wait_their_turn(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "DECODED_MAX", 1)
    monkeypatch.setattr(http_server, "BODIES_BYTES_MAX", 64)
    async with serving(tiers.plant) as server:
        known = {"Authorization": "Bearer edge-token"}
        bodies = [encode_request("no lease", n, 0) for n in range(5)]
        answers: list[Awaitable[tuple[int, bytes]]] = [
            post(server, BATCHES_PATH, body, **known) for body in bodies
        ]
        assert {status for status, _ in await asyncio.gather(*answers)} == {409}


async def test_bodies_that_do_not_arrive_stop_nobody_else(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 17, seen from the parent: half-open links of one child take its own places only."""
    head = f"POST {BATCHES_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
    writers = []
    async with serving(tiers.plant) as server:
        for _ in range(BODIES_PER_CHILD):
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(f"{head}Authorization: Bearer edge-token\r\n\r\n1234".encode())
            await writer.drain()
            writers.append(writer)
        body = encode_request("no lease", 1, 0)

        async def status(token: str) -> int:
            return (await post(server, BATCHES_PATH, body, Authorization=f"Bearer {token}"))[0]

        deadline = asyncio.get_running_loop().time() + 20
        while await status("edge-token") != 503:
            assert asyncio.get_running_loop().time() < deadline
        assert await status("plant-token") == 409
        for writer in writers:
            writer.close()
        while await status("edge-token") != 409:
            assert asyncio.get_running_loop().time() < deadline
