"""Room for the bodies of requests: bytes in memory while they arrive, in all and by child.

1. A body takes its room before it is read, in the order of arrival; its bytes stay in the
   connection until then.
2. A child has at most half of the room and BODIES_PER_CHILD bodies at a time, so that one with a
   dead link, or one that means harm, does not stand in the way of all others. What is beyond the
   half waits aside, what is beyond the number is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from mainstem_sync.errors import BusyError

BODIES_PER_CHILD = 40
"""On a link with a long way sixteen requests of each lane are under way, and some of a link that
broke are noticed only when they time out. Bytes are what counts."""

CHILD_SHARE = 0.5

BUSY_RETRY_S = 2.0
"""A child adds its jitter."""


@dataclass(slots=True, eq=False)
class _Turn:
    """One that waits."""

    child: str
    size: int
    given: asyncio.Future[None]


class BodyRoom:
    """``bytes_max``: of all bodies. For one event loop."""

    def __init__(self, bytes_max: int) -> None:
        self._left = self._bytes_max = bytes_max
        self._children: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._waiting: list[_Turn] = []

    @contextlib.asynccontextmanager
    async def take(self, child: str, size: int) -> AsyncIterator[None]:
        """Room for ``size`` bytes as long as the body lasts; see ``enter``."""
        leave = await self.enter(child, size)
        try:
            yield
        finally:
            leave()

    async def enter(self, child: str, size: int) -> Callable[[], None]:
        """Waits for room for ``size`` bytes; what it returns gives them back, and is to be called
        once. BusyError at once when the child has its number."""
        if self._children[child] >= BODIES_PER_CHILD:
            raise BusyError(f"{child} has too many requests under way", retry_after_s=BUSY_RETRY_S)
        self._children[child] += 1
        size = min(size, self._bytes_max)
        try:
            await self._wait(child, size)
        except BaseException:
            self._leave(child)
            raise

        def leave() -> None:
            self._give_back(child, size)
            self._leave(child)

        return leave

    def _leave(self, child: str) -> None:
        self._children[child] -= 1
        if not self._children[child]:
            del self._children[child]
            del self._held[child]

    async def _wait(self, child: str, size: int) -> None:
        if not self._waiting and size <= self._left and not self._held[child]:
            self._left -= size
            self._held[child] = size
            return
        turn = _Turn(child, size, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._wake()
        try:
            await turn.given
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._wake()
            else:
                self._give_back(child, size)  # it was given just now
            raise

    def _give_back(self, child: str, size: int) -> None:
        self._left += size
        self._held[child] -= size
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        """Room for those whose turn it is: the first, but for children that have their half."""
        waiting, self._waiting = self._waiting, []
        for at, turn in enumerate(waiting):
            held = self._held[turn.child]
            if held and held + turn.size > self._bytes_max * CHILD_SHARE:
                self._waiting.append(turn)
            elif turn.size <= self._left:
                self._left -= turn.size
                self._held[turn.child] += turn.size
                if not turn.given.done():
                    turn.given.set_result(None)
            else:
                self._waiting += waiting[at:]
                return
