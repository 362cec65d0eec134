"""Percentiles and medians of windows: the worked example, and plain sorting."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library
from mainstem_engine.analysis.rows import Signal, Timeline, Windows

SPIKE = [0, 0, 1, -1, 0, 0, -2, 2, 0, 0, 1, -1, -1, 1, 0, 0, 10, 2, -2, 0]


def score(
    name: str, signal: Signal, *spans: tuple[int, int], **options: Any
) -> list[float | int | None]:
    function = library.window_function(name)
    assert function is not None
    count = len(signal)
    rows = Timeline(np.arange(count, dtype=np.int64), np.array([0, count]))
    begin, end = np.array(spans or [(0, count)], np.int64).T
    windows = Windows(begin, end, np.zeros(len(begin), np.int64), begin, begin, end)
    bound = {p.name: p.default for p in function.parameters} | options
    found = function.run(rows, (signal,), windows, bound)
    return [v if ok else None for v, ok in zip(found.values.tolist(), found.mask(), strict=True)]


def floats(values: Sequence[float]) -> Signal:
    return Signal(np.array(values, np.float64))


def test_worked_example() -> None:
    assert score("percentile", floats(SPIKE), rank=0.2) == [-1]
    assert score("quantile", floats(SPIKE)) == [0]
    assert score("median", floats(SPIKE), error=0.01) == [0]
    assert score("mad", floats(SPIKE), error=0.01) == [1]


def test_windows_nulls_and_what_is_not_finite() -> None:
    values = np.array([5, math.nan, 1, 9, math.inf, 3])
    signal = Signal(values, np.array([True] * 5 + [False]))
    spans = [(0, 4), (1, 2), (2, 2), (5, 6), (3, 5)]
    assert score("percentile", signal, *spans) == [5, None, None, None, 9]
    assert score("median", signal, *spans) == [5, None, None, None, math.inf]
    assert score("mad", signal, *spans) == [4, None, None, None, 0]


def test_a_percentile_has_the_type_of_its_column() -> None:
    large = Signal(np.array([2**62 + 1, 2**62 + 3], np.int64))
    assert score("percentile", large, rank=1.0) in ([2**62 + 1], [2**62 + 3])
    assert score("percentile", Signal(np.array([3, 1, 2])), rank=0.0) == [1]


@pytest.mark.parametrize("rank", [0.07, 0.14, 0.28, 0.29, 0.55, 0.56, 0.57, 0.58])
def test_a_rank_that_is_a_whole_number_of_values_is_not_rounded_up(rank: float) -> None:
    assert score("percentile", floats(range(1, 101)), rank=rank) == [round(rank * 100)]


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.integers(0, 20))
def test_model(values: list[int], twentieth: int) -> None:
    signal, rank = floats(values), twentieth / 20
    needed = twentieth * len(values)
    least = next(v for v in sorted(values) if 20 * sum(x <= v for x in values) >= needed)
    assert score("percentile", signal, rank=rank) == [least]
    middle = statistics.median(values)
    assert score("median", signal) == [middle]
    assert score("mad", signal) == [statistics.median(abs(v - middle) for v in values)]
