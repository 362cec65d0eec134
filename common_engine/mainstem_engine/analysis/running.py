"""Values that follow a signal as it runs: sums, moving means, runs of equal or alike values.

1. Nulls are passed over: they neither add to a sum nor break a run.
2. A *run* is the longest stretch of a partition's values that all satisfy a condition. It is known
   by the position of its first value.
3. A moving mean adds only the values of its own window, so that neither NaN nor a very large value
   leaves a trace after it has moved on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.exact import compare, is_whole, running_sums
from mainstem_engine.analysis.function import TICK, Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.rows import (
    Mask,
    Points,
    Positions,
    Present,
    Signal,
    Timeline,
    points_of_rows,
    present,
)
from mainstem_engine.model import AnyArray

WINDOW_MAX = 1_000_000
"""Points of a moving mean. More than a day of seconds; bounds the tables that it adds with."""

_COMPARISONS = {
    "lt": np.less,
    "gt": np.greater,
    "le": np.less_equal,
    "ge": np.greater_equal,
    "ne": np.not_equal,
    "eq": np.equal,
}


def csum(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The sum of the values so far, per partition: int64 of whole numbers, else float64."""
    values = present(timeline, signals[0])
    numbers, bounds = values.values, values.timeline.bounds
    if is_whole(numbers):
        sums: AnyArray = running_sums("csum", numbers, bounds)
    else:
        sums = np.empty(len(numbers))
        # Sums of floats must restart, or an infinity would spoil all later partitions.
        with np.errstate(invalid="ignore", over="ignore"):
            for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                np.cumsum(numbers[begin:end], out=sums[begin:end])
    return points_of_rows(timeline, values.rows, Signal(sums))


