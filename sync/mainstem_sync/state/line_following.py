"""What the log says of lines: the part of the follower that knows epochs.

1. An EPO record is a statement about a line (known_lines.py). One about this node's own line
   brings a new epoch; the others are joined to what is known of the nodes below.
2. When a node below begins a new epoch, the state of its line begins anew at the fork
   (origin_state.py) and the slices that hold records from beyond it are FORKED, with those of every
   table that is computed from theirs.
3. A record of a closed epoch counts for the line up to the fork. Beyond it, it is an orphan: its
   rows are stored under their old version, its slices are FORKED, its manifests are void.
4. A delete covers every row of an older epoch, whatever its LSN: versions are (epoch, LSN).

Guarded by the federation's lock, as the follower is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mainstem_engine.consumers import RowSink
from mainstem_engine.erasures import Erasure
from mainstem_engine.images import SliceImage
from mainstem_engine.model import Lsns, Origin, TimesNs
from mainstem_sync.lines.known_lines import Line, Lines, Source, slice_keys, slice_set
from mainstem_sync.origins.origin_state import Origins, OriginState
from mainstem_sync.origins.received import apply_maps
from mainstem_sync.slices.manifest import Ints
from mainstem_sync.slices.owed import Owed
from mainstem_sync.slices.slice_table import touched_by, touched_slices
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.wire.messages import ChainPoint, OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

ALARM = "alarm"
"""``op`` of the EVT record of an alarm."""
DOUBT = "doubt"
"""``op`` of the EVT record that a scan found stored rows to be other than proven; ``t`` the table,
``spans`` a list of [start, end) in ns."""
ALTERED = "ALTERED"
"""``code`` of the alarm that own rows are not what was stated of them."""
DAMAGED = "DAMAGED"
"""``code`` of the alarm that stored rows cannot be read; ``t`` the table, ``spans`` a list of
[start, end) in ns."""

ALARMS_KEPT = 100
"""The newest; all of them are in the log."""


class LineFollowing(Lines):
    """See the module. ``own``: this node's own line."""

    def __init__(self, origins: Origins) -> None:
        super().__init__()
        self.own = Line("", "")
        self.alarms: deque[dict[str, Any]] = deque(maxlen=ALARMS_KEPT)
        self.parent = ""
        """Uuid of the parent that last let this node in; empty before the first."""
        self.began: Callable[[OriginKey, int], None] = lambda line, fork: None
        """Called when a node below goes on in a new epoch: its line, and the fork."""
        self._origins = origins
        origins.table_of = self.table
        self._sources: dict[str, str] = {}
        """By a computed table, casefolded, the one that it is computed from; as they are here."""

    # Records

    def computed(self, table: str, source: str | None) -> None:
        """A table was defined here; ``source``: what it is computed from, if it is."""
        if source is not None:
            self._sources[table.casefold()] = source

    def said(self, header: Mapping[str, Any]) -> int | None:
        """An EPO record. The fork, if the own line goes on in a new epoch."""
        said = Line.from_wire(header["line"])
        if header["own"]:
            self.parent = header.get("parent") or self.parent
            before = self.own.table
            if said.table.current <= before.current:
                return None
            self.own.table = said.table
            return before.common(said.table)
        line = self.open(said.uuid, said.name)
        before = line.table
        if line.join(said, Source(header["source"])):
            fork = before.common(line.table)
            touched = self._origins.begin_epoch(
                line.uuid, line.name, header["via"], line.table, fork
            )
            for table, (slice_ns, keys) in touched.items():
                line.mark(table, slice_ns, slice_set(keys))
            self.began(OriginKey(line.uuid, line.table.current, line.name), fork)
        self._declare(line)
        return None

    def alarmed(self, header: Mapping[str, Any]) -> None:
        """An EVT record."""
        if header.get("op") == ALARM:
            self.alarms.append({name: header.get(name) for name in ("code", "node", "text", "at")})

    def received(self, state: OriginState, ranges: RangeSet, header: Mapping[str, Any]) -> None:
        """An RCV record brought LSNs of an origin."""
        line = self.open(state.key.uuid, state.key.name)
        begin, end = line.table.begin_of(state.key.epoch), line.table.end_of(state.key.epoch)
        state.definitions.note(header["sch"], header["dev"], LSN_MAX)
        home = state.home
        if home is not state:
            home.definitions.note(header["sch"], header["dev"], end)
            for first, last in ranges.within(begin + 1, end):
                home.received.add(first, last)
        on_line = list(ranges.within(begin + 1, end))
        if on_line:
            line.trail.note_head(on_line[-1][1])
        for lsn, ident in header.get("boots", ()):
            if begin < lsn <= end:
                line.trail.note_boot(lsn, ident)
        if header["chain"] is not None:
            point = ChainPoint.from_wire(header["chain"])
            if begin < point.lsn <= end:
                line.trail.note_point(point.lsn, point.chain)

    def mirror(self, state: OriginState, header: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """What a record of a closed epoch defines before the fork holds for the line too."""
        if state.line is None:
            return
        end = self.table(state.key.uuid).end_of(state.key.epoch)
        apply_maps(header, buffers, state.home.maps, end)

    def enter(self, state: OriginState, ranges: RangeSet) -> None:
        """LSNs of an origin were received in another way than as its records: as slices, or they
        are lost. What is of the line counts for it, and for its epoch."""
        state.received.update(ranges)
        table = self.table(state.key.uuid)
        if state.line is not None:
            begin, end = table.begin_of(state.key.epoch), table.end_of(state.key.epoch)
            for first, last in ranges.within(begin + 1, end):
                state.home.received.add(first, last)
            return
        for epoch, part in table.split(ranges) if state.older else ():
            held = self._origins.get(OriginKey(state.key.uuid, epoch, state.key.name))
            if held is not None:
                held.received.update(part)

    def owed_of(self, state: OriginState, owed: Owed) -> Iterator[tuple[OriginState, Owed]]:
        """Slices that are owed of an origin: what is of the line is asked for as such, and what is
        beyond the end of a closed epoch as orphans."""
        if state.line is None:
            yield state, owed
            return
        table = self.table(state.key.uuid)
        begin, end = table.begin_of(state.key.epoch), table.end_of(state.key.epoch)
        line = RangeSet(owed.ranges.within(begin + 1, end))
        beyond = RangeSet(owed.ranges.within(end + 1, LSN_MAX))
        if line or not owed.ranges:
            yield state.home, replace(owed, ranges=line, since=min(owed.since, end))
        if beyond:
            yield state, replace(owed, ranges=beyond)

    def delete_below(self, state: OriginState, erasure: Erasure, sink: RowSink) -> None:
        """A delete of one epoch covers what every older one wrote."""
        everything = None
        for epoch in self.table(state.key.uuid).epochs:
            if epoch < state.key.epoch:
                everything = everything or replace(erasure, as_of=LSN_MAX)
                sink.delete(Origin(state.key.uuid, state.key.name, epoch), everything)

    def image_applied(self, state: OriginState, image: SliceImage, sink: RowSink) -> None:
        """An image of the line says all of its slice: what older epochs wrote of the line there is
        in it, or gone. Orphans stay, below it. One of a closed epoch brings more of them."""
        if state.line is not None:
            mapped = state.local_table(image.table)
            if mapped is not None and len(image.rows):
                watch = state.watch(image.table, mapped.slice_ns)
                keys = np.unique(image.rows.time // watch.slice_ns)
                self._fork_slices(state, image.table, watch, keys)
            return
        if image.part:
            return
        table = self.table(state.key.uuid)
        for epoch in table.epochs:
            end = table.end_of(epoch)
            if epoch < state.key.epoch and end:
                gone = Erasure(image.table, end, image.start_ns, image.end_ns)
                sink.delete(Origin(state.key.uuid, state.key.name, epoch), gone)

    # Beyond a fork

    def is_on_line(self, state: OriginState, lsn: int) -> bool:
        """True unless the record is beyond the end of its epoch."""
        return state.line is None or lsn <= self.table(state.key.uuid).end_of(state.key.epoch)

    def on_line(
        self,
        state: OriginState,
        local_table: str,
        watch: TableWatch,
        time: TimesNs,
        lsn: int | Lsns,
    ) -> tuple[TimesNs, int | Lsns]:
        """Of rows that were applied those that are of the line; the others make slices FORKED."""
        if state.line is None:
            return time, lsn
        end = self.table(state.key.uuid).end_of(state.key.epoch)
        if isinstance(lsn, int):
            beyond, kept = (time[:0], time) if lsn <= end else (time, time[:0])
            rest: int | Lsns = lsn
        else:
            mask = lsn > np.uint64(end)
            beyond, kept, rest = time[mask], time[~mask], lsn[~mask]
        if len(beyond):
            touched = touched_slices(beyond, watch.slice_ns)
            keys = np.array([touched], np.int64) if isinstance(touched, int) else touched
            self._fork_slices(state, local_table, watch, keys)
        return kept, rest

    def beyond(self, state: OriginState, local_table: str, watch: TableWatch, spans: Ints) -> None:
        """A delete from beyond the fork took effect in ``spans``."""
        watch.merge()
        keys = touched_by(spans, watch.slice_ns, watch.slices.keys)
        self._fork_slices(state, local_table, watch, keys)

    def watched(self, state: OriginState, local_table: str, watch: TableWatch) -> None:
        """A table is watched from now on."""
        line = self.get(state.key.uuid)
        if line is not None and line.forked:
            self._declare(line, only=local_table)

    def _fork_slices(
        self, state: OriginState, local_table: str, watch: TableWatch, keys: Ints
    ) -> None:
        line = self.open(state.key.uuid, state.key.name)
        mapped = state.local_table(local_table)
        name = local_table if mapped is None else mapped.name
        line.mark(name, watch.slice_ns, slice_set(keys))
        self._declare(line)

    def _declare(self, line: Line, only: str | None = None) -> None:
        """Bring what is known to be forked into the watches, and into those of computed tables."""
        state = self._origins.line(line.uuid)
        if state is None or not line.forked:
            return
        for local, watch in state.watches.items():
            if only in (None, local):
                for keys in self._forked_keys(line, state, local, watch):
                    watch.forked(keys)

    def _forked_keys(
        self, line: Line, state: OriginState, local: str, watch: TableWatch
    ) -> Iterator[Ints]:
        mapped = state.local_table(local)
        names = [(local if mapped is None else mapped.name).casefold()]
        source = self._sources.get(local.casefold())
        if source is not None:
            theirs = state.local_table(source)
            names.append((source if theirs is None else theirs.name).casefold())
        for name in names:
            known = line.forked.get(name)
            if known is None:
                continue
            keys = slice_keys(known[1])
            if known[0] != watch.slice_ns:
                keys = np.unique(keys * known[0] // watch.slice_ns)
            yield keys

    def forked_slices(self, uuid: str, table: str) -> list[tuple[int, int]]:
        """Stretches [start, end) in ns of a node's table that are FORKED. Also for tables that are
        not held here."""
        line = self.get(uuid)
        known = None if line is None else line.forked.get(table.casefold())
        if known is None:
            return []
        keys = slice_keys(known[1])
        if not len(keys):
            return []
        breaks = np.flatnonzero(np.diff(keys) > 1) + 1
        firsts = keys[np.append(0, breaks)] * known[0]
        ends = (keys[np.append(breaks - 1, len(keys) - 1)] + 1) * known[0]
        return list(zip(firsts.tolist(), ends.tolist(), strict=True))

    # What is settled, what is lost

    def settled(self, uuid: str, epoch: int, name: str) -> int:
        """LSN of one epoch of a node up to which nothing of it can still arrive."""
        line, state = self.get(uuid), self._origins.get(OriginKey(uuid, epoch, name))
        home = self._origins.line(uuid)
        if home is None:
            return 0
        reached = home.received.watermark
        if line is None or epoch == line.table.current:
            return reached
        end = line.table.end_of(epoch)
        if reached < end:
            return max(0, min(reached, end))
        held = RangeSet() if state is None else state.received
        closed = line.closed.get(epoch)
        missing = RangeSet() if closed is None else closed.below.difference(held)
        first = next(iter(missing), None)
        return LSN_MAX if first is None else first[0] - 1

    def losses(self) -> list[dict[str, Any]]:
        """What was announced of a closed epoch and nobody holds, nor will deliver."""
        found = []
        for line in self:
            for epoch, closed in line.closed.items():
                lost = self._lost(line, epoch)
                if lost:
                    found.append(
                        {"node": line.name, "uuid": line.uuid, "epoch": epoch,
                         "lsns": [list(pair) for pair in lost], "announced": closed.head}
                    )  # fmt: skip
        return found

    def _lost(self, line: Line, epoch: int) -> RangeSet:
        closed, end = line.closed[epoch], line.table.end_of(epoch)
        begin = line.table.begin_of(epoch)
        lost = RangeSet([(max(end, begin) + 1, closed.head)])
        state = self._origins.get(OriginKey(line.uuid, epoch, line.name))
        for held in (None if state is None else state.received, closed.below, closed.above):
            if held is not None:
                lost = lost.difference(held)
        return lost

    # Checkpoint

    def snapshot_all(self) -> dict[str, Any]:
        """For the checkpoint."""
        own = Line(self.own.uuid or "-", self.own.name or "-", self.own.table, self.own.trail)
        return {
            "own": own.snapshot(),
            "parent": self.parent,
            "below": self.snapshot(),
            "alarms": list(self.alarms),
            "sources": self._sources,
        }

    def restore_all(self, fields: Mapping[str, Any]) -> None:
        """From the follower's snapshot, whose origins are restored already. One of an older version
        knows of each origin's chain only."""
        data = fields.get("lines")
        if data is None:
            for item in fields["origins"]:
                key = OriginKey.from_wire(item["key"])
                trail = self.open(key.uuid, key.name).trail
                if item.get("chain") is not None:
                    point = ChainPoint.from_wire(item["chain"])
                    trail.note_point(point.lsn, point.chain)
                trail.note_head(RangeSet.from_wire(item["received"]).last)
                trail.boots_from = LSN_MAX
            return
        # In place: others hold on to it.
        own = Line.restore(data["own"])
        self.own.table, self.own.trail = own.table, own.trail
        self.parent = data.get("parent", "")
        self.restore(data["below"])
        self.alarms.extend(data["alarms"])
        self._sources = data["sources"]
