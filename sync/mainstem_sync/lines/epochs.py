"""Epochs: the unbroken lines of one node's log, and which of them an LSN belongs to.

1. A log begins in epoch 0. A *fork* after LSN f begins a new epoch: what was written above f before
   is not part of the node's line any more, and LSNs above f are used again. An LSN is unique only
   within its epoch.
2. The *line* of a node is what its log is now: the LSNs of each epoch up to the next fork. A later
   fork may lie below an earlier one; then the epochs between have no part in the line at all.
3. What was received of an epoch above its last LSN of the line is an *orphan*: it stays where it
   is, below every version of the later epochs.
4. Epoch numbers only grow, and none is given out twice: of two tables the one with the greater
   epoch is the newer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_sync.errors import WireError
from mainstem_sync.wire.fields import integer, list_of
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

EPOCH_MAX = 0xFFFFFFFF
"""Epochs are uint32 wherever versions are compared."""

FORKS_MAX = 4096
"""Restores of one node in its life; beyond it somebody restores by a script that runs away."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The LSNs [first, last] of the line that belong to one epoch; the last one is open."""

    epoch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class EpochTable:
    """The forks of one node: (epoch that begins, last LSN before it), epochs ascending."""

    forks: tuple[tuple[int, int], ...] = ()

    @property
    def current(self) -> int:
        """The epoch that the node writes in."""
        return self.forks[-1][0] if self.forks else 0

    @property
    def epochs(self) -> tuple[int, ...]:
        """Every epoch that there was, ascending."""
        return (0, *(epoch for epoch, _ in self.forks))

    def line(self) -> list[Segment]:
        """The segments of the line, ascending, without gaps; the last one ends at LSN_MAX."""
        found = [Segment(0, 1, LSN_MAX)]
        for epoch, fork in self.forks:
            while found and found[-1].first > fork:
                found.pop()
            if found:
                found[-1] = Segment(found[-1].epoch, found[-1].first, fork)
            found.append(Segment(epoch, fork + 1, LSN_MAX))
        return found

    def end_of(self, epoch: int) -> int:
        """The last LSN that may be of the line in ``epoch``: LSN_MAX for the current one. What was
        received above it is an orphan."""
        if not self.forks:
            return LSN_MAX
        return min((fork for later, fork in self.forks if later > epoch), default=LSN_MAX)

    def begin_of(self, epoch: int) -> int:
        """The LSN before the first of ``epoch``."""
        if not self.forks:
            return 0
        return next((fork for known, fork in self.forks if known == epoch), 0)

    def epoch_of(self, lsn: int) -> int:
        """The epoch of an LSN of the line."""
        return next(s.epoch for s in reversed(self.line()) if s.first <= lsn)

    def epochs_of(self, lsns: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
        """uint32[n]: the epoch of each LSN of the line."""
        line = self.line()
        firsts = np.array([s.first for s in line], np.uint64)
        epochs = np.array([s.epoch for s in line], np.uint32)
        found: npt.NDArray[np.uint32] = epochs[
            np.maximum(np.searchsorted(firsts, lsns, side="right"), 1) - 1
        ]
        return found

    def split(self, lsns: RangeSet) -> Iterator[tuple[int, RangeSet]]:
        """(epoch, its part) of LSNs of the line."""
        for segment in self.line():
            part = RangeSet(lsns.within(segment.first, segment.last))
            if part:
                yield segment.epoch, part

    def common(self, other: EpochTable) -> int:
        """The last LSN up to which both lines are of the same epochs; LSN_MAX if all of it is."""
        for mine, theirs in zip(self.line(), other.line(), strict=False):
            if (mine.epoch, mine.first) != (theirs.epoch, theirs.first):
                return min(mine.first, theirs.first) - 1
            if mine.last != theirs.last:
                return min(mine.last, theirs.last)
        return LSN_MAX

    def extends(self, other: EpochTable) -> bool:
        """True if ``other`` is how this table began (or the same)."""
        return self.forks[: len(other.forks)] == other.forks

    def with_fork(self, epoch: int, fork: int) -> EpochTable:
        """After one more fork. ValueError unless the epoch is new."""
        if not self.current < epoch <= EPOCH_MAX or len(self.forks) >= FORKS_MAX:
            raise ValueError(f"epoch {epoch} cannot follow {self.current}")
        return EpochTable((*self.forks, (epoch, fork)))

    def to_wire(self) -> list[list[int]]:
        return [list(fork) for fork in self.forks]

    @classmethod
    def from_wire(cls, value: object) -> EpochTable:
        """WireError unless the epochs ascend and everything is within bounds."""
        forks: list[tuple[int, int]] = []
        for item in list_of(value, "forks", FORKS_MAX):
            epoch, fork = _two(item)
            if epoch <= (forks[-1][0] if forks else 0):
                raise WireError("the epochs of a table must ascend")
            forks.append((integer(epoch, "epoch", EPOCH_MAX), integer(fork, "fork", LSN_MAX - 1)))
        return cls(tuple(forks))


def _two(item: object) -> Sequence[Any]:
    found = list_of(item, "a fork", 2)
    if len(found) != 2 or not all(type(value) is int for value in found):
        raise WireError("a fork is [epoch, lsn]")
    return found
