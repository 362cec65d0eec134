"""The giving end of the way down over HTTP: ``GET /sync/v1/down``, ``POST /sync/v1/results``.

1. A question has no body: ``cursor`` (LSN), ``id`` (of the order at the cursor) and ``wait`` are in
   the query, lease and line in headers.
2. It is answered when there is an order for the child, or when its time is over. A waiting question
   holds a connection and no thread. Of one child only the newest waits: an older one, whose
   connection may be dead, is answered at once.
3. ``questions`` in the query is the number of the last question that the child has; without it the
   child takes none. Answers to questions come as bodies of at most ``RESULTS_BYTES_MAX``.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from mainstem_sync.down.giver import Answer, Ask, Giver
from mainstem_sync.errors import PeerError, SyncError, WireError
from mainstem_sync.http.server import Authenticate
from mainstem_sync.wire.fields import NAME_CHARS_MAX
from mainstem_sync.wire.messages import (
    DOWN_PATH,
    LEASE_CHARS_MAX,
    LEASE_HEADER,
    LINE_HEADER,
    RESULTS_PATH,
    encode_error,
)
from mainstem_sync.wire.order import ID_CHARS_MAX
from mainstem_sync.wire.ranges import LSN_MAX

WAIT_S_MAX = 55.0

RESULTS_BYTES_MAX = 2 << 20
"""A piece of an answer has 256 KiB, and what stands beside it 1 MiB."""

RESULTS_TIMEOUT_S = 30.0
RESULTS_AT_ONCE = 4
"""Bodies in memory at a time."""


def down_routes(giver: Giver, authenticate: Authenticate) -> list[web.RouteDef]:
    """Routes to add to the node's application."""
    waiting: dict[str, asyncio.Event] = {}

    async def down(request: web.Request) -> web.Response:
        child = await authenticate(request)
        try:
            ask = _ask(request, child.name)
            wait_s = min(max(_seconds(request.query.get("wait", "0")), 0.0), WAIT_S_MAX)
            if wait_s:
                await _woken(giver, waiting, ask, wait_s)
        except SyncError as exc:
            status = exc.status if isinstance(exc, PeerError) else 400
            return _response(Answer(status, encode_error(exc)))
        return _response(await asyncio.to_thread(giver.answer, ask))

    at_once = asyncio.Semaphore(RESULTS_AT_ONCE)

    async def results(request: web.Request) -> web.Response:
        child = await authenticate(request)
        lease = request.headers.get(LEASE_HEADER, "")
        if (request.content_length or RESULTS_BYTES_MAX + 1) > RESULTS_BYTES_MAX:
            refused = WireError(f"an answer of more than {RESULTS_BYTES_MAX} bytes")
            return _response(Answer(413, encode_error(refused)))
        async with at_once:
            try:
                async with asyncio.timeout(RESULTS_TIMEOUT_S):
                    body = await request.content.readexactly(request.content_length or 0)
            except (TimeoutError, asyncio.IncompleteReadError):
                return _response(Answer(408, encode_error(PeerError("the body did not arrive"))))
            took = giver.questions.took
            return _response(Answer(*await asyncio.to_thread(took, child.name, lease, body)))

    return [web.get(DOWN_PATH, down), web.post(RESULTS_PATH, results)]


async def _woken(giver: Giver, waiting: dict[str, asyncio.Event], ask: Ask, wait_s: float) -> None:
    """Until there may be something new, the time is over, or the child asks again."""
    loop, child = asyncio.get_running_loop(), ask.child
    event = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the node is stopping
            loop.call_soon_threadsafe(event.set)

    if child in waiting:
        waiting[child].set()
    waiting[child] = event
    giver.add_waiter(child, wake)
    try:
        # Looked at once one would be woken: what comes in between must not wait for the next.
        if await asyncio.to_thread(giver.is_due, ask):
            return
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        pass
    finally:
        giver.remove_waiter(child, wake)
        if waiting.get(child) is event:
            del waiting[child]


def _ask(request: web.Request, child: str) -> Ask:
    """Raises WireError."""
    cursor = request.query.get("cursor", "0")
    ident = request.query.get("id", "")
    lease = request.headers.get(LEASE_HEADER, "")
    uuid, _, epoch = request.headers.get(LINE_HEADER, "").rpartition(":")
    if not lease or len(lease) > LEASE_CHARS_MAX:
        raise WireError(f"the header {LEASE_HEADER} is missing or too long")
    if not cursor.isascii() or not cursor.isdigit() or int(cursor) > LSN_MAX:
        raise WireError("the cursor is not an LSN")
    if len(ident) > ID_CHARS_MAX or len(uuid) > NAME_CHARS_MAX:
        raise WireError("the cursor is not of a log")
    line = None
    if uuid:
        if not epoch.isascii() or not epoch.isdigit() or len(epoch) > 10:
            raise WireError(f"the header {LINE_HEADER} is not uuid:epoch")
        line = (uuid, int(epoch))
    after = request.query.get("questions")
    if after is not None and (not after.isascii() or not after.isdigit() or int(after) > LSN_MAX):
        raise WireError("questions is not a number")
    return Ask(child, lease, line, (int(cursor), ident), None if after is None else int(after))


def _seconds(text: str) -> float:
    number = text.removesuffix("s")
    if not number.isascii() or not number.isdigit() or len(number) > 4:
        raise WireError("wait is not a number of seconds", hint="wait=55s")
    return float(number)


def _response(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status, body=answer.body, content_type="application/octet-stream"
    )
