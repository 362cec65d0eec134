"""Samples of equal-size buckets: so many points of each run of a fixed number of points.

1. ``proportion`` says how many points are kept of all; with the number of points kept of each
   bucket it gives the bucket's size. The last bucket of a partition may be smaller.
2. Nulls and NaN are left out before points are counted.
3. A random sample is the same each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mainstem_engine.analysis.downsampling import drawable, extremes, windows_of_points
from mainstem_engine.analysis.exact import is_whole, sums
from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.rows import (
    Points,
    Positions,
    Present,
    Signal,
    Timeline,
    points_of_rows,
)
from mainstem_engine.analysis.selections import SEED
from mainstem_engine.model import AnyArray

Scores = npt.NDArray[np.float64]
_MILLISECOND = 1_000_000
_M4_POINTS = 4
"""First, last, lowest, highest."""


def random_sample(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """One point of each bucket of 1 / ``proportion``."""
    values = drawable(timeline, signals[0])
    begin, end = _buckets(values, 1, options)
    drawn = np.random.default_rng(SEED).random(len(begin))
    rows = values.rows[begin + (drawn * (end - begin)).astype(np.int64)]
    return points_of_rows(timeline, rows, signals[0].take(rows))


def aggregated_sample(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """``type`` of each bucket of 1 / ``proportion``, at the time of its first point. ``extreme`` is
    the value farthest from 0, ``variance`` that of the bucket as a whole population."""
    values = drawable(timeline, signals[0])
    begin, end = _buckets(values, 1, options)
    rows = values.rows[begin]
    if len(begin) == 0:
        return points_of_rows(timeline, rows, Signal(values.values[:0]))
    with np.errstate(invalid="ignore", over="ignore"):  # infinities follow IEEE 754
        found = _aggregate(values.values, begin, end - begin, options["type"])
    return points_of_rows(timeline, rows, Signal(found))


def m4_sample(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """First, last, and of those between the lowest and the highest of each bucket of 4 /
    ``proportion``."""
    values = drawable(timeline, signals[0])
    begin, end = _buckets(values, _M4_POINTS, options)
    within = end - begin > 2
    inner = (begin[within] + 1, end[within] - 1)
    at = [begin, end - 1]
    at += [extremes(values.values, *inner, extreme)[0] for extreme in (np.minimum, np.maximum)]
    rows = values.rows[np.unique(np.concatenate(at))]
    return points_of_rows(timeline, rows, signals[0].take(rows))


def outlier_sample(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The ``number`` points of each bucket of ``number`` / ``proportion`` that stand out most by
    ``type``; the earlier of equal ones."""
    number = options["number"]
    values = drawable(timeline, signals[0])
    begin, end = _buckets(values, number, options)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities follow IEEE 754
        score = _SCORES[options["type"]](values, begin, end)
    bucket = np.repeat(np.arange(len(begin)), end - begin)
    order = np.lexsort((-score, bucket))
    rank = np.arange(len(order)) - begin[bucket[order]]
    rows = values.rows[np.sort(order[rank < number])]
    return points_of_rows(timeline, rows, signals[0].take(rows))


def _buckets(values: Present, kept: int, options: Options) -> tuple[Positions, Positions]:
    """Where the buckets of all partitions begin and end; none is empty."""
    size = max(int(kept / options["proportion"]), 1)
    return windows_of_points(values.timeline, size, size)


def _aggregate(values: AnyArray, begin: Positions, lengths: Positions, kind: str) -> AnyArray:
    whole = values.astype(np.int64) if values.dtype == np.bool_ else values
    if kind == "sum":
        return sums("equal_size_bucket_agg_sample", whole, begin)
    if kind in ("avg", "variance"):
        numbers = values.astype(np.float64)
        means = np.add.reduceat(numbers, begin) / lengths
        if kind == "avg":
            return means
        spread = np.add.reduceat((numbers - np.repeat(means, lengths)) ** 2, begin)
        return spread / lengths
    highest, lowest = np.maximum.reduceat(whole, begin), np.minimum.reduceat(whole, begin)
    if kind == "max":
        return highest
    if kind == "min":
        return lowest
    if whole.dtype.kind == "u":
        return highest
    # highest >= -lowest, written so that it fits for whole numbers: -x is ~x + 1.
    is_high = highest > ~lowest if is_whole(whole) else highest >= -lowest
    return np.where(is_high, highest, lowest)


