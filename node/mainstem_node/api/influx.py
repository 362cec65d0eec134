"""The write protocol of InfluxDB 1 and 2, for clients that know nothing else.

1. 204 says that every row is stored and durable, or kept in the quarantine. Bad lines and values do
   not cost the good ones. Version 1 is told of them only with ``?strict=1``, version 2 unless
   ``?strict=0``: 400, and what could be stored is.
2. Whatever may succeed later is 503 with Retry-After: a 4xx makes agents drop what they hold.
3. Errors have the bodies of the version asked: ``{"error": text}``, ``{"code", "message"}``.
4. Credentials: a token of this node as Bearer or Token, or as the password of Basic or of ``u`` and
   ``p``; the user's name does not matter. Where this machine needs none, one that is unknown here
   counts as none: the clients cannot be without.
5. Only writing is spoken. A query other than CREATE and SHOW DATABASE is refused with the way to
   SQL, so that no tool takes this for a source that it can read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs

from aiohttp import web

from mainstem_engine.catalog.names import ROOT
from mainstem_engine.errors import SchemaError
from mainstem_node.api.authorization import token_of
from mainstem_node.api.route import (
    MIB,
    Route,
    error_of,
    json_response,
    read_body,
    status_of,
)
from mainstem_node.auth import WRITE, Principal
from mainstem_node.errors import BadRequestError, TooLargeError
from mainstem_node.line_protocol.naming import database_path
from mainstem_node.line_protocol.parser import (
    PRECISIONS,
    TooManyBadLinesError,
    TooMuchError,
    parse_lines,
)
from mainstem_node.line_protocol.storing import Destination, Stored
from mainstem_node.runtime import Runtime

LINES_BYTES_MAX = 32 * MIB
"""As a body of rows; agents send less than a tenth of it."""
VERSION = "1.8.10"
"""The version whose write protocol this is. Clients look whether it begins with 1 or 2."""
_PRECISIONS_1 = ("n", "ns", "u", "us", "µ", "ms", "s", "m", "h")
_PRECISIONS_2 = ("ns", "us", "ms", "s")
_CODES = {
    400: "invalid", 401: "unauthorized", 403: "forbidden", 404: "not found", 408: "timeout",
    413: "request too large", 415: "unsupported media type", 503: "unavailable",
}  # fmt: skip
_CREATE = re.compile(r'\s*CREATE\s+DATABASE\s+(?:"((?:[^"\\]|\\.)+)"|([^\s";]+))[^;]*;?\s*', re.I)
_SHOW = re.compile(r"\s*SHOW\s+DATABASES\s*;?\s*", re.I)


async def write_1(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    database = _required(request, "db", "database")
    precision = _precision(request, _PRECISIONS_1)
    strict = _strict(request, default=False)
    return await _write(runtime, request, database, precision, strict=strict)


async def write_2(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    bucket = _required(request, "bucket", "bucket")
    precision = _precision(request, _PRECISIONS_2)
    strict = _strict(request, default=True)
    return await _write(runtime, request, bucket, precision, strict=strict)


def _required(request: web.Request, key: str, what: str) -> str:
    found: str = request.query.get(key, "")
    if not found:
        raise BadRequestError(f"{what} is required", field=key, hint=f"add ?{key}=NAME")
    return found


async def _write(
    runtime: Runtime, request: web.Request, database: str, precision_ns: int, *, strict: bool
) -> web.Response:
    body = await read_body(request, LINES_BYTES_MAX)
    to = _destination(runtime, database)
    stored = await runtime.write_workers.run(_store, runtime, body, precision_ns, to)
    problem = _problem(stored)
    if problem and (strict or not stored.rows):
        raise BadRequestError(problem, detail=_line(stored))
    return web.Response(status=204, headers={"X-Influxdb-Version": VERSION})


def _store(runtime: Runtime, body: bytes, precision_ns: int, to: Destination) -> Stored:
    try:
        with runtime.writer.computing:
            parsed = parse_lines(body, precision_ns)
    except TooManyBadLinesError as error:
        first = error.line
        raise BadRequestError(
            f"{error}; the first is line {first.number}: {first.problem}",
            detail={"line": first.number},
        ) from None
    except TooMuchError as error:
        raise TooLargeError(str(error), hint="send it in parts") from None
    return runtime.lines.store(parsed, to)


def _destination(runtime: Runtime, database: str) -> Destination:
    config = runtime.config
    create = config.intake.auto_template
    if create is None:
        create = config.tier == "edge"
    try:
        path = database_path(database)
    except SchemaError as error:
        raise BadRequestError(error.message, field="db", hint=error.hint) from None
    return Destination(
        config.paths[0] if config.paths else path,
        create,
        {name.casefold() for name in runtime.topology.templates},
    )


def _precision(request: web.Request, known: tuple[str, ...]) -> int:
    """Nanoseconds per unit of the times."""
    name = request.query.get("precision", "") or "ns"
    if name not in known:
        raise BadRequestError(
            f"invalid precision {name!r}", field="precision", hint=f"use {', '.join(known)}"
        )
    return PRECISIONS[name]


def _strict(request: web.Request, *, default: bool) -> bool:
    text = request.query.get("strict", "")
    return text in ("1", "true") if text else default


def _problem(stored: Stored) -> str:
    """What could not be stored, in a line; empty when all was."""
    if not stored.bad and not stored.rejects:
        return ""
    count = len(stored.bad) + len(stored.rejects)
    if stored.bad:
        bad = stored.bad[0]
        text = bad.text[:200].decode("utf-8", "backslashreplace")
        first = f"unable to parse line {bad.number} '{text}': {bad.problem}"
    else:
        reject = stored.rejects[0]
        first = f"{reject.reason}: {reject.device} {reject.measurement} {reject.value!s:.200}"
    return f"partial write: {first}; {count} kept in the quarantine, {stored.rows} rows stored"


def _line(stored: Stored) -> dict[str, int]:
    return {"line": stored.bad[0].number} if stored.bad else {}


# Databases


async def ping(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    headers = {"X-Influxdb-Version": VERSION, "X-Influxdb-Build": "mainstem"}
    return web.Response(status=204, headers=headers)


async def ask(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    return await _answer(runtime, request.query.get("q", ""), may_create=False)


async def tell(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    text = request.query.get("q", "")
    if not text:
        form = parse_qs((await read_body(request)).decode("utf-8", "replace"))
        text = form.get("q", [""])[0]
    return await _answer(runtime, text, may_create=True)


async def _answer(runtime: Runtime, text: str, *, may_create: bool) -> web.Response:
    if _SHOW.fullmatch(text):
        names = [each.name.removeprefix(f"{ROOT}.") for each in runtime.engine.databases]
        series = {"name": "databases", "columns": ["name"], "values": [[name] for name in names]}
        return json_response({"results": [{"statement_id": 0, "series": [series]}]})
    created = _CREATE.fullmatch(text)
    if created is None:
        raise BadRequestError(
            "only CREATE DATABASE and SHOW DATABASES are answered here; queries are SQL, by POST"
            " /api/v1/sql"
        )
    if not may_create:
        raise BadRequestError("CREATE DATABASE must be sent by POST")
    name = re.sub(r"\\(.)", r"\1", created[1]) if created[1] else created[2]
    await runtime.write_workers.run(_create, runtime, name)
    return json_response({"results": [{"statement_id": 0}]})


def _create(runtime: Runtime, name: str) -> None:
    """Where the node has paths of its own, its rows lie below those, and nothing is made."""
    try:
        path = database_path(name)
        if not runtime.config.paths:
            runtime.engine.create_database(path, if_not_exists=True)
    except SchemaError as error:
        raise BadRequestError(error.message, field="q", hint=error.hint) from None


# Credentials and errors


def credential(runtime: Runtime, request: web.Request) -> str | None:
    """The token that a request carries, as Bearer; None when it carries none."""
    sent = request.headers.get("Authorization")
    password = request.query.get("p") if sent is None else token_of(sent)
    if password is None:
        return None
    authenticator = runtime.authenticator
    token = f"Bearer {password}"
    if authenticator.loopback_open and authenticator.principal(token, None, None) is None:
        return None
    return token


def _failed(body_of: Callable[[int, str, Exception], object]) -> Callable[..., web.Response]:
    def failed(error: Exception) -> web.Response:
        error = error_of(error)
        status, headers = status_of(error)
        hint = getattr(error, "hint", None)
        text = f"{getattr(error, 'message', error)}"
        body = body_of(status, f"{text} ({hint})" if hint else text, error)
        return json_response(body, status=status, headers=headers)

    return failed


def _body_1(status: int, text: str, error: Exception) -> object:
    return {"error": text}


def _body_2(status: int, text: str, error: Exception) -> object:
    detail = getattr(error, "detail", {})
    return {"code": _CODES.get(status, "internal error"), "message": text, **detail}


ROUTES = (
    Route("GET", "/ping", ping, None, "An empty answer; HEAD too."),
    Route(
        "POST", "/write", write_1, WRITE,
        "Line protocol as InfluxDB 1 takes it: ?db=, precision, strict.",
        (), LINES_BYTES_MAX, credential, _failed(_body_1),
    ),
    Route(
        "POST", "/api/v2/write", write_2, WRITE,
        "Line protocol as InfluxDB 2 takes it: ?bucket=, precision, strict.",
        (), LINES_BYTES_MAX, credential, _failed(_body_2),
    ),
    Route(
        "POST", "/query", tell, WRITE, "CREATE DATABASE and SHOW DATABASES, for InfluxDB clients.",
        (), MIB, credential, _failed(_body_1),
    ),
    Route(
        "GET", "/query", ask, WRITE, "SHOW DATABASES, for InfluxDB clients.",
        (), MIB, credential, _failed(_body_1),
    ),
)  # fmt: skip
