"""What the values of a signal are like: standard scores, shares of the range, counts, skewness.

NaN and nulls are passed over; nulls give null, NaN gives NaN where there is one value per row.

1. ZSCORE: distance from the partition's mean in standard deviations, those of the population.
   MINMAX: 0 at the partition's least value, 1 at its largest. With ``compute`` stream the two
   numbers are the statement's (avg and sd, min and max). Values that do not vary have NaN.
2. HISTOGRAM as points: how many values lie in each of ``count`` equal parts of ``min`` to ``max``,
   numbered from 0 as milliseconds since 1970. A value on an inner edge belongs to the part above;
   values beyond belong to the first and the last part. By default the edges are those of the
   values.
3. SKEW: the population's skewness, the mean of the cubes of the standard scores; null when the
   values do not vary.
"""

from __future__ import annotations

import itertools
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
from mainstem_engine.analysis.readings import (
    Readings,
    readings_of_partitions,
    readings_of_windows,
)
from mainstem_engine.analysis.rows import (
    Points,
    Signal,
    Timeline,
    Windows,
    points_of_pieces,
    points_of_rows,
)
from mainstem_engine.errors import SqlError
from mainstem_engine.model import AnyArray, TimesNs

MILLISECOND = 1_000_000
BUCKETS_MAX = 1_000_000
"""Parts of a histogram."""


def zscore(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64, one value per row."""
    known = _known(readings_of_partitions(timeline, signals[0]))
    if options["compute"] == "stream":
        middle, scale = _given("zscore", options, "avg", "sd", known.windows)
    else:
        middle, scale = _moments(known)
    return _scaled(timeline, signals[0], middle, scale)


def minmax(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64, one value per row."""
    known = _known(readings_of_partitions(timeline, signals[0]))
    if options["compute"] == "stream":
        low, high = _given("minmax", options, "min", "max", known.windows)
    else:
        low, high = (np.full(known.windows, np.nan) for _ in range(2))
        filled = np.flatnonzero(known.counts())
        begins = known.bounds()[filled]
        if len(filled):
            low[filled] = np.minimum.reduceat(known.values, begins)
            high[filled] = np.maximum.reduceat(known.values, begins)
    return _scaled(timeline, signals[0], low, high - low)


def histogram(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """int64 per part."""
    known = _known(readings_of_partitions(timeline, signals[0]))
    count: int = options["count"]
    bounds = known.bounds().tolist()
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    for begin, end in itertools.pairwise(bounds):
        values = known.values[begin:end]
        finite = values[np.isfinite(values)]
        low, high = options["min"], options["max"]
        if len(finite):
            low = float(finite.min()) if low is None else low
            high = float(finite.max()) if high is None else high
        if low is None or high is None:
            low, high = 0.0, 0.0  # without values all parts are empty
        if low > high:
            raise SqlError(
                f"histogram: min {low:g} is above max {high:g}",
                field="histogram",
                hint="give min and max in order",
            )
        edges = np.linspace(low, high, count + 1)[1:-1]
        parts = np.searchsorted(edges, values, side="right")
        found = np.bincount(parts, minlength=count).astype(np.int64)
        pieces.append((MILLISECOND * np.arange(count, dtype=np.int64), (found,)))
    return points_of_pieces(pieces)


def skew(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """float64 per window."""
    known = _known(readings_of_windows(timeline, signals[0], windows))
    middle, scale = _moments(known)
    scores = _divided(known.values - middle[known.window], scale[known.window])
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.bincount(known.window, weights=scores**3, minlength=known.windows)
    found = sums / np.maximum(known.counts(), 1)
    return Signal(found, (known.counts() > 0) & ~np.isnan(found))


def _known(readings: Readings) -> Readings:
    return readings.take(np.flatnonzero(~np.isnan(readings.values)))


def _moments(readings: Readings) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each window, NaN without values."""
    window, count = readings.window, readings.windows
    sizes = readings.counts().astype(np.float64)
    sizes[sizes == 0] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.bincount(window, weights=readings.values, minlength=count) / sizes
        squares = (readings.values - means[window]) ** 2
        deviations = np.sqrt(np.bincount(window, weights=squares, minlength=count) / sizes)
    # A mean is rounded: what equal values seem to vary by is not their deviation.
    negligible = 4 * np.finfo(np.float64).eps * np.abs(means)
    return means, np.where(deviations <= negligible, 0.0, deviations)


def _given(
    name: str, options: Options, first: str, second: str, count: int
) -> tuple[Floats, Floats]:
    if options[first] is None or options[second] is None:
        raise SqlError(
            f"{name} needs {first} and {second} when compute is stream",
            field=name,
            hint="give them, or leave compute out to use the data's own",
        )
    return np.full(count, options[first]), np.full(count, options[second])


def _scaled(timeline: Timeline, signal: Signal, middle: Floats, scale: Floats) -> Points:
    partition = timeline.partition_of_rows()
    with np.errstate(over="ignore", invalid="ignore"):
        found = _divided(signal.numbers() - middle[partition], scale[partition])
    return points_of_rows(timeline, np.arange(len(timeline)), Signal(found, signal.valid))


def _divided(values: Floats, scale: Floats) -> Floats:
    """NaN where ``scale`` is not above zero."""
    found = np.full(len(values), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        np.divide(values, scale, out=found, where=scale > 0)
    return found


_COMPUTE = Parameter("compute", Kind.TEXT, "batch", ("batch", "stream"), aliases=("method",))

FUNCTIONS = (
    PointFunction(
        "zscore",
        zscore,
        parameters=(
            _COMPUTE,
            Parameter("avg", Kind.NUMBER, None),
            Parameter("sd", Kind.NUMBER, None),
        ),
        keeps_rows=True,
    ),
    PointFunction(
        "minmax",
        minmax,
        parameters=(
            _COMPUTE,
            Parameter("min", Kind.NUMBER, None),
            Parameter("max", Kind.NUMBER, None),
        ),
        keeps_rows=True,
    ),
    PointFunction(
        "histogram",
        histogram,
        parameters=(
            Parameter("min", Kind.NUMBER, None),
            Parameter("max", Kind.NUMBER, None),
            Parameter("count", Kind.INTEGER, 1, low=1, high=BUCKETS_MAX),
        ),
    ),
    WindowFunction("skew", skew),
)
