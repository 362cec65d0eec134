"""The memory budget: what the engine may hold at once, and who waits when it is used up.

1. Most of the limit is divided into *shares* that nobody borrows from another: heads wait for
   flushes, and a flush must never wait for heads. So every wait ends with work that needs no more
   memory.
2. ``reserve`` admits what fits into its share, or anything while the share is empty: one thing that
   is larger than its share must not wait for ever. Others wait in turn.
3. ``admit`` is for what stays until work elsewhere lets go of it: rows on their way into a head,
   and in it, until they are in parts.
4. Every wait is bounded. Then OverloadedError says so: nothing is refused silently.
5. What was let go of goes back to the system when the process has grown near the limit
   (allocator.py): the C library would keep it.

What is counted are the arrays that rows live in, as they were asked for. The interpreter, libraries
and mapped files are beside it: files belong to the page cache, which gives way.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mainstem_engine.allocator import Allocator
from mainstem_engine.errors import OverloadedError

SHARES = {
    "head": (3, 8),
    "log": (1, 8),
    "flush": (1, 8),
    "compaction": (1, 8),
    "scan": (1, 8),
}
"""Of what is counted. The head has most: one half takes rows while a flush writes the other. What
is left is for batches that callers hand in, and for what the allocator keeps."""

UNCOUNTED_BYTES = 24 << 20
"""Of the limit, beside the shares: what encoders, threads and indexes hold, however small the
limit. About as much was seen with limits of 64 to 256 MiB."""
UNCOUNTED_SHARE = (3, 8)
"""Of the limit, at most: there must be something to share."""

WAIT_S_MAX = 30.0
"""A writer waits so long for memory. A flush of a full head takes a few seconds on a slow disk."""
_LOOK_AGAIN_S = 1.0
"""How often a waiter checks whether the engine still works."""


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    """Bytes by share: now, at most since the start, allowed; and how often somebody waited.

    ``trims``: how often free memory was given back to the system since the start.
    """

    used: Mapping[str, int]
    peak: Mapping[str, int]
    limits: Mapping[str, int]
    waits: Mapping[str, int]
    trims: int = 0


def counted_bytes(limit_bytes: int) -> int:
    """What of a limit is divided into shares."""
    most, whole = UNCOUNTED_SHARE
    return limit_bytes - min(UNCOUNTED_BYTES, limit_bytes * most // whole)


class MemoryBudget:
    """See the module. Thread-safe. ``head_bytes_max``: where the head wants less than its share."""

    def __init__(
        self,
        limit_bytes: int,
        *,
        head_bytes_max: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        allocator: Allocator | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._allocator = allocator or Allocator(limit_bytes)
        self._monotonic = monotonic
        counted = counted_bytes(limit_bytes)
        self._limits = {name: counted * a // b for name, (a, b) in SHARES.items()}
        if head_bytes_max is not None:
            self._limits["head"] = min(self._limits["head"], head_bytes_max)
        self._used = dict.fromkeys(SHARES, 0)
        self._peak = dict.fromkeys(SHARES, 0)
        self._waits = dict.fromkeys(SHARES, 0)
        self._waiting = dict.fromkeys(SHARES, 0)
        self._watched: dict[str, Callable[[], int]] = {}
        self._room = threading.Condition()

    def watch(self, share: str, used: Callable[[], int]) -> None:
        """For a share that bounds itself: ``used()`` says its bytes when statistics are asked."""
        self._watched[share] = used

    def limit_of(self, share: str) -> int:
        """Bytes that a share may hold."""
        return self._limits[share]

    def used_by(self, share: str) -> int:
        """Bytes that a share holds now."""
        return self._used[share]

    @contextlib.contextmanager
    def reserve(self, share: str, nbytes: int) -> Iterator[None]:
        """Holds ``nbytes`` of a share for the body. Waits for room; raises OverloadedError."""
        limit = self._limits[share]
        with self._room:
            self._wait(
                share, lambda: not self._used[share] or self._used[share] + nbytes <= limit, None
            )
            self._add(share, nbytes)
        try:
            yield
        finally:
            self.give_back(share, nbytes)
            self._allocator.tidy()

    def tidy(self) -> None:
        """Gives what was let go of back to the system if it is time to; takes some tens of
        milliseconds then."""
        self._allocator.tidy()

    def take(self, share: str, nbytes: int) -> None:
        """Counts what is there already; never waits."""
        with self._room:
            self._add(share, nbytes)

    def give_back(self, share: str, nbytes: int) -> None:
        """Lets go of what was counted, and wakes those who wait."""
        with self._room:
            self._used[share] -= nbytes
            self._allocator.let_go(nbytes)
            self._room.notify_all()

    def admit(self, share: str, nbytes: int, ask: Callable[[], None]) -> None:
        """Takes ``nbytes`` of a share as soon as there is room for them; whoever lets go of them
        calls ``give_back``. Raises OverloadedError, and then nothing was taken.

        ``ask()`` is called, without a lock, before every wait: it asks for the work that makes room
        and raises what makes waiting useless.
        """
        limit = self._limits[share]
        with self._room:
            self._wait(
                share, lambda: not self._used[share] or self._used[share] + nbytes <= limit, ask
            )
            self._add(share, nbytes)
        self._allocator.relieve(nbytes)

    def is_waited_for(self, share: str) -> bool:
        """True while somebody waits for room: then less work than usual is worth doing."""
        return self._waiting[share] > 0

    def statistics(self) -> MemoryStatistics:
        watched = {share: used() for share, used in self._watched.items()}
        with self._room:
            for share, used in watched.items():
                self._used[share] = used
                self._peak[share] = max(self._peak[share], used)
            return MemoryStatistics(
                dict(self._used),
                dict(self._peak),
                dict(self._limits),
                dict(self._waits),
                self._allocator.trims,
            )

    def _add(self, share: str, nbytes: int) -> None:
        self._used[share] += nbytes
        self._peak[share] = max(self._peak[share], self._used[share])

    def _wait(self, share: str, fits: Callable[[], bool], ask: Callable[[], None] | None) -> None:
        """Under the lock, which ``ask`` runs without."""
        if fits():
            return
        self._waits[share] += 1
        self._waiting[share] += 1
        try:
            self._wait_until(share, fits, ask)
        finally:
            self._waiting[share] -= 1

    def _wait_until(
        self, share: str, fits: Callable[[], bool], ask: Callable[[], None] | None
    ) -> None:
        deadline = self._monotonic() + WAIT_S_MAX
        while not fits():
            if self._monotonic() > deadline:
                raise OverloadedError(
                    f"the memory for {share} is used up; work arrives faster than it is done",
                    retry_after_s=5.0,
                )
            if ask is not None:
                self._room.release()
                try:
                    ask()
                finally:
                    self._room.acquire()
                if fits():
                    return
            self._room.wait(_LOOK_AGAIN_S)
