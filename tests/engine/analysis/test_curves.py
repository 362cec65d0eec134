"""Splines and straight segments: what they promise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library, segment
from mainstem_engine.analysis.rows import Points, Signal, Timeline
from mainstem_engine.errors import SqlLimitError

NAN = math.nan


def run(
    name: str,
    values: Sequence[float],
    times: Sequence[int] = (),
    *,
    bounds: Sequence[int] = (),
    **options: Any,
) -> Points:
    count = len(values)
    rows = Timeline(
        np.array(times or range(count), np.int64), np.array(bounds or [0, count], np.int64)
    )
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, (Signal(np.array(values, np.float64)),), bound)


def table(points: Points) -> list[tuple[Any, Any]]:
    return list(zip(points.times.tolist(), points.signals[0].values.tolist(), strict=True))


@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=30),
    st.lists(st.integers(-3, 3), min_size=4, max_size=4),
)
def test_spline_of_a_cubic_is_the_cubic(steps: list[int], factors: list[int]) -> None:
    times = np.cumsum([0, *steps])
    scale = times[-1]

    def cubic(at: float) -> float:
        return float(sum(factor * (at / scale) ** power for power, factor in enumerate(factors)))

    found = run("spline", [cubic(t) for t in times], (times + 10**18).tolist(), points=25)
    assert found.times[[0, -1]].tolist() == (times[[0, -1]] + 10**18).tolist()
    expected = [cubic(time - 10**18) for time in found.times.tolist()]
    assert found.signals[0].values.tolist() == pytest.approx(expected, abs=1e-9)


def test_spline_meets_its_readings_and_is_smooth() -> None:
    times = [0, 300, 500, 700, 900, 1100, 1200, 1300, 1400, 1500]
    values = [0, 1.2, 1.7, 2.0, 2.1, 2.0, 1.8, 1.2, 1.0, 1.6]
    found = run("spline", values, [t * 1000 for t in times], points=1501)
    by_time = dict(table(found))
    assert [by_time[t * 1000] for t in times] == pytest.approx(values)
    curve = found.signals[0].values
    assert np.abs(np.diff(curve, 3)).max() < 1e-4  # no kink and no jump of the bend
    dense = run("spline", values, [t * 1000 for t in times], points=151)
    assert dense.signals[0].values.tolist() == pytest.approx(curve[::10].tolist())


def test_spline_needs_four_readings_at_different_times() -> None:
    found = run("spline", [1, 2, NAN, 4, 1, 2, 3, 4, 9], bounds=[0, 4, 4, 9], points=3)
    assert found.bounds.tolist() == [0, 0, 0, 3]
    found = run("spline", [0, 1, 5, 2, 3], [0, 1, 1, 2, 3], points=4)
    assert table(found) == [(t, pytest.approx(t)) for t in range(4)]


CHAIN = [5, 0, 1, 2, 3, 4, 5, 6, 7, 8]
CHAIN += [9 + i / 10 for i in range(10)]  # type: ignore[misc]
CHAIN += [10 - 2 * i for i in range(11)]
CHAIN += [10] * 9


def test_segment() -> None:
    found = table(run("segment", CHAIN, error=0.1))
    expected = [(0, 5), (2, 1), (10, 9), (20, 10), (30, -10), (32, 10)]
    assert found == [(time, pytest.approx(value)) for time, value in expected]
    every = run("segment", CHAIN, error=0.1, output="all").signals[0].values
    assert every.tolist() == pytest.approx(CHAIN)


def test_segment_of_little_and_of_much(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run("segment", [3, NAN, 4, 4, 9, 9, 1], bounds=[0, 1, 2, 6, 6, 7], error=0.0)
    assert table(found) == [(0, 3), (2, 4), (4, 9), (6, 1)]
    assert table(run("segment", [0, 100, 0, 100], error=1000.0)) == [(0, pytest.approx(20))]
    monkeypatch.setattr(segment, "READINGS_MAX", 3)
    with pytest.raises(SqlLimitError, match="segment takes 3"):
        run("segment", [1, 2, 3, 4])


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=40), st.integers(0, 10))
def test_segments_are_within_the_error_and_none_could_be_joined(
    values: list[int], error: int
) -> None:
    first = [time for time, _ in table(run("segment", values, error=float(error)))]
    edges = [*first, len(values)]

    def off(begin: int, end: int) -> float:
        if end - begin < 3:
            return 0
        places = np.arange(end - begin)
        line = np.polyval(np.polyfit(places, values[begin:end], 1), places)
        return float(np.abs(line - values[begin:end]).mean())

    for begin, end in itertools.pairwise(edges):
        assert off(begin, end) <= error + 1e-9
    for begin, end in zip(edges, edges[2:], strict=False):
        assert off(begin, end) > error - 1e-9
