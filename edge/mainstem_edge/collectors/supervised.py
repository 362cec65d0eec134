"""A collector whose source is talked to in sessions, and that starts the next one for ever.

1. One thread. A session ends when it raises (anything: a library's mistake is no reason to give
   up), returns, or is stopped. The next begins after a growing, jittered pause; a session that was
   in use begins with the shortest.
2. What a session brings waits on the queue. While that is full ``deliver`` waits, so that nothing
   more is read from the source.
3. A source that knows no acknowledgement gets none: its messages have the id 0.
"""

from __future__ import annotations

import abc
import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from mainstem_edge.collectors.health import Health
from mainstem_edge.collectors.interface import CollectorState, Message, Origin
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.reader import Reader

log = logging.getLogger("mainstem.collector")

BACKOFF_S_MIN = 0.2
"""What restarts is back within a second."""
BACKOFF_S_MAX = 30.0
"""What is away for long is still found within half a minute of its return."""
ROOM_POLL_S = 0.5
"""A stop is noticed within this while the queue is full."""


def next_pause_s(pause_s: float, was_used: bool, rng: random.Random) -> tuple[float, float]:
    """(the next pause without its jitter, the pause to take)."""
    grown = BACKOFF_S_MIN if was_used else max(BACKOFF_S_MIN, 2 * pause_s)
    grown = min(grown, BACKOFF_S_MAX)
    return grown, grown * rng.uniform(0.75, 1.25)


class Unacknowledged:
    """The connection of a source that wants no acknowledgement."""

    def acknowledge(self, ids: Sequence[int]) -> None: ...


class SupervisedCollector(abc.ABC):
    """One source. A subclass writes ``session``.

    ``rng`` for the jitter, ``clock_ns`` stamps arrivals.
    """

    kind: ClassVar[str]
    """As ``type`` in the configuration."""
    source_holds: ClassVar[bool] = True
    """False for a source that is asked: it keeps nothing for this collector."""

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        rng: random.Random | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.queue = queue
        self.readers = tuple(readers)
        self.health = Health(clock_ns)
        self.clock_ns = clock_ns
        self.origin: Origin = Unacknowledged()
        """The present connection; a session may put its own here."""
        self._rng = rng or random.Random()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._changed = threading.Event()
        """Set whenever there may be room, or the stop was asked for."""
        self._paused = False
        queue.on_room = self._has_room

    # For the session

    @abc.abstractmethod
    def session(self) -> None:
        """Talks to the source until ``stopping``; raises when it cannot go on.

        Calls ``health.connected()`` once the source answers and ``deliver`` for what it says.
        """

    @property
    def stopping(self) -> bool:
        """True once nothing more is to be read."""
        return self._stop.is_set() or self._paused

    def wait(self, seconds: float) -> bool:
        """Waits; True when the session is to end."""
        deadline = time.monotonic() + seconds
        while not self.stopping:
            rest = deadline - time.monotonic()
            if rest <= 0:
                return False
            self._stop.wait(min(rest, ROOM_POLL_S))
        return True

    def message(self, topic: str, payload: bytes, number: int = 0) -> Message:
        """A message that arrives now. ``number``: what to acknowledge it by, 0 for nothing."""
        return Message(topic, payload, self.clock_ns(), False, False, number, self.origin)

    def deliver(self, messages: Sequence[Message]) -> bool:
        """Hands messages on; waits while the queue is full. False if they were not taken, because
        the collector is to stop."""
        if not messages:
            return True
        while self.queue.is_full():
            if self.stopping:
                return False
            self._changed.wait(ROOM_POLL_S)
            self._changed.clear()
        self.health.arrived(messages)
        self.queue.put(messages)
        return True

    # The Collector interface

    def start(self) -> None:
        """Begins, and goes on for ever until stopped."""
        name = f"{self.kind}-{self.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Reads nothing more."""
        self._paused = True
        self._wake()

    def stop(self, timeout_s: float) -> None:
        """Ends the session and the thread. May be called twice."""
        self._stop.set()
        self._wake()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.warning("collector %s did not end within %g s", self.name, timeout_s)

    def state(self) -> CollectorState:
        """For the frontier."""
        health = self.health
        return CollectorState(
            self.origin, health.connected_ns, health.last_arrival_ns, self.source_holds,
            asks=not self.source_holds,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """Health for people: state, counts, the last error."""
        return {
            "name": self.name,
            "type": self.kind,
            **self.health.status(self.queue),
            **self.details(),
        }

    def details(self) -> dict[str, Any]:
        """What this kind shows besides. Plain data, no secrets."""
        return {}

    # The thread

    def _has_room(self) -> None:
        """A full queue has room again: called from the intake's thread."""
        self._changed.set()

    def _wake(self) -> None:
        """Ends waiting early; an asynchronous session is told by its own loop."""
        self._changed.set()

    def _run(self) -> None:
        grown = pause_s = 0.0
        while not self._stop.wait(pause_s) and not self._paused:
            self.health.connecting()
            connects = self.health.connects
            problem = self._attempt()
            was_used = self.health.connects > connects
            self.health.ended()
            if self.stopping:
                break
            if problem != self.health.error or was_used:
                log.warning("collector %s: %s", self.name, problem)
            self.health.failed(problem)
            grown, pause_s = next_pause_s(grown, was_used, self._rng)
        self.health.stopped()

    def _attempt(self) -> str:
        """One session; why it ended."""
        try:
            self.session()
        except Exception as error:
            if not isinstance(error, OSError | TimeoutError):
                log.debug("collector %s", self.name, exc_info=True)
            if type(error) is ConnectionError:  # a session's own words
                return str(error)
            return f"{type(error).__name__}: {error}".rstrip(": ")
        return "the source ended the session"


class AsyncCollector(SupervisedCollector):
    """A collector whose library speaks asyncio: the session is a coroutine, in a loop of its own.

    A stop cancels it; ``converse`` cleans up as any cancelled coroutine does.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[None] | None = None

    @abc.abstractmethod
    async def converse(self) -> None:
        """As ``session``."""

    def session(self) -> None:
        async def guarded() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.ensure_future(self.converse())
            if self.stopping:
                self._task.cancel()
            await self._task

        try:
            asyncio.run(guarded())
        except asyncio.CancelledError:
            if not self.stopping:
                raise ConnectionError("the session was cancelled") from None
        finally:
            self._loop = self._task = None

    async def hand_on(self, messages: Sequence[Message]) -> bool:
        """As ``deliver``, without holding up the session's loop."""
        if not self.queue.is_full():
            return self.deliver(messages)
        return await asyncio.to_thread(self.deliver, messages)

    def _wake(self) -> None:
        super()._wake()
        loop, task = self._loop, self._task
        if loop is None or task is None:
            return
        try:
            loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:  # the loop has just ended
            log.debug("collector %s had ended", self.name)
