"""The network of a simulation: one wire from a child to its parent, in virtual time.

1. Requests and replies take their time, each its own: they overtake each other. They are lost,
   doubled (the second one up to ten minutes late, at the same process), changed by a bit, or
   refused.
2. The weather of a wire says how often. A half-open wire swallows everything in silence; a portal
   answers 200 to everything, and is nobody's parent.
3. Nobody is told of a loss: a request without an answer fails after the client's time-out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from mainstem_sync.receiving.receiver import Child, Reply
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.session import LinkState, Request
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.network import flipped
from mainstem_sync.testing.real_nodes import RealNode

Node = MemoryNode | RealNode

TIMEOUT_S = 30.0
"""The client's own."""
IDLE_S = (6.0, 36.0)
"""How often an idle child looks by itself; far less often than a real one, which changes nothing
but how long a run takes."""
BUSY_S = (1.0, 4.0)
"""The same while everything is to be delivered."""
LATE_S_MAX = 600.0
"""A packet that was stuck somewhere."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Chances per message, 0 to 1; ``latency_s`` one way, at most."""

    lose_request: float = 0.0
    lose_reply: float = 0.0
    duplicate: float = 0.0
    flip: float = 0.0
    latency_s: float = 0.05
    cut: bool = False
    half_open: bool = False
    portal: bool = False
    replay: bool = False
    """Doubled requests reach later processes of the parent, too, as a proxy may do it."""


CALM = Weather()


class Wire:
    """See the module."""

    def __init__(self, agenda: Agenda, child: Node, parent: Node, rng: random.Random) -> None:
        self.weather = CALM
        self.idle_s = IDLE_S
        self.requests = 0
        self._agenda = agenda
        self._child = child
        self._parent = parent
        self._rng = rng
        self._who = Child(child.name, child.paths)
        self._pump_at = float("inf")
        self._pumping = 0
        child.on_work = self.wake

    def wake(self) -> None:
        """There may be something to send."""
        self._pump_in(self._rng.uniform(0.001, 0.6))

    def _pump_in(self, seconds: float) -> None:
        at = self._agenda.now_s + seconds
        if at < self._pump_at:
            self._pump_at = at
            self._pumping += 1
            number = self._pumping
            self._agenda.after(seconds, lambda: self._pump(number))

    def _pump(self, number: int) -> None:
        if number != self._pumping:
            return
        self._pump_at = float("inf")
        sender = self._child.sender()
        if sender is None:
            return
        while (request := sender.next_request()) is not None:
            self._send(sender, request)
        idle_s = self._rng.uniform(*self.idle_s)
        self._pump_in(
            max(
                0.02,
                idle_s if sender.state is LinkState.CONNECTED else min(idle_s, sender.wait_s()),
            )
        )

    def _send(self, sender: Sender, request: Request) -> None:
        self.requests += 1
        self._agenda.after(TIMEOUT_S, lambda: self._fail(sender, request, "no answer in time"))
        weather = self.weather
        if weather.cut:
            self._agenda.after(0.01, lambda: self._fail(sender, request, "no route"))
        elif weather.portal:
            page = Reply(200, b"<html>please log in</html>")
            self._agenda.after(0.05, lambda: self._deliver(sender, request, page))
        elif not weather.half_open and not self._happens(weather.lose_request):
            process = self._parent.started
            self._agenda.after(self._latency(), lambda: self._arrive(sender, request, process))
            any_process = None if weather.replay else process
            if self._happens(weather.duplicate):
                late_s = self._rng.choice([1.0, 10.0, LATE_S_MAX]) * self._rng.random()
                self._agenda.after(late_s, lambda: self._arrive(sender, request, any_process))

    def _arrive(self, sender: Sender, request: Request, process: int | None) -> None:
        # A connection ends with the process that it leads to.
        if not self._parent.up or process not in (None, self._parent.started):
            self._fail(sender, request, "connection refused")
            return
        body = request.body
        if self._happens(self.weather.flip):
            body = flipped(body, self._rng)
        self._parent.serve(self._who, request.path, body, lambda r: self._back(sender, request, r))

    def _back(self, sender: Sender, request: Request, reply: Reply) -> None:
        weather = self.weather
        if weather.cut or weather.half_open or self._happens(weather.lose_reply):
            return
        if self._happens(weather.flip):
            reply = replace(reply, body=flipped(reply.body, self._rng))
        self._agenda.after(self._latency(), lambda: self._deliver(sender, request, reply))

    def _deliver(self, sender: Sender, request: Request, reply: Reply) -> None:
        if self._child.sender() is sender:
            sender.on_reply(request, reply.status, reply.body)
            self.wake()

    def _fail(self, sender: Sender, request: Request, why: str) -> None:
        if self._child.sender() is sender:
            sender.on_failure(request, why)

    def _latency(self) -> float:
        return self._rng.random() * self.weather.latency_s

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._rng.random() < chance


Answer = Callable[[Reply], None]
