"""What a node does by itself: periodic asyncio jobs, and a watchdog over the event loop.

1. A job runs, then sleeps what is left of its period; two runs of one job never overlap.
2. A job that raises is logged, counted and tried again after its period: one bad run must not end
   the others. The same failure is logged again only after ``REPEAT_LOG_S``.
3. The watchdog sleeps for a moment and measures how much later it woke: that is how long something
   held up the loop. More than 50 ms is logged as a defect of this program.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mainstem_node.logs import fields

log = logging.getLogger("mainstem.jobs")

LOOP_LAG_S_MAX = 0.05
"""Nothing blocks the loop for longer: a heartbeat or an acknowledgement would wait."""
WATCHDOG_PERIOD_S = 0.25
REPEAT_LOG_S = 60.0


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """Runs of one job, how many failed, and the last error (empty if the last run was fine)."""

    name: str
    runs: int
    failures: int
    error: str


class Job:
    """One periodic job. ``work`` is awaited every ``period_s``."""

    def __init__(self, name: str, period_s: float, work: Callable[[], Awaitable[object]]) -> None:
        self.name = name
        self.period_s = period_s
        self._work = work
        self._runs = 0
        self._failures = 0
        self._error = ""
        self._logged_at = float("-inf")

    async def run(self) -> None:
        """For ever, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await self.run_once()
            await asyncio.sleep(max(0.0, self.period_s - (loop.time() - started)))

    async def run_once(self) -> None:
        """One run; an error is counted and logged, not raised."""
        self._runs += 1
        try:
            await self._work()
            self._error = ""
        except Exception as error:
            self._failures += 1
            now = asyncio.get_running_loop().time()
            text = f"{type(error).__name__}: {error}"
            if text != self._error or now - self._logged_at >= REPEAT_LOG_S:
                self._logged_at = now
                log.exception("a job failed", extra=fields(job=self.name, failures=self._failures))
            self._error = text

    def statistics(self) -> JobStatistics:
        return JobStatistics(self.name, self._runs, self._failures, self._error)


class Jobs:
    """The jobs of a node, each a task of its own."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, name: str, period_s: float, work: Callable[[], Awaitable[object]]) -> Job:
        """Start a job now."""
        job = Job(name, period_s, work)
        self._jobs.append(job)
        self._tasks.append(asyncio.get_running_loop().create_task(job.run(), name=f"job {name}"))
        return job

    async def stop(self) -> None:
        """Cancel all jobs and wait for them."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def statistics(self) -> list[JobStatistics]:
        return [job.statistics() for job in self._jobs]


async def watch_loop(observe: Callable[[float], None]) -> None:
    """Reports by how many seconds the loop was held up, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(WATCHDOG_PERIOD_S)
        lag_s = max(0.0, loop.time() - before - WATCHDOG_PERIOD_S)
        observe(lag_s)
        if lag_s > LOOP_LAG_S_MAX:
            log.debug("the event loop was held up", extra=fields(lag_ms=round(lag_s * 1000)))
