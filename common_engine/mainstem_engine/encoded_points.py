"""Rows of many PTS records of one table, in the encodings of parts: how history travels.

1. The rows of the records are sorted by device, time and LSN and cut into blocks as a part would
   (part/blocks.py). Each row keeps the LSN of its record, so that the records can be told apart.
2. All records have the same columns of the same types, and the same revision; rollup rows are not
   mixed with others. What counts a record has for its own node (accepted, merged) stays there.
3. Bytes may come from another node: every length and count is checked, and what all values will
   take is known, and bounded by the caller, before the first of them is decoded.

Header: ``t`` table, ``rev``, ``der`` as in points.py, ``n`` rows, ``cols`` [measurement id, type].
Buffers: rows of each block uint32[k]; device ids uint32[d] and how many rows follow for each
uint32[d]; then for TIME, LSN and each of ``cols`` an index (uint32[k] bytes, bytes of the bitmap
and nulls, then uint8[k] encoding and compression) and the blocks, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.encoding.auto import Choice
from mainstem_engine.encoding.interface import Compression
from mainstem_engine.encoding.registry import decode_column
from mainstem_engine.errors import CorruptionError, EncodingError
from mainstem_engine.filesystem import Buffer
from mainstem_engine.log.records import decode_payload, encode_payload
from mainstem_engine.merge import is_strictly_sorted, key_order
from mainstem_engine.model import (
    AnyArray,
    BoolMask,
    Column,
    ColumnType,
    DeviceIds,
    Lsns,
    Rows,
    TimesNs,
)
from mainstem_engine.part.blocks import Starts, block_starts
from mainstem_engine.part.encoder import ColumnPlan, encode_values
from mainstem_engine.part.layout import (
    BLOCK_ROWS_MAX,
    LSN_COLUMN,
    SYSTEM_COLUMNS,
    TIME_COLUMN,
    EncodedBlocks,
)
from mainstem_engine.points import Points, points_header

BLOCK_ROWS = 4096
"""As in parts; encoders gain nothing from more."""

Choices = MutableMapping[tuple[str, int], Choice]
"""What suited the columns (table, measurement id) of earlier rows."""

_U32 = np.dtype("<u4")
_INDEX: tuple[np.dtype[Any], ...] = (_U32, _U32, _U32, np.dtype("u1"), np.dtype("u1"))
_ROW_BYTES = 20
"""Device, time and LSN of a decoded row."""
_LENGTH_BYTES = 4
"""A compressed block begins with the length of what was compressed."""


@dataclass(frozen=True, slots=True)
class EncodedPoints:
    """Decoded: the rows as those of one record, and the LSN of each. ``single``: that of all of
    them, where it was one record and this is known at once."""

    points: Points
    lsn: Lsns
    single: int | None = None

    @property
    def span(self) -> tuple[int, int]:
        """The least and the greatest LSN."""
        if self.single is not None:
            return self.single, self.single
        return int(self.lsn.min()), int(self.lsn.max())

    def records(self, keep: BoolMask | None = None) -> Iterator[tuple[int, Points]]:
        """(LSN, rows) of each record, ascending; ``keep``: only these rows. A loop per record."""
        rows, lsn = self.points.rows, self.lsn
        order = np.argsort(lsn, kind="stable")
        if keep is not None:
            order = order[keep[order]]
        edges = np.flatnonzero(np.diff(lsn[order])) + 1
        for index in np.split(order, edges) if len(order) else ():
            yield int(lsn[index[0]]), self._record(rows.take(index))

    def _record(self, rows: Rows) -> Points:
        fields = self.points.header
        counts = points_header(
            self.points.table,
            fields["rev"],
            len(rows),
            accepted=len(rows),
            derived=self.points.derived,
        )
        return Points(self.points.table, {**counts, "cols": fields["cols"]}, rows)


def encode_rows(
    header: Mapping[str, Any],
    rows: Rows,
    lsn: Lsns,
    types: Mapping[int, ColumnType],
    choices: Choices,
) -> list[Buffer]:
    """The pieces of the payload. ``header``: ``t``, ``rev`` and ``der`` of the records. ``rows`` in
    any order, at least one; ``lsn`` uint64[n]. ``choices`` is kept up to date."""
    rows, lsn = _ordered(rows, lsn)
    starts = block_starts(rows.device, BLOCK_ROWS)
    sizes = np.diff(np.append(starts, len(rows))).astype(_U32)
    runs = np.flatnonzero(np.r_[True, rows.device[1:] != rows.device[:-1]])
    lengths = np.diff(np.append(runs, len(rows))).astype(_U32)
    buffers: list[Buffer] = [sizes, np.ascontiguousarray(rows.device[runs], _U32), lengths]
    for key, column in ((TIME_COLUMN, Column(rows.time)), (LSN_COLUMN, Column(lsn))):
        buffers += _encoded(ColumnPlan(key, SYSTEM_COLUMNS[key]), column, starts)[0]
    table = str(header["t"])
    for key, column in rows.columns.items():
        plan = ColumnPlan(key, types[key], choice=choices.get((table, key)))
        found, choice = _encoded(plan, column, starts)
        buffers += found
        if choice is not None:
            choices[table, key] = choice
    fields = {
        "t": table,
        "rev": header["rev"],
        "der": header["der"],
        "n": len(rows),
        "cols": [[key, int(types[key])] for key in rows.columns],
    }
    return encode_payload(fields, buffers)


def _ordered(rows: Rows, lsn: Lsns) -> tuple[Rows, Lsns]:
    if is_strictly_sorted(rows.device, rows.time):
        return rows, lsn
    order = key_order(rows.device, rows.time, lsn)
    return rows.take(order), lsn[order]


def _encoded(
    plan: ColumnPlan, column: Column, starts: Starts
) -> tuple[tuple[bytes, bytes], Choice | None]:
    """(index, blocks) of one column, and what suited it."""
    blocks, choice = encode_values(plan, column, starts)
    return (_packed_index(blocks), b"".join(blocks.data)), choice


def _packed_index(blocks: EncodedBlocks) -> bytes:
    index = blocks.index
    entries: list[npt.NDArray[Any]] = [
        index.bytes, index.valid_bytes, index.nulls, index.encoding, index.compression,
    ]  # fmt: skip
    return b"".join(
        entry.astype(dtype).tobytes() for entry, dtype in zip(entries, _INDEX, strict=True)
    )


def device_runs(payload: Buffer) -> tuple[DeviceIds, npt.NDArray[np.uint32]]:
    """(device ids, rows of each) in the order of the rows. Raises CorruptionError."""
    _, buffers = decode_payload(payload)
    return _runs(buffers)


def decode_rows(payload: Buffer, *, bytes_max: int) -> EncodedPoints:
    """All rows, sorted by (device, time, LSN). Raises CorruptionError, also where the values would
    take more than ``bytes_max``."""
    header, columns, ids, lengths = _opened(payload)
    expected = _decoded_bytes(header, columns)
    if expected > bytes_max:
        raise CorruptionError(
            "encoded rows", 0, f"{expected} bytes of values, at most {bytes_max} may be"
        )
    try:
        return _decode(header, columns, ids, lengths)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, EncodingError) as exc:
        raise CorruptionError("encoded rows", 0, f"rows that cannot be read: {exc!r}") from exc


def decoded_bytes(payload: Buffer) -> int:
    """Bytes that all rows will take, by what the payload declares. Raises CorruptionError."""
    header, columns, _, _ = _opened(payload)
    return _decoded_bytes(header, columns)


def _decoded_bytes(header: Mapping[str, Any], columns: Sequence[_Blocks]) -> int:
    rows = int(header["n"])
    return _ROW_BYTES * rows + sum(column.bytes_when_decoded for column in columns)


def _opened(payload: Buffer) -> _Opened:
    """Header, columns, devices and rows of each, checked against each other."""
    header, buffers = decode_payload(payload)
    try:
        return _open(header, buffers)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as exc:
        raise CorruptionError("encoded rows", 0, f"rows that cannot be read: {exc!r}") from exc


def _open(header: dict[str, Any], buffers: list[memoryview]) -> _Opened:
    count = int(header["n"])
    types = {int(key): ColumnType(code) for key, code in header["cols"]}
    if len(types) != len(header["cols"]) or len(buffers) != 3 + 2 * (2 + len(types)):
        raise ValueError(f"{len(buffers)} buffers for {len(header['cols'])} columns")
    sizes = np.frombuffer(buffers[0], _U32)
    if count <= 0 or int(sizes.sum(dtype=np.int64)) != count:
        raise ValueError(f"{count} rows in blocks of {sizes.sum(dtype=np.int64)}")
    if int(sizes.min()) == 0 or int(sizes.max()) > BLOCK_ROWS_MAX:
        raise ValueError("a block without rows, or with too many")
    ids, lengths = _runs(buffers)
    if int(lengths.sum(dtype=np.int64)) != count:
        raise ValueError("devices of other rows")
    kinds = [SYSTEM_COLUMNS[TIME_COLUMN], SYSTEM_COLUMNS[LSN_COLUMN], *types.values()]
    columns = [
        _Blocks.of(kind, sizes, buffers[place], buffers[place + 1])
        for place, kind in zip(range(3, len(buffers), 2), kinds, strict=True)
    ]
    fields = {
        "t": str(header["t"]), "rev": int(header["rev"]), "der": int(header["der"]), "n": count,
        "cols": [[key, int(kind)] for key, kind in types.items()],
    }  # fmt: skip
    return fields, columns, ids.astype(np.uint32), lengths


def _decode(
    header: dict[str, Any],
    columns: Sequence[_Blocks],
    ids: DeviceIds,
    lengths: npt.NDArray[np.uint32],
) -> EncodedPoints:
    time, lsn, *values = (column.decode() for column in columns)
    if time.valid is not None or lsn.valid is not None:
        raise ValueError("a row without a time or LSN")
    keys = [key for key, _ in header["cols"]]
    rows = Rows(np.repeat(ids, lengths), time.values, dict(zip(keys, values, strict=True)))
    _check_order(rows.device, rows.time)
    return EncodedPoints(Points(header["t"], header, rows), lsn.values)


def _runs(buffers: Sequence[memoryview]) -> tuple[DeviceIds, npt.NDArray[np.uint32]]:
    try:
        ids, lengths = np.frombuffer(buffers[1], _U32), np.frombuffer(buffers[2], _U32)
    except (IndexError, ValueError) as exc:
        raise CorruptionError("encoded rows", 0, f"no devices: {exc}") from exc
    if len(ids) != len(lengths) or (ids[1:] <= ids[:-1]).any() or (lengths == 0).any():
        raise CorruptionError("encoded rows", 0, "devices that do not ascend, or have no rows")
    return ids, lengths


def _check_order(device: DeviceIds, time: TimesNs) -> None:
    """What reads the rows relies on their order."""
    if ((time[1:] < time[:-1]) & (device[1:] == device[:-1])).any():
        raise ValueError("rows that are not sorted by time")


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The blocks of one column, checked but not decoded."""

    kind: ColumnType
    rows: list[int]
    size: list[int]
    bitmap: list[int]
    nulls: list[int]
    encoding: list[int]
    compression: list[int]
    data: memoryview

    @classmethod
    def of(
        cls, kind: ColumnType, sizes: npt.NDArray[np.uint32], index: memoryview, data: memoryview
    ) -> _Blocks:
        entries: list[npt.NDArray[Any]] = []
        position = 0
        for dtype in _INDEX:
            end = position + dtype.itemsize * len(sizes)
            entries.append(np.frombuffer(index[position:end], dtype))
            position = end
        if position != index.nbytes or any(len(entry) != len(sizes) for entry in entries):
            raise ValueError("an index of other blocks")
        size, bitmap, nulls = (entry.astype(np.int64) for entry in entries[:3])
        if int(size.sum() + bitmap.sum()) != data.nbytes or (nulls > sizes).any():
            raise ValueError("an index that does not fit its blocks")
        return cls(
            kind, sizes.tolist(), size.tolist(), bitmap.tolist(), nulls.tolist(),
            entries[3].tolist(), entries[4].tolist(), data,
        )  # fmt: skip

    @property
    def bytes_when_decoded(self) -> int:
        """Of values and bitmap; of TEXT and BLOB what their blocks declare, besides."""
        total = sum(self.rows) * (self.kind.dtype.itemsize + 1)
        position = 0
        for size, bitmap, compression in zip(self.size, self.bitmap, self.compression, strict=True):
            begin = position + bitmap
            position = begin + size
            if compression != Compression.UNCOMPRESSED:
                total += int.from_bytes(self.data[begin : begin + _LENGTH_BYTES], "little")
            elif self.kind.is_variable:
                total += size
        return total

    def decode(self) -> Column:
        """All values. EncodingError, ValueError."""
        total = sum(self.rows)
        values: AnyArray = np.zeros(total, self.kind.dtype)
        if values.dtype == object:
            values[:] = None
        valid: BoolMask | None = np.ones(total, np.bool_) if any(self.nulls) else None
        place = position = 0
        for number, rows in enumerate(self.rows):
            begin = position + self.bitmap[number]
            end = begin + self.size[number]
            nulls = self.nulls[number]
            out = values[place : place + rows]
            if nulls == rows:
                assert valid is not None
                valid[place : place + rows] = False
            elif nulls:
                assert valid is not None
                mask = _bitmap(self.data[position:begin], rows, nulls)
                valid[place : place + rows] = mask
                dense: AnyArray = np.empty(rows - nulls, out.dtype)
                self._decode(number, begin, end, dense)
                out[mask] = dense
            else:
                self._decode(number, begin, end, out)
            place, position = place + rows, end
        return Column(values, valid)

    def _decode(self, number: int, begin: int, end: int, out: AnyArray) -> None:
        decode_column(
            self.encoding[number], self.compression[number], self.data[begin:end], self.kind, out
        )


_Opened = tuple[dict[str, Any], list[_Blocks], DeviceIds, npt.NDArray[np.uint32]]


def _bitmap(packed: memoryview, rows: int, nulls: int) -> BoolMask:
    if packed.nbytes != -(-rows // 8):
        raise ValueError(f"a bitmap of {packed.nbytes} bytes for {rows} rows")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=rows, bitorder="little")
    mask: BoolMask = bits.view(np.bool_)
    if int(np.count_nonzero(mask)) != rows - nulls:
        raise ValueError("a bitmap that does not fit the count of nulls")
    return mask
