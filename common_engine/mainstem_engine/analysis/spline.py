"""The cubic spline through the readings of a partition, at equally distant times.

1. Its second derivative is continuous. The first two pieces are one cubic and so are the last two
   ("not a knot"), so that a cubic is met exactly.
2. Readings that are not finite are passed over; of several at one time the first one counts. Fewer
   than four make no curve and no points.
3. The second derivatives solve a tridiagonal system, diagonally dominant once the first and the
   last are eliminated. It is solved by cyclic reduction: each round joins every equation with its
   neighbours at twice the distance, until none is left that it depends on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.made_points import MADE_POINTS_MAX
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import readings_of_partitions
from mainstem_engine.analysis.rows import Points, Signal, Timeline, points_of_pieces
from mainstem_engine.model import AnyArray, TimesNs

READINGS_MIN = 4
"""Less do not determine a cubic."""


def spline(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64, ``points`` of them per partition, from its first reading to its last."""
    readings = readings_of_partitions(timeline, signals[0])
    readings = readings.take(np.flatnonzero(np.isfinite(readings.values)))
    count: int = options["points"]
    bounds = readings.bounds().tolist()
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    for begin, end in itertools.pairwise(bounds):
        times, first = np.unique(readings.times[begin:end], return_index=True)
        values = readings.values[begin:end][first]
        if len(times) < READINGS_MIN:
            pieces.append((times[:0], (values[:0],)))
            continue
        since = times - times[0]
        places = np.round(np.linspace(0, float(since[-1]), count)).astype(np.int64)
        # In spans of the whole, not in nanoseconds: their cubes would be all there is to see.
        scale = float(since[-1])
        pieces.append((times[0] + places, (_curve(since / scale, values, places / scale),)))
    return points_of_pieces(pieces)


def _curve(x: Floats, y: Floats, at: Floats) -> Floats:
    bends = _bends(x, y)
    piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    width = x[piece + 1] - x[piece]
    left, right = (x[piece + 1] - at) / width, (at - x[piece]) / width
    line = left * y[piece] + right * y[piece + 1]
    bent = (left**3 - left) * bends[piece] + (right**3 - right) * bends[piece + 1]
    found: Floats = line + bent * width**2 / 6
    return found


def _bends(x: Floats, y: Floats) -> Floats:
    """The second derivative at each x."""
    widths = np.diff(x)
    slopes = np.diff(y) / widths
    before, after = widths[:-1].copy(), widths[1:].copy()
    middle = 2 * (before + after)
    right_side = 6 * np.diff(slopes)
    # Not a knot: the outer second derivatives lie on the line through the next two.
    first, last = widths[0] / widths[1], widths[-1] / widths[-2]
    middle[0] += widths[0] * (1 + first)
    after[0] -= widths[0] * first
    middle[-1] += widths[-1] * (1 + last)
    before[-1] -= widths[-1] * last
    before[0] = after[-1] = 0.0
    inner = _solved(before, middle, after, right_side)
    outer_left = inner[0] + first * (inner[0] - inner[1])
    outer_right = inner[-1] + last * (inner[-1] - inner[-2])
    return np.concatenate(([outer_left], inner, [outer_right]))


def _solved(before: Floats, middle: Floats, after: Floats, right_side: Floats) -> Floats:
    """The solution of a tridiagonal system: ``before`` and ``after`` stand beside the diagonal."""
    count, distance = len(middle), 1
    while distance < count:
        up, down = np.zeros(count), np.zeros(count)
        up[distance:] = -before[distance:] / middle[:-distance]
        down[:-distance] = -after[:-distance] / middle[distance:]
        middle_new = middle.copy()
        middle_new[distance:] += up[distance:] * after[:-distance]
        middle_new[:-distance] += down[:-distance] * before[distance:]
        side_new = right_side.copy()
        side_new[distance:] += up[distance:] * right_side[:-distance]
        side_new[:-distance] += down[:-distance] * right_side[distance:]
        before_new, after_new = np.zeros(count), np.zeros(count)
        before_new[distance:] = up[distance:] * before[:-distance]
        after_new[:-distance] = down[:-distance] * after[distance:]
        before, middle, after, right_side = before_new, middle_new, after_new, side_new
        distance *= 2
    return right_side / middle


FUNCTIONS = (
    PointFunction(
        "spline",
        spline,
        parameters=(Parameter("points", Kind.INTEGER, low=2, high=MADE_POINTS_MAX),),
    ),
)
