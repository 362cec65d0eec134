"""Values and those before them: worked examples, dense solutions, known distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import correlation, library
from mainstem_engine.analysis.rows import Points, Signal, Timeline, Windows
from mainstem_engine.errors import SqlLimitError

NAN = math.nan
MS = 1_000_000
NOISE = [1.22, -2.78, 1.53, 0.70, 0.75, -0.72, -0.22, 0.28, 0.57, -0.22]
NOISE += [-0.72, 1.34, -0.25, 0.17, 2.51, 1.42, -1.34, -0.01, -0.49, 1.63]


def run(
    name: str, *columns: Sequence[float | None], bounds: Sequence[int] = (), **options: Any
) -> Points:
    count = len(columns[0])
    rows = Timeline(np.arange(count, dtype=np.int64) * MS, np.array(bounds or [0, count], np.int64))
    signals = [
        Signal(
            np.array([0 if value is None else value for value in column], np.float64),
            np.array([value is not None for value in column], np.bool_),
        )
        for column in columns
    ]
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, signals, bound)


def values_of(points: Points) -> list[float]:
    return list(points.signals[0].values.tolist())


def test_acf_and_xcorr_are_those_of_the_definition() -> None:
    found = run("acf", [1, None, 3, NAN, 5])
    assert found.times.tolist() == [i * MS for i in range(9)]
    assert values_of(found) == [1, 0, 3.6, 0, 7, 0, 3.6, 0, 1]
    found = run("xcorr", [None, 2, 3, 4, 5], [6, 7, NAN, 9, 10])
    left, right = [0, 2, 3, 4, 5], [6, 7, 0, 9, 10]
    expected = [
        sum(left[i] * right[i + k] for i in range(5) if 0 <= i + k < 5) / 5
        for k in range(4, -5, -1)
    ]
    assert values_of(found) == expected


def test_long_series_are_transformed_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = NOISE, NOISE[::-1]
    direct = values_of(run("xcorr", left, right))
    monkeypatch.setattr(correlation, "DIRECT_MAX", 3)
    assert values_of(run("xcorr", left, right)) == pytest.approx(direct, abs=1e-12)


def test_partitions_are_apart() -> None:
    found = run("acf", [1, 2, 7, 3], bounds=[0, 2, 2, 3, 4])
    assert values_of(found) == [1, 2.5, 1, 49, 9]
    assert found.bounds.tolist() == [0, 3, 3, 4, 5]


def test_acf_makes_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstem_engine.analysis.made_points.MADE_POINTS_MAX", 5)
    with pytest.raises(SqlLimitError):
        run("acf", [1, 2, 3])


def test_pacf() -> None:
    found = run("pacf", [1, NAN, 3, NAN, 5], lag=5)
    assert found.times.tolist() == [i * MS for i in range(5)]
    expected = [1.0, -0.5744680851063829, 0.3172297297297296, -0.2977686586304181, -2.06090335]
    assert values_of(found) == pytest.approx(expected)
    assert len(values_of(run("pacf", NOISE))) == 1 + math.floor(10 * math.log10(20))
    assert np.isnan(values_of(run("pacf", [4, 4, 4], lag=1))).tolist() == [False, True]
    assert values_of(run("pacf", [])) == []


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=15), st.integers(1, 3))
def test_pacf_and_ar_solve_the_equations(values: list[int], order: int) -> None:
    x = np.array(values, np.float64) - np.mean(values)
    n = len(x)
    covariances = np.array([x[: n - k] @ x[k:] / (n - k) for k in range(order + 1)])
    table = covariances[np.abs(np.subtract.outer(np.arange(order), np.arange(order)))]
    if min(np.abs(np.linalg.eigvalsh(table[:k, :k])).min() for k in range(1, order + 1)) < 1e-3:
        return  # hardly solvable: rounding decides
    solution = np.linalg.solve(table, covariances[1:])
    assert values_of(run("ar", values, p=order)) == pytest.approx(solution.tolist(), rel=1e-6)
    assert values_of(run("pacf", values, lag=order))[-1] == pytest.approx(solution[-1], rel=1e-6)


def test_ar() -> None:
    found = run("ar", list(range(-4, 5)), p=2)
    assert found.times.tolist() == [MS, 2 * MS]
    assert values_of(found) == pytest.approx([0.9429, -0.2571], abs=5e-5)
    holes = [-4, -3, NAN, -1, 0, math.inf, 2, 3, 4]
    assert values_of(run("ar", holes, p=2)) == pytest.approx([0.9429, -0.2571], abs=5e-5)
    assert np.isnan(values_of(run("ar", [1, 2], p=3))).tolist() == [True] * 3
    assert np.isnan(values_of(run("ar", [5, 5, 5]))).tolist() == [True]


def test_qlb() -> None:
    found = run("qlb", NOISE)
    assert found.times.tolist() == [i * MS for i in range(1, 19)]
    x = np.array(NOISE) - np.mean(NOISE)
    shares = [(x[:-k] @ x[k:] / (x @ x)) ** 2 / (20 - k) for k in (1, 2)]
    first, second = 440 * shares[0], 440 * sum(shares)
    expected = [math.erfc(math.sqrt(first / 2)), math.exp(-second / 2)]
    assert values_of(found)[:2] == pytest.approx(expected)
    assert len(values_of(run("qlb", NOISE, lag=3))) == 3
    assert values_of(run("qlb", [1, 2])) == []
    assert np.isnan(values_of(run("qlb", [1, 1, 1]))).tolist() == [True]


def test_chi_squared() -> None:
    values = np.array([3.841459, 5.991465, 7.814728, 9.487729, 11.070498])
    assert correlation._exceeding(values) == pytest.approx([0.05] * 5, abs=1e-7)
    assert correlation._exceeding(np.array([0.0, 0.0])) == pytest.approx([1, 1])
    many = correlation._exceeding(np.full(3000, 3000.0))
    assert many[-1] == pytest.approx(0.4966, abs=1e-3)
    assert (np.diff(many) >= -1e-12).all()


def periods(values: Sequence[float], *ends: int) -> list[int | None]:
    function = library.window_function("period")
    assert function is not None
    rows = Timeline(np.arange(len(values), dtype=np.int64), np.array([0, len(values)]))
    end = np.array(ends or [len(values)], np.int64)
    none = np.zeros(len(end), np.int64)
    windows = Windows(none, end, none, none, none, end)
    signal = function.run(rows, (Signal(np.array(values, np.float64)),), windows, {})
    return [v if ok else None for v, ok in zip(signal.values.tolist(), signal.mask(), strict=True)]


def test_period() -> None:
    assert periods([1, 2, 3] * 3) == [3]
    assert periods([1, 2, NAN, 3] * 3) == [3]
    day = [10 + math.sin(2 * math.pi * i / 24) + i / 50 for i in range(240)]
    assert periods(day) == [24]
    assert periods([5] * 20) == [None]
    assert periods(list(range(20)), 20, 3, 0) == [None, None, None]
