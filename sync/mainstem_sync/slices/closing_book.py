"""What is remembered of an own table's slices, and what was last said of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mainstem_sync.slices.slice_table import SliceTable

KEPT_SLICES = 10_000
"""Stated slices that are remembered per table (550 kB): a week of minutes. An older one that is
touched again starts at revision 1; the LSN of its manifest makes it the newest."""

COLUMNS: dict[str, npt.DTypeLike] = {
    "lsn": np.uint64, "said": np.uint64, "rev": np.uint32, "count": np.int64,
    "d1": np.uint64, "d2": np.uint64, "known": np.uint8,
}  # fmt: skip
"""``known`` 1: count and digest are those that were stated last; an old checkpoint has none."""


@dataclass(frozen=True, slots=True)
class ClosedTable:
    """What was last said about an own table. Times in ns."""

    from_ns: int
    through_ns: int
    slice_ns: int
    missing_sources: tuple[str, ...] = ()
    collector_gaps: tuple[tuple[int, int], ...] = ()
    quarantined: int = 0


@dataclass(slots=True)
class Book:
    """Slices of one own table. ``closed``: slice indexes [first, end), None before the first."""

    table: str
    slice_ns: int
    slices: SliceTable = field(default_factory=lambda: SliceTable(COLUMNS))
    closed: tuple[int, int] | None = None
    latest: ClosedTable | None = None
    forgotten: tuple[int, int] = (-(1 << 62), 0)
    """(end of the slices that are not remembered one by one, greatest LSN that touched them)."""

    def merge(self) -> None:
        keys, lsns = self.slices.take_touches()
        if len(keys):
            at = self.slices.upsert(keys)
            lsn = self.slices["lsn"]
            lsn[at] = np.maximum(lsn[at], lsns)

    def prune(self) -> None:
        excess = len(self.slices) - KEPT_SLICES
        if excess > 0:
            stated = self.slices["lsn"] == self.slices["said"]
            stated[excess:] = False
            if stated.any():
                end, lsn = int(self.slices.keys[stated][-1]) + 1, self.slices["lsn"][stated].max()
                self.forgotten = (max(self.forgotten[0], end), max(self.forgotten[1], int(lsn)))
            self.slices.remove(stated)
