"""The parent's side of the way down: what a child has not taken yet.

1. A child asks with a *cursor*: the order of this node's log up to which it has taken what is for
   it. The answer has every open order above it for the child and the nodes behind it, in the order
   of the log, and the new cursor. Nothing about a child is remembered here.
2. A cursor that is not of this log means that this node was restored or replaced, or has forgotten
   the order: the child is told to ask from the beginning. What it has it knows by id.
3. An order says whether the node that it is for once had it. Whoever had it and has lost it was
   restored from a backup: it must not carry out again what may be carried out once only.
4. Questions ride along (questions.py). They are no records: no cursor knows them.
5. An answer is signed with the lease, as every reply is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from mainstem_sync.down.orders import START, Cursor, Line, Orders, Standing
from mainstem_sync.down.questions import Questions
from mainstem_sync.errors import PeerError, SyncError
from mainstem_sync.state.children import Children
from mainstem_sync.wire.frames import FrameType, encode_frame, sign
from mainstem_sync.wire.messages import encode_error
from mainstem_sync.wire.order import State

ANSWER_BYTES_MAX = 4 << 20
"""More is fetched by the next question: a thin link must see progress."""

ANSWER_ORDERS_MAX = 200
"""A message has at most 256 frames."""

UP_TO_DATE = "up_to_date"
MORE = "more"
MUST_REFETCH = "must_refetch"


@dataclass(frozen=True, slots=True)
class Ask:
    """A child's question. ``line``: of the cursor, None before the first answer. ``after``: the
    number of the last question that it has; None takes no questions."""

    child: str
    lease: str
    line: Line | None
    cursor: Cursor
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and body."""

    status: int
    body: bytes


class Giver:
    """See the module. Thread-safe. ``line``: of this node's log now; ``route``: the child that
    leads to a node, or is it; None while nobody knows."""

    def __init__(
        self,
        orders: Orders,
        children: Children,
        *,
        line: Callable[[], Line],
        route: Callable[[str], str | None],
        questions: Questions,
    ) -> None:
        self._orders = orders
        self.questions = questions
        self._children = children
        self._line = line
        self._route = route
        self._lock = threading.Lock()
        self._closed = False
        self._waiters: dict[str, set[Callable[[], None]]] = {}

    def is_due(self, ask: Ask) -> bool:
        """True if there is something to say that need not wait. Raises PeerError for a lease that
        is not the child's."""
        self._children.require_lease(ask.child, ask.lease)
        self.questions.heard(ask.child, ask.after)
        due = not self._is_known(ask) or self.questions.is_due(ask.child, ask.after)
        return self._closed or due or bool(self._waiting(ask))

    def answer(self, ask: Ask) -> Answer:
        """The signed answer, or the refusal."""
        try:
            self._children.require_lease(ask.child, ask.lease)
        except SyncError as exc:
            status = exc.status if isinstance(exc, PeerError) else 400
            return Answer(status, encode_error(exc))
        self.questions.heard(ask.child, ask.after)
        if not self._is_known(ask):
            return self._signed(ask, [], MUST_REFETCH, START)
        parts: list[bytes] = []
        size, cursor, state = 0, ask.cursor, UP_TO_DATE
        for standing in self._waiting(ask):
            frame = standing.order.frame(standing.lsn, delivered=_was_delivered(standing))
            if len(parts) >= ANSWER_ORDERS_MAX or (parts and size + len(frame) > ANSWER_BYTES_MAX):
                state = MORE
                break
            parts.append(frame)
            size, cursor = size + len(frame), (standing.lsn, standing.order.id)
        return self._signed(ask, parts, state, cursor)

    def add_waiter(self, child: str, wake: Callable[[], None]) -> None:
        """``wake()`` is called, on any thread, when there may be something new for the child, until
        it is removed."""
        with self._lock:
            self._waiters.setdefault(child, set()).add(wake)

    def remove_waiter(self, child: str, wake: Callable[[], None]) -> None:
        with self._lock:
            waiters = self._waiters.get(child, set())
            waiters.discard(wake)
            if not waiters:
                self._waiters.pop(child, None)

    def changed(self, node: str) -> None:
        """There may be something new for a node. While nobody knows what leads there, nobody is
        woken: a child names those behind it with its status, and asks again soon."""
        child = self._route(node)
        if child is not None:
            self.wake(child)

    def wake(self, child: str) -> None:
        """There may be something new for a child."""
        with self._lock:
            wakes = list(self._waiters.get(child, ()))
        for wake in wakes:
            wake()

    def close(self) -> None:
        """From now on nobody waits: the node is stopping."""
        with self._lock:
            self._closed = True
            wakes = [wake for some in self._waiters.values() for wake in some]
        for wake in wakes:
            wake()

    def _is_known(self, ask: Ask) -> bool:
        return ask.line == self._line() and self._orders.is_at(ask.cursor)

    def _waiting(self, ask: Ask) -> list[Standing]:
        return self._orders.open_above(ask.cursor[0], lambda node: self._route(node) == ask.child)

    def _signed(self, ask: Ask, parts: list[bytes], state: str, cursor: Cursor) -> Answer:
        header: dict[str, object] = {
            "state": state,
            "cursor": list(cursor),
            "line": list(self._line()),
        }
        frames, number, is_more = self.questions.frames(ask.child, ask.after)
        parts += frames
        header |= {"questions": number, "state": MORE if is_more and state == UP_TO_DATE else state}
        parts.append(encode_frame(FrameType.DOWN, header))
        return Answer(200, sign(b"".join(parts), ask.lease.encode()))


def _was_delivered(standing: Standing) -> bool:
    return standing.delivered or standing.state.rank >= State.DELIVERED.rank
