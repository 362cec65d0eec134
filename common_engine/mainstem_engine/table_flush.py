"""The flush of one table of one vnode: chunks in, one part per database and partition out.

1. The rows come in pieces (pieces.py), in order of device. Of each piece the late rows are resolved
   (late_rows.py), deleted rows leave, settled fragments are merged, and what is left goes to the
   writers of its partitions.
2. While one piece is encoded on other threads, the next is sorted. What is held at once are a few
   pieces and what each writer has under way, whatever the size of the head.
3. At most PARTS_AT_ONCE writers are open. Rows of more partitions than that, as a backfill brings
   them, are gone through again for the next ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mainstem_engine.accounting import Resolution
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.database_options import part_settings
from mainstem_engine.deletes import Tombstones
from mainstem_engine.encoding.auto import Choice
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.head import TableHead
from mainstem_engine.inventory import AnyPart, Inventory, lsn_ranges
from mainstem_engine.late_rows import LateRows
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.merge import LsnRanges, merge_settled, part_sorted
from mainstem_engine.model import DeviceIds, VersionedRows
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.writer import PartWriter
from mainstem_engine.pieces import PIECE_ROWS, Piece, pieces_of

PARTITIONS_MAX = 512
"""Parts of one table and database in one flush. Data spread over more partitions shares files:
partitions decide only what retention can drop as a whole, never what a query finds."""
PARTS_AT_ONCE = 4
"""Rows of one flush rarely lie in more; each open writer holds some blocks."""
PIECE_ROWS_MIN = 1 << 12
"""Smaller pieces would cost more than they hold."""
COPIES = 6
"""Of a piece: joined, sorted, split by partition, and as much again in the writers' hands."""

Target = tuple[int, int]
"""(database, start of the partition in ns): what a part is for."""


@dataclass(frozen=True, slots=True)
class FlushPlan:
    """What the flushes of all tables share.

    ``applied``: first and last LSN of the records whose rows are flushed. ``settled``: merge.py.
    ``choices``: by table, how its columns were encoded last, so that not every flush tries anew.
    """

    fs: Filesystem
    inventory: Inventory
    catalog: Catalog
    memory: MemoryBudget
    block_rows: int
    vnodes: int
    applied: tuple[int, int]
    settled: Callable[[int], int]
    workers: int
    choices: dict[str, dict[int, Choice]]


