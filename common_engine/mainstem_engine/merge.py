"""Versions and fragments: the one place where two rows become one.

A *fragment* is a stored row: some values of one (device, time), and the version that wrote them.

1. Fragments are ordered by (device, time, epoch, origin, LSN). Every (device, time) has one owner,
   so that only epoch and LSN ever decide; should two origins write it all the same, the fragments
   of one stay together in this order, and merging them early changes no later answer.
2. Of all fragments of a (device, time), each measurement takes its newest value that is not null.
   A null never erases. The row carries the greatest version.
3. Rows of rollup tables replace each other whole: the greatest version wins, nulls included.
4. Two fragments may be merged for good only when they are of one origin and both settled: nothing
   can still arrive between them; and when no version between them is stored elsewhere: the merged
   row has one version, the later, and would hide it. Others are stored side by side and merged when
   read.

The result does not depend on the order of arrival. Everything is vectorised: groups are runs in
sorted arrays, and the newest value of a group is a running maximum of row numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import (
    AnyArray,
    BoolMask,
    Column,
    DeviceIds,
    Rows,
    TimesNs,
    VersionedRows,
)

Index = npt.NDArray[np.intp]
_RADIX_SPAN = 1 << 16
"""numpy sorts 16-bit integers by radix, ten times faster than it sorts wider ones."""
_KEY_BITS = 63
"""Of the integer by which rows are sorted."""


Join = Callable[[Sequence[Column | None], Sequence[int]], Column]
"""Makes one column of those of several batches and their lengths; None: that batch has none."""


def concat_rows(batches: Sequence[VersionedRows], join: Join | None = None) -> VersionedRows:
    """All rows of all batches, in order; a column that a batch lacks is null there.

    ``join``: how columns are joined, if not at once by concat_column."""
    join = join or concat_column
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return empty_rows()
    sizes = [len(batch) for batch in batches]
    columns: dict[int, Column] = {}
    for key in {key: None for batch in batches for key in batch.columns}:
        columns[key] = join([batch.columns.get(key) for batch in batches], sizes)
    return VersionedRows(
        np.concatenate([b.device for b in batches]),
        np.concatenate([b.time for b in batches]),
        np.concatenate([b.origin for b in batches]),
        np.concatenate([b.lsn for b in batches]),
        columns,
    )


def empty_rows() -> VersionedRows:
    """No rows and no columns."""
    return VersionedRows(
        np.empty(0, np.uint32),
        np.empty(0, np.int64),
        np.empty(0, np.uint16),
        np.empty(0, np.uint64),
    )


def gather(rows: VersionedRows, index: Index) -> VersionedRows:
    """The rows at ``index`` (row numbers, none negative), in that order.

    As ``rows.take``, but several times faster: the row numbers are known to be in range.
    """
    return VersionedRows(
        rows.device.take(index, mode="clip"),
        rows.time.take(index, mode="clip"),
        rows.origin.take(index, mode="clip"),
        rows.lsn.take(index, mode="clip"),
        _gather_columns(rows.columns, index),
    )


def _gather_columns(columns: Mapping[int, Column], index: Index) -> dict[int, Column]:
    return {
        key: Column(
            column.values.take(index, mode="clip"),
            None if column.valid is None else column.valid.take(index, mode="clip"),
        )
        for key, column in columns.items()
    }


def concat_column(parts: Sequence[Column | None], sizes: Sequence[int]) -> Column:
    """The values of all ``parts``, nulls for one that is not there; one at least is."""
    dtype = next(part.values.dtype for part in parts if part is not None)
    values = np.concatenate(
        [
            np.zeros(size, dtype) if part is None else part.values
            for part, size in zip(parts, sizes, strict=True)
        ]
    )
    if all(part is not None and part.valid is None for part in parts):
        return Column(values)
    valid = np.concatenate([_validity(part, size) for part, size in zip(parts, sizes, strict=True)])
    return Column(values, valid)


def _validity(part: Column | None, size: int) -> BoolMask:
    if part is None:
        return np.zeros(size, np.bool_)
    return part.mask()


def is_strictly_sorted(device: DeviceIds, time: TimesNs) -> bool:
    """True when (device, time) strictly increases: sorted, and no two rows of one key."""
    if len(time) < 2:
        return True
    later = time[1:] > time[:-1]
    if device[0] == device[-1] and bool((device == device[0]).all()):
        return bool(later.all())
    return bool(((device[1:] > device[:-1]) | ((device[1:] == device[:-1]) & later)).all())


def stable_device_order(device: DeviceIds) -> Index:
    """Stable argsort of device ids by radix: one pass of 16 bits, or two."""
    if len(device) == 0:
        return np.empty(0, np.intp)
    low = int(device.min())
    span = int(device.max()) - low
    if span < _RADIX_SPAN:
        return np.argsort((device - np.uint32(low)).astype(np.uint16), kind="stable")
    order: Index = np.argsort((device & np.uint32(0xFFFF)).astype(np.uint16), kind="stable")
    high = (device >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def key_order(device: DeviceIds, time: TimesNs, *ties: AnyArray) -> Index:
    """Order by (device, time, *ties), the first tie the most significant; stable.

    Rows usually arrive nearly in time order per device, and ties in the order of their versions. So
    a radix sort by device is tried first, then one by device and time together, and the first that
    puts everything right is kept.
    """
    order = stable_device_order(device)
    ordered = device.take(order, mode="clip"), time.take(order, mode="clip")
    if _in_order(*ordered, (tie.take(order, mode="clip") for tie in ties)):
        return order
    nearly = _time_order(*ordered)
    if nearly is not None:
        # By device they are in order already, and stay so.
        ordered = ordered[0], ordered[1].take(nearly, mode="clip")
        order = order.take(nearly, mode="clip")
        if not ties or _in_order(*ordered, (tie.take(order, mode="clip") for tie in ties)):
            return order
    return np.lexsort((*reversed(ties), time, device))


def _time_order(device: DeviceIds, time: TimesNs) -> Index | None:
    """Stable argsort by (device, time) of rows sorted by device, quick where they nearly are by
    time; None when both do not fit one integer."""
    first: BoolMask = np.zeros(len(device), np.bool_)
    np.not_equal(device[1:], device[:-1], out=first[1:])
    rank = first.cumsum(dtype=np.uint64)
    low = int(time.min())
    bits = (int(time.max()) - low).bit_length()
    if bits + int(rank[-1]).bit_length() > _KEY_BITS:
        return None
    key = (rank << np.uint64(bits)) | (time - np.int64(low)).view(np.uint64)
    return np.argsort(key, kind="stable")


def _in_order(device: DeviceIds, time: TimesNs, ties: Iterable[AnyArray]) -> bool:
    """``ties`` are only made where rows of one device and time ask for them."""
    equal: BoolMask = device[1:] == device[:-1]
    wrong: BoolMask = device[1:] < device[:-1]
    for key in itertools.chain((time,), ties):
        wrong |= equal & (key[1:] < key[:-1])
        equal = equal & (key[1:] == key[:-1])
        if not equal.any():
            break
    return not wrong.any()


def version_sorted(rows: VersionedRows, epochs: npt.NDArray[np.uint32]) -> VersionedRows:
    """Rows by (device, time, version); ``epochs`` uint32 by origin index."""
    if is_strictly_sorted(rows.device, rows.time):
        return rows
    epoch = epochs[rows.origin] if len(epochs) > 1 else np.zeros(len(rows), np.uint32)
    return gather(rows, key_order(rows.device, rows.time, epoch, rows.origin, rows.lsn))


def part_sorted(rows: VersionedRows) -> VersionedRows:
    """Rows by (device, time, origin, LSN): the order in a part."""
    order = part_order(rows)
    return rows if order is None else gather(rows, order)


def part_order(keys: VersionedRows) -> Index | None:
    """Row numbers in the order of a part; None for rows that are in it. Columns are not read."""
    if is_strictly_sorted(keys.device, keys.time):
        return None
    return key_order(keys.device, keys.time, keys.origin, keys.lsn)


def merge_versions(
    rows: VersionedRows, epochs: npt.NDArray[np.uint32], *, whole_rows: bool
) -> VersionedRows:
    """One row per (device, time), sorted by it. ``rows`` in any order."""
    rows = version_sorted(rows, epochs)
    starts = run_starts(rows.device, rows.time)
    return _collapse(rows, starts, whole_rows)


LsnRanges = Mapping[int, Sequence[tuple[int, int]]]
"""Lowest and highest LSN of what is stored somewhere, several of them by origin."""


def merge_settled(
    rows: VersionedRows,
    settled: Callable[[int], int],
    *,
    whole_rows: bool,
    elsewhere: LsnRanges | None = None,
) -> VersionedRows:
    """``rows`` (part order) with settled fragments of one origin merged; the others as they are.

    ``settled(origin)`` is the LSN up to which everything of that origin is in ``rows`` or lies
    ``elsewhere``: there may be rows of the same devices and times with LSNs in these ranges.
    """
    if is_strictly_sorted(rows.device, rows.time):
        return rows
    limits = np.zeros(int(rows.origin.max()) + 1, np.uint64)
    for origin in np.unique(rows.origin):
        limits[origin] = max(0, settled(int(origin)))
    first = np.ones(len(rows), np.bool_)
    first[1:] = (
        (rows.device[1:] != rows.device[:-1])
        | (rows.time[1:] != rows.time[:-1])
        | (rows.origin[1:] != rows.origin[:-1])
        | (rows.lsn[1:] > limits[rows.origin[1:]])
    )
    if elsewhere and not whole_rows:
        pairs = np.flatnonzero(~first)
        first[pairs[_is_parted(rows, pairs, elsewhere)]] = True
    return _collapse(rows, np.flatnonzero(first), whole_rows)


def _is_parted(rows: VersionedRows, pairs: Index, elsewhere: LsnRanges) -> BoolMask:
    """Of the fragments at ``pairs``, which may have a version between it and the one before it."""
    low, high, origin = rows.lsn[pairs - 1], rows.lsn[pairs], rows.origin[pairs]
    parted = np.zeros(len(pairs), np.bool_)
    for number, ranges in elsewhere.items():
        mine = origin == number
        if mine.any():
            for least, greatest in ranges:
                parted |= mine & (low < np.uint64(greatest)) & (high > np.uint64(least))
    return parted


def merge_call(rows: Rows) -> Rows:
    """Rows of one call, sorted by (device, time); of equal keys a later row's values win."""
    if is_strictly_sorted(rows.device, rows.time):
        return rows
    order = key_order(rows.device, rows.time)
    ordered = Rows(
        rows.device.take(order, mode="clip"),
        rows.time.take(order, mode="clip"),
        _gather_columns(rows.columns, order),
    )
    starts = run_starts(ordered.device, ordered.time)
    if len(starts) == len(ordered):
        return ordered
    versioned = VersionedRows(
        ordered.device,
        ordered.time,
        np.zeros(len(ordered), np.uint16),
        np.zeros(len(ordered), np.uint64),
        ordered.columns,
    )
    merged = _collapse(versioned, starts, whole_rows=False)
    return Rows(merged.device, merged.time, merged.columns)


