"""Running sums, moving means and runs: against models that walk row by row."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis.function import Ns
from mainstem_engine.analysis.rows import Timeline
from mainstem_engine.errors import SqlError

from .calls import MS, Found, at, call, values_of
from .timelines import partitions_of, signal, timeline, timelines

some: st.SearchStrategy[Any] = st.none() | st.integers(-2, 2)


def drawn(data: st.DataObject, line: Timeline, values: st.SearchStrategy[Any]) -> list[Any]:
    found: list[Any] = data.draw(st.lists(values, min_size=len(line), max_size=len(line)))
    return found


def known(line: Timeline, values: list[Any]) -> list[list[int]]:
    """The rows of each partition that have a value."""
    return [[row for row in rows if values[row] is not None] for rows in partitions_of(line)]


def runs(line: Timeline, values: list[Any], *, zero: bool) -> list[tuple[int, list[int]]]:
    """(partition, rows) of each run."""
    found = []
    for partition, rows in enumerate(known(line, values)):
        for is_zero, members in itertools.groupby(rows, key=lambda row: values[row] == 0):
            if is_zero == zero:
                found.append((partition, list(members)))
    return found


@given(line=timelines(tick=MS), data=st.data())
def test_sums_as_a_model_has_them(line: Timeline, data: st.DataObject) -> None:
    values = drawn(data, line, some)
    expected: Found = []
    for partition, rows in enumerate(known(line, values)):
        total = 0
        for row in rows:
            total += values[row]
            expected.append((partition, int(line.times[row]) // MS, total))
    assert call("csum", line, signal(*values)) == expected
    floats = signal(*[None if value is None else value / 4 for value in values])
    assert values_of(call("csum", line, floats)) == [total / 4 for _, _, total in expected]


def test_sums_are_exact_or_refused() -> None:
    line = timeline([1, 2], [1, 2], [1])
    half = 2**62
    assert values_of(call("csum", line, signal(half, half - 1, -half, -half, 1))) == [
        half,
        2**63 - 1,
        -half,
        -(2**63),
        1,
    ]
    with pytest.raises(SqlError, match=r"csum.*64 bits"):
        call("csum", line, signal(half, half, 0, 0, 0))


def test_a_partition_does_not_see_the_infinities_of_another() -> None:
    line = timeline([1, 2], [1, 2])
    assert values_of(call("csum", line, signal(1.0, math.inf, 1.0, 2.0)))[2:] == [1.0, 3.0]


@given(line=timelines(tick=MS), data=st.data(), k=st.integers(1, 6))
def test_moving_means_as_a_model_has_them(line: Timeline, data: st.DataObject, k: int) -> None:
    values = drawn(data, line, some)
    expected: Found = []
    for partition, rows in enumerate(known(line, values)):
        for last in range(k - 1, len(rows)):
            window = [values[row] for row in rows[last - k + 1 : last + 1]]
            expected.append((partition, int(line.times[rows[last]]) // MS, sum(window) / k))
    assert call("mavg", line, signal(*values), k) == expected
    assert call("mvavg", line, signal(*values), window=str(k)) == expected
    floats = signal(*[None if value is None else value / 4 for value in values])
    assert values_of(call("mavg", line, floats, k)) == [value / 4 for value in values_of(expected)]


def test_a_moving_mean_forgets_what_has_moved_on() -> None:
    line = timeline(list(range(7)))
    found = values_of(call("mavg", line, signal(1.0, math.nan, 1e300, math.inf, 1.0, 2.0, 4.0), 2))
    assert math.isnan(found[0])
    assert found[3] == math.inf
    assert found[4:] == [1.5, 3.0]


def test_a_moving_mean_of_large_whole_numbers() -> None:
    line = timeline([1, 2, 3])
    assert values_of(call("mavg", line, signal(2**62, 2**62, 2**62), 3)) == [float(2**62)]
    odd = 2**53 + 1
    assert values_of(call("mavg", line, signal(odd, -odd, 3), 3)) == [1.0]


def test_a_moving_mean_needs_a_whole_window() -> None:
    assert call("mavg", timeline([1, 2]), signal(1, 2), 3) == []
    with pytest.raises(SqlError, match="at least 1"):
        call("mavg", timeline([1, 2]), signal(1, 2), 0)


OPERATORS = {
    "LT": lambda value, wanted: value < wanted,
    "gt": lambda value, wanted: value > wanted,
    "LE": lambda value, wanted: value <= wanted,
    "ge": lambda value, wanted: value >= wanted,
    "NE": lambda value, wanted: value != wanted,
    "eq": lambda value, wanted: value == wanted,
}


@given(
    line=timelines(tick=MS),
    data=st.data(),
    operator=st.sampled_from(sorted(OPERATORS)),
    wanted=st.sampled_from([-1, 0, 0.5, 1]),
)
def test_states_as_a_model_has_them(
    line: Timeline, data: st.DataObject, operator: str, wanted: float
) -> None:
    values = drawn(data, line, some)
    counts: list[Any] = [None] * len(line)
    lasted: list[Any] = [None] * len(line)
    for rows in known(line, values):
        count, began = 0, 0
        for row in rows:
            if not OPERATORS[operator](values[row], wanted):
                count = 0
                counts[row] = lasted[row] = -1
                continue
            began = began if count else int(line.times[row])
            count += 1
            counts[row], lasted[row] = count, (int(line.times[row]) - began) // MS
    column = signal(*values)
    assert values_of(call("statecount", line, column, operator, wanted)) == counts
    assert values_of(call("stateduration", line, column, operator, wanted)) == lasted


def test_a_state_lasts_in_the_unit_that_is_named() -> None:
    line = timeline([0, 1500, 2500, 3000], tick=MS)
    column = signal(5, 6, 7, 1)
    found = call("stateduration", line, column, "GT", 1, Ns(1_000_000_000))
    assert values_of(found) == [0, 1, 2, -1]


def test_a_state_compares_large_whole_numbers_exactly() -> None:
    line = timeline([1, 2])
    assert values_of(call("statecount", line, signal(2**53 + 1, 2**53), "eq", 2**53)) == [-1, 1]


def test_a_state_needs_an_operator() -> None:
    with pytest.raises(SqlError, match="lt or gt"):
        call("statecount", timeline([1]), signal(1), "~", 1)


@given(line=timelines(tick=MS), data=st.data(), zero=st.booleans(), low=st.integers(0, 3))
def test_runs_as_a_model_has_them(
    line: Timeline, data: st.DataObject, zero: bool, low: int
) -> None:
    values = drawn(data, line, some)
    prefix = "" if zero else "non_"
    times = (line.times // MS).tolist()
    counted = [
        (partition, times[rows[0]], len(rows))
        for partition, rows in runs(line, values, zero=zero)
        if low <= len(rows) <= 3
    ]
    assert call(f"{prefix}zero_count", line, signal(*values), min=low, max="3") == counted
    lasted = [
        (partition, times[rows[0]], times[rows[-1]] - times[rows[0]])
        for partition, rows in runs(line, values, zero=zero)
        if times[rows[-1]] - times[rows[0]] >= low
    ]
    assert call(f"{prefix}zero_duration", line, signal(*values), min=str(low)) == lasted


def test_a_duration_of_runs_may_be_bounded_by_a_duration() -> None:
    line = timeline([0, 1000, 2000, 3000, 9000], tick=MS)
    column = signal(0, 0, 1, 0, 0)
    assert at(call("zero_duration", line, column, min="2s")) == [(3000, 6000)]
    assert at(call("zero_duration", line, column, max="2s")) == [(0, 1000)]


def test_no_number_is_not_zero() -> None:
    assert at(call("zero_count", timeline([0, 1, 2]), signal(0.0, math.nan, -0.0))) == [(0, 1)] * 2


@given(line=timelines(tick=MS), data=st.data())
def test_change_points_as_a_model_has_them(line: Timeline, data: st.DataObject) -> None:
    values = drawn(data, line, st.none() | st.sampled_from(["a", "b"]))
    expected: Found = []
    for partition, rows in enumerate(known(line, values)):
        for value, members in itertools.groupby(rows, key=lambda row: values[row]):
            expected.append((partition, int(line.times[next(members)]) // MS, value))
    assert call("change_points", line, signal(*values)) == expected


def test_no_number_does_not_change_into_itself() -> None:
    column = signal(1.0, math.nan, math.nan, 2.0)
    assert at(call("change_points", timeline([0, 1, 2, 3], tick=MS), column))[2] == (3, 2.0)
    assert np.isnan(values_of(call("change_points", timeline([0, 1, 2, 3]), column))[1])
