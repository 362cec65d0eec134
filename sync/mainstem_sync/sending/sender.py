"""The flow up: what is owed, in which order, and what became of it. Sans-IO.

1. HELLO: the parent gives a lease and its R per origin. What it holds is taken from there, never
   from memory (forward.py).
2. Two requests are in flight, or as many as the link holds. Each takes from three queues: control,
   live (the log from the HELLO on), history (owed before, loads, a child's history); scheduler.py.
   A batch that is larger than a request of the link goes in pieces of several (splitter.py).
3. Only an acknowledgement that is signed with the lease and names the batch's hash counts. Anything
   else is a failure: what was in flight is owed again, and HELLO follows after a jittered pause.
4. A batch that needs a schema is sent again after the control queue. A batch that the parent
   refuses is cut into single records; one that is still refused is parked, and the stream goes on.
5. A status rides with a request at least every two seconds; it is the heartbeat.

``next_request`` and the ``on_`` methods may block for milliseconds: call them from worker threads.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_engine.errors import MainstemError
from mainstem_sync.errors import (
    BusyError,
    FencedError,
    ForkedError,
    LeaseError,
    PeerError,
    RejectedError,
    SyncError,
    WireError,
)
from mainstem_sync.sending.budget import LinkBudget
from mainstem_sync.sending.flight import Flight
from mainstem_sync.sending.imagery import Imagery
from mainstem_sync.sending.outbox import Draft, Outbox
from mainstem_sync.sending.outside_ranges import OutsideDraft
from mainstem_sync.sending.refusals import Refusals
from mainstem_sync.sending.scheduler import Scheduler
from mainstem_sync.sending.session import LinkState, Request, Session
from mainstem_sync.sending.splitter import Splitter
from mainstem_sync.state.children import bounded_status
from mainstem_sync.state.forward import Forward
from mainstem_sync.state.upward import Upward
from mainstem_sync.wire.batch import Acknowledgement, encode_request
from mainstem_sync.wire.frames import (
    RAW_BYTES_MAX,
    Frame,
    FrameType,
    decode_frames,
    verify_signature,
)
from mainstem_sync.wire.messages import (
    BATCHES_PATH,
    HELLO_PATH,
    STATUS_EVERY_S,
    AckCode,
    OriginKey,
    Queue,
    encode_status,
    single_frame,
)
from mainstem_sync.wire.pieces import PIECES_VERSION, Part
from mainstem_sync.wire.ranges import RangeSet

logger = logging.getLogger(__name__)

PUT_OFF_S = 0.2
"""A definition that was overtaken by its rows arrives within a round trip or two."""

SCHEMA_TRIES_MAX = 200
"""Forty seconds of asking: by then the definition is not on its way, and the batch is parked."""

SCHEMA_PATIENCE = 50
"""So many times longer while definitions are owed: half an hour."""

ANNOUNCE_AFTER = 4
"""A definition still missing after so many tries is not on its way: it is said again."""

BAD_HASH_MAX = 3
"""A batch that fails its hash so often is damaged here or by the same machine on the way."""

POLL_S = 0.25
"""How often an idle sender looks whether more of the log is on disk (interval durability)."""


class Sender:
    """One node's stream to its parent."""

    def __init__(
        self,
        *,
        node: str,
        engine: Engine,
        forward: Forward,
        upward: Upward,
        lock: threading.RLock,
        status: Callable[[], Mapping[str, Any] | None],
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
        rng: random.Random,
        budget: LinkBudget | None = None,
    ) -> None:
        self._engine = engine
        self._forward = forward
        self._upward = upward
        self._state_lock = lock
        self._status = status
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._rng = rng
        self._budget = budget or LinkBudget(None, clock_ns=clock_ns, monotonic=monotonic)
        self._outbox = Outbox(engine.log, upward.key_of, forward.classifier)
        self._scheduler = Scheduler()
        self._lock = threading.RLock()
        """Guards what follows. Taken before the federation's lock, never after it."""
        self._session = Session(engine.log, clock_ns=clock_ns, monotonic=monotonic, rng=rng)
        self._refusals = Refusals(engine)
        self._flights: dict[int, Flight] = {}
        self._number = 0
        self._tail_start = 0
        self._parent_has: dict[OriginKey, RangeSet] = {}
        self.status_at = float("-inf")  # when it was told; set back, it is told again
        self._live_at = float("-inf")
        self._pause_until = 0.0
        self._hello_at = 0.0
        self._splitter = Splitter()
        self._pieces = False
        self.lose: Callable[[RangeSet], None] = lambda lsns: None
        """Declares records lost that are gone from the log before the parent had them."""
        self.images: Imagery | None = None
        """Answers what the parent asks for as slices."""
        self.on_frame: dict[FrameType, Callable[[Frame], None]] = {}
        """Who takes what else a signed reply holds, without the sender's lock."""
        self.on_work: Callable[[], None] | None = None
        """Called, from any thread, when there is something new to send."""

    # What to send

    def next_request(self) -> Request | None:
        """The next body to post, or None if nothing is due now (see ``wait_s``)."""
        now = self._monotonic()
        with self._lock:
            if self._budget.wait_s() > 0:
                return None
        status = None
        if self._session.is_connected and now - self.status_at >= STATUS_EVERY_S:
            # Outside every lock: making a status looks into all parts of the node.
            status = self._status()
        with self._lock:
            if not self._session.is_connected:
                request = self._next_hello()
            elif not self._may_send():
                return None
            else:
                request = self._next_batches(now, status)
            if request is not None:
                self._budget.sent(len(request.body))
            return request

    def wait_s(self) -> float:
        """Seconds after which ``next_request`` may have something without being notified."""
        now = self._monotonic()
        with self._lock:
            # In a silent window too: somebody may set the clock right.
            owed_s = min(self._budget.wait_s(), STATUS_EVERY_S)
            if not self._session.is_connected:
                return max(owed_s, self._session.wait_s())
            if not self._may_send():
                return STATUS_EVERY_S
            if owed_s > 0:
                return owed_s
            due = [self.status_at + STATUS_EVERY_S - now, POLL_S]
            live_at = self._live_at + self._scheduler.live_every_s
            if live_at > now:
                due.append(live_at - now)
            if self._pause_until > now:
                due.append(self._pause_until - now)
            return max(0.0, min(due))

    def _may_send(self) -> bool:
        return self._scheduler.may_send(len(self._flights), self._flying_bytes())

    def _flying_bytes(self) -> int:
        return sum(len(flight.request.body) for flight in self._flights.values())

    def _next_hello(self) -> Request | None:
        if not self._session.hello_is_due():
            return None
        with self._state_lock:
            acked = self._forward.acked.copy()
        upward = self._upward
        hello = self._session.next_hello(
            self._number + 1, upward.own_line(), acked, upward.relayed(), upward.statements(),
            upward.parent,
        )  # fmt: skip
        if hello is not None:
            self._number = hello.number
            self._hello_at = self._monotonic()
        return hello

    def _next_batches(self, now: float, status: Mapping[str, Any] | None) -> Request | None:
        limit = self._engine.log.fsynced_lsn
        drafts: list[Draft] = []
        go = now >= self._pause_until
        if go:
            drafts = self._cut(now, limit)
        with self._state_lock:
            coverable = self._forward.coverable(limit).difference(self._flying_own())
        idle = not self._flights and now - self._live_at >= self._scheduler.live_every_s
        if coverable and (drafts or idle):
            own = {d.origin: d for d in drafts if isinstance(d, Draft) and self._is_own(d)}
            covering = self._outbox.cover(own, coverable, Queue.LIVE, now)
            drafts += [draft for draft in covering if draft.origin not in own]
            self._live_at = now if covering else self._live_at
        if not drafts and status is None and not (go and self._splitter.is_waiting):
            return None
        return self._request(now, drafts, status, go=go)

    def _request(
        self, now: float, drafts: list[Draft], status: Mapping[str, Any] | None, *, go: bool
    ) -> Request:
        self._number += 1
        parts = [encode_request(self._session.lease, self._number, self._clock_ns())]
        if status is not None:
            parts.append(encode_status(bounded_status(status)))
            self.status_at = now
        sent = [draft for draft in drafts if self._encode(draft, parts)]
        frame_bytes = self._scheduler.frame_bytes
        left = max(frame_bytes - sum(map(len, parts)), frame_bytes // 4)
        part = self._splitter.next_part(left) if go else None
        if part is not None:
            parts.append(part.encode())
        request = Request(self._number, BATCHES_PATH, b"".join(parts))
        # Making it took its time: only what follows is the link's and the parent's.
        self._flights[request.number] = Flight(
            request, self._monotonic(), self._session.lease, sent, self._flying_bytes(), part
        )
        return request

    def _encode(self, draft: Draft, parts: list[bytes]) -> bool:
        """Adds the batch to a request. One that is too large for that is begun in pieces, or waits
        for its turn: False."""
        frame = draft.encode()
        self._scheduler.encoded(draft.queue, draft.weight, len(frame))
        if not self._pieces or not Splitter.is_large(len(frame), self._scheduler.frame_bytes):
            parts.append(frame)
            return True
        if self._splitter.draft is None:
            self._splitter.begin(draft, frame)
        else:
            self._judge(draft, None)
        return False

    def _cut(self, now: float, limit: int) -> list[Draft]:
        """Drafts of one request, from the three queues."""
        self._scheduler.bound(self._budget.bytes_per_s())
        with self._state_lock:
            owed = self._forward.owed(limit)
            if self._flights or self._splitter.draft is not None:
                owed = owed.difference(self._flying())
            images = self.images if self.images is not None and self.images.pending else None
            if not owed and images is None:
                return []  # what an idle link finds, several times a second
            backlog = self._forward.pending_bytes >= self._scheduler.raw_bytes(Queue.LIVE)
            control = owed.intersection(self._forward.control)
            bulk = owed.intersection(self._forward.bulk)
        drafts: list[Draft] = []
        drafts += self._take(Queue.CONTROL, control, self._scheduler.raw_bytes(Queue.CONTROL))
        if self._splitter.draft is not None and self._splitter.draft.queue is Queue.CONTROL:
            return drafts  # what follows may need the definitions that are still under way
        rest = owed.difference(control)
        live = RangeSet(rest.within(self._tail_start + 1, limit)).difference(bulk)
        history = rest.difference(live)
        if not backlog and now - self._live_at < self._scheduler.live_every_s:
            live = RangeSet()
        some: list[Draft] = []
        if live:
            self._live_at = now
            more = bool(history) or images is not None
            some = self._take(Queue.LIVE, live, self._scheduler.live_share(history=more))
            drafts += some
        history_bytes = self._scheduler.history_share(sum(draft.weight for draft in some))
        if self._splitter.draft is not None:
            return drafts  # the history's share is that of the pieces
        if images is not None and history:
            history_bytes //= 2
        if history:
            drafts += self._take(Queue.HISTORY, history, history_bytes)
        if images is not None:
            drafts += images.drafts(history_bytes)
        return drafts

    def _take(self, queue: Queue, lsns: RangeSet, bytes_max: int) -> list[Draft]:
        """Cut a queue; what the parent has or does not need is settled at once."""
        if not lsns:
            return []
        allowed = self._refusals.one_by_one(lsns)
        cut = self._outbox.cut(queue, allowed, bytes_max, self._parent_has)
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

    def _flying(self) -> RangeSet:
        """Local LSNs whose content is in flight."""
        flying = RangeSet()
        for draft in self._drafts_under_way():
            flying.update(draft.lsns)
        return flying

    def _drafts_under_way(self) -> list[Draft]:
        drafts = [draft for flight in self._flights.values() for draft in flight.drafts]
        return drafts if self._splitter.draft is None else [*drafts, self._splitter.draft]

    def _flying_own(self) -> RangeSet:
        """LSNs of the own stream that are in flight, covered ones included."""
        flying = RangeSet()
        for draft in self._drafts_under_way():
            if self._is_own(draft):
                flying.update(draft.ranges)
        return flying

    def _is_own(self, draft: Draft) -> bool:
        return self._upward.is_own(draft.origin)

    # What came back

    def on_reply(self, request: Request, status: int, body: bytes) -> None:
        """The parent answered (or somebody in its place)."""
        if not self._expects(request):
            return  # late, of an earlier connection: whatever it says is not about this one
        try:
            if request.path == HELLO_PATH:
                self._welcomed(request, body)
            else:
                self._acknowledged(request, status, body)
        except FencedError as exc:
            self._stop(LinkState.FENCED, exc)
        except ForkedError as exc:
            self._stop(LinkState.FORKED, exc)
        except BusyError as exc:
            self._put_off(request, exc)
        except LeaseError:
            with self._lock:
                self._let_go(request)
                self._session.restart()
                self._notify()
        except RejectedError as exc:
            self.on_failure(request, f"{exc}", refused=True)
        except (SyncError, MainstemError) as exc:
            self.on_failure(request, f"HTTP {status}: {exc}", refused=isinstance(exc, PeerError))

    def _expects(self, request: Request) -> bool:
        with self._lock:
            return request.number in self._flights or request is self._session.hello

    def on_failure(self, request: Request, why: str, *, refused: bool = False) -> None:
        """No answer, or none that is ours. What was in flight is owed again."""
        with self._lock:
            if not self._expects(request):
                return
            # Requests that were under way together fail together: that is one failure.
            is_first = self._session.is_connected or request is self._session.hello
            self._upward.failed = True
            self._let_go(request)
            if is_first:
                if not refused:
                    self._scheduler.failed()
                self._session.failed(why)
            self._notify()
        logger.warning("the link to the parent failed: %s", why)

    def _put_off(self, request: Request, error: BusyError) -> None:
        """The parent is over a bound: everything again after a jittered pause."""
        pause_s = error.retry_after_s * self._rng.uniform(1.0, 2.0)
        with self._lock:
            if not self._expects(request):
                return
            self._let_go(request)
            if self._session.is_connected:
                self._pause_until = max(self._pause_until, self._monotonic() + pause_s)
            else:
                self._session.restart(pause_s)
            self._notify()
        logger.info("the parent is busy, this node waits %.1f s: %s", pause_s, error)

    def _let_go(self, request: Request) -> None:
        """The request is no longer under way; what it carried is owed again."""
        if request is self._session.hello:
            self._session.hello = None
        flight = self._flights.pop(request.number, None)
        if flight is not None and flight.part is not None:
            self._splitter.answered(flight.part, None)

    def _stop(self, state: LinkState, error: SyncError) -> None:
        with self._lock:
            self._flights.clear()
            self._session.stop(state, error)
        logger.error("the parent refuses this node: %s", error)

    def _welcomed(self, request: Request, body: bytes) -> None:
        with self._lock:
            if request is not self._session.hello:
                return
            welcome = self._session.welcomed(body)
            if welcome is not None and welcome.table is not None:
                logger.error("this log was restored or cloned: it goes on in a new epoch")
                self._upward.begin_epoch(welcome.table)
            elif welcome is not None:
                self._upward.learn(welcome.lines)
                self._upward.let_in(welcome.uuid)
                self._flights.clear()
                if self.images is not None:
                    self.images.reset()
                self._outbox.speak(welcome.version)
                self._pieces = welcome.version >= PIECES_VERSION
                self._parent_has = dict(welcome.held)
                self._resume_pieces()
                own = self._parent_has.get(self._upward.key, RangeSet())
                lost = self._forward.resume(own, self._engine.log)
                if lost:
                    logger.error(
                        "the parent lost %d records whose log is released here: declared", lost
                    )
                self._tail_start = self._engine.log.fsynced_lsn
                self.status_at = self._live_at = float("-inf")
                self._session.connected(welcome)
                self._scheduler.connected(self._monotonic() - self._hello_at)
                # Retention believes a wall clock that jumped only when somebody else agrees.
                self._engine.confirm_clock(welcome.time_ns)
            self._notify()

    def _acknowledged(self, request: Request, status: int, body: bytes) -> None:
        with self._lock:
            flight = self._flights.get(request.number)
            if flight is None or flight.lease != self._session.lease:
                return
        if not verify_signature(body, flight.lease.encode()):
            single_frame(body)  # a refusal is raised from here
            raise WireError("the answer is not signed by the parent")
        answers: dict[bytes, Acknowledgement] = {}
        for frame in decode_frames(body):
            if frame.type is FrameType.ACK:
                answer = Acknowledgement.from_frame(frame)
                answers[answer.hash] = answer
            elif frame.type in self.on_frame:
                self.on_frame[frame.type](frame)
        with self._lock:
            if self._flights.pop(request.number, None) is None:
                return
            self._session.answered()
            self._scheduler.replied(
                self._monotonic(),
                flight.sent_at,
                len(request.body),
                flight.flying_bytes,
                live_only=flight.live_only,
            )
            for draft in flight.drafts:
                self._judge(draft, answers.get(draft.digest))
            if flight.part is not None:
                self._piece_answered(flight.part, answers.get(flight.part.digest))
            self._notify()

    def _piece_answered(self, part: Part, answer: Acknowledgement | None) -> None:
        """A piece is held, or was the last: then the answer is that to its batch."""
        draft = self._splitter.draft
        if draft is None or draft.digest != part.digest:
            return
        if answer is None or answer.code is AckCode.PART:
            self._splitter.answered(part, None if answer is None else answer.watermark)
            return
        self._splitter.end()
        self._judge(draft, answer)

    def _resume_pieces(self) -> None:
        """After a HELLO: the pieces go on, unless the parent has the batch, or takes it no more."""
        self._splitter.reconnected()
        draft = self._splitter.draft
        if draft is None:
            return
        held = self._parent_has.get(draft.origin)
        images = isinstance(draft, OutsideDraft)
        if not self._pieces or images or (held is not None and held.contains_all(draft.ranges)):
            self._splitter.end()
        elif draft.origin.uuid == self._engine.node_uuid and not self._is_own(draft):
            self._splitter.end()  # of an epoch that has ended

    def _judge(self, draft: Draft, answer: Acknowledgement | None) -> None:
        """What became of one batch. Without an answer it is simply owed again."""
        if isinstance(draft, OutsideDraft):
            if self.images is not None:
                self.images.judged(draft, answer)
            return
        if answer is None:
            return
        if answer.code is AckCode.OK:
            self._accepted(draft)
        elif answer.code is AckCode.REJECTED:
            self._refusals.refuse(draft.contents, answer.message)
        elif answer.code is AckCode.BAD_HASH:
            self._refusals.count(draft.contents, BAD_HASH_MAX, answer.message)
        else:
            self._pause_until = self._monotonic() + PUT_OFF_S
            if answer.code is AckCode.NEED_EPO:
                self._session.restart()
            elif answer.code is AckCode.NEED_SCHEMA:
                most = SCHEMA_TRIES_MAX * (SCHEMA_PATIENCE if self._waits_for_control(draft) else 1)
                tries = self._refusals.count(draft.contents, most, answer.message)
                if tries % ANNOUNCE_AFTER == 0 and self.images is not None:
                    self.images.define(draft.origin, draft.contents)

    def _waits_for_control(self, draft: Draft) -> bool:
        """A definition that rows miss may still be on its way, for minutes on a thin link."""
        with self._state_lock:
            return draft.queue is not Queue.CONTROL and bool(self._forward.control)

    def _accepted(self, draft: Draft) -> None:
        self._parent_has.setdefault(draft.origin, RangeSet()).update(draft.ranges)
        with self._state_lock:
            self._forward.deliver(draft.contents)
            self._forward.note_ack(draft.origin, draft.ranges.last, self._clock_ns() // 1_000_000)
            if self._is_own(draft):
                self._forward.acknowledge(draft.ranges)
                if draft.top is not None:
                    self._upward.note_point(draft.top.lsn, draft.top.chain)
        self._refusals.taken(draft.contents)

    def _notify(self) -> None:
        if self.on_work is not None:
            self.on_work()

    # How it stands

    @property
    def state(self) -> LinkState:
        """What the uplink is doing."""
        return self._session.state

    def learned(self, key: OriginKey, ranges: RangeSet) -> None:
        """The parent has these records of an origin now, as slices."""
        with self._lock:
            self._parent_has.setdefault(key, RangeSet()).update(ranges)

    def parent_has(self, key: OriginKey) -> RangeSet | None:
        """R of an origin at the parent, as of the last HELLO."""
        with self._lock:
            found = self._parent_has.get(key)
            return None if found is None else found.copy()

    @property
    def own(self) -> OriginKey:
        """This node's own stream."""
        return self._upward.key

    @property
    def lease(self) -> str:
        """The lease of the connection; empty without one."""
        return self._session.lease if self._session.is_connected else ""

    @property
    def error(self) -> str | None:
        """Why the link is not working; None while it is."""
        return self._session.error

    @property
    def parent(self) -> str | None:
        """Name of the parent; None before the first HELLO was answered."""
        return self._session.parent

    @property
    def clock_offset_ms(self) -> int | None:
        """The parent's clock minus this one, as of the last HELLO, to half its round trip."""
        return self._session.clock_offset_ms

    def contact_age_s(self) -> float | None:
        """Seconds since the parent last answered; None before the first time."""
        return self._session.contact_age_s()

    def is_drained(self) -> bool:
        """True if the parent holds, and knows to hold, everything that is in the log now."""
        with self._lock, self._state_lock:
            limit = self._forward.applied_lsn
            return self._forward.acked.watermark >= limit >= self._engine.log.committed_lsn
