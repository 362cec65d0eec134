"""Expiry: rows that are too old leave the disk.

1. *Plan*: a part whose rows are all expired is *dropped*. One of which more than REWRITE_SHARE is
   expired is *rewritten* without them. Nothing is planned while retention's clock is paused, nor
   for rows that a hold protects: those stay, invisible.
2. *Count*, while nothing is flushed and no delete is resolved: how many (device, time) of the
   removed rows no other part has and no delete has taken; they leave ``live``.
3. *Commit*: one record of the part list removes the parts, adds the rewritten ones, and carries
   the rows counted and the horizons, so that a crash finds all of it or nothing.
4. *Publish*, under the store's state lock, then *unlink*.

No compaction runs meanwhile. The log knows nothing of this: what a tier keeps is its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.catalog.database_options import part_settings
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import conform_rows
from mainstem_engine.deletes import Tombstones
from mainstem_engine.inventory import AnyPart, blocks_of
from mainstem_engine.merge import match_keys, run_starts
from mainstem_engine.model import DeviceIds, TimesNs, VersionedRows
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import PartWriter
from mainstem_engine.retention import (
    FACT,
    NOTHING_NS,
    ClassName,
    Cutoff,
    RetentionState,
    TableRules,
)

if TYPE_CHECKING:
    from mainstem_engine.store import Store

logger = logging.getLogger(__name__)

PartHold = Callable[[str, int, int], bool]
"""``hold(table, start_ns, end_ns)``: True while rows of the table in [start, end) are needed."""

REWRITE_SHARE = 0.5
"""A part is rewritten when it shrinks to half: a row is then copied about once in its life."""
REWRITES_MAX = 8
"""Parts rewritten in one run, so that a flush never waits long for it; the rest come next time."""
STEP_BYTES = 8 << 20
"""What the rows that are looked at together take in memory, about."""
KEY_BYTES, VALUE_BYTES = 22, 9
"""Device, time, origin and LSN of a row; a value with its validity."""
COPIES = 4
"""Read, filtered, and held by the writer until two groups are encoded."""

Quiet = Callable[[], AbstractContextManager[None]]
"""Inside it nothing is flushed and no delete is resolved, and all before is counted."""


@dataclass(frozen=True, slots=True)
class ExpiryResult:
    """``rows`` left ``live``; of ``parts`` so many were dropped, of ``rewritten`` a part was."""

    rows: int = 0
    parts: int = 0
    rewritten: int = 0
    bytes: int = 0

    def __add__(self, other: ExpiryResult) -> ExpiryResult:
        return ExpiryResult(
            self.rows + other.rows,
            self.parts + other.parts,
            self.rewritten + other.rewritten,
            self.bytes + other.bytes,
        )


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """The time [start, end) in ns of one part, and its bytes on disk."""

    start_ns: int
    end_ns: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Parts of one table to drop, and to rewrite. ``kept``: ns from which on rows stay, by class of
    retention."""

    table: Table
    kept: Sequence[int]
    cutoff: Cutoff
    drop: Sequence[Part]
    rewrite: Sequence[Part]

    @property
    def parts(self) -> list[Part]:
        return [*self.drop, *self.rewrite]


