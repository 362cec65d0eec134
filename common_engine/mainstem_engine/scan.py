"""The life of a query: prune, decode, merge head and parts.

1. A view fixes the chunks of the head and the parts, so that a query sees one state.
2. The devices are cut into ranges, and a device with very many rows into time windows, so that one
   step holds about STEP_ROWS rows whatever the size of the table. Cuts are guessed from the blocks'
   row counts; they decide memory, never the answer.
3. Each step reads the blocks and chunk rows that can hold its rows, drops what lies outside or was
   deleted, and merges fragments (merge.py). Steps come in order of device, then time.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, conform_rows
from mainstem_engine.deletes import Tombstones
from mainstem_engine.head import is_member
from mainstem_engine.inventory import blocks_of, read_part
from mainstem_engine.merge import concat_rows, empty_rows, merge_versions
from mainstem_engine.model import BoolMask, DeviceIds, VersionedRows
from mainstem_engine.view import TableView

STEP_ROWS = 1 << 17
"""Rows of one step: enough for vectorised work, a few MB for ten columns."""
_DEVICE_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read. ``devices`` ascending uint32, None for all; times in ns, end exclusive;
    ``measurement_ids`` None for all; ``origin`` None for all."""

    devices: DeviceIds | None = None
    start_ns: int = TIME_MIN_NS
    end_ns: int = TIME_MAX_NS + 1
    measurement_ids: tuple[int, ...] | None = None
    origin: int | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """Devices in [low, high] and times in [start, end)."""

    low: int
    high: int
    start_ns: int
    end_ns: int


def read_rows(view: TableView, selection: Selection) -> VersionedRows:
    """All selected rows at once, merged and sorted by device and time."""
    selection = visible(view, selection)
    return _read(view, selection, selection.devices, selection.start_ns, selection.end_ns)


def iterate_rows(
    view: TableView, selection: Selection, *, step_rows: int = STEP_ROWS
) -> Iterator[VersionedRows]:
    """The selected rows in steps of about ``step_rows``, merged, sorted by device and time."""
    selection = visible(view, selection)
    if selection.start_ns >= selection.end_ns:
        return
    steps = _steps(view, selection, step_rows)
    if len(steps) == 1:
        rows = read_rows(view, selection)
        if len(rows):
            yield rows
        return
    devices = view.devices if selection.devices is None else selection.devices
    for step in steps:
        low, high = np.searchsorted(devices, [step.low, step.high + 1])
        if low == high:
            continue
        rows = _read(view, selection, devices[low:high], step.start_ns, step.end_ns)
        if len(rows):
            yield rows


def visible(view: TableView, selection: Selection) -> Selection:
    """The selection without the time in which every row is expired."""
    if view.cutoff is None or selection.start_ns >= view.cutoff.least_ns:
        return selection
    return dataclasses.replace(selection, start_ns=view.cutoff.least_ns)


def _read(
    view: TableView,
    selection: Selection,
    devices: DeviceIds | None,
    start_ns: int,
    end_ns: int,
) -> VersionedRows:
    keys = None if selection.measurement_ids is None else list(selection.measurement_ids)
    erased = view.tombstones.overlapping(devices, start_ns, end_ns)
    # Whether a row is left when single values go is said by all of its measurements.
    read_keys = None if erased.partial else keys
    stored: list[tuple[VersionedRows, Tombstones, tuple[int, int]]] = []
    for part in view.parts:
        found = read_part(part, devices, start_ns, end_ns, read_keys)
        if found is not None:
            stored.append((found, erased.of_part(part.meta), part.meta.applied))
    for chunk in view.chunks:
        found = chunk.select(devices, start_ns, end_ns, read_keys)
        if found is not None:
            stored.append((found, erased, chunk.applied))
    batches: list[VersionedRows] = []
    for rows, tombstones, applied in stored:
        kept = _inside(rows, view, selection, devices, start_ns, end_ns)
        kept = tombstones.erase(kept, applied)
        if len(kept):
            batches.append(conform_rows(kept, view.types))
    if not batches:
        return empty_rows()
    if read_keys is not keys:
        batches = [_only_columns(rows, keys or ()) for rows in batches]
    return merge_versions(concat_rows(batches), view.epochs, whole_rows=view.whole_rows)


def _inside(
    rows: VersionedRows,
    view: TableView,
    selection: Selection,
    devices: DeviceIds | None,
    start_ns: int,
    end_ns: int,
) -> VersionedRows:
    """Without expired rows and those that shared a block with selected ones."""
    keep: BoolMask = (rows.time >= start_ns) & (rows.time < end_ns)
    if view.cutoff is not None and (unexpired := view.cutoff.keeps(rows)) is not None:
        keep &= unexpired
    if devices is not None:
        keep &= is_member(rows.device, devices)
    if selection.origin is not None:
        keep &= rows.origin == selection.origin
    return rows if keep.all() else rows.take(keep)


