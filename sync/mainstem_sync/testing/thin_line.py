"""A link with a rate and a long way, in virtual time: what it carries, and when it is idle.

1. Requests leave one after the other, each as long as its bytes and headers take at the rate, and
   arrive after the way; so do replies, on a lane of their own.
2. Both lanes of the sender are asked as the uplink over HTTP does it: again at once after a
   request, else when they said, or when a reply or a record wakes them.
3. Nothing is lost: it is about rates, not about faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mainstem_sync.receiving.receiver import Child, Reply
from mainstem_sync.sending.budget import PACKET_OVERHEAD, REQUEST_OVERHEAD_BYTES
from mainstem_sync.sending.flight import Lane
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.session import Request
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.testing.memory_nodes import MemoryNode

REPLY_OVERHEAD_BYTES = 200
"""Headers of an answer."""

SOON_S = 0.001
"""What a woken lane takes to look."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A request: its bytes without headers, and when it was on the link, s."""

    lane: Lane
    size: int
    made_s: float
    first_s: float
    last_s: float


@dataclass(slots=True)
class _Way:
    """One direction."""

    bytes_per_s: float
    free_s: float = 0.0

    def leave(self, now_s: float, size: float) -> tuple[float, float]:
        """When its first and its last byte leave."""
        first = max(now_s, self.free_s)
        self.free_s = first + size / self.bytes_per_s
        return first, self.free_s


@dataclass
class ThinLine:
    """From a child to its parent. ``way_s``: one way."""

    agenda: Agenda
    child: MemoryNode
    parent: MemoryNode
    bytes_per_s: float
    way_s: float
    carried: list[Carried] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._up, self._down = _Way(self.bytes_per_s), _Way(self.bytes_per_s)
        self._who = Child(self.child.name, self.child.paths)
        self._asked = dict.fromkeys(Lane, 0)
        self._woken = dict.fromkeys(Lane, float("inf"))
        sender = self.child.sender()
        assert sender is not None
        self._sender: Sender = sender
        sender.on_work = lambda: self._wake(Lane.LIVE, max(SOON_S, sender.gathers_s()))
        for lane in Lane:
            self._wake(lane, SOON_S)

    def share(self, lane: Lane, first_s: float, last_s: float) -> float:
        """Of what the line can carry between two moments, what requests of a lane were, without
        their headers."""
        size = sum(c.size for c in self.carried if c.lane is lane and first_s <= c.last_s <= last_s)
        return size / (self.bytes_per_s * (last_s - first_s))

    def idle_s(self, first_s: float, last_s: float) -> float:
        """Seconds between two moments in which nothing was on the line."""
        idle, at = 0.0, first_s
        for each in self.carried:
            if first_s < each.last_s and each.first_s < last_s:
                idle, at = idle + max(0.0, each.first_s - at), each.last_s
        return idle + max(0.0, last_s - at)

    def _wake(self, lane: Lane, seconds: float) -> None:
        at = self.agenda.now_s + seconds
        if at < self._woken[lane]:
            self._woken[lane] = at
            self._asked[lane] += 1
            number = self._asked[lane]
            self.agenda.after(seconds, lambda: self._ask(lane, number))

    def _ask(self, lane: Lane, number: int) -> None:
        if number != self._asked[lane]:
            return
        self._woken[lane] = float("inf")
        request = self._sender.next_request(lane)
        if lane is Lane.LIVE and self._sender.is_behind:
            self._wake(Lane.HISTORY, 0.0)
        if request is None:
            self._wake(lane, max(SOON_S, self._sender.wait_s(lane)))
            return
        self._send(lane, request)
        self._wake(lane, 0.0)

    def _send(self, lane: Lane, request: Request) -> None:
        now, size = self.agenda.now_s, len(request.body)
        whole = size * PACKET_OVERHEAD + REQUEST_OVERHEAD_BYTES
        first, last = self._up.leave(now, whole)
        self.carried.append(Carried(lane, size, now, first, last))
        self.agenda.after(last + self.way_s - now, lambda: self._arrive(request))

    def _arrive(self, request: Request) -> None:
        self.parent.serve(
            self._who, request.path, request.body, lambda reply: self._back(request, reply)
        )

    def _back(self, request: Request, reply: Reply) -> None:
        now = self.agenda.now_s
        _, last = self._down.leave(now, len(reply.body) + REPLY_OVERHEAD_BYTES)
        self.agenda.after(last + self.way_s - now, lambda: self._deliver(request, reply))

    def _deliver(self, request: Request, reply: Reply) -> None:
        self._sender.on_reply(request, reply.status, reply.body)
        for lane in Lane:
            self._wake(lane, SOON_S)
