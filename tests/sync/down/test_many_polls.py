"""A thousand children whose questions wait at one parent: what a waiting one takes."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
import tracemalloc
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mainstem_sync import Child
from mainstem_sync.down.giver import Giver
from mainstem_sync.down.orders import START, Orders
from mainstem_sync.down.questions import Questions
from mainstem_sync.http.down_server import down_routes
from mainstem_sync.state.children import Children
from mainstem_sync.wire.messages import DOWN_PATH, LEASE_HEADER, LINE_HEADER

POLLS = 1000
POLL_BYTES_MAX = 32 << 10
"""Of a waiting question at the parent, its connection and the client's end of it: 32 MB for all."""

DEADLINE_S = 60.0


class AllLeased:
    """Children that are all there."""

    def require_lease(self, name: str, lease: str) -> None:
        assert lease == f"lease-{name}"

    def contact_age_s(self, name: str) -> float:
        return 0.0


class Parent:
    """The giving end by itself, with its routes."""

    def __init__(self) -> None:
        children = cast("Children", AllLeased())
        self.questions = Questions(
            children,
            monotonic=time.monotonic,
            token=lambda: "q1",
            wake=lambda c: self.giver.wake(c),
        )
        self.giver = Giver(
            Orders(), children, line=lambda: ("plant", 0), route=lambda node: node,
            questions=self.questions,
        )  # fmt: skip

    def application(self) -> web.Application:
        async def authenticate(request: web.Request) -> Child:
            return Child(request.headers["X-Name"], None)

        application = web.Application()
        application.add_routes(down_routes(self.giver, authenticate))
        return application

    def waiting(self) -> int:
        return len(self.giver._waiters)


def request_of(name: str) -> bytes:
    return (
        f"GET {DOWN_PATH}?cursor={START[0]}&id=&wait=55s&questions=0 HTTP/1.1\r\nHost: plant\r\n"
        f"X-Name: {name}\r\n{LEASE_HEADER}: lease-{name}\r\n{LINE_HEADER}: plant:0\r\n\r\n"
    ).encode()


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - a thousand of them; there is no one event
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_thousand_waiting_questions_take_little(record_property: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * POLLS + 200
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"{hard} files may be open, {wanted} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    parent = Parent()
    writers: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
    async with TestServer(parent.application()) as server:
        tracemalloc.start()
        try:
            before, cpu_s = tracemalloc.get_traced_memory()[0], time.process_time()
            for number in range(POLLS):
                name = f"edge{number}"
                writers[name] = await asyncio.open_connection("127.0.0.1", server.port, limit=4096)
                writers[name][1].write(request_of(name))
            await until(lambda: parent.waiting() == POLLS)
            gc.collect()
            each = (tracemalloc.get_traced_memory()[0] - before) / POLLS
        finally:
            tracemalloc.stop()
        record_property("bytes_of_a_poll", round(each))
        record_property("cpu_us_of_a_poll", round((time.process_time() - cpu_s) / POLLS * 1e6))
        assert each < POLL_BYTES_MAX, f"{each:,.0f} bytes"
        # Whoever is asked something is answered, and nobody else is woken.
        asked = parent.questions.ask("edge7", b"what", 30.0)
        async with asyncio.timeout(DEADLINE_S):
            assert b"200 OK" in await writers["edge7"][0].readline()
        assert parent.waiting() == POLLS - 1
        parent.questions.cancel(asked)
        parent.giver.close()
        await until(lambda: parent.waiting() == 0)
        for _, writer in writers.values():
            writer.close()
