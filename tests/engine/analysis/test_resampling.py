"""Signals on one grid: what is held, drawn as a line, or counted, and what is preserved."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.local_time import Duration
from mainstem_engine.analysis.resampling import (
    CELLS_MAX,
    NS_PER_S,
    Grid,
    default_method,
    hold,
    line,
    make_grid,
    rate,
)
from mainstem_engine.errors import SqlError, SqlLimitError

from .timelines import signal, timeline, values

HOUR_NS = 3600 * NS_PER_S
DAY_NS = 24 * HOUR_NS


def ns(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp()) * NS_PER_S


def grid(*edges: int) -> Grid:
    return Grid(np.array(edges, np.int64))


def test_the_grid_is_multiples_of_the_step() -> None:
    assert make_grid(7, 21, Duration(0, 5)).edges.tolist() == [10, 15, 20, 25]
    assert make_grid(-7, 6, Duration(0, 5)).edges.tolist() == [-5, 0, 5, 10]
    assert make_grid(10, 20, Duration(0, 5)).moments.tolist() == [10, 15]
    assert len(make_grid(11, 14, Duration(0, 5)).moments) == 0
    assert len(make_grid(20, 10, Duration(0, 5)).moments) == 0


@pytest.mark.parametrize(
    ("step", "start", "end", "expected"),
    [
        (
            Duration(0, DAY_NS),
            "2026-03-28T05:00+01:00",
            "2026-03-30T05:00+02:00",
            ["2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", "2026-03-31T00:00+02:00"],
        ),
        (
            Duration(0, 7 * DAY_NS),
            "2026-03-25T00:00+01:00",
            "2026-04-06T00:00+02:00",
            ["2026-03-30T00:00+02:00", "2026-04-06T00:00+02:00"],
        ),
        (
            Duration(1, 0),
            "2026-01-31T12:00+01:00",
            "2026-03-02T00:00+01:00",
            ["2026-02-01T00:00+01:00", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"],
        ),
        (
            Duration(3, 0),
            "2026-01-01T00:00+01:00",
            "2026-04-02T00:00+02:00",
            ["2026-01-01T00:00+01:00", "2026-04-01T00:00+02:00", "2026-07-01T00:00+02:00"],
        ),
    ],
)
def test_days_weeks_and_months_are_local(
    step: Duration, start: str, end: str, expected: list[str]
) -> None:
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    assert make_grid(ns(start), ns(end), step, zone).edges.tolist() == [ns(t) for t in expected]


def test_24_hours_are_no_day() -> None:
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    step = Duration(0, DAY_NS, is_exact=True)
    assert make_grid(1, DAY_NS + 1, step, zone).edges.tolist() == [DAY_NS, 2 * DAY_NS]


def test_a_grid_is_bounded() -> None:
    with pytest.raises(SqlLimitError):
        make_grid(0, CELLS_MAX + 1, Duration(0, 1))
    with pytest.raises(SqlError, match="months"):
        make_grid(0, 5, Duration(1, 1))


def test_values_are_held_until_they_are_too_old() -> None:
    found = timeline([0, 10, 20], [5])
    cells = signal("a", None, "c", "z")
    assert values(hold(found, cells, grid(-1, 0, 12, 25, 30), None)) == [
        *(None, "a", "a", "c"),
        *(None, None, "z", "z"),
    ]
    limited = values(hold(found, cells, grid(0, 12, 25, 30), 12))
    assert limited == ["a", "a", "c", None, "z", None]


def test_lines_bridge_gaps_up_to_their_limit() -> None:
    found = timeline([0, 10, 30])
    cells = signal(0.0, 10.0, 30.0)
    edges = grid(-5, 0, 5, 20, 30, 40)
    assert values(line(found, cells, edges, None)) == [None, 0.0, 5.0, 20.0, 30.0]
    assert values(line(found, cells, edges, 10)) == [None, 0.0, 5.0, None, 30.0]
    assert values(line(found, signal(0, None, 3), edges, None)) == [None, 0, 0, 2, 3]
    with pytest.raises(SqlError, match="LINEAR"):
        line(found, signal(True, True, False), edges, None)


def test_rates_are_per_second_and_survive_resets() -> None:
    minutes = timeline([0, 900, 1800], tick=NS_PER_S)
    cells = signal(100.0, 190.0, 45.0)
    edges = grid(*(second * NS_PER_S for second in range(0, 2100, 300)))
    found = values(rate(minutes, cells, edges, None))
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05])
    uncovered = grid(*(second * NS_PER_S for second in range(-300, 2400, 300)))
    assert values(rate(minutes, cells, uncovered, None))[0] is None
    assert values(rate(minutes, cells, uncovered, None))[-1] is None
    assert values(rate(minutes, cells, edges, 800 * NS_PER_S)) == [None] * 6
    assert None not in values(rate(minutes, cells, edges, 900 * NS_PER_S))
    assert values(rate(timeline([5]), signal(1), grid(0, 10), None)) == [None]


@st.composite
def counters(draw: st.DrawFn) -> tuple[list[int], list[float | None]]:
    times = draw(st.lists(st.integers(0, 100), min_size=2, max_size=12, unique=True))
    rises = draw(
        st.lists(st.one_of(st.none(), st.integers(0, 50)), min_size=len(times), max_size=len(times))
    )
    total, readings = 0.0, []
    for rise in rises:
        total += rise or 0
        readings.append(None if rise is None else total)
    return sorted(times), readings


@settings(max_examples=100, deadline=None)
@given(counters(), st.integers(1, 9))
def test_rates_times_lengths_add_up_to_the_rise(
    counter: tuple[list[int], list[float | None]], step: int
) -> None:
    times, readings = counter
    known = [(t, r) for t, r in zip(times, readings, strict=True) if r is not None]
    edges = grid(*(t * NS_PER_S for t in range(-step, 110, step)))
    found = rate(
        timeline(times, tick=NS_PER_S),
        signal(*readings, 0.5).take(np.arange(len(times))),
        edges,
        None,
    )
    covered = [i for i, value in enumerate(values(found)) if value is not None]
    assert covered == list(range(covered[0], covered[-1] + 1)) if covered else True
    for i in range(len(edges.moments)):
        begin, end = edges.edges[i] // NS_PER_S, edges.edges[i + 1] // NS_PER_S
        is_covered = len(known) > 1 and begin >= known[0][0] and end <= known[-1][0]
        assert (i in covered) == is_covered
    if covered:
        first, last = edges.edges[covered[0]], edges.edges[covered[-1] + 1]
        moments, reached = (np.array(part, np.float64) for part in zip(*known, strict=True))
        at = np.interp([first / NS_PER_S, last / NS_PER_S], moments, reached)
        total = sum(float(found.values[i]) * step for i in covered)
        assert total == pytest.approx(at[1] - at[0])


@pytest.mark.parametrize(
    ("cells", "preferred", "method"),
    [
        ((1.5,), None, "LINEAR"),
        ((1,), None, "PREVIOUS"),
        (("a",), None, "PREVIOUS"),
        ((1,), "RATE", "RATE"),
        ((True,), "LINEAR", "PREVIOUS"),
    ],
)
def test_the_method_of_a_column_that_names_none(
    cells: tuple[Any, ...], preferred: str | None, method: str
) -> None:
    assert default_method(signal(*cells), preferred) == method
