"""Readings that are out of line: in value, in change, in speed and in acceleration.

1. Readings that are not finite are replaced along straight lines first (holes).
2. Four lists per window: the values; the changes between neighbours; the speeds, changes per time;
   the accelerations, changes of speed per time.
3. An entry is an outlier when it lies further from its list's median than three times the list's
   MAD, and further than rounding explains.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mainstem_engine.analysis.holes import filled_along_lines
from mainstem_engine.analysis.medians import Floats, segment_deviations, segment_medians
from mainstem_engine.analysis.readings import Readings
from mainstem_engine.analysis.rows import Positions

MADS = 3.0
"""Three MADs are two standard deviations of normal noise."""
ROUNDING = 1e-12
"""Of the largest magnitude: a list of equal entries, each with its own rounding, has no outliers.
Differences of float64 are off by some 1e-16 of the values."""


def outliers(readings: Readings) -> tuple[Positions, Positions]:
    """Per window: how many entries of the four lists are outliers, and how many readings are
    finite. int64[w] each. Speeds leave out readings of the same time as their predecessor."""
    count = readings.windows
    finite = np.isfinite(readings.values)
    usable = np.bincount(readings.window, weights=finite, minlength=count).astype(np.int64)
    with_value = usable[readings.window] > 0
    whole = dataclasses.replace(readings, values=filled_along_lines(readings))
    whole = whole.take(np.flatnonzero(with_value))
    with np.errstate(over="ignore", invalid="ignore"):
        found = _count(whole, whole.values, np.arange(len(whole.values)), whole.values)
        after = whole.followers()
        changes = whole.values[after] - whole.values[after - 1]
        found += _count(whole, changes, after, whole.values)
        found += _moving(whole)
    return found, usable


def _moving(readings: Readings) -> Positions:
    """Outliers of speed and acceleration."""
    first = np.ones(len(readings.times), np.bool_)
    followers = readings.followers()
    first[followers] = readings.times[followers] != readings.times[followers - 1]
    apart = readings.take(np.flatnonzero(first))
    after = apart.followers()
    seconds = np.zeros(len(apart.times))
    seconds[after] = (apart.times[after] - apart.times[after - 1]) / 1e9
    speeds = np.zeros(len(apart.times))
    speeds[after] = (apart.values[after] - apart.values[after - 1]) / seconds[after]
    bound = np.zeros(len(apart.times))  # what rounding of the values does to a speed
    bound[after] = np.maximum(np.abs(apart.values[after]), np.abs(apart.values[after - 1]))
    bound[after] /= seconds[after]
    found = _count(apart, speeds[after], after, bound)
    later = apart.followers(2)
    rates = (speeds[later] - speeds[later - 1]) / seconds[later]
    bound[later] = np.maximum(bound[later], bound[later - 1]) / seconds[later]
    return found + _count(apart, rates, later, bound)


def _count(readings: Readings, entries: Floats, at: Positions, magnitudes: Floats) -> Positions:
    """int64[w]: the outliers of a list whose entries belong to the readings ``at``."""
    count, window = readings.windows, readings.window[at]
    known = np.isfinite(entries)
    entries, window, at = entries[known], window[known], at[known]
    medians = segment_medians(entries, window, count)
    distances, mads = segment_deviations(entries, window, medians, count)
    largest = np.zeros(count)
    np.maximum.at(largest, window, np.abs(magnitudes[at]))
    is_outlier = distances > np.maximum(MADS * mads, ROUNDING * largest)[window]
    return np.bincount(window[is_outlier], minlength=count).astype(np.int64)
