"""Flush: the head becomes parts, and the log may be forgotten up to there.

1. *Freeze* (store.py, under the append lock): at one LSN F the heads are set aside, a new log
   segment is begun, and catalog, origins, accounts and consumers are copied.
2. *Write*, without a lock, the vnodes in parallel: each table's rows are sorted, late rows are
   compared with older parts, settled fragments are merged, and one part per vnode, database and
   partition is written; then the checkpoint of F.
3. *Commit*: one record of the part list names the new parts and the checkpoint. A crash before it
   leaves files that the next start removes, and the log, which brings the same rows again.
4. *Publish* (store.py, under the state lock): readers see the parts instead of the frozen heads.

A flush that fails removes what it wrote, leaves the frozen heads readable, and is tried again with
the same F.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.accounting import Resolution, resolved_snapshot
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles, CatalogSnapshot, encode_snapshot
from mainstem_engine.checkpoint import write_checkpoint
from mainstem_engine.columns import conform_rows
from mainstem_engine.deletes import NONE, Tombstones
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.head import Head, TableHead
from mainstem_engine.inventory import AnyPart, Inventory, blocks_of
from mainstem_engine.merge import (
    concat_rows,
    key_order,
    match_keys,
    merge_settled,
    part_sorted,
    run_starts,
)
from mainstem_engine.model import DeviceIds, TimesNs, VersionedRows
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.writer import write_part
from mainstem_engine.resolution import resolve_deletes
from mainstem_engine.view import TableView

PARTITIONS_MAX = 512
"""Parts of one table and database in one flush. Data spread over more partitions shares files:
partitions decide only what retention can drop as a whole, never what a query finds."""
LOOKUP_ROWS = 1 << 18
"""Keys of older parts that are compared at a time, which bounds the memory of a late backfill."""

CATALOG_SECTION = "catalog"
ORIGINS_SECTION = "origins"
ACCOUNTS_SECTION = "accounts"
CONSUMER_SECTION = "consumer:"


@dataclass(slots=True)
class FrozenState:
    """Everything that a flush at LSN ``lsn`` writes: rows of the records ``first_lsn`` to ``lsn``.

    ``heads``: one per vnode. ``sections``: further sections of the checkpoint, encoded.
    ``tombstones``: by table, what stood at ``lsn``. ``views``: per table with deletes of these
    records, its older parts and the chunks of the heads."""

    first_lsn: int
    lsn: int
    heads: Sequence[Head]
    catalog: CatalogSnapshot
    origins: bytes
    accounts: dict[str, Any]
    consumers: dict[str, bytes]
    sections: dict[str, bytes] = field(default_factory=dict)
    tombstones: Mapping[str, Tombstones] = field(default_factory=dict)
    views: Mapping[str, TableView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlushResult:
    """Ready to commit. ``resolutions``: what became of late and deleted rows, per table."""

    parts: list[PartMeta]
    checkpoint: str
    resolutions: dict[str, Resolution]


class Flusher:
    """Writes frozen states of one store."""

    def __init__(
        self,
        fs: Filesystem,
        inventory: Inventory,
        catalog: Catalog,
        *,
        block_rows: int,
        catalog_files: CatalogFiles | None = None,
    ) -> None:
        self._fs = fs
        self._inventory = inventory
        self._catalog = catalog
        self._catalog_files = catalog_files
        self._block_rows = block_rows

    def write(self, frozen: FrozenState, settled: Callable[[int], int]) -> FlushResult:
        """Steps 2: parts and checkpoint. Raises OSError; nothing counts until it is committed."""
        metas: list[PartMeta] = []
        resolutions: dict[str, Resolution] = {}
        try:
            self._write_vnodes(frozen, settled, metas, resolutions)
            for name, found in _resolved_deletes(frozen).items():
                resolutions[name] = resolutions.get(name, Resolution()) + found
            sections = {
                CATALOG_SECTION: encode_snapshot(frozen.catalog, self._catalog_files),
                ORIGINS_SECTION: frozen.origins,
                ACCOUNTS_SECTION: resolved_snapshot(frozen.accounts, resolutions),
                **frozen.sections,
                **{f"{CONSUMER_SECTION}{k}": data for k, data in frozen.consumers.items()},
            }
            directory = self._inventory.checkpoints
            checkpoint = write_checkpoint(self._fs, directory, frozen.lsn, sections)
        except BaseException:
            self.discard(metas)
            raise
        return FlushResult(metas, checkpoint, resolutions)

    def discard(self, metas: Sequence[PartMeta]) -> None:
        """Removes parts that were not committed, so that failing again and again fills no disk."""
        with contextlib.suppress(OSError):
            self._inventory.unlink(metas)

    def _write_vnodes(
        self,
        frozen: FrozenState,
        settled: Callable[[int], int],
        metas: list[PartMeta],
        resolutions: dict[str, Resolution],
    ) -> None:
        """Writes the parts of all vnodes; ``metas`` gets every part written, also after a failure.

        Part names, and the order of the part list, depend on the threads; what is stored does not.
        """
        heads = [table for head in frozen.heads for table in head.tables.values()]
        workers = min(len(frozen.heads), os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="engine-flush") as pool:
            done = list(pool.map(lambda t: self._write_table(frozen, t, settled, metas), heads))
        for head, found in zip(heads, done, strict=True):
            resolutions[head.table] = resolutions.get(head.table, Resolution()) + found

    def _write_table(
        self,
        frozen: FrozenState,
        head: TableHead,
        settled: Callable[[int], int],
        metas: list[PartMeta],
    ) -> Resolution:
        """Writes the parts of one table of one vnode; returns what became of its late rows."""
        table = self._catalog.table(head.table)
        vnodes = len(frozen.heads)
        older = [p for p in self._inventory.of_table(head.table) if _may_share(p, head, vnodes)]
        tombstones = frozen.tombstones.get(head.table, NONE)
        earlier = tombstones.through(frozen.first_lsn - 1)
        stored = [chunk.all_rows() for chunk in head.chunks]
        resolution = resolve_late(stored, head, older, earlier)
        erased = [
            tombstones.erase(some, chunk.applied)
            for some, chunk in zip(stored, head.chunks, strict=True)
        ]
        rows = part_sorted(concat_rows([conform_rows(some, table.types) for some in erased]))
        if not len(rows):
            return resolution
        rows = merge_settled(rows, settled, whole_rows=table.replaces_rows)
        measurements = {m.id: m for m in table.template.measurements}
        directory = self._inventory.directory_for(head.vnode, vnodes)
        for start_ns, part_rows in self.partitions(rows):
            metas.append(
                write_part(
                    self._fs,
                    directory,
                    self._inventory.next_name(),
                    table=head.table,
                    partition_start_ns=start_ns,
                    rows=part_rows,
                    measurements=measurements,
                    block_rows=self._block_rows,
                    vnode=head.vnode,
                    vnodes=vnodes,
                    applied=(frozen.first_lsn, frozen.lsn),
                    erased_through=tombstones.newest_lsn,
                )
            )
        return resolution

    def partitions(self, rows: VersionedRows) -> Sequence[tuple[int, VersionedRows]]:
        """(start of the partition in ns, its rows) per database and partition, order kept."""
        databases = self._catalog.devices.database_indexes(rows.device)
        found: list[tuple[int, VersionedRows]] = []
        for database in np.unique(databases).tolist():
            duration_ns = self._catalog.databases.at(database).duration_ns
            mine = databases == database
            own = rows if mine.all() else rows.take(mine)
            found.extend(split_partitions(own, duration_ns))
        return found


def _may_share(part: AnyPart, head: TableHead, vnodes: int) -> bool:
    """False when no device can be in both."""
    return part.meta.vnodes != vnodes or part.meta.vnode == head.vnode


def split_partitions(rows: VersionedRows, duration_ns: int) -> Sequence[tuple[int, VersionedRows]]:
    """(start in ns, rows) per partition, in order of time; each keeps the order of its rows."""
    oldest, newest = int(rows.time.min()), int(rows.time.max())
    while newest // duration_ns - oldest // duration_ns >= PARTITIONS_MAX:
        duration_ns *= 2
    first = oldest // duration_ns
    if newest // duration_ns == first:
        return [(first * duration_ns, rows)]
    number = (rows.time // duration_ns - first).astype(np.uint16)
    order = np.argsort(number, kind="stable")
    edges = np.flatnonzero(np.diff(number[order])) + 1
    return [
        ((first + int(number[index[0]])) * duration_ns, rows.take(index))
        for index in np.split(order, edges)
    ]


def resolve_late(
    stored: Sequence[VersionedRows],
    head: TableHead,
    parts: Sequence[AnyPart],
    erased: Tombstones = NONE,
) -> Resolution:
    """What became of the late rows of a head; ``stored`` are all of its rows, in any order.

    Of each key one row counts as live: the one that was so at once if there is one, else one of the
    late rows unless an older part has the key. ``erased``: tombstones of earlier flushes.
    """
    if not head.late:
        return Resolution()
    rows = part_sorted(concat_rows([_keys_only(some) for some in stored]))
    device = np.concatenate([late[0] for late in head.late])
    time = np.concatenate([late[1] for late in head.late])
    order = key_order(device, time)
    device, time = device[order], time[order]
    starts = run_starts(device, time)
    late_rows = np.diff(np.append(starts, len(device)))
    key_device, key_time = device[starts], time[starts]
    all_starts = run_starts(rows.device, rows.time)
    all_rows = np.diff(np.append(all_starts, len(rows)))
    among = match_keys(rows.device[all_starts], rows.time[all_starts], key_device, key_time)
    counted = all_rows[among] > late_rows
    open_keys = ~counted
    older = keys_in_parts(key_device[open_keys], key_time[open_keys], parts, erased)
    live = int(np.count_nonzero(open_keys)) - int(np.count_nonzero(older))
    return Resolution(len(device), live)


def _keys_only(rows: VersionedRows) -> VersionedRows:
    return VersionedRows(rows.device, rows.time, rows.origin, rows.lsn)


def _resolved_deletes(frozen: FrozenState) -> dict[str, Resolution]:
    """The corrections by the deletes of these records, per table."""
    found = {}
    for name, view in frozen.views.items():
        tombstones = frozen.tombstones[name]
        late = [keys for h in frozen.heads if name in h.tables for keys in h.tables[name].late]
        earlier = tombstones.through(frozen.first_lsn - 1)
        new = tombstones.after(frozen.first_lsn - 1)
        found[name] = resolve_deletes(view, earlier, new, late)
    return found


def keys_in_parts(
    device: DeviceIds, time: TimesNs, parts: Sequence[AnyPart], erased: Tombstones = NONE
) -> npt.NDArray[np.bool_]:
    """Which of the keys (sorted, distinct) have a row in one of the parts that is not ``erased``.

    Only blocks whose device and time range holds one of the keys are read, and of them only the
    columns of the key, unless single values were deleted.
    """
    found = np.zeros(len(device), np.bool_)
    if not len(device):
        return found
    devices = np.unique(device)
    start_ns, end_ns = int(time.min()), int(time.max()) + 1
    for part in parts:
        hit = blocks_of(part, devices, start_ns, end_ns)
        if hit is None:
            continue
        whole, blocks = hit
        index = whole.blocks
        low = np.searchsorted(device, index.device_min[blocks], side="left")
        high = np.searchsorted(device, index.device_max[blocks], side="right")
        wanted = [
            int(block)
            for block, a, b in zip(blocks, low, high, strict=True)
            if _any_between(time[a:b], index.time_min_ns[block], index.time_max_ns[block])
        ]
        standing = erased.of_part(whole.meta)
        for group in _block_groups(wanted, index.rows):
            stored = whole.read(group, whole.types if standing.partial else ())
            stored = standing.erase(stored, whole.meta.applied)
            place = match_keys(device, time, stored.device, stored.time)
            found[place[place >= 0]] = True
    return found


def _any_between(times: TimesNs, low: int, high: int) -> bool:
    return bool(((times >= low) & (times <= high)).any())


def _block_groups(blocks: Sequence[int], rows: npt.NDArray[np.uint32]) -> Sequence[list[int]]:
    """Blocks in groups of about LOOKUP_ROWS rows."""
    groups: list[list[int]] = []
    size = LOOKUP_ROWS
    for block in blocks:
        if size >= LOOKUP_ROWS:
            groups.append([])
            size = 0
        groups[-1].append(block)
        size += int(rows[block])
    return groups


def consumer_sections(sections: Mapping[str, bytes]) -> dict[str, bytes]:
    """The consumers' snapshots of a checkpoint by consumer name."""
    return {
        key.removeprefix(CONSUMER_SECTION): data
        for key, data in sections.items()
        if key.startswith(CONSUMER_SECTION)
    }
