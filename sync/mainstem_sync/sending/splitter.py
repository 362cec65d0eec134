"""One batch that is sent in pieces: which of them are under way, which the parent holds.

What pieces are, and how the parent joins them, is in `wire.pieces`.
"""

from __future__ import annotations

from mainstem_sync.sending.outbox import Draft
from mainstem_sync.wire.pieces import Part
from mainstem_sync.wire.ranges import RangeSet

SPLIT_FRAMES = 2
"""A batch of up to so many requests' size goes whole."""

SPLIT_BYTES_MIN = 16 << 10
"""Below it a piece is mostly the head of its request."""


class Splitter:
    """The child's side: at most one batch is sent in pieces. Not thread-safe."""

    def __init__(self) -> None:
        self.draft: Draft | None = None
        """The batch that is under way in pieces."""
        self._frame = b""
        self._done = RangeSet()
        self._flying = RangeSet()

    @staticmethod
    def is_large(size: int, frame_bytes: int) -> bool:
        """True if a batch of ``size`` bytes should go in pieces."""
        return size > max(SPLIT_BYTES_MIN, SPLIT_FRAMES * frame_bytes)

    @property
    def is_waiting(self) -> bool:
        """True if some of the batch is neither under way nor known to be held."""
        if self.draft is None:
            return False
        return not self._flying or self._next_gap() is not None

    def begin(self, draft: Draft, frame: bytes) -> None:
        """``frame``: the encoded draft."""
        self.draft, self._frame = draft, frame
        self._done, self._flying = RangeSet(), RangeSet()

    def next_part(self, size: int) -> Part | None:
        """Up to ``size`` bytes that the parent lacks and that are not under way."""
        if self.draft is None:
            return None
        total = len(self._frame)
        if not self._flying and self._done.covers(1, total):
            self._done = RangeSet()  # the answer to the last piece did not come: all of it again
        gap = self._next_gap()
        if gap is None:
            return None
        first, last = gap[0], min(gap[1], gap[0] + max(size, 1) - 1)
        self._flying.add(first, last)
        data = memoryview(self._frame)[first - 1 : last]
        return Part(self.draft.digest, first - 1, total, data, self._done.watermark)

    def _next_gap(self) -> tuple[int, int] | None:
        known = self._done.copy()
        known.update(self._flying)
        return next(known.gaps(1, len(self._frame)), None)

    def answered(self, part: Part, held: int | None) -> None:
        """``held``: bytes that the parent holds from the beginning; None: there was no answer."""
        first, last = part.at + 1, part.at + len(part.data)
        self._flying.remove(first, last)
        if held is None or self.draft is None or part.digest != self.draft.digest:
            return
        if held < part.confirmed:
            self._done = RangeSet()  # it has been started again
        self._done.add(first, last)
        self._done.add(1, held)

    def reconnected(self) -> None:
        """Nothing is under way any more."""
        self._flying = RangeSet()

    def end(self) -> Draft | None:
        """The batch has its answer, or is not to be sent any more."""
        draft, self.draft, self._frame = self.draft, None, b""
        return draft
