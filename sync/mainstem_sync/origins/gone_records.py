"""Records of a line that its owner delivered, or wrote, and has no more: damage took them.

1. The owner names them by LSN in LOSS records. Where such a record had arrived its rows stay, with
   the versions that they had; the owner can state and image its slices only without them.
2. A LOSS record beyond a fork is void: the backup from which its owner went on may have them.

Guarded by the federation's lock.
"""

from __future__ import annotations

from collections.abc import Sequence

from mainstem_sync.wire.ranges import RangeSet

RECORDS_MAX = 4096
"""LOSS records of one line that are remembered apart; the oldest become one."""


class GoneRecords:
    """See the module."""

    def __init__(self) -> None:
        self._said: list[tuple[int, RangeSet]] = []
        self.lsns = RangeSet()
        """All of them. Replaced, never changed."""

    def add(self, lsn: int, lsns: RangeSet) -> None:
        """The LOSS record ``lsn`` of the line names these."""
        if any(lsn == known for known, _ in self._said):
            return
        self._said.append((lsn, lsns))
        self._said.sort(key=lambda item: item[0])
        if len(self._said) > RECORDS_MAX:
            _, oldest = self._said.pop(0)
            second, others = self._said[0]
            self._said[0] = second, _union([oldest, others])
        self.lsns = _union([part for _, part in self._said])

    def until(self, fork: int) -> GoneRecords:
        """What was said up to an LSN of the line."""
        found = GoneRecords()
        for lsn, lsns in self._said:
            if lsn <= fork:
                found.add(lsn, lsns)
        return found

    def snapshot(self) -> list[list[int]]:
        """For the checkpoint."""
        return [[lsn, *lsns.to_wire()] for lsn, lsns in self._said]

    @classmethod
    def restore(cls, data: Sequence[Sequence[int]]) -> GoneRecords:
        """The inverse of snapshot."""
        found = cls()
        for lsn, *flat in data:
            found.add(lsn, RangeSet(zip(flat[0::2], flat[1::2], strict=True)))
        return found


def _union(parts: Sequence[RangeSet]) -> RangeSet:
    total = RangeSet()
    for part in parts:
        total.update(part)
    return total
