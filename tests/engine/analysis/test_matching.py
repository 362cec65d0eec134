"""Likeness of two signals: worked examples, plain numpy, a slow model of time warping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library, matching
from mainstem_engine.analysis.rows import Signal, Timeline, Windows
from mainstem_engine.errors import SqlLimitError

NAN = math.nan
Column = Sequence[float | None]
LEFT: Column = [100, 101, 102, 104, 126, 108, None, 112, 113, 114, 116, 118, 100, 124, 126, NAN]
RIGHT: Column = [
    *[101, None, 101, 102, 102, 103, 103, 104],
    *[None, 104, 105, 105, 106, 108, 108, 108],
]


def signal(values: Column) -> Signal:
    return Signal(
        np.array([0 if value is None else value for value in values], np.float64),
        np.array([value is not None for value in values], np.bool_),
    )


def score(name: str, left: Column, right: Column, *spans: tuple[int, int]) -> list[float | None]:
    function = library.window_function(name)
    assert function is not None
    rows = Timeline(np.arange(len(left), dtype=np.int64), np.array([0, len(left)]))
    begin, end = np.array(spans or [(0, len(left))], np.int64).T
    windows = Windows(begin, end, np.zeros(len(begin), np.int64), begin, begin, end)
    found = function.run(rows, (signal(left), signal(right)), windows, {})
    return [v if ok else None for v, ok in zip(found.values.tolist(), found.mask(), strict=True)]


def test_cov_and_pearson() -> None:
    assert score("cov", LEFT, RIGHT) == pytest.approx([12.291666666666666])
    assert score("pearson", LEFT, RIGHT) == pytest.approx([0.5630881927754872])


def test_windows_without_rows_and_columns_that_do_not_vary() -> None:
    left, right = [1, 2, 3, 4, None, 5], [2.0, 4, 6, 3, 3, 3]
    spans = [(0, 3), (0, 0), (3, 6), (4, 5), (0, 1)]
    assert score("cov", left, right, *spans) == pytest.approx([4 / 3, None, 0, None, 0])
    assert score("pearson", left, right, *spans) == pytest.approx([1, None, None, None, None])


@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=2, max_size=30))
def test_cov_and_pearson_are_those_of_numpy(rows: list[tuple[int, int]]) -> None:
    left, right = zip(*rows, strict=True)
    table = np.cov(left, right, bias=True)
    assert score("cov", left, right) == pytest.approx([table[0, 1]], abs=1e-9)
    if table[0, 0] and table[1, 1]:
        expected = table[0, 1] / math.sqrt(table[0, 0] * table[1, 1])
        assert score("pearson", left, right) == pytest.approx([expected], abs=1e-9)


def warped(left: Sequence[float], right: Sequence[float]) -> float:
    cost = {(-1, -1): 0.0}
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            ways = [cost.get(way, math.inf) for way in ((i - 1, j), (i, j - 1), (i - 1, j - 1))]
            cost[i, j] = abs(x - y) + min(ways)
    return cost[len(left) - 1, len(right) - 1]


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=14))
def test_dtw_is_that_of_the_definition(rows: list[tuple[int, int]]) -> None:
    left, right = zip(*rows, strict=True)
    assert score("dtw", left, right) == pytest.approx([warped(left, right)])


def test_dtw(monkeypatch: pytest.MonkeyPatch) -> None:
    assert score("dtw", [1] * 20, [2] * 20) == [20]
    assert score("dtw", [1, 5, 1, None], [NAN, 2, 2, 3], (0, 4), (0, 1)) == [4, 0]
    monkeypatch.setattr(matching, "DTW_ROWS_MAX", 2)
    with pytest.raises(SqlLimitError, match="dtw takes 2"):
        score("dtw", [1, 2, 3], [1, 2, 3])


def symmetries(
    values: Column, *, bounds: Sequence[int] = (), **options: Any
) -> list[tuple[int, float]]:
    function = library.point_function("ptnsym")
    assert function is not None
    rows = Timeline(
        np.arange(len(values), dtype=np.int64), np.array(bounds or [0, len(values)], np.int64)
    )
    bound = {p.name: p.default for p in function.parameters} | options
    found = function.run(rows, (signal(values),), bound)
    return list(zip(found.times.tolist(), found.signals[0].values.tolist(), strict=True))


def test_ptnsym() -> None:
    values = [1, 2, 3, 2, 1, 1, 1, 1, 2, 3, 2, 1]
    assert symmetries(values, window=5, threshold=0.0) == [(0, 0), (7, 0)]
    every = symmetries(values, window=5)
    assert [time for time, _ in every] == list(range(8))
    assert [degree for _, degree in every] == [
        warped(values[i : i + 2], values[i + 3 : i + 5][::-1]) for i in range(8)
    ]
    assert symmetries(values, window=5, bounds=[0, 4, 12], threshold=0.0) == [(7, 0)]
    assert symmetries([1, None, 2, NAN, 2, 1], window=4) == [(0, 0)]
    assert symmetries([1, 2], window=4) == []


def test_ptnsym_in_blocks_is_ptnsym_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [i * 7 % 10 for i in range(40)]
    whole = symmetries(values, window=6)
    monkeypatch.setattr(matching, "BLOCK_WINDOWS", 4)
    assert symmetries(values, window=6) == whole
