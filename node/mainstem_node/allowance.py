"""At most so many of something in any minute's worth of time: a token bucket."""

from __future__ import annotations

import time
from collections.abc import Callable

MINUTE_S = 60.0


class Allowance:
    """``per_minute`` are there at the start. Not thread-safe: callers hold a lock of their own."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._left = float(per_minute)
        self._at = monotonic()

    def give_back(self, count: int) -> None:
        """Of what was taken, this was not needed."""
        self._left = min(float(self._per_minute), self._left + count)

    def take(self, count: int) -> int:
        """As many of ``count`` as there is room for."""
        now = self._monotonic()
        refill = (now - self._at) * self._per_minute / MINUTE_S
        self._left = min(float(self._per_minute), self._left + refill)
        self._at = now
        taken = min(count, int(self._left))
        self._left -= taken
        return taken
