"""The part list record by record, also past damage: for those who look, and for a repair.

A record whose checksum is wrong but whose length (kept twice) is right is stepped over. Where the
length is wrong too, the search goes on byte by byte for a record that is right. An engine never
reads like this: it stops, for what is missing may be what matters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import msgpack

from mainstem_engine.filesystem import has_blank_sector
from mainstem_engine.part.manifest import PartMeta

HEAD_BYTES = 16
"""Magic, version and checksum; see part/manifest.py."""
_RECORD = struct.Struct("<III")
_INVERT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PartListRecord:
    """One change, or a stretch that is not one.

    ``problem`` None: a change that is right. ``torn``: it was never finished, so nothing of it
    ever counted.
    """

    offset: int
    bytes: int
    added: tuple[PartMeta, ...] = ()
    removed: tuple[str, ...] = ()
    checkpoint: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    torn: bool = False


def part_list_records(data: bytes) -> Iterator[PartListRecord]:
    """Every record of a part list's bytes, in order, damaged stretches between them."""
    position = HEAD_BYTES
    while position < len(data):
        record = _record_at(data, position)
        if record is None:
            record = _stretch(data, position)
        yield record
        position += record.bytes


def _record_at(data: bytes, position: int) -> PartListRecord | None:
    """The record that starts here; None if there is none that is right."""
    body = position + _RECORD.size
    if body > len(data):
        return None
    length, inverted, crc = _RECORD.unpack_from(data, position)
    content = data[body : body + length]
    if length != inverted ^ _INVERT or len(content) != length:
        return None
    if google_crc32c.value(content) != crc:
        return None
    try:
        change: Any = msgpack.unpackb(content)
        added = tuple(PartMeta.unpack(values) for values in change["add"])
        removed, checkpoint = tuple(change["remove"]), change["checkpoint"]
        facts = dict(change.get("facts") or {})
    except (KeyError, TypeError, ValueError, IndexError, msgpack.UnpackException) as error:
        problem = f"a record that is not understood ({error!r})"
        return PartListRecord(position, _RECORD.size + length, problem=problem)
    return PartListRecord(position, _RECORD.size + length, added, removed, checkpoint, facts)


def _stretch(data: bytes, position: int) -> PartListRecord:
    """What lies between ``position`` and the next record that is right, or the end."""
    end = _next_record(data, position + 1)
    size = (len(data) if end is None else end) - position
    if end is None and _is_torn(data, position):
        return PartListRecord(position, size, problem="a torn write", torn=True)
    return PartListRecord(position, size, problem="these bytes are no record")


def _next_record(data: bytes, start: int) -> int | None:
    """Where the next record starts. Only places whose two lengths agree are looked at closer."""
    for position in range(start, len(data) - _RECORD.size):
        length, inverted, _ = _RECORD.unpack_from(data, position)
        if length == inverted ^ _INVERT and _record_at(data, position) is not None:
            return position
    return None


def _is_torn(data: bytes, position: int) -> bool:
    """As the part list judges the end of its file: bytes are missing, or a sector is blank."""
    body = position + _RECORD.size
    if body > len(data):
        return True
    length, inverted, _ = _RECORD.unpack_from(data, position)
    if length == inverted ^ _INVERT and body + length > len(data):
        return True
    return has_blank_sector(memoryview(data), position, len(data))
