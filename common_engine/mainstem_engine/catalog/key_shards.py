"""An immutable set of byte strings, each with a number, in tries that are mapped from a file.

1. The keys are sorted and cut into *shards* of at most SHARD_KEYS. Each shard is one trie. So
   building needs memory for one shard only, and holds the interpreter's lock for one shard at a
   time.
2. A key's number is how many keys the shards before its own have, plus its number in the shard's
   trie. Numbers are dense from 0, and mean nothing beyond this set.
3. A set that grows keeps, byte for byte, the tries of shards that no new key falls into. A shard
   with new keys is built anew, and cut in equal parts when it has become too large.
4. Keys that start with a prefix lie in neighbouring shards; all but the outermost hold no others.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

import marisa_trie
import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray

SHARD_KEYS = 1 << 14
"""Building a trie of so many keys takes 3 to 10 ms, in which no other thread runs. A quarter as
many take a fifth more space; four times as many, a tenth less."""

ABSENT = -1

Numbers = npt.NDArray[np.int64]
Trie = memoryview | bytes


class KeyShards:
    """The set. ``tries`` hold a reference to what they are mapped from."""

    __slots__ = ("_firsts", "_owner", "_starts", "_tries", "count")

    def __init__(
        self, tries: Sequence[Trie], firsts: Sequence[bytes], counts: Sequence[int]
    ) -> None:
        """``firsts``: the least key of each shard; ``counts``: how many keys each has. Raises
        RuntimeError for bytes of no trie."""
        self._owner = list(tries)
        self._tries = []
        for data in tries:
            trie = marisa_trie.BinaryTrie()
            trie.map(data)
            self._tries.append(trie)
        self._firsts = list(firsts)
        self._starts = [0, *itertools.accumulate(counts)]
        self.count = self._starts[-1]

    def __len__(self) -> int:
        return self.count

    def find(self, key: bytes) -> int:
        """The number of a key, ABSENT when it is not there."""
        shard = bisect_right(self._firsts, key) - 1
        if shard < 0:
            return ABSENT
        found = self._tries[shard].get(key)
        return ABSENT if found is None else self._starts[shard] + int(found)

    def find_many(self, keys: Sequence[bytes]) -> Numbers:
        """int64[n], ABSENT where a key is not there. Quicker where neighbours are in one shard."""
        return np.fromiter(self._found(keys), np.int64, count=len(keys))

    def _found(self, keys: Sequence[bytes]) -> Iterator[int]:
        firsts, low, get, start = self._firsts, b"", None, 0
        high: bytes | None = None
        for key in keys:
            if get is None or key < low or (high is not None and key >= high):
                shard = bisect_right(firsts, key) - 1
                if shard < 0:
                    yield ABSENT
                    continue
                low, get, start = firsts[shard], self._tries[shard].get, self._starts[shard]
                high = firsts[shard + 1] if shard + 1 < len(firsts) else None
            found = get(key)
            yield ABSENT if found is None else start + found

    def key(self, number: int) -> bytes:
        """Raises KeyError for a number that is not in the set."""
        if not 0 <= number < self.count:
            raise KeyError(number)
        shard = bisect_right(self._starts, number) - 1
        found: bytes = self._tries[shard].restore_key(number - self._starts[shard])
        return found

    def starting_with(self, prefix: bytes) -> Numbers:
        """Numbers of the keys that start with ``prefix``, in no order."""
        low = max(0, bisect_right(self._firsts, prefix) - 1)
        found: list[Numbers] = []
        for shard in range(low, len(self._tries)):
            start, end = self._starts[shard : shard + 2]
            if self._firsts[shard] > prefix and not self._firsts[shard].startswith(prefix):
                break
            behind = self._firsts[shard + 1] if shard + 1 < len(self._tries) else None
            if self._firsts[shard].startswith(prefix) and (behind or b"").startswith(prefix):
                found.append(np.arange(start, end))
            else:
                inside = [number for _, number in self._tries[shard].iteritems(prefix)]
                found.append(np.array(inside, np.int64) + start)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def sorted_pieces(self) -> Iterator[tuple[list[bytes], Numbers]]:
        """(keys, their numbers) of each shard; keys ascend over all pieces."""
        for shard in range(len(self._tries)):
            yield self._piece(shard)

    def _piece(self, shard: int) -> tuple[list[bytes], Numbers]:
        items = self._tries[shard].items()
        numbers = np.fromiter((number for _, number in items), np.int64, count=len(items))
        return [key for key, _ in items], numbers + self._starts[shard]

    def with_keys(
        self, keys: list[bytes], meant: AnyArray, meant_by: Callable[[Numbers], AnyArray]
    ) -> ShardBuilder:
        """This set and further keys (sorted, not in it) as a new one. ``meant`` says what each new
        key means, ``meant_by`` what those of this set do whose numbers it is given."""
        builder = ShardBuilder(self.count + len(keys))
        start = 0
        for shard, trie in enumerate(self._owner):
            # New keys up to the first of the next shard are this one's; the least of all is the
            # first shard's.
            last = shard + 1 == len(self._owner)
            end = len(keys) if last else bisect_left(keys, self._firsts[shard + 1], start)
            low, high = self._starts[shard : shard + 2]
            if start == end:
                builder.keep(trie, self._firsts[shard], meant_by(np.arange(low, high)))
                continue
            old, numbers = self._piece(shard)
            both = old + keys[start:end]
            order = sorted(range(len(both)), key=both.__getitem__)
            both_meant = np.concatenate([meant_by(numbers), meant[start:end]])[order]
            # Names that go on counting fill the last shard; elsewhere there shall be room.
            in_order = last and keys[start] > old[-1]
            builder.add([both[place] for place in order], both_meant, even=not in_order)
            start = end
        if not self._owner:
            builder.add(keys, meant, even=False)
        return builder


class ShardBuilder:
    """Builds the tries of a set from sorted, distinct keys, each greater than those before.

    Each key comes with an integer (what the caller calls it); ``payload`` has it by number.
    """

    def __init__(self, count: int) -> None:
        self.tries: list[Trie] = []
        self.firsts: list[bytes] = []
        self.counts: list[int] = []
        self.payload: npt.NDArray[np.uint32] = np.zeros(count, np.uint32)
        self._count = 0

    def keep(self, trie: Trie, first: bytes, meant: AnyArray) -> None:
        """A shard of another set as it is. ``meant`` by number."""
        self._put(trie, first, meant)

    def add(self, keys: list[bytes], meant: AnyArray, *, even: bool) -> None:
        """Further keys with what each means (uint32), in shards of their own: of the same size if
        ``even``, otherwise full ones and a rest."""
        shards = -(-len(keys) // SHARD_KEYS)
        size = -(-len(keys) // shards) if even and shards else SHARD_KEYS
        for start in range(0, len(keys), size):
            some = keys[start : start + size]
            trie = marisa_trie.BinaryTrie(some, order=marisa_trie.LABEL_ORDER)
            numbers = np.fromiter(map(trie.get, some), np.int64, count=len(some))
            by_number = np.empty(len(some), np.uint32)
            by_number[numbers] = meant[start : start + size]
            self._put(trie.tobytes(), some[0], by_number)

    def _put(self, trie: Trie, first: bytes, meant: AnyArray) -> None:
        self.payload[self._count : self._count + len(meant)] = meant
        self._count += len(meant)
        self.tries.append(trie)
        self.firsts.append(first)
        self.counts.append(len(meant))
