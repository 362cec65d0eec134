"""Which blocks hold a device and time that something else holds too.

Extents of blocks meet wherever rows were late, and hardly ever is a row of the one of the same
device and time as a row of the other. That is found out here, for whoever has much to gain from not
merging: the devices and times of rows where extents meet are read and sorted, no values. What
cannot be told with bounded memory counts as shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.merge import key_order
from mainstem_engine.model import BoolMask, DeviceIds, TimesNs
from mainstem_engine.sources import Extents, PartBlocks

KEYS_MAX = 1 << 20
"""Rows of which devices and times are looked at together: some 50 MB with what sorting takes. Of a
device that has more in blocks that meet nothing is told."""

_Index = npt.NDArray[np.intp]
_Keys = tuple[DeviceIds, TimesNs]


def share_keys(found: Sequence[PartBlocks], head: Sequence[_Keys]) -> BoolMask:
    """bool over all blocks of ``found``, one part after the other: may hold a device and time that
    another block of ``found`` holds, or that is one of ``head``. Raises CorruptionError."""
    extents = Extents.together(map(Extents.of_blocks, found))
    shares = np.ones(len(extents), np.bool_)
    rows = np.concatenate([item.part.blocks.rows[item.numbers] for item in found])
    for blocks in _by_device(extents, rows):
        if int(rows[blocks].sum(dtype=np.int64)) <= KEYS_MAX:
            shares[blocks] = False
            shares[_twice(found, extents, np.sort(blocks), head)] = True
    return shares


def _by_device(extents: Extents, rows: npt.NDArray[np.uint32]) -> Iterator[_Index]:
    """Blocks, by number, in groups that have no device in common; of no more rows than are looked
    at together, where that can be."""
    order = np.argsort(extents.device_min, kind="stable")
    reached = np.maximum.accumulate(extents.device_max[order])
    begins = np.flatnonzero(np.append(True, extents.device_min[order][1:] > reached[:-1]))
    totals = np.cumsum(np.add.reduceat(rows[order].astype(np.int64), begins))
    bucket = (totals - 1) // KEYS_MAX
    yield from np.split(order, begins[np.flatnonzero(bucket[1:] != bucket[:-1]) + 1])


def _twice(
    found: Sequence[PartBlocks], extents: Extents, blocks: _Index, head: Sequence[_Keys]
) -> _Index:
    """Those of ``blocks`` (ascending) with a row of the same device and time as another row."""
    devices: list[DeviceIds] = []
    times: list[TimesNs] = []
    places: list[_Index] = []
    before, after = _meeting(extents, blocks, head)
    offset = 0
    for item in found:
        low, high = blocks.searchsorted([offset, offset + len(item.numbers)])
        here = blocks[low:high] - offset
        offset += len(item.numbers)
        if not len(here):
            continue
        numbers = item.numbers[here]
        sizes = item.part.blocks.rows[numbers]
        time = item.part.read_times(numbers)
        near = np.flatnonzero(
            (time <= np.repeat(before[low:high], sizes))
            | (time >= np.repeat(after[low:high], sizes))
        )
        times.append(time[near])
        devices.append(item.part.read_devices(numbers)[near])
        places.append(np.repeat(blocks[low:high], sizes)[near])
    least, greatest = extents.device_min[blocks].min(), extents.device_max[blocks].max()
    for device, time in head:
        inside = (device >= least) & (device <= greatest)
        devices.append(device[inside])
        times.append(time[inside])
    device, time, place = np.concatenate(devices), np.concatenate(times), np.concatenate(places)
    order = key_order(device, time)
    device, time = device[order], time[order]
    same = np.flatnonzero((device[1:] == device[:-1]) & (time[1:] == time[:-1]))
    rows = np.concatenate([order[same], order[same + 1]])
    twice: _Index = place[rows[rows < len(place)]]
    return twice


def _meeting(extents: Extents, blocks: _Index, head: Sequence[_Keys]) -> tuple[TimesNs, TimesNs]:
    """(ns, ns) of each of ``blocks``: a row up to the first, or from the second on, may be of a
    time that something else holds."""
    before = np.full(len(blocks), TIME_MAX_NS, np.int64)
    after = np.full(len(blocks), TIME_MAX_NS, np.int64)
    single = extents.device_min[blocks] == extents.device_max[blocks]
    if any(len(time) for _, time in head) or not single.all():
        return before, after
    device = extents.device_min[blocks]
    first, last = extents.time_min_ns[blocks], extents.time_max_ns[blocks]
    order = np.lexsort((first, device))
    device, first, last = device[order], first[order], last[order]
    begins = np.append(True, device[1:] != device[:-1])
    # The latest end so far, device after device: by ranks, with the device before the time.
    ranks = np.unique(last)
    reached = np.cumsum(begins) * len(ranks) + ranks.searchsorted(last)
    reached = ranks[np.maximum.accumulate(reached)[:-1] % len(ranks)]
    before[order[1:]] = np.where(begins[1:], TIME_MIN_NS, reached)
    before[order[0]] = TIME_MIN_NS
    after[order[:-1]] = np.where(begins[1:], TIME_MAX_NS, first[1:])
    return before, after
