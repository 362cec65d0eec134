"""Who runs statements now: so many of a role, so many in all, and a bounded queue before that.

1. A caller waits first for a place of its role, then for one of all. A role that uses up its places
   keeps no other role from its own.
2. As many run in all as there are child processes, so that whoever has a place has a process too.
3. Who waits longer than its statement's time, or finds too many waiting, is told to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from mainstem_engine.errors import OverloadedError

WAITING_MAX = 32
"""Per role. Behind them a statement would wait for longer than anybody looks at a screen."""


class StatementGate:
    """The places of one node. Use it from the event loop only."""

    def __init__(self, concurrency: Mapping[str, int], processes: int) -> None:
        """``concurrency``: places by role."""
        self._roles = {role: asyncio.Semaphore(places) for role, places in concurrency.items()}
        self._all = asyncio.Semaphore(processes)
        self._waiting = dict.fromkeys(concurrency, 0)
        self.refused = 0
        """Statements that were told to come again."""

    @asynccontextmanager
    async def entered(self, role: str, wait_s: float) -> AsyncIterator[None]:
        """Holds a place of ``role``. OverloadedError when there is none within ``wait_s``."""
        if self._waiting[role] >= WAITING_MAX:
            self.refused += 1
            raise OverloadedError(f"{WAITING_MAX} statements of the role {role} are waiting")
        held: list[asyncio.Semaphore] = []
        self._waiting[role] += 1
        try:
            try:
                async with asyncio.timeout(wait_s):
                    for semaphore in (self._roles[role], self._all):
                        await semaphore.acquire()
                        held.append(semaphore)
            except TimeoutError:
                self.refused += 1
                raise OverloadedError("no place became free in the statement's time") from None
            finally:
                self._waiting[role] -= 1
            yield
        finally:
            for semaphore in held:
                semaphore.release()

    def waiting(self) -> int:
        """Statements that wait for a place."""
        return sum(self._waiting.values())
