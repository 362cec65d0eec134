"""Requests that were sent and are not yet answered, in two lanes.

1. The *live* lane has HELLO, definitions, statements and what has just been written; the *history*
   lane what was owed before, images, and pieces of large batches. Each has requests of its own, so
   that a row that was just written waits for no history to be made, sent or taken in.
2. What is in flight is owed still, but not sent again before its request has its answer.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mainstem_sync.sending.outbox import Draft
from mainstem_sync.sending.session import Request
from mainstem_sync.wire.messages import OriginKey, Queue
from mainstem_sync.wire.pieces import Part
from mainstem_sync.wire.ranges import RangeSet


class Lane(enum.StrEnum):
    """Which requests follow each other; see the module."""

    LIVE = "live"
    HISTORY = "history"


@dataclass(slots=True)
class Flight:
    """``sent_at``: monotonic s. ``flying_bytes``: of the requests that were under way when it was
    sent. ``part``: the piece of a large batch that it carries. ``alone``: no history was under way
    beside it."""

    request: Request
    lane: Lane
    sent_at: float
    lease: str = ""
    drafts: list[Draft] = field(default_factory=list)
    flying_bytes: int = 0
    part: Part | None = None
    alone: bool = True

    @property
    def live_only(self) -> bool:
        """True if it says how long live rows take."""
        return self.part is None and all(draft.queue is Queue.LIVE for draft in self.drafts)


class Flights:
    """By the number of the request. Guarded by the sender's lock."""

    def __init__(self) -> None:
        self._all: dict[int, Flight] = {}

    def add(self, flight: Flight) -> None:
        self._all[flight.request.number] = flight

    def get(self, number: int) -> Flight | None:
        return self._all.get(number)

    def pop(self, number: int) -> Flight | None:
        """The flight, which has its answer or will not get one."""
        return self._all.pop(number, None)

    def clear(self) -> None:
        self._all.clear()

    def count(self, lane: Lane) -> int:
        """Requests of a lane."""
        if not self._all:
            return 0
        return sum(flight.lane is lane for flight in self._all.values())

    def bytes(self, lane: Lane | None = None) -> int:
        """Of the bodies of a lane, or of both."""
        return sum(
            len(flight.request.body)
            for flight in self._all.values()
            if lane is None or flight.lane is lane
        )

    def lsns(self, further: Sequence[Draft]) -> RangeSet:
        """Local LSNs whose content is under way, those of drafts that go in pieces included."""
        found = RangeSet()
        for draft in self._drafts(further):
            found.update(draft.lsns)
        return found

    def ranges(self, further: Sequence[Draft], of: Callable[[OriginKey], bool]) -> RangeSet:
        """LSNs that the batches of some origins settle, covered ones included."""
        found = RangeSet()
        for draft in self._drafts(further):
            if of(draft.origin):
                found.update(draft.ranges)
        return found

    def _drafts(self, further: Sequence[Draft]) -> Sequence[Draft]:
        if not self._all:
            return further
        drafts = [draft for flight in self._all.values() for draft in flight.drafts]
        return [*drafts, *further]
