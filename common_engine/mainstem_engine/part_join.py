"""Joining parts: the rows of several, merged, as one new part. Steps 2 and 3 bound the memory.

1. *Pass through*: a block of one device that no other block meets, of which nothing is deleted and
   whose columns have their present types, is copied as it is, if it is large and leaves no crumbs
   of the same device to be written beside it.
2. *Cut*: what remains is cut into steps, intervals of (device, time), of about so many rows as the
   memory allows. Rows of one device and time are never in two steps.
3. *Step*: of every part the blocks that meet the interval are read, what is deleted is erased,
   columns are widened to the table's types, rows are sorted, settled fragments are merged, and the
   writer gets them. Between steps the caller may give up.

Blocks become larger and are compressed harder than a flush has time for: what is written here stays
for long. Nothing counts until the caller commits the part that comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.database_options import part_settings
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import conform_rows
from mainstem_engine.compaction import Compaction
from mainstem_engine.deletes import Tombstones
from mainstem_engine.encoding.pco import LEVEL_SMALL
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.inventory import Inventory, lsn_ranges
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.merge import concat_rows, merge_settled, part_sorted
from mainstem_engine.model import BoolMask, VersionedRows
from mainstem_engine.part.blocks import dense_rows_min
from mainstem_engine.part.layout import BLOCK_ROWS_MAX
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.part.writer import PartWriter
from mainstem_engine.sources import Extents, PartBlocks, lone

BLOCK_GROWTH = 4
"""Blocks of a compaction have so many times the rows of a flush's: 5 % fewer bytes on sensor data.
A reader of few rows decodes more, which at a hundred million values a second it does not feel."""
PASS_SHARE = 2
"""A block passes through from half of the rows that a block may have."""
STEP_ROWS_MAX = 1 << 17
"""Enough for vectorised work."""
STEP_ROWS_MIN = 1 << 12
"""Smaller steps would decode more blocks twice than they save."""
LET_GO_BYTES = 4 << 20
"""After so much was written, the pages that were read for it are let go of: nobody reads them again
here, and a join of large parts would hold all of them in the process until it ends."""
_COPIES = 6
"""A step is held as read, joined, sorted, merged, held back by the writer, and being encoded."""
_KEY_BYTES = 22
"""Device, time, origin and LSN of a row."""
_TEXT_BYTES = 64
"""A string or bytes object, beside what it holds; that is taken from the parts' sizes."""

_RANK_BITS = np.uint64(32)
_RANK_MAX = np.uint64(0xFFFFFFFF)

Keys = npt.NDArray[np.uint64]


class JoinAborted(Exception):
    """The caller gave up between two steps; the new part was removed."""


@dataclass(frozen=True, slots=True)
class JoinContext:
    """What a join needs to know of the store it works for.

    ``settled(origin)``: the LSN up to which everything of it is in parts. ``go_on()``: False to
    give up. ``block_rows``: of a flush of ``database``, whose rows are joined.
    """

    fs: Filesystem
    inventory: Inventory
    memory: MemoryBudget
    settled: Callable[[int], int]
    go_on: Callable[[], bool]
    block_rows: int
    database: Database


