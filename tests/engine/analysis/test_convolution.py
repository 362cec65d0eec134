"""Products and quotients of series: the worked example, and that one undoes the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import convolution, library
from mainstem_engine.analysis.rows import Points, Signal, Timeline
from mainstem_engine.errors import SqlLimitError

Column = Sequence[float | None]


def run(
    name: str, left: Column, right: Column, *, bounds: Sequence[int] = (), **options: Any
) -> Points:
    count = max(len(left), len(right))
    signals = []
    for column in (left, right):
        padded = [*column, *[None] * (count - len(column))]
        values = np.array([0 if value is None else value for value in padded], np.float64)
        valid = np.array([value is not None for value in padded], np.bool_)
        signals.append(Signal(values, valid))
    rows = Timeline(np.arange(count, dtype=np.int64), np.array(bounds or [0, count], np.int64))
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, signals, bound)


def values_of(points: Points) -> list[float]:
    return list(points.signals[0].values.tolist())


def test_worked_example() -> None:
    found = run("conv", [1, 0, math.nan, 1], [7, None, 2])
    assert values_of(found) == [7, 2, 7, 2]
    assert found.times.tolist() == [i * 1_000_000 for i in range(4)]
    assert values_of(run("deconv", [8, 2, 7, 2], [7, 2])) == [1, 0, 1]
    assert values_of(run("deconv", [8, 2, 7, 2], [7, 2], result="remainder")) == [1, 0, 0, 0]


def test_partitions_are_apart_and_may_have_nothing() -> None:
    found = run("conv", [1, 2, 3, None], [4, 5, 6, 7], bounds=[0, 2, 3, 3, 4])
    assert values_of(found) == [4, 13, 10, 18]
    assert found.bounds.tolist() == [0, 3, 4, 4, 4]
    assert values_of(run("deconv", [1, 2], [0, 0])) == []
    assert values_of(run("deconv", [], [])) == []
    assert values_of(run("deconv", [1], [1, 2])) == []
    assert values_of(run("deconv", [1], [1, 2], result="remainder")) == [1]


def test_long_series_are_transformed_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = [float(i % 7) for i in range(40)], [1.0, -2, 3]
    direct = values_of(run("conv", left, right))
    monkeypatch.setattr(convolution, "DIRECT_MAX", 10)
    assert values_of(run("conv", left, right)) == pytest.approx(direct, abs=1e-12)
    monkeypatch.setattr(convolution, "DIVISIONS_MAX", 10)
    with pytest.raises(SqlLimitError, match="deconv would take"):
        run("deconv", left, right)


NUMBERS = st.lists(st.integers(-9, 9), min_size=1, max_size=8)


@given(NUMBERS, NUMBERS, st.sampled_from([-1, 1]))
def test_quotient_times_divisor_and_remainder_are_the_dividend(
    dividend: list[int], divisor: list[int], highest: int
) -> None:
    divisor = [*divisor, highest]
    quotient = values_of(run("deconv", dividend, divisor))
    remainder = np.array(values_of(run("deconv", dividend, divisor, result="remainder")))
    assert not remainder[len(divisor) - 1 :].any()
    if quotient:
        remainder = remainder + np.array(values_of(run("conv", quotient, divisor)))
    assert remainder.tolist() == pytest.approx(dividend)
