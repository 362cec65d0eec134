"""Fills, interpolation at moments, and their neighbours, against models that look at every row."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.fills import (
    SOURCES,
    converted,
    fill_linear,
    fitting,
)
from mainstem_engine.analysis.interpolation import (
    SLICES_MAX,
    Filling,
    interpolate,
    moments_every,
)
from mainstem_engine.analysis.neighbours import on_line
from mainstem_engine.analysis.rows import Signal, Timeline
from mainstem_engine.errors import SqlError, SqlLimitError

from .timelines import partitions_of, signal, timeline, timelines, values

Value = int | None


def fill(mode: str, line: Timeline, cells: Signal, limit: int | None = None) -> Signal:
    if mode == "LINEAR":
        return fill_linear(line, cells, limit)
    return cells.take(SOURCES[mode](line, cells.mask(), limit))


def line_value(low: int, high: int, passed: int, span: int) -> int:
    return math.trunc(low + Fraction((high - low) * passed, span)) if span else low


def model_fill(mode: str, line: Timeline, cells: list[Value], limit: int | None) -> list[Value]:
    """Every null looks at all rows of its partition."""
    times = line.times.tolist()
    filled = list(cells)
    for rows in partitions_of(line):
        for row in rows:
            if cells[row] is not None:
                continue
            before = [r for r in rows if r < row and cells[r] is not None][-1:]
            after = [r for r in rows if r > row and cells[r] is not None][:1]
            if mode == "LINEAR":
                if not before or not after:
                    continue
                b, a = before[0], after[0]
                if limit is not None and times[a] - times[b] > limit:
                    continue
                low, high = cells[b], cells[a]
                assert low is not None
                assert high is not None
                filled[row] = line_value(low, high, times[row] - times[b], times[a] - times[b])
                continue
            chosen = {"PREVIOUS": before, "NEXT": after}.get(mode)
            if chosen is None:
                both = [*before, *after]
                chosen = sorted(both, key=lambda r: (abs(times[r] - times[row]), r))[:1]
            if chosen and (limit is None or abs(times[chosen[0]] - times[row]) <= limit):
                filled[row] = cells[chosen[0]]
    return filled


@st.composite
def filled_lines(draw: st.DrawFn) -> tuple[Timeline, list[Value]]:
    line = draw(timelines())
    cells = draw(
        st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=len(line), max_size=len(line))
    )
    return line, cells


@settings(max_examples=150, deadline=None)
@given(
    filled_lines(), st.sampled_from([*SOURCES, "LINEAR"]), st.one_of(st.none(), st.integers(0, 30))
)
def test_fills_agree_with_the_model(
    filled: tuple[Timeline, list[Value]], mode: str, limit: int | None
) -> None:
    line, cells = filled
    found = fill(mode, line, signal(*cells), limit)
    assert values(found) == model_fill(mode, line, cells, limit)


def test_a_limit_is_inclusive_and_partitions_are_kept_apart() -> None:
    line = timeline([0, 2, 3, 10], [11, 12])
    cells = signal(1, None, None, None, None, 5)
    assert values(fill("PREVIOUS", line, cells, 3)) == [1, 1, 1, None, None, 5]
    assert values(fill("PREVIOUS", line, cells)) == [1, 1, 1, 1, None, 5]
    assert values(fill("NEAR", timeline([0, 5, 10]), signal("a", None, "b"))) == ["a", "a", "b"]


def test_lines_of_floats_integers_and_nothing_else() -> None:
    line = timeline([1, 2, 4, 5])
    assert values(fill_linear(line, signal(1.0, None, None, 2.0))) == [1.0, 1.25, 1.75, 2.0]
    assert values(fill_linear(line, signal(1.0, None, None, 2.0), 4)) == [1.0, 1.25, 1.75, 2.0]
    assert values(fill_linear(line, signal(1.0, None, None, 2.0), 3)) == [1.0, None, None, 2.0]
    # Integers are cut off, on both sides of zero.
    assert values(fill_linear(line, signal(1, None, None, 2))) == [1, 1, 1, 2]
    assert values(fill_linear(line, signal(-1, None, None, -2))) == [-1, -1, -1, -2]
    assert values(fill_linear(line, signal(True, None, None, False))) == [True, None, None, False]
    assert values(fill_linear(line, signal("a", None, None, "b"))) == ["a", None, None, "b"]
    moments = Signal(np.array([1, 0, 0, 9]), np.array([True, False, False, True]), is_time=True)
    assert values(fill_linear(line, moments)) == [1, None, None, 9]


def test_lines_are_exact_for_large_integers_and_kind_to_infinities() -> None:
    times = np.array([0, 3 * 10**18], np.int64)
    low, high = 2**62 - 1, 2**62 + 5
    found = on_line(np.array([low, high]), times, np.array([0]), np.array([1]), np.array([10**18]))
    assert found.tolist() == [low + 2]
    wide = on_line(
        np.array([-(2**63), 2**63 - 1]),
        times,
        np.array([0]),
        np.array([1]),
        np.array([15 * 10**17]),
    )
    assert wide.tolist() == [0]
    infinite = np.array([1.0, np.inf])
    both = np.array([0, 0]), np.array([1, 1])
    assert on_line(infinite, times, *both, times).tolist() == [1.0, np.inf]


@pytest.mark.parametrize(
    ("column", "constant", "expected"),
    [
        (signal(1, None), 1000, 1000),
        (signal(1.0, None), 1000, 1000.0),
        (signal("a", None), 1000, "1000"),
        (signal(True, None), 1000, None),
        (signal(1, None), 1.5, None),
        (signal(1.0, None), 1.5, 1.5),
        (signal("a", None), 1.5, "1.5"),
        (signal(True, None), True, True),
        (signal("a", None), True, "true"),
        (signal(1, None), True, None),
        (signal(1, None), "x", None),
        (signal("a", None), "x", "x"),
        (signal(1, None), 2**63, None),
    ],
)
def test_a_constant_fits_or_is_left_out(column: Signal, constant: Any, expected: Any) -> None:
    found = fitting(column, constant)
    assert (found, type(found)) == (expected, type(expected))


def test_a_constant_fits_neither_times_nor_bytes() -> None:
    moments = Signal(np.array([1, 0]), np.array([True, False]), is_time=True)
    assert fitting(moments, 5) is None
    assert fitting(Signal(np.array([b"a", None], object), np.array([True, False])), 5) is None


@pytest.mark.parametrize(
    ("column", "constant", "expected"),
    [
        (signal(1), 9, 9),
        (signal(1), 9.9, 9),
        (signal(1), "-12", -12),
        (signal(1), "9007199254740993", 2**53 + 1),
        (signal(1.0), "1e3", 1000.0),
        (signal(True), 0, False),
        (signal(True), "FALSE", False),
        (signal("a"), 5, "5"),
    ],
)
def test_a_constant_is_converted(column: Signal, constant: Any, expected: Any) -> None:
    found = converted(column, constant)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("column", "constant"),
    [(signal(1), "x"), (signal(True), "maybe"), (signal(1), 2**63), (signal(1), math.nan)],
)
def test_a_constant_that_is_none_is_named(column: Signal, constant: Any) -> None:
    with pytest.raises(SqlError, match="FILL") as caught:
        converted(column, constant)
    assert caught.value.hint


# Interpolation


def model_slice(
    moment: int, rows: list[tuple[int, Value]], filling: Filling
) -> tuple[Any, bool, int | None] | None:
    """(value, filled, origin), None for a moment that is left out."""
    if filling.ignores_null:
        rows = [row for row in rows if row[1] is not None]
    exact = [row for row in rows if row[0] == moment][-1:]
    if exact:
        return exact[0][1], False, moment
    before = [row for row in rows if row[0] < moment][-1:]
    after = [row for row in rows if row[0] > moment][:1]
    reach = filling.surround_ns
    if reach is not None:
        before = [row for row in before if moment - row[0] <= reach]
        after = [row for row in after if row[0] - moment <= reach]
    if filling.mode == "LINEAR" and before and after:
        (t0, low), (t1, high) = before[0], after[0]
        if low is None or high is None:
            return None, True, None
        return line_value(low, high, moment - t0, t1 - t0), True, None
    near = sorted([*before, *after], key=lambda row: abs(row[0] - moment))[:1]
    chosen = {"PREVIOUS": before, "NEXT": after, "NEAR": near}.get(filling.mode)
    if chosen:
        return chosen[0][1], True, chosen[0][0]
    if filling.mode in ("VALUE", "NULL") or (reach is not None and filling.constant is not None):
        return filling.constant, True, None
    return None


@st.composite
def fillings(draw: st.DrawFn) -> Filling:
    mode = draw(st.sampled_from(["PREVIOUS", "NEXT", "NEAR", "LINEAR", "VALUE", "NULL"]))
    constant = draw(st.sampled_from([None, 7])) if mode != "VALUE" else 7
    return Filling(
        mode,
        None if mode == "NULL" else constant,
        draw(st.one_of(st.none(), st.integers(0, 9))),
        draw(st.booleans()),
        is_forced=True,
    )


@settings(max_examples=150, deadline=None)
@given(filled_lines(), fillings(), st.integers(1, 9))
def test_interpolation_agrees_with_the_model(
    filled: tuple[Timeline, list[Value]], filling: Filling, step: int
) -> None:
    line, cells = filled
    moments = moments_every(-20, 20, (0, step))
    found = interpolate(line, signal(*cells), moments, filling)
    at = 0
    for rows in partitions_of(line):
        pairs = [(int(line.times[row]), cells[row]) for row in rows]
        for moment in moments.tolist():
            expected = model_slice(moment, pairs, filling)
            assert bool(found.is_there[at]) == (expected is not None)
            if expected is not None:
                cell = values(found.signal)[at]
                origin = values(found.origin)[at]
                is_copied = filling.mode in ("PREVIOUS", "NEXT", "NEAR") or not expected[1]
                assert (cell, bool(found.is_filled[at])) == expected[:2]
                assert not is_copied or origin == expected[2]
            at += 1


def test_moments_without_the_neighbour_they_need_are_left_out() -> None:
    line = timeline([5, 10], [])
    moments = moments_every(4, 12, (0, 2))
    there = interpolate(line, signal(50, 100), moments, Filling("PREVIOUS")).is_there
    assert there.tolist() == [False, True, True, True, True] + [False] * 5
    linear = interpolate(line, signal(50, 100), moments, Filling("LINEAR"))
    assert values(linear.signal)[1:4] == [60, 80, 100]
    assert linear.is_there[:5].tolist() == [False, True, True, True, False]
    # A partition without rows is filled only when that is forced.
    filled = interpolate(line, signal(50, 100), moments, Filling("VALUE", 1))
    assert filled.is_there.tolist() == [True] * 5 + [False] * 5
    forced = interpolate(line, signal(50, 100), moments, Filling("VALUE", 1, is_forced=True))
    assert forced.is_there.all()


def test_bounds_of_interpolation() -> None:
    with pytest.raises(SqlError, match="before"):
        moments_every(5, 4, (0, 1))
    with pytest.raises(SqlLimitError):
        moments_every(0, SLICES_MAX, (0, 1))
    lines = timeline(*([0] for _ in range(11)))
    moments = np.arange(SLICES_MAX // 10, dtype=np.int64)
    with pytest.raises(SqlLimitError):
        interpolate(lines, signal(*range(11)), moments, Filling("PREVIOUS"))
    with pytest.raises(SqlError, match="numbers"):
        interpolate(timeline([1]), signal("a"), moments[:1], Filling("LINEAR"))
