"""What values are like: worked examples, plain numpy, and windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library
from mainstem_engine.analysis.rows import Points, Signal, Timeline, Windows
from mainstem_engine.errors import SqlError

NAN = math.nan
SPIKE = [0, 0, 1, -1, 0, 0, -2, 2, 0, 0, 1, -1, -1, 1, 0, 0, 10, 2, -2, 0]


def run(
    name: str, values: Sequence[float | None], *, bounds: Sequence[int] = (), **options: Any
) -> Points:
    rows = Timeline(
        np.arange(len(values), dtype=np.int64), np.array(bounds or [0, len(values)], np.int64)
    )
    signal = Signal(
        np.array([0 if value is None else value for value in values], np.float64),
        np.array([value is not None for value in values], np.bool_),
    )
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, (signal,), bound)


def values_of(points: Points) -> list[float | None]:
    signal = points.signals[0]
    return [v if ok else None for v, ok in zip(signal.values.tolist(), signal.mask(), strict=True)]


def test_zscore() -> None:
    deviation = math.sqrt(5.85)
    assert values_of(run("zscore", SPIKE)) == pytest.approx([(v - 0.5) / deviation for v in SPIKE])
    given_ones = values_of(run("zscore", SPIKE, compute="stream", avg=1.0, sd=2.0))
    assert given_ones == [(v - 1) / 2 for v in SPIKE]
    with pytest.raises(SqlError, match="avg and sd"):
        run("zscore", SPIKE, compute="stream", avg=1.0)


def test_minmax() -> None:
    assert values_of(run("minmax", SPIKE)) == pytest.approx([(v + 2) / 12 for v in SPIKE])
    assert values_of(run("minmax", [3, 5], compute="stream", min=1.0, max=5.0)) == [0.5, 1]


@pytest.mark.parametrize("name", ["zscore", "minmax"])
def test_partitions_nulls_and_values_that_do_not_vary(name: str) -> None:
    values = [1.0, None, 3.0, NAN, 7.0, 7.0, None, 0.1, 0.1, 0.1]
    found = values_of(run(name, values, bounds=[0, 4, 6, 7, 10]))
    expected = [-1, 1] if name == "zscore" else [0, 1]
    assert [found[0], found[2]] == expected
    assert [found[1], found[6]] == [None, None]
    rest = [value for place, value in enumerate(found) if place not in (0, 1, 2, 6)]
    assert all(value is not None and math.isnan(value) for value in rest)


def test_histogram() -> None:
    ramp = [float(value) for value in range(1, 21)]
    found = run("histogram", ramp, min=1.0, max=20.0, count=10)
    assert values_of(found) == [2] * 10
    assert found.times.tolist() == [i * 1_000_000 for i in range(10)]
    assert values_of(run("histogram", ramp)) == [20]
    assert values_of(run("histogram", ramp, min=5.0, max=7.0, count=2)) == [5, 15]
    mixed = [NAN, None, math.inf, -math.inf, 0.5, 5.0]
    assert values_of(run("histogram", mixed, min=0.0, max=10.0, count=2)) == [2, 2]
    assert values_of(run("histogram", [NAN], count=3)) == [0, 0, 0]
    with pytest.raises(SqlError, match="above max"):
        run("histogram", ramp, min=30.0)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=50), st.integers(1, 8))
def test_histogram_between_its_own_edges(values: list[int], count: int) -> None:
    expected = np.histogram(values, bins=count)[0].tolist()
    found = values_of(run("histogram", values, count=count))
    # Equal values have no edges between them; rounding may move a value that lies on an edge.
    if len(set(values)) == 1:
        assert found == [0] * (count - 1) + [len(values)]
    else:
        assert sum(expected) == len(values)
        assert found == expected


def skews(values: Sequence[float], begin: Sequence[int], end: Sequence[int]) -> list[float | None]:
    function = library.window_function("skew")
    assert function is not None
    rows = Timeline(np.arange(len(values), dtype=np.int64), np.array([0, len(values)]))
    edges = np.array(begin, np.int64), np.array(end, np.int64)
    windows = Windows(*edges, np.zeros(len(begin), np.int64), *edges, edges[1])
    signal = function.run(rows, (Signal(np.array(values, np.float64)),), windows, {})
    return [v if ok else None for v, ok in zip(signal.values.tolist(), signal.mask(), strict=True)]


def test_skew() -> None:
    values = [*range(1, 11), *[10] * 10, NAN]
    assert skews(values, [0], [21]) == pytest.approx([-0.9998427402292644])
    found = skews([1, 2, 9, 5, 5, 0.1, 0.1, 0.1], [0, 0, 3, 2, 5], [3, 2, 5, 2, 8])
    assert found[0] == pytest.approx(np.mean(((np.array([1, 2, 9]) - 4) / np.std([1, 2, 9])) ** 3))
    assert found[1:] == [0, None, None, None]