def match_keys(
    device: DeviceIds, time: TimesNs, wanted_device: DeviceIds, wanted_time: TimesNs
) -> Index:
    """intp[n]: where each wanted (device, time) stands among distinct keys, -1 where it does not.

    ``device`` and ``time`` are sorted and distinct; the wanted ones may be in any order and repeat.
    """
    candidate = _last_at_or_before(device, time, wanted_device, wanted_time)
    if len(device) == 0:
        return candidate
    known = np.maximum(candidate, 0)
    equal = (device[known] == wanted_device) & (time[known] == wanted_time) & (candidate >= 0)
    return np.where(equal, candidate, -1)


def lower_bounds(
    device: DeviceIds, time: TimesNs, wanted_device: DeviceIds, wanted_time: TimesNs
) -> Index:
    """intp[n]: the first of the keys (sorted, may repeat) that is not below each wanted one."""
    low = device.searchsorted(wanted_device, side="left")
    high = device.searchsorted(wanted_device, side="right")
    active = (low < high).nonzero()[0]
    while len(active):
        middle = (low[active] + high[active]) >> 1
        below = time[middle] < wanted_time[active]
        low[active[below]] = middle[below] + 1
        high[active[~below]] = middle[~below]
        active = active[low[active] < high[active]]
    return low


