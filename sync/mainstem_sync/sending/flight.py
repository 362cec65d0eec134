"""A request that was sent and is not yet answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from mainstem_sync.sending.outbox import Draft
from mainstem_sync.sending.session import Request
from mainstem_sync.wire.messages import Queue
from mainstem_sync.wire.pieces import Part


@dataclass(slots=True)
class Flight:
    """``sent_at``: monotonic s. ``flying_bytes``: of the requests that were under way when it was
    sent. ``part``: the piece of a large batch that it carries."""

    request: Request
    sent_at: float
    lease: str = ""
    drafts: list[Draft] = field(default_factory=list)
    flying_bytes: int = 0
    part: Part | None = None

    @property
    def live_only(self) -> bool:
        """True if it says how long live rows take."""
        return self.part is None and all(draft.queue is Queue.LIVE for draft in self.drafts)
