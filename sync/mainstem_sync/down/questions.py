"""The asking end of questions: which are open at which child, and what came back so far.

1. A question goes with the child's next answer to ``GET /sync/v1/down``, again and again until the
   child says by its number that it has it. A child knows by the id what it was asked before.
2. Answers come in pieces, in any number of requests. A piece that is there already is passed over;
   one of a question that nobody waits for is answered by ``gone``, and its child stops.
3. A question that was given up is followed by a CANCEL, until its time is over.
4. Bounded: questions of a child, bytes of an answer, and time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mainstem_sync.errors import BusyError, PeerError, SyncError, WireError
from mainstem_sync.state.children import Children
from mainstem_sync.wire.frames import FrameType, decode_frames, encode_frame, sign
from mainstem_sync.wire.messages import OFFLINE_AFTER_S, encode_error
from mainstem_sync.wire.question import (
    ANSWER_BYTES_MAX,
    WAIT_MS_MAX,
    Piece,
    Question,
    cancel_frame,
)

OPEN_MAX = 64
"""Of one child. It answers them one after the other."""

FRAMES_MAX = 32
BYTES_MAX = 4 << 20
"""Of one answer to a child: a message has at most 256 frames and 16 MiB."""

FETCHED_S = 10.0
"""A child that is there has a question of its own under way and is told at once; two seconds of
round-trip time and a lost packet fit."""

OK = "ok"
GONE = "gone"


class UnansweredError(SyncError, TimeoutError):
    """A node below did not answer, or said that it cannot. ``code`` says why."""

    code = "UNANSWERED"


@dataclass(slots=True)
class Asked:
    """A question under way. ``result`` and ``said`` are there when ``done`` is set without
    ``error``; ``wire_bytes``: what came for it."""

    question: Question
    child: str
    number: int
    until: float
    fetch_until: float
    done: threading.Event = field(default_factory=threading.Event)
    fetched: bool = False
    error: SyncError | None = None
    said: dict[str, Any] = field(default_factory=dict)
    result: bytes = b""
    wire_bytes: int = 0
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    is_cancelled: bool = False


class Questions:
    """See the module. Thread-safe. ``wake``: there is something new for a child."""

    def __init__(
        self,
        children: Children,
        *,
        monotonic: Callable[[], float],
        token: Callable[[], str],
        wake: Callable[[str], None],
    ) -> None:
        self._children = children
        self._monotonic = monotonic
        self._token = token
        self._wake = wake
        self._lock = threading.Lock()
        self._number = 0
        self._open: dict[str, Asked] = {}
        self._takers: set[str] = set()
        self.wire_bytes = 0
        """Of all answers since the start."""

    def ask(
        self, child: str, body: bytes, wait_s: float, bytes_max: int = ANSWER_BYTES_MAX
    ) -> Asked:
        """Ask a child. Raises UnansweredError when it is not there or takes no questions,
        BusyError when too many are open."""
        age = self._children.contact_age_s(child)
        if age is None or age > OFFLINE_AFTER_S:
            raise UnansweredError(f"{child} is offline")
        now, wait_s = self._monotonic(), min(wait_s, WAIT_MS_MAX / 1000)
        with self._lock:
            self._forget(now)
            if child not in self._takers:
                raise UnansweredError(f"{child} has not asked whether there are questions")
            if sum(asked.child == child for asked in self._open.values()) >= OPEN_MAX:
                raise BusyError(f"{OPEN_MAX} questions to {child} are open")
            self._number += 1
            question = Question(self._token(), body, int(wait_s * 1000), bytes_max)
            question.frame(question.wait_ms)  # raises if it is too large
            fetch_until = now + min(FETCHED_S, wait_s)
            asked = Asked(question, child, self._number, now + wait_s, fetch_until)
            self._open[question.id] = asked
        self._wake(child)
        return asked

    def takers(self) -> set[str]:
        """The children that answer questions."""
        with self._lock:
            return set(self._takers)

    def wait(self, asked: Asked) -> None:
        """Until it is answered. Raises UnansweredError, with which it is given up."""
        if not asked.fetched:
            asked.done.wait(max(0.0, asked.fetch_until - self._monotonic()))
        if not asked.done.is_set() and asked.fetched:
            asked.done.wait(max(0.0, asked.until - self._monotonic()))
        if not asked.done.is_set():
            why = "has not answered in time" if asked.fetched else "does not fetch questions"
            self.cancel(asked, UnansweredError(f"{asked.child} {why}"))
        if asked.error is not None:
            raise asked.error

    def cancel(self, asked: Asked, why: SyncError | None = None) -> None:
        """Nobody waits for the answer any more."""
        with self._lock:
            if asked.done.is_set():
                return
            asked.error = why or UnansweredError("the question was given up")
            asked.pieces.clear()
            asked.is_cancelled = True
            self._number += 1
            asked.number = self._number
            asked.done.set()
        self._wake(asked.child)

    # What the child hears

    def heard(self, child: str, after: int | None) -> None:
        """A child asks what there is; it has questions up to number ``after``, or takes none."""
        with self._lock:
            if after is None:
                self._takers.discard(child)
                return
            self._takers.add(child)
            for asked in self._open.values():
                if asked.child == child and asked.number <= after:
                    asked.fetched = True

    def is_due(self, child: str, after: int | None) -> bool:
        with self._lock:
            return after is not None and bool(self._waiting(child, after))

    def frames(self, child: str, after: int | None) -> tuple[list[bytes], int, bool]:
        """QUERY and CANCEL frames above number ``after``, the number of the last, and whether there
        are more."""
        if after is None:
            return [], 0, False
        found: list[bytes] = []
        size, last = 0, after
        now = self._monotonic()
        with self._lock:
            self._forget(now)
            for asked in self._waiting(child, after):
                left_ms = max(0, int((asked.until - now) * 1000))
                question = asked.question
                is_over = asked.is_cancelled
                frame = cancel_frame(question.id) if is_over else question.frame(left_ms)
                if len(found) >= FRAMES_MAX or (found and size + len(frame) > BYTES_MAX):
                    return found, last, True
                found.append(frame)
                size, last = size + len(frame), asked.number
        return found, last, False

    # What the child says

    def took(self, child: str, lease: str, body: bytes) -> tuple[int, bytes]:
        """Pieces of answers: HTTP status and signed answer."""
        try:
            self._children.require_lease(child, lease)
            state, wire_bytes = OK, len(body)
            for frame in decode_frames(body):
                if frame.type is FrameType.RESULT:
                    piece = Piece.from_frame(frame)
                    if not self._took_piece(child, piece, wire_bytes):
                        state = GONE
                    wire_bytes = 0  # more than one piece comes from nobody
        except SyncError as exc:
            return exc.status if isinstance(exc, PeerError) else 400, encode_error(exc)
        return 200, sign(encode_frame(FrameType.DOWN, {"state": state}), lease.encode())

    def _took_piece(self, child: str, piece: Piece, wire_bytes: int) -> bool:
        with self._lock:
            asked = self._open.get(piece.id)
            if asked is None or asked.child != child or asked.done.is_set():
                return asked is not None and asked.error is None
            asked.fetched = True
            asked.wire_bytes += wire_bytes
            self.wire_bytes += wire_bytes
            if piece.number not in asked.pieces:
                asked.pieces[piece.number] = piece.raw
                asked.size += len(piece.raw)
            if asked.size > asked.question.bytes_max:
                asked.error = UnansweredError(f"{child} answers with more bytes than were asked")
            elif piece.is_last:
                self._finish(asked, piece)
            if asked.error is not None or piece.is_last:
                asked.pieces.clear()
                asked.done.set()
                del self._open[piece.id]
            return True

    def _finish(self, asked: Asked, last: Piece) -> None:
        if len(asked.pieces) != last.number + 1:
            # Pieces come in order: one that is missing was never sent.
            raise WireError("an answer with a piece missing")
        asked.said = dict(last.said)
        if last.error:
            asked.error = UnansweredError(last.error)
            asked.error.code = last.code or UnansweredError.code
        asked.result = b"".join(asked.pieces[n] for n in range(last.number + 1))

    def _waiting(self, child: str, after: int) -> list[Asked]:
        some = [a for a in self._open.values() if a.child == child and a.number > after]
        return sorted(some, key=lambda asked: asked.number)

    def _forget(self, now: float) -> None:
        """Those whose time is over: whoever waits for one finds so by itself."""
        for key, asked in list(self._open.items()):
            if asked.until <= now:
                del self._open[key]
