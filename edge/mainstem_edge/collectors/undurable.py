"""What all collectors of an edge have brought and is not durable yet: one bound for all of them.

1. Counted are bytes of messages, from their arrival until their rows are durable: those that wait
   in a queue, and those of batches that the log has and the disk has not.
2. Beyond the bound collectors stop reading, and their sources keep the rest. However many
   collectors there are, and however often a broker connects anew and sends its whole window again,
   an edge with a slow disk holds no more.
3. A collector of which nothing waits may always bring one more read, and one of which nothing is
   open may always hand one more batch on: nobody is shut out by others, and all goes on.
"""

from __future__ import annotations

from collections.abc import Callable

SHARE = 8
"""The bound is an eighth of ``memory_limit``: as much as the queue of the log, into which these
messages go as rows."""


class Undurable:
    """See the module. Thread-safe: numbers are read as they are."""

    def __init__(self, memory_limit_bytes: int) -> None:
        self.bytes_max = memory_limit_bytes // SHARE
        self._queued: list[Callable[[], int]] = []
        self._opened: list[Callable[[], int]] = []

    def join(self, queued: Callable[[], int], opened: Callable[[], int]) -> None:
        """One collector more. Both say bytes of messages: that wait, and of open batches."""
        self._queued.append(queued)
        self._opened.append(opened)

    @property
    def queued_bytes(self) -> int:
        return sum(each() for each in self._queued)

    @property
    def opened_bytes(self) -> int:
        return sum(each() for each in self._opened)

    @property
    def is_full(self) -> bool:
        """True while nothing more should be read."""
        return self.queued_bytes + self.opened_bytes >= self.bytes_max

    @property
    def is_open_full(self) -> bool:
        """True while no batch more should be handed on. What waits does not count: it would keep
        the log from having the next batch while it syncs one."""
        return self.opened_bytes >= self.bytes_max
