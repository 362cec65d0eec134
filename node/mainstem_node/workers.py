"""Threads for what would block the event loop, with a bound on how much may wait.

A pool has a fixed number of threads and takes at most ``waiting_max`` further calls; beyond that
it refuses at once (OverloadedError, answered as 503 with Retry-After), so that a slow disk or a
long statement never fills the memory with requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from mainstem_engine.errors import OverloadedError

CLOSE_S_MAX = 2.0
"""Of the ten seconds of a stop. What still runs then finds the engine closed and fails."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """Calls of one pool: in threads or waiting now, finished, and refused because it was full."""

    busy: int
    finished: int
    refused: int


class Workers:
    """A bounded pool of threads. Use it from the event loop only."""

    def __init__(self, name: str, *, threads: int, waiting_max: int) -> None:
        self.name = name
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"mainstem-{name}")
        self._busy_max = threads + waiting_max
        self._busy = 0
        self._idle = asyncio.Event()
        self._finished = 0
        self._refused = 0

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs ``call`` in a thread. OverloadedError when too many wait already.

        A cancelled caller leaves the call running: it keeps its place until it ends.
        """
        if self._busy >= self._busy_max:
            self._refused += 1
            raise OverloadedError(f"too many requests wait for {self.name}")
        self._busy += 1
        self._idle.clear()
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self._executor, functools.partial(call, *args, **kwargs))
        except BaseException:
            self._left()
            raise
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[R]) -> None:
        self._left()
        self._finished += 1
        if not future.cancelled():
            future.exception()  # seen: the caller may be gone

    def statistics(self) -> WorkerStatistics:
        return WorkerStatistics(self._busy, self._finished, self._refused)

    def _left(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def close(self) -> None:
        """No further calls; what runs has CLOSE_S_MAX to end, then it is left alone."""
        self._busy_max = 0
        if self._busy:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._idle.wait()
        self._executor.shutdown(wait=False, cancel_futures=True)
