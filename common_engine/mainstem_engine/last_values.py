"""The newest values of devices, coherent under late data and overwrites.

The newest value of a measurement is the one with the greatest (time, version) among all stored
values that are not null. That is a join: the order in which values are seen does not matter, so:

1. A device is *loaded* when somebody first asks for it: from the blocks that can hold its newest
   values, newest first, until nothing older can matter; and from the head.
2. Later rows are taken over when somebody asks again, from where the last look at the head ended,
   and before a flush drops chunks of the head. The write path knows nothing of this.
3. What is held is bounded by CELLS_MAX. Beyond it everything of the table is forgotten and loaded
   anew; a question for more devices than fit is answered in slices that are not kept.

In a rollup table a newer version may replace a value by null, which no join undoes: a device that
sees a row not newer than its newest is forgotten and loaded anew.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.accounting import NEVER_NS
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, conform_rows
from mainstem_engine.head import is_member
from mainstem_engine.inventory import blocks_of
from mainstem_engine.merge import Index, concat_rows, merge_versions, version_sorted
from mainstem_engine.model import (
    AnyArray,
    Column,
    ColumnType,
    DeviceIds,
    Lsns,
    OriginIndexes,
    TimesNs,
    VersionedRows,
)
from mainstem_engine.part.reader import Part
from mainstem_engine.retention import Cutoff
from mainstem_engine.store import Store
from mainstem_engine.view import TableView

CELLS_MAX = 500_000
"""Values held per table: about 20 MB of numbers (50,000 devices with ten measurements)."""
BLOCKS_AT_ONCE = 32
"""Blocks read in one step while loading: enough to be vectorised, few enough to stop early."""


@dataclass(frozen=True, slots=True)
class LastRows:
    """One row per device that has rows, ascending: the time of its newest row (ns), and per
    measurement the newest value that is not null with its own time (unspecified where null)."""

    device: DeviceIds
    time: TimesNs
    columns: dict[int, Column]
    column_times: dict[int, TimesNs]


@dataclass(slots=True)
class _Cells:
    """The newest value of one measurement for every slot; ``time`` NEVER_NS where there is none."""

    values: AnyArray
    time: TimesNs
    epoch: npt.NDArray[np.uint32]
    lsn: Lsns
    origin: OriginIndexes

    @classmethod
    def empty(cls, kind: ColumnType, count: int) -> _Cells:
        return cls(
            np.zeros(count, kind.dtype),
            np.full(count, NEVER_NS, np.int64),
            np.zeros(count, np.uint32),
            np.zeros(count, np.uint64),
            np.zeros(count, np.uint16),
        )

    def join(
        self,
        slots: Index,
        rows: VersionedRows,
        index: Index,
        values: AnyArray,
        epochs: npt.NDArray[np.uint32],
    ) -> None:
        """Takes over the value at ``index`` of ``rows`` for each slot where it is newer."""
        time, lsn, origin = rows.time[index], rows.lsn[index], rows.origin[index]
        epoch = epochs[origin]
        newer: npt.NDArray[np.bool_] = np.zeros(len(slots), np.bool_)
        equal: npt.NDArray[np.bool_] = np.ones(len(slots), np.bool_)
        pairs: tuple[tuple[AnyArray, AnyArray], ...] = (
            (time, self.time[slots]),
            (epoch, self.epoch[slots]),
            (origin, self.origin[slots]),
            (lsn, self.lsn[slots]),
        )
        for new, old in pairs:
            newer |= equal & (new > old)
            equal &= new == old
        chosen = slots[newer]
        self.values[chosen] = values[index][newer]
        self.time[chosen] = time[newer]
        self.epoch[chosen] = epoch[newer]
        self.lsn[chosen] = lsn[newer]
        self.origin[chosen] = origin[newer]


class _TableCells:
    """Loaded devices of one table, ascending; slot i is the i-th of them."""

    def __init__(self, types: Mapping[int, ColumnType]) -> None:
        self.types = types
        self.devices: DeviceIds = np.empty(0, np.uint32)
        self.cells = {key: _Cells.empty(kind, 0) for key, kind in self.types.items()}
        self.positions: dict[int, tuple[int, int]] = {}
        """By vnode (sequence, rows) of the chunk up to which its head has been taken over."""

    def slots(self, devices: DeviceIds) -> Index:
        """Slots of devices, all of which are loaded."""
        return np.searchsorted(self.devices, devices)

    def add(self, devices: DeviceIds) -> None:
        """Makes empty slots for devices that are not loaded."""
        merged = np.union1d(self.devices, devices)
        old = np.searchsorted(merged, self.devices)
        for key, cells in self.cells.items():
            grown = _Cells.empty(self.types[key], len(merged))
            for name in ("values", "time", "epoch", "lsn", "origin"):
                getattr(grown, name)[old] = getattr(cells, name)
            self.cells[key] = grown
        self.devices = merged

    def remove(self, devices: DeviceIds) -> None:
        """Forgets devices."""
        keep = ~is_member(self.devices, devices)
        for key, cells in self.cells.items():
            self.cells[key] = _Cells(
                cells.values[keep],
                cells.time[keep],
                cells.epoch[keep],
                cells.lsn[keep],
                cells.origin[keep],
            )
        self.devices = self.devices[keep]

    def join(self, rows: VersionedRows, view: TableView) -> None:
        """Takes over rows in any order; those of devices that are not loaded are ignored."""
        mask = is_member(rows.device, self.devices)
        if not mask.all():
            rows = rows.take(mask)
        if not len(rows):
            return
        if view.whole_rows:
            rows = merge_versions(rows, view.epochs, whole_rows=True)
        else:
            rows = version_sorted(rows, view.epochs)
        rows = conform_rows(rows, self.types)
        starts = np.flatnonzero(np.append(True, rows.device[1:] != rows.device[:-1]))
        slots = self.slots(rows.device[starts])
        for key, cells in self.cells.items():
            column = rows.columns.get(key)
            if column is None:
                continue
            newest = np.append(starts[1:], len(rows)) - 1
            chosen = slots
            if column.valid is not None:
                place = np.where(column.valid, np.arange(len(rows)), -1)
                newest = np.maximum.reduceat(place, starts)
                found = newest >= 0
                newest, chosen = newest[found], slots[found]
            cells.join(chosen, rows, newest, column.values, view.epochs)

    def newest(self, devices: DeviceIds) -> TimesNs:
        """Per device the newest time of any of its values."""
        slots = self.slots(devices)
        times = np.full(len(devices), NEVER_NS, np.int64)
        for cells in self.cells.values():
            np.maximum(times, cells.time[slots], out=times)
        return times


class LastValues:
    """Answers for all tables of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._tables: dict[str, _TableCells] = {}

    def last(self, table: Table, devices: DeviceIds) -> LastRows:
        """The newest values of ``devices`` (ascending). Raises CorruptionError."""
        fits = max(1, CELLS_MAX // max(1, len(table.template.measurements)))
        if len(devices) <= fits:
            with self._lock:
                cells, newest, cutoff = self._loaded(table, devices, fits)
                return _last_rows(cells, devices, newest, cutoff)
        pieces = []
        for start in range(0, len(devices), fits):
            some = devices[start : start + fits]
            view, newest = self._store.view_with_newest(table, some)
            cells = _TableCells(view.types)
            cells.add(some)
            _load(cells, some, view)
            pieces.append(_last_rows(cells, some, newest, view.cutoff))
        return _concatenated(pieces)

    def absorb(self) -> None:
        """Takes over the head, before a flush drops a part of it."""
        with self._lock:
            for name, cells in list(self._tables.items()):
                table = self._store.catalog.table(name)
                view = self._store.view(table)
                if cells.types == view.types:
                    self._take_over(cells, view)
                else:
                    del self._tables[name]  # altered: loaded anew when asked for

    def _loaded(
        self, table: Table, devices: DeviceIds, fits: int
    ) -> tuple[_TableCells, TimesNs, Cutoff | None]:
        view, newest = self._store.view_with_newest(table, devices)
        cells = self._tables.get(table.name)
        if cells is None or cells.types != view.types:
            cells = self._tables[table.name] = _TableCells(view.types)
        missing = np.setdiff1d(devices, cells.devices)
        if len(cells.devices) + len(missing) > fits:
            cells = self._tables[table.name] = _TableCells(view.types)
            missing = devices
        self._take_over(cells, view)
        if view.whole_rows:
            missing = np.setdiff1d(devices, cells.devices)
        if len(missing):
            cells.add(missing)
            try:
                _load(cells, missing, view)
            except BaseException:
                # Half loaded must not pass for loaded.
                cells.remove(missing)
                raise
        return cells, newest, view.cutoff

    def _take_over(self, cells: _TableCells, view: TableView) -> None:
        """Rows of the head that came since the last look."""
        for chunk in view.chunks:
            sequence, seen = cells.positions.get(chunk.vnode, (0, 0))
            first = seen if chunk.sequence == sequence else 0
            if chunk.sequence < sequence or first >= chunk.length:
                continue
            cells.positions[chunk.vnode] = (chunk.sequence, chunk.length)
            if len(cells.devices):
                rows = chunk.rows(slice(first, chunk.length), None)
                if view.whole_rows:
                    self._forget_replaced(cells, rows)
                cells.join(rows, view)

    def _forget_replaced(self, cells: _TableCells, rows: VersionedRows) -> None:
        """Devices with a row that is not newer than all before it."""
        mine = is_member(rows.device, cells.devices)
        device, time = rows.device[mine], rows.time[mine]
        if len(device):
            slots = cells.slots(device)
            newest = cells.newest(cells.devices)[slots]
            cells.remove(np.unique(device[time <= newest]))


def _load(cells: _TableCells, devices: DeviceIds, view: TableView) -> None:
    """Fills the (new) slots of ``devices`` from the head, then from parts, newest blocks first."""
    for chunk in view.chunks:
        rows = chunk.select(devices, TIME_MIN_NS, TIME_MAX_NS + 1)
        if rows is not None:
            cells.join(rows, view)
    candidates: list[tuple[int, Part, int]] = []
    for part in view.parts:
        hit = blocks_of(part, devices, TIME_MIN_NS, TIME_MAX_NS + 1)
        if hit is not None:
            whole, blocks = hit
            newest = whole.blocks.time_max_ns[blocks]
            candidates += [
                (int(time), whole, int(block)) for time, block in zip(newest, blocks, strict=True)
            ]
    candidates.sort(key=lambda candidate: -candidate[0])
    if view.whole_rows:
        _load_whole(cells, devices, candidates, view)
        return
    position = 0
    while position < len(candidates):
        group: list[VersionedRows] = []
        while position < len(candidates) and len(group) < BLOCKS_AT_ONCE:
            _, part, block = candidates[position]
            position += 1
            keys = _wanted_columns(cells, devices, part, block)
            if keys:
                found = _newest_of_block(part, block, keys)
                group += [conform_rows(rows, cells.types) for rows in found]
        if group:
            cells.join(_only(concat_rows(group), devices), view)


def _newest_of_block(part: Part, block: int, keys: Sequence[int]) -> list[VersionedRows]:
    """Rows of a block that hold the newest values of its devices.

    In a block of one device the newest value of a number without nulls is the last one, which the
    statistics have: then only the columns of the version are decoded, and of them one row is kept.
    """
    index = part.blocks
    known: dict[int, Column] = {}
    if index.device_min[block] == index.device_max[block]:
        for key in keys:
            statistics = part.statistics(key)
            if statistics is not None and not part.nulls(key)[block]:
                known[key] = Column(statistics.last[block : block + 1])
    rows = part.read([block], [key for key in keys if key not in known])
    if not known:
        return [rows]
    if len(rows) > 1 and rows.time[-1] == rows.time[-2]:
        # Fragments of one row: which is newest is for the merge rule to say.
        return [part.read([block], keys)]
    newest = rows.take(slice(len(rows) - 1, None))
    newest.columns = known
    return [rows, newest] if rows.columns else [newest]


def _wanted_columns(
    cells: _TableCells, devices: DeviceIds, part: Part, block: int
) -> Sequence[int]:
    """Measurements for which the block could hold something newer than what is known."""
    index = part.blocks
    low = np.searchsorted(devices, index.device_min[block], side="left")
    high = np.searchsorted(devices, index.device_max[block], side="right")
    slots = cells.slots(devices[low:high])
    newest = index.time_max_ns[block]
    types = part.types
    return [
        key
        for key, column in cells.cells.items()
        if key in types
        and part.nulls(key)[block] < index.rows[block]
        and bool((column.time[slots] <= newest).any())
    ]


def _load_whole(
    cells: _TableCells,
    devices: DeviceIds,
    candidates: Sequence[tuple[int, Part, int]],
    view: TableView,
) -> None:
    """For rollup tables: a version in one block may blank a value of another, so all are merged."""
    batches = [
        conform_rows(rows, cells.types)
        for chunk in view.chunks
        if (rows := chunk.select(devices, TIME_MIN_NS, TIME_MAX_NS + 1)) is not None
    ]
    for _, part, block in candidates:
        rows = conform_rows(part.read([block], part.types), cells.types)
        batches.append(_only(rows, devices))
    cells.remove(devices)
    cells.add(devices)
    if batches:
        cells.join(concat_rows(batches), view)


def _only(rows: VersionedRows, devices: DeviceIds) -> VersionedRows:
    mask = is_member(rows.device, devices)
    return rows if mask.all() else rows.take(mask)


def _last_rows(
    cells: _TableCells, devices: DeviceIds, newest: TimesNs, cutoff: Cutoff | None
) -> LastRows:
    """What is expired is there no longer: nothing older can be newer than it."""
    oldest = np.full(len(devices), NEVER_NS + 1) if cutoff is None else cutoff.of(devices)
    there = newest >= oldest
    devices, newest, oldest = devices[there], newest[there], oldest[there]
    slots = cells.slots(devices)
    columns: dict[int, Column] = {}
    times: dict[int, Any] = {}
    for key, held in cells.cells.items():
        time = held.time[slots]
        valid = time >= oldest
        columns[key] = Column(held.values[slots], None if valid.all() else valid)
        times[key] = np.where(valid, time, NEVER_NS)
    return LastRows(devices, newest, columns, times)


def _concatenated(pieces: Sequence[LastRows]) -> LastRows:
    columns: dict[int, Column] = {}
    times: dict[int, TimesNs] = {}
    for key in pieces[0].columns:
        valid = np.concatenate([p.column_times[key] != NEVER_NS for p in pieces])
        columns[key] = Column(np.concatenate([p.columns[key].values for p in pieces]), valid)
        times[key] = np.concatenate([p.column_times[key] for p in pieces])
    return LastRows(
        np.concatenate([p.device for p in pieces]),
        np.concatenate([p.time for p in pieces]),
        columns,
        times,
    )
