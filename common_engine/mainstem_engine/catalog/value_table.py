"""The distinct values of one tag, each with a number, mapped from a file and found by hash.

1. Numbers are in the order in which the values came, from 0, and never change while all of them
   are in use. So a table that grows keeps its full shards byte for byte, and every code with them.
2. A *shard* holds the bytes of up to VALUES_PER_SHARD neighbouring values, with where each ends.
3. The crc32 of all values, sorted, with the number of each, leads from a value to its number: a
   binary search, then the values of that hash are compared. It follows from the shards, so a
   repair can compute it.

A trie of a million different values took a second to build and ten of them to merge one by one;
here values are never sorted, and a merge is a few array operations. It takes twice the bytes,
all of them mapped.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import eq
from zlib import crc32

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.key_shards import ABSENT, Numbers
from mainstem_engine.model import AnyArray

VALUES_PER_SHARD = 1 << 16
"""What one damaged byte may cost, and what a merge writes anew of a table: about a megabyte."""
SHARD_BYTES_MAX = 64 << 20
"""Of the bytes of a shard, unless one value has more; far from what u32 can say."""

_HASHED = 1 << 13
"""Values hashed at a time, in less than a millisecond, in which no other thread runs."""

Hashes = npt.NDArray[np.uint32]
Shard = memoryview | bytes


@dataclass(frozen=True, slots=True)
class StoredValues:
    """A table as sections of a file: shards, the number of values in each, and the way back."""

    shards: list[Shard]
    counts: list[int]
    hashes: Hashes
    numbers: npt.NDArray[np.uint32]

    @property
    def count(self) -> int:
        return len(self.hashes)


class ValueTable:
    """The table. For any number of threads."""

    __slots__ = ("_ends", "_hashes", "_held", "_numbers", "_shards", "_starts", "count")

    def __init__(self, stored: StoredValues) -> None:
        """Raises ValueError when its parts do not fit together."""
        self._shards = list(stored.shards)
        self._starts = [0, *itertools.accumulate(stored.counts)]
        self._ends: list[AnyArray] = []
        self._held: list[Shard] = []
        for data, count in zip(stored.shards, stored.counts, strict=True):
            ends, held = shard_parts(data, count)
            self._ends.append(ends)
            self._held.append(held)
        self._hashes, self._numbers = stored.hashes, stored.numbers
        self.count = self._starts[-1]
        if not len(self._hashes) == len(self._numbers) == self.count:
            raise ValueError(f"{len(self._hashes)} hashes for {self.count} values")

    def __len__(self) -> int:
        return self.count

    def key(self, number: int) -> bytes:
        """Raises KeyError for a number that is not in the table."""
        if not 0 <= number < self.count:
            raise KeyError(number)
        shard = bisect_right(self._starts, number) - 1
        place, ends = number - self._starts[shard], self._ends[shard]
        start = ends.item(place - 1) if place else 0
        return bytes(self._held[shard][start : ends.item(place)])

    def find(self, key: bytes) -> int:
        """The number of a value, ABSENT when it is not there."""
        wanted = crc32(key)
        place = int(self._hashes.searchsorted(np.uint32(wanted)))
        return self._compared(key, wanted, place)

    def find_many(self, keys: Sequence[bytes]) -> Numbers:
        """int64[n], ABSENT where a value is not there. Those whose hash is not there cost next to
        nothing."""
        found = np.full(len(keys), ABSENT, np.int64)
        if not self.count or not len(keys):
            return found
        wanted = hashes_of(keys)
        places = self._hashes.searchsorted(wanted)
        alike = self._hashes[np.minimum(places, self.count - 1)] == wanted
        rows = np.flatnonzero(alike)
        numbers = self._numbers[places[rows]].astype(np.int64)
        asked = [keys[row] for row in rows.tolist()]
        equal = np.fromiter(map(eq, self._keys_at(numbers), asked), np.bool_, len(rows))
        found[rows[equal]] = numbers[equal]
        for row in rows[~equal].tolist():  # another value of the same hash comes first
            found[row] = self._compared(keys[row], wanted.item(row), places.item(row))
        return found

    def _keys_at(self, numbers: Numbers) -> list[bytes]:
        """The values of these numbers."""
        if len(self._shards) > 1:
            return list(map(self.key, numbers.tolist()))
        ends, held = self._ends[0], self._held[0]
        starts = np.where(numbers == 0, 0, ends[np.maximum(numbers, 1) - 1])
        pairs = zip(starts.tolist(), ends[numbers].tolist(), strict=True)
        return [bytes(held[a:b]) for a, b in pairs]

    def _compared(self, key: bytes, wanted: int, place: int) -> int:
        hashes = self._hashes
        while place < self.count and hashes.item(place) == wanted:
            number: int = self._numbers.item(place)
            if self.key(number) == key:
                return number
            place += 1
        return ABSENT

    def keys(self) -> Iterator[bytes]:
        """All values in order of their numbers."""
        for ends, held in zip(self._ends, self._held, strict=True):
            yield from keys_between(ends, held)

    def with_keys(self, keys: Sequence[bytes]) -> StoredValues:
        """This table and further values, distinct and not in it, behind them."""
        shards, counts = list(self._shards), [len(ends) for ends in self._ends]
        room = bool(counts) and counts[-1] < VALUES_PER_SHARD
        if room and len(keys) and len(self._held[-1]) < SHARD_BYTES_MAX:
            last = [*keys_between(self._ends[-1], self._held[-1]), *keys]
            del shards[-1], counts[-1]
        else:
            last = list(keys)
        for some in _cut(last):
            shards.append(shard_of(some))
            counts.append(len(some))
        added = hashes_of(keys)
        order = np.argsort(added, kind="stable")
        places = self._hashes.searchsorted(added[order], side="right")
        numbers = (order + self.count).astype(np.uint32)
        return StoredValues(
            shards,
            counts,
            np.insert(self._hashes, places, added[order]),
            np.insert(self._numbers, places, numbers),
        )


NO_VALUES = StoredValues([], [], np.empty(0, np.uint32), np.empty(0, np.uint32))


def stored_values(keys: Sequence[bytes]) -> StoredValues:
    """A new table of distinct values."""
    return ValueTable(NO_VALUES).with_keys(keys)


def shard_of(keys: Sequence[bytes]) -> bytes:
    """The bytes of a shard: where each value ends, u32, and the values."""
    ends = np.cumsum(np.fromiter(map(len, keys), np.int64, count=len(keys)))
    return ends.astype("<u4").tobytes() + b"".join(keys)


def shard_parts(data: Shard, count: int) -> tuple[AnyArray, Shard]:
    """(ends u32[count], bytes) of a shard. Raises ValueError when it has not so many values."""
    ends, held = np.frombuffer(data, "<u4", count), data[4 * count :]
    if count and ends.item(count - 1) != len(held):
        raise ValueError(f"a shard of {count} values ends at {len(held)} bytes")
    return ends, held


def keys_between(ends: AnyArray, held: Shard) -> list[bytes]:
    """The values of a shard."""
    return [bytes(held[a:b]) for a, b in itertools.pairwise([0, *ends.tolist()])]


def hashes_of(keys: Sequence[bytes]) -> Hashes:
    """uint32[n]; the same in every process, as Python's own are not."""
    found = np.empty(len(keys), np.uint32)
    for start in range(0, len(keys), _HASHED):
        some = keys[start : start + _HASHED]
        found[start : start + len(some)] = np.fromiter(map(crc32, some), np.uint32, len(some))
    return found


def _cut(keys: list[bytes]) -> Iterator[list[bytes]]:
    """Neighbours that go into one shard."""
    start, held = 0, 0
    for place, key in enumerate(keys):
        held += len(key)
        if place > start and (place - start == VALUES_PER_SHARD or held > SHARD_BYTES_MAX):
            yield keys[start:place]
            start, held = place, len(key)
    if keys:
        yield keys[start:]
