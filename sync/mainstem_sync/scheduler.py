"""How much of which queue goes into the next request.

1. Control goes first: what follows may need its definitions.
2. Live and history share the rest; history is guaranteed a quarter when both have something to
   send, and each gets all of it when the other has nothing.
3. The size of a request follows the link: doubled while replies come quickly, halved when they are
   slow or fail, so that a thin link always makes progress and a fast one is filled.
"""

from __future__ import annotations

RAW_BYTES_MAX = 4 << 20
"""Raw bytes of a request: one frame of the protocol's size, a few milliseconds to apply."""

RAW_BYTES_MIN = 16 << 10
"""About two seconds of a 64 kbit/s link: below it, headers would be most of what is sent."""

RAW_BYTES_START = 512 << 10
"""A first guess that any LAN takes at once and a thin link corrects in a few requests."""

HISTORY_SHARE = 0.25

BUDGET_S = 1.0
"""Compressed it is a quarter of a second or so."""

QUICK_S = 0.5
SLOW_S = 2.0
"""Between the two a request keeps its size: live data waits at most for one such request."""


class Scheduler:
    """Sizes in raw bytes. Not thread-safe."""

    def __init__(self) -> None:
        self.request_bytes = RAW_BYTES_START

    def bound(self, bytes_per_s: float | None) -> None:
        """The link has a budget: a request is no more than a second of it, uncompressed."""
        if bytes_per_s is not None:
            most = max(RAW_BYTES_MIN, int(bytes_per_s * BUDGET_S))
            self.request_bytes = min(self.request_bytes, most)

    def shares(self, *, live: bool, history: bool) -> tuple[int, int]:
        """(live, history) bytes of the next request. True: the queue has something to send."""
        if live and history:
            part = int(self.request_bytes * HISTORY_SHARE)
            return self.request_bytes - part, part
        return (self.request_bytes if live else 0), (self.request_bytes if history else 0)

    def replied(self, seconds: float, raw_bytes: int) -> None:
        """A request of so many raw bytes was acknowledged after so long."""
        if seconds > SLOW_S:
            self.failed()
        elif seconds < QUICK_S and raw_bytes >= self.request_bytes // 2:
            self.request_bytes = min(RAW_BYTES_MAX, self.request_bytes * 2)

    def failed(self) -> None:
        """A request was not answered in time, or the link broke."""
        self.request_bytes = max(RAW_BYTES_MIN, self.request_bytes // 2)
