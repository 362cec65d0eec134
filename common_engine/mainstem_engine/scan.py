"""The life of a query: prune, decode, merge head and parts.

1. A view fixes the chunks of the head and the parts, so that a query sees one state. A few rows of
   one device that need no merging are read at once (device_rows.py).
2. Blocks that may hold selected rows are found (sources.py); an answer of many rows is cut into
   steps (steps.py), of which one is read ahead while the one before is used.
3. A step whose blocks are all plain is decoded and cut to size. Otherwise what was deleted is
   erased from the rows of every part and chunk, and fragments are merged (merge.py).
4. Expired rows are left out. Steps come in order of device, then time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, conform_rows
from mainstem_engine.deletes import NONE, Tombstones
from mainstem_engine.device_rows import rows_of_device
from mainstem_engine.head import KEY_BYTES, Chunk, is_member
from mainstem_engine.merge import concat_rows, empty_rows, gather, merge_versions
from mainstem_engine.model import BoolMask, DeviceIds, VersionedRows
from mainstem_engine.sources import (
    PartBlocks,
    ValueRange,
    are_all_plain,
    find_blocks,
    in_block_order,
    within,
)
from mainstem_engine.steps import Extent, cut, text_row_bytes
from mainstem_engine.view import TableView

STEP_ROWS = 1 << 17
"""Rows of one step: enough for vectorised work, a few MB for ten columns."""
STEP_VALUES = 1 << 21
"""Values of one step: wide rows make steps of fewer rows."""

STEP_ROWS_MIN = 1 << 12
"""However little memory there is: smaller steps would decode blocks again and again."""
TEXT_ROWS_MIN = 64
"""The same with texts: blocks of long ones have few rows."""
STEP_COPIES = 3
"""Of the rows of a step: decoded, joined, merged."""
VALUE_BYTES = 9
"""A value with its validity; of a text the pointer to it, which is what is copied."""

_AHEAD = ThreadPoolExecutor(4, thread_name_prefix="engine-scan")
"""Where steps are read ahead; a few scans at once. Not the threads of the codecs, which tasks of
these wait for."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read. ``devices`` ascending uint32, None for all; times in ns, end exclusive;
    ``measurement_ids`` None for all; ``origin``: one, or several, None for all.

    ``versions`` False: origins and LSNs of the result are unspecified. ``times`` False: so are its
    times. Both spare decoding them where nothing has to be merged. ``ranges``: rows that fail one
    (null fails) may be left out.
    """

    devices: DeviceIds | None = None
    start_ns: int = TIME_MIN_NS
    end_ns: int = TIME_MAX_NS + 1
    measurement_ids: tuple[int, ...] | None = None
    origin: int | tuple[int, ...] | None = None
    versions: bool = False
    times: bool = True
    ranges: tuple[ValueRange, ...] = ()


def read_rows(view: TableView, selection: Selection, *, counted: bool = False) -> VersionedRows:
    """All selected rows at once, merged and sorted by device and time.

    ``counted``: as a step of a scan, in its turn when the memory for scans is used up. Raises
    OverloadedError when its turn does not come.
    """
    selection = visible(view, selection)
    found = find_blocks(view, selection.devices, selection.start_ns, selection.end_ns)
    if not counted or not found:
        return _read(view, selection, found, view.chunks)
    keys = view.types if selection.measurement_ids is None else selection.measurement_ids
    nbytes = _row_bytes(keys, text_row_bytes(found, keys)) * sum(item.rows for item in found)
    return _read_step(view, selection, found, view.chunks, nbytes)


def iterate_rows(
    view: TableView, selection: Selection, *, step_rows: int = STEP_ROWS
) -> Iterator[VersionedRows]:
    """The selected rows in steps of about ``step_rows``, merged, sorted by device and time."""
    selection = visible(view, selection)
    if (known := rows_of_device(view, selection)) is not None:
        yield from filter(len, [known])
    elif selection.start_ns < selection.end_ns:
        found = find_blocks(view, selection.devices, selection.start_ns, selection.end_ns)
        yield from iterate_found(view, selection, found, view.chunks, step_rows=step_rows)


def iterate_found(
    view: TableView,
    selection: Selection,
    found: Sequence[PartBlocks],
    chunks: Sequence[Chunk],
    *,
    step_rows: int = STEP_ROWS,
) -> Iterator[VersionedRows]:
    """As iterate_rows, of the selected rows that are in ``found`` and ``chunks``.

    The caller vouches that no other block or chunk holds rows of the same device and time.
    """
    keys = view.types if selection.measurement_ids is None else selection.measurement_ids
    step_rows, step_bytes = step_size(view, found, keys, step_rows)
    extent = Extent(found, chunks, selection.devices, selection.start_ns, selection.end_ns)
    if extent.rows_at_most(2 * step_rows) <= 2 * step_rows:
        rows = _read(view, selection, found, chunks)
        if len(rows):
            yield rows
        return
    devices = view.devices if selection.devices is None else selection.devices
    ahead: Future[VersionedRows] | None = None
    try:
        for step in cut(extent, step_rows):
            low, high = devices.searchsorted([step.low, step.high + 1])
            if low == high:
                continue
            some = dataclasses.replace(
                selection, devices=devices[low:high], start_ns=step.start_ns, end_ns=step.end_ns
            )
            before = ahead
            narrowed = _narrowed(found, some)
            ahead = _AHEAD.submit(_read_step, view, some, narrowed, chunks, step_bytes)
            if before is not None and len(rows := before.result()):
                yield rows
        if ahead is not None and len(rows := ahead.result()):
            yield rows
    finally:
        if ahead is not None:
            ahead.cancel()


def step_size(
    view: TableView, found: Sequence[PartBlocks], keys: Collection[int], step_rows: int
) -> tuple[int, int]:
    """(rows, bytes) of one step: ``step_rows``, or as many as the memory for scans holds."""
    step_rows = min(step_rows, max(1, STEP_VALUES // (len(keys) + 1)))
    texts = text_row_bytes(found, keys)
    step_bytes = _row_bytes(keys, texts) * step_rows
    if view.memory is not None and step_bytes > (share := view.memory.limit_of("scan")):
        least = TEXT_ROWS_MIN if texts else STEP_ROWS_MIN
        step_rows = max(least, step_rows * share // step_bytes)
        step_bytes = share
    return step_rows, step_bytes


def _row_bytes(keys: Collection[int], text_bytes: int) -> int:
    """Of a row in a step. ``text_bytes``: of its texts."""
    return STEP_COPIES * (KEY_BYTES + VALUE_BYTES * len(keys)) + text_bytes


def _read_step(
    view: TableView,
    selection: Selection,
    found: Sequence[PartBlocks],
    chunks: Sequence[Chunk],
    step_bytes: int,
) -> VersionedRows:
    """As _read, in its turn when the memory for scans is used up. What is read is the reader's."""
    if view.memory is None:
        return _read(view, selection, found, chunks)
    with view.memory.reserve("scan", step_bytes):
        return _read(view, selection, found, chunks)


