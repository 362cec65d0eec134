"""Rows in: JSON, MessagePack, or an Arrow stream. Answered 200 only when they are durable."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from aiohttp import web

from mainstem_engine.catalog.names import canonical_path
from mainstem_engine.columns import to_times_ns
from mainstem_engine.errors import OutOfRangeError
from mainstem_engine.model import Column
from mainstem_node.api.route import (
    ARROW_STREAM,
    JSON,
    MIB,
    MSGPACK,
    Route,
    decode_json,
    json_response,
    read_body,
)
from mainstem_node.arrow_body import plain_column, read_table
from mainstem_node.auth import WRITE, Principal
from mainstem_node.errors import BadRequestError
from mainstem_node.rows import Reject, parse_groups, tolerant_column
from mainstem_node.runtime import Runtime
from mainstem_node.writing import WriteResult

ROWS_BYTES_MAX = 32 * MIB
"""One body of rows: seconds of a fast machine, and little enough to decode in memory."""


async def write(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    strict = request.query.get("strict", "0") in ("1", "true")
    template = request.query.get("template")
    media = request.content_type
    body = await read_body(request, ROWS_BYTES_MAX)

    async def work() -> WriteResult:
        return await runtime.write_workers.run(_write, runtime, media, body, template, strict)

    result = await runtime.idempotent.once(
        caller.name, request.headers.get("Idempotency-Key"), body, work
    )
    return json_response(result.answer())


def _write(
    runtime: Runtime, media: str, body: bytes, template: str | None, strict: bool
) -> WriteResult:
    if media == ARROW_STREAM:
        if template is None:
            raise BadRequestError(
                "an Arrow stream needs a template", field="template", hint="add ?template=NAME"
            )
        return _write_arrow(runtime, template, body, strict)
    data = decode_json(body) if media == JSON else decode_msgpack(body)
    return runtime.writer.write_groups(parse_groups(data), strict=strict)


def decode_msgpack(body: bytes) -> Any:
    """MessagePack with bounds from the body's own length. BadRequestError when it is none."""
    try:
        # An array or map has at most as many elements as the body has bytes.
        return msgpack.unpackb(
            body,
            strict_map_key=True,
            max_array_len=len(body),
            max_map_len=len(body),
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, RecursionError, UnicodeDecodeError) as error:
        raise BadRequestError(f"the body is not MessagePack: {error}", code="BAD_MSGPACK") from None


def _write_arrow(runtime: Runtime, template: str, body: bytes, strict: bool) -> WriteResult:
    import pyarrow as pa

    table = runtime.engine.catalog.table(template)
    data = read_table(body)
    names = [str(name) for name in data.column_names]
    for needed in ("device", "time"):
        if names.count(needed) != 1:
            raise BadRequestError(f"there is no column {needed}", field=needed)
    paths = plain_column(data.column("device"))
    stamps = plain_column(data.column("time"))
    if not (pa.types.is_string(paths.type) or pa.types.is_large_string(paths.type)):
        raise BadRequestError("device must be a column of texts", field="device")
    if paths.null_count or stamps.null_count:
        raise BadRequestError("device and time must not be null", field="time")
    # Each path is checked once, however many rows it has.
    canonical = {path: canonical_path(path) for path in paths.unique().to_pylist()}
    devices = [canonical[path] for path in paths.to_pylist()]
    precision_ns = runtime.writer.precision_ns(canonical.values())
    if pa.types.is_timestamp(stamps.type) and stamps.type.tz is None:
        raise BadRequestError("time has no zone", field="time", hint="use integers, or a zone")
    if pa.types.is_timestamp(stamps.type):
        stamps = stamps.cast(pa.timestamp(stamps.type.unit))
    time_ns = to_times_ns(stamps, precision_ns)
    columns: dict[int, Column] = {}
    rejects: list[Reject] = []
    tags: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in ("device", "time"):
            continue
        column = plain_column(data.column(name))
        measurement = table.shown_measurement(name)
        if measurement is not None:
            values = _bounded(column, measurement.name)
            columns[measurement.id], bad = tolerant_column(measurement, values, precision_ns)
            rejects += [
                Reject(devices[row], int(time_ns[row]), measurement.name, reason, value)
                for row, reason, value in bad
            ]
        elif table.tag(name) is not None:
            for path, value in zip(devices, column.to_pylist(), strict=True):
                if value is not None:
                    tags.setdefault(path, {})[name] = value
        else:
            known = ", ".join(m.name for m in table.shown)
            raise BadRequestError(
                f"{table.name} has no column {name!r}", field=name, hint=f"it has {known}"
            )
    return runtime.writer.write_columns(
        table, devices, np.asarray(time_ns), columns, dict(tags), rejects, strict=strict
    )


def _bounded(column: Any, name: str) -> Any:
    """The column, when its kind is one that a measurement can have."""
    import pyarrow as pa

    if pa.types.is_nested(column.type):
        raise BadRequestError(f"{name} is nested", field=name, hint="send one value per row")
    if pa.types.is_timestamp(column.type) or pa.types.is_decimal(column.type):
        raise OutOfRangeError(
            f"{name} is {column.type}", field=name, hint="send integers or floats"
        )
    return column


ROUTES = (
    Route(
        "POST", "/api/v1/write", write, WRITE,
        "Rows: JSON or MessagePack groups, or an Arrow stream with template.",
        (JSON, *MSGPACK, ARROW_STREAM), ROWS_BYTES_MAX,
    ),
)  # fmt: skip
