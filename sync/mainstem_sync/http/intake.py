"""Requests on their way into the log: taken by few threads, answered when they are durable.

1. What waits is taken by one thread, one request after the other. Decoding is Python: more threads
   would only wait for one another, and every hand-over costs as much as a small request does.
2. A thread that is held up (a disk that stands still, a full head) is joined by another one, up to
   a bound, so that it holds up nobody else.
3. Neither a thread nor a body waits for the disk. The committer makes the replies of what became
   durable with one commit, and wakes the event loop once for all of them.
4. Whoever is not durable in time is told what is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mainstem_sync.receiving.receiver import (
    Child,
    Receiver,
    Reply,
    Submission,
)
from mainstem_sync.state.patience import ACK_TIMEOUT_S

logger = logging.getLogger(__name__)

STUCK_S = 0.05
"""So long small requests wait behind one before another thread helps: some fifty of them."""

TOGETHER_MAX = 64
"""Requests of which the bodies are let go together."""

SWEEP_S = 1.0
"""How late the timeout of a request may be."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request. ``taken`` is called once, when its body is needed no more."""

    child: Child
    body: bytes
    taken: Callable[[], None]
    reply: asyncio.Future[Reply]
    submission: Submission | None = None
    submitted: float = 0.0


class Intake:
    """``usual`` threads take requests, and up to ``most`` while some are held up. ``offer`` is for
    one event loop."""

    def __init__(self, receiver: Receiver, name: str, *, usual: int, most: int) -> None:
        self._receiver = receiver
        self._usual = usual
        self._most = most
        self._threads = ThreadPoolExecutor(most, name)
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._running = 0
        self._moved = time.monotonic()
        """When a thread took or finished a request."""
        self._ready: list[tuple[_Waiting, Reply]] = []
        self._open: list[_Waiting] = []
        """Those that are answered go with the next sweep."""
        self._helping = self._sweeping = False

    def offer(self, child: Child, body: bytes, taken: Callable[[], None]) -> asyncio.Future[Reply]:
        """The reply to a request of batches, some time later."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(child, body, taken, loop.create_future())
        with self._lock:
            self._waiting.append(waiting)
            start = self._running < self._usual
            self._running += start
        if start:
            self._threads.submit(self._work, loop)
        elif not self._helping:
            self._helping = True
            loop.call_later(STUCK_S, self._help, loop)
        self._open.append(waiting)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_S, self._sweep, loop)
        return waiting.reply

    # On the event loop

    def _help(self, loop: asyncio.AbstractEventLoop) -> None:
        """Another thread, where requests wait and none was taken for a while."""
        with self._lock:
            stuck = time.monotonic() - self._moved >= STUCK_S
            start = bool(self._waiting) and stuck and self._running < self._most
            self._running += start
            self._helping = bool(self._waiting)
        if start:
            self._threads.submit(self._work, loop)
        if self._helping:
            loop.call_later(STUCK_S, self._help, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """What was not durable in time is answered by what is; it need not be known as lost."""
        limit = time.monotonic() - ACK_TIMEOUT_S
        self._open = [waiting for waiting in self._open if not waiting.reply.done()]
        late = [(w, w.submission) for w in self._open if w.submission and w.submitted < limit]
        if late:
            loop.run_in_executor(None, self._say_late, loop, late)
        self._sweeping = bool(self._open)
        if self._sweeping:
            loop.call_later(SWEEP_S, self._sweep, loop)

    def _let_go(self, some: list[_Waiting]) -> None:
        for waiting in some:
            waiting.taken()

    def _give(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, []
        for waiting, reply in ready:
            if not waiting.reply.done():
                waiting.reply.set_result(reply)

    def _fail(self, waiting: _Waiting, error: Exception) -> None:
        if not waiting.reply.done():
            waiting.reply.set_exception(error)

    # On threads

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes requests until none waits."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the node is stopping
            while self._take_some(loop):
                pass

    def _take_some(self, loop: asyncio.AbstractEventLoop) -> bool:
        taken: list[_Waiting] = []
        more = True
        while more and len(taken) < TOGETHER_MAX:
            with self._lock:
                self._moved = time.monotonic()
                if not self._waiting:
                    self._running -= 1
                    more = False
                    break
                waiting = self._waiting.popleft()
            taken.append(waiting)
            self._take(waiting, loop)
        if taken:
            loop.call_soon_threadsafe(self._let_go, taken)
        return more

    def _take(self, waiting: _Waiting, loop: asyncio.AbstractEventLoop) -> None:
        try:
            submission = self._receiver.submit(waiting.child, waiting.body)
        except Exception as error:  # the event loop answers it as it does any other
            loop.call_soon_threadsafe(self._fail, waiting, error)
            return
        waiting.body, waiting.submitted = b"", time.monotonic()
        waiting.submission = submission

        def notify() -> None:
            reply = self._receiver.reply(submission)
            with contextlib.suppress(RuntimeError):
                self._answer(waiting, reply, loop)

        submission.add_done_callback(notify)

    def _answer(self, waiting: _Waiting, reply: Reply, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            # Nothing in it: the loop was not told, or has gone through it since.
            tell = not self._ready
            self._ready.append((waiting, reply))
        if tell:
            loop.call_soon_threadsafe(self._give)

    def _say_late(
        self, loop: asyncio.AbstractEventLoop, late: list[tuple[_Waiting, Submission]]
    ) -> None:
        with contextlib.suppress(RuntimeError):
            for waiting, submission in late:
                self._answer(waiting, self._receiver.reply(submission), loop)
