"""The payload of a batch: records as they stand in the log, and blocks made of many of them.

1. Records other than of rows travel as they are in the log.
2. Rows of one table that share their columns are gathered from all records of the batch and travel
   as one *block* (blocks.py): a third of the bytes, and less work at the parent. Each row keeps the
   LSN of its record, so that R means what it means.
3. A block that was received is handed on as it came; it is made anew only where the export rules
   take rows out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_engine.encoded_points import Choices, EncodedPoints, encode_rows
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.light_points import (
    Powers,
    encode_light,
    is_light,
    is_readable,
    rows_bytes,
)
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_engine.model import BoolMask, ColumnType, Lsns, Rows
from mainstem_engine.points import Points, decode_points, encode_points
from mainstem_engine.stacked_points import OpenRecord, stacked_rows
from mainstem_sync.wire.batch import WireBlock, WireRecord
from mainstem_sync.wire.blocks import block_bytes, decode_block
from mainstem_sync.wire.frames import DECODED_BYTES_MAX
from mainstem_sync.wire.messages import Queue

BLOCKS_VERSION = 2
"""Versions of the protocol from here on know blocks."""

LIGHT_VERSION = 3
"""Versions from here on know light blocks."""

HISTORY_ROWS_MIN = 512
"""Below it the frames of the encodings of parts, of every column, take what they save."""

LIVE_ROWS_MIN = 4096
"""Live rows are few, and encoding them would only make them later; a bulk load is not few."""

CHOICES_MAX = 16_384
"""Columns of which is remembered how they are encoded; more tables than any node has."""

DENSE_BYTES_MAX = 1024
"""So much of light blocks zstd makes a few per cent smaller, and takes longer than making them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows, or another record, to send. ``select``: rows that go up; None for all of them.
    ``block``: the payload is one of encoded_points.py, of many records, and ``lsn`` of no meaning;
    ``decoded``: what its rows take.
    """

    lsn: int
    kind: int
    table: str
    rows: int
    payload: memoryview | bytes
    select: BoolMask | None = None
    block: bool = False
    decoded: int = 0
    opened: OpenRecord | None = None
    """Header and buffers of the payload, where somebody has looked already."""

    @property
    def weight(self) -> int:
        """About the bytes that its records have in a log, however they are encoded."""
        return max(self.decoded, len(self.payload))

    def points(self) -> Points:
        """The rows that go up, of a PTS record."""
        points = decode_points(self.payload)
        if self.select is None:
            return points
        rows = points.rows.take(self.select)
        header = {**points.header, "n": len(rows), "acc": len(rows), "mrg": 0}
        return Points(points.table, header, rows)

    def raw(self) -> bytes | memoryview:
        """The payload of a record as it is sent."""
        if self.select is None:
            return self.payload
        points = self.points()
        types = column_types(points)
        return _one(encode_points(points.header, points.rows, types))


@dataclass(slots=True)
class Packed:
    """The payload in parts, and where each record and block lies in it."""

    records: list[WireRecord] = field(default_factory=list)
    blocks: list[WireBlock] = field(default_factory=list)
    parts: list[Buffer] = field(default_factory=list)
    length: int = 0
    decoded: int = 0

    def record(self, piece: Piece) -> None:
        raw = piece.raw()
        self.records.append(
            WireRecord(piece.lsn, piece.kind, piece.table, piece.rows, self.length, len(raw))
        )
        self._put(raw)

    def block(
        self, table: str, rows: int, payload: bytes | memoryview, taken: int | None = None
    ) -> bool:
        """False, and nothing is added, if the parent would refuse to decode so much: long texts
        that few rows share are in every block of them. ``taken``: decoded bytes, if known."""
        taken = block_bytes(payload) if taken is None else taken
        if self.decoded + taken > DECODED_BYTES_MAX:
            return False
        self.decoded += taken
        self.blocks.append(WireBlock(table, rows, self.length, len(payload), taken))
        self._put(payload)
        return True

    def _put(self, payload: bytes | memoryview) -> None:
        self.parts.append(payload)
        self.length += len(payload)

    @property
    def raw(self) -> bytes:
        return b"".join(map(byte_view, self.parts))

    @property
    def is_dense(self) -> bool:
        """True if compressing it is not worth the time."""
        return not self.records and self.length <= DENSE_BYTES_MAX


class Packer:
    """Makes the payloads of one sender; remembers how its columns are best encoded."""

    def __init__(self) -> None:
        self.blocks = True
        """Whether the parent knows blocks; where it does not, everything travels as records."""
        self.light = True
        """Whether it knows light ones."""
        self._choices: Choices = {}
        self._powers: Powers = {}

    def speak(self, version: int) -> None:
        """The parent speaks this version of the protocol."""
        self.blocks = version >= BLOCKS_VERSION
        self.light = version >= LIGHT_VERSION

    def pack(self, pieces: Iterable[Piece], queue: Queue) -> Packed:
        """The payload of one batch; blocks that came as such stay so."""
        rows_min = HISTORY_ROWS_MIN if queue is Queue.HISTORY else LIVE_ROWS_MIN
        packed = Packed()
        records: list[Piece] = []
        gathered: dict[_Shape, list[Piece]] = {}
        opened: dict[int, OpenRecord] = {}
        ordered = sorted(pieces, key=lambda piece: piece.lsn)
        total = sum(piece.rows for piece in ordered)
        for piece in ordered:
            if piece.block:
                if not (self._knows(piece) and self._hand_on(packed, piece)):
                    records += _taken_apart(piece)
            elif (
                piece.rows
                and piece.kind == RecordKind.PTS
                and (self.light or (total >= rows_min and self.blocks))
            ):
                record = piece.opened or decode_payload(piece.payload)
                opened[id(piece)] = record
                gathered.setdefault(_shape(record[0]), []).append(piece)
            else:
                records.append(piece)
        for shape, group in gathered.items():
            few = sum(piece.rows for piece in group) < rows_min
            some = [opened[id(piece)] for piece in group]
            if (few and not self.light) or not self._gather(packed, shape, group, some, few):
                records += group
        for piece in sorted(records, key=lambda piece: piece.lsn):
            packed.record(piece)
        return packed

    def _knows(self, block: Piece) -> bool:
        return self.light if is_light(block.payload) else self.blocks

    def _gather(
        self,
        packed: Packed,
        shape: _Shape,
        pieces: Sequence[Piece],
        opened: Sequence[OpenRecord],
        light: bool,
    ) -> bool:
        rows = stacked_rows(opened)
        lsns = np.array([piece.lsn for piece in pieces], np.uint64)
        lsn: Lsns = np.repeat(lsns, [int(header["n"]) for header, _ in opened])
        if any(piece.select is not None for piece in pieces):
            chosen = np.concatenate(
                [
                    np.ones(int(header["n"]), np.bool_) if piece.select is None else piece.select
                    for piece, (header, _) in zip(pieces, opened, strict=True)
                ]
            )
            rows, lsn = rows.take(chosen), lsn[chosen]
        table, revision, derived, columns = shape
        header = {"t": table, "rev": revision, "der": derived}
        types = {key: ColumnType(code) for key, code, _ in columns}
        payload = self._encoded(header, rows, lsn, types, light)
        if len(payload) > sum(len(piece.payload) for piece in pieces):
            return False
        if light and not is_readable(payload):
            return False
        taken = rows_bytes(len(rows), types) if light else None
        return packed.block(table, len(rows), payload, taken)

    def _hand_on(self, packed: Packed, piece: Piece) -> bool:
        if piece.select is None:
            return packed.block(piece.table, piece.rows, piece.payload, piece.decoded or None)
        found = decode_block(piece.payload, bytes_max=DECODED_BYTES_MAX)
        rows, lsn = found.points.rows.take(piece.select), found.lsn[piece.select]
        types = column_types(found.points)
        light = is_light(piece.payload)
        payload = self._encoded(found.points.header, rows, lsn, types, light)
        return packed.block(piece.table, len(rows), payload)

    def _encoded(
        self,
        header: Mapping[str, Any],
        rows: Rows,
        lsn: Lsns,
        types: dict[int, ColumnType],
        light: bool,
    ) -> bytes:
        if light:
            if len(self._powers) > CHOICES_MAX:
                self._powers.clear()
            return encode_light(header, rows, lsn, types, self._powers)
        if len(self._choices) > CHOICES_MAX:
            self._choices.clear()
        return _one(encode_rows(header, rows, lsn, types, self._choices))


_Shape = tuple[str, int, int, tuple[tuple[int, int, int], ...]]
"""Table, revision, 1 for rollup rows, and (id, type, kind) of each column: what may be joined."""


def _shape(header: Mapping[str, Any]) -> _Shape:
    columns = tuple((column[0], column[1], column[3]) for column in header["cols"])
    return header["t"], header["rev"], header["der"], columns


def column_types(points: Points) -> dict[int, ColumnType]:
    """Types of the columns, as the record names them."""
    return {int(column[0]): ColumnType(column[1]) for column in points.header["cols"]}


def _taken_apart(block: Piece) -> Iterator[Piece]:
    """The records of a block, without the rows that stay here."""
    found: EncodedPoints = decode_block(block.payload, bytes_max=DECODED_BYTES_MAX)
    types = column_types(found.points)
    for lsn, points in found.records(block.select):
        payload = _one(encode_points(points.header, points.rows, types))
        yield Piece(lsn, block.kind, block.table, len(points.rows), payload)


def _one(pieces: Sequence[Buffer]) -> bytes:
    return b"".join(map(byte_view, pieces))
