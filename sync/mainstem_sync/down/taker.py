"""The child's side of the way down: asks, writes down what it gets, and only then moves on.

1. While there is a lease one question is under way, which the parent answers when there is
   something to say, or after ``WAIT_S``. Without one there is nothing to ask.
2. What comes is written to the log, and durable before the next question says so. An order that is
   known by its id is passed over.
3. Of an order for this node a word goes up at once: DELIVERED. An order that may be carried out
   once only, that this node is said to have had and that it does not know, gets another one:
   UNKNOWN, and is not carried out. This node was restored from a backup.
4. Questions that came along are handed over, and are nobody's record (answers.py).
5. After a failure the next question waits, ever longer up to half a minute, and jittered.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mainstem_engine.consumers import Ack
from mainstem_engine.errors import EngineError
from mainstem_engine.log.records import RecordKind
from mainstem_sync.down.answers import Answers
from mainstem_sync.down.giver import MUST_REFETCH, Ask
from mainstem_sync.down.orders import START, Cursor, Line, Orders
from mainstem_sync.errors import SyncError, WireError
from mainstem_sync.state.patience import ACK_TIMEOUT_S
from mainstem_sync.wire.fields import integer, list_of, text
from mainstem_sync.wire.frames import Frame, FrameType, decode_frames, verify_signature
from mainstem_sync.wire.messages import single_frame
from mainstem_sync.wire.order import ID_CHARS_MAX, Mode, Order, State, Word

WAIT_S = 55.0
"""Below the minute after which many routers forget a connection without traffic."""

RETRY_MIN_S = 0.5
RETRY_MAX_S = 30.0
NOT_THERE_S = 300.0
"""A parent of an older version has no such route."""

NOT_FOUND = 404

_KNOWN = (FrameType.ORDER, FrameType.QUERY, FrameType.CANCEL, FrameType.DOWN)

RESTORED = "the node was restored from a backup, and had this order before"


class LogWriter(Protocol):
    """What is needed of an engine."""

    def append(self, kind: RecordKind, header: Mapping[str, Any]) -> Ack: ...


@dataclass(frozen=True, slots=True)
class Poll:
    """A question that is due. ``lease``: names and signs; ``wait_s``: how long it may take."""

    ask: Ask
    wait_s: float = WAIT_S


class Taker:
    """See the module. Thread-safe; ``took`` blocks until all is durable. ``on_order``: called with
    every new order for this node, once it is.

    ``lease``: that of the connection to the parent, empty without one. ``clock_ns`` wall clock,
    ``monotonic`` s.
    """

    def __init__(
        self,
        node: str,
        orders: Orders,
        log: LogWriter,
        *,
        lease: Callable[[], str],
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
        rng: random.Random,
        on_order: Callable[[Order], None],
        answers: Answers,
    ) -> None:
        self._answers = answers
        self._node = node
        self._orders = orders
        self._log = log
        self._lease = lease
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._rng = rng
        self._on_order = on_order
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._cursor: Cursor = START
        self._polling = False
        self._failures = 0
        self._retry_at = 0.0
        self.error: str | None = None
        """Why the last question failed; None once one was answered."""

    def next_poll(self) -> Poll | None:
        """The question to ask now, if one is due; it counts as under way until it is judged by
        ``took`` or ``failed``."""
        with self._lock:
            lease = self._lease()
            if self._polling or not lease or self._monotonic() < self._retry_at:
                return None
            self._polling = True
            after = self._answers.after(lease)
            return Poll(Ask(self._node, lease, self._line, self._cursor, after))

    def wait_s(self) -> float:
        """Seconds until a question may be due."""
        with self._lock:
            return max(0.0, self._retry_at - self._monotonic())

    def took(self, poll: Poll, status: int, body: bytes) -> None:
        """The answer came: what is new in it is written down, durable, and told to ``on_order``."""
        try:
            frames = self._frames(poll, status, body)
            orders = [Order.from_frame(f) for f in frames if f.type is FrameType.ORDER]
            new = self._written(orders, _line(frames[-1]))
            asked = [f for f in frames if f.type in (FrameType.QUERY, FrameType.CANCEL)]
            number = integer(frames[-1].header.get("questions", 0), "questions")
            self._answers.took(poll.ask.lease, asked, number)
            self._move(poll, frames[-1])
        except SyncError as exc:
            self.failed(poll, exc.message, pause_s=NOT_THERE_S if status == NOT_FOUND else None)
        except (EngineError, TimeoutError) as exc:
            self.failed(poll, f"orders cannot be written down: {exc}")
        else:
            for order in new:
                self._on_order(order)

    def failed(self, poll: Poll, why: str, *, pause_s: float | None = None) -> None:
        """There was no answer, or none that can be used."""
        del poll
        with self._lock:
            self._polling = False
            self._failures += 1
            self.error = why
            longest = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(self._failures - 1, 20))
            pause = longest * self._rng.uniform(0.2, 1.0) if pause_s is None else pause_s
            self._retry_at = self._monotonic() + pause

    def _frames(self, poll: Poll, status: int, body: bytes) -> list[Frame]:
        """What the answer brings, and the DOWN frame after it."""
        if status != 200:
            if status == NOT_FOUND:
                raise WireError("the parent knows no orders", hint="upgrade it")
            single_frame(body)  # raises what an ERROR frame says
            raise WireError(f"an answer with status {status}")
        if not verify_signature(body, poll.ask.lease.encode()):
            raise WireError("an answer that is not signed with the lease")
        frames = [f for f in decode_frames(body) if f.type in _KNOWN]
        if not frames or any(f.type is FrameType.DOWN for f in frames[:-1]):
            raise WireError("an answer without its end")
        if frames[-1].type is not FrameType.DOWN:
            raise WireError("an answer without its end")
        return frames

    def _written(self, found: list[tuple[Order, int, bool]], line: Line) -> list[Order]:
        acks: list[Ack] = []
        mine: list[Order] = []
        for order, lsn, delivered in found:
            known = self._orders.find(order.id) is not None
            if known and lsn <= self._orders.cursor(line)[0]:
                continue
            header = {**order.to_header(), "source": [*line, lsn], "delivered": delivered}
            acks.append(self._log.append(RecordKind.ORD, header))
            if known or order.to != self._node:
                continue
            lost = delivered and order.mode is Mode.ACTUATE
            state = State.UNKNOWN if lost else State.DELIVERED
            at_ms = self._clock_ns() // 1_000_000
            word = Word(order.id, self._node, state, at_ms, error=RESTORED if lost else "")
            acks.append(self._log.append(RecordKind.RES, word.to_header()))
            if not lost:
                mine.append(order)
        for ack in acks:
            ack.wait(ACK_TIMEOUT_S)
        return mine

    def _move(self, poll: Poll, end: Frame) -> None:
        line = _line(end)
        with self._lock:
            self._polling = False
            self._failures, self.error, self._retry_at = 0, None, 0.0
            self._line = line
            if end.header.get("state") != MUST_REFETCH:
                self._cursor = _cursor(end)
            elif poll.ask.line != line:
                self._cursor = self._orders.cursor(line)
            else:
                self._cursor = START


def _line(end: Frame) -> Line:
    uuid, epoch = (*list_of(end.header.get("line"), "line", 2), None, None)[:2]
    return text(uuid, "uuid"), integer(epoch, "epoch")


def _cursor(end: Frame) -> Cursor:
    lsn, ident = (*list_of(end.header.get("cursor"), "cursor", 2), None, None)[:2]
    return integer(lsn, "lsn"), text(ident, "id", ID_CHARS_MAX, empty=True)
