"""Values put in for those that are missing or impossible. Times stay as they are.

VALUEFILL has one value per row, for nulls, NaN and infinities alike (*holes*); all other values
stay. Lines run over time (``by`` row: over the number of the row). Where there is nothing to fill
from, NaN stays NaN and null stays null.

- linear: between the neighbours; before the first and after the last finite value, that value.
- previous, next: the nearest finite value on that side.
- mean: of the partition.
- ma: the mean of the five finite values before, fewer at the start; before the first, that one.
- ar: what an autoregressive model of order 1 expects, ``mean + a^n (x - mean)``, n rows after the
  last finite value x; before the first, counted backwards from it.
- likelihood: the most likely values if speeds are normal. Between two finite values the changes
  are ``m dt + c dt^2``, m the mean speed and c such that they add up; at the ends speeds are m.
- screen: linear, then repaired as below.

VALUEREPAIR has one value per row, holes filled along straight lines first.

- screen: speeds stay within ``minspeed`` and ``maxspeed`` per second. A value moves to the middle
  of what the next readings allow, and never faster from its repaired predecessor than that;
  bounds that cross repair nothing (after Song, Zhang, Wang, Yu: SCREEN, SIGMOD 2015).
- lsgreedy: changes of speed are normal around ``center`` with deviation ``sigma``. While one is
  further off than three deviations, the value in the middle of the worst is moved to where its
  own change of speed is ``center`` (after Zhang, Song, Wang: SIGMOD 2016).

By default the speeds are bounded by median +- 3 MAD, ``center`` is 0 and ``sigma`` the MAD.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.holes import filled_along_lines
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import Readings
from mainstem_engine.analysis.rows import (
    Mask,
    Points,
    Positions,
    Signal,
    Timeline,
    points_of_rows,
)
from mainstem_engine.analysis.speeds import lsgreedy, screen

MA_VALUES = 5
"""Values of the moving average: enough to smooth, few enough to follow."""


def valuefill(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64, one value per row."""
    readings = _all_rows(timeline, signals[0])
    if options["by"] == "row":
        readings = dataclasses.replace(readings, times=np.arange(len(timeline), dtype=np.int64))
    method = options["method"]
    if method in ("linear", "screen"):
        filled = filled_along_lines(readings, level=True)
    else:
        filled = readings.values.copy()
    if method != "linear":
        finite = np.isfinite(readings.values)
        for begin, end in _parts(timeline):
            part = slice(begin, end)
            if not finite[part].any() or finite[part].all():
                continue
            found = _filled(
                method, readings.times[part], readings.values[part], finite[part], filled[part]
            )
            filled[part] = np.where(finite[part], readings.values[part], found)
    return _beside_rows(timeline, signals[0], filled)


def valuerepair(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64, one value per row."""
    values = filled_along_lines(_all_rows(timeline, signals[0]))
    for begin, end in _parts(timeline):
        times, part = timeline.times[begin:end], values[begin:end]
        if not np.isfinite(part).all():
            continue
        if options["method"] == "screen":
            part[:] = screen(times, part, options["minspeed"], options["maxspeed"])
        else:
            part[:] = lsgreedy(times, part, options["center"], options["sigma"])
    return _beside_rows(timeline, signals[0], values)


def _all_rows(timeline: Timeline, signal: Signal) -> Readings:
    """Every row as a reading, NaN where null."""
    rows = np.arange(len(timeline), dtype=np.int64)
    partition = timeline.partition_of_rows()
    return Readings(timeline.times, signal.numbers(), partition, timeline.partitions, rows)


def _parts(timeline: Timeline) -> list[tuple[int, int]]:
    bounds = timeline.bounds.tolist()
    return [(a, b) for a, b in itertools.pairwise(bounds) if a < b]


def _beside_rows(timeline: Timeline, signal: Signal, values: Floats) -> Points:
    valid = signal.mask() | ~np.isnan(values)
    rows = np.arange(len(timeline), dtype=np.int64)
    return points_of_rows(timeline, rows, Signal(values, None if valid.all() else valid))


def _filled(method: str, times: Positions, values: Floats, finite: Mask, lines: Floats) -> Floats:
    """A candidate for every row of a partition; there is a finite value."""
    rows = np.arange(len(values))
    known = np.flatnonzero(finite)
    rank = np.searchsorted(known, rows, side="right") - 1
    before = np.where(rank >= 0, values[known[np.maximum(rank, 0)]], np.nan)
    next_rank = np.minimum(np.searchsorted(known, rows), len(known) - 1)
    after = np.where(rows <= known[-1], values[known[next_rank]], np.nan)
    if method == "previous":
        return before
    if method == "next":
        return after
    mean = float(values[known].mean())
    if method == "mean":
        return np.full(len(values), mean)
    if method == "ma":
        sums = np.concatenate(([0.0], np.cumsum(values[known])))
        end = np.maximum(rank + 1, 1)
        begin = np.maximum(end - MA_VALUES, 0)
        moving: Floats = (sums[end] - sums[begin]) / (end - begin)
        return moving
    if method == "ar":
        away = np.where(rank >= 0, rows - known[np.maximum(rank, 0)], known[0] - rows)
        nearest = np.where(rank >= 0, before, after)
        return mean + _autocorrelation(values, finite, mean) ** away * (nearest - mean)
    if method == "likelihood":
        return _likely(times, values, known)
    return screen(times, lines, None, None)


def _autocorrelation(values: Floats, finite: Mask, mean: float) -> float:
    """Between neighbouring rows, -1 to 1; 0 when nothing varies."""
    pairs = finite[1:] & finite[:-1]
    left, right = values[:-1][pairs] - mean, values[1:][pairs] - mean
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / scale if scale else 0.0


def _likely(times: Positions, values: Floats, known: Positions) -> Floats:
    steps = np.diff(times).astype(np.float64)
    spans = np.diff(times[known]).astype(np.float64)
    apart = spans > 0
    speeds = np.diff(values[known])[apart] / spans[apart]
    speed = float(speeds.mean()) if len(speeds) else 0.0
    since = np.concatenate(([0.0], np.cumsum(steps)))
    squares = np.concatenate(([0.0], np.cumsum(steps**2)))
    rows = np.arange(len(values))
    left = known[np.maximum(np.searchsorted(known, rows, side="right") - 1, 0)]
    right = known[np.minimum(np.searchsorted(known, rows), len(known) - 1)]
    lacking = values[right] - values[left] - speed * (since[right] - since[left])
    weight = squares[right] - squares[left]
    share = np.divide(
        squares[rows] - squares[left], weight, out=np.zeros(len(rows)), where=weight > 0
    )
    filled: Floats = values[left] + speed * (since[rows] - since[left]) + share * lacking
    return filled


_FILLS = ("linear", "previous", "next", "mean", "ma", "ar", "likelihood", "screen")

FUNCTIONS = (
    PointFunction(
        "valuefill",
        valuefill,
        parameters=(
            Parameter("method", Kind.TEXT, "linear", _FILLS),
            Parameter("by", Kind.TEXT, "time", ("time", "row")),
        ),
        keeps_rows=True,
    ),
    PointFunction(
        "valuerepair",
        valuerepair,
        parameters=(
            Parameter("method", Kind.TEXT, "screen", ("screen", "lsgreedy")),
            Parameter("minspeed", Kind.NUMBER, None),
            Parameter("maxspeed", Kind.NUMBER, None),
            Parameter("center", Kind.NUMBER, 0.0),
            Parameter("sigma", Kind.NUMBER, None, low=0),
        ),
        keeps_rows=True,
    ),
)