def visible(view: TableView, selection: Selection) -> Selection:
    """The selection without the time in which every row is expired."""
    if view.cutoff is None or selection.start_ns >= view.cutoff.least_ns:
        return selection
    return dataclasses.replace(selection, start_ns=view.cutoff.least_ns)


def _narrowed(found: Sequence[PartBlocks], selection: Selection) -> list[PartBlocks]:
    """The blocks of ``found`` that may hold selected rows."""
    narrowed: list[PartBlocks] = []
    for item in found:
        numbers = item.part.prune(selection.devices, selection.start_ns, selection.end_ns)
        numbers = numbers[np.isin(numbers, item.numbers, assume_unique=True)]
        if len(numbers):
            narrowed.append(dataclasses.replace(item, numbers=numbers))
    return narrowed


def _read(
    view: TableView, selection: Selection, found: Sequence[PartBlocks], chunks: Sequence[Chunk]
) -> VersionedRows:
    """The selected rows of ``found`` and ``chunks``, merged and sorted."""
    keys = None if selection.measurement_ids is None else list(selection.measurement_ids)
    erased = NONE
    if view.tombstones:
        span = selection.devices, selection.start_ns, selection.end_ns
        erased = view.tombstones.overlapping(*span)
    # Whether a row is left when single values go is said by all of its measurements.
    needed = None if erased.partial else keys
    fresh = [
        (rows, erased, chunk.applied)
        for chunk in chunks
        if (rows := _of_chunk(chunk, selection, needed)) is not None
    ]
    if found and not fresh and are_all_plain(found):
        found = within(found, selection.ranges) if selection.ranges else found
        return _read_plain(view, selection, found) if found else empty_rows()
    batches = _fragments(view, selection, found, fresh, needed, keys)
    if not batches:
        return empty_rows()
    return merge_versions(concat_rows(batches), view.epochs, whole_rows=view.whole_rows)