def join_parts(
    plan: Compaction, table: Table, tombstones: Tombstones, context: JoinContext
) -> PartMeta | None:
    """Writes the part that replaces the plan's; None when every row was deleted.

    ``tombstones``: those in the checkpoint, so that what is erased stays deleted after a crash.
    Raises OSError, CorruptionError, OverloadedError, JoinAborted.
    """
    row_bytes = _row_bytes(plan.parts, table)
    share = context.memory.limit_of("compaction")
    step_rows = min(max(share // (_COPIES * row_bytes), STEP_ROWS_MIN), STEP_ROWS_MAX)
    with context.memory.reserve("compaction", min(share, _COPIES * row_bytes * step_rows)):
        return _Join(plan, table, tombstones, context, step_rows).run()


def _row_bytes(parts: Sequence[Part], table: Table) -> int:
    """What a row takes in memory, roughly."""
    rows = max(1, sum(part.meta.rows for part in parts))
    size = _KEY_BYTES
    for kind in table.types.values():
        size += _TEXT_BYTES if kind.is_variable else kind.dtype.itemsize + 1
    if any(kind.is_variable for kind in table.types.values()):
        size += 4 * sum(part.meta.bytes for part in parts) // rows
    return size


class _Join:
    """One join; see the module."""

    def __init__(
        self,
        plan: Compaction,
        table: Table,
        tombstones: Tombstones,
        context: JoinContext,
        step_rows: int,
    ) -> None:
        self._plan = plan
        self._table = table
        self._tombstones = tombstones
        self._context = context
        self._step_rows = step_rows
        self._measurements, block_rows = part_settings(
            context.database, table.template, context.block_rows
        )
        self._block_rows = min(block_rows * BLOCK_GROWTH, BLOCK_ROWS_MAX)
        self._found = [
            PartBlocks(part, np.arange(len(part.blocks)), tombstones.of_part(part.meta))
            for part in plan.parts
        ]
        joined = {part.meta.name for part in plan.parts}
        self._elsewhere = lsn_ranges(
            part.meta
            for part in context.inventory.of_table(plan.table)
            if part.meta.name not in joined
            and any(_may_share(part.meta, p.meta) for p in plan.parts)
        )

    def run(self) -> PartMeta | None:
        passed = [self._may_pass(item) for item in self._found]
        if any(mask.any() for mask in passed):
            alone = lone([Extents.of_blocks(item) for item in self._found])
            edges = np.cumsum([len(mask) for mask in passed])[:-1]
            for mask, free in zip(passed, np.split(alone, edges), strict=True):
                mask &= free
            self._leave_no_crumbs(passed)
        lines = _Lines([item.part for item in self._found])
        rests = [lines.rest(at, np.flatnonzero(~mask)) for at, mask in enumerate(passed)]
        kept_from = 0
        with self._writer() as writer:
            for part, number, step in self._steps(lines, rests):
                if not self._context.go_on():
                    raise JoinAborted
                if part is not None:
                    writer.add_block(part, number)
                writer.add(self._rows(lines, rests, step))
                if writer.bytes - kept_from >= LET_GO_BYTES:
                    kept_from = writer.bytes
                    self._let_go()
            self._let_go()
            return writer.finish() if writer.rows else None

    def _let_go(self) -> None:
        for each in self._plan.parts:
            each.let_go()

    def _writer(self) -> PartWriter:
        metas = [part.meta for part in self._plan.parts]
        first = metas[0]
        inventory = self._context.inventory
        return PartWriter(
            self._context.fs,
            inventory.directory_for(first.vnode, first.vnodes),
            inventory.next_name(),
            table=self._plan.table,
            partition_start_ns=self._plan.partition_start_ns,
            measurements=self._measurements,
            block_rows=self._block_rows,
            vnode=first.vnode,
            vnodes=first.vnodes,
            applied=(min(m.applied[0] for m in metas), max(m.applied[1] for m in metas)),
            erased_through=self._tombstones.newest_lsn,
            level=LEVEL_SMALL,
        )

    # What passes through

    def _may_pass(self, item: PartBlocks) -> BoolMask:
        """Which blocks of a part may be copied, as far as the part itself says."""
        part, blocks = item.part, item.part.blocks
        types = self._table.types
        same = all(types.get(key, kind) == kind for key, kind in part.types.items())
        if item.tombstones or not same:
            return np.zeros(len(blocks), np.bool_)
        large = blocks.rows >= self._block_rows // PASS_SHARE
        mask: BoolMask = large & (blocks.device_min == blocks.device_max) & (blocks.distinct == 1)
        return mask

    def _leave_no_crumbs(self, passed: Sequence[BoolMask]) -> None:
        """Takes blocks back whose device has rows elsewhere that would not fill a block."""
        single: list[npt.NDArray[np.uint32]] = []
        single_rows: list[npt.NDArray[np.int64]] = []
        mixed_low: list[npt.NDArray[np.uint32]] = []
        mixed_high: list[npt.NDArray[np.uint32]] = []
        for item, mask in zip(self._found, passed, strict=True):
            blocks = item.part.blocks
            mine = blocks.device_min == blocks.device_max
            single.append(blocks.device_min[mine & ~mask])
            single_rows.append(blocks.rows[mine & ~mask].astype(np.int64))
            mixed_low.append(blocks.device_min[~mine])
            mixed_high.append(blocks.device_max[~mine])
        devices, place = np.unique(np.concatenate(single), return_inverse=True)
        rows = np.bincount(place, np.concatenate(single_rows), len(devices)).astype(np.int64)
        few = devices[rows < dense_rows_min(self._block_rows)]
        low = np.sort(np.concatenate(mixed_low))
        high = np.sort(np.concatenate(mixed_high))
        for item, mask in zip(self._found, passed, strict=True):
            device = item.part.blocks.device_min
            among = low.searchsorted(device, "right") > high.searchsorted(device, "left")
            mask &= ~among & ~np.isin(device, few)

    # Steps

    def _steps(
        self, lines: _Lines, rests: Sequence[_Rest]
    ) -> Sequence[tuple[Part | None, int, tuple[int, int]]]:
        """(a block to copy or None, the interval of other rows behind it), in order."""
        whole: list[tuple[int, int, int]] = []
        rest_rows: list[npt.NDArray[np.int64]] = []
        for at, (item, rest) in enumerate(zip(self._found, rests, strict=True)):
            copied = np.ones(len(item.part.blocks), np.bool_)
            copied[rest.numbers] = False
            whole += [(int(lines.begin[at][n]), at, int(n)) for n in np.flatnonzero(copied)]
            rest_rows.append(item.part.blocks.rows[rest.numbers].astype(np.int64))
        begin, rows = np.concatenate([rest.begin for rest in rests]), np.concatenate(rest_rows)
        order = np.argsort(begin, kind="stable")
        begin, rows = begin[order], rows[order]
        bucket = (np.cumsum(rows) - rows) // self._step_rows
        cuts = begin[np.diff(bucket, prepend=-1) > 0]
        copies = {key: (at, number) for key, at, number in whole}
        keys = sorted({0, *cuts.tolist(), *copies})
        steps: list[tuple[Part | None, int, tuple[int, int]]] = []
        for key, end in zip(keys, [*keys[1:], _END], strict=True):
            copy = copies.get(key)
            part = None if copy is None else self._found[copy[0]].part
            steps.append((part, 0 if copy is None else copy[1], (key, end)))
        return steps

    def _rows(self, lines: _Lines, rests: Sequence[_Rest], step: tuple[int, int]) -> VersionedRows:
        """The merged rows of one interval that are in no copied block."""
        batches: list[VersionedRows] = []
        for item, rest in zip(self._found, rests, strict=True):
            numbers = rest.numbers[(rest.last >= step[0]) & (rest.begin < step[1])]
            if not len(numbers):
                continue
            rows = lines.inside(item.part.read(numbers, item.part.types), step)
            rows = item.tombstones.erase(rows, item.part.meta.applied)
            if len(rows):
                batches.append(conform_rows(rows, self._table.types))
        rows = part_sorted(concat_rows(batches))
        return merge_settled(
            rows,
            self._context.settled,
            whole_rows=self._table.replaces_rows,
            elsewhere=self._elsewhere,
        )


def _may_share(one: PartMeta, other: PartMeta) -> bool:
    """False when no device and time can be in both."""
    if one.vnodes == other.vnodes and one.vnode != other.vnode:
        return False
    return (
        one.device_min <= other.device_max
        and one.device_max >= other.device_min
        and one.time_min_ns <= other.time_max_ns
        and one.time_max_ns >= other.time_min_ns
    )


_END = 1 << 64
"""After every key."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """The blocks of one part that are not copied, and their ends on the line."""

    numbers: BlockNumbers
    begin: Keys
    last: Keys


class _Lines:
    """Blocks as intervals of a line: (device, time) in one integer, so that they are compared by
    their ends. Times are ranks among all times at which a block begins or ends.

    ``begin``, ``last``: uint64 per part and block; a block of several devices has all their times.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        blocks = [part.blocks for part in parts]
        bounds = [side for index in blocks for side in (index.time_min_ns, index.time_max_ns)]
        self._times = np.unique(np.concatenate(bounds))
        self.begin: list[Keys] = []
        self.last: list[Keys] = []
        for index in blocks:
            single = index.device_min == index.device_max
            low = np.where(single, self._times.searchsorted(index.time_min_ns), 0)
            high = self._times.searchsorted(index.time_max_ns).astype(np.uint64)
            high = np.where(single, high, _RANK_MAX)
            self.begin.append(
                index.device_min.astype(np.uint64) << _RANK_BITS | low.astype(np.uint64)
            )
            self.last.append(index.device_max.astype(np.uint64) << _RANK_BITS | high)

    def rest(self, at: int, numbers: BlockNumbers) -> _Rest:
        """Some blocks of part ``at``."""
        return _Rest(numbers, self.begin[at][numbers], self.last[at][numbers])

    def inside(self, rows: VersionedRows, step: tuple[int, int]) -> VersionedRows:
        """The rows of one part (sorted) from the one key to before the other."""
        first, end = (self._place(rows, key) for key in step)
        return rows if end - first == len(rows) else rows.take(slice(first, end))

    def _place(self, rows: VersionedRows, key: int) -> int:
        """Where in ``rows`` the first row at or after ``key`` is."""
        device, rank = key >> 32, key & 0xFFFFFFFF
        if device > int(_RANK_MAX):
            return len(rows)
        low = int(rows.device.searchsorted(np.uint32(device), "left"))
        if not rank:
            return low
        high = int(rows.device.searchsorted(np.uint32(device), "right"))
        return low + int(rows.time[low:high].searchsorted(self._times[rank], "left"))
