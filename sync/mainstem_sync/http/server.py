"""The receiving end over HTTP: aiohttp handlers for ``/sync/v1/hello`` and ``/sync/v1/batches``.

1. A request is authenticated before a byte of its body is read, has at most 16 MiB, may not be
   compressed as a whole, and must arrive within 30 s.
2. A body is read when there is room for it (body_room); others wait unread. One that stops arriving
   loses its room.
3. Decompression, hashes and decoding run on worker threads, a few at a time; small requests, which
   are what was just written, have threads that large ones never take. Neither a thread nor a body
   waits for the disk: the reply is made when the log says that all batches are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiohttp import web

from mainstem_sync.errors import BusyError, PeerError, SyncError, TooLargeError, WireError
from mainstem_sync.http.body_room import BodyRoom
from mainstem_sync.receiving.receiver import (
    DURABLE_TIMEOUT_S,
    Child,
    Receiver,
    Reply,
    Submission,
    busy,
)
from mainstem_sync.wire.frames import REQUEST_BYTES_MAX
from mainstem_sync.wire.messages import BATCHES_PATH, HELLO_PATH, encode_error

Authenticate = Callable[[web.Request], Awaitable[Child]]
"""Says who sent a request; raises web.HTTPException to refuse."""

DECODED_MAX = 2
"""Large requests that are decoded at once: each may have 32 MiB of batches, and two cores do not
decode more of them any faster."""

SMALL_DECODED_MAX = 4
"""The same for requests that came together with their headers."""

GREETERS_MAX = 4
"""HELLOs that are answered at once: each may wait for the disk."""

BODIES_BYTES_MAX = 64 << 20
"""All bodies in memory: four of the largest, or hundreds of those that live data makes."""

TOGETHER_BYTES = 64 << 10
"""A larger body comes in several pieces."""

BODY_TIMEOUT_S = 30.0
"""A child gives up after as long; a half-sent body must not stay for ever."""

BODY_IDLE_S = 10.0
"""Nothing for so long is a link that broke; at 64 kbit/s with losses bytes come every second."""


def sync_routes(receiver: Receiver, authenticate: Authenticate) -> list[web.RouteDef]:
    """Routes to add to the node's application."""
    room = BodyRoom(BODIES_BYTES_MAX)
    large = ThreadPoolExecutor(DECODED_MAX, "sync-large")
    small = ThreadPoolExecutor(SMALL_DECODED_MAX, "sync-small")
    greeters = ThreadPoolExecutor(GREETERS_MAX, "sync-hello")

    async def hello(request: web.Request) -> web.Response:
        child = await authenticate(request)

        async def answer(body: bytes) -> Reply:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(greeters, receiver.hello, child, body)

        return _response(await _with_body(request, room, child, answer))

    async def batches(request: web.Request) -> web.Response:
        child = await authenticate(request)
        submissions: list[Submission] = []

        async def submit(body: bytes) -> Reply | None:
            threads = small if len(body) <= TOGETHER_BYTES else large
            loop = asyncio.get_running_loop()
            submissions.append(await loop.run_in_executor(threads, receiver.submit, child, body))
            return None

        refused = await _with_body(request, room, child, submit)
        if refused is not None:
            return _response(refused)
        return _response(await _durable(receiver, submissions[0]))

    return [web.post(HELLO_PATH, hello), web.post(BATCHES_PATH, batches)]


async def _durable(receiver: Receiver, submission: Submission) -> Reply:
    """The reply, when every batch is durable and applied, or the child has given up. It is made by
    the thread that completes the last batch."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Reply] = loop.create_future()

    def give(reply: Reply) -> None:
        if not done.done():
            done.set_result(reply)

    def notify() -> None:
        reply = receiver.reply(submission)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the node is stopping
            loop.call_soon_threadsafe(give, reply)

    submission.add_done_callback(notify)
    await asyncio.wait([done], timeout=DURABLE_TIMEOUT_S)
    if done.done():
        return done.result()
    done.cancel()
    return await asyncio.to_thread(receiver.reply, submission)


Answer = TypeVar("Answer")


async def _with_body(
    request: web.Request,
    room: BodyRoom,
    child: Child,
    then: Callable[[bytes], Awaitable[Answer]],
) -> Answer | Reply:
    """What ``then`` makes of the whole body, which has its room until then; or the refusal."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return _refusal(415, WireError("a compressed request", hint="only batches are compressed"))
    declared = request.content_length
    if declared is not None and declared > REQUEST_BYTES_MAX:
        return _refusal(413, TooLargeError("a request", declared, REQUEST_BYTES_MAX))
    try:
        async with room.take(child.name, REQUEST_BYTES_MAX if declared is None else declared):
            body = _arrived(request, declared) or await _body(request)
            return body if isinstance(body, Reply) else await then(body)
    except BusyError as exc:
        return busy(exc)


def _arrived(request: web.Request, declared: int | None) -> bytes | None:
    """The body, if it came together with the headers, as small ones do; None has read nothing."""
    if declared is None or declared > TOGETHER_BYTES or not request.content.is_eof():
        return None
    return request.content.read_nowait()


async def _body(request: web.Request) -> bytes | Reply:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                async with asyncio.timeout(BODY_IDLE_S):
                    chunk = await request.content.readany()
                if not chunk:
                    return bytes(body)
                body += chunk
                if len(body) > REQUEST_BYTES_MAX:
                    return _refusal(413, TooLargeError("a request", len(body), REQUEST_BYTES_MAX))
    except TimeoutError:
        return _refusal(408, PeerError(f"the request did not arrive in {BODY_TIMEOUT_S:g} s"))


def _refusal(status: int, error: SyncError) -> Reply:
    return Reply(status, encode_error(error))


def _response(reply: Reply) -> web.Response:
    headers = {} if reply.retry_after_s is None else {"Retry-After": str(reply.retry_after_s)}
    return web.Response(
        status=reply.status,
        body=reply.body,
        content_type="application/octet-stream",
        headers=headers,
    )
