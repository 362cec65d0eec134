"""The receiving end over HTTP: aiohttp handlers for ``/sync/v1/hello`` and ``/sync/v1/batches``.

1. A request is authenticated before a byte of its body is read, has at most 16 MiB, may not be
   compressed as a whole, and must arrive within 30 s.
2. A bounded number of requests is in memory at a time; others wait with their body unread.
3. Decompression, hashes and decoding run on worker threads. No thread waits for the disk: the
   reply is made when the log says that all batches are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from mainstem_sync.errors import PeerError, SyncError, TooLargeError, WireError
from mainstem_sync.protocol import BATCHES_PATH, HELLO_PATH, encode_error
from mainstem_sync.receiver import DURABLE_TIMEOUT_S, Child, Receiver, Reply, Submission
from mainstem_sync.wire import REQUEST_BYTES_MAX

Authenticate = Callable[[web.Request], Awaitable[Child]]
"""Says who sent a request; raises web.HTTPException to refuse."""

REQUESTS_MAX = 8
"""Requests in memory at once: each is at most 16 MiB and its batches 8 MiB more while decoded."""

BODY_TIMEOUT_S = 30.0
"""A child gives up after as long; a half-sent body must not stay for ever."""


def sync_routes(receiver: Receiver, authenticate: Authenticate) -> list[web.RouteDef]:
    """Routes to add to the node's application."""
    slots = asyncio.Semaphore(REQUESTS_MAX)

    async def hello(request: web.Request) -> web.Response:
        child = await authenticate(request)
        async with slots:
            body = await _body(request)
            if isinstance(body, Reply):
                return _response(body)
            return _response(await asyncio.to_thread(receiver.hello, child, body))

    async def batches(request: web.Request) -> web.Response:
        child = await authenticate(request)
        async with slots:
            body = await _body(request)
            if isinstance(body, Reply):
                return _response(body)
            submission = await asyncio.to_thread(receiver.submit, child, body)
            del body
            await _durable(submission)
            return _response(await asyncio.to_thread(receiver.reply, submission))

    return [web.post(HELLO_PATH, hello), web.post(BATCHES_PATH, batches)]


async def _durable(submission: Submission) -> None:
    """Until every batch is durable and applied, or the child has given up."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def notify() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the node is stopping
            loop.call_soon_threadsafe(done.set)

    submission.add_done_callback(notify)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DURABLE_TIMEOUT_S):
            await done.wait()


async def _body(request: web.Request) -> bytes | Reply:
    """The whole body, or the refusal."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return _refusal(415, WireError("a compressed request", hint="only batches are compressed"))
    declared = request.content_length
    if declared is not None and declared > REQUEST_BYTES_MAX:
        return _refusal(413, TooLargeError("a request", declared, REQUEST_BYTES_MAX))
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > REQUEST_BYTES_MAX:
                    return _refusal(413, TooLargeError("a request", len(body), REQUEST_BYTES_MAX))
    except TimeoutError:
        return _refusal(408, PeerError(f"the request did not arrive in {BODY_TIMEOUT_S:g} s"))
    return bytes(body)


def _refusal(status: int, error: SyncError) -> Reply:
    return Reply(status, encode_error(error))


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, content_type="application/octet-stream"
    )
