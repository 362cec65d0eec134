"""The flow up: what is owed, in which order, and what became of it. Sans-IO.

1. HELLO: the parent gives a lease and its R per origin. What it holds is taken from there, never
   from memory (forward.py).
2. Requests go in two lanes (flight.py). The live lane has control and live batches, the history
   lane history, images, and pieces of a batch that is larger than a request of the link
   (pieces.py). What goes into a request is cut in cutting.py, how much of it says scheduler.py.
3. Only an acknowledgement that is signed with the lease and names the batch's hash counts. Anything
   else is a failure: what was in flight is owed again, and HELLO follows after a jittered pause.
4. What the parent says about a batch is taken in by verdicts.py.
5. A status rides with rows every two seconds, and goes alone a moment later where there are none;
   it is the heartbeat.

``next_request`` and the ``on_`` methods may block for milliseconds (log, zstd): call them from a
worker thread. They may be called from several threads; those that make requests of different lanes
do not wait for each other.
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
from mainstem_sync.sending.cutting import Cutter
from mainstem_sync.sending.flight import Lane
from mainstem_sync.sending.imagery import Imagery
from mainstem_sync.sending.lanes import Lanes
from mainstem_sync.sending.refusals import Refusals
from mainstem_sync.sending.session import LinkState, Request, Session
from mainstem_sync.sending.verdicts import Verdicts
from mainstem_sync.slices.wants import Ref
from mainstem_sync.state.forward import Forward
from mainstem_sync.state.upward import Upward
from mainstem_sync.wire.batch import Acknowledgement
from mainstem_sync.wire.fields import integer
from mainstem_sync.wire.frames import Frame, FrameType, decode_frames, verify_signature
from mainstem_sync.wire.messages import (
    HELLO_PATH,
    STATUS_ALONE_S,
    STATUS_EVERY_S,
    OriginKey,
    single_frame,
)
from mainstem_sync.wire.ranges import RangeSet

logger = logging.getLogger(__name__)


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
        self.lock = threading.RLock()
        """Guards what follows. Taken before the federation's lock, never after it."""
        self._session = Session(engine.log, clock_ns=clock_ns, monotonic=monotonic, rng=rng)
        self._known: dict[OriginKey, RangeSet] = {}
        refusals = Refusals(engine)
        self._cutter = Cutter(engine, forward, upward, lock, refusals, self._known)
        self._verdicts = Verdicts(forward, upward, lock, refusals, self._known, clock_ns)
        self._lanes = Lanes(
            engine, upward, self._session, self._cutter, self._verdicts, self._budget, self.lock,
            clock_ns=clock_ns, monotonic=monotonic,
        )  # fmt: skip
        self._hello_at = 0.0
        self._confirmed_at = 0.0
        self.on_frame: dict[FrameType, Callable[[Frame], None]] = {}
        """Who takes what else a signed reply holds, without the sender's lock."""
        self.on_work: Callable[[], None] | None = None
        """Called, from any thread, when there is something new to send."""

    @property
    def images(self) -> Imagery | None:
        """Answers what the parent asks for as slices."""
        return self._verdicts.images

    @images.setter
    def images(self, images: Imagery | None) -> None:
        self._verdicts.images = images
        if images is not None:
            self._cutter.ask_before_defining(images.owners_told)

    @property
    def lose(self) -> Callable[[RangeSet], None]:
        """Declares records lost that are gone from the log before the parent had them."""
        return self._cutter.lose

    @lose.setter
    def lose(self, lose: Callable[[RangeSet], None]) -> None:
        self._cutter.lose = lose

    @property
    def waited_for(self) -> Callable[[], RangeSet]:
        """Owed LSNs of the log that a query waits for: they go before other history."""
        return self._cutter.waited_for

    @waited_for.setter
    def waited_for(self, waited_for: Callable[[], RangeSet]) -> None:
        self._cutter.waited_for = waited_for

    @property
    def status_at(self) -> float:
        """When the status was told, monotonic s; set back, it is told again."""
        return self._lanes.status_at

    @status_at.setter
    def status_at(self, status_at: float) -> None:
        self._lanes.status_at = status_at

    # What to send

    def next_request(self, lane: Lane | None = None) -> Request | None:
        """The next body to post, of one lane or of either; None if nothing is due now (see
        ``wait_s``)."""
        if lane is not None:
            return self._next_live() if lane is Lane.LIVE else self._lanes.next_history()
        with self.lock:
            lanes = self._lanes.in_turn()
        for each in lanes:
            request = self.next_request(each)
            if request is not None:
                return request
        return None

    def wait_s(self, lane: Lane = Lane.LIVE) -> float:
        """Seconds after which ``next_request`` may have something without being notified."""
        with self.lock:
            if self._session.is_connected:
                return self._lanes.wait_s(lane)
            return max(min(self._budget.wait_s(), STATUS_EVERY_S), self._session.wait_s())

    def gathers_s(self) -> float:
        """Seconds for which a new record changes nothing: live rows are gathered until then."""
        with self.lock:
            return max(0.0, self._lanes.gathers_s(self._monotonic()))

    @property
    def is_behind(self) -> bool:
        """True if the history lane has something to do."""
        with self.lock:
            return self._lanes.is_behind

    def _next_live(self) -> Request | None:
        now = self._monotonic()
        with self.lock:
            if self._budget.wait_s() > 0 or self._lanes.leaves_turn():
                return None
            connected = self._session.is_connected
            if connected and not self._lanes.may_send(Lane.LIVE):
                return None
        status = None
        if connected and self._tells_status(now - self._lanes.status_at):
            # Outside every lock: making a status looks into all parts of the node.
            status = self._status()
        with self.lock:
            if not self._session.is_connected:
                request = self._next_hello()
            elif self._lanes.may_send(Lane.LIVE):
                request = self._lanes.next_live(now, status)
            else:
                return None
            return None if request is None else self._lanes.spent(request, Lane.LIVE)

    def _tells_status(self, age_s: float) -> bool:
        """True if a status goes now. It goes with rows, or alone when there are none for long."""
        if age_s < STATUS_EVERY_S or age_s >= STATUS_ALONE_S:
            return age_s >= STATUS_ALONE_S
        with self._state_lock:
            return self._forward.pending_rows > 0

    def _next_hello(self) -> Request | None:
        if not self._session.hello_is_due():
            return None
        with self._state_lock:
            acked = self._forward.acked.copy()
        upward = self._upward
        hello = self._session.next_hello(
            self._lanes.number + 1, upward.own_line(), acked, upward.relayed(), upward.statements(),
            upward.parent,
        )  # fmt: skip
        if hello is not None:
            self._lanes.number = hello.number
            self._hello_at = self._monotonic()
        return hello

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
            with self.lock:
                self._let_go(request)
                self._session.restart()
                self._notify()
        except RejectedError as exc:
            self.on_failure(request, f"{exc}", refused=True)
        except (SyncError, MainstemError) as exc:
            self.on_failure(request, f"HTTP {status}: {exc}", refused=isinstance(exc, PeerError))

    def _expects(self, request: Request) -> bool:
        with self.lock:
            flying = self._lanes.flights.get(request.number) is not None
            return flying or request is self._session.hello

    def on_failure(self, request: Request, why: str, *, refused: bool = False) -> None:
        """No answer, or none that is ours. What was in flight is owed again."""
        with self.lock:
            if not self._expects(request):
                return
            # Requests that were under way together fail together: that is one failure.
            is_first = self._session.is_connected or request is self._session.hello
            self._upward.failed = True
            self._let_go(request)
            if is_first:
                if not refused:
                    self._lanes.scheduler.failed()
                self._session.failed(why)
            self._notify()
        logger.warning("the link to the parent failed: %s", why)

    def _put_off(self, request: Request, error: BusyError) -> None:
        """The parent is over a bound: everything again after a jittered pause."""
        pause_s = error.retry_after_s * self._rng.uniform(1.0, 2.0)
        with self.lock:
            if not self._expects(request):
                return
            self._let_go(request)
            if self._session.is_connected:
                for lane in Lane:
                    self._lanes.pause(lane, pause_s)
            else:
                self._session.restart(pause_s)
            self._notify()
        logger.info("the parent is busy, this node waits %.1f s: %s", pause_s, error)

    def _let_go(self, request: Request) -> None:
        """The request is no longer under way; what it carried is owed again."""
        if request is self._session.hello:
            self._session.hello = None
        self._lanes.let_go(request)

    def begin_anew(self, change: Callable[[], None]) -> None:
        """Makes a change of what goes up while nothing is under way; a HELLO follows, as after a
        start. What was under way is judged by what the parent says that it has."""
        with self.lock:
            self._lanes.drop()
            self._session.restart(0.0)
            change()
            self._notify()

    def _stop(self, state: LinkState, error: SyncError) -> None:
        with self.lock:
            self._lanes.flights.clear()
            self._session.stop(state, error)
        logger.error("the parent refuses this node: %s", error)

    def _welcomed(self, request: Request, body: bytes) -> None:
        with self.lock:
            if request is not self._session.hello:
                return
            welcome = self._session.welcomed(body)
            if welcome is not None and welcome.table is not None:
                logger.error("this log was restored or cloned: it goes on in a new epoch")
                self._upward.begin_epoch(welcome.table)
            elif welcome is not None:
                self._upward.learn(welcome.lines)
                self._upward.let_in(welcome.uuid)
                self._known.clear()
                self._known.update(welcome.held)
                self._lanes.welcomed(welcome, self._known)
                own = self._known.get(self._upward.key, RangeSet())
                lost = self._forward.resume(own, self._engine.log)
                if lost:
                    logger.error(
                        "the parent lost %d records whose log is released here: declared", lost
                    )
                self._cutter.tail_start = self._engine.log.fsynced_lsn
                self._session.connected(welcome)
                self._lanes.scheduler.connected(self._monotonic() - self._hello_at)
                self._confirm_clock()
            self._notify()

    def _acknowledged(self, request: Request, status: int, body: bytes) -> None:
        with self.lock:
            flight = self._lanes.flights.get(request.number)
            if flight is None or flight.lease != self._session.lease:
                return
        if not verify_signature(body, flight.lease.encode()):
            single_frame(body)  # a refusal is raised from here
            raise WireError("the answer is not signed by the parent")
        answers: dict[bytes, Acknowledgement] = {}
        stamps: tuple[int, ...] = ()
        for frame in decode_frames(body):
            if frame.type is FrameType.ACK:
                answer = Acknowledgement.from_frame(frame)
                answers[answer.hash] = answer
            elif frame.type is FrameType.TIME:
                stamps = tuple(integer(frame.header.get(key), key) for key in ("got", "gave"))
            elif frame.type in self.on_frame:
                self.on_frame[frame.type](frame)
        with self.lock:
            if self._lanes.flights.pop(request.number) is None:
                return
            self._session.answered(flight.sent_at)
            if stamps:
                self._session.clock.exchanged(flight.sent_at, *stamps)
                if self._monotonic() - self._confirmed_at >= STATUS_EVERY_S:
                    self._confirm_clock()
            self._lanes.answered(flight, answers)
            self._notify()

    def _confirm_clock(self) -> None:
        """Retention believes a wall clock that jumped only when somebody else agrees."""
        now_ns = self._session.clock.now_ns()
        if now_ns is not None:
            self._confirmed_at = self._monotonic()
            self._engine.confirm_clock(now_ns)

    def _notify(self) -> None:
        if self.on_work is not None:
            self.on_work()

    # How it stands

    @property
    def state(self) -> LinkState:
        """What the uplink is doing."""
        return self._session.state

    @property
    def lease(self) -> str:
        """The lease of the connection; empty without one."""
        return self._session.lease if self._session.is_connected else ""

    @property
    def frame_bytes(self) -> int:
        """What the link takes in an eighth of a second, as far as was measured."""
        return self._lanes.scheduler.frame_bytes

    def learned(self, key: OriginKey, ranges: RangeSet) -> None:
        """The parent has these records of an origin now, as slices."""
        with self.lock:
            self._verdicts.learned(key, ranges)

    def parent_has(self, key: OriginKey) -> RangeSet | None:
        """R of an origin at the parent, as of the last HELLO."""
        with self.lock:
            found = self._known.get(key)
            return None if found is None else found.copy()

    @property
    def own(self) -> OriginKey:
        """This node's own stream."""
        return self._upward.key

    def wrote(self, ref: Ref) -> bool:
        """True for a record of the own log as it is now, not for one of a line that was given up.
        Records from before a fork may be named by any epoch since."""
        return self._upward.wrote(*ref)

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
        """The parent's clock minus this one, to ``clock_error_ms``; None before the first HELLO."""
        return self._session.clock.offset_ms

    @property
    def clock_error_ms(self) -> int | None:
        """How far this node's clock may be from its parent's; None before the first HELLO."""
        clock = self._session.clock
        offset, bound = clock.offset_ms, clock.bound_ms
        return None if offset is None or bound is None else abs(offset) + bound

    def contact_age_s(self) -> float | None:
        """Seconds since the parent last answered; None before the first time."""
        return self._session.contact_age_s()

    def asked_age_s(self) -> float | None:
        """Seconds since the youngest request was sent that the parent has answered; None before
        the first."""
        return self._session.asked_age_s()

    def is_drained(self) -> bool:
        """True if the parent holds, and knows to hold, everything that is in the log now."""
        with self.lock, self._state_lock:
            limit = self._forward.applied_lsn
            return self._forward.acked.watermark >= limit >= self._engine.log.committed_lsn
