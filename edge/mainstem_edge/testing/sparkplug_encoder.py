"""Sparkplug B payloads written octet by octet, from the specification's field numbers.

It shares nothing with the reader under test: an error in one is not an error in both.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64 = range(1, 9)
FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT, UUID, DATASET, BYTES, FILE, TEMPLATE = range(9, 20)


def varint(number: int) -> bytes:
    found = bytearray()
    while True:
        found.append(number & 0x7F | (0x80 if number > 0x7F else 0))
        number >>= 7
        if not number:
            return bytes(found)


def number_field(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def octets_field(field: int, octets: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(octets)) + octets


def value_field(kind: int, value: object) -> bytes:
    """The value of a metric of this data type."""
    if kind in (TEMPLATE, DATASET):
        assert isinstance(value, bytes)
        return octets_field(18 if kind == TEMPLATE else 17, value)
    if isinstance(value, bytes):
        return octets_field(16, value)
    if isinstance(value, str):
        return octets_field(15, value.encode())
    if isinstance(value, bool):
        return number_field(14, int(value))
    if kind == FLOAT:
        return varint(12 << 3 | 5) + struct.pack("<f", value)
    if kind == DOUBLE:
        return varint(13 << 3 | 1) + struct.pack("<d", value)
    assert isinstance(value, int)
    if kind in (INT64, UINT64, DATETIME):
        return number_field(11, value & (1 << 64) - 1)
    return number_field(10, value & (1 << 32) - 1)


def metric(
    name: str | None = None,
    kind: int | None = None,
    value: object = None,
    *,
    alias: int | None = None,
    time_ms: int | None = None,
    null: bool = False,
    historical: bool = False,
    quality: int | None = None,
    write_kind: bool = True,
) -> bytes:
    """One metric. ``write_kind`` False: the data type is not on the wire, as in data."""
    found = b""
    if name is not None:
        found += octets_field(1, name.encode())
    if alias is not None:
        found += number_field(2, alias)
    if time_ms is not None:
        found += number_field(3, time_ms)
    if kind is not None and write_kind:
        found += number_field(4, kind)
    if historical:
        found += number_field(5, 1)
    if null:
        found += number_field(7, 1)
    if quality is not None:
        code = number_field(1, INT32) + number_field(3, quality)
        found += octets_field(9, octets_field(1, b"Quality") + octets_field(2, code))
    if value is not None:
        assert kind is not None
        found += value_field(kind, value)
    return found


def payload(
    metrics: Sequence[bytes] = (), *, time_ms: int | None = None, seq: int | None = None
) -> bytes:
    found = b"" if time_ms is None else number_field(1, time_ms)
    found += b"".join(octets_field(2, each) for each in metrics)
    return found + (b"" if seq is None else number_field(3, seq))


def template(
    members: Sequence[bytes], *, definition: bool = False, reference: str | None = None
) -> bytes:
    found = b"".join(octets_field(2, each) for each in members)
    if reference is not None:
        found += octets_field(4, reference.encode())
    return found + number_field(5, int(definition))


def dataset(names: Sequence[str], kinds: Sequence[int], rows: Sequence[Sequence[int]]) -> bytes:
    """A data set of small whole numbers."""
    found = number_field(1, len(names))
    found += b"".join(octets_field(2, name.encode()) for name in names)
    found += b"".join(number_field(3, kind) for kind in kinds)
    for row in rows:
        cells = b"".join(octets_field(1, number_field(1, cell)) for cell in row)
        found += octets_field(4, cells)
    return found
