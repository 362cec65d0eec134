"""The lines of nodes as they are known here: epoch tables, trails, and what forks left behind.

1. Everything durable comes from EPO records of the local log, on both sides of a fork and at every
   tier above: each is a *statement* about a line, and applying it joins it to what is known.
2. The table with the greater epoch is the newer one. When it is taken over, the trail is cut where
   the two part, and the epochs that end are *closed*.
3. Of a closed epoch is known how far it was ever announced (``head``), what the tier below still
   holds of its orphans and will deliver (``below``), and what the tier above holds (``above``).
   What was announced and is in none of these, nor here, is lost, and said so.
4. ``forked``: slices of time, by the node's own table, that hold or held records of a closed epoch
   beyond its fork. They are never compared with the node's statements again.

EPO record, header: ``own`` true if the line is this node's own, ``source`` (see Source), ``via``
the child behind which the node is, ``line`` the statement as Line.to_wire gives it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_sync.epochs import EPOCH_MAX, FORKS_MAX, EpochTable
from mainstem_sync.errors import WireError
from mainstem_sync.fields import integer, list_of, text
from mainstem_sync.ranges import LSN_MAX, RangeSet
from mainstem_sync.trail import POINTS_MAX, Trail

POINTS_TOLD = 16
"""Points of a line that travel between tiers: the newest; more are asked for where they matter."""

TABLES_MAX = 10_000
"""Tables of one node with forked slices."""


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
    """Casefolded table of the node to (slice length in ns, slice indexes). Slice indexes may be
    negative: they are stored above SLICE_ORIGIN."""

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

    def mark(self, table: str, slice_ns: int, slices: RangeSet) -> None:
        """These slices (as stored, see ``shifted``) hold records of a closed epoch."""
        known = self.forked.get(table.casefold())
        if known is not None and known[0] == slice_ns:
            known[1].update(slices)
        elif slices:
            self.forked[table.casefold()] = (slice_ns, slices.copy())

    def would_learn(self, said: Line) -> bool:
        """True if a statement says something that matters and is not known here."""
        if said.table.current > self.table.current or not self.trail.contains(said.trail):
            return True
        return any(
            closed.head > self._head(epoch) or closed.below != self._below(epoch)
            for epoch, closed in said.closed.items()
        )

    def _head(self, epoch: int) -> int:
        found = self.closed.get(epoch)
        return 0 if found is None else found.head

    def _below(self, epoch: int) -> RangeSet:
        found = self.closed.get(epoch)
        return RangeSet() if found is None else found.below

    def _close(self, epoch: int) -> None:
        self.closed.setdefault(epoch, Closed())

    def _closing(self, epoch: int) -> Closed:
        self._close(epoch)
        return self.closed[epoch]

    # As plain values

    def to_wire(
        self,
        held: Mapping[int, RangeSet] | None = None,
        points_max: int = POINTS_MAX,
    ) -> dict[str, Any]:
        """A statement. ``held``: orphans by epoch that whoever says it holds."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "forks": self.table.to_wire(),
            "trail": self.trail.to_wire(points_max),
            "closed": [
                [epoch, closed.head, (held or {}).get(epoch, RangeSet()).to_wire()]
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
            epoch, head, held = list_of(item, "closed", 3)
            line.closed[integer(epoch, "epoch", EPOCH_MAX)] = Closed(
                integer(head, "head"), RangeSet.from_wire(held)
            )
        for item in list_of(value.get("forked"), "forked", TABLES_MAX):
            table, slice_ns, slices = list_of(item, "forked", 3)
            name = text(table, "table")
            line.forked[name] = (integer(slice_ns, "slice_ns"), RangeSet.from_wire(slices))
        return line

    def snapshot(self) -> dict[str, Any]:
        """For the checkpoint: the statement, and what above and below hold."""
        below = {epoch: closed.below for epoch, closed in self.closed.items()}
        above = [[epoch, closed.above.to_wire()] for epoch, closed in self.closed.items()]
        return {**self.to_wire(below), "above": above}

    @classmethod
    def restore(cls, data: Mapping[str, Any]) -> Line:
        line = cls.from_wire(data)
        for epoch, above in data["above"]:
            line.closed[epoch].above = RangeSet.from_wire(above)
        return line


SLICE_ORIGIN = 1 << 40
"""Added to the index of a slice where a RangeSet holds it: indexes before 1970 are negative."""


def shifted(first: int, last: int) -> RangeSet:
    """Slice indexes [first, last] as a RangeSet holds them."""
    return RangeSet([(first + SLICE_ORIGIN, last + SLICE_ORIGIN)])


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