class Expiry:
    """Removes what is expired from one store. The caller sees to it that no compaction runs."""

    def __init__(self, store: Store, quiet: Quiet) -> None:
        self._store = store
        self._quiet = quiet
        self._holds: dict[str, PartHold] = {}
        self.total = ExpiryResult()
        """What was removed since the start."""

    def add_hold(self, name: str, hold: PartHold) -> None:
        """Replaces a hold of the same name."""
        self._holds[name] = hold

    def run(self) -> ExpiryResult:
        """Removes what may go. Raises OSError, CorruptionError, LogFailedError."""
        result = ExpiryResult()
        clock = self._store.retention.clock.statistics()
        if clock.paused:
            return result
        log_hold = self._store.holds.held_lsn()
        for table in self._store.catalog.templates.all():
            rules = self._store.retention.rules(table)
            cutoff = rules.kept(clock.now_ns)
            if cutoff is None:
                continue
            plan = self._plan(table, rules.kept_from(clock.now_ns), cutoff, log_hold)
            if plan.parts:
                result = result + self._execute(plan, rules)
        self.total = self.total + result
        return result

    def give_way(self, table: Table, before_ns: int, *, held: bool) -> ExpiryResult:
        """As ``run`` for the parts of a table that end before ``before_ns``, expired or not, to
        make room: nothing is rewritten for it. What a hold protects stays, with all that is later;
        ``held``: it goes, too."""
        if not held:
            before_ns = min([before_ns, *self._held_from(table, before_ns)])
        rules = self._store.retention.rules(table)
        kept = [max(before_ns, since) for since in rules.horizon]
        if not kept:
            return ExpiryResult()
        cutoff = Cutoff([before_ns] * len(kept), rules.class_of)
        plan = self._plan(table, kept, cutoff, self._store.holds.held_lsn(), held=True)
        plan = replace(plan, rewrite=[])
        result = self._execute(plan, rules) if plan.parts else ExpiryResult()
        self.total = self.total + result
        return result

    def _held_from(self, table: Table, before_ns: int) -> list[int]:
        """Where the parts begin that end before ``before_ns`` and are held."""
        metas = [part.meta for part in self._store.inventory.of_table(table.name)]
        return [
            meta.time_min_ns
            for meta in metas
            if meta.time_max_ns < before_ns
            and self._is_held(table.name, meta.time_min_ns, meta.time_max_ns + 1)
        ]

    # Planning

    def _plan(
        self,
        table: Table,
        kept: Sequence[int],
        cutoff: Cutoff,
        log_hold: int,
        *,
        held: bool = False,
    ) -> _Plan:
        drop: list[Part] = []
        rewrite: list[Part] = []
        for part in self._store.inventory.of_table(table.name):
            meta = part.meta
            if not isinstance(part, Part) or meta.time_min_ns >= cutoff.greatest_ns:
                continue
            if self._in_log(meta) > log_hold:
                continue
            least = cutoff.least_between(meta.device_min, meta.device_max)
            if meta.time_max_ns < least:
                if held or not self._is_held(table.name, meta.time_min_ns, meta.time_max_ns + 1):
                    drop.append(part)
            elif len(rewrite) < REWRITES_MAX and _share(part, cutoff) > REWRITE_SHARE:
                end_ns = min(meta.time_max_ns + 1, cutoff.greatest_ns)
                if not self._is_held(table.name, meta.time_min_ns, end_ns):
                    rewrite.append(part)
        return _Plan(table, kept, cutoff, drop, rewrite)

    def _in_log(self, meta: PartMeta) -> int:
        """The last log record with rows of the part; unknown in old parts: then the newest."""
        return meta.applied[1] or self._store.checkpoint_lsn

    def _is_held(self, table: str, start_ns: int, end_ns: int) -> bool:
        for name, hold in list(self._holds.items()):
            try:
                if hold(table, start_ns, end_ns):
                    return True
            except Exception:
                # What a hold cannot say, it may still need.
                logger.exception("hold %s failed: nothing of %s is removed", name, table)
                return True
        return False

    # Removing

    def _execute(self, plan: _Plan, rules: TableRules) -> ExpiryResult:
        store = self._store
        inventory = store.inventory
        removed = plan.parts
        added = [
            meta
            for part in plan.rewrite
            if (meta := self._rewritten(part, plan.table, plan.cutoff)) is not None
        ]
        opened = inventory.open_written(added)
        names = [part.meta.name for part in removed]
        with self._quiet():
            rows = self._count(plan)
            state = self._next_state(plan, rules, rows)
            inventory.record(added, names, facts={FACT: state.to_plain()})
            store.publish_expiry(state, opened, names)
            inventory.unlink([part.meta for part in removed])
        freed = sum(part.meta.bytes for part in removed) - sum(meta.bytes for meta in added)
        return ExpiryResult(rows, len(plan.drop), len(plan.rewrite), freed)

    def _next_state(self, plan: _Plan, rules: TableRules, rows: int) -> RetentionState:
        """With the horizons that follow from the plan, of every class of the table: a class that
        is split off later begins where the one it was in stands now."""
        state, name = self._store.retention.state, plan.table.name
        end_ns = max(part.meta.time_max_ns for part in plan.parts) + 1
        horizons: dict[ClassName, int] = dict(rules.horizons)
        for number, class_name in enumerate(rules.names):
            before = rules.horizon[number]
            horizons[class_name] = max(before, min(end_ns, plan.kept[number]), NOTHING_NS)
        expired = {**state.expired, name: state.expired.get(name, 0) + rows}
        return RetentionState(expired, {**state.horizons, name: horizons})

    def _rewritten(self, part: Part, table: Table, cutoff: Cutoff) -> PartMeta | None:
        """The part without what is expired; None when nothing is left."""
        store, meta = self._store, part.meta
        directory = store.inventory.directory_for(meta.vnode, meta.vnodes)
        measurements, block_rows = part_settings(
            store.catalog.database_of(meta.device_min), table.template, store.options.block_rows
        )
        row_bytes = KEY_BYTES + VALUE_BYTES * len(part.types)
        size = COPIES * min(STEP_BYTES, meta.rows * row_bytes)
        with (
            store.memory.reserve("compaction", size),
            PartWriter(
                store.fs,
                directory,
                store.inventory.next_name(),
                table=meta.table,
                partition_start_ns=meta.partition_start_ns,
                measurements=measurements,
                block_rows=block_rows,
                vnode=meta.vnode,
                vnodes=meta.vnodes,
                applied=meta.applied,
                erased_through=meta.erased_through,
            ) as writer,
        ):
            for rows in _steps(part, range(len(part.blocks)), list(part.types)):
                mask = cutoff.keeps(rows)
                kept = rows if mask is None else rows.take(mask)
                writer.add(conform_rows(kept, table.types))
            return writer.finish() if writer.rows else None

    # Counting

    def _count(self, plan: _Plan) -> int:
        """Rows that the plan removes: keys that no part has afterwards."""
        tombstones = self._store.view(plan.table).tombstones
        others = list(self._store.inventory.of_table(plan.table.name))
        total = 0
        for part in plan.parts:
            if part in plan.drop:
                others.remove(part)
            total += self._count_part(part, plan.cutoff, others, tombstones)
        return total

    def _count_part(
        self, part: Part, cutoff: Cutoff, others: Sequence[AnyPart], tombstones: Any
    ) -> int:
        """Expired keys of the part that none of ``others`` has (itself does not count)."""
        last: tuple[int, int] | None = None
        total = 0
        for rows in _alive(part, range(len(part.blocks)), tombstones):
            mask = cutoff.keeps(rows)
            if mask is None:
                continue
            starts = run_starts(rows.device, rows.time)
            starts = starts[~mask[starts]]
            if len(starts) and last == (int(rows.device[starts[0]]), int(rows.time[starts[0]])):
                starts = starts[1:]
            if len(starts):
                device, time = rows.device[starts], rows.time[starts]
                last = int(device[-1]), int(time[-1])
                elsewhere = [other for other in others if other is not part]
                total += len(starts) - _stored_elsewhere(device, time, elsewhere, tombstones)
        return total