def read_fragments(view: TableView, selection: Selection) -> VersionedRows:
    """All selected rows as they are stored, with their versions, neither merged nor sorted."""
    selection = visible(view, selection)
    found = find_blocks(view, selection.devices, selection.start_ns, selection.end_ns)
    erased = view.tombstones.overlapping(selection.devices, selection.start_ns, selection.end_ns)
    fresh = [
        (rows, erased, chunk.applied)
        for chunk in view.chunks
        if (rows := _of_chunk(chunk, selection, None)) is not None
    ]
    batches = _fragments(view, selection, found, fresh, None, None)
    return concat_rows(batches) if batches else empty_rows()


def _fragments(
    view: TableView,
    selection: Selection,
    found: Sequence[PartBlocks],
    fresh: Sequence[tuple[VersionedRows, Tombstones, tuple[int, int]]],
    needed: list[int] | None,
    keys: list[int] | None,
) -> list[VersionedRows]:
    """The rows of ``found`` and ``fresh`` that are selected and not deleted."""
    stored = [
        (
            item.part.read(item.numbers, item.part.types if needed is None else needed),
            item.tombstones,
            item.part.meta.applied,
        )
        for item in found
    ]
    batches: list[VersionedRows] = []
    for rows, tombstones, applied in [*stored, *fresh]:
        kept = tombstones.erase(_inside(rows, view, selection), applied)
        if len(kept):
            batches.append(_conformed(kept, view, None if needed is keys else keys))
    return batches


def _of_chunk(chunk: Chunk, selection: Selection, keys: list[int] | None) -> VersionedRows | None:
    return chunk.select(selection.devices, selection.start_ns, selection.end_ns, keys)


def _conformed(rows: VersionedRows, view: TableView, keys: Sequence[int] | None) -> VersionedRows:
    """In the table's present types, and with no other columns than ``keys`` (None: all)."""
    if keys is not None:
        rows.columns = {key: rows.columns[key] for key in keys if key in rows.columns}
    return conform_rows(rows, view.types)


def _read_plain(
    view: TableView, selection: Selection, found: Sequence[PartBlocks]
) -> VersionedRows:
    """The selected rows of blocks that need no merging."""
    is_cut = view.cutoff is not None or any(_is_cut(item, selection) for item in found)
    batches = [
        conform_rows(
            item.part.read(
                item.numbers,
                item.part.types if selection.measurement_ids is None else selection.measurement_ids,
                versions=selection.versions or selection.origin is not None,
                times=selection.times or is_cut,
            ),
            view.types,
        )
        for item in found
    ]
    rows = concat_rows(batches)
    if len(batches) > 1:
        rows = gather(rows, in_block_order(found))
    if not is_cut and selection.origin is None:
        return rows
    if selection.origin is None and view.cutoff is None and _is_one_device(found):
        first, end = rows.time.searchsorted([selection.start_ns, selection.end_ns])
        return rows.take(slice(first, end))
    return _inside(rows, view, selection)


def _is_one_device(found: Sequence[PartBlocks]) -> bool:
    """True when all blocks are of the same device."""
    index, numbers = found[0].part.blocks, found[0].numbers
    return len(found) == 1 and bool(index.device_min[numbers[0]] == index.device_max[numbers[-1]])


def _is_cut(item: PartBlocks, selection: Selection) -> bool:
    """True when some rows of the blocks may not be selected."""
    index, numbers = item.part.blocks, item.numbers
    if int(index.time_min_ns[numbers].min()) < selection.start_ns:
        return True
    if int(index.time_max_ns[numbers].max()) >= selection.end_ns:
        return True
    if selection.devices is None:
        return False
    # A block of one device was found because that device is selected.
    return bool((index.device_min[numbers] != index.device_max[numbers]).any())


def _inside(rows: VersionedRows, view: TableView, selection: Selection) -> VersionedRows:
    """Without expired rows and those that shared a block with selected ones."""
    keep: BoolMask = (rows.time >= selection.start_ns) & (rows.time < selection.end_ns)
    if view.cutoff is not None and (unexpired := view.cutoff.keeps(rows)) is not None:
        keep &= unexpired
    if selection.devices is not None:
        keep &= is_member(rows.device, selection.devices)
    if isinstance(selection.origin, tuple):
        keep &= np.isin(rows.origin, np.array(selection.origin, np.uint16))
    elif selection.origin is not None:
        keep &= rows.origin == selection.origin
    return rows if keep.all() else rows.take(keep)
