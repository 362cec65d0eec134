"""One statement in, its answer out: JSON, CSV or an Arrow stream.

1. The caller's role decides on limits and places (statement_gate.py).
2. ``on_incomplete`` decides what happens when tables are not complete: return the answer all the
   same, fail, wait until the time-out, or ask the nodes below for what is missing.
3. A client that goes away ends its statement, wherever that is.
4. Up to ``HELD_BYTES`` an answer goes out whole. A larger one is sent as it is made, and slow
   reading slows the statement down; an error that comes then breaks the connection off, so that
   half an answer is never taken for a whole one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from aiohttp import web

from mainstem_engine.errors import MainstemError, OverloadedError
from mainstem_node.api.route import JSON, Route, read_body
from mainstem_node.api.sql_answers import RENDERERS, STREAMED, Chunks, headers_of, media_type
from mainstem_node.auth import READ, Principal
from mainstem_node.errors import BadRequestError
from mainstem_node.logs import fields
from mainstem_node.runtime import Runtime
from mainstem_node.statements import IncompleteError

if TYPE_CHECKING:
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.running.cancellation import Cancellation

log = logging.getLogger("mainstem.api")

TIMEOUT_S_DEFAULT = 30.0
"""Of a request that asks for no other time, if its role may have so much."""
WAIT_POLL_S = 0.25
"""Manifests come once a minute and are verified once a second."""
GONE_POLL_S = 0.2
"""How soon the end of a connection is seen while a statement runs."""
HELD_BYTES = 4 << 20
"""As bodies go, still a small one; nearly all answers are smaller."""
PART_BYTES = 1 << 20
"""Of a larger answer, what is made before it is sent."""

T = TypeVar("T")


class SqlRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    sql: str
    params: list[Any] | None = None
    database: str | None = None
    time_zone: str = "UTC"
    on_incomplete: Literal["return", "fail", "wait", "fetch"] = "return"
    timeout_ms: int | None = None
    time_format: Literal["integer", "rfc3339"] = "integer"


async def sql(runtime: Runtime, request: web.Request, caller: Principal) -> web.StreamResponse:
    from mainstem_engine.sql.running.cancellation import Cancellation

    asked = _decode(await read_body(request))
    timeout_s = _timeout_s(runtime, asked, caller)
    started = time.monotonic()
    watch = _Watch(request, Cancellation())
    media = media_type(request.headers.get("Accept", ""))
    async with runtime.statements.gate.entered(caller.role, timeout_s):
        statement = _execute(runtime, asked, caller, started + timeout_s, watch, media in STREAMED)
        result = await watch.ended(statement)
        try:
            chunks = RENDERERS[media](result, asked.time_format, time.monotonic() - started)
            return await _send(runtime, watch, chunks, headers_of(result, media))
        finally:
            if not result.is_whole:
                # Closed with the pool when the node stops.
                with contextlib.suppress(OverloadedError):
                    await runtime.sql_workers.run(result.close)


def _decode(body: bytes) -> SqlRequest:
    try:
        return msgspec.json.decode(body, type=SqlRequest)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".") or None
        if field is None and "unknown field" in text:
            field = text.partition("`")[2].rstrip("`")
        raise BadRequestError(text, field=field, hint="see /api/v1/openapi.json") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(
            f"the body is not JSON: {error}",
            code="BAD_JSON",
            hint='send {"sql": "SELECT 1"} as UTF-8',
        ) from None


def _timeout_s(runtime: Runtime, asked: SqlRequest, caller: Principal) -> float:
    most_s = runtime.statements.timeout_s_max(caller.role)
    if asked.timeout_ms is None:
        return min(TIMEOUT_S_DEFAULT, most_s)
    timeout_s = asked.timeout_ms / 1000
    if not 0 < timeout_s <= most_s:
        raise BadRequestError(
            f"timeout_ms is not between 1 and {most_s * 1000:g}",
            field="timeout_ms",
            hint=f"the operator may allow the role {caller.role} more time",
        )
    return timeout_s


async def _execute(
    runtime: Runtime,
    asked: SqlRequest,
    caller: Principal,
    deadline: float,
    watch: _Watch,
    is_streamed: bool,
) -> Result:
    """The result; with ``wait``, tried until the tables are complete or the time is over."""
    while True:
        try:
            return await runtime.sql_workers.run(
                runtime.statements.execute,
                asked.sql,
                asked.params,
                database=asked.database,
                time_zone=asked.time_zone,
                timeout_s=max(0.001, deadline - time.monotonic()),
                must_be_complete=asked.on_incomplete in ("fail", "wait"),
                is_fetched=asked.on_incomplete == "fetch",
                by=caller.name,
                role=caller.role,
                cancellation=watch.cancellation,
                is_streamed=is_streamed,
            )
        except IncompleteError as error:
            # What a script has done before is not to be done again.
            is_last = asked.on_incomplete == "fail" or error.statement > 1
            if is_last or time.monotonic() + WAIT_POLL_S >= deadline:
                raise
        await asyncio.sleep(WAIT_POLL_S)
        watch.cancellation.check()


class _Watch:
    """Looks whether the client is still there while its statement runs."""

    def __init__(self, request: web.Request, cancellation: Cancellation) -> None:
        self.request = request
        self.cancellation = cancellation

    async def ended(self, work: Awaitable[T]) -> T:
        """What ``work`` returns or raises. ConnectionResetError when the client has gone: the
        statement was cancelled, and has ended."""
        running = asyncio.ensure_future(work)
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=GONE_POLL_S)
                if self._is_gone() and not running.done():
                    self.cancellation.cancel()
                    await asyncio.wait({running})
        except asyncio.CancelledError:
            self.cancellation.cancel()
            await asyncio.wait({running})
            raise
        if self.cancellation.is_cancelled:
            running.exception()  # seen: nobody reads it
            raise ConnectionResetError("the client went away")
        return running.result()

    def _is_gone(self) -> bool:
        transport = self.request.transport
        return transport is None or transport.is_closing()


async def _send(
    runtime: Runtime, watch: _Watch, chunks: Chunks, headers: dict[str, str]
) -> web.StreamResponse:
    body, is_whole = await watch.ended(runtime.sql_workers.run(_taken, chunks, HELD_BYTES))
    if is_whole:
        return web.Response(body=body, headers=headers)
    response = web.StreamResponse(headers=headers)
    await response.prepare(watch.request)
    try:
        await response.write(body)
        while not is_whole:
            part = runtime.sql_workers.run(_taken, chunks, PART_BYTES)
            body, is_whole = await watch.ended(part)
            await response.write(body)
        await response.write_eof()
    except MainstemError as error:
        # The status is out. Without the last chunk the client sees that this is not all.
        log.warning("an answer was broken off", extra=fields(code=error.code, error=str(error)))
        if watch.request.transport is not None:
            watch.request.transport.abort()
    finally:
        watch.cancellation.cancel()
    return response


def _taken(chunks: Chunks, size: int) -> tuple[bytes, bool]:
    """The next chunks up to ``size`` bytes or more, and True when these are all."""
    taken: list[bytes] = []
    total = 0
    for chunk in chunks:
        taken.append(chunk)
        total += len(chunk)
        if total >= size:
            return b"".join(taken), False
    return b"".join(taken), True


ROUTES = (
    Route("POST", "/api/v1/sql", sql, READ, "One SQL statement: JSON, CSV or Arrow.", (JSON,)),
)
