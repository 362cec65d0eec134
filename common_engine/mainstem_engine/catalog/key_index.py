"""Byte strings in memory, each at its place in the order of addition: place to key, key to place.

1. The bytes of all keys are one growing array; a table of hashes leads to places. A key costs its
   bytes and about 25 more, a fraction of what a dictionary would.
2. Lists are looked up and added with a few array operations, however long they are.
3. Reads need no lock: the table gets a key last, and is replaced as a whole when it grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import eq
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.vector import Vector

_SLOTS_MIN = 64
ABSENT = -1
FEW_KEYS = 8
"""Up to so many keys are found sooner one by one."""

Places = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint32]


class KeyIndex:
    """See the module. One thread at a time adds."""

    __slots__ = ("_bytes", "_count", "_ends", "_hashes", "_slots")

    def __init__(self) -> None:
        self._bytes = Vector(np.uint8)
        self._ends = Vector(np.uint64, np.zeros(1, np.uint64))
        """Where each key ends; a 0 first, so that key i is [ends[i], ends[i + 1])."""
        self._hashes = Vector(np.uint32)
        self._slots: npt.NDArray[np.uint32] = np.zeros(_SLOTS_MIN, np.uint32)
        """Open addressing: a place + 1, or 0. At most two thirds are taken."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        vectors = self._bytes.nbytes + self._ends.nbytes + self._hashes.nbytes
        return vectors + self._slots.nbytes

    def key(self, place: int) -> bytes:
        """Raises IndexError."""
        if not 0 <= place < self._count:
            raise IndexError(place)
        return self._key_at(place)

    def keys(self, places: npt.NDArray[np.integer[Any]]) -> list[bytes]:
        """The keys at these places."""
        ends = self._ends.view()
        held = self._bytes.view().data
        starts, stops = ends[places].tolist(), ends[places + 1].tolist()
        return [bytes(held[a:b]) for a, b in zip(starts, stops, strict=True)]

    def between(self, start: int, stop: int) -> list[bytes]:
        """The keys from place ``start`` to before ``stop``."""
        ends = self._ends.view()[start : stop + 1].tolist()
        held = self._bytes.view()[ends[0] : ends[-1]].tobytes()
        first = ends[0]
        return [held[a - first : b - first] for a, b in itertools.pairwise(ends)]

    def find(self, key: bytes) -> int:
        """The place of a key, or ABSENT."""
        slots = self._slots
        mask = len(slots) - 1
        wanted = hash(key) & 0xFFFFFFFF
        slot = wanted & mask
        entry = slots.item(slot)
        if not entry:  # the usual case where most keys are in a base: nothing else is touched
            return ABSENT
        hashes = self._hashes.view()
        known = self._count
        while entry:
            # Beyond ``known`` are keys that are being added.
            alike = entry <= known and hashes.item(entry - 1) == wanted
            if alike and self._key_at(entry - 1) == key:
                return int(entry) - 1
            slot = (slot + 1) & mask
            entry = slots.item(slot)
        return ABSENT

    def _key_at(self, place: int) -> bytes:
        ends = self._ends.view()
        return self._bytes.view()[ends.item(place) : ends.item(place + 1)].tobytes()

    def find_many(self, keys: Sequence[bytes]) -> Places:
        """int64[n], ABSENT where a key is not there."""
        found = np.full(len(keys), ABSENT, np.int64)
        if not self._count:
            return found
        if len(keys) <= FEW_KEYS:
            found[:] = [self.find(key) for key in keys]
            return found
        slots, known = self._slots, self._count
        hashes = self._hashes.view()
        wanted = _hashes_of(keys)
        mask = np.uint32(len(slots) - 1)
        slot = wanted & mask
        open_rows = np.arange(len(keys))
        while len(open_rows):
            entry = slots[slot[open_rows]]
            taken = entry != 0
            open_rows, place = open_rows[taken], entry[taken].astype(np.int64) - 1
            # Beyond ``known`` are keys that are being added.
            alike = hashes[np.minimum(place, known - 1)] == wanted[open_rows]
            alike &= place < known
            rows, candidates = open_rows[alike], place[alike]
            asked = [keys[row] for row in rows.tolist()]
            equal = np.fromiter(map(eq, self.keys(candidates), asked), np.bool_, len(rows))
            found[rows[equal]] = candidates[equal]
            open_rows = open_rows[found[open_rows] == ABSENT]
            slot[open_rows] = (slot[open_rows] + np.uint32(1)) & mask
        return found

    def add(self, keys: Sequence[bytes]) -> None:
        """Adds keys that are not there, distinct, at the next places."""
        sizes = np.fromiter(map(len, keys), np.uint64, count=len(keys))
        end = np.uint64(self._ends[len(self._ends) - 1])
        hashes = _hashes_of(keys)
        first = self._count
        self._bytes.extend(np.frombuffer(b"".join(keys), np.uint8))
        self._ends.extend(np.cumsum(sizes, dtype=np.uint64) + end)
        self._hashes.extend(hashes)
        total = first + len(keys)
        if total * 3 > len(self._slots) * 2:
            size = 1 << (total * 2 - 1).bit_length()
            grown = np.zeros(size, np.uint32)
            _insert(grown, self._hashes.view(), 0)
            self._slots = grown
        else:
            _insert(self._slots, hashes, first)
        # Last: who knows the length finds every key below it, and nobody finds one that is not.
        self._count = total


def _hashes_of(keys: Sequence[bytes]) -> Hashes:
    return np.fromiter(map(hash, keys), np.int64, count=len(keys)).astype(np.uint32)


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
