"""Answers of nodes below, kept to be used again while their owners say that they still hold.

1. An answer is kept with the stamp that came with it (stamps.py of the federation): it says from
   which state of the rows it was made.
2. Nothing is used unasked. The same question goes down again with the stamp; whoever answers says
   that nothing has changed, or answers anew. So an answer is never older than what asking would
   give, and a node that is away is missed, whatever is kept of it.
3. Bounded by bytes; what was not used for the longest time goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

BYTES_MAX = 64 << 20

SHARE_MAX = 8
"""One answer has at most an eighth of it: a listing of rows must not push everything else out."""

ENTRY_BYTES = 500
"""Of the objects around an answer."""

STAMP_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer. ``rows``: of its groups or rows, as its node said."""

    stamp: str
    raw: bytes
    rows: int


@dataclass(frozen=True, slots=True)
class KeptStatistics:
    """``held``: answers that still held; ``made``: those that came anew."""

    answers: int
    bytes: int
    held: int
    made: int


Key = tuple[str, bytes]
"""The child, and what it was asked."""


class KeptAnswers:
    """See the module. Thread-safe."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0
        self._held = 0
        self._made = 0

    def get(self, key: Key) -> Kept | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def holds(self) -> None:
        """Counts an answer that still held."""
        with self._lock:
            self._held += 1

    def put(self, key: Key, kept: Kept) -> None:
        """Keeps an answer in the place of an older one."""
        size = _size(key, kept)
        with self._lock:
            self._made += 1
            self._drop(key)
            if not kept.stamp or size > self._bytes_max // SHARE_MAX:
                return
            self._kept[key] = kept
            self._bytes += size
            while self._bytes > self._bytes_max:
                self._drop(next(iter(self._kept)))

    def forget(self, key: Key) -> None:
        with self._lock:
            self._drop(key)

    def statistics(self) -> KeptStatistics:
        with self._lock:
            return KeptStatistics(len(self._kept), self._bytes, self._held, self._made)

    def _drop(self, key: Key) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= _size(key, old)


def _size(key: Key, kept: Kept) -> int:
    return len(key[1]) + len(kept.raw) + ENTRY_BYTES
