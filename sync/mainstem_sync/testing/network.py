"""The transport's twin in memory: requests and replies that can be lost, doubled and reordered.

A Link carries one sender's requests to one receiver. ``step`` moves one thing: it takes a request
from the sender, or lets something that is under way arrive. With a random generator and faults it
picks; without, everything arrives at once and in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mainstem_sync.receiving.receiver import Child, Receiver, Reply
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.session import Request
from mainstem_sync.wire.messages import HELLO_PATH


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances per step, 0 to 1."""

    lose_request: float = 0.0
    lose_reply: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    flip: float = 0.0


@dataclass(slots=True)
class _Envelope:
    request: Request
    reply: Reply | None = None


class Link:
    """One child's connection. ``sender`` and ``receiver`` are asked for anew at every step: the
    node on either side may have been started again. None means it is down."""

    def __init__(
        self,
        sender: Callable[[], Sender | None],
        receiver: Callable[[], Receiver | None],
        child: Child,
        *,
        rng: random.Random | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._sender = sender
        self._receiver = receiver
        self._child = child
        self._rng = rng or random.Random(0)
        self.faults = faults or Faults()
        self.up = True
        self.requests = 0
        self.bytes = 0
        self._under_way: list[_Envelope] = []
        self._spoken_for: Sender | None = None

    def step(self) -> bool:
        """Move one thing; False if there was nothing to move."""
        sender = self._sender()
        if sender is not self._spoken_for:
            # What was under way belonged to a process that is gone; its requests may still arrive.
            self._spoken_for = sender
        if self._under_way and (sender is None or self._happens(0.5)):
            self._arrive(self._under_way.pop(self._rng.randrange(len(self._under_way))))
            return True
        request = None if sender is None else sender.next_request()
        if request is None:
            if self._under_way:
                self._arrive(self._under_way.pop(0))
                return True
            return False
        self.requests += 1
        self.bytes += len(request.body)
        self._send(_Envelope(request))
        return True

    def drain(self, steps_max: int = 10_000) -> None:
        """Step until nothing moves any more."""
        for _ in range(steps_max):
            if not self.step():
                return
        raise TimeoutError(f"the link still has something to do after {steps_max} steps")

    def cut(self) -> None:
        """Everything under way is lost, and nothing goes through until ``restore``."""
        self.up = False
        for envelope in self._under_way:
            self._fail(envelope, "cut")
        self._under_way.clear()

    def restore(self) -> None:
        self.up = True

    def _send(self, envelope: _Envelope) -> None:
        if not self.up:
            self._fail(envelope, "the link is down")
        elif self._happens(self.faults.lose_request):
            self._fail(envelope, "the request was lost")
        elif self._happens(self.faults.delay):
            self._under_way.append(envelope)
        else:
            if self._happens(self.faults.duplicate):
                self._under_way.append(_Envelope(envelope.request))
            self._arrive(envelope)

    def _arrive(self, envelope: _Envelope) -> None:
        if envelope.reply is not None:
            self._deliver_reply(envelope)
            return
        receiver = self._receiver()
        if receiver is None:
            self._fail(envelope, "connection refused")
            return
        body = envelope.request.body
        if self._happens(self.faults.flip):
            body = flipped(body, self._rng)
        if envelope.request.path == HELLO_PATH:
            envelope.reply = receiver.hello(self._child, body)
        else:
            envelope.reply = receiver.batches(self._child, body)
        if self._happens(self.faults.lose_reply):
            self._fail(envelope, "the reply was lost")
        elif self._happens(self.faults.delay):
            self._under_way.append(envelope)
        else:
            self._deliver_reply(envelope)

    def _deliver_reply(self, envelope: _Envelope) -> None:
        sender = self._sender()
        if sender is not None and envelope.reply is not None:
            sender.on_reply(envelope.request, envelope.reply.status, envelope.reply.body)

    def _fail(self, envelope: _Envelope, why: str) -> None:
        sender = self._sender()
        if sender is not None:
            sender.on_failure(envelope.request, why)

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._rng.random() < chance


def flipped(body: bytes, rng: random.Random) -> bytes:
    """The body with one bit changed."""
    changed = bytearray(body)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)
