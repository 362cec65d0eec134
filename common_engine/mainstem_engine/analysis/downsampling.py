"""Fewer points that draw the same curve.

1. ``lttb`` keeps of each bucket the point that spans the largest triangle with its neighbours
   (Steinarsson, "Downsampling Time Series for Visual Representation", 2013). ``minmaxlttb`` chooses
   first the extremes of smaller buckets, which is much faster and looks the same (Van Der Donckt et
   al., 2023). ``minmax_downsample`` keeps the extremes of each bucket alone.
2. ``m4`` keeps the first, last, lowest and highest point of each window: a line chart with a window
   per pixel column is drawn exactly (Jugel et al., "M4", VLDB 2014).
3. The answer's points are rows of the input with the values they had. Nulls and NaN are left out
   before anything is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from mainstem_engine.analysis.function import TICK, Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.rows import (
    Mask,
    Points,
    Positions,
    Present,
    Signal,
    Timeline,
    points_of_rows,
    positions,
    present,
)
from mainstem_engine.errors import SqlError
from mainstem_engine.model import AnyArray, TimesNs

POINTS_MAX = 1_000_000
"""Points of an answer per partition: many times the columns of any screen."""
WINDOWS_MAX = 10_000_000
"""Sliding windows of one partition, 24 bytes each."""
PIECE_ROWS = 4_000_000
"""Rows of windows that are looked at together: about 100 MB of intermediate columns."""


def drawable(timeline: Timeline, signal: Signal) -> Present:
    """The values that can be drawn: neither null nor NaN."""
    if signal.values.dtype.kind == "f":
        number = ~np.isnan(signal.values)
        signal = Signal(signal.values, number if signal.valid is None else number & signal.valid)
    elif signal.values.dtype == object:
        raise SqlError("a number is needed, this is text", hint="downsampling needs numbers")
    return present(timeline, signal)


def triangles(timeline: Timeline, signal: Signal, points: int) -> Positions:
    """The rows that LTTB keeps of each partition; of 1 or 2 points the first (and last)."""
    from tsdownsample import LTTBDownsampler

    values = drawable(timeline, signal)
    if points >= 3:
        chosen = LTTBDownsampler()  # type: ignore[no-untyped-call]
        return _of_partitions(values, points, chosen.downsample)
    bounds = values.timeline.bounds
    kept = bounds[:-1] < bounds[1:]
    ends = [bounds[:-1][kept]] if points == 1 else [bounds[:-1][kept], bounds[1:][kept] - 1]
    return values.rows[np.unique(np.concatenate(ends))]


def lttb(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """At most ``points`` points of each partition."""
    rows = triangles(timeline, signals[0], options["points"])
    return points_of_rows(timeline, rows, signals[0].take(rows))


def minmaxlttb(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """At most ``points`` points of each partition, of ``ratio`` times as many extremes."""
    from tsdownsample import MinMaxLTTBDownsampler

    chosen = MinMaxLTTBDownsampler()  # type: ignore[no-untyped-call]
    # The extremes come in pairs.
    ratio = options["ratio"] + options["points"] * options["ratio"] % 2

    def downsample(times: TimesNs, values: AnyArray, n_out: int) -> AnyArray:
        found: AnyArray = chosen.downsample(times, values, n_out=n_out, minmax_ratio=ratio)
        return found

    rows = _of_partitions(drawable(timeline, signals[0]), options["points"], downsample)
    return points_of_rows(timeline, rows, signals[0].take(rows))


def minmax_downsample(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """At most ``points`` points of each partition: the lowest and the highest of equal spans."""
    from tsdownsample import MinMaxDownsampler

    chosen = MinMaxDownsampler()  # type: ignore[no-untyped-call]
    even = options["points"] // 2 * 2  # two of each span
    rows = _of_partitions(drawable(timeline, signals[0]), even, chosen.downsample)
    return points_of_rows(timeline, rows, signals[0].take(rows))


def m4(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """First, last, lowest and highest of each window of ``windowSize`` points or ``timeInterval``
    time, every ``slidingStep``. Windows of time start at ``displayWindowBegin``, else at the first
    point of each partition, and end before ``displayWindowEnd``. ``unit``: of a plain step."""
    size, interval, step = options["windowSize"], options["timeInterval"], options["slidingStep"]
    if (size is None) == (interval is None):
        raise SqlError(
            "m4 needs windowSize or timeInterval",
            field="m4",
            hint="m4(x, 'windowSize'='100') or m4(x, 'timeInterval'='1m')",
        )
    values = drawable(timeline, signals[0])
    if size is not None:
        if step is not None and step > 0:
            raise SqlError(
                "m4: slidingStep of windowSize is a number of points",
                field="m4",
                hint="use timeInterval for windows of time",
            )
        begin, end = windows_of_points(values.timeline, size, size if step is None else -step)
    else:
        begin, end, values = _windows_of_time(
            values,
            interval,
            _step_ns(interval, step, options["unit"]),
            (options["displayWindowBegin"], options["displayWindowEnd"]),
        )
    rows = values.rows[first_last_extremes(values.values, begin, end)]
    return points_of_rows(timeline, rows, signals[0].take(rows))


def first_last_extremes(values: AnyArray, begin: Positions, end: Positions) -> Positions:
    """Of each window (none is empty) the positions of its first, last, lowest and highest value,
    ascending, each once. Where the first or last value is an extreme, no other is taken for it."""
    found = [begin, end - 1]
    for extreme in (np.minimum, np.maximum):
        at, least = extremes(values, begin, end, extreme)
        found.append(at[values[end - 1] != least])
    return np.unique(np.concatenate(found))


def extremes(
    values: AnyArray, begin: Positions, end: Positions, extreme: np.ufunc
) -> tuple[Positions, AnyArray]:
    """Of each window (none is empty) the first position of its extreme value, and that value."""
    if len(begin) == 0:
        return begin, values[:0]
    pieces: list[tuple[Positions, AnyArray]] = []
    so_far = np.cumsum(end - begin)
    cuts = np.searchsorted(so_far, np.arange(0, int(so_far[-1]), PIECE_ROWS)).tolist()
    for first, last in pairwise([*cuts, len(begin)]):
        if first == last:  # one window is larger than a piece
            continue
        lengths = end[first:last] - begin[first:last]
        rows = positions(begin[first:last], end[first:last])
        starts = np.cumsum(lengths) - lengths
        least = extreme.reduceat(values[rows], starts)
        is_extreme = values[rows] == np.repeat(least, lengths)
        at = np.minimum.reduceat(np.where(is_extreme, rows, len(values)), starts)
        pieces.append((at, least))
    return np.concatenate([at for at, _ in pieces]), np.concatenate([v for _, v in pieces])


def _of_partitions(values: Present, points: int, downsample: Callable[..., AnyArray]) -> Positions:
    """Partition by partition: the library takes one curve at a time."""
    bounds, times = values.timeline.bounds.tolist(), values.timeline.times
    kept: list[AnyArray] = []
    for begin, end in pairwise(bounds):
        if end - begin <= points:
            kept.append(values.rows[begin:end])
            continue
        # Times from the first point on keep their digits where the library computes in floats.
        chosen = downsample(
            times[begin:end] - times[begin],
            np.ascontiguousarray(values.values[begin:end]),
            n_out=points,
        )
        kept.append(values.rows[begin:end][np.unique(chosen).astype(np.int64)])
    return np.concatenate(kept) if kept else values.rows[:0]


def windows_of_points(timeline: Timeline, size: int, step: int) -> tuple[Positions, Positions]:
    """Where windows of ``size`` rows, every ``step`` rows, begin and end; none is empty, those at
    the end of a partition may be smaller."""
    first, last = timeline.bounds[:-1], timeline.bounds[1:]
    counts = -(-(last - first) // step)
    begin = np.repeat(first, counts) + positions(np.zeros_like(counts), counts) * step
    return begin, np.minimum(begin + size, np.repeat(last, counts))


def _windows_of_time(
    values: Present, interval: int, step: int, shown: tuple[int | None, int | None]
) -> tuple[Positions, Positions, Present]:
    """Windows that have rows, and the values within them."""
    timeline = values.timeline
    lengths = np.diff(timeline.bounds)
    safe = np.minimum(timeline.bounds[:-1], max(len(timeline) - 1, 0))
    if shown[0] is None:
        origin = timeline.times[safe] if len(timeline) else np.zeros(len(safe), np.int64)
    else:
        origin = np.full(len(lengths), shown[0], np.int64)
    since = timeline.times - np.repeat(origin, lengths)
    kept: Mask = since >= 0
    if shown[1] is not None:
        kept &= timeline.times < shown[1]
    if step >= interval:
        kept &= since % step < interval
    within = _only(values, kept)
    since = since[kept]
    if step >= interval:
        opens = within.is_first()
        opens[1:] |= np.diff(since // step) != 0
        begin = np.flatnonzero(opens)
        return begin, np.append(begin[1:], len(since))[: len(begin)], within
    begins, ends = [since[:0]], [since[:0]]
    bounds = within.timeline.bounds.tolist()
    for first, last in pairwise(bounds):
        start = _sliding_starts(since[first:last], interval, step)
        begins.append(first + np.searchsorted(since[first:last], start))
        ends.append(first + np.searchsorted(since[first:last], start + interval))
    return np.concatenate(begins), np.concatenate(ends), within


def _only(values: Present, kept: Mask) -> Present:
    at = np.flatnonzero(kept)
    bounds = np.searchsorted(at, values.timeline.bounds).astype(np.int64)
    timeline = Timeline(values.timeline.times[at], bounds)
    return Present(values.rows[at], timeline, values.values[at])


def _sliding_starts(since: TimesNs, interval: int, step: int) -> TimesNs:
    """The starts of all windows of one partition that have a row; the first is 0."""
    newest = since // step
    oldest = np.maximum((since - interval) // step + 1, 0)
    # Windows that a row shares with the row before it have been counted there.
    oldest[1:] = np.maximum(oldest[1:], newest[:-1] + 1)
    counts = np.maximum(newest + 1 - oldest, 0)
    if int(counts.sum()) > WINDOWS_MAX:
        raise SqlError(
            f"m4: more than {WINDOWS_MAX} windows",
            field="m4",
            hint="use a longer slidingStep or a shorter timeInterval",
        )
    return positions(oldest, oldest + counts) * step


def _step_ns(interval: int, step: int | None, unit: int) -> int:
    """A plain number, which is bound as a negative one, counts in units."""
    if step is None:
        return interval
    return step if step > 0 else -step * unit


def _points(low: int) -> Parameter:
    return Parameter(
        "points", Kind.INTEGER, low=low, high=POINTS_MAX, aliases=("n_out", "threshold")
    )


FUNCTIONS = (
    PointFunction("lttb", lttb, parameters=(_points(3),)),
    PointFunction(
        "minmaxlttb",
        minmaxlttb,
        parameters=(_points(3), Parameter("ratio", Kind.INTEGER, 4, low=2, high=100)),
    ),
    PointFunction("minmax_downsample", minmax_downsample, parameters=(_points(4),)),
    PointFunction(
        "m4",
        m4,
        parameters=(
            Parameter("windowSize", Kind.INTEGER, None, low=1),
            Parameter("timeInterval", Kind.DURATION, None, low=1),
            Parameter("slidingStep", Kind.COUNT_OR_DURATION, None, low=1),
            Parameter("displayWindowBegin", Kind.TIME, None),
            Parameter("displayWindowEnd", Kind.TIME, None),
            Parameter("unit", Kind.DURATION, TICK, low=1),
        ),
    ),
)
