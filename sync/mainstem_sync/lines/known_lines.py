"""The lines of nodes as they are known here: epoch tables, trails, and what forks left behind.

1. Everything durable comes from EPO records of the local log, on both sides of a fork and at every
   tier above: each is a *statement* about a line, and applying it joins it to what is known.
2. The table with the greater epoch is the newer one. When it is taken over, the trail is cut where
   the two part, and the epochs that end are *closed*.
3. Of a closed epoch is known how far it was ever announced (``head``), what the tier below still
   holds of its orphans and will deliver (``below``), and what the tier above holds (``above``).
   What was announced and is in none of these, nor here, is lost, and said so.
4. A log that was restored may go on under the epoch of the one before it, until a tier hears of it
   that knows both. What a child relays of such a copy is not joined to what is known of the log;
   what a parent knows is, and takes the place of what contradicts it: the next HELLO is judged by
   it.
5. ``forked``: slices of time, by the node's own table, that hold or held records of a closed epoch
   beyond its fork. They are never compared with the node's statements again.

EPO record, header: ``own`` true if the line is this node's own, ``source`` (see Source), ``via``
the child behind which the node is, ``line`` the statement as Line.to_wire gives it; of an own line
also ``parent``, the uuid of the parent that let this node in.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_sync.errors import WireError
from mainstem_sync.lines.epochs import EPOCH_MAX, FORKS_MAX, EpochTable
from mainstem_sync.lines.trail import Trail
from mainstem_sync.wire.fields import integer, list_of, text
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

POINTS_TOLD = 16
"""Points of a line that travel between tiers: the newest; more are asked for where they matter."""

TABLES_MAX = 10_000
"""Tables of one node with forked slices."""


FORKED_SLICES_MAX = 1 << 20
"""Slices of one table: two years of minutes."""


class Source(enum.StrEnum):
    """Who made a statement about a line."""

    HERE = "here"
    """This node: it decided about a fork, or heard it from the node itself."""
    BELOW = "below"
    """A child that relays the line."""
    ABOVE = "above"
    """The parent."""


@dataclass(slots=True)
class Closed:
    """What is known of an epoch that ended. See the module."""

    head: int = 0
    below: RangeSet = field(default_factory=RangeSet)
    above: RangeSet = field(default_factory=RangeSet)


@dataclass(slots=True)
class Line:
    """One node's line."""

    uuid: str
    name: str
    table: EpochTable = field(default_factory=EpochTable)
    trail: Trail = field(default_factory=Trail)
    closed: dict[int, Closed] = field(default_factory=dict)
    forked: dict[str, tuple[int, RangeSet]] = field(default_factory=dict)
    """Casefolded table of the node to (slice length in ns, slice indexes). as slice_set
    makes them."""

    def join(self, said: Line, source: Source) -> bool:
        """Take a statement in; True if the epoch table is another one now."""
        changed = said.table.current > self.table.current
        common = self.table.common(said.table)
        if changed:
            for epoch in self.table.epochs:
                self._close(epoch)
            self._closing(self.table.current).head = max(
                self._closing(self.table.current).head, self.trail.head
            )
            self.table = said.table
            self.trail.cut(common)
        elif common < LSN_MAX and said.table.current in self.table.epochs:
            before = self._closing(said.table.current)
            before.head = max(before.head, said.trail.head)
        trail = said.trail
        if common < LSN_MAX and not changed:
            trail = trail.copy()
            trail.cut(common)
        parted = self.parts_from(said)
        if source is Source.ABOVE and parted is not None:
            self.trail.cut(parted - 1)
        if source is not Source.BELOW or parted is None:
            self.trail.join(trail)
        for epoch, closed in said.closed.items():
            mine = self._closing(epoch)
            mine.head = max(mine.head, closed.head)
            if source is Source.BELOW:
                mine.below = closed.below
            elif source is Source.ABOVE:
                mine.above = closed.below
        for table, (slice_ns, slices) in said.forked.items():
            self.mark(table, slice_ns, slices)
        return changed

    def parts_from(self, said: Line) -> int | None:
        """The LSN by which a statement is not about this log, but about a copy that went on; None
        if nothing says so."""
        return self.trail.parts_from(said.trail, self.table.common(said.table))

    def mark(self, table: str, slice_ns: int, slices: RangeSet) -> None:
        """These slices (see slice_set) hold records of a closed epoch."""
        known = self.forked.get(table.casefold())
        if known is not None and known[0] == slice_ns:
            known[1].update(slices)
        elif slices:
            self.forked[table.casefold()] = (slice_ns, slices.copy())

    def would_learn(self, said: Line, source: Source) -> bool:
        """True if a statement says something that matters and is not known here."""
        if said.table.current > self.table.current:
            return True
        if self.goes_beyond(said, source):
            return True
        for epoch, closed in said.closed.items():
            mine = self.closed.get(epoch) or Closed()
            held = mine.above if source is Source.ABOVE else mine.below
            if closed.head > mine.head or closed.below != held:
                return True
        return any(
            table not in self.forked or not self.forked[table][1].contains_all(slices)
            for table, (_, slices) in said.forked.items()
        )

    def goes_beyond(self, said: Line, source: Source) -> bool:
        """True if a statement of the same epochs says more of the log than is known here. Two logs
        that were taken for one are told apart by what is known above."""
        if said.table != self.table:
            return False
        if self.parts_from(said) is not None:
            return source is Source.ABOVE
        return not self.trail.contains(said.trail)

    def _close(self, epoch: int) -> None:
        self.closed.setdefault(epoch, Closed())

    def _closing(self, epoch: int) -> Closed:
        self._close(epoch)
        return self.closed[epoch]

    def statement(self, held: Mapping[int, RangeSet]) -> Line:
        """What is said of it to another tier. ``held``: orphans by closed epoch that are here."""
        said = Line(self.uuid, self.name, self.table, self.trail.newest(POINTS_TOLD))
        none = RangeSet()
        for epoch, closed in self.closed.items():
            said.closed[epoch] = Closed(closed.head, held.get(epoch, none))
        said.forked = dict(self.forked)
        return said

    # As plain values

    def to_wire(self) -> dict[str, Any]:
        """A statement, as in an EPO record and on the wire."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "forks": self.table.to_wire(),
            "trail": self.trail.to_wire(),
            "closed": [
                [epoch, closed.head, closed.below.to_wire()]
                for epoch, closed in self.closed.items()
            ],
            "forked": [
                [table, slice_ns, slices.to_wire()]
                for table, (slice_ns, slices) in self.forked.items()
            ],
        }

    @classmethod
    def from_wire(cls, value: object) -> Line:
        if not isinstance(value, dict):
            raise WireError("a line is a map")
        line = cls(text(value.get("uuid"), "uuid"), text(value.get("name"), "name"))
        line.table = EpochTable.from_wire(value.get("forks"))
        line.trail = Trail.from_wire(value.get("trail"))
        for item in list_of(value.get("closed"), "closed", FORKS_MAX + 1):
            epoch, head, held = _three(item)
            line.closed[integer(epoch, "epoch", EPOCH_MAX)] = Closed(
                integer(head, "head"), RangeSet.from_wire(held)
            )
        for item in list_of(value.get("forked"), "forked", TABLES_MAX):
            table, slice_ns, slices = _three(item)
            name = text(table, "table")
            line.forked[name] = (integer(slice_ns, "slice_ns"), RangeSet.from_wire(slices))
        return line

    def snapshot(self) -> dict[str, Any]:
        """For the checkpoint: the statement, and what above and below hold."""
        above = [[epoch, closed.above.to_wire()] for epoch, closed in self.closed.items()]
        return {**self.to_wire(), "above": above}

    @classmethod
    def restore(cls, data: Mapping[str, Any]) -> Line:
        line = cls.from_wire(data)
        for epoch, above in data["above"]:
            line.closed[epoch].above = RangeSet.from_wire(above)
        return line


def _three(item: object) -> list[Any]:
    found = list_of(item, "an entry of a line", 3)
    if len(found) != 3:
        raise WireError("an entry of a line has three values")
    return found


SLICE_ORIGIN = 1 << 40
"""Added to the index of a slice where a RangeSet holds it: indexes before 1970 are negative."""


def slice_set(keys: npt.NDArray[np.int64]) -> RangeSet:
    """Slice indexes (ascending) as a RangeSet holds them."""
    found = RangeSet()
    if len(keys):
        breaks = np.flatnonzero(np.diff(keys) > 1) + 1
        firsts = keys[np.append(0, breaks)] + SLICE_ORIGIN
        lasts = keys[np.append(breaks - 1, len(keys) - 1)] + SLICE_ORIGIN
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            found.add(first, last)
    return found


def slice_keys(slices: RangeSet) -> npt.NDArray[np.int64]:
    """The inverse of slice_set: at most FORKED_SLICES_MAX of them, the newest."""
    pieces: list[npt.NDArray[np.int64]] = []
    left = FORKED_SLICES_MAX
    for first, last in reversed(list(slices)):
        first = max(first, last - left + 1)
        pieces.append(np.arange(first, last + 1, dtype=np.int64) - SLICE_ORIGIN)
        left -= last - first + 1
        if left <= 0:
            break
    return np.concatenate(pieces[::-1]) if pieces else np.empty(0, np.int64)


class Lines:
    """Every node whose records arrive here. Guarded by the federation's lock."""

    def __init__(self) -> None:
        self._all: dict[str, Line] = {}

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._all.values()))

    def get(self, uuid: str) -> Line | None:
        return self._all.get(uuid)

    def open(self, uuid: str, name: str) -> Line:
        """The line of a node, made when it is new."""
        found = self._all.get(uuid)
        if found is None:
            found = self._all[uuid] = Line(uuid, name)
        return found

    def table(self, uuid: str) -> EpochTable:
        """The epochs of a node; one epoch if nothing is known."""
        found = self._all.get(uuid)
        return _ONE_EPOCH if found is None else found.table

    def snapshot(self) -> list[Any]:
        return [line.snapshot() for line in self._all.values()]

    def restore(self, data: list[Any]) -> None:
        self._all = {line.uuid: line for line in map(Line.restore, data)}


_ONE_EPOCH = EpochTable()