def _only_columns(rows: VersionedRows, keys: Sequence[int]) -> VersionedRows:
    columns = {key: rows.columns[key] for key in keys if key in rows.columns}
    return VersionedRows(rows.device, rows.time, rows.origin, rows.lsn, columns)


def _steps(view: TableView, selection: Selection, step_rows: int) -> list[_Step]:
    """Device ranges, and time windows where one device has more than ``step_rows`` rows."""
    device, rows = _weights(view, selection)
    if len(device) == 0:
        return []
    order = np.argsort(device, kind="stable")
    device, rows = device[order], rows[order]
    starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
    keys, weights = device[starts], np.add.reduceat(rows, starts)
    bucket = (np.cumsum(weights) - weights) // step_rows
    firsts = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    lasts = np.append(firsts[1:], len(keys)) - 1
    steps: list[_Step] = []
    low = 0
    for first, last in zip(firsts, lasts, strict=True):
        high = _DEVICE_MAX if last == len(keys) - 1 else int(keys[last + 1]) - 1
        if first == last and weights[first] > 2 * step_rows:
            steps.extend(_heavy_steps(view, selection, int(keys[first]), low, high, step_rows))
        else:
            steps.append(_Step(low, high, selection.start_ns, selection.end_ns))
        low = high + 1
    return steps


def _heavy_steps(
    view: TableView, selection: Selection, device: int, low: int, high: int, step_rows: int
) -> Iterator[_Step]:
    """``device`` in windows of time, between steps for what else lies in [low, high]."""
    start, end = selection.start_ns, selection.end_ns
    if low < device:
        yield _Step(low, device - 1, start, end)
    edges = [start, *_time_cuts(view, selection, device, step_rows), end]
    for first, last in itertools.pairwise(edges):
        yield _Step(device, device, first, last)
    if device < high:
        yield _Step(device + 1, high, start, end)


def _weights(
    view: TableView, selection: Selection
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(device, rows) pairs that say where the rows are, roughly."""
    devices: list[npt.NDArray[np.int64]] = []
    rows: list[npt.NDArray[np.int64]] = []
    for part in view.parts:
        hit = blocks_of(part, selection.devices, selection.start_ns, selection.end_ns)
        if hit is not None:
            index, blocks = hit[0].blocks, hit[1]
            devices.append(index.device_min[blocks].astype(np.int64))
            rows.append(index.rows[blocks].astype(np.int64))
    for chunk in view.chunks:
        if chunk.length:
            found, counts = np.unique(chunk.device[: chunk.length], return_counts=True)
            devices.append(found.astype(np.int64))
            rows.append(counts.astype(np.int64))
    if not devices:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    device, weight = np.concatenate(devices), np.concatenate(rows)
    if selection.devices is not None and len(device):
        wanted = selection.devices
        if len(wanted) == 0:
            return device[:0], weight[:0]
        # A mixed block may begin with a device that is not selected: move it to the next that is.
        place = np.minimum(np.searchsorted(wanted, device), len(wanted) - 1)
        device = wanted[place].astype(np.int64)
    return device, weight


def _time_cuts(view: TableView, selection: Selection, device: int, step_rows: int) -> list[int]:
    """Times at which about ``step_rows`` more rows of the device have begun."""
    wanted = np.array([device], np.uint32)
    times: list[npt.NDArray[np.int64]] = []
    rows: list[npt.NDArray[np.int64]] = []
    for part in view.parts:
        hit = blocks_of(part, wanted, selection.start_ns, selection.end_ns)
        if hit is not None:
            index, blocks = hit[0].blocks, hit[1]
            times.append(index.time_min_ns[blocks])
            rows.append(index.rows[blocks].astype(np.int64))
    for chunk in view.chunks:
        found = chunk.select(wanted, selection.start_ns, selection.end_ns, [])
        if found is not None:
            times.append(found.time)
            rows.append(np.ones(len(found), np.int64))
    time, weight = np.concatenate(times), np.concatenate(rows)
    order = np.argsort(time, kind="stable")
    time, weight = time[order], weight[order]
    bucket = (np.cumsum(weight) - weight) // step_rows
    cuts = np.unique(time[1:][bucket[1:] != bucket[:-1]])
    return [int(cut) for cut in cuts if selection.start_ns < cut < selection.end_ns]
