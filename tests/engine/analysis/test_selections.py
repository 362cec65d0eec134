"""The largest, the last, one of each, a sample: against models that sort rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis.rows import Signal, Timeline
from mainstem_engine.errors import SqlError

from .calls import MS, Found, at, call, values_of
from .timelines import partitions_of, signal, timeline, timelines

numbers: st.SearchStrategy[Any] = st.none() | st.integers(-3, 3)
texts: st.SearchStrategy[Any] = st.none() | st.sampled_from(["a", "b", "c"])


def drawn(data: st.DataObject, line: Timeline, values: st.SearchStrategy[Any]) -> list[Any]:
    found: list[Any] = data.draw(st.lists(values, min_size=len(line), max_size=len(line)))
    return found


def chosen(line: Timeline, values: list[Any], rows: list[list[int]]) -> Found:
    return [
        (partition, int(line.times[row]) // MS, values[row])
        for partition, members in enumerate(rows)
        for row in members
    ]


@pytest.mark.parametrize("kind", [numbers, texts])
@given(line=timelines(tick=MS), data=st.data(), k=st.integers(1, 4))
def test_extremes_as_a_model_has_them(
    kind: st.SearchStrategy[Any], line: Timeline, data: st.DataObject, k: int
) -> None:
    values = drawn(data, line, kind)
    column = signal(*values)
    ranked = [
        sorted((row for row in rows if values[row] is not None), key=lambda row: values[row])
        for rows in partitions_of(line)
    ]
    lowest = chosen(line, values, [sorted(rows[:k]) for rows in ranked])
    assert call("bottom", line, column, k) == lowest
    assert call("bottom_k", line, column, k=str(k)) == lowest
    falling = [sorted(rows, key=lambda row: (values[row], -row))[::-1] for rows in ranked]
    highest = chosen(line, values, [sorted(rows[:k]) for rows in falling])
    assert call("top", line, column, k) == highest
    assert call("top_k", line, column, k=str(k)) == highest


def test_extremes_of_whole_numbers_at_the_edges_of_their_range() -> None:
    line = timeline([0, 1, 2, 3], tick=MS)
    column = signal(-(2**63), 2**63 - 1, -(2**63) + 1, 2**63 - 2)
    assert at(call("top", line, column, 2)) == [(1, 2**63 - 1), (3, 2**63 - 2)]
    assert at(call("bottom", line, column, 2)) == [(0, -(2**63)), (2, -(2**63) + 1)]


def test_extremes_of_unsigned_numbers_keep_every_digit() -> None:
    line = timeline([0, 1, 2], tick=MS)
    column = Signal(np.array([2**64 - 1, 5, 2**64 - 2], np.uint64))
    assert at(call("top", line, column, 1)) == [(0, 2**64 - 1)]
    assert at(call("bottom", line, column, 1)) == [(1, 5)]


def test_no_number_has_no_rank() -> None:
    line = timeline([0, 1, 2, 3], tick=MS)
    column = signal(math.nan, 2.0, math.inf, 1.0)
    assert at(call("top", line, column, 2)) == [(1, 2.0), (2, math.inf)]
    assert at(call("bottom", line, column, 9)) == [(1, 2.0), (2, math.inf), (3, 1.0)]


@pytest.mark.parametrize("kind", [numbers, texts])
@given(line=timelines(tick=MS, high=0), data=st.data())
def test_unique_as_a_model_has_it(
    kind: st.SearchStrategy[Any], line: Timeline, data: st.DataObject
) -> None:
    values = drawn(data, line, kind)
    expected: Found = []
    for partition, rows in enumerate(partitions_of(line)):
        first: dict[Any, int] = {}
        for row in rows:
            first.setdefault(values[row], int(line.times[row]) // MS)
        # There is one null at most, so that it is never compared with another.
        ordered = sorted(first.items(), key=lambda item: (item[1], item[0] is None, item[0]))
        expected += [(partition, time, value) for value, time in ordered]
    assert call("unique", line, signal(*values)) == expected


def test_no_number_is_one_value() -> None:
    line = timeline([0, 1, 2], tick=MS)
    assert len(call("unique", line, signal(math.nan, math.nan, 1.0))) == 2


@given(line=timelines(tick=MS), data=st.data(), k=st.integers(1, 4), offset=st.integers(0, 4))
def test_tail_as_a_model_has_it(line: Timeline, data: st.DataObject, k: int, offset: int) -> None:
    values = drawn(data, line, texts)
    kept = [rows[: max(len(rows) - offset, 0)][-k:] for rows in partitions_of(line)]
    assert call("tail", line, signal(*values), k, offset) == chosen(line, values, kept)


@given(line=timelines(tick=MS), data=st.data(), k=st.integers(1, 6))
def test_samples_are_values_of_each_partition(line: Timeline, data: st.DataObject, k: int) -> None:
    values = drawn(data, line, numbers)
    column = signal(*values)
    known = [[row for row in rows if values[row] is not None] for rows in partitions_of(line)]
    every = chosen(line, values, known)
    for method in ("reservoir", "isometric", "triangle"):
        found = call("sample", line, column, k, method=method)
        assert call("sample", line, column, k, method=method) == found
        sizes = [sum(partition == p for p, _, _ in found) for partition in range(len(known))]
        assert sizes == [min(k, len(rows)) for rows in known]
        rest = iter(every)
        assert all(point in rest for point in found), "not some of the rows, in their order"
    steps = [
        [rows[i * len(rows) // k] for i in range(k)] if len(rows) > k else rows for rows in known
    ]
    assert call("sample", line, column, k, method="isometric") == chosen(line, values, steps)


def test_a_random_sample_is_fair() -> None:
    """Each row is drawn about as often as any other: 1,000 partitions of 10 rows, 5 of each."""
    line = timeline(*[list(range(10))] * 1_000, tick=MS)
    found = call("sample", line, signal(*range(10_000)), 5)
    drawn_at = [time for _, time, _ in found]
    assert len(found) == 5_000
    assert all(430 < drawn_at.count(time) < 570 for time in range(10))


def test_the_shape_of_text_cannot_be_kept() -> None:
    with pytest.raises(SqlError, match="text"):
        call("sample", timeline([0, 1, 2]), signal("a", "b", "c"), 2, "triangle")
    assert values_of(call("sample", timeline([0]), signal("a"))) == ["a"]
