"""The head: rows that are in the log and not yet in a part.

1. A table's head is a list of *chunks* in order of arrival. Only the last one grows.
2. A large batch becomes a chunk of its own, without a copy. Small ones are copied into growing
   arrays, which are sealed at CHUNK_ROWS.
3. Rows are only ever appended. A reader takes the arrays and a length; growing makes new arrays, so
   what it took keeps its values. Appending and taking a view are serialised by the store's lock.
4. A chunk knows which local log records its rows came in; ``TableHead.seal`` ends it, so that a
   record that replaces what is there can tell the rows before it from those after it.
5. A sealed chunk knows its ranges of device and time, and sorts itself by device once, when first
   asked for single devices: a query for one device never sorts or copies the whole head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.merge import Index, stable_device_order
from mainstem_engine.model import (
    AnyArray,
    BoolMask,
    Column,
    DeviceIds,
    Lsns,
    Rows,
    VersionedRows,
)

CHUNK_ROWS = 1 << 16
"""Rows of a chunk that grows: sorting one by device takes a fraction of a millisecond."""
LARGE_BATCH_ROWS = 1 << 13
"""From here on a batch is cheaper as a chunk of its own than copied."""
_FIRST_CAPACITY = 256
_FEW_DEVICES = 16
"""So many are looked up one by one; for more, the range that spans them is filtered."""
KEY_BYTES = 22
"""Device, time, origin and LSN of a row."""
OBJECT_BYTES = 64
"""What a string costs beside its pointer and its characters."""


@dataclass(slots=True)
class Chunk:
    """Rows in order of arrival: the arrays may be longer than ``length``."""

    sequence: int
    device: DeviceIds
    time: npt.NDArray[np.int64]
    origin: npt.NDArray[np.uint16]
    lsn: npt.NDArray[np.uint64]
    columns: dict[int, Column]
    length: int
    applied: tuple[int, int] = (0, 0)
    """First and last LSN of the local log records that its rows came in."""
    vnode: int = 0
    sealed: bool = False
    by_device: tuple[Index | None, DeviceIds] | None = None
    ranges: tuple[int, int, int, int] | None = None

    def rows(self, index: AnyArray | slice, measurement_ids: list[int] | None) -> VersionedRows:
        """The rows at ``index``, with these measurements (None: all)."""
        keys = self.columns if measurement_ids is None else measurement_ids
        return VersionedRows(
            self.device[index],
            self.time[index],
            self.origin[index],
            self.lsn[index],
            {k: self.columns[k].take(index) for k in keys if k in self.columns},
        )

    def all_rows(self) -> VersionedRows:
        return self.rows(slice(0, self.length), None)

    def bounds(self) -> tuple[int, int, int, int]:
        """(least device, greatest device, least time, greatest time)."""
        if self.ranges is not None:
            return self.ranges
        device, time = self.device[: self.length], self.time[: self.length]
        found = int(device.min()), int(device.max()), int(time.min()), int(time.max())
        if self.sealed:
            self.ranges = found
        return found

    def select(
        self,
        devices: DeviceIds | None,
        start_ns: int,
        end_ns: int,
        measurement_ids: list[int] | None = None,
    ) -> VersionedRows | None:
        """Rows of ``devices`` (sorted; None: all) in [start, end), in no order; None if none."""
        if self.length == 0:
            return None
        device_min, device_max, time_min, time_max = self.bounds()
        if time_min >= end_ns or time_max < start_ns:
            return None
        index: Index | None = None
        if devices is not None:
            low, high = devices.searchsorted((device_min, device_max + 1)).tolist()
            if low == high:
                return None
            index = self._rows_of_devices(devices[low:high])
        if time_min < start_ns or time_max >= end_ns:
            time = self.time[: self.length] if index is None else self.time[index]
            inside = (time >= start_ns) & (time < end_ns)
            index = np.flatnonzero(inside) if index is None else index[inside]
        if index is None:
            return self.rows(slice(0, self.length), measurement_ids)
        return self.rows(index, measurement_ids) if len(index) else None

    def _rows_of_devices(self, devices: DeviceIds) -> Index:
        """Row numbers of ``devices`` (sorted, not empty)."""
        device = self.device[: self.length]
        if not self.sealed:
            return is_member(device, devices).nonzero()[0]
        order, ordered = self.device_order()
        if len(devices) <= _FEW_DEVICES:
            starts = np.searchsorted(ordered, devices, side="left")
            ends = np.searchsorted(ordered, devices, side="right")
            pieces = [np.arange(a, b) for a, b in zip(starts, ends, strict=True)]
            found = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            return found if order is None else order[found]
        start = np.searchsorted(ordered, devices[0], side="left")
        end = np.searchsorted(ordered, devices[-1], side="right")
        between = np.arange(start, end) if order is None else order[start:end]
        if len(devices) == int(devices[-1]) - int(devices[0]) + 1:
            return between
        return between[is_member(ordered[start:end], devices)]

    def device_order(self) -> tuple[Index | None, DeviceIds]:
        """(row numbers in order of device, the devices so ordered), of a sealed chunk.

        None: the rows are in that order as they arrived, as those of large batches are.
        """
        if self.by_device is None:
            device = self.device[: self.length]
            if bool((device[1:] >= device[:-1]).all()):
                self.by_device = None, device
            else:
                order = stable_device_order(device)
                self.by_device = order, device[order]
        return self.by_device

    def row_bytes(self) -> int:
        """Bytes of one row."""
        total = KEY_BYTES
        for column in self.columns.values():
            total += column.values.itemsize + (column.valid is not None)
            if column.values.dtype == object:
                total += OBJECT_BYTES
        return total


def text_bytes(rows: Rows) -> int:
    """Bytes of the TEXT and BLOB values themselves, a character counted as one."""
    found = 0
    for column in rows.columns.values():
        if column.values.dtype == object:
            found += sum(map(len, filter(None, column.values.tolist())))
    return found


def is_member(device: DeviceIds, devices: DeviceIds) -> BoolMask:
    """True where a device is one of ``devices`` (sorted)."""
    if len(devices) == 0:
        return np.zeros(len(device), np.bool_)
    if len(devices) == 1:
        mask: BoolMask = device == devices[0]
        return mask
    place = np.minimum(devices.searchsorted(device), len(devices) - 1)
    matches: BoolMask = devices[place] == device
    return matches


@dataclass(slots=True)
class TableHead:
    """The head of one table."""

    table: str
    first_sequence: int = 0
    vnode: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    late: list[tuple[DeviceIds, npt.NDArray[np.int64]]] = field(default_factory=list)
    """Keys of the rows that were not newer than all before of their device."""

    def append(self, rows: Rows, origin: int, lsn: int | Lsns, local_lsn: int) -> None:
        """Adds rows of the record ``local_lsn``. The arrays must not be changed afterwards."""
        count = len(rows)
        if count >= LARGE_BATCH_ROWS:
            self._append_large(rows, origin, lsn, local_lsn)
        else:
            self._append_small(rows, origin, lsn, local_lsn)
        self.rows += count

    def view(self) -> list[Chunk]:
        """The chunks at this instant, as values that appending does not change."""
        if not self.chunks or self.chunks[-1].sealed:
            return list(self.chunks)
        return [*self.chunks[:-1], _frozen(self.chunks[-1])]

    def seal(self) -> None:
        """Nothing more is appended to the chunks that are there."""
        if self.chunks:
            self.chunks[-1].sealed = True

    @property
    def next_sequence(self) -> int:
        return self.first_sequence + len(self.chunks)

    def _append_large(self, rows: Rows, origin: int, lsn: int | Lsns, local_lsn: int) -> None:
        self.seal()
        count = len(rows)
        chunk = Chunk(
            self.next_sequence,
            rows.device,
            rows.time,
            np.full(count, origin, np.uint16),
            np.full(count, lsn, np.uint64) if isinstance(lsn, int) else lsn,
            dict(rows.columns),
            count,
            (local_lsn, local_lsn),
            self.vnode,
            sealed=True,
        )
        self.chunks.append(chunk)
        self.bytes += chunk.row_bytes() * count + text_bytes(rows)

    def _append_small(self, rows: Rows, origin: int, lsn: int | Lsns, local_lsn: int) -> None:
        count = len(rows)
        chunk = self.chunks[-1] if self.chunks else None
        full = chunk is None or chunk.sealed or chunk.length + count > CHUNK_ROWS
        if chunk is None or full or not _types_fit(chunk, rows):
            self.seal()
            chunk = _new_chunk(self.next_sequence, max(count, _FIRST_CAPACITY))
            chunk.applied, chunk.vnode = (local_lsn, local_lsn), self.vnode
            self.chunks.append(chunk)
        start, end = chunk.length, chunk.length + count
        if end > len(chunk.device):
            _grow(chunk, max(end, min(2 * len(chunk.device), CHUNK_ROWS)))
        chunk.device[start:end] = rows.device
        chunk.time[start:end] = rows.time
        chunk.origin[start:end] = origin
        chunk.lsn[start:end] = lsn
        for key, column in rows.columns.items():
            own = chunk.columns.get(key)
            if own is None or own.valid is not None or column.valid is not None:
                _put_column(chunk, key, column, start, end)
            else:
                own.values[start:end] = column.values
        if len(chunk.columns) > len(rows.columns):
            for key, own in chunk.columns.items():
                if key not in rows.columns:
                    _valid_of(own, start)[start:end] = False
        chunk.length = end
        chunk.applied = (chunk.applied[0], local_lsn)
        self.bytes += chunk.row_bytes() * count + text_bytes(rows)


def _types_fit(chunk: Chunk, rows: Rows) -> bool:
    """False when a column of the table was widened since the chunk began."""
    for key, column in rows.columns.items():
        own = chunk.columns.get(key)
        # Native types are one object each; what is not the same may still be equal.
        if (
            own is not None
            and own.values.dtype is not column.values.dtype
            and own.values.dtype != column.values.dtype
        ):
            return False
    return True


def _frozen(chunk: Chunk) -> Chunk:
    """The same arrays under their own length and column map."""
    columns = {k: Column(c.values, c.valid) for k, c in chunk.columns.items()}
    return Chunk(
        chunk.sequence, chunk.device, chunk.time, chunk.origin, chunk.lsn, columns, chunk.length,
        chunk.applied, chunk.vnode,
    )  # fmt: skip


def _new_chunk(sequence: int, capacity: int) -> Chunk:
    return Chunk(
        sequence,
        np.empty(capacity, np.uint32),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.uint16),
        np.empty(capacity, np.uint64),
        {},
        0,
    )


def _put_column(chunk: Chunk, key: int, column: Column, start: int, end: int) -> None:
    own = chunk.columns.get(key)
    if own is None:
        own = Column(np.zeros(len(chunk.device), column.values.dtype))
        if start:
            own.valid = np.zeros(len(chunk.device), np.bool_)
        chunk.columns[key] = own
    own.values[start:end] = column.values
    if column.valid is not None:
        _valid_of(own, start)[start:end] = column.valid
    elif own.valid is not None:
        own.valid[start:end] = True


def _valid_of(column: Column, rows: int) -> BoolMask:
    """The validity of a growing column, made when the first null comes."""
    if column.valid is None:
        column.valid = np.zeros(len(column.values), np.bool_)
        column.valid[:rows] = True
    return column.valid


def _grow(chunk: Chunk, capacity: int) -> None:
    chunk.device = _resized(chunk.device, capacity)
    chunk.time = _resized(chunk.time, capacity)
    chunk.origin = _resized(chunk.origin, capacity)
    chunk.lsn = _resized(chunk.lsn, capacity)
    for column in chunk.columns.values():
        column.values = _resized(column.values, capacity)
        if column.valid is not None:
            column.valid = _resized(column.valid, capacity)


def _resized(array: Any, capacity: int) -> Any:
    grown = np.zeros(capacity, array.dtype)
    grown[: len(array)] = array
    return grown


class Head:
    """All tables' heads of one vnode between two flushes."""

    def __init__(self, vnode: int = 0, sequences: dict[str, int] | None = None) -> None:
        self._vnode = vnode
        self._sequences = sequences or {}
        self.tables: dict[str, TableHead] = {}
        self.rows = 0
        self.bytes = 0

    def append(
        self,
        name: str,
        rows: Rows,
        origin: int,
        lsn: int | Lsns,
        late: BoolMask | None,
        local_lsn: int,
    ) -> int:
        """Adds rows of a table; returns by how many bytes the head grew.

        ``late`` marks those that were not newer than all before them.
        """
        table = self.tables.get(name)
        if table is None:
            table = TableHead(name, self._sequences.get(name, 0), self._vnode)
            self.tables[name] = table
        before = table.bytes
        table.append(rows, origin, lsn, local_lsn)
        if late is not None:
            table.late.append((rows.device[late], rows.time[late]))
        self.rows += len(rows)
        self.bytes += table.bytes - before
        return table.bytes - before

    def successor(self) -> Head:
        """An empty head whose chunks go on counting where this one ends; this one is sealed."""
        sequences = dict(self._sequences)
        for name, table in self.tables.items():
            table.seal()
            sequences[name] = table.next_sequence
        return Head(self._vnode, sequences)
