"""What is owed, and how much of it goes into the next request of a lane.

1. *Control* is what others need to understand what follows, definitions and deletes, and rows for
   which somebody waits (urgent exports). It goes before all else, and history waits until what was
   owed of it at the HELLO is held.
2. *Statements* (manifests, losses) are control too, but nothing waits for them: beside other data
   they have a tenth of a request.
3. *Live* is the log from the HELLO on, but for loads and what was history where it came from. It is
   gathered for a moment, and goes at once while there is more of it than one request holds.
4. *History* is the rest: what a query waits for first, then in the order of the log (ADR 0037).

Guarded by the sender's lock, but for ``take``: two lanes may cut at the same time, each from what
the other never touches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mainstem_engine.engine import Engine
from mainstem_sync.sending.flight import Lane
from mainstem_sync.sending.outbox import Draft, Outbox
from mainstem_sync.sending.refusals import Refusals
from mainstem_sync.state.forward import Forward
from mainstem_sync.state.upward import Upward
from mainstem_sync.wire.frames import RAW_BYTES_MAX
from mainstem_sync.wire.messages import OriginKey, Queue
from mainstem_sync.wire.ranges import RangeSet


@dataclass(slots=True)
class Owed:
    """Local LSNs that the parent lacks and that are not under way. ``defining``: what of control
    is no statement. ``early``: of that, what was owed at the HELLO, under way or not."""

    defining: RangeSet
    statements: RangeSet
    live: RangeSet
    history: RangeSet
    early: bool

    def __bool__(self) -> bool:
        return bool(self.defining or self.statements or self.live or self.history)


class Cutter:
    """See the module. ``known``: R of each origin at the parent; its sets are replaced, never
    changed."""

    def __init__(
        self,
        engine: Engine,
        forward: Forward,
        upward: Upward,
        lock: threading.RLock,
        refusals: Refusals,
        known: Mapping[OriginKey, RangeSet],
    ) -> None:
        self._forward = forward
        self._state_lock = lock
        self._refusals = refusals
        self._known = known
        self.classifier = forward.classifier
        # Each lane has a packer of its own, which is no more thread-safe than what it keeps.
        self._outboxes = {
            lane: Outbox(engine.log, upward.key_of, forward.classifier) for lane in Lane
        }
        self.tail_start = 0
        """The last LSN at the HELLO: what is above it is live."""
        self.lose: Callable[[RangeSet], None] = lambda lsns: None
        """Declares records lost that are gone from the log before the parent had them."""
        self.waited_for: Callable[[], RangeSet] = RangeSet
        """Owed LSNs that a query waits for: they go before other history."""

    def speak(self, version: int) -> None:
        """The parent speaks this version of the protocol."""
        for outbox in self._outboxes.values():
            outbox.speak(version)

    def owed(self, limit: int, flying: RangeSet) -> Owed:
        """What is owed up to an LSN, by queue."""
        forward, tail = self._forward, self.tail_start
        with self._state_lock:
            every = forward.owed(limit)
            if flying:
                every = every.difference(flying)
            if not every:
                # What an idle link finds, several times a second.
                return Owed(every, every, every, every, early=False)
            control = every.intersection(forward.control)
            statements = control.intersection(forward.statements)
            bulk = every.intersection(forward.bulk)
            unheld = RangeSet(forward.control.within(1, tail)).difference(forward.statements)
        rest = every.difference(control)
        live = RangeSet(rest.within(tail + 1, limit)).difference(bulk)
        return Owed(
            control.difference(statements),
            statements,
            live,
            rest.difference(live),
            bool(unheld),
        )

    def ask_before_defining(self, may_define: Callable[[str], bool]) -> None:
        """See Outbox."""
        self._outboxes[Lane.LIVE].may_define = may_define

    @property
    def pending_bytes(self) -> int:
        """Of all that is owed, about."""
        return self._forward.pending_bytes

    def coverable(self, limit: int, flying: RangeSet) -> RangeSet:
        """Own LSNs that the parent needs nothing of, and was not told so."""
        with self._state_lock:
            return self._forward.coverable(limit).difference(flying)

    def cover(self, own: Mapping[OriginKey, Draft], coverable: RangeSet, now: float) -> list[Draft]:
        """See Outbox.cover; of the live lane."""
        return self._outboxes[Lane.LIVE].cover(own, coverable, Queue.LIVE, now)

    def allowed(self, lsns: RangeSet) -> RangeSet:
        """What of them may be sent now; see refusals.py."""
        return self._refusals.one_by_one(lsns) if lsns else lsns

    def take(self, lane: Lane, queue: Queue, lsns: RangeSet, bytes_max: int) -> list[Draft]:
        """Cut a queue; what the parent has or does not need is settled at once."""
        if not lsns:
            return []
        cut = self._outboxes[lane].cut(queue, lsns, bytes_max, self._known)
        if cut.held or cut.nothing:
            with self._state_lock:
                self._forward.deliver(cut.held)
                self._forward.held.update(cut.nothing)
        if cut.lost:
            self.lose(cut.lost)
        drafts = []
        for draft in cut.drafts.values():
            if draft.raw_bytes > RAW_BYTES_MAX:
                self._refusals.park(
                    draft.contents, f"a record of {draft.raw_bytes} bytes is too large"
                )
            else:
                drafts.append(draft)
        return drafts

    def history(self, owed: RangeSet, bytes_max: int) -> list[Draft]:
        """Drafts of history, what is waited for first. Without the sender's lock."""
        first = owed.intersection(self.waited_for())
        return self.take(Lane.HISTORY, Queue.HISTORY, first or owed, bytes_max)
