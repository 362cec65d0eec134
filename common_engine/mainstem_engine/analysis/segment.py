"""A signal as a chain of straight segments, each the line of least squares of its readings.

1. Readings count as equally far apart, whatever their times; those that are not finite are passed
   over.
2. It starts with segments of two readings. Of all neighbouring segments the two are joined whose
   joint line has the smallest mean absolute error, until that is above ``error`` for all
   (bottom-up, after Keogh, Chu, Hart, Pazzani: An online algorithm for segmenting time series,
   ICDM 2001).
3. The answer has the line's value at the first reading of each segment, or (``output`` all) at
   every reading.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import readings_of_partitions
from mainstem_engine.analysis.rows import Points, Signal, Timeline, points_of_rows
from mainstem_engine.errors import SqlLimitError

READINGS_MAX = 100_000
"""Every join fits two lines: at this size some seconds."""


def segment(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 at the readings' times."""
    readings = readings_of_partitions(timeline, signals[0])
    readings = readings.take(np.flatnonzero(np.isfinite(readings.values)))
    if len(readings.values) > READINGS_MAX:
        raise SqlLimitError(
            f"segment takes {READINGS_MAX} readings, not {len(readings.values)}",
            field="segment",
            hint="resample them first, or take a shorter range of time",
        )
    fitted = np.zeros(len(readings.values))
    kept = np.full(len(fitted), options["output"] == "all")
    bounds = readings.bounds().tolist()
    for begin, end in itertools.pairwise(bounds):
        values = readings.values[begin:end]
        for first, after in _segments(values, options["error"]):
            fitted[begin + first : begin + after] = fitted_line(values[first:after])
            kept[begin + first] = True
    return points_of_rows(timeline, readings.rows[kept], Signal(fitted[kept]))


def fitted_line(values: Floats) -> Floats:
    """The values of the line of least squares."""
    count = len(values)
    places = np.arange(count) - (count - 1) / 2
    slope = places @ values / (count * (count * count - 1) / 12 or 1.0)
    fitted: Floats = values.mean() + slope * places
    return fitted


def _segments(values: Floats, error: float) -> list[tuple[int, int]]:
    """(first, after the last) of each. A walk: each join changes what may be joined next."""
    count = len(values)
    ends = {first: min(first + 2, count) for first in range(0, count, 2)}
    previous = {end: first for first, end in ends.items()}

    def cost(first: int) -> float:
        part = values[first : ends[ends[first]]]
        return float(np.abs(part - fitted_line(part)).mean())

    # Entries name the segments that they would join, so that stale ones are known.
    queue = [(cost(f), f, end, ends[end]) for f, end in ends.items() if end in ends]
    heapq.heapify(queue)
    while queue:
        least, first, middle, end = heapq.heappop(queue)
        if ends.get(first) != middle or ends.get(middle) != end:
            continue
        if not least <= error:
            break
        del ends[middle]
        ends[first] = end
        previous[end] = first
        if end in ends:
            heapq.heappush(queue, (cost(first), first, end, ends[end]))
        before = previous.get(first)
        if before is not None:
            heapq.heappush(queue, (cost(before), before, first, end))
    return sorted(ends.items())


FUNCTIONS = (
    PointFunction(
        "segment",
        segment,
        parameters=(
            Parameter("output", Kind.TEXT, "first", ("first", "all")),
            Parameter("error", Kind.NUMBER, 0.1, low=0),
        ),
    ),
)
