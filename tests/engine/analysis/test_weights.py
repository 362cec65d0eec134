"""Time-weighted means, areas and lengths: what the peers say, and a model that cuts lines."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.row_windows import session_windows
from mainstem_engine.analysis.rows import Signal, Timeline, Windows, whole_partitions
from mainstem_engine.analysis.time_windows import interval_windows, range_windows
from mainstem_engine.analysis.weights import elapsed, integral, twa

from .timelines import partitions_of, signal, signals, timeline, timelines, values

S = 1_000_000_000
MINUTE = 60 * S
SIX_MINUTES = [i * 6 * MINUTE for i in range(6)]
LEVELS = signal(2.064, 2.116, 2.028, 2.126, 2.041, 2.051)


def test_a_falling_line() -> None:
    line = timeline([0, 3 * S])
    assert values(twa(line, [signal(5.0, -9.0)], whole_partitions(line), {})) == [-2.0]


def test_edges_are_on_the_line_to_the_neighbours() -> None:
    until_27 = timeline(SIX_MINUTES[:5])
    level = LEVELS.take(np.arange(5))
    windows = interval_windows(until_27, (0, 10 * MINUTE))
    found = twa(until_27, [level], windows, {}).values
    assert found == pytest.approx([2.0886667, 2.0771, 2.0693333], abs=1e-6)
    until_7 = timeline(SIX_MINUTES[:2])
    minutes = interval_windows(until_7, (0, MINUTE))
    found = twa(until_7, [LEVELS.take(np.arange(2))], minutes, {}).values
    assert found == pytest.approx([2.0683333, 2.116], abs=1e-6)


def test_windows_of_rows_have_no_edges() -> None:
    line = timeline([0, S, 10 * S, 11 * S])
    windows = session_windows(line, 2 * S)
    level = signal(1, 3, 100, 100)
    assert values(twa(line, [level], windows, {})) == [2.0, 100.0]
    assert values(integral(line, [level], windows, {"unit": S})) == [2.0, 100.0]


def test_the_area_leaves_out_what_is_no_number() -> None:
    line = timeline([i * S for i in (1, 2, 3, 4, 5, 8, 9, 10)])
    level = signal(1.0, 2.0, 5.0, 6.0, 7.0, 8.0, math.nan, 10.0)
    whole = whole_partitions(line)
    assert values(integral(line, [level], whole, {"unit": S})) == [57.5]
    assert values(integral(line, [level], whole, {"unit": MINUTE})) == [57.5 / 60]
    assert values(twa(line, [level], whole, {})) == [pytest.approx(57.5 / 9)]
    assert values(twa(line, [signal(*[None] * 8)], whole, {})) == [None]


def test_one_number_is_its_own_mean_and_has_no_area() -> None:
    line = timeline([5], [6, 6])
    whole = whole_partitions(line)
    assert values(twa(line, [signal(3, 4, 8)], whole, {})) == [3.0, 6.0]
    assert values(integral(line, [signal(3, 4, 8)], whole, {"unit": S})) == [0.0, 0.0]


def test_elapsed_reaches_to_the_edges_where_rows_go_on() -> None:
    line = timeline([k * MINUTE for k in range(1, 1001)])
    whole = whole_partitions(line)
    assert values(elapsed(line, [], whole, {"unit": MINUTE})) == [999]
    assert values(elapsed(line, [], whole, {"unit": 10 * MINUTE})) == [99]
    tens = interval_windows(line, (0, 10 * MINUTE))
    found = values(elapsed(line, [], tens, {"unit": 1_000_000}))
    assert (len(found), found[0], found[1], found[-1]) == (101, 540_000, 600_000, 0)
    apart = timeline([2, 5, 12, 17, 31])
    tens = interval_windows(apart, (0, 10))
    assert values(elapsed(apart, [], tens, {"unit": 1})) == [8, 10, 1]
    empty = range_windows(line, -MINUTE * 10, MINUTE * 5, (0, MINUTE * 5))
    assert values(elapsed(line, [], empty, {"unit": MINUTE})) == [None, None, 4]


def test_infinities_do_not_spoil_other_windows() -> None:
    line = timeline([0, S, 20 * S, 21 * S])
    windows = session_windows(line, 2 * S)
    level = signal(math.inf, -math.inf, 1.0, 1.0)
    assert values(twa(line, [level], windows, {}))[1] == 1.0


NUMBERS = st.one_of(st.none(), st.just(math.nan), st.integers(-50, 50).map(float))


def cut(points: list[tuple[int, float]], low: float, high: float) -> tuple[float, float]:
    """Area and length of the line through all points between two moments, piece by piece."""
    area = length = 0.0
    for (t0, v0), (t1, v1) in itertools.pairwise(points):
        a, b = max(t0, low), min(t1, high)
        if a < b:
            at = [v0 + (v1 - v0) * (t - t0) / (t1 - t0) for t in (a, b)]
            area += sum(at) / 2 * (b - a)
            length += b - a
    return area, length


@settings(max_examples=50)
@given(
    data=st.data(),
    line=timelines(),
    width=st.integers(1, 40),
    sliding=st.integers(1, 40),
)
def test_areas_of_intervals_as_a_model_says(
    data: st.DataObject, line: Timeline, width: int, sliding: int
) -> None:
    level = data.draw(signals(len(line), NUMBERS))
    windows = interval_windows(line, (0, width), sliding=(0, min(sliding, width)))
    means = values(twa(line, [level], windows, {}))
    areas = values(integral(line, [level], windows, {"unit": 1}))
    check(line, level, windows, means, areas)


def check(
    line: Timeline,
    level: Signal,
    windows: Windows,
    means: list[float | None],
    areas: list[float | None],
) -> None:
    numbers = level.numbers().tolist()
    for i in range(len(windows)):
        rows = partitions_of(line)[windows.partition[i]]
        known = [row for row in rows if not math.isnan(numbers[row])]
        inside = [row for row in known if windows.begin[i] <= row < windows.end[i]]
        if not inside:
            assert means[i] is None
            assert areas[i] is None
            continue
        points = [(int(line.times[row]), numbers[row]) for row in known]
        area, length = cut(points, int(windows.start_ns[i]), int(windows.end_ns[i]))
        assert areas[i] == pytest.approx(area, abs=1e-9)
        mean = area / length if length else sum(numbers[row] for row in inside) / len(inside)
        assert means[i] == pytest.approx(mean, abs=1e-9)
