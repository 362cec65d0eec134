"""Flush: the head becomes parts, and the log may be forgotten up to there.

1. *Freeze* (store.py, under the append lock): at one LSN F the heads are set aside, a new log
   segment is begun, and catalog, origins, accounts and consumers are copied.
2. *Write*, without a lock, the vnodes in parallel: each table's rows become one part per vnode,
   database and partition (table_flush.py); then the checkpoint of F.
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

from mainstem_engine.accounting import Resolution, resolved_snapshot
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles, CatalogSnapshot, encode_snapshot
from mainstem_engine.checkpoint import write_checkpoint
from mainstem_engine.deletes import NONE, Tombstones
from mainstem_engine.encoding.auto import Choice
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.head import Head, TableHead
from mainstem_engine.inventory import Inventory
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.resolution import resolve_deletes
from mainstem_engine.table_flush import FlushPlan, TableFlush
from mainstem_engine.view import TableView

CATALOG_SECTION = "catalog"
ORIGINS_SECTION = "origins"
ACCOUNTS_SECTION = "accounts"
CONSUMER_SECTION = "consumer:"


@dataclass(slots=True)
class FrozenState:
    """Everything that a flush at LSN ``lsn`` writes: rows of the records ``first_lsn`` to ``lsn``.

    ``heads``: one per vnode. ``sections``: further sections of the checkpoint, encoded.
    ``tombstones``: by table, what stood at ``lsn``. ``views``: per table with deletes of these
    records, its older parts and the chunks of the heads. ``settled``: by origin, the LSN up to
    which everything of it is in these heads or in parts."""

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
    settled: Mapping[int, int] = field(default_factory=dict)

    def settled_lsn(self, origin: int) -> int:
        """Of the origin of that index; 0 where nothing is known."""
        return self.settled.get(origin, 0)


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
        memory: MemoryBudget,
        block_rows: int,
        catalog_files: CatalogFiles | None = None,
    ) -> None:
        self._fs = fs
        self._inventory = inventory
        self._catalog = catalog
        self._catalog_files = catalog_files
        self._memory = memory
        self._block_rows = block_rows
        self._choices: dict[str, dict[int, Choice]] = {}

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
        plan = FlushPlan(
            self._fs,
            self._inventory,
            self._catalog,
            self._memory,
            self._block_rows,
            len(frozen.heads),
            (frozen.first_lsn, frozen.lsn),
            settled,
            workers,
            self._choices,
        )

        def write(head: TableHead) -> Resolution:
            tombstones = frozen.tombstones.get(head.table, NONE)
            return TableFlush(plan, head, tombstones, metas).run()

        if min(workers, len(heads)) < 2:
            done = [write(head) for head in heads]
        else:
            with ThreadPoolExecutor(workers, thread_name_prefix="engine-flush") as pool:
                done = list(pool.map(write, heads))
        for head, found in zip(heads, done, strict=True):
            resolutions[head.table] = resolutions.get(head.table, Resolution()) + found


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


def consumer_sections(sections: Mapping[str, bytes]) -> dict[str, bytes]:
    """The consumers' snapshots of a checkpoint by consumer name."""
    return {
        key.removeprefix(CONSUMER_SECTION): data
        for key, data in sections.items()
        if key.startswith(CONSUMER_SECTION)
    }