class TableFlush:
    """See the module. ``tombstones``: those of the table; ``written`` gets every part as it is
    finished, so that a flush that fails knows what to remove."""

    def __init__(
        self, plan: FlushPlan, head: TableHead, tombstones: Tombstones, written: list[PartMeta]
    ) -> None:
        self._plan = plan
        self._head = head
        self._tombstones = tombstones
        self._written = written
        self._table = plan.catalog.table(head.table)
        bounds = [chunk.bounds() for chunk in head.chunks]
        self._devices = min(b[0] for b in bounds), max(b[1] for b in bounds)
        self._times = min(b[2] for b in bounds), max(b[3] for b in bounds)
        self._elsewhere: LsnRanges = {}

    def run(self) -> Resolution:
        """Writes the parts; returns what became of the late rows. Raises OSError."""
        plan = self._plan
        older = [p for p in plan.inventory.of_table(self._head.table) if self._may_share(p)]
        self._elsewhere = lsn_ranges(part.meta for part in older if self._overlaps(part))
        late = LateRows(self._head, older, self._tombstones.through(plan.applied[0] - 1))
        row_bytes = max(chunk.row_bytes() for chunk in self._head.chunks)
        share = plan.memory.limit_of("flush") // plan.workers
        rows = min(max(share // (COPIES * row_bytes), PIECE_ROWS_MIN), PIECE_ROWS)
        with plan.memory.reserve("flush", min(rows * COPIES * row_bytes, share)):
            resolution, waiting = self._pass(rows, None, late)
            while waiting:
                self._pass(rows, waiting[:PARTS_AT_ONCE], late)
                waiting = waiting[PARTS_AT_ONCE:]
        return resolution

    def _pass(
        self, piece_rows: int, targets: Sequence[Target] | None, late: LateRows
    ) -> tuple[Resolution, list[Target]]:
        """Writes the parts of ``targets``; without them, of the first that come.

        Returns what became of the late rows, and the targets that were not written.
        """
        resolution = Resolution()
        writers: dict[Target, PartWriter] = {}
        waiting: dict[Target, None] = {}
        with contextlib.ExitStack() as stack:
            for piece in pieces_of(self._head.chunks, piece_rows):
                rows, found = self._sorted(piece, late if targets is None else None)
                resolution += found
                for target, some in self._split(rows):
                    if target in writers:
                        writers[target].add(some)
                    elif len(writers) < PARTS_AT_ONCE if targets is None else target in targets:
                        writers[target] = stack.enter_context(self._writer(target))
                        writers[target].add(some)
                    else:
                        waiting[target] = None
            for writer in writers.values():
                self._written.append(writer.finish())
                self._plan.choices[self._head.table] = writer.choices
        return resolution, list(waiting)

    def _sorted(self, piece: Piece, late: LateRows | None) -> tuple[VersionedRows, Resolution]:
        """The rows of a piece as they go into parts, and what became of its late rows."""
        rows = piece.sorted_rows(self._tombstones, self._table.types)
        resolution = Resolution()
        if late is not None:
            # Late rows were counted before anything was deleted, so they are compared without.
            keys = part_sorted(piece.keys()) if self._tombstones else rows
            resolution = late.resolve(keys)
        whole_rows = self._table.replaces_rows
        merged = merge_settled(
            rows, self._plan.settled, whole_rows=whole_rows, elsewhere=self._elsewhere
        )
        return merged, resolution

    def _split(self, rows: VersionedRows) -> Iterator[tuple[Target, VersionedRows]]:
        """The rows of each database and partition, order kept."""
        if not len(rows):
            return
        databases = self._databases(rows.device)
        one = bool((databases == databases[0]).all())
        for database in [int(databases[0])] if one else np.unique(databases).tolist():
            own = rows if one else rows.take(databases == database)
            duration_ns = self._plan.catalog.databases.at(database).duration_ns
            duration_ns = whole_partitions(duration_ns, *self._times)
            for start_ns, some in split_partitions(own, duration_ns):
                yield (database, start_ns), some

    def _databases(self, device: DeviceIds) -> DeviceIds:
        """The database of each row; ``device`` ascending."""
        first = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
        found = self._plan.catalog.devices.database_indexes(device[first])
        counts = np.diff(np.append(first, len(device)))
        return np.repeat(found, counts).astype(np.uint32)

    def _writer(self, target: Target) -> PartWriter:
        plan = self._plan
        measurements, block_rows = part_settings(
            plan.catalog.databases.at(target[0]), self._table.template, plan.block_rows
        )
        return PartWriter(
            plan.fs,
            plan.inventory.directory_for(self._head.vnode, plan.vnodes),
            plan.inventory.next_name(),
            table=self._head.table,
            partition_start_ns=target[1],
            measurements=measurements,
            block_rows=block_rows,
            vnode=self._head.vnode,
            vnodes=plan.vnodes,
            applied=plan.applied,
            erased_through=self._tombstones.newest_lsn,
            choices=plan.choices.get(self._head.table),
        )

    def _may_share(self, part: AnyPart) -> bool:
        """False when no device can be in both."""
        return part.meta.vnodes != self._plan.vnodes or part.meta.vnode == self._head.vnode

    def _overlaps(self, part: AnyPart) -> bool:
        """False when no device and time can be in both."""
        meta = part.meta
        if meta.device_max < self._devices[0] or meta.device_min > self._devices[1]:
            return False
        return meta.time_max_ns >= self._times[0] and meta.time_min_ns <= self._times[1]


_TIME_MIN_NS = -(2**63)
"""The partition of the first times would begin before what a start can be."""


def whole_partitions(duration_ns: int, oldest_ns: int, newest_ns: int) -> int:
    """``duration_ns``, doubled until there are few enough partitions between the two times."""
    while newest_ns // duration_ns - oldest_ns // duration_ns >= PARTITIONS_MAX:
        duration_ns *= 2
    return duration_ns


def split_partitions(rows: VersionedRows, duration_ns: int) -> Sequence[tuple[int, VersionedRows]]:
    """(start in ns, rows) per partition, in order of time; each keeps the order of its rows."""
    oldest, newest = int(rows.time.min()), int(rows.time.max())
    first = oldest // duration_ns
    if newest // duration_ns == first:
        return [(max(first * duration_ns, _TIME_MIN_NS), rows)]
    number = (rows.time // duration_ns - first).astype(np.uint16)
    order = np.argsort(number, kind="stable")
    edges = np.flatnonzero(np.diff(number[order])) + 1
    return [
        (max((first + int(number[index[0]])) * duration_ns, _TIME_MIN_NS), rows.take(index))
        for index in np.split(order, edges)
    ]