def concat_ranges(starts: Index, ends: Index) -> Index:
    """All integers of the ranges [start, end), one range after the other."""
    if len(starts) == 1:
        return np.arange(starts[0], ends[0])
    counts = np.maximum(ends - starts, 0)
    total = int(counts.sum())
    offsets = starts - (np.cumsum(counts) - counts)
    found: Index = np.arange(total) + np.repeat(offsets, counts)
    return found


def _last_at_or_before(
    device: DeviceIds, time: TimesNs, wanted_device: DeviceIds, wanted_time: TimesNs
) -> Index:
    """intp[n]: the last of the sorted keys that is not above each wanted one, -1 for none."""
    count = len(device)
    if count == 0 or len(wanted_device) == 0:
        return np.full(len(wanted_device), -1, np.intp)
    packed = _packed_keys((device, time), (wanted_device, wanted_time))
    if packed is not None:
        return packed[0].searchsorted(packed[1], side="right") - 1
    tag = np.zeros(count + len(wanted_device), np.uint8)
    tag[count:] = 1
    both_device = np.concatenate([device, wanted_device])
    both_time = np.concatenate([time, wanted_time])
    order = key_order(both_device, both_time, tag)
    # Keys come before wanted ones of the same value: the last key passed is the only candidate.
    rank = np.cumsum(tag[order] == 0) - 1
    place = np.empty(len(order), np.intp)
    place[order] = rank
    return place[count:]


