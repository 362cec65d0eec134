"""Readings that stand out: worked examples, slow models, partitions that do not see each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library
from mainstem_engine.analysis.rows import Points, Signal, Timeline
from mainstem_engine.errors import SqlError
from mainstem_engine.model import AnyArray

SECOND = 10**9
SPIKE = [0, 0, 1, -1, 0, 0, -2, 2, 0, 0, 1, -1, -1, 1, 0, 0, 10, 2, -2, 0]


def run(
    name: str, *columns: Sequence[float | None], bounds: Sequence[int] = (), **options: Any
) -> Points:
    count = len(columns[0])
    rows = Timeline(
        np.arange(count, dtype=np.int64) * SECOND, np.array(bounds or [0, count], np.int64)
    )
    signals = [
        Signal(
            np.array([0 if value is None else value for value in column], np.float64),
            np.array([value is not None for value in column]),
        )
        for column in columns
    ]
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, signals, bound)


def seconds(points: Points) -> list[int]:
    found: list[int] = (points.times // SECOND).tolist()
    return found


def test_iqr() -> None:
    assert seconds(run("iqr", SPIKE)) == [16]
    assert run("iqr", SPIKE).signals[0].values.tolist() == [10]
    given_ones = run("iqr", SPIKE, compute="stream", q1=-0.5, q3=0.5)
    assert seconds(given_ones) == [16]
    narrow = run("iqr", SPIKE, compute="stream", q1=0.0, q3=0.5)
    assert seconds(narrow) == [3, 6, 7, 11, 12, 16, 17, 18]
    with pytest.raises(SqlError, match="iqr needs q1 and q3"):
        run("iqr", SPIKE, compute="stream", q1=0.0)


def test_iqr_of_nothing_and_of_infinities() -> None:
    assert seconds(run("iqr", [None, math.nan, math.inf])) == []
    assert seconds(run("iqr", [1, 2, 3, math.inf, math.nan])) == [3]


def test_ksigma() -> None:
    tent = [0, 50, 100, 150, *[200] * 6, 150, 100, 50, 0, math.nan]
    assert seconds(run("ksigma", tent, k=1.0)) == [0, 1, 12, 13]
    assert seconds(run("ksigma", tent)) == []
    assert seconds(run("ksigma", [5.0] * 20)) == []


@given(st.lists(st.integers(-20, 20) | st.just(1000), min_size=1, max_size=40), st.integers(2, 12))
def test_ksigma_looks_back_one_window(values: list[int], window: int) -> None:
    expected = []
    for place, value in enumerate(values):
        end = max(place + 1, min(window, len(values)))
        part = np.array(values[max(end - window, 0) : end], np.float64)
        off = abs(value - part.mean()) - 2 * part.std()
        if abs(off) < 1e-9:
            return  # a tie: rounding decides
        if off > 0:
            expected.append(place)
    assert seconds(run("ksigma", values, k=2.0, window=window)) == expected


def test_range() -> None:
    values = [100, 101, 126, 125, None, math.nan, math.inf]
    found = run("range", values, lower_bound=101.0, upper_bound=125.0)
    assert seconds(found) == [0, 2, 6]
    assert seconds(run("range", values, lower_bound=101.0)) == [0]
    assert seconds(run("range", values, lower_bound=2.0, upper_bound=1.0)) == []


def test_outlier() -> None:
    values = [56, 55.1, 54.2, 56.3, 59, 60, 60.5, 64.5, 69, 64.2]
    values += [62.3, 58, 58.9, 52, 62.3, 61, 64.2, 61.8, 64, 63]
    assert seconds(run("outlier", values, r=5.0, k=4, w=10, s=5)) == [8, 13]
    assert seconds(run("outlier", [1, 1, 9], r=1.0, k=1, w=10, s=5)) == [2]


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=25),
    st.integers(1, 4),
    st.integers(2, 8),
    st.integers(1, 9),
)
def test_outlier_counts_others_in_every_window(values: list[int], k: int, w: int, s: int) -> None:
    starts = [*range(0, max(len(values) - w, 0), s), max(len(values) - w, 0)]
    expected = set()
    for start in starts:
        for place in range(start, min(start + w, len(values))):
            inside = range(start, min(start + w, len(values)))
            near = sum(abs(values[i] - values[place]) <= 3 for i in inside if i != place)
            if near < k:
                expected.add(place)
    assert seconds(run("outlier", values, r=3.0, k=k, w=w, s=s)) == sorted(expected)


def test_missdetect() -> None:
    values = [0, 1, 0, 1, *[0] * 12, 1, 0, 1, 0, 1]
    found = run("missdetect", values, minlen=10)
    assert np.flatnonzero(found.signals[0].values).tolist() == list(range(4, 16))
    assert not run("missdetect", values, minlen=13).signals[0].values.any()
    slope = [5, 1, *np.linspace(0.1, 0.7, 11).tolist(), 9]
    found = run("missdetect", slope, minlen=10)
    assert np.flatnonzero(found.signals[0].values).tolist() == list(range(2, 13))


def test_missdetect_has_one_value_per_row_and_partitions_are_apart() -> None:
    values = [*[1] * 5, None, *[1] * 5, math.nan]
    found = run("missdetect", values, minlen=10)
    assert found.signals[0].values[found.signals[0].mask()].tolist() == [True] * 10
    assert np.flatnonzero(~found.signals[0].mask()).tolist() == [5, 11]
    assert run("missdetect", [1] * 12, minlen=10).signals[0].values.all()
    apart = run("missdetect", [1] * 12, bounds=[0, 6, 12], minlen=10)
    assert not apart.signals[0].values.any()


def test_twosidedfilter_leaves_out_spikes_and_keeps_steps() -> None:
    noise = [float(i * 7 % 11) for i in range(30)]
    level = [value + (100 if place >= 15 else 0) for place, value in enumerate(noise)]
    assert seconds(run("twosidedfilter", level)) == list(range(30))
    level[20] = 300
    level[4] = -50
    assert seconds(run("twosidedfilter", level)) == [i for i in range(30) if i not in (4, 20)]
    assert seconds(run("twosidedfilter", level, threshold=1.0)) == list(range(30))


def test_twosidedfilter_needs_a_full_side() -> None:
    assert seconds(run("twosidedfilter", [1, 1, 1, 99, 1])) == [0, 1, 2, 3, 4]
    assert seconds(run("twosidedfilter", [99, 1, 1, 1, 1, 1, None, math.nan])) == [1, 2, 3, 4, 5]


def test_lof_points_at_the_lonely_row() -> None:
    left = [0, 0, 1, 1, 0, -1, -1, 9, 0]
    right = [0, 1, 1, 0, -1, -1, 0, 9, None]
    found = run("lof", left, right)
    assert seconds(found) == list(range(8))
    factors = found.signals[0].values
    assert np.argmax(factors) == 7
    assert factors[7] > 5
    assert factors[:7] == pytest.approx(np.ones(7), abs=0.35)


def lof_model(points: AnyArray, k: int) -> list[float]:
    def nearest(i: int) -> list[tuple[float, int]]:
        others = [(math.dist(points[i], points[j]), j) for j in range(len(points)) if j != i]
        return sorted(others)[:k]

    def density(i: int) -> float:
        reach = sum(max(distance, nearest(j)[-1][0]) for distance, j in nearest(i))
        return k / reach if reach else math.inf

    factors = []
    for i in range(len(points)):
        around = sum(density(j) for _, j in nearest(i)) / k
        own = density(i)
        factors.append(around / own if math.isfinite(own) else 1.0)
    return factors


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=4, max_size=12, unique=True
    )
)
def test_lof_is_that_of_the_definition(rows: list[tuple[int, int]]) -> None:
    points = np.array(sorted(rows), np.float64)  # ties go to the smaller coordinates
    found = run("lof", points[:, 0].tolist(), points[:, 1].tolist(), k=2)
    assert found.signals[0].values == pytest.approx(lof_model(points, 2))


def test_lof_of_a_series_and_of_equal_rows() -> None:
    found = run("lof", list(range(20)), method="series")
    assert seconds(found) == list(range(16))
    assert run("lof", [7] * 6).signals[0].values.tolist() == [1] * 6
    assert run("lof", [1, 2]).signals[0].values.tolist() == [1, 1]
    values = [1, 2, 3, 90, 4, 5, 6, 7, 8]
    apart = run("lof", values, bounds=[0, 3, 3, 9], k=2).signals[0].values
    assert np.argmax(apart) == 3
    assert apart[:3].tolist() == run("lof", [1, 2, 3], k=2).signals[0].values.tolist()
    assert seconds(run("lof", [None, math.nan])) == []


def test_lof_of_rows_on_one_spot_is_shared_and_finite() -> None:
    found = run("lof", [1, 1, 1, 1, 1, 2, 3, 4, 40], k=3).signals[0].values
    assert found[:5].tolist() == [found[0]] * 5
    alone = run("lof", [1, 2, 3, 4, 40], k=3).signals[0].values
    assert found[[0, 5, 6, 7, 8]].tolist() == alone.tolist()
    assert np.isfinite(found).all()


def test_lof_of_a_series_takes_one_column() -> None:
    with pytest.raises(SqlError, match="one column"):
        run("lof", [1, 2], [1, 2], method="series")
