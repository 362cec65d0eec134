"""From one value to the next: differences, rates of change, and gaps between points.

1. The value before is the last one of the same partition that is not null.
2. ``diff`` keeps every row, and is null where there is nothing to subtract. The others make a point
   of every value but the first of its partition.
3. Whole numbers are subtracted as whole numbers, exactly; booleans count as 0 and 1.
4. Gaps, and differences of times, are in whole units. Rates are per unit of time; points of one
   time have none, and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.exact import magnitude, subtract
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

SECOND = 1_000_000_000
"""Rates are per second unless a unit is named."""


def diff(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """One value per row. ``ignore_option``: 1 and 3 make negative differences null; with 2 and 3
    rows without one are left out of the answer. ``ignore_null`` False: the row before must have a
    value."""
    signal = signals[0]
    values = present(timeline, signal)
    later = _with_earlier(values, ignore_null=options["ignore_null"])
    changes = _changes("diff", signal, values, later, options["unit"])
    valid = np.zeros(len(timeline), np.bool_)
    valid[values.rows[later]] = True
    found = np.zeros(len(timeline), changes.dtype)
    found[values.rows[later]] = changes
    if options["ignore_option"] in (1, 3):
        valid &= ~(found < 0)
    return points_of_rows(timeline, np.arange(len(timeline)), Signal(found, valid))


def difference(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """A point per value but the first."""
    values = present(timeline, signals[0])
    later = _with_earlier(values)
    changes = _changes("difference", signals[0], values, later, options["unit"])
    return points_of_rows(timeline, values.rows[later], Signal(changes))


def non_negative_difference(
    timeline: Timeline, signals: Sequence[Signal], options: Options
) -> Points:
    """As ``difference``, without its sign."""
    values = present(timeline, signals[0])
    later = _with_earlier(values)
    changes = _changes("non_negative_difference", signals[0], values, later, options["unit"])
    changes = magnitude("non_negative_difference", changes)
    return points_of_rows(timeline, values.rows[later], Signal(changes))


def derivative(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The change per ``unit``. ``ignore_negative``: falling values make no point."""
    rows, rates = _rates("derivative", timeline, signals[0], options["unit"])
    if options["ignore_negative"]:
        kept = ~(rates < 0)
        rows, rates = rows[kept], rates[kept]
    return points_of_rows(timeline, rows, Signal(rates))


def non_negative_derivative(
    timeline: Timeline, signals: Sequence[Signal], options: Options
) -> Points:
    """As ``derivative``, without its sign."""
    rows, rates = _rates("non_negative_derivative", timeline, signals[0], options["unit"])
    return points_of_rows(timeline, rows, Signal(np.abs(rates)))


def time_difference(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The time since the value before, in whole ``unit``s."""
    values = present(timeline, signals[0])
    later = _with_earlier(values)
    times = values.timeline.times
    gaps = (times[later] - times[later - 1]) // options["unit"]
    return points_of_rows(timeline, values.rows[later], Signal(gaps))


def _with_earlier(values: Present, *, ignore_null: bool = True) -> Positions:
    """Positions of the values that have one before them in their partition; without
    ``ignore_null`` in the very row before."""
    has: Mask = ~values.is_first()
    if not ignore_null:
        has[1:] &= np.diff(values.rows) == 1
    return np.flatnonzero(has)


def _changes(
    function: str, signal: Signal, values: Present, later: Positions, unit: int
) -> AnyArray:
    changes = subtract(function, values.values[later], values.values[later - 1])
    return changes // unit if signal.is_time else changes


def _rates(
    function: str, timeline: Timeline, signal: Signal, unit: int
) -> tuple[Positions, AnyArray]:
    values = present(timeline, signal)
    later = _with_earlier(values)
    gaps = values.timeline.times[later] - values.timeline.times[later - 1]
    later, gaps = later[gaps > 0], gaps[gaps > 0]
    changes = _changes(function, signal, values, later, unit)
    with np.errstate(over="ignore"):  # too large a rate is infinite
        return values.rows[later], changes * (unit / gaps)


_PER = Parameter("unit", Kind.DURATION, SECOND, low=1, aliases=("time_interval",))
_UNIT = Parameter("unit", Kind.DURATION, TICK, low=1)

FUNCTIONS = (
    PointFunction(
        "diff",
        diff,
        parameters=(
            Parameter("ignore_option", Kind.INTEGER, 0, low=0, high=3),
            Parameter("ignore_null", Kind.FLAG, True),
            _UNIT,
        ),
        keeps_rows=True,
        skips_empty=lambda options: options["ignore_option"] in (2, 3),
    ),
    PointFunction("difference", difference, parameters=(_UNIT,)),
    PointFunction("non_negative_difference", non_negative_difference, parameters=(_UNIT,)),
    PointFunction(
        "derivative",
        derivative,
        parameters=(_PER, Parameter("ignore_negative", Kind.FLAG, False)),
    ),
    PointFunction("non_negative_derivative", non_negative_derivative, parameters=(_PER,)),
    PointFunction("time_difference", time_difference, parameters=(_UNIT,), takes_text=True),
)
