"""Scores of readings: the peers' worked example, a slow model read off the definitions, windows."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library
from mainstem_engine.analysis.quality import windows_of_readings
from mainstem_engine.analysis.rows import Points, Signal, Timeline, Windows, whole_partitions

SECOND = 10**9
SCORES = ("completeness", "consistency", "timeliness", "validity")
TIMES_S = [2, 3, 4, 6, 8, 10, 14, 15, 16, 18, 20, 22, 26, 28, 30]
VALUES = [100, 101, 102, 104, 126, 108, 112, 113, 114, 116, 118, 120, 124, 126, math.nan]


def timeline(*partitions: Sequence[float]) -> Timeline:
    times = [np.asarray([round(t * SECOND) for t in part], np.int64) for part in partitions]
    bounds = np.concatenate(([0], np.cumsum([len(part) for part in times]))).astype(np.int64)
    return Timeline(np.concatenate(times), bounds)


def points(name: str, rows: Timeline, *signals: Signal, **options: Any) -> Points:
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, signals, bound)


def scores(name: str, rows: Timeline, signal: Signal, windows: Windows, **options: Any) -> Signal:
    function = library.window_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, (signal,), windows, bound)


def one_score(name: str, times: Sequence[float], values: Sequence[float], **options: Any) -> float:
    rows = timeline(times)
    found = points(name, rows, Signal(np.array(values, np.float64)), **options)
    assert found.times.tolist() == [rows.times[0]]
    return float(found.signals[0].values[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    list(zip(SCORES, [1 - 2 / 16, 14 / 15, 14 / 15, 1 - 7 / 60], strict=True)),
)
def test_worked_example(name: str, expected: float) -> None:
    assert one_score(name, TIMES_S, VALUES) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_windows_of_readings_and_of_time(name: str) -> None:
    times = [*TIMES_S, *range(32, 62, 2)]
    values = [*VALUES, *range(130, 160, 2)]
    rows, signal = timeline(times), Signal(np.array(values, np.float64))
    first = one_score(name, TIMES_S, VALUES)
    by_count = points(name, rows, signal, window=-15)
    assert by_count.times.tolist() == [2 * SECOND, 32 * SECOND]
    assert by_count.signals[0].values.tolist() == pytest.approx([first, 1.0])
    by_time = points(name, rows, signal, window=30 * SECOND)
    assert by_time.times.tolist() == [2 * SECOND, 32 * SECOND]
    assert by_time.signals[0].values.tolist() == pytest.approx([first, 1.0])


@pytest.mark.parametrize("name", SCORES)
def test_ten_readings_are_not_scored(name: str) -> None:
    rows = timeline(range(11), range(10), [])
    signal = Signal(np.arange(21, dtype=np.int64))
    found = points(name, rows, signal)
    assert found.bounds.tolist() == [0, 1, 1, 1]
    scored = scores(name, rows, signal, whole_partitions(rows))
    assert scored.mask().tolist() == [True, False]


@pytest.mark.parametrize("name", SCORES)
def test_nulls_are_no_readings(name: str) -> None:
    times = sorted([*TIMES_S, 2.5, 11, 27, 31])
    valid = np.array([t in TIMES_S for t in times])
    values = np.zeros(len(times))
    values[valid] = VALUES
    found = points(name, timeline(times), Signal(values, valid))
    assert found.signals[0].values.tolist() == [one_score(name, TIMES_S, VALUES)]
    assert found.times.tolist() == [2 * SECOND]


def test_downtime_is_excused_on_demand() -> None:
    times = [*range(20), *range(40, 60)]
    assert one_score("completeness", times, times) == pytest.approx(1 - 20 / 60)
    assert one_score("completeness", times, times, downtime=True) == 1
    nine = [*range(20), *range(28, 48)]
    assert one_score("completeness", nine, nine, downtime=True) == pytest.approx(1 - 8 / 48)


def test_a_late_reading_fills_the_earliest_gap_once() -> None:
    gaps_then_surplus = [0, 1, 2, 3, 4, 5, 6, 8, 10, 10.25, 11, 12, 13, 14, 15]
    assert one_score("timeliness", gaps_then_surplus, [0] * 15) == pytest.approx(14 / 15)
    assert one_score("completeness", gaps_then_surplus, [0] * 15) == pytest.approx(1 - 1 / 16)


def test_a_reading_eleven_after_the_gap_is_redundant() -> None:
    for place, is_late in ((10, True), (11, False)):
        times: list[float] = [*range(6), *range(7, 30)]
        times.insert(6 + place, times[5 + place] + 0.5)
        late = 1 - one_score("timeliness", times, [0] * len(times))
        assert (late > 0) is is_late
        assert (one_score("consistency", times, [0] * len(times)) < 1) is not is_late


def test_one_time_for_most_readings_has_no_base_interval() -> None:
    times = [0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 9]
    assert one_score("completeness", times, times) == 1
    assert one_score("consistency", times, times) == pytest.approx(1 - 10 / 13)
    assert 0 <= one_score("validity", times, times) <= 1


def test_nothing_finite_has_no_validity() -> None:
    rows = timeline(range(12))
    signal = Signal(np.full(12, math.nan))
    assert scores("validity", rows, signal, whole_partitions(rows)).mask().tolist() == [False]
    assert scores("completeness", rows, signal, whole_partitions(rows)).values.tolist() == [0]


def test_equal_steps_with_rounding_have_no_outliers() -> None:
    values = np.cumsum(np.full(50, 0.1))
    assert one_score("validity", [t * 0.3 for t in range(50)], values.tolist()) == 1


def test_windows_overlap_and_may_be_empty() -> None:
    rows = timeline(range(40))
    values = np.arange(40, dtype=np.float64)
    values[3] = math.nan
    begin, end = np.array([0, 10, 10, 40]), np.array([20, 30, 10, 40])
    none = np.zeros(4, np.int64)
    windows = Windows(begin, end, none, begin, begin, end)
    found = scores("completeness", rows, Signal(values), windows)
    assert found.mask().tolist() == [True, True, False, False]
    assert found.values[:2].tolist() == [0.95, 1.0]


def test_windows_of_time_start_at_the_first_reading_and_are_never_empty() -> None:
    rows = timeline([5, 6, 14, 15, 40], [7])
    windows = windows_of_readings(rows, Signal(np.zeros(6)), 10 * SECOND)
    assert windows.begin.tolist() == [0, 3, 4, 5]
    assert windows.end.tolist() == [3, 4, 5, 6]
    assert windows.partition.tolist() == [0, 0, 0, 1]


def model(times: list[int], values: list[float]) -> dict[str, float]:
    """The definitions, one reading after the other."""
    n = len(times)
    base = statistics.median([b - a for a, b in itertools.pairwise(times)])
    last, late, redundant = times[0], 0, 0
    gaps: list[list[int]] = []
    for place, time in enumerate(times[1:], 1):
        gap = time - last
        if gap <= base / 2:
            open_gaps = [g for g in gaps if g[1] > 0 and place - g[0] <= 10]
            if open_gaps:
                open_gaps[0][1] -= 1
                late += 1
            else:
                redundant += 1
            continue
        last = time
        if base > 0 and gap >= 2 * base:
            gaps.append([place, math.floor(gap / base - 1 + 0.5)])
    missing = sum(g[1] for g in gaps)
    special = sum(not math.isfinite(value) for value in values)
    return {
        "completeness": 1 - (missing + special) / (n + missing),
        "consistency": 1 - redundant / n,
        "timeliness": 1 - late / n,
    }


STEPS = st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 9, 20]), min_size=10, max_size=60)


@given(st.lists(STEPS, min_size=1, max_size=3), st.data())
def test_scores_are_those_of_the_definitions(
    partitions: list[list[int]], data: st.DataObject
) -> None:
    times = [np.cumsum([0, *steps]).tolist() for steps in partitions]
    special = data.draw(st.sets(st.integers(0, 40), max_size=5))
    values = [[math.inf if i in special else i % 7 for i in range(len(part))] for part in times]
    rows = Timeline(
        np.concatenate([np.array(part, np.int64) for part in times]),
        np.cumsum([0, *map(len, times)]).astype(np.int64),
    )
    signal = Signal(np.concatenate([np.array(part, np.float64) for part in values]))
    expected = [model(part, vals) for part, vals in zip(times, values, strict=True)]
    for name in SCORES[:3]:
        found = scores(name, rows, signal, whole_partitions(rows))
        assert found.values.tolist() == pytest.approx([one[name] for one in expected])


def validity_model(times: list[int], values: list[float]) -> float:
    seconds = [(b - a) / SECOND for a, b in itertools.pairwise(times)]
    changes = [b - a for a, b in itertools.pairwise(values)]
    speeds = [c / s for c, s in zip(changes, seconds, strict=True)]
    rates = [(b - a) / s for a, b, s in zip(speeds, speeds[1:], seconds[1:], strict=False)]
    found = 0
    for entries in (values, changes, speeds, rates):
        middle = statistics.median(entries)
        mad = statistics.median([abs(entry - middle) for entry in entries])
        found += sum(abs(entry - middle) > max(3 * mad, 1e-9) for entry in entries)
    return 1 - found / 4 / len(values)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(-5, 5) | st.just(90)), min_size=11, max_size=40
    )
)
def test_validity_is_that_of_the_definitions(readings: list[tuple[int, int]]) -> None:
    times = (np.cumsum([step for step, _ in readings]) * SECOND).tolist()
    values = [float(value) for _, value in readings]
    found = one_score("validity", [time / SECOND for time in times], values)
    assert found == pytest.approx(validity_model(times, values))