def _from_mean(values: Present, begin: Positions, end: Positions) -> Scores:
    """The distance from the mean of the bucket."""
    numbers = values.values.astype(np.float64)
    if len(begin) == 0:
        return numbers
    lengths = end - begin
    distance: Scores = np.abs(
        numbers - np.repeat(np.add.reduceat(numbers, begin) / lengths, lengths)
    )
    return distance


def _from_line(values: Present, begin: Positions, end: Positions) -> Scores:
    """The distance from the line through the first and last point of the bucket. It is measured
    along the value's axis, which gives the same order as across the line."""
    numbers, times = values.values.astype(np.float64), values.timeline.times
    lengths = end - begin
    rise = numbers[end - 1] - numbers[begin]
    span = np.maximum(times[end - 1] - times[begin], 1)
    share = (times - np.repeat(times[begin], lengths)) / np.repeat(span, lengths)
    line = np.repeat(numbers[begin], lengths) + np.repeat(rise, lengths) * share
    distance: Scores = np.abs(numbers - line)
    return distance


def _by_bend(values: Present, begin: Positions, end: Positions) -> Scores:
    """How sharply the curve turns at a point; its times count in ms."""
    across, along, near = _steps(values)
    length = np.hypot(across[:-1], along[:-1]) * np.hypot(across[1:], along[1:])
    dot = across[:-1] * across[1:] + along[:-1] * along[1:]
    cosine = np.divide(dot, length, out=np.ones_like(dot), where=length > 0)
    return _of_inner(-cosine, near, begin, end)


def _by_reach(values: Present, begin: Positions, end: Positions) -> Scores:
    """How far a point is from its two neighbours together; its times count in ms."""
    across, along, near = _steps(values)
    steps = np.hypot(across, along)
    return _of_inner(steps[:-1] + steps[1:], near, begin, end)


def _steps(values: Present) -> tuple[Scores, Scores, int]:
    """From each point to the next: ms, difference of values; and the number of points."""
    times, numbers = values.timeline.times, values.values.astype(np.float64)
    if len(numbers) < 2:
        return np.zeros(1), np.zeros(1), len(numbers)
    return np.diff(times) / _MILLISECOND, np.diff(numbers), len(numbers)


def _of_inner(scores: Scores, count: int, begin: Positions, end: Positions) -> Scores:
    """Scores of all points; the first and last of a bucket have too few neighbours for one."""
    found = np.full(count, -np.inf)
    found[1:-1] = scores[: max(count - 2, 0)]
    found[begin] = -np.inf
    found[end - 1] = -np.inf
    return found


_SCORES = {"avg": _from_mean, "stendis": _from_line, "cos": _by_bend, "prenextdis": _by_reach}

_PROPORTION = Parameter("proportion", Kind.NUMBER, 0.1, low=1e-9, high=1.0)
_AGGREGATES = ("avg", "max", "min", "sum", "extreme", "variance")

FUNCTIONS = (
    PointFunction("equal_size_bucket_random_sample", random_sample, parameters=(_PROPORTION,)),
    PointFunction(
        "equal_size_bucket_agg_sample",
        aggregated_sample,
        parameters=(_PROPORTION, Parameter("type", Kind.TEXT, "avg", _AGGREGATES)),
    ),
    PointFunction(
        "equal_size_bucket_m4_sample",
        m4_sample,
        parameters=(_PROPORTION, Parameter("method", Kind.TEXT, "m4", ("m4",))),
    ),
    PointFunction(
        "equal_size_bucket_outlier_sample",
        outlier_sample,
        parameters=(
            _PROPORTION,
            Parameter("type", Kind.TEXT, "avg", tuple(_SCORES)),
            Parameter("number", Kind.INTEGER, 3, low=1),
        ),
    ),
)
