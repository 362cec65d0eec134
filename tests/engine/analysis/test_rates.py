"""Counters: rates of the last two numbers, and consumption beside an unrolled counter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.rates import consumption, irate
from mainstem_engine.analysis.row_windows import count_windows
from mainstem_engine.analysis.rows import Signal, Timeline, whole_partitions
from mainstem_engine.analysis.time_windows import interval_windows, range_windows

from .timelines import signal, timeline, values

S = 1_000_000_000
PLAIN = {"rollover": None}


@pytest.mark.parametrize(
    ("times_ms", "numbers", "rate"),
    [
        ([0, 1100], [0.0, 1.2], 1.2 / 1.1),
        ([0], [2], 0.0),
        ([0, 1200], [4, 4], 0.0),
        ([0, 2000], [9, 4], 2.0),
        ([0, 1000, 2000], [1, None, 5], 2.0),
        ([0, 0], [1, 5], 0.0),
        ([0, 1000, 2000], [7, 1, 5], 4.0),
    ],
)
def test_the_last_two_numbers_make_the_rate(
    times_ms: list[int], numbers: list[float | None], rate: float
) -> None:
    line = timeline(times_ms, tick=1_000_000)
    found = irate(line, [signal(*numbers)], whole_partitions(line), {})
    assert values(found) == [pytest.approx(rate)]


def test_without_a_number_there_is_no_rate() -> None:
    line = timeline([1, 2], [3])
    found = irate(line, [signal(None, None, 4)], whole_partitions(line), {})
    assert values(found) == [None, 0.0]


def test_a_fall_is_a_reset_or_a_rollover() -> None:
    line = timeline([0, 1, 2, 3])
    counter = signal(65_000, 65_500, 100, 40)
    whole = whole_partitions(line)
    assert values(consumption(line, [counter], whole, PLAIN)) == [500 + 100 + 40]
    # From 100 to 40 would be almost the whole range: that is a reset.
    rolled = 500 + (65_536 - 65_500 + 100) + 40
    assert values(consumption(line, [counter], whole, {"rollover": 65_536.0})) == [rolled]


def test_windows_that_touch_add_up() -> None:
    line = timeline([1, 4, 13, 26, 58])
    counter = signal(10, 40, 5, 31, 63)
    windows = range_windows(line, 0, 60, (0, 10))
    found = values(consumption(line, [counter], windows, PLAIN))
    assert sum(value for value in found if value is not None) == pytest.approx(30 + 5 + 26 + 32)
    # Nothing was read between 30 and 50: the counter went one a step.
    assert found[3] == pytest.approx(10)
    assert found[4] == pytest.approx(10)
    before = range_windows(line, -20, 0, (0, 10))
    assert values(consumption(line, [counter], before, PLAIN)) == [None, None]


def test_windows_of_rows_count_from_their_first_number() -> None:
    line = timeline([1, 2, 3, 4])
    counter = signal(1, 5, 6, 16)
    pairs = count_windows(line, 2).windows
    assert values(consumption(line, [counter], pairs, PLAIN)) == [4, 10]


@settings(max_examples=60)
@given(
    steps=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 400)), min_size=1, max_size=15),
    width=st.integers(1, 40),
    rollover=st.sampled_from([None, 1000]),
)
def test_consumption_is_what_the_unrolled_counter_says(
    steps: list[tuple[int, int]], width: int, rollover: int | None
) -> None:
    times = np.cumsum([step for step, _ in steps])
    total = np.cumsum([rise for _, rise in steps])
    shown = total % rollover if rollover else total
    line = Timeline(times.astype(np.int64), np.array([0, len(times)], np.int64))
    windows = interval_windows(line, (0, width), is_dense=True)
    found = consumption(
        line, [Signal(shown)], windows, {"rollover": float(rollover) if rollover else None}
    )
    rises = np.interp(windows.end_ns, times, total) - np.interp(windows.start_ns, times, total)
    assert found.mask().all()
    assert found.values == pytest.approx(rises, abs=1e-6)


def test_infinities_stay_where_they_are() -> None:
    line = timeline([1, 2], [3, 4])
    counter = signal(math.inf, math.inf, 1.0, 2.0)
    found = values(consumption(line, [counter], whole_partitions(line), PLAIN))
    assert found[1] == 1.0
