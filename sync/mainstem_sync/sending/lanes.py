"""The requests of both lanes: what is put into the next one, and what its answer changes.

1. The live lane takes what is due: control, statements, live rows, covered LSNs, a status. It looks
   at most every tenth of a second, but for definitions, and at once while more is left than one
   request holds.
2. The history lane makes one request at a time, without the sender's lock: that takes tens of
   milliseconds. What it takes is never of the live lane, so that both may be made at once.
3. A batch that is large for the link goes in pieces, whatever its queue, in the history lane. When
   all of them are under way the next request is made; while definitions go in pieces, nothing else
   is begun.
4. A lane whose batch was put off pauses by itself.

Guarded by the sender's lock; ``next_history`` takes it itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_sync.lines.handshake import Welcome
from mainstem_sync.sending.budget import LinkBudget
from mainstem_sync.sending.cutting import Cutter, Owed
from mainstem_sync.sending.flight import Flight, Flights, Lane
from mainstem_sync.sending.imagery import Imagery
from mainstem_sync.sending.outbox import Draft
from mainstem_sync.sending.outside_ranges import OutsideDraft
from mainstem_sync.sending.scheduler import Scheduler
from mainstem_sync.sending.session import Request, Session
from mainstem_sync.sending.splitter import Splitter
from mainstem_sync.sending.verdicts import Verdicts
from mainstem_sync.state.children import packed_status
from mainstem_sync.state.upward import Upward
from mainstem_sync.wire.batch import Acknowledgement, encode_request
from mainstem_sync.wire.messages import (
    BATCHES_PATH,
    STATUS_ALONE_S,
    STATUS_EVERY_S,
    AckCode,
    OriginKey,
    Queue,
    encode_status,
)
from mainstem_sync.wire.pieces import PIECES_VERSION, Part
from mainstem_sync.wire.ranges import RangeSet

PUT_OFF_S = 0.2
"""A definition that was overtaken by its rows arrives within a round trip or two."""

POLL_S = 0.25
"""How often an idle sender looks whether more of the log is on disk (interval durability)."""

RIDE_BYTES = 32 << 10
"""History of so few bytes of the log goes along with what is live: that delays nothing."""

TURN_S = 0.05
"""How soon the live lane looks again after it has left the budget to the history lane."""


@dataclass(slots=True)
class _Plan:
    """A request of history before it is made. ``room``: bytes of the log."""

    lease: str
    history: RangeSet
    room: int
    images: Imagery | None


class Lanes:
    """See the module."""

    def __init__(
        self,
        engine: Engine,
        upward: Upward,
        session: Session,
        cutter: Cutter,
        verdicts: Verdicts,
        budget: LinkBudget,
        lock: threading.RLock,
        *,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.flights = Flights()
        self.scheduler = Scheduler()
        self.number = 0
        """Of the last request, HELLO included."""
        self.status_at = float("-inf")
        self._engine = engine
        self._upward = upward
        self._session = session
        self._cutter = cutter
        self._verdicts = verdicts
        self._budget = budget
        self._lock = lock
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._making = threading.Lock()
        """One request of history is made at a time. Taken before every other lock."""
        self._live_at = float("-inf")
        self._live_left = False
        """The last request could not hold all live rows."""
        self._live_weight = 0
        self._is_making = False
        self._early = False
        """History waits for definitions."""
        self._stuck = False
        """The next live batch has to go in pieces, and waits for those of the one before."""
        self._pauses = dict.fromkeys(Lane, 0.0)
        self._behind = False
        """There was history at the last look."""
        self._last_lane = Lane.HISTORY
        self._splitter = Splitter()
        self._pieces = False

    @property
    def is_behind(self) -> bool:
        """True if the history lane has something to do."""
        return self._behind and self._session.is_connected and self.may_send(Lane.HISTORY)

    def wait_s(self, lane: Lane) -> float:
        """Seconds after which a lane may have something without being notified; connected."""
        now = self._monotonic()
        # In a silent window too: somebody may set the clock right.
        owed_s = min(self._budget.wait_s(), STATUS_EVERY_S)
        if not self.may_send(lane):
            return STATUS_EVERY_S
        if owed_s > 0:
            return owed_s
        if lane is Lane.HISTORY:
            pause_s = self._pauses[lane] - now
            return pause_s if pause_s > 0 else STATUS_EVERY_S
        if self.leaves_turn():
            return TURN_S
        due = [self.status_at + STATUS_ALONE_S - now, POLL_S]
        due += [s for s in (self.gathers_s(now), self._pauses[lane] - now) if s > 0]
        return max(0.0, min(due))

    def gathers_s(self, now: float) -> float:
        """Seconds for which a new record changes nothing: live rows are gathered until then."""
        if self._live_left:
            return 0.0
        return self._live_at + self.scheduler.live_every_s - now

    def may_send(self, lane: Lane) -> bool:
        """True if another request of the lane may follow those that are under way."""
        requests, size = self.flights.count(lane), self.flights.bytes(lane)
        if lane is Lane.LIVE:
            return self.scheduler.may_send(requests, size)
        return self.scheduler.may_send_history(requests, size)

    def leaves_turn(self) -> bool:
        """True if it is the history's turn. Where the link has a budget each lane waits for it, and
        whoever came first would always get it: they take turns."""
        return (
            self._behind
            and self._last_lane is Lane.LIVE
            and self._budget.bytes_per_s() is not None
            and self._session.is_connected
            and self.may_send(Lane.HISTORY)
            and self._monotonic() >= self._pauses[Lane.HISTORY]
        )

    def in_turn(self) -> tuple[Lane, ...]:
        """Both lanes; first the one whose turn it is, if one thread serves them."""
        if self._behind and self._last_lane is Lane.LIVE:
            return Lane.HISTORY, Lane.LIVE
        return tuple(Lane)

    def spent(self, request: Request, lane: Lane) -> Request:
        """The request, which is sent now."""
        self._budget.sent(len(request.body))
        self._last_lane = lane
        return request

    # The live lane

    def next_live(self, now: float, status: Mapping[str, Any] | None) -> Request | None:
        """What is due; ``status`` goes along."""
        limit = self._engine.log.fsynced_lsn
        self.scheduler.bound(self._budget.bytes_per_s())
        drafts: list[Draft] = []
        if now >= self._pauses[Lane.LIVE]:
            drafts = self._cut_live(now, limit)
        if drafts or (not self.flights.count(Lane.LIVE) and self.gathers_s(now) <= 0):
            flying = self.flights.ranges(self._splitter.drafts, self._upward.is_own)
            coverable = self._cutter.coverable(limit, flying)
        else:
            coverable = RangeSet()
        if coverable:
            own = {d.origin: d for d in drafts if self._upward.is_own(d.origin)}
            covering = self._cutter.cover(own, coverable, now)
            drafts += [draft for draft in covering if draft.origin not in own]
            self._live_at = now if covering else self._live_at
        if not drafts and status is None:
            return None
        frames = [(draft, draft.encode()) for draft in drafts]
        before = len(self._splitter.drafts)
        request = self._request(Lane.LIVE, frames, status, now)
        if request is None and len(self._splitter.drafts) != before:
            return self.next_live(now, None)  # all of it goes in pieces: what is behind it now
        return request

    def _cut_live(self, now: float, limit: int) -> list[Draft]:
        """Drafts of control and live batches."""
        cutter, scheduler, queue = self._cutter, self.scheduler, Queue.CONTROL
        owed = self._owed(limit)
        if not owed:
            if not self._splitter.is_defining:
                self._live_left = False
            return []
        whole = scheduler.raw_bytes(queue)
        drafts = cutter.take(Lane.LIVE, queue, cutter.allowed(owed.defining), whole)
        if self._splitter.is_defining:
            return drafts  # what follows may need the definitions that are still under way
        if self.gathers_s(now) > 0:
            return drafts
        left = whole - sum(draft.weight for draft in drafts)
        beside = bool(owed.live) or self._behind
        if left > 0 and owed.statements:
            room = scheduler.control_share(beside=beside)
            statements = cutter.allowed(owed.statements)
            drafts += cutter.take(Lane.LIVE, queue, statements, min(left, room))
            self._live_at = now
        self._live_left = False
        if owed.live and not (self._stuck and not self._splitter.may_begin):
            self._stuck = False
            self._live_at = now
            room = scheduler.live_share(history=self._behind)
            live = cutter.take(Lane.LIVE, Queue.LIVE, cutter.allowed(owed.live), room)
            self._live_weight = sum(draft.weight for draft in live)
            taken = max((draft.contents[-1].lsn for draft in live), default=owed.live.last)
            self._live_left = taken < owed.live.last
            drafts += live
        if owed.history and not self._live_left and self._rides():
            room = min(RIDE_BYTES, scheduler.history_share(self._live_weight))
            history = cutter.allowed(owed.history)
            drafts += cutter.take(Lane.LIVE, Queue.HISTORY, history, room)
            self._live_at = now
        return drafts

    def _rides(self) -> bool:
        """True if there is so little history that a request of its own costs more than it does."""
        if self._is_making or self.flights.count(Lane.HISTORY) or self._splitter.drafts:
            return False
        return not self._early and self._cutter.pending_bytes <= RIDE_BYTES

    def _owed(self, limit: int) -> Owed:
        owed = self._cutter.owed(limit, self.flights.lsns(self._splitter.drafts))
        self._early = owed.early
        images = self._verdicts.images
        self._behind = (
            bool(owed.history)
            or self._splitter.is_waiting
            or (images is not None and images.pending)
        )
        return owed

    # The history lane

    def next_history(self) -> Request | None:
        """The next request of history, made without the lock."""
        if not self._behind:
            return None  # the live lane looks often enough for both
        with self._making:
            with self._lock:
                if not self.is_behind or self._budget.wait_s() > 0:
                    return None
                now = self._monotonic()
                if now < self._pauses[Lane.HISTORY]:
                    return None
                if self._splitter.is_waiting:
                    return self._sent_history([])
                if self._splitter.drafts and not self._splitter.may_begin:
                    return None
                plan = self._plan()
                if plan is None:
                    # Its turn is over: what it waits for may be definitions of the live lane.
                    self._last_lane = Lane.HISTORY
                    return None
                self._is_making = True
            try:
                return self._make(plan)
            finally:
                self._is_making = False

    def _make(self, plan: _Plan) -> Request | None:
        """Without the lock: it takes tens of milliseconds, and live rows do not wait for it."""
        drafts: list[Draft] = self._cutter.history(plan.history, plan.room)
        if plan.images is not None:
            drafts += plan.images.drafts(plan.room)
        frames = [(draft, draft.encode()) for draft in drafts]
        with self._lock:
            if not self._session.is_connected or self._session.lease != plan.lease:
                return None
            if not frames:
                self._behind = False
                return None
            return self._sent_history(frames)

    def _plan(self) -> _Plan | None:
        """What the next request of history may be made of; None if there is nothing."""
        self.scheduler.bound(self._budget.bytes_per_s())
        owed = self._owed(self._engine.log.fsynced_lsn)
        images = self._verdicts.images
        if images is not None and not images.pending:
            images = None
        history = RangeSet() if owed.early else self._cutter.allowed(owed.history)
        if not history and images is None:
            self._behind = bool(owed.history)  # what waits for definitions is looked at again
            return None
        room = self.scheduler.history_share(self._live_weight if self._live_left else 0)
        if images is not None and history:
            room //= 2
        return _Plan(self._session.lease, history, room, images)

    def _sent_history(self, frames: list[tuple[Draft, bytes]]) -> Request | None:
        request = self._request(Lane.HISTORY, frames, None, self._monotonic())
        return None if request is None else self.spent(request, Lane.HISTORY)

    # Either

    def _request(
        self,
        lane: Lane,
        frames: list[tuple[Draft, bytes]],
        status: Mapping[str, Any] | None,
        now: float,
    ) -> Request | None:
        """None if there is nothing in it."""
        parts = [encode_request(self._session.lease, self.number + 1, self._clock_ns())]
        if status is not None:
            parts.append(encode_status(packed_status(status)))
            self.status_at = now
        sent = [draft for draft, frame in frames if self._put(draft, frame, parts)]
        part = None
        if lane is Lane.HISTORY:
            frame_bytes = self.scheduler.frame_bytes
            part = self._splitter.next_part(
                max(frame_bytes - sum(map(len, parts)), frame_bytes // 4)
            )
        if part is not None:
            parts.append(part.encode())
        if len(parts) == 1:
            return None
        self.number += 1
        request = Request(self.number, BATCHES_PATH, b"".join(parts))
        # Making it took its time: only what follows is the link's and the parent's.
        flying, lease = self.flights.bytes(), self._session.lease
        alone = not self.flights.count(Lane.HISTORY)
        self.flights.add(Flight(request, lane, self._monotonic(), lease, sent, flying, part, alone))
        return request

    def _put(self, draft: Draft, frame: bytes, parts: list[bytes]) -> bool:
        """Adds the batch to a request. One that is too large for that is begun in pieces, or waits
        for its turn: False."""
        self.scheduler.encoded(draft.queue, draft.weight, len(frame))
        if not self._pieces or not Splitter.is_large(len(frame), self.scheduler.frame_bytes):
            parts.append(frame)
            return True
        if self._splitter.may_begin:
            self._splitter.begin(draft, frame)
            self._behind = True
        else:
            self._stuck = draft.queue is Queue.LIVE
            self._verdicts.judge(draft, None)
        return False

    # What came back

    def welcomed(self, welcome: Welcome, known: Mapping[OriginKey, RangeSet]) -> None:
        """A new lease: nothing is under way any more. ``known``: R of each origin."""
        self.flights.clear()
        if self._verdicts.images is not None:
            self._verdicts.images.reset()
        self._cutter.speak(welcome.version)
        self._pieces = welcome.version >= PIECES_VERSION
        self._resume_pieces(known)
        self._behind = True  # until somebody has looked
        self.status_at = self._live_at = float("-inf")

    def drop(self) -> None:
        """Whatever is under way is forgotten: its answers mean nothing any more."""
        self.flights.clear()
        self._splitter.clear()

    def let_go(self, request: Request) -> None:
        """There is no answer to a request; what it carried is owed again."""
        flight = self.flights.pop(request.number)
        if flight is not None and flight.part is not None:
            self._splitter.answered(flight.part, None)

    def pause(self, lane: Lane, seconds: float) -> None:
        """Nothing of a lane for so long."""
        self._pauses[lane] = max(self._pauses[lane], self._monotonic() + seconds)

    def answered(self, flight: Flight, answers: Mapping[bytes, Acknowledgement]) -> None:
        """A request that is no longer under way was answered."""
        # How long live rows take is asked beside nothing else: else they would be gathered for
        # longer just when there is most to wait for.
        alone = flight.alone and not self.flights.count(Lane.HISTORY)
        self.scheduler.replied(
            self._monotonic(),
            flight.sent_at,
            len(flight.request.body),
            flight.flying_bytes,
            live_only=flight.live_only and alone,
        )
        for draft in flight.drafts:
            self._judge(flight.lane, draft, answers.get(draft.digest))
        if flight.part is not None:
            self._piece_answered(flight.part, answers.get(flight.part.digest))

    def _piece_answered(self, part: Part, answer: Acknowledgement | None) -> None:
        """A piece is held, or was the last: then the answer is that to its batch."""
        draft = self._splitter.find(part)
        if draft is None:
            return
        if answer is None or answer.code is AckCode.PART:
            self._splitter.answered(part, None if answer is None else answer.watermark)
            return
        self._splitter.end(draft)
        self._judge(Lane.HISTORY, draft, answer)

    def _resume_pieces(self, known: Mapping[OriginKey, RangeSet]) -> None:
        """After a HELLO: the pieces go on, unless the parent has the batch, or takes it no more."""
        self._splitter.reconnected()
        for draft in self._splitter.drafts:
            held = known.get(draft.origin)
            has = held is not None and held.contains_all(draft.ranges)
            own = draft.origin.uuid == self._engine.node_uuid
            if not self._pieces or isinstance(draft, OutsideDraft) or has:
                self._splitter.end(draft)
            elif own and not self._upward.is_own(draft.origin):
                self._splitter.end(draft)  # of an epoch that has ended

    def _judge(self, lane: Lane, draft: Draft, answer: Acknowledgement | None) -> None:
        code = self._verdicts.judge(draft, answer)
        if code is not None:
            self.pause(lane, PUT_OFF_S)
        if code is AckCode.NEED_EPO:
            self._session.restart()
