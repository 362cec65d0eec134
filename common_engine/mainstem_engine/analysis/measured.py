"""The numbers of a signal in each window: what functions that weigh or compare them start from.

1. Null and NaN are no numbers and are left out.
2. The numbers of window i are ``begin[i]:end[i]`` of those that are left; windows may overlap.
3. A window of time may look at the numbers just before and after it, in its own partition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.analysis.rows import Mask, Positions, Signal, Timeline, Windows
from mainstem_engine.model import TimesNs

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """``times``, ``numbers``: [m], of one partition after the other. ``begin``, ``end``: int64[w].
    ``low``, ``high``: int64[w], where the partition of each window begins and ends."""

    times: TimesNs
    numbers: Numbers
    begin: Positions
    end: Positions
    low: Positions
    high: Positions

    def has_some(self) -> Mask:
        """bool[w]: windows with a number."""
        return self.end > self.begin

    def counts(self) -> Positions:
        return self.end - self.begin


def measured(timeline: Timeline, signal: Signal, windows: Windows) -> Measured:
    """Raises TypeError for text."""
    numbers = signal.numbers()
    rows = np.flatnonzero(~np.isnan(numbers))
    bounds = np.searchsorted(rows, timeline.bounds).astype(np.int64)
    return Measured(
        timeline.times[rows],
        numbers[rows],
        np.searchsorted(rows, windows.begin).astype(np.int64),
        np.searchsorted(rows, windows.end).astype(np.int64),
        bounds[:-1][windows.partition],
        bounds[1:][windows.partition],
    )


def stretch_sums(values: Numbers, begin: Positions, end: Positions) -> Numbers:
    """float64[w]: the sum of each stretch ``begin[i]:end[i]``, 0 where it is empty. Each is added
    up by itself: a difference of running sums would lose digits."""
    sums = np.zeros(len(begin), np.float64)
    some = end > begin
    edges = np.empty(2 * int(some.sum()), np.int64)
    edges[0::2], edges[1::2] = begin[some], end[some]
    with np.errstate(invalid="ignore", over="ignore"):  # infinities follow IEEE 754
        sums[some] = np.add.reduceat(np.append(values, 0.0), edges)[0::2]
    return sums
