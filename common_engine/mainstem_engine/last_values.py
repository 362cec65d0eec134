"""The newest values of devices, coherent under late data, overwrites, deletes and retention.

The newest value of a measurement is the one with the greatest (time, version) among all stored
values that are not null. That is a join: the order in which values are seen does not matter, so:

1. A device is *loaded* when somebody first asks for it: from the blocks that can hold its newest
   values, newest first, until nothing older can matter; and from the head.
2. Later rows are taken over when somebody asks again, from where the last look at the head ended,
   and before a flush drops chunks of the head. The write path knows nothing of this.
3. A delete that reaches what is held of a device makes it be forgotten and loaded anew.
4. What is expired is masked when it is asked for: nothing older can be newer than it.
5. What is held is bounded (last_cells.py). Beyond it everything of the table is forgotten and
   loaded anew; a question for more devices than fit is answered in slices that are not kept.

In a rollup table a newer version may replace a value by null, which no join undoes: a device that
sees a row not newer than its newest is forgotten and loaded anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.accounting import NEVER_NS
from mainstem_engine.arrow import ArrowLayout
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, conform_rows
from mainstem_engine.deletes import Tombstones
from mainstem_engine.head import is_member
from mainstem_engine.inventory import blocks_of
from mainstem_engine.last_cells import LastCells
from mainstem_engine.merge import Index, concat_rows
from mainstem_engine.model import Column, DeviceIds, TimesNs, VersionedRows
from mainstem_engine.part.reader import Part
from mainstem_engine.retention import Cutoff
from mainstem_engine.store import Store
from mainstem_engine.view import TableView

logger = logging.getLogger(__name__)

BLOCKS_AT_ONCE = 32
"""Blocks read in one step while loading: enough to be vectorised, few enough to stop early."""
SLICE_CELLS = 1_000_000
"""Cells of one slice of a question that is too large to be kept: about 30 MB."""
SCRATCH_DIRECTORY = "scratch"
ASKED_MAX = 100_000
"""Devices that were asked for one at a time and are remembered: some 10 MB."""

LAYOUTS_MAX = 64
"""Tables whose layout is kept: some kB each."""

Candidate = tuple[int, Part, int]
"""(newest time, part, block) of a block that may hold rows of wanted devices."""


@dataclass(frozen=True, slots=True)
class LastRows:
    """One row per device that has rows, ascending: the time of its newest row (ns), and per
    measurement the newest value that is not null with its own time (unspecified where null)."""

    device: DeviceIds
    time: TimesNs
    columns: dict[int, Column]
    column_times: dict[int, TimesNs]


class LastValues:
    """Answers for all tables of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._tables: dict[str, LastCells] = {}
        self._may_map = True
        self._asked: set[tuple[str, int]] = set()
        self._layouts: dict[str, tuple[Table, int, ArrowLayout, Any]] = {}

    def last(self, table: Table, devices: DeviceIds) -> LastRows:
        """The newest values of ``devices`` (ascending). Raises CorruptionError."""
        with self._lock:
            found = self._held(table, devices)
        if found is not None:
            return found
        size = max(1, SLICE_CELLS // (len(table.template.measurements) + 1))
        pieces = []
        for start in range(0, len(devices), size):
            some = devices[start : start + size]
            view, newest = self._store.view_with_newest(table, some)
            cells = LastCells(view.types)
            cells.add(some, newest)
            _load(cells, some, view)
            pieces.append(_last_rows(cells, some, view.cutoff))
        return _concatenated(pieces)

    def is_worth_holding(self, table: Table, device: DeviceIds) -> bool:
        """True when somebody has asked for ``device`` (uint32[1]) lately. Loading it for the first
        question may cost more than the answer."""
        key = table.name, int(device[0])
        if key in self._asked:
            return True
        if len(self._asked) >= ASKED_MAX:
            self._asked.clear()
        self._asked.add(key)
        return False

    def layout(self, table: Table, precision_ns: int) -> tuple[ArrowLayout, Any]:
        """(layout, schema) of an answer as an Arrow table."""
        found = self._layouts.get(table.name)
        # A table that is altered is another object.
        if found is None or found[0] is not table or found[1] != precision_ns:
            names = [m.name for m in table.shown]
            layout = ArrowLayout(table, self._store.catalog.devices, precision_ns, names)
            if len(self._layouts) >= LAYOUTS_MAX:
                self._layouts.clear()
            found = self._layouts[table.name] = (table, precision_ns, layout, layout.schema())
        return found[2], found[3]

    def absorb(self) -> None:
        """Takes over the head and its deletes, before a flush drops a part of them."""
        with self._lock:
            for name, cells in list(self._tables.items()):
                view = self._store.view(self._store.catalog.table(name))
                if cells.types == view.types:
                    _take_over(cells, view)
                else:
                    del self._tables[name]  # altered: loaded anew when asked for

    def _held(self, table: Table, devices: DeviceIds) -> LastRows | None:
        """The answer from what is held, loaded first where it is missing; None: too many."""
        view = self._store.view(table)
        cells = self._cells(view)
        if len(devices) > cells.room:
            return None
        _take_over(cells, view)
        missing = cells.missing(devices)
        if len(missing):
            if len(cells.devices) + len(missing) > cells.room:
                del self._tables[view.table]
                cells, missing = self._cells(view), devices
            view, newest = self._store.view_with_newest(table, devices)
            if view.types != cells.types:
                return None  # altered meanwhile
            _take_over(cells, view)
            missing = cells.missing(devices)
            try:
                cells.add(missing, None if newest is None else newest[_among(devices, missing)])
            except OSError as error:
                logger.warning("newest values are held in memory only: %s", error)
                self._may_map = False
                del self._tables[view.table]
                return None
            try:
                _load(cells, missing, view)
            except BaseException:
                # Half loaded must not pass for loaded.
                cells.remove(missing)
                raise
        return _last_rows(cells, devices, view.cutoff)

    def _cells(self, view: TableView) -> LastCells:
        cells = self._tables.get(view.table)
        if cells is None or cells.types != view.types:
            cells = LastCells(view.types, self._scratch if self._may_map else None)
            self._tables[view.table] = cells
        return cells

    def _scratch(self, size: int) -> object:
        return self._store.fs.scratch(self._store.path / SCRATCH_DIRECTORY, size)


def _take_over(cells: LastCells, view: TableView) -> None:
    """Deletes and rows of the head that came since the last look."""
    for item in view.tombstones.after(cells.erased_through):
        devices = None if item.devices is None else np.unique(item.devices)
        cells.remove(cells.between(devices, item.start_ns, item.end_ns))
        cells.erased_through = item.lsn
    for chunk in view.chunks:
        sequence, seen = cells.positions.get(chunk.vnode, (0, 0))
        first = seen if chunk.sequence == sequence else 0
        if chunk.sequence < sequence or first >= chunk.length:
            continue
        cells.positions[chunk.vnode] = (chunk.sequence, chunk.length)
        if len(cells.devices):
            rows = chunk.rows(slice(first, chunk.length), None)
            rows = view.tombstones.erase(rows, chunk.applied)
            if view.whole_rows:
                _forget_replaced(cells, rows)
            cells.join(conform_rows(rows, cells.types), view.epochs, whole_rows=view.whole_rows)


def _forget_replaced(cells: LastCells, rows: VersionedRows) -> None:
    """Devices with a row that is not newer than all before it."""
    mine = is_member(rows.device, cells.devices)
    device, time = rows.device[mine], rows.time[mine]
    if len(device):
        cells.remove(np.unique(device[time <= cells.newest(device)]))


def _load(cells: LastCells, devices: DeviceIds, view: TableView) -> None:
    """Fills the (new) slots of ``devices`` from the head, then from parts, newest blocks first."""
    candidates: list[Candidate] = []
    for part in view.parts:
        hit = blocks_of(part, devices, TIME_MIN_NS, TIME_MAX_NS + 1)
        if hit is not None:
            whole, blocks = hit
            newest = whole.blocks.time_max_ns[blocks]
            candidates += [
                (int(time), whole, int(block)) for time, block in zip(newest, blocks, strict=True)
            ]
    fresh = _of_head(cells, devices, view)
    if view.whole_rows:
        # A version in one block may blank a value of another, so all are merged.
        batches = [*fresh, *(_of_block(item, None, view.tombstones) for item in candidates)]
        _join(cells, [_only(rows, devices) for rows in batches], view)
        return
    _join(cells, fresh, view)
    candidates.sort(key=lambda candidate: -candidate[0])
    position = 0
    while position < len(candidates):
        group: list[VersionedRows] = []
        while position < len(candidates) and len(group) < BLOCKS_AT_ONCE:
            item = candidates[position]
            position += 1
            keys = _wanted_columns(cells, devices, item)
            if keys is not None:
                group += _newest_of_block(item, keys, view.tombstones)
        _join(cells, [_only(rows, devices) for rows in group], view)


def _of_head(cells: LastCells, devices: DeviceIds, view: TableView) -> list[VersionedRows]:
    found = []
    for chunk in view.chunks:
        rows = chunk.select(devices, TIME_MIN_NS, TIME_MAX_NS + 1)
        if rows is not None:
            found.append(view.tombstones.erase(rows, chunk.applied))
    return found


def _join(cells: LastCells, batches: Sequence[VersionedRows], view: TableView) -> None:
    some = [conform_rows(rows, cells.types) for rows in batches if len(rows)]
    if some:
        cells.join(concat_rows(some), view.epochs, whole_rows=view.whole_rows)


def _of_block(item: Candidate, keys: Sequence[int] | None, tombstones: Tombstones) -> VersionedRows:
    """The rows of a block that are not deleted; ``keys`` None: all measurements."""
    _, part, block = item
    erased = tombstones.of_part(part.meta)
    rows = part.read([block], part.types if keys is None or erased.partial else keys)
    return erased.erase(rows, part.meta.applied)


def _newest_of_block(
    item: Candidate, keys: Sequence[int], tombstones: Tombstones
) -> list[VersionedRows]:
    """Rows of a block that hold the newest values of its devices.

    In a block of one device the newest value of a number without nulls is the last one, which the
    statistics have: then only the columns of the version are decoded, and of them one row is kept.
    Where something was deleted the statistics say nothing.
    """
    _, part, block = item
    index = part.blocks
    low, high = int(index.device_min[block]), int(index.device_max[block])
    first, last = int(index.time_min_ns[block]), int(index.time_max_ns[block])
    erased = tombstones.of_part(part.meta)
    if low < high or (erased and erased.covers_block(low, high, first, last)):
        return [_of_block(item, keys, tombstones)]
    known: dict[int, Column] = {}
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


def _wanted_columns(cells: LastCells, devices: DeviceIds, item: Candidate) -> list[int] | None:
    """Measurements for which the block could hold something newer than what is known; None when
    it cannot even hold a newer row."""
    time, part, block = item
    index = part.blocks
    low = np.searchsorted(devices, index.device_min[block], side="left")
    high = np.searchsorted(devices, index.device_max[block], side="right")
    if low == high:
        return None
    keys, rows = cells.may_be_older(devices[low:high], time)
    types = part.types
    keys = [key for key in keys if key in types and part.nulls(key)[block] < index.rows[block]]
    return keys if keys or rows else None


def _only(rows: VersionedRows, devices: DeviceIds) -> VersionedRows:
    mask = is_member(rows.device, devices)
    return rows if mask.all() else rows.take(mask)


def _among(devices: DeviceIds, some: DeviceIds) -> Index:
    place: Index = devices.searchsorted(some)
    return place


def _last_rows(cells: LastCells, devices: DeviceIds, cutoff: Cutoff | None) -> LastRows:
    """The answer; what is expired is there no longer."""
    times, values = cells.read(devices)
    if cutoff is None:
        oldest = None
        there = times[-1] > NEVER_NS
    else:
        oldest = cutoff.of(devices)
        there = times[-1] >= np.maximum(oldest, NEVER_NS + 1)
    if not there.all():
        devices, times = devices[there], times[:, there]
        values = [some[there] for some in values]
        oldest = None if oldest is None else oldest[there]
    valid = np.asarray(times > NEVER_NS if oldest is None else times >= oldest)
    if oldest is not None:
        times = np.where(valid, times, NEVER_NS)
    whole = np.asarray(valid.all(axis=1)).tolist()
    columns = {
        key: Column(values[row], None if whole[row] else valid[row])
        for row, key in enumerate(cells.types)
    }
    return LastRows(devices, times[-1], columns, dict(zip(cells.types, times, strict=False)))


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
