"""Whether values are within bounds, row by row."""

from __future__ import annotations

import math

import numpy as np

from mainstem_engine.analysis.rows import Signal

from .calls import call, values_of
from .timelines import signal, timeline


def test_a_value_is_on_from_the_threshold_on() -> None:
    line = timeline([0, 1, 2, 3], [0])
    column = signal(1.0, 2.0, None, math.nan, 3.0)
    assert values_of(call("on_off", line, column, "2")) == [False, True, None, False, True]


def test_both_bounds_of_a_range_are_within() -> None:
    line = timeline([0, 1, 2, 3, 4])
    column = signal(1, 2, 3, 4, None)
    found = call("in_range", line, column, lower="2", upper="3.5")
    assert values_of(found) == [False, True, True, False, None]


def test_large_whole_numbers_are_compared_exactly() -> None:
    column = signal(2**53, 2**53 + 1)
    assert values_of(call("in_range", timeline([0, 1]), column, 0, 2**53)) == [True, False]
    assert values_of(call("on_off", timeline([0, 1]), column, 2**53)) == [True, True]


def test_unsigned_numbers_are_compared_exactly() -> None:
    column = Signal(np.array([2**64 - 2, 2**64 - 1, 5], np.uint64))
    line = timeline([0, 1, 2])
    assert values_of(call("on_off", line, column, 2**64 - 1)) == [False, True, False]
    assert values_of(call("on_off", line, column, str(2**64 - 1))) == [False, True, False]
    assert values_of(call("in_range", line, column, -5, 10)) == [False, False, True]
