"""Rows as MQTT payloads: one JSON object or array, or CSV lines under a header.

A payload is closed at ``batch_rows`` rows, or earlier at PAYLOAD_BYTES_MAX, so that no broker
refuses it. An object carries ``ts`` (RFC 3339, UTC), ``device`` where one is given, and the
values that are present.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from mainstem_node.replay.table import Row

PAYLOAD_BYTES_MAX = 256 * 1024
"""Brokers refuse large messages (nats-server above 1 MB, many sites above 256 KiB)."""

TIME_KEY = "ts"
DEVICE_KEY = "device"

CODECS = ("json", "csv")


@dataclass(frozen=True, slots=True)
class Message:
    """``payload`` holds ``rows`` rows; the first and last instants pace a replay."""

    payload: bytes
    rows: int
    first_ns: int
    last_ns: int


def encode(
    rows: Iterable[Row],
    *,
    codec: str,
    columns: Sequence[str],
    device: str | None,
    batch_rows: int,
) -> Iterator[Message]:
    """Messages of at most ``batch_rows`` rows, in order. Holds one message in memory."""
    line_of, join = _json(device, batch_rows) if codec == "json" else _csv(device, columns)
    lines: list[bytes] = []
    size = 0
    first_ns = last_ns = 0
    for row in rows:
        line = line_of(row)
        if lines and (len(lines) >= batch_rows or size + len(line) > PAYLOAD_BYTES_MAX):
            yield Message(join(lines), len(lines), first_ns, last_ns)
            lines, size = [], 0
        if not lines:
            first_ns = row.instant_ns
        lines.append(line)
        size += len(line) + 1
        last_ns = row.instant_ns
    if lines:
        yield Message(join(lines), len(lines), first_ns, last_ns)


LineOf = Callable[[Row], bytes]
Join = Callable[[list[bytes]], bytes]


def _json(device: str | None, batch_rows: int) -> tuple[LineOf, Join]:
    # The encoder writes the shortest decimal that reads back as the same float64.
    encoder = msgspec.json.Encoder()
    named = {} if device is None else {DEVICE_KEY: device}

    def line_of(row: Row) -> bytes:
        return encoder.encode({TIME_KEY: row.time, **named, **row.values})

    def join(lines: list[bytes]) -> bytes:
        return lines[0] if batch_rows == 1 else b"[" + b",".join(lines) + b"]"

    return line_of, join


def _csv(device: str | None, columns: Sequence[str]) -> tuple[LineOf, Join]:
    named = [] if device is None else [device]

    def line(cells: Sequence[object]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue().encode()

    def text(value: object) -> object:
        return str(value).lower() if isinstance(value, bool) else value

    def line_of(row: Row) -> bytes:
        return line([row.time, *named, *(text(row.values.get(name, "")) for name in columns)])

    header = line([TIME_KEY, *([DEVICE_KEY] if named else []), *columns])
    return line_of, lambda lines: header + b"".join(lines)
