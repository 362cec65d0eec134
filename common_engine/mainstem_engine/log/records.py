"""What a log record carries: a kind, an LSN and a payload of one header and some raw buffers.

Payload of every kind: ``u32 header length | msgpack map | zeros to 8 | buffers, each padded to 8``.
The map's key ``b`` lists the lengths of the buffers. Everything is little-endian, and because a
record's payload starts at a multiple of 8 in its file, every buffer can be looked at in place.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer, byte_view

ALIGNMENT = 8
"""Widest value in a buffer; numpy looks at aligned data in place."""

KIND_MAX = 255
"""A kind is one byte on disk."""

_LENGTH = struct.Struct("<I")
_PADS = tuple(bytes(n) for n in range(ALIGNMENT))


class RecordKind(enum.IntEnum):
    """Kinds of records. The numbers are on disk and on the wire: append only."""

    UNKNOWN = 0
    """Never written. A number of a later version is a member of its own, named KIND_<number>."""
    PTS = 1
    """Rows of one table."""
    DEL = 2
    SCH = 3
    """A definition: database, template, template set on a path."""
    DEV = 4
    """New devices of a table."""
    OWN = 5
    """Devices that were moved from one node to another."""
    RCV = 6
    """A batch received from a child, its records inside."""
    IMG = 7
    MAN = 8
    """Manifests: counts and digests of time slices."""
    LOSS = 9
    EXP = 10
    EVT = 11
    EPO = 12
    BOOT = 13
    """A process started; holds a random id."""
    COVER = 14
    ORD = 15
    """An order to a node below, given or taken here."""
    RES = 16
    """What became of an order."""

    @classmethod
    def _missing_(cls, value: object) -> RecordKind | None:
        """A number of a later version keeps its value: copying its record changes nothing."""
        if not isinstance(value, int) or not 0 <= value <= KIND_MAX:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"KIND_{value}"
        member._value_ = value
        return member


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the log. ``chain`` (16 bytes) binds it to everything before it."""

    lsn: int
    kind: RecordKind
    pieces: tuple[memoryview | bytes, ...]
    """The payload, in order. One piece for a record that was read."""
    size: int
    """Bytes of the payload."""
    chain: bytes

    @property
    def payload(self) -> memoryview | bytes:
        """The payload as one buffer; a copy when it is in several pieces."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)


def encode_payload(header: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> list[Buffer]:
    """The pieces of a payload, in order; the buffers are not copied.

    ``header`` must be plain values that msgpack knows; its key ``b`` is set here.
    """
    views = [byte_view(buffer) for buffer in buffers]
    packed = msgpack.packb({**header, "b": [view.nbytes for view in views]})
    pieces: list[Buffer] = [_LENGTH.pack(len(packed)) + packed + _pad(4 + len(packed))]
    for view in views:
        if view.nbytes:
            pieces.append(view)
            if view.nbytes % ALIGNMENT:
                pieces.append(_pad(view.nbytes))
    return pieces


def decode_payload(payload: Buffer) -> tuple[dict[str, Any], list[memoryview]]:
    """Header (without ``b``) and buffers of a payload; the buffers look into ``payload``.

    Raises CorruptionError if lengths do not fit: a payload may come from another node.
    """
    view = byte_view(payload)
    if view.nbytes < 4:
        raise _corrupt(0, "too short for a header")
    (header_bytes,) = _LENGTH.unpack_from(view)
    position = 4 + header_bytes
    if position > view.nbytes:
        raise _corrupt(0, f"declares a header of {header_bytes} bytes, has {view.nbytes}")
    try:
        header = msgpack.unpackb(view[4:position], strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise _corrupt(4, f"header is not msgpack ({exc})") from exc
    lengths = header.pop("b", None) if isinstance(header, dict) else None
    if not isinstance(lengths, list):
        raise _corrupt(4, "header has no list of buffer lengths")
    buffers = []
    for length in lengths:
        position += -position % ALIGNMENT
        if not isinstance(length, int) or length < 0 or position + length > view.nbytes:
            raise _corrupt(position, f"declares a buffer of {length!r} bytes, has {view.nbytes}")
        buffers.append(view[position : position + length])
        position += length
    return header, buffers


def _pad(length: int) -> bytes:
    return _PADS[-length % ALIGNMENT]


def _corrupt(offset: int, problem: str) -> CorruptionError:
    return CorruptionError("record payload", offset, problem)
