"""The rows of one device where nothing has to be merged: what is asked most often.

1. Known here are devices whose selected blocks are theirs alone, distinct, and one after the other
   in time, while no row of the head, no delete and no expiry touches the range. In every other case
   this file does not know, and scan.py merges.
2. Of the first and the last block only the rows in the range are handed out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.columns import conform_rows
from mainstem_engine.inventory import BrokenPart
from mainstem_engine.merge import concat_rows
from mainstem_engine.model import VersionedRows
from mainstem_engine.part.reader import Part
from mainstem_engine.part_index import near_parts
from mainstem_engine.view import TableView

if TYPE_CHECKING:
    from mainstem_engine.scan import Selection

ROWS_MAX = 1 << 15
"""More rows are worth several threads, or steps."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring blocks [first, end) of a part, of one device, with times from begin to last."""

    part: Part
    first: int
    end: int
    begin_ns: int
    last_ns: int
    rows: int


def rows_of_device(view: TableView, selection: Selection) -> VersionedRows | None:
    """The selected rows; None when they are not known here, whatever the selection says."""
    if selection.devices is None or len(selection.devices) != 1 or not _is_still(view, selection):
        return None
    runs: list[_Run] = []
    for part in near_parts(view.parts, selection.devices, selection.start_ns, selection.end_ns):
        if isinstance(part, BrokenPart):
            return None
        run = _run_of(part, selection)
        if run is None:
            return None
        if run.rows:
            runs.append(run)
    if sum(run.rows for run in runs) > ROWS_MAX:
        return None
    if len(runs) > 1:
        runs.sort(key=lambda run: run.begin_ns)
        if any(later.begin_ns <= run.last_ns for run, later in itertools.pairwise(runs)):
            return None
    return concat_rows([_read(view, selection, run) for run in runs])


def block_of_device(view: TableView, selection: Selection) -> tuple[Part, int] | None:
    """The one block that holds all selected rows, and no others; None when there is none, or it is
    not known here."""
    devices = selection.devices
    if devices is None or len(devices) != 1 or not _is_still(view, selection):
        return None
    start, end = selection.start_ns, selection.end_ns
    found: tuple[Part, int] | None = None
    for part in near_parts(view.parts, devices, start, end):
        if isinstance(part, BrokenPart):
            return None
        run = _run_of(part, selection)
        if run is None or (run.rows and (found is not None or run.end - run.first > 1)):
            return None
        if run.rows:
            if run.begin_ns < start or run.last_ns >= end:
                return None
            found = part, run.first
    return found


def _run_of(part: Part, selection: Selection) -> _Run | None:
    """The blocks of a part with selected rows, which may be none; None where rows of them may have
    to be merged, or others share a block with them."""
    assert selection.devices is not None
    index = part.blocks
    device = selection.devices[0]
    first = int(index.device_max.searchsorted(device))
    end = int(index.device_min.searchsorted(device, "right"))
    if end - first > 1:
        begins, lasts = index.time_min_ns[first:end], index.time_max_ns[first:end]
        if index.device_min.item(first) != device or index.device_max.item(end - 1) != device:
            return None
        if not (lasts[:-1] < begins[1:]).all():
            return None
        low, high = lasts.searchsorted(selection.start_ns), begins.searchsorted(selection.end_ns)
        first, end = first + int(low), first + int(high)
    if first >= end:
        return _Run(part, first, first, 0, 0, 0)
    begin_ns, last_ns = index.time_min_ns.item(first), index.time_max_ns.item(end - 1)
    if begin_ns >= selection.end_ns or last_ns < selection.start_ns:
        return _Run(part, first, first, 0, 0, 0)
    if end - first == 1:
        rows, distinct = index.rows.item(first), index.distinct.item(first)
        if index.device_min.item(first) != index.device_max.item(first):
            return None
    else:
        rows = int(index.rows[first:end].sum(dtype=np.int64))
        distinct = int(index.distinct[first:end].min())
    return _Run(part, first, end, begin_ns, last_ns, rows) if distinct else None


def _is_still(view: TableView, selection: Selection) -> bool:
    """True when only blocks hold rows of the selection, and all of theirs are visible."""
    if selection.origin is not None or selection.versions or selection.ranges or view.tombstones:
        return False
    if view.cutoff is not None and selection.start_ns < view.cutoff.greatest_ns:
        return False
    for chunk in view.chunks:
        if not chunk.sealed:
            return False  # its bounds would be looked for
        low, high, begin, last = chunk.bounds()
        device = int(selection.devices[0]) if selection.devices is not None else low
        if low <= device <= high and begin < selection.end_ns and last >= selection.start_ns:
            return False
    return True


def _read(view: TableView, selection: Selection, run: _Run) -> VersionedRows:
    keys = view.types if selection.measurement_ids is None else selection.measurement_ids
    time, columns = run.part.read_run(
        run.first, run.end, keys, selection.start_ns, selection.end_ns
    )
    assert selection.devices is not None
    rows = VersionedRows(
        np.full(len(time), selection.devices[0], np.uint32),
        time,
        np.zeros(len(time), np.uint16),
        np.zeros(len(time), np.uint64),
        columns,
    )
    return conform_rows(rows, view.types)
