"""What of one origin is still to come as slices: the receiver's side of COVER and EXP.

1. An *entry* is one such record (owed.py), by its writer and LSN. Its slices are crossed off as
   their images are applied, of ``since`` or later. A slice that came in pieces is crossed off when
   the pieces cover it.
2. An entry without slices left is done: its range enters R. The writer is told which entries are
   done (WANT frames), so that it knows without a memory of its own. So are the records that the
   entry speaks for: a writer that was restored may know these, and not that one.
3. Declared lost is crossed off too.

All of it follows from the log. Guarded by the federation's lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_engine.floors import Floors
from mainstem_sync.slices.owed import Owed
from mainstem_sync.slices.wants import DONE_MAX, Ref, Want
from mainstem_sync.wire.ranges import RangeSet


@dataclass(slots=True)
class Entry:
    """One COVER or EXP record. ``pending``: by table (casefolded) slice length and slices."""

    ref: Ref
    ranges: RangeSet
    since: int
    names: dict[str, str] = field(default_factory=dict)
    pending: dict[str, tuple[int, RangeSet]] = field(default_factory=dict)
    old: list[int] = field(default_factory=list)
    """Records of the writer that this one speaks for: they are done with it."""

    @property
    def refs(self) -> list[Ref]:
        """All that is done when this is."""
        uuid, epoch, _ = self.ref
        return [*((uuid, epoch, lsn) for lsn in self.old), self.ref]

    def cross_off(self, table: str, first: int, last: int) -> None:
        found = self.pending.get(table)
        if found is not None:
            found[1].remove(first, last)
            if not found[1]:
                del self.pending[table]

    def to_plain(self) -> list[Any]:
        tables = [
            [name, self.names.get(name, name), size, slices.to_wire()]
            for name, (size, slices) in self.pending.items()
        ]
        return [list(self.ref), self.ranges.to_wire(), self.since, tables, self.old]

    @classmethod
    def from_plain(cls, value: list[Any]) -> Entry:
        (uuid, epoch, lsn), ranges, since, tables, *rest = value
        entry = cls((uuid, epoch, lsn), _pairs(ranges), since)
        entry.old = list(rest[0]) if rest else []  # checkpoints of before have none
        for key, name, size, flat in tables:
            entry.names[key] = name
            entry.pending[key] = (size, _pairs(flat))
        return entry


class Backlog:
    """See the module: of one origin."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.done: list[Ref] = []
        self._pieces: dict[str, Floors] = {}

    def __bool__(self) -> bool:
        return bool(self.entries or self.done)

    def add(self, owed: Owed, ref: Ref, received: RangeSet) -> RangeSet:
        """A record was applied. Returns the ranges that enter R by it."""
        if any(entry.ref == ref for entry in self.entries) or ref in self.done:
            return RangeSet()
        ranges = owed.ranges.difference(received)
        entry = Entry(ref, ranges, owed.since, old=sorted(owed.old)[-DONE_MAX:])
        if ranges or not owed.ranges:
            for table in owed.tables:
                if table.slices:
                    key = table.name.casefold()
                    entry.names[key] = table.name
                    entry.pending[key] = (table.slice_ns, table.slices.copy())
        self.entries.append(entry)
        return self._finish()

    def image_applied(self, table: str, start_ns: int, end_ns: int, as_of: int) -> RangeSet:
        """An image of [start, end) of ``table`` (the origin's name). Returns what enters R."""
        key = table.casefold()
        for entry in self.entries:
            found = entry.pending.get(key)
            if found is None or as_of < entry.since:
                continue
            size = found[0]
            whole = -(-start_ns // size), end_ns // size - 1
            if whole[0] <= whole[1]:
                entry.cross_off(key, *whole)
            for edge in {start_ns // size, (end_ns - 1) // size}:
                if not whole[0] <= edge <= whole[1]:
                    self._piece(entry, key, edge, size, (start_ns, end_ns, as_of))
        return self._finish()

    def _piece(
        self, entry: Entry, key: str, edge: int, size: int, piece: tuple[int, int, int]
    ) -> None:
        found = entry.pending.get(key)
        if found is None or edge not in found[1]:
            return
        start_ns, end_ns, as_of = piece
        pieces = self._pieces.setdefault(key, Floors())
        pieces.raise_to(0, max(start_ns, edge * size), min(end_ns, (edge + 1) * size), as_of)
        if pieces.least(0, edge * size, (edge + 1) * size) >= entry.since:
            entry.cross_off(key, edge, edge)

    def forked(self, uuid: str, fork: int) -> None:
        """The origin's log goes on after ``fork`` in a new epoch: what it announced beyond it is
        void, and nothing beyond it enters R."""
        self.entries = [e for e in self.entries if e.ref[0] != uuid or e.ref[2] <= fork]
        for entry in self.entries:
            entry.ranges = RangeSet(entry.ranges.within(1, fork))
            # LSNs beyond are given out again: the new line may never come to the old one.
            entry.since = min(entry.since, fork)

    def lost(self, table: str, slices: RangeSet) -> RangeSet:
        """These slices were declared lost by their owner. Returns what enters R."""
        for entry in self.entries:
            for first, last in slices:
                entry.cross_off(table.casefold(), first, last)
        return self._finish()

    def waiting_for(self, table: str, start_ns: int, end_ns: int) -> list[tuple[Ref, RangeSet]]:
        """Open entries that wait for a slice of [start, end), and what enters R by each."""
        found = []
        for entry in self.entries:
            pending = entry.pending.get(table.casefold())
            if pending is not None:
                first, last = start_ns // pending[0], (end_ns - 1) // pending[0]
                if next(pending[1].within(first, last), None) is not None:
                    found.append((entry.ref, entry.ranges))
        return found

    def wants(self) -> Iterator[Want]:
        """What is still to come, entry by entry."""
        for entry in self.entries:
            for key, (size, slices) in entry.pending.items():
                yield Want(entry.names.get(key, key), size, entry.since, slices)

    def waits_for(self, table: str, key: int) -> bool:
        """True if a slice of ``table`` is still to come as an image."""
        name = table.casefold()
        return any(key in e.pending[name][1] for e in self.entries if name in e.pending)

    def _finish(self) -> RangeSet:
        ranges = RangeSet()
        for entry in [entry for entry in self.entries if not entry.pending]:
            self.entries.remove(entry)
            self.done += [ref for ref in entry.refs if ref not in self.done]
            ranges.update(entry.ranges)
        del self.done[:-DONE_MAX]
        wanted = {key for entry in self.entries for key in entry.pending}
        for key in [key for key in self._pieces if key not in wanted]:
            del self._pieces[key]
        return ranges

    def snapshot(self) -> dict[str, Any]:
        return {
            "entries": [entry.to_plain() for entry in self.entries],
            "done": [list(ref) for ref in self.done],
            "pieces": [[key, floors.pack()] for key, floors in self._pieces.items()],
        }

    @classmethod
    def restore(cls, data: Mapping[str, Any]) -> Backlog:
        backlog = cls()
        backlog.entries = [Entry.from_plain(item) for item in data["entries"]]
        backlog.done = [(uuid, epoch, lsn) for uuid, epoch, lsn in data["done"]]
        backlog._pieces = {key: Floors.unpack(values) for key, values in data["pieces"]}
        return backlog


def _pairs(flat: list[int]) -> RangeSet:
    return RangeSet(zip(flat[0::2], flat[1::2], strict=True))
