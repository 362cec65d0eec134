"""Statistics of windows beside models that walk row by row."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.row_windows import KEEP_OPERATORS, count_windows, session_windows
from mainstem_engine.analysis.rows import Timeline, whole_partitions
from mainstem_engine.analysis.statistics import count_if, leastsquares, time_duration

from .timelines import rows_of, signal, signals, timeline, timelines

MS = 1_000_000
COMPARE = {
    ">=": operator.ge,
    ">": operator.gt,
    "=": operator.eq,
    "<=": operator.le,
    "<": operator.lt,
}
LEAST_3 = {"keep": 3, "ignore_null": True, "operator": ">="}


def test_count_if_counts_runs() -> None:
    line = timeline([1, 2, 3, 4, 5, 6, 7, 8, 5_000_000_000, 5_000_000_001])
    whole = whole_partitions(line)
    both = signal(True, None, True, True, False, False, False, True, True, True)
    assert count_if(line, [both], whole, LEAST_3).values.tolist() == [2]
    strict = {**LEAST_3, "ignore_null": False}
    assert count_if(line, [both], whole, strict).values.tolist() == [1]
    rows = {**LEAST_3, "keep": None}
    assert count_if(line, [both], whole, rows).values.tolist() == [6]
    pairs = {"keep": 2, "ignore_null": True, "operator": "="}
    assert count_if(line, [both], whole, pairs).values.tolist() == [0]


@settings(max_examples=50)
@given(
    data=st.data(),
    line=timelines(),
    size=st.integers(1, 8),
    keep=st.integers(0, 4),
    sign=st.sampled_from(KEEP_OPERATORS),
    ignores=st.booleans(),
)
def test_count_if_as_a_model_says(
    data: st.DataObject, line: Timeline, size: int, keep: int, sign: str, ignores: bool
) -> None:
    condition = data.draw(signals(len(line), st.one_of(st.none(), st.booleans())))
    windows = count_windows(line, size, max(size // 2, 1)).windows
    expected = []
    for _, rows in rows_of(windows):
        shown = [
            bool(condition.values[row]) and bool(condition.mask()[row])
            for row in rows
            if condition.mask()[row] or not ignores
        ]
        runs = [len(list(run)) for holds, run in itertools.groupby(shown) if holds]
        expected.append(sum(COMPARE[sign](run, keep) for run in runs))
    options = {"keep": keep, "ignore_null": ignores, "operator": sign}
    assert count_if(line, [condition], windows, options).values.tolist() == expected


def test_time_duration_is_that_of_the_values() -> None:
    line = timeline([1, 3, 9, 20, 21], [30], tick=MS)
    column = signal(None, 1, 2, None, 5, None)
    found = time_duration(line, [column], session_windows(line, 7 * MS), {"unit": MS})
    assert found.values.tolist()[:2] == [6, 0]
    assert found.mask().tolist() == [True, True, False]
    text = signal("a", "b", None, None, None, "c")
    whole = time_duration(line, [text], whole_partitions(line), {"unit": MS})
    assert whole.values.tolist() == [2, 0]


def test_the_nearest_line() -> None:
    line = timeline([1, 2, 3, 4], [5], [6, 7, 8])
    column = signal(3.0, 5.0, None, 7.0, 1.0, 1.0, 1.0, 4.0)
    found = leastsquares(line, [column], whole_partitions(line), {"start": 1.0, "step": 1.0})
    assert found.values.tolist() == [
        "{slop:2.000000, intercept:1.000000}",
        "",
        "{slop:1.500000, intercept:-1.000000}",
    ]
    assert found.mask().tolist() == [True, False, True]


@settings(max_examples=40)
@given(
    numbers=st.lists(st.integers(-100, 100).map(float), min_size=2, max_size=12),
    start=st.integers(-5, 5),
    step=st.sampled_from([-2.0, 0.5, 3.0]),
)
def test_lines_as_numpy_says(numbers: list[float], start: int, step: float) -> None:
    line = timeline(list(range(len(numbers))))
    found = leastsquares(
        line, [signal(*numbers)], whole_partitions(line), {"start": float(start), "step": step}
    )
    slope, intercept = np.polyfit(start + step * np.arange(len(numbers)), numbers, 1)
    parts = found.values[0].strip("{}").replace("slop:", "").replace("intercept:", "").split(", ")
    assert [float(part) for part in parts] == pytest.approx([slope, intercept], abs=2e-6)
