"""When it is noted how far files are stored: seldom, and often enough to get on.

Every BOOK_S, and whenever PROGRESS_BYTES more are durable: a process that is killed every few
seconds in the middle of a large file goes on there, and does not begin it anew each time. A large
book is written more seldom in proportion: a memory card wears.
"""

from __future__ import annotations

BOOK_S = 10.0
"""A write of the book may be large: every second would wear a memory card."""
PROGRESS_BYTES = 4 << 20
"""A second of reading or less; the rows of so much text are many times a small book."""
PROGRESS_BOOKS = 16
"""So many times its own size, for a large book."""
SMALL_BYTES = 40_000
"""Of some hundred files."""
SLOWER_MAX = 6.0
"""A minute is the longest."""


class BookPace:
    """Of one book."""

    def __init__(self) -> None:
        self._noted_at = float("-inf")
        self._noted_bytes = 0

    def is_due(self, now: float, durable_bytes: int, book_bytes: int) -> bool:
        """True when it is to be written, and then not soon again. ``now``: monotonic seconds;
        ``durable_bytes``: counted since the start; ``book_bytes``: its size."""
        pause_s = BOOK_S * min(SLOWER_MAX, max(1.0, book_bytes / SMALL_BYTES))
        progress = max(PROGRESS_BYTES, PROGRESS_BOOKS * book_bytes)
        if now - self._noted_at < pause_s and durable_bytes - self._noted_bytes < progress:
            return False
        self._noted_at, self._noted_bytes = now, durable_bytes
        return True
