"""A route and what every request goes through before and after it.

1. The caller is found; a route names the role it asks for (None: open to everybody).
2. A body needs a media type that a web page elsewhere cannot send without asking, is refused above
   the route's limit before it is read, and must be there within ``RECEIVE_S_MAX``.
3. An error becomes ``{"error": {"code", "message", "field", "hint"}}`` with its status.
"""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from mainstem_engine.errors import (
    ClosedError,
    LogFailedError,
    MainstemError,
    NotFoundError,
    NotOwnerError,
    OutOfRangeError,
    OutOfRetentionError,
    OverloadedError,
    SchemaError,
    SqlError,
    SqlLimitError,
    SqlTimeoutError,
)
from mainstem_node.auth import Principal
from mainstem_node.errors import (
    ApiError,
    BadRequestError,
    ForbiddenError,
    TooLargeError,
    UnauthorizedError,
)
from mainstem_node.logs import fields
from mainstem_sync.errors import MoveError

if TYPE_CHECKING:
    from mainstem_node.runtime import Runtime

log = logging.getLogger("mainstem.api")

JSON = "application/json"
MSGPACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
ARROW_STREAM = "application/vnd.apache.arrow.stream"
CSV = "text/csv"

MIB = 1 << 20
BODY_BYTES_MAX = 1 * MIB
"""Every body but rows: a statement or a name is never longer."""
RECEIVE_S_MAX = 30.0
"""A client that has not sent its body by then holds a connection for nothing."""

Credential = Callable[["Runtime", web.Request], str | None]
Handler = Callable[["Runtime", web.Request, Principal], Awaitable[web.StreamResponse]]

_STATUS: tuple[tuple[type[MainstemError], int], ...] = (
    (OverloadedError, 503),
    (LogFailedError, 503),
    (ClosedError, 503),
    (NotFoundError, 404),
    (SqlTimeoutError, 504),
    (SqlLimitError, 422),
    (SqlError, 400),
    (SchemaError, 400),
    (OutOfRangeError, 400),
    (OutOfRetentionError, 400),
    (NotOwnerError, 403),
    (MoveError, 409),
)
"""The first class that fits decides; an error that is not listed is a defect: 500."""

ANYBODY = Principal("anybody", "read")
"""The caller of a route that asks for no role."""


def sent_credential(runtime: Runtime, request: web.Request) -> str | None:
    """The header Authorization, None when there is none."""
    return request.headers.get("Authorization")


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. ``media``: the body's accepted types; empty for no body."""

    method: str
    path: str
    handler: Handler
    role: str | None
    summary: str
    media: tuple[str, ...] = ()
    body_bytes_max: int = BODY_BYTES_MAX
    credential: Credential = sent_credential
    """How a request of a foreign protocol names its credential."""
    failed: Callable[[Exception], web.Response] | None = None
    """The answer for an error, in the words of a foreign protocol."""


def bind(route: Route, runtime: Runtime) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The aiohttp handler of a route: caller, media type, then the route's own handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        caller = ANYBODY
        if route.role is not None:
            caller = require_caller(runtime, request, route.credential)
            if not caller.may(route.role):
                raise ForbiddenError(
                    f"a {caller.role} credential does not allow this",
                    hint=f"use one with the role {route.role}",
                )
        if route.media:
            _require_media(request, route.media)
        return await route.handler(runtime, request, caller)

    failed = route.failed
    if failed is None:
        return handle

    async def handle_foreign(request: web.Request) -> web.StreamResponse:
        try:
            return await handle(request)
        except Exception as error:
            return failed(error)

    return handle_foreign


def require_caller(
    runtime: Runtime, request: web.Request, credential: Credential = sent_credential
) -> Principal:
    """The caller of a request. UnauthorizedError without a valid credential."""
    sent = credential(runtime, request)
    found = runtime.authenticator.principal(sent, request.remote, request.headers.get("Host"))
    if found is None:
        raise UnauthorizedError(
            "a credential is needed" if sent is None else "the credential is not valid here",
            hint="send Authorization: Bearer TOKEN; the first one is in DATA_DIR/admin.token",
            headers={"WWW-Authenticate": "Bearer"},
        )
    # Without a credential a page of another site could use the browser's place on this machine.
    if sent is None:
        refuse_other_sites(request)
    return found


