"""How good the readings of a window are: completeness, consistency, timeliness, validity, 0 to 1.

Of n readings (NaN and infinities are readings, nulls are not):

1. completeness = 1 - (missing + special) / (n + missing); *special* are the readings that are not
   finite. ``downtime`` excuses gaps of more than nine base intervals; by default it does not: what
   is missing counts, whatever the reason.
2. consistency = 1 - redundant / n.
3. timeliness = 1 - late / n.
4. validity = 1 - outliers / (4 n), over values, changes, speeds and accelerations; null when no
   reading is finite.

Missing, late and redundant are defined in ``arrivals``, outliers in ``validity``. Ten readings or
fewer are not scored: null.

Each is a window function, for the groups and windows of a query, and a point function with windows
of its own: ``window`` readings (15) or a time (1h) counted from each partition's first reading, by
default all of them. A point stands at its window's first reading; windows without a score have
none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mainstem_engine.analysis.arrivals import judge
from mainstem_engine.analysis.function import (
    Kind,
    Options,
    Parameter,
    PointFunction,
    PointRun,
    WindowFunction,
    WindowRun,
)
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import Readings, readings_of_windows
from mainstem_engine.analysis.rows import (
    Points,
    Signal,
    Timeline,
    Windows,
    points_of_rows,
    present,
)
from mainstem_engine.analysis.validity import outliers

READINGS_MIN = 11
"""The median gap of fewer says little about the interval that a device was set to."""

Score = Callable[[Readings, Options], Floats]
"""One number per window, NaN where there is none."""


def _completeness(readings: Readings, options: Options) -> Floats:
    arrivals = judge(readings, downtime=bool(options.get("downtime")))
    special = np.bincount(
        readings.window, weights=~np.isfinite(readings.values), minlength=readings.windows
    )
    expected = arrivals.readings + arrivals.missing
    score: Floats = 1 - (arrivals.missing + special) / np.maximum(expected, 1)
    return score


def _consistency(readings: Readings, options: Options) -> Floats:
    arrivals = judge(readings, downtime=False)
    score: Floats = 1 - arrivals.redundant / np.maximum(arrivals.readings, 1)
    return score


def _timeliness(readings: Readings, options: Options) -> Floats:
    arrivals = judge(readings, downtime=False)
    score: Floats = 1 - arrivals.late / np.maximum(arrivals.readings, 1)
    return score


def _validity(readings: Readings, options: Options) -> Floats:
    found, usable = outliers(readings)
    scores = 1 - found / (4 * np.maximum(readings.counts(), 1))
    return np.where(usable > 0, scores, np.nan)


def _of_windows(score: Score) -> WindowRun:
    def run(
        timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
    ) -> Signal:
        readings = readings_of_windows(timeline, signals[0], windows)
        scores = score(readings, options)
        scored = (readings.counts() >= READINGS_MIN) & ~np.isnan(scores)
        return Signal(scores, scored)

    return run


def _of_points(score: Score) -> PointRun:
    of_windows = _of_windows(score)

    def run(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
        windows = windows_of_readings(timeline, signals[0], options["window"])
        scores = of_windows(timeline, signals, windows, options)
        scored = np.flatnonzero(scores.mask())
        return points_of_rows(timeline, windows.begin[scored], Signal(scores.values[scored]))

    return run


def windows_of_readings(timeline: Timeline, signal: Signal, size: int | None) -> Windows:
    """Windows that follow each other from each partition's first reading to its last: ``-size``
    readings each, or ``size`` ns, or (None) one. Windows of time without readings are left out."""
    values = present(timeline, signal)
    times, bounds = values.timeline.times, values.timeline.bounds
    partition = values.timeline.partition_of_rows()
    first = bounds[partition]
    if size is None:
        number = np.zeros(len(times), np.int64)
    elif size < 0:
        number = (np.arange(len(times)) - first) // -size
    else:
        number = (times - times[first]) // size
    opens = values.is_first()
    opens[1:] |= number[1:] != number[:-1]
    begin = np.flatnonzero(opens)
    last = np.append(begin[1:], len(times))[: len(begin)] - 1
    start_ns, end_ns = times[begin], times[last]
    return Windows(
        values.rows[begin], values.rows[last] + 1, partition[begin], start_ns, start_ns, end_ns
    )


_WINDOW = Parameter("window", Kind.COUNT_OR_DURATION, None, low=1)
_DOWNTIME = Parameter("downtime", Kind.FLAG, False)

_SCORES: tuple[tuple[str, Score, tuple[Parameter, ...]], ...] = (
    ("completeness", _completeness, (_DOWNTIME,)),
    ("consistency", _consistency, ()),
    ("timeliness", _timeliness, ()),
    ("validity", _validity, ()),
)

FUNCTIONS = (
    *(WindowFunction(name, _of_windows(score), parameters=more) for name, score, more in _SCORES),
    *(
        PointFunction(name, _of_points(score), parameters=(_WINDOW, *more))
        for name, score, more in _SCORES
    ),
)
