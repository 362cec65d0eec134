"""What is remembered of a log to recognise it again: chain values, process starts, its head.

1. A *point* is the hash chain's value at one LSN. Two logs with the same value there are one up to
   it. Points are kept sparsely: the newest ones, and ever fewer of the older.
2. A *boot* is a process start: an LSN with a random id. A log that was restored or cloned goes on
   with a boot that the other one lacks, so the first boot that only one of two logs has lies behind
   the point where they part, and nothing before it differs.
3. The *head* is the greatest LSN that the node was ever heard to have, received or only announced.

Used by both sides: by a node of itself, and by every tier of those below. Guarded by its owner.
"""

from __future__ import annotations

from typing import Any

from mainstem_sync.errors import WireError
from mainstem_sync.wire.fields import integer, list_of
from mainstem_sync.wire.frames import HASH_BYTES
from mainstem_sync.wire.ranges import LSN_MAX

POINTS_MAX = 64
"""Points that are kept: halving the older half whenever it is full leaves some of every age."""

POINTS_NEWEST = 16
"""Of these none is given up: a node that is restored is most often a young copy."""

BOOTS_MAX = 256
"""Starts that are kept. Where older ones are needed the points decide alone, more cautiously."""

BOOT_ID_BYTES = 16


class Trail:
    """See the module."""

    __slots__ = ("boots", "boots_from", "head", "points")

    def __init__(self) -> None:
        self.points: dict[int, bytes] = {}
        self.boots: dict[int, bytes] = {}
        self.boots_from = 1
        """Boots at and above this LSN are all known."""
        self.head = 0

    def note_point(self, lsn: int, chain: bytes) -> None:
        """The chain's value at an LSN. 0 says nothing: every chain starts alike."""
        if lsn:
            self.points[lsn] = chain
            self.head = max(self.head, lsn)
            if len(self.points) > POINTS_MAX:
                self._thin()

    def note_boot(self, lsn: int, ident: bytes) -> None:
        """A process start."""
        self.boots[lsn] = ident
        if len(self.boots) > BOOTS_MAX:
            gone = min(self.boots)
            del self.boots[gone]
            self.boots_from = max(self.boots_from, gone + 1)

    def note_head(self, lsn: int) -> None:
        """The node said that its log goes so far."""
        self.head = max(self.head, lsn)

    def join(self, other: Trail) -> None:
        """What somebody else knows of the same line."""
        if not self.boots and (other.boots or other.boots_from > self.boots_from):
            self.boots_from = other.boots_from
        for lsn, ident in sorted(other.boots.items()):
            self.note_boot(lsn, ident)
        for lsn, chain in sorted(other.points.items()):
            self.note_point(lsn, chain)
        self.note_head(other.head)

    def contains(self, other: Trail) -> bool:
        """True if ``other`` would add neither a boot nor a higher head."""
        return self.head >= other.head and all(
            self.boots.get(lsn) == ident
            for lsn, ident in other.boots.items()
            if lsn >= self.boots_from
        )

    def parts_from(self, other: Trail, upto: int) -> int | None:
        """The lowest LSN up to ``upto`` by which the two cannot be of one log; None if nothing says
        so. Below a point at which they agree they are one, whatever of it is remembered."""
        common = [lsn for lsn in self.points.keys() & other.points.keys() if lsn <= upto]
        agreed = max((n for n in common if self.points[n] == other.points[n]), default=0)
        found = [lsn for lsn in common if self.points[lsn] != other.points[lsn]]
        for lsn, _ in self.boots.items() ^ other.boots.items():
            known = lsn in self.boots or self.boots_from <= lsn <= self.head
            if known and (lsn in other.boots or other.boots_from <= lsn <= other.head):
                found.append(lsn)
        return min((lsn for lsn in found if agreed < lsn <= upto), default=None)

    def cut(self, fork: int) -> None:
        """The log parted from this line after ``fork``."""
        self.points = {lsn: chain for lsn, chain in self.points.items() if lsn <= fork}
        self.boots = {lsn: ident for lsn, ident in self.boots.items() if lsn <= fork}
        self.head = min(self.head, fork)

    def copy(self) -> Trail:
        found = Trail()
        found.points, found.boots = dict(self.points), dict(self.boots)
        found.boots_from, found.head = self.boots_from, self.head
        return found

    def _thin(self) -> None:
        """Every second of the older points goes; the oldest stays."""
        lsns = sorted(self.points)
        for lsn in lsns[1:-POINTS_NEWEST:2]:
            del self.points[lsn]

    def newest(self, points: int) -> Trail:
        """The same with so many of the newest points."""
        found = self.copy()
        found.points = {lsn: self.points[lsn] for lsn in sorted(self.points)[-points:]}
        return found

    def to_wire(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "points": [[lsn, self.points[lsn]] for lsn in sorted(self.points)],
            "boots": [[lsn, self.boots[lsn]] for lsn in sorted(self.boots)],
            "boots_from": self.boots_from,
            "head": self.head,
        }

    @classmethod
    def from_wire(cls, value: object) -> Trail:
        if not isinstance(value, dict):
            raise WireError("a trail is a map")
        found = cls()
        found.points = _marks(value.get("points", []), "points", 2 * POINTS_MAX)
        found.boots = _marks(value.get("boots", []), "boots", BOOTS_MAX)
        found.boots_from = integer(value.get("boots_from", 1), "boots_from")
        found.head = integer(value.get("head", 0), "head")
        return found


def _marks(value: object, what: str, limit: int) -> dict[int, bytes]:
    found = {}
    for item in list_of(value, what, limit):
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], bytes):
            raise WireError(f"{what} are pairs of LSN and {HASH_BYTES} bytes")
        if len(item[1]) != HASH_BYTES:
            raise WireError(f"{what} have {HASH_BYTES} bytes")
        found[integer(item[0], "lsn", LSN_MAX)] = item[1]
    return found


def lowest_difference(mine: dict[int, bytes], theirs: dict[int, bytes], above: int) -> int | None:
    """The lowest LSN above ``above`` at which two sets of boots are not the same."""
    different = mine.items() ^ theirs.items()
    return min((lsn for lsn, _ in different if lsn > above), default=None)