def refuse_other_sites(request: web.Request) -> None:
    """ForbiddenError for what a browser sends because a page of another site says so."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise ForbiddenError("requests of other sites are refused", code="CROSS_SITE")


def _require_media(request: web.Request, media: tuple[str, ...]) -> None:
    # content_type is aiohttp's default when the header is absent: look at the header itself.
    sent = request.content_type if "Content-Type" in request.headers else "no type"
    if sent not in media:
        raise ApiError(
            f"a body of type {sent} is not taken here",
            code="UNSUPPORTED_MEDIA_TYPE",
            status=415,
            field="Content-Type",
            hint=f"send {' or '.join(media)}",
        )


async def read_body(request: web.Request, limit: int = BODY_BYTES_MAX) -> bytes:
    """The body, whole and decoded. TooLargeError above ``limit``, before or after decoding."""
    encoding = request.headers.get("Content-Encoding", "identity").casefold()
    if encoding not in ("identity", "gzip"):
        raise ApiError(
            f"content encoding {encoding} is not taken",
            code="UNSUPPORTED_ENCODING",
            status=415,
            field="Content-Encoding",
            hint="send gzip or nothing",
        )
    declared = request.content_length
    if declared is not None and declared > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(RECEIVE_S_MAX):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise ApiError(
            f"the body was not complete after {RECEIVE_S_MAX:g} s",
            code="TOO_SLOW",
            status=408,
            headers={"Connection": "close"},
        ) from None
    body = b"".join(chunks)
    return body if encoding == "identity" else await asyncio.to_thread(_gunzip, body, limit)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the body is larger than {limit} bytes",
        hint="send it in parts",
        headers={"Connection": "close"},
    )


def _gunzip(body: bytes, limit: int) -> bytes:
    """Decodes at most ``limit`` bytes: a small body may claim to be a huge one."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        data = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequestError(f"the body is not gzip: {error}") from None
    if len(data) > limit:
        raise _too_large(limit)
    if not decoder.eof or decoder.unused_data:
        raise BadRequestError("the gzip body is cut off, or something follows it")
    return data


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object."""
    data = decode_json(await read_body(request))
    if not isinstance(data, dict):
        raise BadRequestError("the body must be a JSON object")
    return data


def decode_json(body: bytes) -> Any:
    """JSON, strictly: no NaN, no text after it. BadRequestError with what is wrong."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"the body is not JSON: {error}", code="BAD_JSON") from None
    except RecursionError:
        raise BadRequestError("the body is nested too deeply", code="BAD_JSON") from None


def json_response(
    data: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A JSON answer that no cache keeps."""
    return web.Response(
        body=json_bytes(data),
        status=status,
        content_type=JSON,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def json_bytes(data: object) -> bytes:
    """JSON with exact integers of any size."""
    try:
        return msgspec.json.encode(data)
    except OverflowError:
        # msgspec stops at 64 bits; a checksum may be larger.
        return json.dumps(data, allow_nan=False).encode()


def error_response(error: Exception) -> web.Response:
    """The answer for an error. What is not an error of Mainstem is logged and hidden."""
    if isinstance(error, web.HTTPException):
        return _http_error(error)
    error = error_of(error)
    status, headers = status_of(error)
    body: dict[str, Any] = {
        "error": {
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "hint": error.hint,
        }
    }
    if isinstance(error, ApiError):
        body |= error.detail
    return json_response(body, status=status, headers=headers)


def error_of(error: Exception) -> MainstemError:
    """The error to tell of. What is not an error of Mainstem is logged and hidden."""
    if isinstance(error, MainstemError):
        return error
    log.error("a request failed", exc_info=error)
    return ApiError("an internal error; the node's log has the details", status=500)


def status_of(error: MainstemError) -> tuple[int, dict[str, str]]:
    """The HTTP status of an error, and the headers that go with it."""
    status, headers = 500, {}
    if isinstance(error, ApiError):
        status, headers = error.status, error.headers
    else:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, OverloadedError):
        headers = {"Retry-After": str(max(1, round(error.retry_after_s)))}
    elif status == 503:
        headers = {"Retry-After": "5", **headers}
    if status >= 500 and status != 503:
        log.error("a request failed", extra=fields(code=error.code, error=str(error)))
    return status, headers


def _http_error(error: web.HTTPException) -> web.Response:
    codes = {404: "NO_ROUTE", 405: "METHOD_NOT_ALLOWED", 413: "TOO_LARGE"}
    hints = {404: "see /api/v1/openapi.json", 405: error.headers.get("Allow", "")}
    body = {
        "error": {
            "code": codes.get(error.status, "HTTP"),
            "message": error.reason,
            "field": None,
            "hint": hints.get(error.status) or None,
        }
    }
    kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return json_response(body, status=error.status, headers=kept)


def query_int(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    """A whole number of the query, between ``low`` and ``high``."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    try:
        value = int(text)
    except ValueError:
        raise BadRequestError(f"{name}={text!r} is not a whole number", field=name) from None
    if not low <= value <= high:
        raise BadRequestError(f"{name} is not between {low} and {high}", field=name)
    return value