def _packed_keys(
    *keys: tuple[DeviceIds, TimesNs],
) -> list[npt.NDArray[np.uint64]] | None:
    """Integers in the order of the (device, time) they stand for, the same for equal ones; None
    when one integer is too small. None of ``keys`` is empty."""
    first = min(int(device.min()) for device, _ in keys)
    low = min(int(time.min()) for _, time in keys)
    bits = (max(int(time.max()) for _, time in keys) - low).bit_length()
    span = max(int(device.max()) for device, _ in keys) - first
    if bits + span.bit_length() > _KEY_BITS:
        return None
    return [
        ((device - np.uint32(first)).astype(np.uint64) << np.uint64(bits))
        | (time - np.int64(low)).view(np.uint64)
        for device, time in keys
    ]


def new_runs(values: AnyArray) -> BoolMask:
    """bool[n]: where a run of equal values begins."""
    first: BoolMask = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def lengths(starts: Index, total: int) -> npt.NDArray[np.int64]:
    """int64[n]: rows of groups that follow one another, ``total`` of all."""
    rows = np.empty(len(starts), np.int64)
    np.subtract(starts[1:], starts[:-1], out=rows[:-1])
    rows[-1:] = total - starts[-1:]
    return rows


def run_starts(device: DeviceIds, time: TimesNs) -> Index:
    """First row of every run of equal (device, time)."""
    first = np.ones(len(time), np.bool_)
    first[1:] = (device[1:] != device[:-1]) | (time[1:] != time[:-1])
    return first.nonzero()[0]


def _collapse(rows: VersionedRows, starts: Index, whole_rows: bool) -> VersionedRows:
    """One row per run; runs are ordered by version, so the last row of a run is the newest."""
    if len(starts) == len(rows):
        return rows
    ends: Index = np.append(starts[1:], len(rows)) - 1
    columns: dict[int, Column] = {}
    for key, column in rows.columns.items():
        if whole_rows or column.valid is None:
            columns[key] = column.take(ends)
        else:
            columns[key] = _newest_values(column, starts, ends)
    return VersionedRows(
        rows.device[ends], rows.time[ends], rows.origin[ends], rows.lsn[ends], columns
    )


def _newest_values(column: Column, starts: Index, ends: Index) -> Column:
    assert column.valid is not None
    rows = np.where(column.valid, np.arange(len(column.values)), -1)
    newest = np.maximum.reduceat(rows, starts)
    found = newest >= 0
    values: Any = column.values[np.where(found, newest, ends)]
    return Column(values, None if found.all() else found)
