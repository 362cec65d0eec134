"""Paths in memory, each at its place in the order of addition: place to path, path to place.

1. The text of all paths is one growing array of bytes; a table of hashes leads to places. A path
   costs its bytes and about 30 more, a third of what a dictionary of strings would.
2. Lists are looked up and added with a few array operations, however long they are.
3. Reads need no lock: the table gets a path last, and is replaced as a whole when it grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import eq

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.vector import Vector

_SLOTS_MIN = 64
ABSENT = -1

Places = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint32]


class PathIndex:
    """See the module. One thread at a time adds."""

    __slots__ = ("_count", "_ends", "_hashes", "_slots", "_text")

    def __init__(self) -> None:
        self._text = Vector(np.uint8)
        self._ends = Vector(np.uint64, np.zeros(1, np.uint64))
        """Where each path ends; a 0 first, so that path i is [ends[i], ends[i + 1])."""
        self._hashes = Vector(np.uint32)
        self._slots: npt.NDArray[np.uint32] = np.zeros(_SLOTS_MIN, np.uint32)
        """Open addressing: a place + 1, or 0. At most two thirds are taken."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        vectors = self._text.nbytes + self._ends.nbytes + self._hashes.nbytes
        return vectors + self._slots.nbytes

    def path(self, place: int) -> str:
        """Raises IndexError."""
        if not 0 <= place < self._count:
            raise IndexError(place)
        ends = self._ends.view()
        return self._text.view()[ends.item(place) : ends.item(place + 1)].tobytes().decode()

    def paths(self, places: npt.NDArray[np.integer]) -> list[str]:
        """The paths at these places."""
        ends = self._ends.view()
        text = memoryview(self._text.view())  # type: ignore[arg-type]
        starts, stops = ends[places].tolist(), ends[places + 1].tolist()
        return [str(text[a:b], "utf-8") for a, b in zip(starts, stops, strict=True)]

    def text(self, start: int, stop: int) -> list[bytes]:
        """The paths from place ``start`` to before ``stop``, as UTF-8."""
        ends = self._ends.view()[start : stop + 1].tolist()
        text = self._text.view()[ends[0] : ends[-1]].tobytes()
        first = ends[0]
        return [text[a - first : b - first] for a, b in itertools.pairwise(ends)]

    def find(self, path: str) -> int:
        """The place of a path, or ABSENT."""
        slots = self._slots
        mask = len(slots) - 1
        wanted = hash(path) & 0xFFFFFFFF
        slot = wanted & mask
        entry = slots.item(slot)
        if not entry:  # the usual case where most devices are in the base: nothing else is touched
            return ABSENT
        hashes = self._hashes.view()
        while entry:
            if hashes.item(entry - 1) == wanted and self._text_at(entry - 1) == path:
                return int(entry) - 1
            slot = (slot + 1) & mask
            entry = slots.item(slot)
        return ABSENT

    def _text_at(self, place: int) -> str:
        ends = self._ends.view()
        return self._text.view()[ends.item(place) : ends.item(place + 1)].tobytes().decode()

    def find_many(self, paths: Sequence[str]) -> Places:
        """int64[n], ABSENT where a path is not there."""
        found = np.full(len(paths), ABSENT, np.int64)
        if not self._count:
            return found
        slots, hashes = self._slots, self._hashes.view()
        wanted = _hashes_of(paths)
        mask = np.uint32(len(slots) - 1)
        slot = wanted & mask
        open_rows = np.arange(len(paths))
        while len(open_rows):
            entry = slots[slot[open_rows]]
            taken = entry != 0
            open_rows, place = open_rows[taken], entry[taken].astype(np.int64) - 1
            alike = hashes[place] == wanted[open_rows]
            rows, candidates = open_rows[alike], place[alike]
            asked = [paths[row] for row in rows.tolist()]
            equal = np.fromiter(map(eq, self.paths(candidates), asked), np.bool_, len(rows))
            found[rows[equal]] = candidates[equal]
            open_rows = open_rows[found[open_rows] == ABSENT]
            slot[open_rows] = (slot[open_rows] + np.uint32(1)) & mask
        return found

    def add(self, paths: Sequence[str]) -> None:
        """Adds paths that are not there, distinct, at the next places."""
        encoded = [path.encode() for path in paths]
        sizes = np.fromiter(map(len, encoded), np.uint64, count=len(encoded))
        end = np.uint64(self._ends[len(self._ends) - 1])
        hashes = _hashes_of(paths)
        first = self._count
        self._text.extend(np.frombuffer(b"".join(encoded), np.uint8))
        self._ends.extend(np.cumsum(sizes, dtype=np.uint64) + end)
        self._hashes.extend(hashes)
        total = first + len(encoded)
        if total * 3 > len(self._slots) * 2:
            size = 1 << (total * 2 - 1).bit_length()
            grown = np.zeros(size, np.uint32)
            _insert(grown, self._hashes.view(), 0)
            self._slots = grown
        else:
            _insert(self._slots, hashes, first)
        self._count = total


def _hashes_of(paths: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, paths), np.int64, count=len(paths)).astype(np.uint32)


def _insert(slots: npt.NDArray[np.uint32], hashes: Hashes, first: int) -> None:
    """Gives each place from ``first`` on the first free slot from that of its hash on."""
    mask = np.uint32(len(slots) - 1)
    slot = hashes & mask
    waiting = np.arange(len(hashes))
    entries = (waiting + first + 1).astype(np.uint32)
    while len(waiting):
        at = slot[waiting]
        free = slots[at] == 0
        # Of several that want one slot the last gets it; the others go on.
        slots[at[free]] = entries[waiting[free]]
        waiting = waiting[slots[at] != entries[waiting]]
        slot[waiting] = (slot[waiting] + np.uint32(1)) & mask
