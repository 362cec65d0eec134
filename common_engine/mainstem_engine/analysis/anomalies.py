"""Readings that stand out, and stretches that look made up.

Nulls and NaN are passed over: they are neither judged nor reported. Each partition is judged by
itself. What is reported is the reading as it was stored.

1. IQR: outside ``q1 - 1.5 (q3 - q1)`` to ``q3 + 1.5 (q3 - q1)``; quartiles interpolate linearly.
2. KSIGMA: further than ``k`` standard deviations from the mean of the last ``window`` readings, the
   reading included; the first ``window`` readings are judged together. The deviation is that of
   the population.
3. RANGE: below or above a bound. OUTLIER: with too few readings of a similar value around it.
4. MISSDETECT: runs of readings on one straight line over time, as interpolation leaves them.
5. TWOSIDEDFILTER leaves out what agrees neither with the readings before nor with those after. How
   far a reading is from a side's median beyond that side's range says how outlying it is there:
   ``max(0, 1 - range / distance)``, 0 to 1. The smaller of the two sides counts, so the first
   readings of a new level stay. Only sides of full length count.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import Readings, readings_of_partitions
from mainstem_engine.analysis.rows import (
    Mask,
    Points,
    Signal,
    Timeline,
    points_of_rows,
)
from mainstem_engine.errors import SqlError

FENCE = 1.5
"""Tukey's fences."""
LINE_READINGS_MIN = 10
"""Shorter straight runs happen by themselves."""
SLOPE_ROUNDING = 1e-9
"""Of the slope: interpolated values are rounded before they are stored."""
WINDOW_MAX = 1_000_000
"""Bounds the memory of one window."""
SIDE_MAX = 1_000
"""A side longer than this is a trend rather than a neighbourhood."""
CELLS_MAX = 1 << 20
"""Cells of a table of neighbours at one time: 8 MiB."""


