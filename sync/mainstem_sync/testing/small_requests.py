"""Requests of a few records, as a thin link has them.

A backlog then takes many requests, which overtake each other and are lost one by one: what a parent
holds has holes, deletes come before the rows that they cover, large batches come in pieces.
"""

from __future__ import annotations

from mainstem_sync.sending.scheduler import Scheduler
from mainstem_sync.wire.messages import Queue

FRAME_BYTES = 800
RAW_BYTES_MAX = 600
"""Two or three records of a simulation."""


class SmallRequests(Scheduler):
    """A scheduler that believes in such a link, whatever it measures."""

    @property
    def frame_bytes(self) -> int:
        return FRAME_BYTES

    def raw_bytes(self, queue: Queue, frame_bytes: int | None = None) -> int:
        return min(super().raw_bytes(queue, frame_bytes), RAW_BYTES_MAX)

    def may_send(self, requests: int, flying_bytes: int) -> bool:
        del flying_bytes
        return requests < IN_FLIGHT


IN_FLIGHT = 6
"""More than are needed: so that they meet on the way."""
