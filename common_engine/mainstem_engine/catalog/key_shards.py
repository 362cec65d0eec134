"""An immutable set of byte strings, each with a number, in tries that are mapped from a file.

1. The keys are sorted and cut into *shards* of SHARD_KEYS; only the last may have fewer. Each shard
   is one trie. So building needs memory for one shard only, and holds the interpreter's lock
   for one shard at a time.
2. A key's number is the first number of its shard plus its number in the shard's trie. Numbers are
   dense from 0, and mean nothing beyond this set.
3. Keys that start with a prefix lie in neighbouring shards; all but the outermost hold no others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import marisa_trie
import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray

SHARD_KEYS = 1 << 16
"""Building a trie of so many keys takes up to 0.1 s, in which no other thread runs."""

ABSENT = -1

Numbers = npt.NDArray[np.int64]


class KeyShards:
    """The set. ``tries`` hold a reference to what they are mapped from."""

    __slots__ = ("_firsts", "_owner", "_tries", "count")

    def __init__(
        self, tries: Sequence[memoryview | bytes], firsts: Sequence[bytes], count: int
    ) -> None:
        """``firsts``: the least key of each shard. Raises RuntimeError for bytes of no trie."""
        self._owner = list(tries)
        self._tries = []
        for data in tries:
            trie = marisa_trie.BinaryTrie()
            trie.map(data)
            self._tries.append(trie)
        self._firsts = list(firsts)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def find(self, key: bytes) -> int:
        """The number of a key, ABSENT when it is not there."""
        shard = bisect_right(self._firsts, key) - 1
        if shard < 0:
            return ABSENT
        found = self._tries[shard].get(key)
        return ABSENT if found is None else shard * SHARD_KEYS + int(found)

    def find_many(self, keys: Sequence[bytes]) -> Numbers:
        """int64[n], ABSENT where a key is not there."""
        return np.fromiter(map(self.find, keys), np.int64, count=len(keys))

    def key(self, number: int) -> bytes:
        """Raises KeyError for a number that is not in the set."""
        shard, inside = divmod(number, SHARD_KEYS)
        if not 0 <= number < self.count:
            raise KeyError(number)
        found: bytes = self._tries[shard].restore_key(inside)
        return found

    def starting_with(self, prefix: bytes) -> Numbers:
        """Numbers of the keys that start with ``prefix``, in no order."""
        low = max(0, bisect_right(self._firsts, prefix) - 1)
        found: list[Numbers] = []
        for shard in range(low, len(self._tries)):
            start = shard * SHARD_KEYS
            if self._firsts[shard] > prefix and not self._firsts[shard].startswith(prefix):
                break
            end = min(start + SHARD_KEYS, self.count)
            behind = self._firsts[shard + 1] if shard + 1 < len(self._tries) else None
            if self._firsts[shard].startswith(prefix) and (behind or b"").startswith(prefix):
                found.append(np.arange(start, end))
            else:
                inside = [number for _, number in self._tries[shard].iteritems(prefix)]
                found.append(np.array(inside, np.int64) + start)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def sorted_pieces(self) -> Iterator[tuple[list[bytes], Numbers]]:
        """(keys, their numbers) of each shard; keys ascend over all pieces."""
        for shard, trie in enumerate(self._tries):
            items = trie.items()
            numbers = np.fromiter((number for _, number in items), np.int64, count=len(items))
            yield [key for key, _ in items], numbers + shard * SHARD_KEYS


class ShardBuilder:
    """Builds the tries of a set from sorted, distinct keys that come in pieces.

    Each key comes with an integer (what the caller calls it); ``payload`` has it by number.
    """

    def __init__(self, count: int) -> None:
        self.tries: list[bytes] = []
        self.firsts: list[bytes] = []
        self.payload: npt.NDArray[np.uint32] = np.zeros(count, np.uint32)
        self._keys: list[bytes] = []
        self._meant: list[AnyArray] = []

    def add(self, keys: list[bytes], meant: AnyArray) -> None:
        """Further keys, all greater than those before, with what each means (uint32)."""
        self._keys += keys
        self._meant.append(meant)
        if len(self._keys) >= SHARD_KEYS:
            meant = np.concatenate(self._meant)
            while len(self._keys) >= SHARD_KEYS:
                self._cut(self._keys[:SHARD_KEYS], meant[:SHARD_KEYS])
                self._keys, meant = self._keys[SHARD_KEYS:], meant[SHARD_KEYS:]
            self._meant = [meant]

    def finish(self) -> None:
        """Ends the last shard."""
        if self._keys:
            self._cut(self._keys, np.concatenate(self._meant))
            self._keys, self._meant = [], []

    def _cut(self, keys: list[bytes], meant: AnyArray) -> None:
        trie = marisa_trie.BinaryTrie(keys, order=marisa_trie.LABEL_ORDER)
        start = len(self.tries) * SHARD_KEYS
        numbers = np.fromiter(map(trie.get, keys), np.int64, count=len(keys)) + start
        self.payload[numbers] = meant
        self.tries.append(trie.tobytes())
        self.firsts.append(keys[0])
