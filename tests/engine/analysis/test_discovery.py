"""Stretches without a gap: worked examples and a slow model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library
from mainstem_engine.analysis.rows import Signal, Timeline

MINUTE = 60 * 10**9
TIMES = [0, 5, 10, 20, 25, 30, 35, 40, 45, 50]


def run(
    name: str,
    minutes: Sequence[int],
    *,
    missing: Sequence[int] = (),
    bounds: Sequence[int] = (),
    **options: Any,
) -> list[tuple[int, int]]:
    count = len(minutes)
    rows = Timeline(np.array(minutes, np.int64) * MINUTE, np.array(bounds or [0, count], np.int64))
    text = np.array(["x"] * count, object)
    valid = np.ones(count, np.bool_)
    valid[list(missing)] = False
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    points = function.run(rows, (Signal(np.ones(count)), Signal(text, valid)), bound)
    numbers = points.signals[0].values.tolist()
    return list(zip((points.times // MINUTE).tolist(), numbers, strict=True))


@pytest.mark.parametrize("options", [{}, {"gap": 5 * MINUTE}])
def test_worked_examples(options: dict[str, Any]) -> None:
    sequences = run("consecutivesequences", TIMES, missing=[7], **options)
    assert sequences == [(0, 3), (20, 4), (45, 2)]
    windows = run("consecutivewindows", TIMES, missing=[7], length=10 * MINUTE, **options)
    assert windows == [(0, 3), (20, 3), (25, 3)]


def test_partitions_have_their_own_gap() -> None:
    found = run("consecutivesequences", [0, 1, 2, 0, 5, 10, 7], bounds=[0, 3, 6, 6, 7])
    assert found == [(0, 3), (0, 3), (7, 1)]


def test_rows_of_one_time_say_nothing_of_the_gap() -> None:
    found = run("consecutivesequences", [0, 0, 0, 5, 5, 5, 10])
    assert found == [(0, 1), (0, 1), (0, 2), (5, 1), (5, 2)]


def test_nan_is_missing() -> None:
    rows = Timeline(np.arange(3, dtype=np.int64) * MINUTE, np.array([0, 3]))
    function = library.point_function("consecutivesequences")
    assert function is not None
    found = function.run(rows, (Signal(np.array([1, math.nan, 2])),), {"gap": MINUTE})
    assert found.signals[0].values.tolist() == [1, 1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 4))
def test_model(steps: list[int], length: int) -> None:
    times = np.cumsum(steps).tolist()
    sequences, at = [], 0
    while at < len(times):
        end = at
        while end + 1 < len(times) and times[end + 1] - times[end] == 1:
            end += 1
        sequences.append((times[at], end - at + 1))
        at = end + 1
    assert run("consecutivesequences", times, gap=MINUTE) == sequences
    windows = [(start + i, length + 1) for start, count in sequences for i in range(count - length)]
    assert run("consecutivewindows", times, gap=MINUTE, length=length * MINUTE) == windows
