"""Rollups: continuous aggregates, one row per device and window, kept true under late data.

1. Every row that enters the head, and every delete, marks its (device, window) *dirty* at the LSN
   that brought it. A definition that is new here marks all history.
2. ``run(frontier_ns)`` takes the dirty windows that are closed: end + lateness <= frontier. It
   notes the LSN applied so far (*asof*), scans their rows, and writes the aggregates as derived
   rows with asof in the record's header; a window that has no rows any more is deleted.
3. When such a record is applied, live or at replay, its windows are clean up to asof: a mark of a
   greater LSN stays. So a restart knows what is done, and late data makes a window dirty again;
   the new row replaces the old one whole.
4. Rows of a rollup are rows: they mark the windows of the coarser rollup that is merged from them.
5. A window that begins before the horizon of its source is left as it is: its rows are not whole
   any more. Nothing that a dirty window needs is removed (``holds``).

A definition rolls up the rows of this node only, unless it says ``all``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.aggregate import keys_of
from mainstem_engine.catalog.templates import Table
from mainstem_engine.consumers import Ack, AppliedDelete, AppliedRows, RowSink
from mainstem_engine.deletes import Tombstone
from mainstem_engine.dirty_windows import DEVICE_MAX, DirtyWindows, Span
from mainstem_engine.erasures import Erasure, decode_erasure
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.model import SELF_ORIGIN, DeviceIds, Rows, TimesNs
from mainstem_engine.points import Points
from mainstem_engine.rollup_answers import stored_range
from mainstem_engine.rollup_definition import HeldRollup, RollupDefinition, RollupSources
from mainstem_engine.rollup_work import RollupEngine, RollupWork

EXPANDED_MAX = 1 << 16
"""Windows that one delete marks singly; a larger one marks a span."""

__all__ = ["DirtyWindows", "HeldRollup", "RollupDefinition", "Rollups"]


Key = tuple[RollupDefinition, str]
"""A definition and the casefolded name of the table that it is computed from."""


class Rollups:
    """The consumer that keeps the rollups of one node."""

    name = "rollups"
    kinds = frozenset({RecordKind.PTS, RecordKind.DEL})

    def __init__(self, definitions: Sequence[RollupDefinition]) -> None:
        self.definitions = tuple(sorted(definitions, key=lambda d: d.every_ns))
        self._sources = RollupSources(self.definitions)
        self._by_target = {d.target.casefold(): d for d in self.definitions}
        self._dirty: dict[Key, DirtyWindows] = {}
        self._begun: set[RollupDefinition] = set()
        self._rows_per_window = dict.fromkeys(self.definitions, 0.0)
        self._lock = threading.Lock()
        self._engine: RollupEngine | None = None

    def bind(self, engine: RollupEngine) -> None:
        """Gives the engine to read from and write to, before the first run() and before rows that
        came after its start are flushed: what is in parts by now is history."""
        self._engine = engine
        for definition in self.definitions:
            self._begin(definition, engine)
        engine.attach_rollups(self)
        engine.add_part_hold(self.name, self.holds)

    def redefine(self, definitions: Sequence[RollupDefinition]) -> None:
        """Other definitions from now on; between two runs, on their thread.

        One that is computed as before (same table, window, origins and finer rollups) goes on from
        where it is, whatever its lateness. For every other one all history is dirty, with what is
        in the head.
        """
        wanted = tuple(sorted(definitions, key=lambda d: d.every_ns))
        sources = RollupSources(wanted)
        with self._lock:
            before = {self._sources.lineage(old): old for old in self.definitions}
            goes_on = {before.get(sources.lineage(new)): new for new in wanted}
            self._dirty = {
                (goes_on[d], source): dirty
                for (d, source), dirty in self._dirty.items()
                if d in goes_on
            }
            self._begun = {goes_on[old] for old in self._begun if old in goes_on}
            self._rows_per_window = dict.fromkeys(wanted, 0.0)
            self.definitions, self._sources = wanted, sources
            self._by_target = {d.target.casefold(): d for d in wanted}
        if self._engine is not None:
            for definition in wanted:
                self._begin(definition, self._engine, with_head=True)

    # As a consumer

    def rows_applied(self, batch: AppliedRows) -> None:
        with self._lock:
            for definition in self._sources.following(batch.table):
                if batch.origin == SELF_ORIGIN or definition.all:
                    device, window = keys_of(Rows(batch.device, batch.time), definition.every_ns)
                    self._of(definition, batch.table).mark(device, window, batch.local_lsn)

    def rows_deleted(self, deleted: AppliedDelete) -> None:
        """Windows that lost rows are dirty."""
        with self._lock:
            for definition in self._sources.following(deleted.table):
                if deleted.tombstone.origin == SELF_ORIGIN or definition.all:
                    _mark_deleted(
                        self._of(definition, deleted.table), deleted.tombstone, definition.every_ns
                    )

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        if record.kind == RecordKind.DEL:
            erasure = decoded if isinstance(decoded, Erasure) else decode_erasure(record.payload)
            definition = self._by_target.get(erasure.table.casefold())
            if definition is not None and "asof" in erasure.header:
                device, window = _expanded(erasure, definition.every_ns)
                self._computed(definition, device, window, erasure.header)
            return
        assert isinstance(decoded, Points)
        definition = self._by_target.get(decoded.table.casefold())
        if definition is not None and decoded.derived and "asof" in decoded.header:
            rows = decoded.rows
            self._computed(definition, rows.device, rows.time, decoded.header)

    def _computed(
        self,
        definition: RollupDefinition,
        device: DeviceIds,
        window: TimesNs,
        header: Mapping[str, Any],
    ) -> None:
        """A record says what was computed; ``of`` names the source, the table where it does not."""
        asof = int(header["asof"])
        with self._lock:
            if definition not in self._rows_per_window:
                return  # it was defined otherwise just now: what it computed is dirty again
            dirty = self._of(definition, str(header.get("of", definition.table)))
            if len(device):
                dirty.clean(device, window, asof)
            if "span" in header:
                low, high, start_ns, end_ns = map(int, header["span"])
                dirty.clean_span(Span(low, high, start_ns, end_ns, asof))

    def snapshot(self) -> bytes:
        with self._lock:
            fields = {
                "begun": [[d.table, d.name, d.every_ns] for d in self.definitions if self._has(d)],
                "dirty": [
                    [d.table, d.name, d.every_ns, source, dirty.pack()]
                    for (d, source), dirty in self._dirty.items()
                ],
            }
        packed: bytes = msgpack.packb(fields)
        return packed

    def restore(self, data: bytes) -> None:
        fields = msgpack.unpackb(data)
        if isinstance(fields, list):  # format 1: marks only, of the table itself
            begun = [entry[:3] for entry in fields]
            dirty = [[*entry[:3], entry[0], entry[3:]] for entry in fields]
        else:
            begun, dirty = fields["begun"], fields["dirty"]
        for table, name, every_ns in begun:
            if (definition := self._defined(table, name, every_ns)) is not None:
                self._begun.add(definition)
        for table, name, every_ns, source, packed in dirty:
            if (definition := self._defined(table, name, every_ns)) is not None:
                self._of(definition, source).restore(*packed)

    def _defined(self, table: str, name: str, every_ns: int) -> RollupDefinition | None:
        found = self._by_target.get(f"{table}_{name}".casefold())
        return found if found is not None and found.every_ns == every_ns else None

    def _has(self, definition: RollupDefinition) -> bool:
        return definition in self._begun

    def _of(self, definition: RollupDefinition, source: str) -> DirtyWindows:
        key = (definition, source.casefold())
        found = self._dirty.get(key)
        if found is None:
            found = self._dirty[key] = DirtyWindows(definition.every_ns)
        return found

    # For others

    def holds(self, table: str, start_ns: int, end_ns: int) -> bool:
        """True while a window that needs rows of ``table`` in [start, end) is not computed."""
        catalog = None if self._engine is None else self._engine.catalog
        found = None if catalog is None else catalog.templates.get(table)
        with self._lock:
            return found is not None and any(
                definition not in self._begun
                or self._of(definition, table).touches(start_ns, end_ns)
                for definition in self._sources.following(table)
                if self._sources.follows(definition, found)
            )

    def held(self, table: Table) -> list[HeldRollup]:
        """The rollups that are computed here from the rows of ``table``, finest first. Of a rollup:
        those that are merged from it, one after the other."""
        return [
            HeldRollup(
                target.name,
                table.name,
                definition.every_ns,
                lambda start_ns, end_ns, d=definition, t=target: self._answers(  # type: ignore[misc]
                    d, table, t, start_ns, end_ns
                ),
            )
            for definition in self.definitions
            if table.name.casefold() in self._sources_of(definition)
            and self._engine is not None
            and (target := self._engine.catalog.templates.get(definition.target)) is not None
        ]

    def _sources_of(self, definition: RollupDefinition) -> list[str]:
        """What a definition is computed from: its table, and the rollups in between."""
        found = [definition.table.casefold()]
        finer = self._sources.finer(definition)
        while finer is not None:
            found.append(finer.target.casefold())
            finer = self._sources.finer(finer)
        return found

    def _answers(
        self, definition: RollupDefinition, table: Table, target: Table, start_ns: int, end_ns: int
    ) -> bool:
        assert self._engine is not None
        for kept in (table, target):
            if start_ns < self._engine.visible_from_ns(kept.name):
                return False
        chain: RollupDefinition | None = definition
        with self._lock:
            while chain is not None:
                finer = self._sources.finer(chain)
                source = chain.table if finer is None else finer.target
                mine = [key for key in self._dirty if key[0] is chain]
                if chain not in self._begun or any(k[1] != source.casefold() for k in mine):
                    return False
                if self._of(chain, source).touches(start_ns, end_ns):
                    return False
                chain = None if source.casefold() == table.name.casefold() else finer
        return True

    def pending(self) -> int:
        """Dirty windows, closed or not; a span counts as one."""
        with self._lock:
            return sum(len(d.fold()[0]) + len(d.spans) for d in self._dirty.values())

    # Computing

    def run(self, frontier_ns: int, now_ns: int = 0) -> int:
        """Computes every dirty window that is closed, finest rollups first; returns the windows
        written or deleted, all durable.

        ``frontier_ns``: event time that every source has passed. Raises what Engine.write raises.
        """
        del now_ns  # windows close by event time alone
        engine = self._engine
        if engine is None:
            raise RuntimeError("bind() the rollups to an engine first")
        changed = 0
        for definition in self.definitions:
            if engine.catalog.templates.get(definition.table) is None:
                continue
            engine.create_rollup(definition.table, definition.name, definition.every_ns)
            if definition.keep_ns is not None:
                engine.set_keep(definition.target, definition.keep_ns)
            last: Ack | None = None
            for work in self._works(definition, engine):
                for ack, count in work.run(frontier_ns):
                    last, changed = ack, changed + count
            if last is not None:
                last.wait()  # the next, coarser one reads what this one wrote
        return changed

    def _works(self, definition: RollupDefinition, engine: RollupEngine) -> Iterator[RollupWork]:
        target = engine.catalog.table(definition.target)
        with self._lock:
            sources = [source for d, source in self._dirty if d is definition]
        for name in sources:
            source = engine.catalog.templates.get(name)
            if source is not None and self._sources.follows(definition, source):
                dirty = self._of(definition, name)
                yield RollupWork(
                    definition, source, target, dirty, engine, self._lock, self._rows_per_window
                )

    def _begin(
        self, definition: RollupDefinition, engine: RollupEngine, *, with_head: bool = False
    ) -> None:
        """History is dirty for a definition that is new here. At a start what is in the head is
        marked already, by the replay."""
        with self._lock:
            if definition in self._begun:
                return
        every_ns, lsn = definition.every_ns, engine.applied_lsn
        spans: list[tuple[str, Span]] = []
        for table in engine.catalog.templates.all():
            if self._sources.follows(definition, table):
                found = engine.stored_range(table.name)
                if with_head:
                    found = stored_range(engine.whole_view(table.name))
                if found is not None:
                    start_ns = found[0] - found[0] % every_ns
                    end_ns = found[1] - found[1] % every_ns + every_ns
                    spans.append((table.name, Span(0, DEVICE_MAX, start_ns, end_ns, lsn)))
        with self._lock:
            for source, span in spans:
                self._of(definition, source).mark_span(span)
            self._begun.add(definition)


def _mark_deleted(dirty: DirtyWindows, tombstone: Tombstone, every_ns: int) -> None:
    """The windows that a delete may have changed."""
    if tombstone.devices is None or (tombstone.times is not None and not len(tombstone.times)):
        devices = np.array([0, DEVICE_MAX], np.uint32)
        starts, ends = None, None
    else:
        devices, starts, ends = tombstone.devices, tombstone.times, tombstone.ends
    low_ns = tombstone.start_ns - tombstone.start_ns % every_ns
    if starts is None:
        first = np.full(len(devices), low_ns, np.int64)
        last = np.full(len(devices), tombstone.end_ns - 1, np.int64)
    else:
        first = starts - starts % every_ns
        last = starts if ends is None else ends - 1
    counts = (last - first) // every_ns + 1
    if tombstone.devices is not None and int(counts.sum()) <= EXPANDED_MAX:
        device, window = _windows(devices, first, counts, every_ns)
        dirty.mark(device, window, tombstone.lsn)
        return
    high_ns = tombstone.end_ns + -tombstone.end_ns % every_ns
    dirty.mark_span(Span(int(devices[0]), int(devices[-1]), low_ns, high_ns, tombstone.lsn))


def _expanded(erasure: Erasure, every_ns: int) -> tuple[DeviceIds, TimesNs]:
    """The windows that a delete of rollup rows names."""
    if erasure.devices is None or erasure.times is None:
        return np.empty(0, np.uint32), np.empty(0, np.int64)
    last = erasure.times if erasure.ends is None else erasure.ends - 1
    counts = (last - erasure.times) // every_ns + 1
    return _windows(erasure.devices, erasure.times, counts, every_ns)


def _windows(
    device: DeviceIds, first: TimesNs, counts: TimesNs, every_ns: int
) -> tuple[DeviceIds, TimesNs]:
    """``counts`` windows of each device, from ``first`` on."""
    numbers = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(device, counts), np.repeat(first, counts) + numbers * every_ns
