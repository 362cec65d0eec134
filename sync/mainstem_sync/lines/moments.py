"""When which LSN was where: a few remembered moments, ever fewer of long ago.

1. A moment (LSN, time) says that everything noted up to that LSN was there at that time.
2. The time of an LSN is that of the first remembered moment at or above it, so it is never too
   early, but for what came out of order; how late it may be depends on how many were forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

MOMENTS_MAX = 256
"""4 kB an origin in memory and in every checkpoint: minutes of the last hours, then ever fewer."""

NEWEST = 128
"""Of these none is forgotten."""


class Moments:
    """Times in ms. Guarded by its owner's lock."""

    __slots__ = ("_lsns", "_times")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._lsns: list[int] = []
        self._times: list[int] = []
        for lsn, at_ms in pairs:
            self.note(lsn, at_ms)

    def note(self, lsn: int, at_ms: int) -> None:
        """What goes up to ``lsn`` was there at ``at_ms``. Of one LSN the first time counts."""
        at = bisect_left(self._lsns, lsn)
        if at < len(self._lsns) and self._lsns[at] == lsn:
            return
        self._lsns.insert(at, lsn)
        self._times.insert(at, at_ms)
        if len(self._lsns) > MOMENTS_MAX:
            self._thin()

    def of(self, lsn: int) -> int | None:
        """The time of an LSN, None if nothing is known at or above it."""
        at = bisect_left(self._lsns, lsn)
        return self._times[at] if at < len(self._lsns) else None

    def before(self, lsn: int) -> int | None:
        """The time of the last remembered moment below an LSN, None if there is none."""
        at = bisect_left(self._lsns, lsn)
        return self._times[at - 1] if at else None

    @property
    def first(self) -> int | None:
        """The time of the first remembered moment."""
        return self._times[0] if self._times else None

    def _thin(self) -> None:
        """Every second of the older ones goes."""
        older = slice(0, len(self._lsns) - NEWEST, 2)
        del self._lsns[older], self._times[older]

    def to_plain(self) -> list[list[int]]:
        """For the checkpoint."""
        return [list(pair) for pair in zip(self._lsns, self._times, strict=True)]

    @classmethod
    def from_plain(cls, value: Any) -> Moments:
        """The inverse; None, of an older checkpoint, is empty."""
        return cls((int(lsn), int(at_ms)) for lsn, at_ms in value or ())
