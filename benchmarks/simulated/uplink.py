"""A child's connection to its parent in virtual time, driven as the HTTP client drives it.

1. Whoever has something to send is asked for it: at once when it says that there is work, unless
   it gathers rows, and no later than it asks for. Several requests may be under way.
2. A message takes its way. No answer within the client's time-out is a failure.
3. A question for orders (``GET /sync/v1/down``) always waits at the parent, and is answered when
   its time is over: nothing is to be carried out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mainstem_sync.http.client import REQUEST_TIMEOUT_S
from mainstem_sync.http.down_server import WAIT_S_MAX
from mainstem_sync.sending.session import Request
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.wire.frames import FrameType, decode_frames
from mainstem_sync.wire.messages import DOWN_PATH
from simulated.tier import Answered, Due, Post

WAY_S = 0.005
"""One way, from child to parent or back: the same town."""

LOOK_S_MIN = 0.001
"""Between two looks: what a wake-up of a thread takes."""

LEASE_RETRY_S = 1.0


class Source(Protocol):
    """Whoever has requests to post."""

    @property
    def name(self) -> str: ...

    def due(self) -> tuple[Due, float]:
        """What to post, and after how many seconds it is made."""

    def replied(self, request: Request, answer: Answered | None) -> None:
        """The answer, or None where there was none."""


class Door(Protocol):
    """Where requests arrive: a Server, or a stand-in."""

    def post(self, post: Post, answer: Callable[[Answered | None], None]) -> None:
        """``answer`` gets the reply, or None where nobody listens."""


class Uplink:
    """See the module. ``seen`` is told of each answer before the source is."""

    def __init__(self, agenda: Agenda, source: Source, server: Door) -> None:
        self.seen: Callable[[Request, Answered], None] = lambda request, answer: None
        self.posted: Callable[[Request], None] = lambda request: None
        self.bytes = 0
        self.requests = 0
        self._agenda = agenda
        self._source = source
        self._server = server
        self._look_at = float("inf")
        self._look = 0
        self._deaf_until = 0.0
        self._pending: dict[int, Request] = {}

    def wake(self) -> None:
        """There may be something to send."""
        self._look_in(max(LOOK_S_MIN, self._deaf_until - self._agenda.now_s))

    def reset(self) -> None:
        """The process at this end is gone: nobody waits for what is under way."""
        self._pending.clear()
        self._look_at, self._deaf_until = float("inf"), 0.0
        self._look += 1

    def pause(self) -> None:
        """Nothing goes until ``wake``: what is under way has failed."""
        pending = list(self._pending.values())
        self.reset()
        for request in pending:
            self._source.replied(request, None)
        self.reset()

    def _look_in(self, seconds: float) -> None:
        at = self._agenda.now_s + seconds
        if at < self._look_at:
            self._look_at = at
            self._look += 1
            number = self._look
            self._agenda.after(seconds, lambda: self._now(number))

    def _now(self, number: int) -> None:
        if number != self._look:
            return
        self._look_at = float("inf")
        found, after_s = self._source.due()
        for request in found.requests:
            self._pending[request.number] = request
            self._agenda.after(after_s, lambda request=request: self._post(request))  # type: ignore[misc]
        self._deaf_until = self._agenda.now_s + max(after_s, found.deaf_s)
        self._look_in(max(LOOK_S_MIN, found.wait_s, after_s))

    def _post(self, request: Request) -> None:
        self.requests += 1
        self.bytes += len(request.body)
        self.posted(request)
        agenda, post = self._agenda, Post(self._source.name, request.path, request.body)

        def arrive() -> None:
            self._server.post(post, answered)

        def answered(answer: Answered | None) -> None:
            agenda.after(WAY_S, lambda: self._back(request, answer))

        agenda.after(REQUEST_TIMEOUT_S, lambda: self._back(request, None))
        agenda.after(WAY_S, arrive)

    def _back(self, request: Request, answer: Answered | None) -> None:
        if self._pending.get(request.number) is not request:
            return
        del self._pending[request.number]
        if answer is not None:
            self.seen(request, answer)
        self._source.replied(request, answer)
        self.wake()


class Poll:
    """The long poll of one child, for as long as it has a lease."""

    def __init__(self, agenda: Agenda, child: str, server: Door, lease: Callable[[], str]) -> None:
        self._agenda = agenda
        self._child = child
        self._server = server
        self._lease = lease
        self._where: tuple[str, int, int, str] = ("", 0, 0, "")
        """Line and cursor, as the parent gave them."""

    def ask(self) -> None:
        """Again and again, from now on."""
        lease = self._lease()
        if not lease:
            self._agenda.after(LEASE_RETRY_S, self.ask)
            return
        post = Post(self._child, DOWN_PATH, b"", (lease, *self._where, 0))
        self._server.post(post, self._answered)

    def _answered(self, answer: Answered | None) -> None:
        wait_s = WAIT_S_MAX
        if answer is None or answer.status != 200:
            wait_s = LEASE_RETRY_S
        else:
            for frame in decode_frames(answer.body):
                if frame.type is FrameType.DOWN:
                    uuid, epoch = frame.header["line"]
                    wait_s = WAIT_S_MAX if self._where[0] == uuid else 0.0
                    self._where = (uuid, epoch, *frame.header["cursor"])
        self._agenda.after(wait_s, self.ask)
