"""Batches that are larger than a request may be on a thin link: cut into pieces and joined again.

1. A record has one LSN and cannot be divided, and it may take a thin link a minute. Its batch, as a
   whole frame, is sent in pieces of a request's size, with live batches between them. It is applied
   when the last piece is in.
2. The parent keeps the pieces of a child by the hash of the batch, whatever the lease, so that a
   link that breaks every half minute goes on where it was. It forgets them when it starts again:
   each answer says how much it holds from the beginning, and the child sends what is missing.
3. What a child, and what all of them, may leave half sent is bounded: beyond it they are put off.
   What nothing came of for HALF_SENT_AGE_S makes room for others.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from mainstem_sync.errors import TooLargeError, WireError
from mainstem_sync.wire.fields import integer
from mainstem_sync.wire.frames import HASH_BYTES, REQUEST_BYTES_MAX, Frame, FrameType, encode_frame
from mainstem_sync.wire.ranges import RangeSet

PIECES_VERSION = 2
"""Versions of the protocol from here on know pieces."""

BATCHES_MAX = 2
"""Half-sent batches of one child: one whose last pieces are under way, and the next, which so
begins before the answer; of the process before it, what has been there longest goes first."""

HALF_SENT_BYTES_MAX = 64 << 20
"""Of all children together."""

HALF_SENT_AGE_S = 600.0
"""A link that breaks every half minute brings a piece at each try, and tries follow each other
within half a minute: what had none for so long is of a child that is away."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a BATCH frame: ``at`` of ``total``; ``digest`` is the hash of the batch.
    ``confirmed``: bytes that the parent was known to hold when it was sent; not on the wire."""

    digest: bytes
    at: int
    total: int
    data: bytes | memoryview
    confirmed: int = 0

    def encode(self) -> bytes:
        """One PIECE frame."""
        header = {"hash": self.digest, "at": self.at, "of": self.total}
        return encode_frame(FrameType.PIECE, header, self.data)

    @classmethod
    def from_frame(cls, frame: Frame) -> Part:
        digest = frame.header.get("hash")
        if not isinstance(digest, bytes) or len(digest) != HASH_BYTES:
            raise WireError("a piece without a hash")
        total = integer(frame.header.get("of"), "of")
        at = integer(frame.header.get("at"), "at", total)
        if total > REQUEST_BYTES_MAX:
            raise TooLargeError("a batch in pieces", total, REQUEST_BYTES_MAX)
        if not len(frame.payload) or at + len(frame.payload) > total:
            raise WireError("a piece that does not lie in its batch")
        return cls(digest, at, total, frame.payload)


@dataclass(slots=True)
class _Half:
    """A batch of which some is here. ``have``: bytes, counted from 1."""

    data: bytearray
    at: float
    """When its last piece came, monotonic s."""
    have: RangeSet = field(default_factory=lambda: RangeSet(limit=256))


class Assembly:
    """The parent's side. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._children: dict[str, OrderedDict[bytes, _Half]] = {}
        self._bytes = 0

    def take(self, child: str, part: Part) -> bytes | int:
        """The whole frame once all of it is here, before that how many bytes there are from its
        beginning. Raises TooLargeError when too much is half sent, RangeLimitError, WireError."""
        with self._lock:
            halves = self._children.setdefault(child, OrderedDict())
            half = halves.get(part.digest)
            if half is None:
                half = self._begin(halves, part)
            halves.move_to_end(part.digest)
            if len(half.data) != part.total:
                raise WireError("two pieces of one batch disagree on its length")
            half.at = self._monotonic()
            end = part.at + len(part.data)
            half.have.add(part.at + 1, end)
            half.data[part.at : end] = part.data
            if half.have.watermark < part.total:
                return half.have.watermark
            self._drop(halves, part.digest)
            return bytes(half.data)

    def _begin(self, halves: OrderedDict[bytes, _Half], part: Part) -> _Half:
        self._forget_old()
        while len(halves) >= BATCHES_MAX:
            self._drop(halves, next(iter(halves)))
        if self._bytes + part.total > HALF_SENT_BYTES_MAX:
            raise TooLargeError("what is half sent", self._bytes + part.total, HALF_SENT_BYTES_MAX)
        self._bytes += part.total
        half = halves[part.digest] = _Half(bytearray(part.total), self._monotonic())
        return half

    def _forget_old(self) -> None:
        oldest = self._monotonic() - HALF_SENT_AGE_S
        for halves in self._children.values():
            for digest in [digest for digest, half in halves.items() if half.at < oldest]:
                self._drop(halves, digest)

    def _drop(self, halves: OrderedDict[bytes, _Half], digest: bytes) -> None:
        self._bytes -= len(halves.pop(digest).data)
