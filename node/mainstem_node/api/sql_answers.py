"""The three formats of an answer, made piece by piece, so that a large one is never held whole.

Each function yields bytes; what it reads of the result while it does may raise the statement's
error. Completeness and warnings are known before the first row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from mainstem_engine.sql.running.frames import WriteBuffer
from mainstem_node.api.route import ARROW_STREAM, CSV, JSON, json_bytes
from mainstem_node.plain import is_exact, plain_value

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.result import Result

TimeFormat = Literal["integer", "rfc3339"]
COMPLETENESS_HEADER = "Mainstem-Completeness"
HEADER_CHARACTERS_MAX = 6000
"""Clients and proxies refuse headers of 8 KiB; beyond this the header holds a summary."""
SLICE_ROWS = 8192
"""Rows that are Python values at a time: each value takes some 50 bytes, whatever it was before."""

Chunks = Iterator[bytes]
Render = Callable[["Result", TimeFormat, float], Chunks]


def json_chunks(result: Result, time_format: TimeFormat, seconds: float) -> Chunks:
    """The contract's JSON object."""
    yield b'{"columns":' + json_bytes(result.columns) + b',"rows":['
    count = 0
    for rows in _plain_rows(result, time_format):
        if rows:
            yield (b"," if count else b"") + json_bytes(rows)[1:-1]
            count += len(rows)
    after = {
        "row_count": count,
        "elapsed_ms": round(seconds * 1000, 3),
        "rows_affected": result.rows_affected,
        "warnings": result.warnings,
        "completeness": result.completeness,
        "time_zone": result.time_zone,
    }
    yield b"]," + json_bytes(after)[1:]


def csv_chunks(result: Result, time_format: TimeFormat, seconds: float) -> Chunks:
    """A header line and the rows; null is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column["name"] for column in result.columns])
    for rows in _plain_rows(result, time_format):
        writer.writerows(rows)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def arrow_chunks(result: Result, time_format: TimeFormat, seconds: float) -> Chunks:
    """An Arrow stream; completeness and warnings stand in the schema's metadata."""
    import pyarrow as pa

    said = {
        b"mainstem.completeness": json_bytes(result.completeness),
        b"mainstem.warnings": json_bytes(result.warnings),
    }
    sink = WriteBuffer()
    writer: Any = None
    for piece in result.pieces():
        table: pa.Table = piece.arrow()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **said})
        if writer is None:
            writer = pa.ipc.new_stream(sink, table.schema)
        for batch in table.to_batches(SLICE_ROWS):
            writer.write_batch(batch)
            yield sink.take()
    writer.close()
    yield sink.take()


RENDERERS: dict[str, Render] = {ARROW_STREAM: arrow_chunks, CSV: csv_chunks, JSON: json_chunks}
STREAMED = frozenset({ARROW_STREAM, CSV})
"""Formats whose rows may go out before the statement has ended. JSON waits for the end: who reads
it wants an error as an object, not a connection that breaks off."""


def media_type(accept: str) -> str:
    """The format that a request asks for; JSON when it accepts everything."""
    kinds = {part.partition(";")[0].strip().casefold() for part in accept.split(",")}
    if ARROW_STREAM in kinds:
        return ARROW_STREAM
    return CSV if CSV in kinds and JSON not in kinds else JSON


def headers_of(result: Result, media: str) -> dict[str, str]:
    """What stands before the rows."""
    headers = {"Content-Type": media, "Cache-Control": "no-store"}
    if media == CSV:
        headers["Content-Type"] = "text/csv; charset=utf-8"
        headers[COMPLETENESS_HEADER] = completeness_header(result.completeness)
    elif media == JSON:
        headers["Content-Type"] = "application/json; charset=utf-8"
    return headers


def _plain_rows(result: Result, time_format: TimeFormat) -> Iterator[list[list[Any]]]:
    inexact = [
        index for index, column in enumerate(result.columns) if not is_exact(column["type"] or "")
    ]
    for piece in result.pieces():
        for part in piece.slices(SLICE_ROWS):
            rows = part.rows(time_format)
            for index in inexact:
                for row in rows:
                    row[index] = plain_value(row[index])
            yield rows


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
