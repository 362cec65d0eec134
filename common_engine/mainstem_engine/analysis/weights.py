"""Values weighed by the time they held: TWA, INTEGRAL, INTEGRALAVG, and the time itself: ELAPSED.

1. Between two numbers the value is on the straight line from one to the other; the area of a
   window is that below the line, in parts between its numbers (trapezoids).
2. A window of time has edges. Where there is a number before it (after it) in the partition, the
   line to that number is cut at the edge and counts too, so that windows that touch add up. At the
   ends of a partition the window begins with its first number and ends with its last.
3. A window made of rows ends with its rows. A window without a number has no value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import TICK, Kind, Options, Parameter, WindowFunction
from mainstem_engine.analysis.measured import Measured, Numbers, measured, stretch_sums
from mainstem_engine.analysis.rows import Mask, Positions, Signal, Timeline, Windows
from mainstem_engine.model import TimesNs

NS_PER_S = 1_000_000_000


def twa(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """The mean over time, float64. Without any length of time: the mean of the numbers."""
    found = measured(timeline, signals[0], windows)
    area, length = _areas(found, windows)
    plain = stretch_sums(found.numbers, found.begin, found.end) / np.maximum(found.counts(), 1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities follow IEEE 754
        means = np.where(length > 0, area / np.where(length > 0, length, 1.0), plain)
    return Signal(means, found.has_some())


def integral(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """The area below the values, float64, in the unit of the values times ``unit``."""
    found = measured(timeline, signals[0], windows)
    area, _ = _areas(found, windows)
    return Signal(area / options["unit"], found.has_some())


def elapsed(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """The time that the rows of a window cover, int64, in whole ``unit``s."""
    some = windows.end > windows.begin
    begin, end = windows.begin[some], windows.end[some]
    first, last = timeline.times[begin], timeline.times[end - 1]
    if windows.origin_ns is not None and windows.limit_ns is not None:
        partition = windows.partition[some]
        first = np.where(begin > timeline.bounds[partition], windows.origin_ns[some], first)
        last = np.where(end < timeline.bounds[partition + 1], windows.limit_ns[some], last)
    units = np.zeros(len(windows), np.int64)
    units[some] = (last - first) // options["unit"]
    return Signal(units, some)


def _areas(found: Measured, windows: Windows) -> tuple[Numbers, Numbers]:
    """The area of each window, in the unit of the values times ns, and its length in ns."""
    times, numbers = found.times, found.numbers
    with np.errstate(invalid="ignore", over="ignore"):  # infinities follow IEEE 754
        steps = np.diff(times).astype(np.float64)
        parts = (numbers[1:] + numbers[:-1]) / 2 * steps
        area = stretch_sums(parts, found.begin, found.end - 1)
        length = np.zeros(len(windows), np.float64)
        some = found.has_some()
        length[some] = times[found.end[some] - 1] - times[found.begin[some]]
        if windows.origin_ns is not None and windows.limit_ns is not None:
            before = some & (found.begin > found.low)
            first = found.begin[before]
            edge = windows.origin_ns[before]
            _add_edge(found, area, length, before, first, _at(found, first, edge), edge)
            after = some & (found.end < found.high)
            last = found.end[after] - 1
            edge = windows.limit_ns[after]
            _add_edge(found, area, length, after, last, _at(found, last + 1, edge), edge)
    return area, length


def _at(found: Measured, following: Positions, moments: TimesNs) -> Numbers:
    """The value of the line at moments between each ``following`` number and the one before."""
    times, numbers = found.times, found.numbers
    earlier = following - 1
    span = np.maximum(times[following] - times[earlier], 1)
    share = np.clip((moments - times[earlier]) / span, 0.0, 1.0)
    found_at: Numbers = numbers[earlier] + (numbers[following] - numbers[earlier]) * share
    return found_at


def _add_edge(
    found: Measured,
    area: Numbers,
    length: Numbers,
    which: Mask,
    nearest: Positions,
    value: Numbers,
    edge: TimesNs,
) -> None:
    """Adds the part between the nearest number of a window and its edge."""
    lasts = np.abs(found.times[nearest] - edge).astype(np.float64)
    area[which] += np.where(lasts > 0, (value + found.numbers[nearest]) / 2 * lasts, 0.0)
    length[which] += lasts


FUNCTIONS = (
    WindowFunction("twa", twa),
    WindowFunction("integralavg", twa),
    WindowFunction(
        "integral", integral, parameters=(Parameter("unit", Kind.DURATION, NS_PER_S, low=1),)
    ),
    WindowFunction(
        "elapsed",
        elapsed,
        columns=(0, 0),
        parameters=(Parameter("unit", Kind.DURATION, TICK, low=1, aliases=("time_unit",)),),
        takes_time=True,
    ),
)
