"""How alike two signals are, and where one is like its own mirror image.

1. COV: the population's covariance; PEARSON: the correlation coefficient. Rows in which one of the
   two is null or not finite are passed over. Null without rows; PEARSON is null as well when one
   of the two does not vary.
2. DTW: the least sum of distances |x - y| over all ways to walk through both, forwards only, one
   or both at a time (dynamic time warping). The same rows are passed over; without rows it is 0.
3. PTNSYM: windows of ``window`` readings, one from every reading on. Its degree of symmetry is the
   DTW of its first half and its second half backwards; the middle one of an odd number is left
   out. A window is reported at its first reading if the degree is at most ``threshold``; 0 is
   perfectly symmetric. What is not finite is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import (
    Kind,
    Options,
    Parameter,
    PointFunction,
    WindowFunction,
)
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import readings_of_partitions
from mainstem_engine.analysis.rows import (
    Mask,
    Points,
    Signal,
    Timeline,
    Windows,
    points_of_rows,
)
from mainstem_engine.errors import SqlLimitError

DTW_ROWS_MAX = 20_000
"""Every row is compared with every other: at this size about two seconds."""
SYMMETRY_MAX = 512
"""Readings of a symmetric window: each costs 65,536 comparisons at this size."""
BLOCK_WINDOWS = 1 << 14
"""Windows that are compared together: some rows of this length."""


def cov(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """float64 per window."""
    shared, count = _co_moments(signals, windows)[:2]
    return Signal(shared, count > 0)


def pearson(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """float64 per window, -1 to 1."""
    shared, _, left, right = _co_moments(signals, windows)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.sqrt(left) * np.sqrt(right)
    varies = scale > 0
    found = np.divide(shared, scale, out=np.zeros(len(shared)), where=varies)
    return Signal(np.clip(found, -1.0, 1.0), varies)


def dtw(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """float64 per window."""
    left, right = (signal.numbers() for signal in signals)
    usable = np.isfinite(left) & np.isfinite(right)
    found = np.zeros(len(windows))
    for place, (begin, end) in enumerate(
        zip(windows.begin.tolist(), windows.end.tolist(), strict=True)
    ):
        rows = begin + np.flatnonzero(usable[begin:end])
        if len(rows) > DTW_ROWS_MAX:
            raise SqlLimitError(
                f"dtw takes {DTW_ROWS_MAX} rows, not {len(rows)}",
                field="dtw",
                hint="resample them first, or take shorter windows",
            )
        found[place] = _warped(left[rows], right[rows])
    return Signal(found)


def ptnsym(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 per window: its degree of symmetry."""
    readings = readings_of_partitions(timeline, signals[0])
    readings = readings.take(np.flatnonzero(np.isfinite(readings.values)))
    width: int = options["window"]
    inside = len(readings.values) - width + 1
    if inside <= 0:
        return points_of_rows(timeline, readings.rows[:0], Signal(np.zeros(0)))
    tables = np.lib.stride_tricks.sliding_window_view(readings.values, width)
    whole: Mask = readings.window[:inside] == readings.window[width - 1 :]
    starts = np.flatnonzero(whole)
    degrees = np.empty(len(starts))
    for begin in range(0, len(starts), BLOCK_WINDOWS):
        part = slice(begin, begin + BLOCK_WINDOWS)
        degrees[part] = _asymmetry(tables[starts[part]])
    kept: Mask = np.ones(len(starts), np.bool_)
    if options["threshold"] is not None:
        kept = degrees <= options["threshold"]
    return points_of_rows(timeline, readings.rows[starts[kept]], Signal(degrees[kept]))


def _co_moments(
    signals: Sequence[Signal], windows: Windows
) -> tuple[Floats, Floats, Floats, Floats]:
    """Per window: the covariance, the number of rows, both variances."""
    rows, window = windows.rows(), windows.window_of_rows()
    left, right = (signal.numbers()[rows] for signal in signals)
    usable = np.isfinite(left) & np.isfinite(right)
    left, right, window = left[usable], right[usable], window[usable]
    count = np.bincount(window, minlength=len(windows)).astype(np.float64)
    sizes = np.maximum(count, 1)

    def mean(values: Floats) -> Floats:
        found: Floats = np.bincount(window, weights=values, minlength=len(windows)) / sizes
        return found

    with np.errstate(over="ignore", invalid="ignore"):
        left, right = left - mean(left)[window], right - mean(right)[window]
        return mean(left * right), count, mean(left**2), mean(right**2)


def _warped(left: Floats, right: Floats) -> float:
    """The cost of the cheapest walk, both of the same length n: by diagonals of the table of all
    pairs, whose cells depend on the two diagonals before alone."""
    count = len(left)
    if count == 0:
        return 0.0
    backwards = right[::-1]
    # Cell i of a diagonal is the pair (i, diagonal - i); cell i + 1 of these arrays.
    older = np.full(count + 1, np.inf)
    newer = np.full(count + 1, np.inf)
    older[0] = 0.0  # where the walk starts, before the first pair
    for diagonal in range(2 * count - 1):
        low, high = max(diagonal - count + 1, 0), min(diagonal, count - 1) + 1
        offset = count - 1 - diagonal
        costs = np.abs(left[low:high] - backwards[low + offset : high + offset])
        reached = np.minimum(newer[low:high], newer[low + 1 : high + 1])
        reached = np.minimum(reached, older[low:high])
        current = np.full(count + 1, np.inf)
        current[low + 1 : high + 1] = costs + reached
        older, newer = newer, current
    return float(newer[count])


def _asymmetry(tables: Floats) -> Floats:
    """float64[w]: the DTW of the halves of each window, [w, width]; all windows at once."""
    half = tables.shape[1] // 2
    left, right = tables[:, :half].T, tables[:, : -half - 1 : -1].T
    row = [np.full(len(tables), np.inf) for _ in range(half + 1)]
    row[0] = np.zeros(len(tables))
    for first in range(half):
        above, row = row, [np.full(len(tables), np.inf)]
        for second in range(half):
            reached = np.minimum(np.minimum(above[second], above[second + 1]), row[second])
            row.append(np.abs(left[first] - right[second]) + reached)
    degrees: Floats = row[half]
    return degrees


FUNCTIONS = (
    WindowFunction("cov", cov, columns=(2, 2)),
    WindowFunction("pearson", pearson, columns=(2, 2)),
    WindowFunction("dtw", dtw, columns=(2, 2)),
    PointFunction(
        "ptnsym",
        ptnsym,
        parameters=(
            Parameter("window", Kind.INTEGER, 10, low=2, high=SYMMETRY_MAX),
            Parameter("threshold", Kind.NUMBER, None, low=0),
        ),
    ),
)
