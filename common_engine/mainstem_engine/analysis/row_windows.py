"""Windows made of rows: sessions, states, events, counts, variations, conditions.

1. A window starts and ends with a row, and never reaches over a partition; ``_wend`` is the time of
   its last row, but for a state that is extended.
2. Some kinds leave rows out: those whose control value is null. Such a row is in no window, so it
   is taken out of the timeline: a function then answers ``Assigned`` with the rows that stay, and
   its windows are of these.
3. All but one are found with whole arrays. A variation with a delta compares each row to the first
   of its window, which depends on the window before: that is a walk, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainstem_engine.analysis.rows import Mask, Positions, Timeline, Windows
from mainstem_engine.errors import SqlError

KEEP_OPERATORS = (">=", ">", "=", "<=", "<")


@dataclass(frozen=True, slots=True)
class Assigned:
    """``rows``: int64[k], ascending, the rows of the timeline that windows are made of; None: all.
    ``timeline`` and ``windows`` are of these rows only."""

    timeline: Timeline
    windows: Windows
    rows: Positions | None = None


def session_windows(timeline: Timeline, gap_ns: int) -> Windows:
    """A pause of more than ``gap_ns`` ends a window; one of exactly as much does not."""
    if gap_ns <= 0:
        raise SqlError("the gap of SESSION must be positive", field="SESSION")
    opens = timeline.is_first()
    opens[1:] |= _pauses(timeline) > np.uint64(gap_ns)
    return _windows_from(timeline, opens)


def _pauses(timeline: Timeline) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """ns from each row to the next: unsigned, for two times may be 584 years apart."""
    moments = timeline.times.view(np.uint64)
    return moments[1:] - moments[:-1]


def _windows_from(timeline: Timeline, opens: Mask) -> Windows:
    """Windows that touch: one from each row that opens to the row before the next."""
    begin = np.flatnonzero(opens).astype(np.int64)
    end = np.append(begin[1:], len(timeline))[: len(begin)].astype(np.int64)
    return _windows_of(timeline, begin, end)


def _windows_of(timeline: Timeline, begin: Positions, end: Positions) -> Windows:
    """Windows of rows, none empty."""
    partition = np.searchsorted(timeline.bounds, begin, "right").astype(np.int64) - 1
    start_ns = timeline.times[begin]
    return Windows(begin, end, partition, start_ns, start_ns, timeline.times[end - 1])
