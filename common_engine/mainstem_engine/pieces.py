"""The rows of a head in order of device, a piece at a time.

1. A piece is a range of devices, or a range of times of a device with very many rows. Pieces come
   in order of device and time, and together hold every row once.
2. Chunks order themselves by device with an index, unless they are so as they arrived. A piece
   takes some of every chunk and is sorted by itself: arrays that fit a processor's cache sort
   several times faster than a whole head.
3. Only keys are sorted. A column is gathered from the chunks into that order when it is read, by
   the thread that encodes it (deferred.py).
4. Memory is bounded by the piece, not by the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import conform_rows, widened_values
from mainstem_engine.deferred import DeferredColumn
from mainstem_engine.deletes import Tombstones
from mainstem_engine.head import Chunk
from mainstem_engine.merge import Index, concat_rows, gather, part_order, part_sorted
from mainstem_engine.model import (
    AnyArray,
    BoolMask,
    Column,
    ColumnType,
    DeviceIds,
    TimesNs,
    VersionedRows,
)

PIECE_ROWS = 1 << 16
"""Enough for vectorised work and for whole blocks of many devices; a column of them is 512 KiB."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Row numbers of some devices and times, per chunk that has any."""

    chunks: Sequence[tuple[Chunk, AnyArray | slice]]

    def keys(self) -> VersionedRows:
        """Device, time and version of every row, without columns."""
        return concat_rows([chunk.rows(index, []) for chunk, index in self.chunks])

    def rows(self, tombstones: Tombstones, types: Mapping[int, ColumnType]) -> VersionedRows:
        """The rows that are not deleted, in the table's present types, in no order."""
        found = []
        for chunk, index in self.chunks:
            rows = tombstones.erase(chunk.rows(index, None), chunk.applied)
            if len(rows):
                found.append(conform_rows(rows, types))
        return concat_rows(found)

    def sorted_rows(self, tombstones: Tombstones, types: Mapping[int, ColumnType]) -> VersionedRows:
        """The rows that are not deleted, in the table's present types, in the order of a part."""
        if tombstones:
            return part_sorted(self.rows(tombstones, types))
        keys = self.keys()
        order = part_order(keys)
        rows = keys if order is None else gather(keys, order)
        for key in {key: None for chunk, _ in self.chunks for key in chunk.columns}:
            rows.columns[key] = DeferredColumn(
                partial(gather_column, self.chunks, key, types.get(key), order)
            )
        return rows


def gather_column(
    chunks: Sequence[tuple[Chunk, AnyArray | slice]],
    key: int,
    kind: ColumnType | None,
    order: Index | None,
    before: Column | None = None,
) -> Column:
    """A column of the rows of ``chunks``, in the type ``kind`` (None: as it is), null where a chunk
    has none; the rows one chunk after the other, then in ``order``. One chunk at least has it.

    ``before``: values that come before them in the result.
    """
    columns = [chunk.columns.get(key) for chunk, _ in chunks]
    dtype = next(column.values.dtype for column in columns if column is not None)
    if kind is not None:
        dtype = kind.dtype
    sizes = [_rows_at(chunk, index) for chunk, index in chunks]
    total = sum(sizes)
    held = 0 if before is None else len(before.values)
    found: AnyArray = np.empty(held + total, dtype)
    if before is not None:
        found[:held] = before.values
    values = found[held:] if order is None else np.empty(total, dtype)
    end = 0
    for (_, index), column, size in zip(chunks, columns, sizes, strict=True):
        start, end = end, end + size
        if column is None:
            values[start:end] = np.zeros((), dtype)
        elif column.values.dtype != dtype and kind is not None:
            values[start:end] = widened_values(column.values[index], kind)
        elif isinstance(index, slice):
            values[start:end] = column.values[index]
        else:
            column.values.take(index, out=values[start:end], mode="clip")
    if order is not None:
        values.take(order, out=found[held:], mode="clip")
    whole = all(column is not None and column.valid is None for column in columns)
    if whole and (before is None or before.valid is None):
        return Column(found)
    valid = np.ones(held + total, np.bool_)
    if before is not None and before.valid is not None:
        valid[:held] = before.valid
    if not whole:
        pieces = [
            _validity(column, index, size)
            for column, (_, index), size in zip(columns, chunks, sizes, strict=True)
        ]
        joined = np.concatenate(pieces)
        valid[held:] = joined if order is None else joined.take(order, mode="clip")
    return Column(found, valid)


def _validity(column: Column | None, index: AnyArray | slice, size: int) -> BoolMask:
    if column is None:
        return np.zeros(size, np.bool_)
    return np.ones(size, np.bool_) if column.valid is None else column.valid[index]


def _rows_at(chunk: Chunk, index: AnyArray | slice) -> int:
    return len(range(chunk.length)[index]) if isinstance(index, slice) else len(index)


def pieces_of(chunks: Sequence[Chunk], piece_rows: int = PIECE_ROWS) -> Iterator[Piece]:
    """The rows of ``chunks`` (sealed, none empty) in pieces of about ``piece_rows``."""
    orders = [chunk.device_order() for chunk in chunks]
    cuts = _device_cuts([ordered for _, ordered in orders], piece_rows)
    edges = [np.append(ordered.searchsorted(cuts), len(ordered)).tolist() for _, ordered in orders]
    for number in range(len(cuts)):
        found: list[tuple[Chunk, AnyArray | slice]] = []
        rows = 0
        for chunk, (order, _), places in zip(chunks, orders, edges, strict=True):
            first, last = places[number], places[number + 1]
            if first < last:
                rows += last - first
                found.append((chunk, slice(first, last) if order is None else order[first:last]))
        if rows > 2 * piece_rows:
            yield from _time_pieces(found, piece_rows)
        else:
            yield Piece(found)


def _device_cuts(devices: Sequence[DeviceIds], piece_rows: int) -> DeviceIds:
    """The first device of every piece. A device with many rows has a piece of its own."""
    ordered = np.sort(np.concatenate(devices))
    marks = ordered[::piece_rows]
    heavy = marks[1:][marks[1:] == marks[:-1]]
    after = ordered[np.minimum(ordered.searchsorted(heavy, side="right"), len(ordered) - 1)]
    return np.unique(np.concatenate([marks, heavy, after]))


def _time_pieces(
    parts: Sequence[tuple[Chunk, AnyArray | slice]], piece_rows: int
) -> Iterator[Piece]:
    """The rows of one device, cut by time. Rows of one time stay together."""
    times: list[TimesNs] = [chunk.time[index] for chunk, index in parts]
    ordered = np.sort(np.concatenate(times))
    cuts = np.unique(ordered[::piece_rows])
    ends = np.append(cuts[1:], ordered[-1] + 1)
    for start, end in zip(cuts.tolist(), ends.tolist(), strict=True):
        found: list[tuple[Chunk, AnyArray | slice]] = []
        for (chunk, index), time in zip(parts, times, strict=True):
            inside: npt.NDArray[np.intp] = np.flatnonzero((time >= start) & (time < end))
            if len(inside):
                rows = inside + index.start if isinstance(index, slice) else index[inside]
                found.append((chunk, rows))
        yield Piece(found)


def row_bytes(chunks: Sequence[Chunk]) -> int:
    """Bytes of the widest row of ``chunks``."""
    return max((chunk.row_bytes() for chunk in chunks), default=0)
