"""The receiving end over HTTP: aiohttp handlers for ``/sync/v1/hello`` and ``/sync/v1/batches``.

1. A request is authenticated before a byte of its body is read, has at most 16 MiB, may not be
   compressed as a whole, and must arrive within 30 s.
2. A body is read when there is room for it (body_room); others wait unread. One that stops arriving
   loses its room.
3. Decompression, hashes and decoding run on worker threads, a few at a time (intake); small
   requests, which are what was just written, have threads that large ones never take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from mainstem_sync.errors import BusyError, PeerError, SyncError, TooLargeError, WireError
from mainstem_sync.http.body_room import BodyRoom
from mainstem_sync.http.intake import Intake
from mainstem_sync.receiving.receiver import Child, Receiver, Reply, busy
from mainstem_sync.wire.frames import REQUEST_BYTES_MAX
from mainstem_sync.wire.messages import BATCHES_PATH, HELLO_PATH, encode_error

Authenticate = Callable[[web.Request], Awaitable[Child]]
"""Says who sent a request; raises web.HTTPException to refuse."""

DECODED_MAX = 2
"""Large requests that are decoded at once: each may have 32 MiB of batches, and two cores do not
decode more of them any faster."""

SMALL_DECODED_MAX = 4
"""The same for requests of at most TOGETHER_BYTES, where the usual one is held up."""

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
    large = Intake(receiver, "sync-large", usual=DECODED_MAX, most=DECODED_MAX)
    small = Intake(receiver, "sync-small", usual=1, most=SMALL_DECODED_MAX)
    greeters = ThreadPoolExecutor(GREETERS_MAX, "sync-hello")

    async def hello(request: web.Request) -> web.Response:
        child = await authenticate(request)
        body, leave = await _body_of(request, room, child)
        if isinstance(body, Reply):
            return _response(body)
        try:
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(greeters, receiver.hello, child, body)
        finally:
            leave()
        return _response(reply)

    async def batches(request: web.Request) -> web.Response:
        child = await authenticate(request)
        body, leave = await _body_of(request, room, child)
        if isinstance(body, Reply):
            return _response(body)
        intake = small if len(body) <= TOGETHER_BYTES else large
        return _response(await intake.offer(child, body, leave))

    return [web.post(HELLO_PATH, hello), web.post(BATCHES_PATH, batches)]


async def _body_of(
    request: web.Request, room: BodyRoom, child: Child
) -> tuple[bytes | Reply, Callable[[], None]]:
    """The whole body, which has its room until the second is called; or the refusal."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        error = WireError("a compressed request", hint="only batches are compressed")
        return _refusal(415, error), _nothing
    declared = request.content_length
    if declared is not None and declared > REQUEST_BYTES_MAX:
        return _refusal(413, TooLargeError("a request", declared, REQUEST_BYTES_MAX)), _nothing
    try:
        leave = await room.enter(child.name, REQUEST_BYTES_MAX if declared is None else declared)
    except BusyError as exc:
        return busy(exc), _nothing
    try:
        body = _arrived(request, declared) or await _body(request)
    except BaseException:
        leave()
        raise
    if isinstance(body, Reply):
        leave()
    return body, leave


def _nothing() -> None:
    """No room was taken."""


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
