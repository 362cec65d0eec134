"""The answering end of questions: what a node was asked, and what it still has to send.

1. A question is handed over once, however often it comes. One that is given up is called off.
2. Answers are sent piece by piece, one after the other; what is not sent when the question's time
   is over is dropped, and so is the rest of an answer that nobody wants any more.
3. A new connection to the parent is a new conversation: what the old one asked is called off. Its
   lease is gone, and whoever waits has given up or asks again.
4. Bounded: open questions and bytes that wait.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mainstem_sync.errors import SyncError, TooLargeError, WireError
from mainstem_sync.wire.frames import (
    Frame,
    FrameType,
    decode_frames,
    verify_signature,
)
from mainstem_sync.wire.messages import single_frame
from mainstem_sync.wire.question import (
    ANSWER_BYTES_MAX,
    PIECE_BYTES,
    Question,
    cancelled_id,
    pieces_of,
)

OPEN_MAX = 64
WAITING_BYTES_MAX = 2 * ANSWER_BYTES_MAX
"""One answer that is being sent, and one that is ready."""

SEEN_MAX = 1000
ATTEMPTS_MAX = 5
GONE = "gone"


@dataclass(slots=True)
class Pending:
    """A question of the parent. ``until``: monotonic seconds. ``cancelled`` is set when nobody
    waits for its answer."""

    question: Question
    lease: str
    until: float
    cancelled: threading.Event = field(default_factory=threading.Event)
    on_cancel: Callable[[], None] | None = None
    """Called once, on any thread, when it is called off."""

    def call_off(self) -> None:
        self.cancelled.set()
        call = self.on_cancel
        if call is not None:
            call()


@dataclass(slots=True)
class Sending:
    """One request with a piece of an answer."""

    pending: Pending
    body: bytes
    is_last: bool
    attempts: int = 0


class Answers:
    """See the module. Thread-safe. ``on_question`` must not block. ``on_ready``: there is something
    to send; called on any thread. ``piece_bytes``: what the link takes in a moment."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        piece_bytes: Callable[[], int] = lambda: PIECE_BYTES,
    ) -> None:
        self._monotonic = monotonic
        self._piece_bytes = piece_bytes
        self._lock = threading.Lock()
        self._open: dict[str, Pending] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._ready: deque[Sending] = deque()
        self._bytes = 0
        self._lease = ""
        self._after = 0
        self.on_question: Callable[[Pending], None] | None = None
        """Who answers; None: this node takes no questions."""
        self.on_ready: Callable[[], None] = lambda: None

    def after(self, lease: str) -> int | None:
        """The number of the last question that came over this connection; None takes none."""
        with self._lock:
            old = []
            if lease != self._lease:
                self._lease, self._after = lease, 0
                old = list(self._open.values())
            after = None if self.on_question is None else self._after
        for pending in old:
            self.drop(pending)
        return after

    def took(self, lease: str, frames: list[Frame], number: int) -> None:
        """QUERY and CANCEL frames of one answer, up to question ``number``. One that cannot be read
        is passed over: it dies with its time."""
        new: list[Pending] = []
        off: list[Pending] = []
        now = self._monotonic()
        with self._lock:
            if lease != self._lease:
                return
            for frame in frames:
                try:
                    if frame.type is FrameType.CANCEL:
                        found = self._open.get(cancelled_id(frame))
                        off += [] if found is None else [found]
                        continue
                    question = Question.from_frame(frame)
                except WireError:
                    continue  # of a newer parent: orders that came along must not wait for it
                if question.id in self._seen:
                    continue
                self._seen[question.id] = None
                while len(self._seen) > SEEN_MAX:
                    self._seen.popitem(last=False)
                pending = Pending(question, lease, now + question.wait_ms / 1000)
                if len(self._open) < OPEN_MAX:
                    self._open[question.id] = pending
                    new.append(pending)
            self._after = max(self._after, number)
        for pending in off:
            self.drop(pending)
        for pending in new:
            if self.on_question is not None:
                self.on_question(pending)

    def answer(
        self, pending: Pending, raw: bytes, said: dict[str, object], code: str = "", error: str = ""
    ) -> None:
        """The answer, or why there is none. What is too large becomes an error."""
        limit = min(pending.question.bytes_max, ANSWER_BYTES_MAX)
        if len(raw) > limit:
            code, error = "BUDGET", f"the answer has {len(raw)} bytes, the limit is {limit}"
            raw = b""
        with self._lock:
            if self._bytes + len(raw) > WAITING_BYTES_MAX:
                code, error, raw = "BUSY", "too many answers wait to be sent", b""
            if pending.question.id not in self._open:
                return
            size = self._piece_bytes()
            pieces = pieces_of(pending.question.id, raw, said, code, error, size)
            try:
                bodies = [piece.frame() for piece in pieces]
            except TooLargeError as exc:
                pieces = pieces_of(pending.question.id, b"", {}, exc.code, exc.message)
                bodies = [piece.frame() for piece in pieces]
            for piece, body in zip(pieces, bodies, strict=True):
                self._bytes += len(body)
                self._ready.append(Sending(pending, body, piece.is_last))
        self.on_ready()

    def drop(self, pending: Pending) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._open.pop(pending.question.id, None)
            kept = deque(s for s in self._ready if s.pending is not pending)
            self._bytes = sum(len(s.body) for s in kept)
            self._ready = kept
        pending.call_off()

    def next_sending(self) -> Sending | None:
        """What to post now; it stays first until ``sent`` or ``failed`` judges it."""
        now = self._monotonic()
        while True:
            with self._lock:
                first = self._ready[0] if self._ready else None
            if first is None or (first.pending.until > now and first.attempts < ATTEMPTS_MAX):
                return first
            self.drop(first.pending)

    def sent(self, sending: Sending, status: int, body: bytes) -> None:
        """The parent answered."""
        try:
            state = _state(sending.pending.lease, status, body)
        except SyncError:
            self.drop(sending.pending)
            return
        if state == GONE:
            self.drop(sending.pending)
            return
        with self._lock:
            if self._ready and self._ready[0] is sending:
                self._ready.popleft()
                self._bytes -= len(sending.body)
            if sending.is_last:
                self._open.pop(sending.pending.question.id, None)

    def failed(self, sending: Sending) -> None:
        """Nobody answered: it is tried again, a few times."""
        sending.attempts += 1

    def open(self) -> list[Pending]:
        with self._lock:
            return list(self._open.values())


def _state(lease: str, status: int, body: bytes) -> str:
    if status != 200:
        single_frame(body)  # raises what an ERROR frame says
        raise WireError(f"an answer with status {status}")
    if not verify_signature(body, lease.encode()):
        raise WireError("an answer that is not signed with the lease")
    for frame in decode_frames(body):
        if frame.type is FrameType.DOWN:
            return str(frame.header.get("state"))
    raise WireError("an answer without its end")
