"""Readings that are missing, late or redundant, judged by their times alone.

1. The *base interval* of a window is the median of the gaps between its readings.
2. From left to right: a reading that follows the last one kept by at most half a base interval is
   surplus, and is not kept. All others are.
3. A gap of at least two base intervals between readings that are kept lacks as many readings as
   fit into it, ``round(gap / base - 1)``, halves upwards.
4. A surplus reading among the ten that follow such a gap is one of those: *late*, and no longer
   missing. The earliest gap takes it. All other surplus readings are *redundant*.
5. A gap of more than nine base intervals may be taken for *downtime*: nothing is missing in it.

Nothing is known of the time before a window's first reading and after its last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainstem_engine.analysis.medians import Floats, segment_medians
from mainstem_engine.analysis.readings import Readings
from mainstem_engine.analysis.rows import Mask, Positions
from mainstem_engine.model import TimesNs

GAP_BASES = 2.0
"""From here on a gap is a gap: below, jitter explains it."""
DOWNTIME_BASES = 9.0
"""Above this a device was switched off rather than losing readings."""
LATE_READINGS = 10
"""How many readings after a gap may still belong into it."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Per window, int64[w]: readings, and how many are missing, late and redundant."""

    readings: Positions
    missing: Positions
    late: Positions
    redundant: Positions


def judge(readings: Readings, *, downtime: bool) -> Arrivals:
    """``downtime``: whether gaps of more than nine base intervals are excused."""
    times, window, count = readings.times, readings.window, readings.windows
    followers = readings.followers()
    base = segment_medians(np.diff(times)[followers - 1], window[followers], count)
    kept = _kept(readings, followers, base)
    surplus = np.flatnonzero(~kept)
    gaps, lacking = _gaps(times, window, np.flatnonzero(kept), base, downtime=downtime)
    late_gaps = _late(gaps, lacking, surplus, window)
    missing = np.bincount(window[gaps], weights=lacking, minlength=count).astype(np.int64)
    late = np.bincount(window[gaps], weights=late_gaps, minlength=count).astype(np.int64)
    redundant = np.bincount(window[surplus], minlength=count) - late
    return Arrivals(readings.counts(), missing - late, late, redundant)


def _kept(readings: Readings, followers: Positions, base: Floats) -> Mask:
    """bool[m]: False for surplus readings."""
    times, window = readings.times, readings.window
    kept = np.ones(len(times), np.bool_)
    half = np.zeros(len(base), np.int64)
    known = ~np.isnan(base)
    half[known] = (base[known] / 2).astype(np.int64)  # rounded down: gaps are whole
    close = followers[times[followers] - times[followers - 1] <= half[window[followers]]]
    kept[close] = False
    # Only in a run of close readings does it depend on the last one kept: such runs are walked.
    begins = np.flatnonzero(np.diff(close, prepend=-2) != 1)
    ends = np.append(begins[1:], len(close))
    long = ends - begins > 1
    for begin, end in zip(
        close[begins[long]].tolist(), close[ends[long] - 1].tolist(), strict=True
    ):
        run, step = times[begin : end + 1], int(half[window[begin]])
        last = int(times[begin - 1])
        while (ahead := int(np.searchsorted(run, last + step, side="right"))) < len(run):
            kept[begin + ahead] = True
            last = int(run[ahead])
    return kept


def _gaps(
    times: TimesNs, window: Positions, kept: Positions, base: Floats, *, downtime: bool
) -> tuple[Positions, Positions]:
    """The readings that end a gap, and how many readings each gap lacks."""
    inside = window[kept[1:]] == window[kept[:-1]]
    ends = kept[1:][inside]
    usual = base[window[ends]]
    # A base interval of nothing (most readings share their time) says nothing about gaps.
    steps = np.divide(
        (times[ends] - times[kept[:-1][inside]]).astype(np.float64),
        usual,
        out=np.zeros(len(ends)),
        where=usual > 0,
    )
    is_gap = steps >= GAP_BASES
    if downtime:
        is_gap &= steps <= DOWNTIME_BASES
    return ends[is_gap], np.floor(steps[is_gap] - 0.5).astype(np.int64)


def _late(gaps: Positions, lacking: Positions, surplus: Positions, window: Positions) -> Positions:
    """How many of the surplus readings fill each gap."""
    filled = np.zeros(len(gaps), np.int64)
    if len(gaps) == 0 or len(surplus) == 0:
        return filled
    window_ends = np.searchsorted(window, window[gaps], side="right") - 1
    first = np.searchsorted(surplus, gaps, side="right")
    end = np.searchsorted(surplus, np.minimum(gaps + LATE_READINGS, window_ends), side="right")
    free = 0  # each reading fills one gap: a walk, over the gaps that have candidates
    for gap in np.flatnonzero(end > first).tolist():
        begin = max(int(first[gap]), free)
        taken = min(int(lacking[gap]), int(end[gap]) - begin)
        if taken > 0:
            filled[gap] = taken
            free = begin + taken
    return filled