def iqr(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The readings outside of the fences."""
    numbers = _numbers(timeline, signals[0])
    flagged = np.zeros(len(numbers.values), np.bool_)
    given = _given("iqr", options, "q1", "q3")
    for part in _parts(numbers):
        values = numbers.values[part]
        finite = values[np.isfinite(values)]
        if given is None and len(finite) == 0:
            continue
        low, high = given or np.quantile(finite, [0.25, 0.75]).tolist()
        reach = FENCE * (high - low)
        flagged[part] = (values < low - reach) | (values > high + reach)
    return _reported(timeline, signals[0], numbers, flagged)


def ksigma(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The readings more than ``k`` standard deviations off."""
    numbers = _numbers(timeline, signals[0])
    numbers = numbers.take(np.flatnonzero(np.isfinite(numbers.values)))
    flagged = np.zeros(len(numbers.values), np.bool_)
    for part in _parts(numbers):
        values = numbers.values[part]
        if len(values) == 0:
            continue
        means, deviations = _moving_moments(values, options["window"])
        flagged[part] = np.abs(values - means) > options["k"] * deviations
    return _reported(timeline, signals[0], numbers, flagged)


def value_range(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The readings below ``lower_bound`` or above ``upper_bound``; none if the bounds cross."""
    numbers = _numbers(timeline, signals[0])
    low, high = options["lower_bound"], options["upper_bound"]
    flagged = (numbers.values < low) | (numbers.values > high)
    return _reported(timeline, signals[0], numbers, flagged & (low < high))


def outlier(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The readings that have, in one of the windows of ``w`` readings that they are in, fewer than
    ``k`` others within ``r``. Windows start every ``s`` readings; the last one ends with the
    partition, and fewer readings than ``w`` are one window."""
    numbers = _numbers(timeline, signals[0])
    numbers = numbers.take(np.flatnonzero(np.isfinite(numbers.values)))
    flagged = np.zeros(len(numbers.values), np.bool_)
    reach, least = options["r"], options["k"]
    for part in _parts(numbers):
        values, found = numbers.values[part], flagged[part]
        last = max(len(values) - options["w"], 0)
        for begin in {*range(0, last, options["s"]), last}:
            inside = values[begin : begin + options["w"]]
            ordered = np.sort(inside)
            near = np.searchsorted(ordered, inside + reach, side="right")
            near -= np.searchsorted(ordered, inside - reach, side="left")
            found[begin : begin + options["w"]] |= near - 1 < least
    return _reported(timeline, signals[0], numbers, flagged)


def missdetect(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """One value per row: whether it is one of at least ``minlen`` readings on a straight line; null
    where there is no finite reading."""
    numbers = _numbers(timeline, signals[0])
    numbers = numbers.take(np.flatnonzero(np.isfinite(numbers.values)))
    on_line = _on_lines(numbers, options["minlen"])
    values = np.zeros(len(timeline), np.bool_)
    valid = np.zeros(len(timeline), np.bool_)
    values[numbers.rows] = on_line
    valid[numbers.rows] = True
    return points_of_rows(timeline, np.arange(len(timeline)), Signal(values, valid))


def twosidedfilter(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The finite readings without those that are outlying on both sides."""
    numbers = _numbers(timeline, signals[0])
    numbers = numbers.take(np.flatnonzero(np.isfinite(numbers.values)))
    stays = np.ones(len(numbers.values), np.bool_)
    for part in _parts(numbers):
        stays[part] = _outlying(numbers.values[part], options["len"]) <= options["threshold"]
    return _reported(timeline, signals[0], numbers, stays)


def _numbers(timeline: Timeline, signal: Signal) -> Readings:
    """The readings that are numbers, infinities among them."""
    readings = readings_of_partitions(timeline, signal)
    return readings.take(np.flatnonzero(~np.isnan(readings.values)))


def _parts(readings: Readings) -> Iterator[slice]:
    bounds = readings.bounds().tolist()
    return (slice(begin, end) for begin, end in itertools.pairwise(bounds))


def _reported(timeline: Timeline, signal: Signal, numbers: Readings, which: Mask) -> Points:
    rows = numbers.rows[which]
    return points_of_rows(timeline, rows, signal.take(rows))


def _given(name: str, options: Options, *needed: str) -> tuple[float, ...] | None:
    """The statistics of the statement, None if the readings' own are meant."""
    if options["compute"] == "batch":
        return None
    found = tuple(options[key] for key in needed)
    if None in found:
        raise SqlError(
            f"{name} needs {' and '.join(needed)} when compute is stream",
            field=name,
            hint="give them, or leave compute out to use the data's own",
        )
    return found


def _moving_moments(values: Floats, window: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the ``window`` values up to each; the first windowful share
    theirs."""
    size = min(window, len(values))
    # Sums of squares lose digits far from zero, so they are taken from the first window's mean.
    centre = float(values[:size].mean())
    shifted = values - centre
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.concatenate(([0.0], np.cumsum(shifted)))
        squares = np.concatenate(([0.0], np.cumsum(shifted**2)))
        means = (sums[size:] - sums[:-size]) / size
        spread = (squares[size:] - squares[:-size]) / size - means**2
    deviations = np.sqrt(np.maximum(spread, 0.0))
    deviations[0] = values[:size].std()
    first = size - 1
    return (
        np.concatenate((np.full(first, means[0]), means)) + centre,
        np.concatenate((np.full(first, deviations[0]), deviations)),
    )


def _on_lines(numbers: Readings, least: int) -> Mask:
    """Whether each reading is one of at least ``least`` in a row that share a line."""
    values, times = numbers.values, numbers.times
    on_line = np.zeros(len(values), np.bool_)
    after = numbers.followers()
    after = after[times[after] > times[after - 1]]
    if len(after) == 0:
        return on_line
    seconds = (times[after] - times[after - 1]) / 1e9
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = (values[after] - values[after - 1]) / seconds
        rounding = 4 * np.finfo(np.float64).eps * np.abs(values[after]) / seconds
        bound = np.maximum(SLOPE_ROUNDING * np.abs(slopes), rounding)
        alike = np.abs(np.diff(slopes)) <= np.maximum(bound[1:], bound[:-1])
    joined = alike & (np.diff(after) == 1)
    begins = np.flatnonzero(np.concatenate(([True], ~joined)))
    ends = np.append(begins[1:], len(after))
    long = ends - begins + 1 >= least  # n slopes join n + 1 readings
    edges = np.zeros(len(values) + 1, np.int64)
    np.add.at(edges, after[begins[long]] - 1, 1)
    np.add.at(edges, after[ends[long] - 1] + 1, -1)
    covered: Mask = np.cumsum(edges[:-1]) > 0
    return covered


def _outlying(values: Floats, length: int) -> Floats:
    """How outlying each value is, 0 to 1: on the side where it is less so."""
    count = len(values) - length
    if count <= 0:
        return np.zeros(len(values))
    middles, ranges = _sides(values, length)
    before = np.full(len(values), np.inf)
    after = np.full(len(values), np.inf)
    before[length:] = _apart(values[length:], middles[:count], ranges[:count])
    after[:count] = _apart(values[:count], middles[1:], ranges[1:])
    least = np.minimum(before, after)
    return np.where(np.isinf(least), 0.0, least)


def _apart(values: Floats, middles: Floats, ranges: Floats) -> Floats:
    distances = np.abs(values - middles)
    share = np.divide(ranges, distances, out=np.ones(len(values)), where=distances > ranges)
    return 1 - share


def _sides(values: Floats, length: int) -> tuple[Floats, Floats]:
    """Median and range of each ``length`` neighbours: [n - length + 1]."""
    tables = np.lib.stride_tricks.sliding_window_view(values, length)
    middles, ranges = np.empty(len(tables)), np.empty(len(tables))
    step = max(CELLS_MAX // length, 1)
    for begin in range(0, len(tables), step):
        table = tables[begin : begin + step]
        middles[begin : begin + step] = np.median(table, axis=1)
        ranges[begin : begin + step] = np.ptp(table, axis=1)
    return middles, ranges


_COMPUTE = Parameter("compute", Kind.TEXT, "batch", ("batch", "stream"), aliases=("method",))

FUNCTIONS = (
    PointFunction(
        "iqr",
        iqr,
        parameters=(
            _COMPUTE,
            Parameter("q1", Kind.NUMBER, None),
            Parameter("q3", Kind.NUMBER, None),
        ),
    ),
    PointFunction(
        "ksigma",
        ksigma,
        parameters=(
            Parameter("k", Kind.NUMBER, 3.0, low=0),
            Parameter("window", Kind.INTEGER, 10_000, low=2, high=WINDOW_MAX),
        ),
    ),
    PointFunction(
        "range",
        value_range,
        parameters=(
            Parameter("lower_bound", Kind.NUMBER, -np.inf),
            Parameter("upper_bound", Kind.NUMBER, np.inf),
        ),
    ),
    PointFunction(
        "outlier",
        outlier,
        parameters=(
            Parameter("r", Kind.NUMBER, low=0),
            Parameter("k", Kind.INTEGER, 3, low=1),
            Parameter("w", Kind.INTEGER, 1_000, low=2, high=WINDOW_MAX),
            Parameter("s", Kind.INTEGER, 500, low=1),
        ),
    ),
    PointFunction(
        "missdetect",
        missdetect,
        parameters=(
            Parameter(
                "minlen",
                Kind.INTEGER,
                LINE_READINGS_MIN,
                low=LINE_READINGS_MIN,
                aliases=("error",),
            ),
        ),
        keeps_rows=True,
    ),
    PointFunction(
        "twosidedfilter",
        twosidedfilter,
        parameters=(
            Parameter("len", Kind.INTEGER, 5, low=1, high=SIDE_MAX),
            Parameter("threshold", Kind.NUMBER, 0.3, low=0, high=1),
        ),
    ),
)
