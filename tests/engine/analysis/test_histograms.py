"""Histograms of windows beside a model that looks at every value and bin."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis import histograms
from mainstem_engine.analysis.histograms import edges_of, histogram
from mainstem_engine.analysis.row_windows import count_windows
from mainstem_engine.analysis.rows import Timeline, whole_partitions
from mainstem_engine.errors import SqlError, SqlLimitError

from .timelines import signal, timeline

numbers = (
    st.none() | st.integers(-4, 12) | st.floats(-4, 12) | st.sampled_from([math.inf, math.nan])
)


def _options(bin_type: str, bins: str, *, normalized: bool = False) -> dict[str, Any]:
    return {"bin_type": bin_type, "bins": bins, "normalized": normalized}


@given(st.lists(numbers, min_size=1, max_size=20), st.integers(1, 6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_value_lies_in_its_bin(
    values: list[float | None], size: int, normalized: bool
) -> None:
    line = timeline(list(range(len(values))))
    windows = count_windows(line, size, None, columns=[], keeps_tail=True).windows
    options = _options("user_input", "[-1, 0, 2.5, 7]", normalized=normalized)
    column = signal(*(None if value is None else float(value) for value in values))
    found = [json.loads(text) for text in histogram(line, [column], windows, options).values]
    assert len(found) == len(windows)
    for bins, begin, end in zip(found, windows.begin, windows.end, strict=True):
        known = [value for value in values[begin:end] if value is not None]
        edges = [(-1, 0), (0, 2.5), (2.5, 7)]
        assert [(entry["lower_bin"], entry["upper_bin"]) for entry in bins] == edges
        counts = [sum(low < value <= high for value in known) for low, high in edges]
        total = max(sum(counts), 1) if normalized else 1
        assert [entry["count"] for entry in bins] == pytest.approx([n / total for n in counts])


def test_bins_that_are_made() -> None:
    linear = '{"start": 0, "width": 2.5, "count": 2, "infinity": true}'
    assert edges_of("linear_bin", linear).tolist() == [-math.inf, 0, 2.5, 5, math.inf]
    log = '{"start": 1, "factor": 2, "count": 3, "infinity": false}'
    assert edges_of("log_bin", log).tolist() == [1, 2, 4, 8]
    falling = '{"start": 8, "factor": 0.5, "count": 2, "infinity": false}'
    assert edges_of("log_bin", falling).tolist() == [2, 4, 8]
    line = timeline([1, 2])
    text = histogram(
        line, [signal(-9.0, 9.0)], whole_partitions(line), _options("linear_bin", linear)
    ).values[0]
    ends = json.loads(text)
    assert (ends[0]["lower_bin"], ends[-1]["upper_bin"]) == ("-inf", "inf")
    assert [entry["count"] for entry in ends] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("bin_type", "bins"),
    [
        ("user_input", "[1]"),
        ("user_input", "[3, 1]"),
        ("user_input", "[1, 1]"),
        ("user_input", '[1, "a"]'),
        ("user_input", "[1, NaN]"),
        ("user_input", "[1, true]"),
        ("user_input", "{}"),
        ("user_input", "1, 2"),
        ("user_input", "[" * 100_000),
        ("user_input", str(list(range(1003)))),
        ("linear_bin", "[1, 2]"),
        ("linear_bin", '{"start": 0, "width": 0, "count": 2}'),
        ("linear_bin", '{"start": 0, "width": 1}'),
        ("linear_bin", '{"start": 0, "width": 1, "count": 0}'),
        ("linear_bin", '{"start": 0, "width": 1, "count": 2.5}'),
        ("linear_bin", '{"start": 0, "width": 1, "count": 1000000000}'),
        ("linear_bin", '{"start": 0, "factor": 1, "count": 2}'),
        ("linear_bin", '{"start": 0, "width": 1e308, "count": 5}'),
        ("log_bin", '{"start": 0, "factor": 2, "count": 2}'),
        ("log_bin", '{"start": 1, "factor": -2, "count": 2}'),
        ("log_bin", '{"start": 1, "factor": 1, "count": 2, "infinity": 1}'),
    ],
)
def test_what_is_no_bins_is_refused(bin_type: str, bins: str) -> None:
    with pytest.raises(SqlError, match="no bins of") as refused:
        edges_of(bin_type, bins)
    assert refused.value.field == "histogram"
    assert refused.value.hint


def test_texts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histograms, "CELLS_MAX", 3)
    line = timeline([1, 2, 3, 4])
    windows = count_windows(line, 1, None, columns=[], keeps_tail=True).windows
    with pytest.raises(SqlLimitError, match="more than 3 bins"):
        histogram(line, [signal(1.0, 2.0, 3.0, 4.0)], windows, _options("user_input", "[0, 9]"))


def test_without_a_value_bins_are_empty() -> None:
    line = Timeline(np.array([1, 2]), np.array([0, 2]))
    options = _options("user_input", "[0, 9]", normalized=True)
    found = histogram(line, [signal(None, None)], whole_partitions(line), options)
    assert json.loads(found.values[0]) == [{"lower_bin": 0, "upper_bin": 9, "count": 0.0}]