def _share(part: Part, cutoff: Cutoff) -> float:
    """Roughly which share of a part's rows is expired: blocks that are expired whole."""
    index = part.blocks
    if cutoff.least_ns == cutoff.greatest_ns:
        gone = index.time_max_ns < cutoff.least_ns
    else:
        first = cutoff.of(index.device_min)
        gone = index.time_max_ns < np.minimum(first, cutoff.of(index.device_max))
    return float(index.rows[gone].sum()) / max(1, part.meta.rows)


def _steps(part: Part, blocks: Sequence[int], keys: Sequence[int]) -> Iterator[VersionedRows]:
    """The rows of blocks, about STEP_BYTES at a time."""
    group: list[int] = []
    rows, step_rows = 0, STEP_BYTES // (KEY_BYTES + VALUE_BYTES * len(keys))
    for block in blocks:
        group.append(block)
        rows += int(part.blocks.rows[block])
        if rows >= step_rows:
            yield part.read(group, keys)
            group, rows = [], 0
    if group:
        yield part.read(group, keys)


def _alive(part: Part, blocks: Sequence[int], tombstones: Any) -> Iterator[VersionedRows]:
    """Keys and versions of the rows that no counted delete has taken. What another node deleted is
    counted by the next flush, which finds nothing of it where it was removed here."""
    left = tombstones.of_part(part.meta) if tombstones else None
    if left:
        left = Tombstones(item for item in left if item.rows is not None)
    # A row that loses its last value goes, so tombstones of values need the values.
    keys = list(part.types) if left else []
    for rows in _steps(part, blocks, keys):
        yield left.erase(rows, part.meta.applied) if left else rows


def _stored_elsewhere(
    device: DeviceIds, time: TimesNs, others: Sequence[AnyPart], tombstones: Any
) -> int:
    """How many of the keys (sorted, distinct) have a row in one of ``others``."""
    devices = np.unique(device)
    start_ns, end_ns = int(time.min()), int(time.max()) + 1
    found = np.zeros(len(device), np.bool_)
    for other in others:
        hit = blocks_of(other, devices, start_ns, end_ns)
        if hit is None:
            continue
        whole, blocks = hit
        for rows in _alive(whole, blocks.tolist(), tombstones):
            place = match_keys(device, time, rows.device, rows.time)
            found[place[place >= 0]] = True
    return int(np.count_nonzero(found))
