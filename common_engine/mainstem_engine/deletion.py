"""Deleting: from the call to the record.

1. Everything appended before the call is applied first: a delete covers what its caller has
   written, waited for or not.
2. A snapshot at LSN S is searched for the rows that are meant. They become devices with a range of
   time, or under a value predicate exactly the ranges in which every row of the device matched. No
   predicate is ever logged.
3. DEL records make it durable. Between ``as_of`` and the record lies no row that it could mean: a
   tier may merge fragments as soon as it has all records up to the later one, and must not find
   out afterwards that a delete lay between them. So the end of a search is checked under the append
   lock. When rows of its range came meanwhile, it is done again; the last time with the lock held,
   so that writers wait.

One delete at a time: what one has erased is not counted again by the next. Rows of other nodes are
deleted only where nobody else can do it any more (``Engine.deletable``), by records of their own,
which cover what is here; if the call means others too, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.arrow import ArrowLayout
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.consumers import Ack
from mainstem_engine.deletes import NONE, TOMBSTONE_BYTES_MAX, TOMBSTONES_MAX
from mainstem_engine.erasures import Erasure, encode_erasure
from mainstem_engine.errors import (
    NotFoundError,
    NotOwnerError,
    OutOfRetentionError,
    OverloadedError,
    SchemaError,
)
from mainstem_engine.inventory import BrokenPart
from mainstem_engine.log.records import RecordKind
from mainstem_engine.merge import key_order, match_keys, run_starts
from mainstem_engine.model import (
    SELF_ORIGIN,
    AnyArray,
    BoolMask,
    DeviceIds,
    TimesNs,
    VersionedRows,
)
from mainstem_engine.queries import Queries
from mainstem_engine.retention import moment
from mainstem_engine.scan import Selection, iterate_rows
from mainstem_engine.selections import bound_ns

if TYPE_CHECKING:
    import pyarrow as pa

LISTED_DEVICES_MAX = 10_000
"""A delete of all devices names those that had rows, so that others are not looked at, unless they
are more than these."""
RANGE_BYTES = 20
"""Device, start and end of a range in a tombstone."""
RANGES_MAX = TOMBSTONE_BYTES_MAX // 2 // RANGE_BYTES
"""Ranges of one delete by value: half of what all tombstones of a table may take."""
SPAN_NS = 60 * 1_000_000_000
"""Times of erased rows are told to the minute, the slice of a manifest."""
SPANS_MAX = 256
"""Spans of one record; beyond it the smallest gaps are closed."""
SEARCHES_MAX = 2
"""Searches beside writers; one more holds them up. Most deletes mean times that nobody writes."""
RETRY_S = 10.0
"""A compaction of a few parts takes seconds."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """``ack``: done when the delete is durable and visible, at once where nothing was found.
    ``rows``: visible rows that were deleted or, with ``measurements``, lost values."""

    ack: Ack
    rows: int


@dataclass(slots=True)
class _Found:
    """What the scan of a delete has found: rows, those of which nothing is left (``gone``), and
    where they are. ``entries``: (devices, rows gone) or (devices, rows gone, starts, ends)."""

    rows: int = 0
    gone: int = 0
    start_ns: int = 0
    end_ns: int = 0
    minutes: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    entries: list[tuple[AnyArray, ...]] = field(default_factory=list)
    ranges: int = 0

    def add(self, rows: VersionedRows, meant: BoolMask | None, bare: BoolMask | None) -> None:
        """All rows of a step, sorted. ``meant``: which to delete, None for all, which then become
        no ranges; ``bare``: of which nothing is left, None for all."""
        lost = np.ones(len(rows), np.int64) if bare is None else bare.astype(np.int64)
        if meant is None:
            time = rows.time
            starts = np.flatnonzero(np.append(True, rows.device[1:] != rows.device[:-1]))
            self.entries.append((rows.device[starts], np.add.reduceat(lost, starts)))
        else:
            lost *= meant
            time = rows.time[meant]
            self._add_ranges(rows, meant, lost)
        first, last = int(time.min()), int(time.max())
        self.start_ns = min(self.start_ns, first) if self.rows else first
        self.end_ns = max(self.end_ns, last + 1) if self.rows else last + 1
        self.rows += len(time)
        self.gone += int(lost.sum())
        self.minutes = np.union1d(self.minutes, time // SPAN_NS)

    def _add_ranges(
        self, rows: VersionedRows, meant: BoolMask, lost: npt.NDArray[np.int64]
    ) -> None:
        """The runs of ``meant``. What lies between two rows of the snapshot is not in it: a range
        from one to the other covers nothing else."""
        same = rows.device[1:] == rows.device[:-1]
        first, last = meant.copy(), meant.copy()
        first[1:] &= ~(meant[:-1] & same)
        last[:-1] &= ~(meant[1:] & same)
        starts, ends = np.flatnonzero(first), np.flatnonzero(last)
        sums = np.add.reduceat(lost, starts)
        self.entries.append((rows.device[starts], sums, rows.time[starts], rows.time[ends] + 1))
        self.ranges += len(starts)
        if self.ranges > RANGES_MAX:
            raise OverloadedError(
                f"the delete means more than {RANGES_MAX} separate stretches of rows: give it a "
                "shorter range of time"
            )

    def erasures(self, erasure: Erasure, *, everywhere: bool) -> list[Erasure]:
        """The records of the delete. ``everywhere``: it means all devices."""
        device, lost, *times = (
            np.concatenate(arrays) for arrays in zip(*self.entries, strict=True)
        )
        if times:
            start, end = times
            single = bool((end == start + 1).all())
            whole = replace(erasure, devices=device, times=start, ends=None if single else end)
            return list(whole.pieces(lost))
        erasure = replace(erasure, header={**erasure.header, "sp": self._spans()})
        order = np.argsort(device, kind="stable")
        device, lost = device[order], lost[order]
        starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
        if everywhere and len(starts) > LISTED_DEVICES_MAX:
            return [erasure]
        whole = replace(erasure, devices=device[starts])
        return list(whole.pieces(np.add.reduceat(lost, starts)))

    def _spans(self) -> list[int]:
        """``[start, end, start, end, ...]`` in ns: where rows are meant, to the minute."""
        breaks = np.flatnonzero(np.diff(self.minutes) > 1)
        if len(breaks) >= SPANS_MAX:
            widths = np.diff(self.minutes)[breaks]
            breaks = np.sort(breaks[np.argsort(widths, kind="stable")[1 - SPANS_MAX :]])
        starts = np.append(self.minutes[:1], self.minutes[breaks + 1])
        ends = np.append(self.minutes[breaks], self.minutes[-1:]) + 1
        pairs = np.stack([starts, ends], axis=1) * SPAN_NS
        clipped: list[int] = np.clip(pairs, self.start_ns, self.end_ns).ravel().tolist()
        return clipped


@dataclass(slots=True)
class _FoundBy:
    """What the scan has found, by origin (its index)."""

    origins: dict[int, _Found] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)
    """The greatest LSN of the rows of other nodes."""

    @property
    def rows(self) -> int:
        return sum(found.rows for found in self.origins.values())

    def add(self, rows: VersionedRows, meant: BoolMask | None, bare: BoolMask | None) -> None:
        """As ``_Found.add``, of rows of any origin."""
        first = int(rows.origin[0])
        if bool((rows.origin == first).all()):
            self._add(first, rows, meant, bare)
            return
        for origin in np.unique(rows.origin).tolist():
            mine = rows.origin == origin
            some = None if meant is None else meant[mine]
            if some is None or some.any():
                self._add(origin, rows.take(mine), some, None if bare is None else bare[mine])

    def _add(
        self, origin: int, rows: VersionedRows, meant: BoolMask | None, bare: BoolMask | None
    ) -> None:
        self.origins.setdefault(origin, _Found()).add(rows, meant, bare)
        if origin != SELF_ORIGIN:
            newest = int(rows.lsn[slice(None) if meant is None else meant].max())
            self.newest[origin] = max(self.newest.get(origin, 0), newest)


class Deletions(Queries):
    """The deleting part of an Engine."""

    def delete(
        self,
        template: str,
        *,
        devices: str | Sequence[str] | DeviceIds | None = None,
        tags: Mapping[str, Any] | None = None,
        start: int | None = None,
        end: int | None = None,
        where: Callable[[pa.RecordBatch], Any] | None = None,
        columns: Sequence[str] | None = None,
        measurements: Sequence[str] | None = None,
        spare_others: bool = False,
    ) -> Deletion:
        """Deletes the visible rows of [``start``, ``end``), times in the table's precision.

        ``devices`` and ``tags``: as in scan(). ``where``: bool[n] for each batch of rows, shown as
        scan() shows them; null counts as false. ``columns``: those that it looks at, as in scan();
        None: all. ``measurements``: only their values are deleted; a row without any value left
        goes. ``spare_others``: rows that only another node may delete are left as they are.
        Raises NotOwnerError when it means rows of other nodes, SchemaError for a rollup table,
        OutOfRetentionError for a range that is not kept, OverloadedError when too many deletes wait
        for compaction, NotFoundError, LogFailedError. Then nothing was deleted.
        """
        store = self._store
        precision_ns = store.catalog.precision_ns(template)
        start_ns = bound_ns(start, precision_ns, TIME_MIN_NS)
        end_ns = bound_ns(end, precision_ns, TIME_MAX_NS + 1)

        def search() -> tuple[_FoundBy, Erasure, Selection]:
            store.barrier()
            as_of, table, view = store.view_at(template)
            _check_own(table)
            keys = None if measurements is None else _measurement_ids(table, measurements)
            chosen = self._select_devices(table, devices, tags)
            self._check_kept(table, end_ns)
            store.retention.check_delete(table, chosen, None if start is None else start_ns)
            layout = self._layout(table, () if where is None else columns)
            # Whether a row has a value left is seen in all of its measurements.
            needed = layout.measurement_ids if keys is None else None
            selection = Selection(chosen, start_ns, end_ns, needed, versions=True)
            mask_of = None if where is None else _predicate(layout, where)
            found = _FoundBy()
            for rows in iterate_rows(view, selection):
                meant = None if mask_of is None else mask_of(rows)
                if spare_others:
                    meant = self._without_others(rows, meant)
                if meant is not None and not meant.any():
                    continue
                self._check_origins(table, rows, meant)
                found.add(rows, meant, None if keys is None else _bare(rows, keys))
            return found, Erasure(table.name, as_of, 0, 0, measurements=keys), selection

        with store.delete_lock:
            for _ in range(SEARCHES_MAX):
                found, erasure, selection = search()
                with store.append_lock:
                    now = self._unchanged_since(erasure, selection)
                    if now is not None:
                        erasure = replace(erasure, as_of=now)
                        return self._log_all(erasure, found, everywhere=selection.devices is None)
            with store.append_lock:
                found, erasure, selection = search()
                return self._log_all(erasure, found, everywhere=selection.devices is None)

    def _unchanged_since(self, erasure: Erasure, selection: Selection) -> int | None:
        """The last LSN, if no own row of the selection came after ``as_of``, else None."""
        store = self._store
        store.barrier()
        now, _, view = store.view_at(erasure.table)
        where = (selection.devices, selection.start_ns, selection.end_ns)
        chunks = (c for c in view.chunks if c.applied[1] > erasure.as_of)
        parts = (p for p in view.parts if p.meta.applied[1] > erasure.as_of)
        for rows in (chunk.select(*where, []) for chunk in chunks):
            newer = None if rows is None else rows.lsn[rows.origin == SELF_ORIGIN] > erasure.as_of
            if newer is not None and newer.any():
                return None
        if any(isinstance(part, BrokenPart) or len(part.prune(*where)) for part in parts):
            return None
        return now

    def delete_rows(
        self,
        table: Table,
        device: DeviceIds,
        time: TimesNs,
        *,
        header: Mapping[str, Any] | None = None,
    ) -> Deletion:
        """Deletes rows of this node by their keys, times in ns; of rollup tables too.

        ``header``: further fields of the records. Raises OverloadedError, LogFailedError.
        """
        order = key_order(device, time)
        device, time = device[order], time[order]
        starts = run_starts(device, time)
        device, time = device[starts], time[starts]
        with self._store.delete_lock:
            self._store.barrier()
            as_of, table, view = self._store.view_at(table.name)
            found = _Found()
            if len(device):
                first, last = int(time.min()), int(time.max())
                selection = Selection(np.unique(device), first, last + 1, (), SELF_ORIGIN)
                for rows in iterate_rows(view, selection):
                    meant = match_keys(device, time, rows.device, rows.time) >= 0
                    if meant.any():
                        found.add(rows, meant, None)
            return self._log(Erasure(table.name, as_of, 0, 0, header=header or {}), found)

    def _layout(self, table: Table, columns: Sequence[str] | None) -> ArrowLayout:
        catalog = self._store.catalog
        return ArrowLayout(table, catalog.devices, catalog.precision_ns(table.name), columns)

    def _log(self, erasure: Erasure, found: _Found) -> Deletion:
        """Logs the records of a delete of own rows. The caller holds the lock."""
        return self._log_all(erasure, _FoundBy({SELF_ORIGIN: found} if found.rows else {}))

    def _log_all(self, erasure: Erasure, found: _FoundBy, *, everywhere: bool = False) -> Deletion:
        """Logs the records of a delete. The caller holds the lock."""
        store = self._store
        if not found.rows:
            return Deletion(store.done(erasure.as_of), 0)
        pieces: list[Erasure] = []
        for origin, part in sorted(found.origins.items()):
            one = replace(erasure, start_ns=part.start_ns, end_ns=part.end_ns, rows=part.gone)
            if origin != SELF_ORIGIN:
                one = one.of(store.origins.all[origin], found.newest[origin])
            pieces += part.erasures(one, everywhere=everywhere)
        size = sum(piece.tombstone(0, SELF_ORIGIN, rows=None).nbytes for piece in pieces)
        self.check_room_for_delete(erasure.table, len(pieces), size)
        acks = []
        for piece in pieces:
            header, buffers = encode_erasure(piece)
            acks.append(store.append(RecordKind.DEL, header, buffers, piece))
        return Deletion(acks[-1], found.rows)

    def check_room_for_delete(self, table: str, count: int = 1, size: int = 0) -> None:
        """Raises OverloadedError when ``count`` more deletes of ``size`` bytes are too many."""
        standing = self._store.tombstones.get(table, NONE)
        full = len(standing) + count > TOMBSTONES_MAX
        if full or standing.nbytes + size > TOMBSTONE_BYTES_MAX:
            self._store.on_full()
            raise OverloadedError(
                f"{len(standing)} deletes of {table} wait for compaction, and no more are accepted "
                "before it has caught up",
                retry_after_s=RETRY_S,
            )

    def _check_origins(self, table: Table, rows: VersionedRows, meant: BoolMask | None) -> None:
        foreign = rows.origin != SELF_ORIGIN
        if meant is not None:
            foreign &= meant
        origins = self._store.origins.all
        for origin in np.unique(rows.origin[foreign]).tolist():
            if self._store.deletable(origins[origin]):
                continue
            at = int(np.argmax(foreign & (rows.origin == origin)))
            node = origins[origin].node
            path = self._store.catalog.devices.path(int(rows.device[at]))
            raise NotOwnerError(table.name, path, node)

    def _without_others(self, rows: VersionedRows, meant: BoolMask | None) -> BoolMask | None:
        """``meant`` without the rows that another node alone may delete."""
        origins = self._store.origins.all
        present = np.unique(rows.origin).tolist()
        others = [
            origin
            for origin in present
            if origin != SELF_ORIGIN and not self._store.deletable(origins[origin])
        ]
        if not others:
            return meant
        spared = ~np.isin(rows.origin, others)
        return spared if meant is None else meant & spared

    def _check_kept(self, table: Table, end_ns: int) -> None:
        """Refuses a range of which nothing is whole any more: others may still have it."""
        whole = self._store.retention.whole(table)
        if whole is not None and end_ns <= whole.least_ns:
            raise OutOfRetentionError(
                f"rows of {table.name} before {moment(whole.least_ns)} have been removed here",
                device="",
                time_ns=end_ns,
                cutoff_ns=whole.least_ns,
                reason="too_late",
                hint="nothing of that time can be deleted any more",
            )


def _predicate(
    layout: ArrowLayout, where: Callable[[pa.RecordBatch], Any]
) -> Callable[[VersionedRows], BoolMask]:
    """``where`` of rows."""
    schema = layout.schema()
    return lambda rows: _mask(where(layout.batch(schema, rows)), len(rows))


def _check_own(table: Table) -> None:
    if table.replaces_rows:
        source = table.template.rollup_of
        raise SchemaError(
            f"{table.name} is computed from {source}: its rows cannot be deleted by themselves",
            field=table.name,
            hint=f"delete from {source}, and the rollup follows",
        )


def _measurement_ids(table: Table, names: Sequence[str]) -> tuple[int, ...]:
    ids = set()
    for name in names:
        found = table.measurement(name)
        if found is None:
            known = ", ".join(m.name for m in table.template.measurements[:20])
            raise NotFoundError(
                f"template {table.name} has no measurement {name!r}",
                field=name,
                hint=f"it has {known}",
            )
        ids.add(found.id)
    if not ids:
        raise SchemaError("no measurement is named", field="measurements", hint="name one")
    return tuple(sorted(ids))


def _bare(rows: VersionedRows, keys: Sequence[int]) -> BoolMask:
    """Which rows have no value in any other measurement."""
    bare = np.ones(len(rows), np.bool_)
    for key, column in rows.columns.items():
        if key not in keys:
            bare &= False if column.valid is None else ~column.valid
    return bare


def _mask(answer: Any, count: int) -> BoolMask:
    """bool[n] from what a predicate has returned: a numpy or Arrow array."""
    if hasattr(answer, "combine_chunks"):
        answer = answer.combine_chunks()
    if hasattr(answer, "fill_null"):
        answer = answer.fill_null(False).to_numpy(zero_copy_only=False)
    mask: BoolMask = np.asarray(answer)
    if mask.dtype != np.bool_ or mask.shape != (count,):
        raise SchemaError(
            f"the predicate returned {mask.dtype} of shape {mask.shape}, expected bool ({count},)",
            field="where",
            hint="return one truth value per row",
        )
    return mask
