"""PERCENTILE, QUANTILE, MEDIAN and MAD as IoTDB writes them, with parameters by name.

1. PERCENTILE and QUANTILE are a value of the window: the least one with a share of at least
   ``rank`` of all values at or below it. MEDIAN is the mean of the two middle values of an even
   number. MAD is the median of the distances from the median.
2. Nulls and NaN are passed over; a window without values has null.
3. All of them are exact. How inexact they may be (``error``, ``K``) is taken, and makes no
   difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, WindowFunction
from mainstem_engine.analysis.medians import segment_deviations, segment_medians
from mainstem_engine.analysis.readings import Readings, readings_of_windows
from mainstem_engine.analysis.rows import Signal, Timeline, Windows


def percentile(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """A value of each window, of the column's type."""
    readings = _known(readings_of_windows(timeline, signals[0], windows))
    ordered = np.lexsort((readings.values, readings.window))
    counts = readings.counts()
    # A share such as 0.07 of 100 is not quite 7 in floats, and must not be taken for more.
    ranks = np.ceil(options["rank"] * counts - 1e-9 * counts).astype(np.int64)
    places = readings.bounds()[:-1] + np.maximum(ranks, 1) - 1
    filled = counts > 0
    rows = np.full(len(windows), -1, np.int64)
    rows[filled] = readings.rows[ordered[places[filled]]]
    return signals[0].take(rows)


def median(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """float64 per window."""
    readings = _known(readings_of_windows(timeline, signals[0], windows))
    medians = segment_medians(readings.values, readings.window, readings.windows)
    return Signal(medians, readings.counts() > 0)


def mad(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """float64 per window."""
    readings = _known(readings_of_windows(timeline, signals[0], windows))
    readings = readings.take(np.flatnonzero(np.isfinite(readings.values)))
    window, count = readings.window, readings.windows
    medians = segment_medians(readings.values, window, count)
    return Signal(
        segment_deviations(readings.values, window, medians, count)[1], readings.counts() > 0
    )


def _known(readings: Readings) -> Readings:
    return readings.take(np.flatnonzero(~np.isnan(readings.values)))


_ERROR = Parameter("error", Kind.NUMBER, 0.0, low=0, high=1)
_RANK = Parameter("rank", Kind.NUMBER, 0.5, low=0, high=1)

FUNCTIONS = (
    WindowFunction("percentile", percentile, parameters=(_RANK, _ERROR)),
    WindowFunction(
        "quantile", percentile, parameters=(_RANK, Parameter("k", Kind.INTEGER, 800, low=100))
    ),
    WindowFunction("median", median, parameters=(_ERROR,)),
    WindowFunction("mad", mad, parameters=(_ERROR,)),
)
