"""One statement in, its answer out: JSON, CSV or an Arrow stream.

The answer says how complete the tables are that were read. ``on_incomplete`` decides what happens
when they are not: return the answer all the same, fail, or wait until the time-out.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from mainstem_node.api.route import ARROW_STREAM, CSV, JSON, Route, json_bytes, read_body
from mainstem_node.auth import READ, WRITE, Principal
from mainstem_node.errors import ApiError, BadRequestError
from mainstem_node.plain import plain_value
from mainstem_node.runtime import Runtime
from mainstem_node.statements import TIMEOUT_S_DEFAULT, TIMEOUT_S_MAX, IncompleteError

if TYPE_CHECKING:
    from mainstem_engine.sql.result import Result

COMPLETENESS_HEADER = "Mainstem-Completeness"
HEADER_CHARACTERS_MAX = 6000
"""Clients and proxies refuse headers of 8 KiB; beyond this the header holds a summary."""
WAIT_POLL_S = 0.25
"""Manifests come once a minute and are verified once a second."""
_EXACT_TYPES = re.compile(r"(BOOLEAN|U?INT\d*|TEXT|TIMESTAMP|DATE|TIME|INTERVAL|NULL)")
"""Types whose values JSON carries as they are."""


class SqlRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    sql: str
    params: list[Any] | None = None
    database: str | None = None
    time_zone: str = "UTC"
    on_incomplete: Literal["return", "fail", "wait", "fetch"] = "return"
    timeout_ms: int | None = None
    time_format: Literal["integer", "rfc3339"] = "integer"


async def sql(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    asked = _decode(await read_body(request))
    if asked.on_incomplete == "fetch":
        raise ApiError(
            "this version cannot fetch what is missing from the nodes below",
            code="NOT_AVAILABLE",
            status=501,
            field="on_incomplete",
            hint="use return, fail or wait",
        )
    timeout_s = TIMEOUT_S_DEFAULT if asked.timeout_ms is None else asked.timeout_ms / 1000
    if not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise BadRequestError(
            f"timeout_ms is not between 1 and {TIMEOUT_S_MAX * 1000:g}", field="timeout_ms"
        )
    started = time.monotonic()
    result = await _execute(runtime, asked, caller, started + timeout_s)
    render = _renderer(request.headers.get("Accept", ""))
    return await runtime.sql_workers.run(render, result, asked, time.monotonic() - started)


def _decode(body: bytes) -> SqlRequest:
    try:
        return msgspec.json.decode(body, type=SqlRequest)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".") or None
        raise BadRequestError(text, field=field, hint="see /api/v1/openapi.json") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}", code="BAD_JSON") from None


async def _execute(
    runtime: Runtime, asked: SqlRequest, caller: Principal, deadline: float
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
                must_be_complete=asked.on_incomplete != "return",
                read_only=not caller.may(WRITE),
            )
        except IncompleteError:
            if asked.on_incomplete == "fail" or time.monotonic() + WAIT_POLL_S >= deadline:
                raise
        await asyncio.sleep(WAIT_POLL_S)


def _renderer(accept: str) -> Any:
    kinds = {part.partition(";")[0].strip().casefold() for part in accept.split(",")}
    if ARROW_STREAM in kinds:
        return render_arrow
    return render_csv if CSV in kinds and JSON not in kinds else render_json


def render_json(result: Result, asked: SqlRequest, seconds: float) -> web.Response:
    """The contract's JSON object."""
    columns = result.columns
    rows = result.rows(asked.time_format)
    _make_plain(columns, rows)
    body = {
        "columns": columns,
        "rows": rows,
        "row_count": len(rows),
        "elapsed_ms": round(seconds * 1000, 3),
        "rows_affected": result.rows_affected,
        "warnings": result.warnings,
        "completeness": result.completeness,
        "time_zone": result.time_zone,
    }
    return web.Response(
        body=json_bytes(body), content_type=JSON, headers={"Cache-Control": "no-store"}
    )


def render_csv(result: Result, asked: SqlRequest, seconds: float) -> web.Response:
    """A header line and the rows; null is an empty field."""
    columns = result.columns
    rows = result.rows(asked.time_format)
    _make_plain(columns, rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column["name"] for column in columns])
    writer.writerows(rows)
    return web.Response(
        body=text.getvalue().encode(),
        content_type=CSV,
        charset="utf-8",
        headers={
            COMPLETENESS_HEADER: completeness_header(result.completeness),
            "Cache-Control": "no-store",
        },
    )


def render_arrow(result: Result, asked: SqlRequest, seconds: float) -> web.Response:
    """An Arrow stream; completeness and warnings stand in the schema's metadata."""
    import pyarrow as pa

    table = result.arrow()
    metadata = {
        **(table.schema.metadata or {}),
        b"mainstem.completeness": json_bytes(result.completeness),
        b"mainstem.warnings": json_bytes(result.warnings),
    }
    table = table.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return web.Response(
        body=sink.getvalue().to_pybytes(),
        content_type=ARROW_STREAM,
        headers={"Cache-Control": "no-store"},
    )


def _make_plain(columns: list[dict[str, str | None]], rows: list[list[Any]]) -> None:
    """Replaces what JSON cannot carry, in the columns that may hold it."""
    for index, column in enumerate(columns):
        if not _EXACT_TYPES.fullmatch(column["type"] or ""):
            for row in rows:
                row[index] = plain_value(row[index])


def completeness_header(completeness: list[dict[str, Any]]) -> str:
    """The objects as one line of ASCII; when too long, how many are in which state."""
    text = json_bytes(completeness).decode()
    if len(text) > HEADER_CHARACTERS_MAX or not text.isascii():
        states: dict[str, int] = {}
        for item in completeness:
            states[item["state"]] = states.get(item["state"], 0) + 1
        through = [item["complete_through"] for item in completeness]
        least = None if None in through else min(through, default=None)
        text = json_bytes({"summary": states, "complete_through": least}).decode()
    return text


ROUTES = (
    Route("POST", "/api/v1/sql", sql, READ, "One SQL statement: JSON, CSV or Arrow.", (JSON,)),
)
