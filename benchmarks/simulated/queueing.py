"""What a tier's core does in virtual time: requests wait for it, and other work shares it.

1. A tier has one core. That is what CPython gives to its threads; what numpy and the codecs do
   beside it on a second core is counted as if it were on this one.
2. Requests are taken in the order in which they came, a few at once. Those taken together share a
   write and a sync of the log.
3. What is not a request (handing on, manifests, proofs, flushes) is *background*: while there is
   some, it has half of the core. A job of it ends no sooner than that allows, and the next run of
   the same job begins after that.
4. How long anything takes was metered when it really ran; nothing else is known of it here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.wire.messages import HELLO_PATH
from simulated.tier import Answered, Post, Tier

AT_ONCE = 4
"""Requests of half a millisecond each that are taken while a sync goes on, and share the next."""

DISK_S = 0.002
"""Until a write is synced, on a server's disk. No core is busy meanwhile."""


@dataclass
class Core:
    """Seconds of one core, and who had them."""

    agenda: Agenda
    used: dict[str, float] = field(default_factory=dict)
    _owed: float = 0.0
    """Background work that was begun and is not yet paid for."""
    _seen: float = 0.0
    """Until when ``_owed`` is right."""
    _busy_until: float = 0.0

    def serve(self, seconds: float) -> float:
        """Work on requests from now on; returns how long it takes."""
        self._pay()
        shared = min(self._owed, seconds)
        self._owed -= shared
        self._note("requests", seconds)
        self._busy_until = self._seen = self.agenda.now_s + seconds + shared
        return seconds + shared

    def work(self, kind: str, seconds: float) -> float:
        """Background work; returns after how long it is done, at least."""
        self._pay()
        self._owed += seconds
        self._note(kind, seconds)
        is_serving = self._busy_until > self.agenda.now_s
        return self._owed * 2 if is_serving else self._owed

    def _pay(self) -> None:
        """The core had nothing else to do since it was last looked at."""
        idle = self.agenda.now_s - self._seen
        if idle > 0:
            self._owed = max(0.0, self._owed - idle)
            self._seen = self.agenda.now_s

    def _note(self, kind: str, seconds: float) -> None:
        self.used[kind] = self.used.get(kind, 0.0) + seconds


@dataclass(slots=True)
class _Waiting:
    post: Post
    answer: Callable[[Answered | None], None]


@dataclass
class Server:
    """The door of a tier: ``post`` in, answers out. ``request_s``: what HTTP spends on a request.
    A tier that is down refuses."""

    agenda: Agenda
    tier: Tier
    request_s: float
    sync_s: float = 0.0
    """What the kernel spends on one sync of the log, where the simulated disk is memory."""
    core: Core = field(init=False)
    is_up: bool = True
    requests: int = 0
    bytes: int = 0
    hellos: Counter[int] = field(default_factory=Counter)
    """By the second in which they arrived, refused ones included."""
    _queue: deque[_Waiting] = field(default_factory=deque)
    _is_busy: bool = False
    process: int = 0
    """Which one it is: the first, the second."""

    def __post_init__(self) -> None:
        self.core = Core(self.agenda)

    @property
    def waiting(self) -> int:
        """Requests that have arrived and are not begun."""
        return len(self._queue)

    def post(self, post: Post, answer: Callable[[Answered | None], None]) -> None:
        """A request arrives. ``answer`` gets the reply, or None where nobody listens."""
        if post.path == HELLO_PATH:
            self.hellos[int(self.agenda.now_s)] += 1
        if not self.is_up:
            answer(None)
            return
        self.requests += 1
        self.bytes += len(post.body)
        self._queue.append(_Waiting(post, answer))
        if not self._is_busy:
            self._begin()

    def kill(self) -> None:
        """The process is gone: whoever waits is told nothing but that."""
        self.is_up, self._is_busy = False, False
        self.process += 1
        self.tier.kill()
        waiting, self._queue = self._queue, deque()
        for item in waiting:
            item.answer(None)

    def start(self) -> float:
        """The process is started again on what it left; returns processor seconds of that."""
        seconds = self.tier.start(self.agenda.now_s)
        self.is_up = True
        return seconds

    def _begin(self) -> None:
        self._is_busy = True
        some = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
        answers, seconds = self.tier.serve(self.agenda.now_s, [item.post for item in some])
        lasts = self.core.serve(seconds + len(some) * self.request_s + self.sync_s)
        process = self.process

        def synced() -> None:
            for item, answer in zip(some, answers, strict=True):
                item.answer(answer if process == self.process else None)

        def done() -> None:
            if process != self.process:
                synced()
                return
            self.agenda.after(DISK_S, synced)
            if self._queue:
                self._begin()
            else:
                self._is_busy = False

        self.agenda.after(lasts, done)
