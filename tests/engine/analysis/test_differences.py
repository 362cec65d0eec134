"""From one value to the next: against a model that walks row by row."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis.function import Ns
from mainstem_engine.analysis.rows import Signal, Timeline
from mainstem_engine.errors import SqlError

from .calls import MS, Found, at, call, values_of
from .timelines import partitions_of, signal, timeline, timelines

SECOND = Ns(1_000_000_000)
LARGEST = 2**63 - 1

some: st.SearchStrategy[Any] = st.none() | st.integers(-5, 5)


def pairs(line: Timeline, values: list[Any]) -> list[tuple[int, int, int]]:
    """(partition, row before, row) of each value that has one before it."""
    found = []
    for partition, members in enumerate(partitions_of(line)):
        known = [row for row in members if values[row] is not None]
        found += [(partition, before, row) for before, row in itertools.pairwise(known)]
    return found


def test_diff_keeps_every_row_and_subtracts_the_last_value() -> None:
    line = timeline([1, 2, 3, 4], [1, 2], tick=MS)
    found = call("diff", line, signal(1, None, 4, 2, 10, 11))
    assert found == [(0, 1, None), (0, 2, None), (0, 3, 3), (0, 4, -2), (1, 1, None), (1, 2, 1)]


def test_diff_may_ask_for_a_value_in_the_very_row_before() -> None:
    line = timeline([1, 2, 3, 4], tick=MS)
    found = call("diff", line, signal(1.0, None, 4.0, 2.0), ignoreNull="false")
    assert values_of(found) == [None, None, None, -2.0]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (0, [None, 1, -3, 1]),
        (1, [None, 1, None, 1]),
        (2, [None, 1, -3, 1]),
        (3, [None, 1, None, 1]),
    ],
)
def test_diff_without_negative_values(option: int, expected: list[Any]) -> None:
    line = timeline([1, 2, 3, 4], tick=MS)
    assert values_of(call("diff", line, signal(3, 4, 1, 2), option)) == expected


def test_diff_takes_no_other_option() -> None:
    with pytest.raises(SqlError, match="ignore_option"):
        call("diff", timeline([1]), signal(1), 4)


@given(line=timelines(tick=MS), data=st.data())
def test_differences_as_a_row_by_row_model_has_them(line: Timeline, data: st.DataObject) -> None:
    values = data.draw(st.lists(some, min_size=len(line), max_size=len(line)))
    column = signal(*values)
    expected: Found = [
        (partition, int(line.times[row]) // MS, values[row] - values[before])
        for partition, before, row in pairs(line, values)
    ]
    assert call("difference", line, column) == expected
    assert call("non_negative_difference", line, column) == [
        (partition, time, abs(value)) for partition, time, value in expected
    ]
    beside: list[Any] = [None] * len(line)
    for _, before, row in pairs(line, values):
        beside[row] = values[row] - values[before]
    assert values_of(call("diff", line, column)) == beside


@given(line=timelines(tick=MS), data=st.data())
def test_rates_as_a_row_by_row_model_has_them(line: Timeline, data: st.DataObject) -> None:
    values = data.draw(st.lists(some, min_size=len(line), max_size=len(line)))
    times = (line.times // MS).tolist()
    expected = [
        (partition, times[row], (values[row] - values[before]) / (times[row] - times[before]) * 1e3)
        for partition, before, row in pairs(line, values)
        if times[row] > times[before]
    ]
    found = call("derivative", line, signal(*values))
    assert [(p, t) for p, t, _ in found] == [(p, t) for p, t, _ in expected]
    assert values_of(found) == pytest.approx(values_of(expected))
    falling = call("derivative", line, signal(*values), SECOND, 1)
    assert falling == [point for point in found if not point[2] < 0]
    whole = call("non_negative_derivative", line, signal(*values))
    assert values_of(whole) == [abs(value) for value in values_of(found)]


def test_a_rate_is_per_second_or_per_the_unit_that_is_named() -> None:
    line = timeline([0, 2, 4], tick=MS)
    column = signal(0, 1, 3)
    assert at(call("derivative", line, column)) == [(2, 500.0), (4, 1000.0)]
    assert at(call("derivative", line, column, Ns(MS))) == [(2, 0.5), (4, 1.0)]
    assert at(call("derivative", line, column, unit="60s")) == [(2, 30_000.0), (4, 60_000.0)]


def test_time_differences_are_whole_milliseconds() -> None:
    line = timeline([0, 2, 4, 10_000_000_000], tick=MS)
    column = signal(0, 1, None, 5)
    assert at(call("time_difference", line, column)) == [(2, 2), (10_000_000_000, 9_999_999_998)]
    assert values_of(call("time_difference", line, column, SECOND)) == [0, 9_999_999]


def test_whole_numbers_are_exact_to_the_last_digit() -> None:
    line = timeline([1, 2, 3], tick=MS)
    column = signal(2**62 + 1, 2**62, -(2**62) + 1)
    assert values_of(call("difference", line, column)) == [-1, -(2**63) + 1]


@pytest.mark.parametrize("name", ["diff", "difference", "derivative"])
def test_what_does_not_fit_is_refused_and_never_wraps(name: str) -> None:
    line = timeline([1, 2], tick=MS)
    with pytest.raises(SqlError, match=f"{name}.*64 bits"):
        call(name, line, signal(-2, LARGEST))
    # Values of two partitions are not subtracted at all.
    assert values_of(call("diff", timeline([1], [2]), signal(-2, LARGEST))) == [None, None]


def test_the_least_integer_has_no_magnitude() -> None:
    with pytest.raises(SqlError, match="64 bits"):
        call("non_negative_difference", timeline([1, 2]), signal(LARGEST, -1))


def test_floats_follow_ieee_754() -> None:
    line = timeline([1, 2, 3, 4], tick=MS)
    found = values_of(call("difference", line, signal(1.0, math.inf, math.inf, math.nan)))
    assert found[0] == math.inf
    assert math.isnan(found[1])
    assert math.isnan(found[2])


def test_booleans_are_0_and_1() -> None:
    assert values_of(call("diff", timeline([1, 2, 3]), signal(True, False, True))) == [None, -1, 1]


def test_times_are_subtracted_in_milliseconds() -> None:
    column = Signal(np.array([0, 1500 * MS]), is_time=True)
    assert values_of(call("difference", timeline([1, 2]), column)) == [1500]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2**64 - 1, 2**64 - 3], -2),
        ([2**63 - 1, 2**64 - 2], 2**63 - 1),
        ([2**63, 0], -(2**63)),
        ([2**63 + 1, 0], None),
        ([0, 2**63], None),
    ],
)
def test_differences_of_unsigned_numbers(values: list[int], expected: int | None) -> None:
    column = Signal(np.array(values, np.uint64))
    if expected is not None:
        assert values_of(call("difference", timeline([0, 1]), column)) == [expected]
        return
    with pytest.raises(SqlError, match="64 bits"):
        call("difference", timeline([0, 1]), column)
