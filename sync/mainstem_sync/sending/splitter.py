"""Batches that are sent in pieces: which of them are under way, which the parent holds.

1. What pieces are, and how the parent joins them, is in `wire.pieces`.
2. Pieces of one batch follow each other. The next batch may begin as soon as all of the one before
   is under way: a link with a long way would be empty while its answer is awaited.
3. Nothing is begun behind definitions: it may need them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mainstem_sync.sending.outbox import Draft
from mainstem_sync.wire.messages import Queue
from mainstem_sync.wire.pieces import BATCHES_MAX, Part
from mainstem_sync.wire.ranges import RangeSet

SPLIT_FRAMES = 2
"""A batch of up to so many requests' size goes whole."""

SPLIT_BYTES_MIN = 16 << 10
"""Below it a piece is mostly the head of its request."""


@dataclass(slots=True)
class _Split:
    """One batch. ``done``, ``flying``: bytes, counted from 1, that the parent holds, or that are
    on their way."""

    draft: Draft
    frame: bytes
    done: RangeSet = field(default_factory=RangeSet)
    flying: RangeSet = field(default_factory=RangeSet)

    @property
    def is_waiting(self) -> bool:
        """True if some of it is neither under way nor known to be held."""
        return not self.flying or self.next_gap() is not None

    def next_gap(self) -> tuple[int, int] | None:
        known = self.done.copy()
        known.update(self.flying)
        return next(known.gaps(1, len(self.frame)), None)

    def next_part(self, size: int) -> Part | None:
        total = len(self.frame)
        if not self.flying and self.done.covers(1, total):
            self.done = RangeSet()  # the answer to the last piece did not come: all of it again
        gap = self.next_gap()
        if gap is None:
            return None
        first, last = gap[0], min(gap[1], gap[0] + max(size, 1) - 1)
        self.flying.add(first, last)
        data = memoryview(self.frame)[first - 1 : last]
        return Part(self.draft.digest, first - 1, total, data, self.done.watermark)

    def answered(self, part: Part, held: int | None) -> None:
        first, last = part.at + 1, part.at + len(part.data)
        self.flying.remove(first, last)
        if held is None:
            return
        if held < part.confirmed:
            self.done = RangeSet()  # it has been started again
        self.done.add(first, last)
        self.done.add(1, held)


class Splitter:
    """The child's side: as many batches as the parent keeps half sent. Not thread-safe."""

    def __init__(self) -> None:
        self._splits: list[_Split] = []
        """In the order in which they began."""

    @staticmethod
    def is_large(size: int, frame_bytes: int) -> bool:
        """True if a batch of ``size`` bytes should go in pieces."""
        return size > max(SPLIT_BYTES_MIN, SPLIT_FRAMES * frame_bytes)

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The batches that are under way in pieces."""
        return tuple(split.draft for split in self._splits)

    @property
    def is_waiting(self) -> bool:
        """True if some of a batch is neither under way nor known to be held."""
        return any(split.is_waiting for split in self._splits)

    @property
    def is_defining(self) -> bool:
        """True if definitions are under way in pieces."""
        return any(split.draft.queue is Queue.CONTROL for split in self._splits)

    @property
    def may_begin(self) -> bool:
        """True if another batch may go in pieces."""
        return len(self._splits) < BATCHES_MAX and not self.is_waiting and not self.is_defining

    def begin(self, draft: Draft, frame: bytes) -> None:
        """``frame``: the encoded draft."""
        self._splits.append(_Split(draft, frame))

    def next_part(self, size: int) -> Part | None:
        """Up to ``size`` bytes that the parent lacks and that are not under way."""
        for split in self._splits:
            part = split.next_part(size)
            if part is not None:
                return part
        return None

    def find(self, part: Part) -> Draft | None:
        """The batch of a piece, unless it has its answer."""
        split = self._of(part)
        return None if split is None else split.draft

    def answered(self, part: Part, held: int | None) -> None:
        """``held``: bytes that the parent holds from the beginning; None: there was no answer."""
        split = self._of(part)
        if split is not None:
            split.answered(part, held)

    def reconnected(self) -> None:
        """Nothing is under way any more."""
        for split in self._splits:
            split.flying = RangeSet()

    def end(self, draft: Draft) -> None:
        """The batch has its answer, or is not to be sent any more."""
        self._splits = [split for split in self._splits if split.draft is not draft]

    def clear(self) -> None:
        """None of them is to be sent any more."""
        self._splits.clear()

    def _of(self, part: Part) -> _Split | None:
        return next((split for split in self._splits if split.draft.digest == part.digest), None)