def mavg(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The mean of ``k`` values up to each: float64. The first ``k - 1`` have none."""
    k: int = options["k"]
    values = present(timeline, signals[0])
    rank = np.arange(len(values.rows)) - values.timeline.bounds[values.timeline.partition_of_rows()]
    full = np.flatnonzero(rank >= k - 1)
    if len(full) == 0:
        return points_of_rows(timeline, values.rows[:0], Signal(np.zeros(0)))
    means = _window_sums(values.values, k)[full - (k - 1)] / k
    return points_of_rows(timeline, values.rows[full], Signal(means))


def statecount(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """One value per row: how many values in a row satisfied the condition, -1 where it does not
    hold, null where the value is null."""
    values, holds, first = _states(timeline, signals[0], options)
    counts = np.where(holds, np.arange(len(holds)) - first + 1, -1)
    return _beside_rows(timeline, values.rows, counts)


def stateduration(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """One value per row: for how many whole ``unit``s the condition has held, -1 where it does not
    hold, null where the value is null."""
    values, holds, first = _states(timeline, signals[0], options)
    times = values.timeline.times
    lasted = (times - times[first]) // options["unit"]
    return _beside_rows(timeline, values.rows, np.where(holds, lasted, -1))


def zero_count(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The number of values of each run of zeros, at its first."""
    return _runs(timeline, signals[0], options, zero=True, is_count=True)


def non_zero_count(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The number of values of each run without a zero, at its first."""
    return _runs(timeline, signals[0], options, zero=False, is_count=True)


def zero_duration(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """From the first to the last value of each run of zeros, in whole ``unit``s, at its first."""
    return _runs(timeline, signals[0], options, zero=True, is_count=False)


def non_zero_duration(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """From the first to the last value of each run without a zero, in whole ``unit``s."""
    return _runs(timeline, signals[0], options, zero=False, is_count=False)


def change_points(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The first value of each run of equal ones; NaN equals NaN."""
    values = present(timeline, signals[0])
    numbers = values.values
    kept: Mask = values.is_first()
    changed = numbers[1:] != numbers[:-1]
    if numbers.dtype.kind == "f":
        changed &= ~(np.isnan(numbers[1:]) & np.isnan(numbers[:-1]))
    kept[1:] |= changed.astype(np.bool_)
    at = np.flatnonzero(kept)
    return points_of_rows(
        timeline, values.rows[at], Signal(numbers[at], is_time=signals[0].is_time)
    )


def _window_sums(values: AnyArray, k: int) -> AnyArray:
    """The sum of each ``k`` neighbours: [m - k + 1]. A window is the end of one block of ``k`` and
    the start of the next, so two tables of sums within blocks give every window."""
    numbers = values.astype(np.int64 if _sums_fit(values, k) else np.float64)
    blocks = np.zeros((-(-len(numbers) // k), k), numbers.dtype)
    blocks.reshape(-1)[: len(numbers)] = numbers
    with np.errstate(invalid="ignore", over="ignore"):  # infinities follow IEEE 754
        from_start = np.cumsum(blocks, axis=1).reshape(-1)
        to_end = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].reshape(-1)
        begin = np.arange(len(numbers) - k + 1)
        is_block = begin % k == 0
        tail = np.where(is_block, numbers.dtype.type(0), to_end[begin])
        sums: AnyArray = from_start[begin + k - 1] + tail
    return sums


def _sums_fit(values: AnyArray, k: int) -> bool:
    """Whether sums of ``k`` of these whole numbers fit into 64 bits."""
    if not is_whole(values):
        return False
    largest = max(int(values.max()), -int(values.min()), 0)
    return largest * k < 2**63


def _states(
    timeline: Timeline, signal: Signal, options: Options
) -> tuple[Present, Mask, Positions]:
    """The values that are not null, where the condition holds, and the position of the first value
    of the run that each belongs to."""
    values = present(timeline, signal)
    holds = compare(_COMPARISONS[options["operator"]], values.values, options["value"])
    return values, holds, _first_of_run(values, holds)


def _first_of_run(values: Present, alike: Mask) -> Positions:
    """For each value the position of the first of its run; runs end where ``alike`` changes and
    with their partition."""
    opens: Mask = values.is_first()
    opens[1:] |= alike[1:] != alike[:-1]
    first: Positions = np.maximum.accumulate(np.where(opens, np.arange(len(alike)), 0))
    return first


def _beside_rows(timeline: Timeline, rows: Positions, found: AnyArray) -> Points:
    """One value per row of the timeline, null but at ``rows``."""
    values = np.zeros(len(timeline), np.int64)
    valid = np.zeros(len(timeline), np.bool_)
    values[rows] = found
    valid[rows] = True
    return points_of_rows(timeline, np.arange(len(timeline)), Signal(values, valid))


def _runs(
    timeline: Timeline, signal: Signal, options: Options, *, zero: bool, is_count: bool
) -> Points:
    values = present(timeline, signal)
    alike: Mask = (values.values == 0) == zero
    first = _first_of_run(values, alike)
    begin = np.unique(first[alike])
    ends = np.append(np.flatnonzero(np.diff(first)), max(len(first) - 1, 0))
    last = ends[np.searchsorted(ends, begin)]
    if is_count:
        sizes = last - begin + 1
    else:
        times = values.timeline.times
        sizes = times[last] - times[begin]
    kept: Mask = sizes >= options["min"]
    if options["max"] is not None:
        kept &= sizes <= options["max"]
    found = sizes[kept] if is_count else sizes[kept] // options["unit"]
    return points_of_rows(timeline, values.rows[begin[kept]], Signal(found))


_STATE = (
    Parameter("operator", Kind.TEXT, choices=tuple(_COMPARISONS), aliases=("oper",)),
    Parameter("value", Kind.NUMBER, aliases=("val",)),
)
_COUNTED = (
    Parameter("min", Kind.INTEGER, 1, low=0),
    Parameter("max", Kind.INTEGER, None, low=0),
)
_UNIT = Parameter("unit", Kind.DURATION, TICK, low=1)
_LASTED = (
    Parameter("min", Kind.DURATION, 0, low=0),
    Parameter("max", Kind.DURATION, None, low=0),
    _UNIT,
)

FUNCTIONS = (
    PointFunction("csum", csum),
    PointFunction(
        "mavg",
        mavg,
        parameters=(Parameter("k", Kind.INTEGER, low=1, high=WINDOW_MAX, aliases=("window",)),),
    ),
    PointFunction(
        "mvavg",
        mavg,
        parameters=(Parameter("k", Kind.INTEGER, 10, low=1, high=WINDOW_MAX, aliases=("window",)),),
    ),
    PointFunction("statecount", statecount, parameters=_STATE, keeps_rows=True),
    PointFunction(
        "stateduration",
        stateduration,
        parameters=(*_STATE, _UNIT),
        keeps_rows=True,
    ),
    PointFunction("zero_count", zero_count, parameters=_COUNTED),
    PointFunction("non_zero_count", non_zero_count, parameters=_COUNTED),
    PointFunction("zero_duration", zero_duration, parameters=_LASTED),
    PointFunction("non_zero_duration", non_zero_duration, parameters=_LASTED),
    PointFunction("change_points", change_points, takes_text=True),
)
