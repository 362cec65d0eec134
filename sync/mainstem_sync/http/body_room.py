"""Room for the bodies of requests: bytes in memory while they arrive, in all and by child.

1. A body takes its room before it is read, in the order of arrival; its bytes stay in the
   connection until then.
2. A child has at most BODIES_PER_CHILD at a time, so that one with a dead link, or one that means
   harm, does not stand in the way of all others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator

from mainstem_sync.errors import BusyError

BODIES_PER_CHILD = 6
"""A child sends two requests and a HELLO; twice that, as those of a link that broke are noticed
only when they time out."""

BUSY_RETRY_S = 2.0
"""A child adds its jitter."""


class BodyRoom:
    """``bytes_max``: of all bodies. For one event loop."""

    def __init__(self, bytes_max: int) -> None:
        self._left = self._bytes_max = bytes_max
        self._children: Counter[str] = Counter()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def take(self, child: str, size: int) -> AsyncIterator[None]:
        """Waits for room for ``size`` bytes. BusyError at once when the child has its share."""
        if self._children[child] >= BODIES_PER_CHILD:
            raise BusyError(f"{child} has too many requests under way", retry_after_s=BUSY_RETRY_S)
        self._children[child] += 1
        size = min(size, self._bytes_max)
        try:
            await self._wait(size)
            try:
                yield
            finally:
                self._left += size
                self._wake()
        finally:
            self._children[child] -= 1
            if not self._children[child]:
                del self._children[child]

    async def _wait(self, size: int) -> None:
        if not self._waiting and size <= self._left:
            self._left -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._left += size  # it was given just now
            else:
                self._waiting.remove((size, turn))
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            size, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._left -= size
                turn.set_result(None)
