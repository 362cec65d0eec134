"""Where the rows of a selection lie, and whether they have to be merged.

1. Parts are pruned to the blocks that may hold rows of the selection; what is deleted and still
   stored goes with them.
2. A block is *lone* when no other block of the selection and no row of the head can hold a row of
   the same device and time: their extents do not meet. This is decided from the block index alone;
   when in doubt, a block is not lone.
3. Blocks of several devices begin with the device that ended the one before. Such neighbours are a
   *chain* where the times of that device ascend through both: it is lone as a whole, or not.
4. Lone blocks whose rows are distinct and untouched by deletes are already what a merge would make
   of them: they are read without their versions, and their statistics are those of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.deletes import NONE, Tombstones
from mainstem_engine.inventory import blocks_of
from mainstem_engine.model import BoolMask, DeviceIds, VersionedRows
from mainstem_engine.part.layout import EXTREMES_USABLE
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.part_index import near_parts
from mainstem_engine.view import TableView

_RANK_BITS = np.uint64(32)
_RANK_MAX = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class PartBlocks:
    """Some blocks of one part, ascending, and the deletes that may still touch its rows."""

    part: Part
    numbers: BlockNumbers
    tombstones: Tombstones

    @property
    def rows(self) -> int:
        return int(self.part.blocks.rows[self.numbers].sum(dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Extents:
    """Ranges of device and time, ends included, of some blocks or groups of rows; parallel."""

    device_min: DeviceIds
    device_max: DeviceIds
    time_min_ns: npt.NDArray[np.int64]
    time_max_ns: npt.NDArray[np.int64]

    @classmethod
    def of_blocks(cls, found: PartBlocks) -> Extents:
        index, numbers = found.part.blocks, found.numbers
        return cls(
            index.device_min[numbers],
            index.device_max[numbers],
            index.time_min_ns[numbers],
            index.time_max_ns[numbers],
        )

    @classmethod
    def of_rows(cls, rows: VersionedRows) -> Extents:
        """One extent per device of ``rows``, which are in any order."""
        order = np.argsort(rows.device, kind="stable")
        device, time = rows.device[order], rows.time[order]
        starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
        first = device[starts]
        return cls(
            first, first, np.minimum.reduceat(time, starts), np.maximum.reduceat(time, starts)
        )

    @classmethod
    def together(cls, pieces: Iterable[Extents]) -> Extents:
        """All of them, one piece after the other."""
        columns = zip(*(
            (e.device_min, e.device_max, e.time_min_ns, e.time_max_ns) for e in pieces
        ), strict=True)  # fmt: skip
        return cls(*map(np.concatenate, columns))

    def joined(self, starts: npt.NDArray[np.intp]) -> Extents:
        """One extent of those from each of ``starts`` up to the next, which are by device."""
        if len(starts) == len(self):
            return self
        ends = np.append(starts[1:], len(self)) - 1
        return Extents(
            self.device_min[starts],
            self.device_max[ends],
            np.minimum.reduceat(self.time_min_ns, starts),
            np.maximum.reduceat(self.time_max_ns, starts),
        )

    def __len__(self) -> int:
        return len(self.device_min)


@dataclass(frozen=True, slots=True)
class ValueRange:
    """Rows of interest have a value of the measurement in [low, high] (which may be infinite)."""

    measurement_id: int
    low: float
    high: float


def find_blocks(
    view: TableView, devices: DeviceIds | None, start_ns: int, end_ns: int
) -> list[PartBlocks]:
    """Blocks that may hold rows of ``devices`` (ascending, None: all) in [start, end), by part.

    Raises CorruptionError when a part that could hold such rows cannot be read.
    """
    erased = view.tombstones.overlapping(devices, start_ns, end_ns) if view.tombstones else NONE
    found: list[PartBlocks] = []
    for part in near_parts(view.parts, devices, start_ns, end_ns):
        hit = blocks_of(part, devices, start_ns, end_ns)
        if hit is not None:
            found.append(PartBlocks(hit[0], hit[1], erased.of_part(hit[0].meta)))
    return found


def are_all_plain(found: Sequence[PartBlocks]) -> bool:
    """True when every block is lone, distinct and untouched; there are no other rows."""
    if any(item.tombstones for item in found):
        return False
    if not all(item.part.blocks.distinct[item.numbers].all() for item in found):
        return False
    if len(found) == 1:
        return follow_strictly(found[0])
    pieces = [Extents.of_blocks(item) for item in found]
    return bool(lone(pieces).all())


def within(found: Sequence[PartBlocks], ranges: Sequence[ValueRange]) -> list[PartBlocks]:
    """Without the plain blocks of which every row fails one of ``ranges`` by their statistics."""
    kept: list[PartBlocks] = []
    for item in found:
        mask = np.ones(len(item.numbers), np.bool_)
        for wanted in ranges:
            mask &= _may_hold(item, wanted)
        if mask.all():
            kept.append(item)
        elif mask.any():
            kept.append(PartBlocks(item.part, item.numbers[mask], item.tombstones))
    return kept


def _may_hold(item: PartBlocks, wanted: ValueRange) -> BoolMask:
    part, numbers, key = item.part, item.numbers, wanted.measurement_id
    if key not in part.types:
        return np.zeros(len(numbers), np.bool_)
    statistics = part.statistics(key)
    if statistics is None:
        return np.ones(len(numbers), np.bool_)
    low = statistics.minimum[numbers].astype(np.float64)
    high = statistics.maximum[numbers].astype(np.float64)
    outside = (statistics.flags[numbers] & EXTREMES_USABLE) > 0
    outside &= (high < wanted.low) | (low > wanted.high)
    outside |= part.nulls(key)[numbers] == part.blocks.rows[numbers]
    return ~outside


def follow_strictly(found: PartBlocks) -> bool:
    """True when no two neighbours of one part share a device and time: its rows are sorted."""
    index, left, right = found.part.blocks, found.numbers[:-1], found.numbers[1:]
    shared = index.device_max[left] == index.device_min[right]
    if not shared.any():
        return True
    left, right = left[shared], right[shared]
    meets = index.time_max_ns[left] >= index.time_min_ns[right]
    if not meets.any():
        return True
    left, right = left[meets], right[meets]
    return bool((left + 1 == right).all() and found.part.follows(right).all())


def lone_blocks(found: Sequence[PartBlocks], others: Sequence[Extents]) -> BoolMask:
    """bool over all blocks of ``found``, one part after the other: of a chain that meets no other
    and none of ``others``. Raises CorruptionError."""
    chains = [_chains(item) for item in found]
    extents = [
        Extents.of_blocks(item).joined(starts) for item, starts in zip(found, chains, strict=True)
    ]
    alone = lone([*extents, *others])
    sizes = [
        np.diff(starts, append=len(item.numbers))
        for item, starts in zip(found, chains, strict=True)
    ]
    every = np.concatenate(sizes)
    return np.repeat(alone[: len(every)], every)


def _chains(found: PartBlocks) -> npt.NDArray[np.intp]:
    """Which blocks begin a chain."""
    index, numbers = found.part.blocks, found.numbers
    left, right = numbers[:-1], numbers[1:]
    several = index.device_min[numbers] != index.device_max[numbers]
    linked = (index.device_max[left] == index.device_min[right]) & (left + 1 == right)
    linked &= several[:-1] | several[1:]
    if linked.any():
        linked[linked] = found.part.follows(right[linked])
    return np.flatnonzero(np.append(True, ~linked))


def lone(pieces: Sequence[Extents]) -> BoolMask:
    """bool over all extents, one piece after the other: meets no other.

    An extent of several devices counts as all times of all devices between its ends.
    """
    if not pieces:
        return np.zeros(0, np.bool_)
    time_min = np.concatenate([piece.time_min_ns for piece in pieces])
    time_max = np.concatenate([piece.time_max_ns for piece in pieces])
    low = np.concatenate([piece.device_min for piece in pieces]).astype(np.uint64)
    high = np.concatenate([piece.device_max for piece in pieces]).astype(np.uint64)
    # (device, rank of the time) in one integer: intervals of a line are compared by their ends.
    ranks = np.unique(np.concatenate([time_min, time_max]))
    single = low == high
    begin = low << _RANK_BITS | np.where(single, ranks.searchsorted(time_min), 0).astype(np.uint64)
    last = np.where(single, ranks.searchsorted(time_max).astype(np.uint64), _RANK_MAX)
    end = high << _RANK_BITS | last
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    alone = np.ones(len(order), np.bool_)
    alone[1:] &= begin[1:] > np.maximum.accumulate(end)[:-1]
    alone[:-1] &= begin[1:] > end[:-1]
    result = np.empty(len(order), np.bool_)
    result[order] = alone
    return result


def in_block_order(found: Sequence[PartBlocks]) -> npt.NDArray[np.intp]:
    """Row numbers that put the rows of lone blocks of several parts, read part after part, into
    the order of device and time."""
    sizes = np.concatenate([item.part.blocks.rows[item.numbers] for item in found]).astype(np.intp)
    device = np.concatenate([item.part.blocks.device_min[item.numbers] for item in found])
    time = np.concatenate([item.part.blocks.time_min_ns[item.numbers] for item in found])
    order = np.lexsort((time, device))
    starts = (np.cumsum(sizes) - sizes)[order]
    sizes = sizes[order]
    ends = np.cumsum(sizes)
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(int(ends[-1]))
