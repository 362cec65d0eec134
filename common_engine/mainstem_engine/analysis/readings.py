"""The readings of a signal, laid out by window.

1. A null is no reading; NaN and the infinities are. A reading that is not finite is *special*: it
   arrived, and says nothing.
2. Readings of window after window stand in one array, so that every window is judged at once.
   Windows that overlap repeat their readings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.rows import Positions, Signal, Timeline, Windows
from mainstem_engine.model import TimesNs


@dataclass(frozen=True, slots=True)
class Readings:
    """``times``: int64[m] in ns; ``values``: float64[m]; ``window``: int64[m], ascending, the
    window of each; ``windows``: how many there are; ``rows``: int64[m], positions in the
    timeline."""

    times: TimesNs
    values: Floats
    window: Positions
    windows: int
    rows: Positions

    def counts(self) -> Positions:
        """int64[windows]."""
        return np.bincount(self.window, minlength=self.windows).astype(np.int64)

    def bounds(self) -> Positions:
        """int64[windows + 1]: the readings of window i are ``bounds[i]:bounds[i + 1]``."""
        return np.concatenate(([0], np.cumsum(self.counts()))).astype(np.int64)

    def take(self, kept: Positions) -> Readings:
        """Some of the readings, ascending positions, of the same windows."""
        return Readings(
            self.times[kept],
            self.values[kept],
            self.window[kept],
            self.windows,
            self.rows[kept],
        )

    def followers(self, distance: int = 1) -> Positions:
        """The readings that have at least ``distance`` readings before them in their window."""
        after = np.arange(distance, len(self.times), dtype=np.int64)
        found: Positions = after[self.window[after] == self.window[after - distance]]
        return found


def readings_of_windows(timeline: Timeline, signal: Signal, windows: Windows) -> Readings:
    """The readings of each window, in order of time."""
    rows, window = windows.rows(), windows.window_of_rows()
    if signal.valid is not None:
        kept = signal.valid[rows]
        rows, window = rows[kept], window[kept]
    values = Signal(signal.values[rows]).numbers()
    return Readings(timeline.times[rows], values, window, len(windows), rows)


def readings_of_partitions(timeline: Timeline, signal: Signal) -> Readings:
    """The readings of each partition: window i is partition i, also where that has no rows."""
    rows = np.arange(len(timeline), dtype=np.int64)
    window = timeline.partition_of_rows()
    if signal.valid is not None:
        rows = np.flatnonzero(signal.valid)
        window = window[rows]
    values = Signal(signal.values[rows]).numbers()
    return Readings(timeline.times[rows], values, window, timeline.partitions, rows)
