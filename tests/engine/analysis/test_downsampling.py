"""Fewer points that draw the same curve: M4 against a slow model, the others by what they keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import downsampling
from mainstem_engine.analysis.function import Ns
from mainstem_engine.analysis.rows import Signal, Timeline
from mainstem_engine.errors import SqlError

from .calls import MS, Found, at, call, run
from .timelines import partitions_of, signal, timeline, timelines

TIMES = [1, 2, 5, 8, 10, 20, 25, 27, 30, 33, 35, 40, 45, 52, 54]
VALUES = [5.0, 15.0, 10.0, 8.0, 30.0, 20.0, 8.0, 20.0, 40.0, 9.0, 10.0, 20.0, 30.0, 8.0, 18.0]

numbers: st.SearchStrategy[Any] = st.none() | st.integers(-3, 3)


def corners(values: list[Any], rows: list[int]) -> set[int]:
    """First, last, lowest, highest, none of them for what another shows already."""
    found = {rows[0], rows[-1]} if rows else set()
    for extreme in (min, max):
        if rows and values[rows[-1]] != extreme(values[row] for row in rows):
            found.add(extreme(rows, key=lambda row: values[row]))
    return found


def expected_points(line: Timeline, values: list[Any], kept: set[int]) -> Found:
    return [
        (partition, int(line.times[row]) // MS, values[row])
        for partition, rows in enumerate(partitions_of(line))
        for row in rows
        if row in kept
    ]


def test_m4_of_windows_of_time() -> None:
    line = timeline(TIMES, tick=MS)
    window = {"timeInterval": "25", "displayWindowBegin": "0", "displayWindowEnd": "100"}
    found = at(call("m4", line, signal(*VALUES), **window))
    assert [time for time, _ in found] == [1, 10, 20, 25, 30, 45, 52, 54]
    assert at(
        call("m4", line, signal(*VALUES), timeInterval=Ns(25 * MS), displayWindowEnd="3")
    ) == [
        (1, 5.0),
        (2, 15.0),
    ]


def test_m4_of_windows_of_points() -> None:
    found = at(call("m4", timeline(TIMES, tick=MS), signal(*VALUES), windowSize="10"))
    assert [time for time, _ in found] == [1, 30, 33, 35, 45, 52, 54]


@given(
    line=timelines(tick=MS),
    data=st.data(),
    size=st.integers(1, 6),
    step=st.none() | st.integers(1, 8),
)
def test_m4_of_points_as_a_model_has_it(
    line: Timeline, data: st.DataObject, size: int, step: int | None
) -> None:
    values = data.draw(st.lists(numbers, min_size=len(line), max_size=len(line)))
    kept: set[int] = set()
    for rows in partitions_of(line):
        known = [row for row in rows if values[row] is not None]
        for begin in range(0, len(known), step or size):
            kept |= corners(values, known[begin : begin + size])
    options = {} if step is None else {"slidingStep": str(step)}
    found = call("m4", line, signal(*values), windowSize=size, **options)
    assert found == expected_points(line, values, kept)


@pytest.mark.parametrize("piece_rows", [downsampling.PIECE_ROWS, 3])
@given(
    line=timelines(tick=MS),
    data=st.data(),
    interval=st.integers(1, 30),
    step=st.none() | st.integers(1, 40),
    begin=st.none() | st.integers(-70, 70),
    end=st.none() | st.integers(-70, 70),
)
def test_m4_of_time_as_a_model_has_it(
    piece_rows: int,
    line: Timeline,
    data: st.DataObject,
    interval: int,
    step: int | None,
    begin: int | None,
    end: int | None,
) -> None:
    values = data.draw(st.lists(numbers, min_size=len(line), max_size=len(line)))
    times = (line.times // MS).tolist()
    kept: set[int] = set()
    for rows in partitions_of(line):
        known = [row for row in rows if values[row] is not None]
        if not known:
            continue
        start = times[known[0]] if begin is None else begin
        shown = [row for row in known if start <= times[row] and (end is None or times[row] < end)]
        while shown and start <= times[shown[-1]]:
            kept |= corners(
                values, [row for row in shown if start <= times[row] < start + interval]
            )
            start += step or interval
    options: dict[str, Any] = {"timeInterval": interval}
    options |= {} if step is None else {"slidingStep": step}
    options |= {} if begin is None else {"displayWindowBegin": str(begin)}
    options |= {} if end is None else {"displayWindowEnd": str(end)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downsampling, "PIECE_ROWS", piece_rows)
        found = call("m4", line, signal(*values), **options)
    assert found == expected_points(line, values, kept)


def test_m4_needs_one_kind_of_window() -> None:
    line = timeline([1, 2])
    for options in ({}, {"windowSize": 2, "timeInterval": 2}):
        with pytest.raises(SqlError, match="windowSize or timeInterval"):
            call("m4", line, signal(1, 2), **options)
    with pytest.raises(SqlError, match="number of points"):
        call("m4", line, signal(1, 2), windowSize=2, slidingStep=Ns(MS))


def test_m4_bounds_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downsampling, "WINDOWS_MAX", 100)
    line = timeline([0, 1000], tick=MS)
    with pytest.raises(SqlError, match="more than 100 windows"):
        call("m4", line, signal(1, 2), timeInterval=1000, slidingStep=1)
    # Windows without a row cost nothing.
    assert len(call("m4", line, signal(1, 2), timeInterval=2, slidingStep=1)) == 2


def test_a_sliding_window_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downsampling, "WINDOWS_MAX", 4)
    line = timeline(list(range(20)), tick=MS)
    assert call("m4", line, signal(*range(20)), timeInterval=10, slidingStep=5)


def wave(points: int) -> tuple[Timeline, np.ndarray[Any, np.dtype[np.float64]]]:
    return timeline(list(range(points)), tick=MS), np.sin(np.arange(points) / 50.0)


@pytest.mark.parametrize("name", ["lttb", "minmaxlttb"])
def test_triangles_keep_the_ends_and_as_many_points_as_asked(name: str) -> None:
    line, values = wave(5_000)
    points = run(name, line, Signal(values), 100)
    assert points.rows is not None
    assert len(points.rows) == 100
    assert (points.rows[0], points.rows[-1]) == (0, 4_999)
    assert np.array_equal(points.signals[0].values, values[points.rows])


def test_lttb_keeps_a_spike() -> None:
    line, values = wave(5_000)
    values[3_333] = 50.0
    for name in ("lttb", "minmaxlttb", "minmax_downsample"):
        points = run(name, line, Signal(values), 20)
        assert points.rows is not None
        assert 3_333 in points.rows, name


def test_extremes_of_equal_spans() -> None:
    line = timeline([0, 1, 2, 3, 4, 5, 6, 7], tick=MS)
    column = signal(1, 9, 5, 2, 7, 3, 8, 4)
    assert [time for time, _ in at(call("minmax_downsample", line, column, 5))] == [0, 1, 5, 6]


@pytest.mark.parametrize("name", ["lttb", "minmaxlttb", "minmax_downsample"])
def test_partitions_are_downsampled_apart_without_nulls(name: str) -> None:
    line, values = wave(1_000)
    alone = at(call(name, line, Signal(values), 10))
    spoiled = np.concatenate((values, [np.nan], values, [0.0]))
    valid = np.ones(len(spoiled), np.bool_)
    valid[-1] = False
    times = np.concatenate((line.times, [1_000 * MS], line.times, [1_000 * MS]))
    both = Timeline(times, np.array([0, 1_001, 1_001, 2_002]))
    found = call(name, both, Signal(spoiled, valid), 10)
    assert [(p, time, value) for p, time, value in found if p == 0] == [(0, *p) for p in alone]
    assert [(p, time, value) for p, time, value in found if p == 2] == [(2, *p) for p in alone]


@pytest.mark.parametrize("name", ["lttb", "minmaxlttb", "minmax_downsample"])
def test_times_far_from_1970_do_not_lose_their_digits(name: str) -> None:
    line, values = wave(1_000)
    near = run(name, Timeline(line.times // MS, line.bounds), Signal(values), 50)
    far = run(name, Timeline(line.times // MS + 2**61, line.bounds), Signal(values), 50)
    assert near.rows is not None
    assert far.rows is not None
    assert np.array_equal(near.rows, far.rows)


def test_a_curve_needs_numbers_and_three_points() -> None:
    line = timeline([0, 1])
    with pytest.raises(SqlError, match="text"):
        call("lttb", line, signal("a", "b"), 3)
    with pytest.raises(SqlError, match="at least 3"):
        call("lttb", line, signal(1, 2), 2)
    assert call("lttb", line, signal(None, math.nan), 3) == []


@given(
    line=timelines(rows_max=40),
    data=st.data(),
    points=st.integers(4, 12),
    ratio=st.integers(2, 7),
)
def test_any_curve_and_any_number_of_points(
    line: Timeline, data: st.DataObject, points: int, ratio: int
) -> None:
    """The library ends the process's thread for what it does not expect."""
    odd = st.sampled_from([0.0, 1.0, -2.5, 1e308, -1e308, math.inf, -math.inf, math.nan])
    values = data.draw(st.lists(odd, min_size=len(line), max_size=len(line)))
    column = Signal(np.array(values, np.float64))
    for name in ("lttb", "minmaxlttb", "minmax_downsample"):
        options = {"ratio": ratio} if name == "minmaxlttb" else {}
        found = run(name, line, column, points, **options)
        assert int(np.diff(found.bounds).max()) <= points
