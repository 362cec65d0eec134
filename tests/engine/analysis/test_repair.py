"""Values put in: worked examples, what each method promises, and that good values stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library, speeds
from mainstem_engine.analysis.rows import Points, Signal, Timeline

SECOND = 10**9
TIMES_S = [2, 3, 4, 6, 8, 10, 14, 15, 16, 18, 20, 22, 26, 28, 30]
NAN = math.nan
HOLES = [NAN, 101, 102, 104, 126, 108, NAN, 113, 114, 116, NAN, NAN, 124, 126, 128]
WRONG = [100, 101, 102, 104, 126, 108, 112, 113, 114, 116, 118, 100, 124, 126, NAN]
RIGHT = [100, 101, 102, 104, 106, 108, 112, 113, 114, 116, 118, 120, 124, 126, 128]


def run(
    name: str,
    times_s: Sequence[float],
    values: Sequence[float | None],
    *,
    bounds: Sequence[int] = (),
    **options: Any,
) -> Points:
    rows = Timeline(
        np.array([round(time * SECOND) for time in times_s], np.int64),
        np.array(bounds or [0, len(times_s)], np.int64),
    )
    signal = Signal(
        np.array([0 if value is None else value for value in values], np.float64),
        np.array([value is not None for value in values], np.bool_),
    )
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, (signal,), bound)


def values_of(points: Points) -> list[float]:
    signal = points.signals[0]
    return [float(v) if ok else NAN for v, ok in zip(signal.values, signal.mask(), strict=True)]


def test_valuefill_previous_and_next() -> None:
    found = values_of(run("valuefill", TIMES_S, HOLES, method="previous"))
    assert math.isnan(found[0])
    assert [found[i] for i in (6, 10, 11)] == [108, 116, 116]
    found = values_of(run("valuefill", TIMES_S, HOLES, method="next"))
    assert [found[i] for i in (0, 6, 10, 11)] == [101, 113, 124, 124]


def test_valuefill_linear_runs_over_time_or_over_rows() -> None:
    found = values_of(run("valuefill", TIMES_S, HOLES))
    assert [found[i] for i in (0, 6, 10, 11)] == pytest.approx([101, 112, 118, 120])
    by_row = values_of(run("valuefill", TIMES_S, HOLES, by="row"))
    assert [by_row[i] for i in (0, 6, 10, 11)] == pytest.approx([101, 110.5, 356 / 3, 364 / 3])


@pytest.mark.parametrize(
    ("method", "values", "expected"),
    [
        ("mean", [NAN, 1, 3, NAN, 5, 7, NAN], [4, 1, 3, 4, 5, 7, 4]),
        ("ma", [NAN, 1, 3, NAN, 5, 7, NAN], [1, 1, 3, 2, 5, 7, 4]),
        ("ma", [1, 2, 3, 4, 5, 6, 7, NAN], [1, 2, 3, 4, 5, 6, 7, 5]),
        ("screen", [1, 2, NAN, 4, 5, NAN, NAN, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("likelihood", [1, 2, NAN, 4, 5, NAN, NAN, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_valuefill_methods(method: str, values: list[float], expected: list[float]) -> None:
    found = values_of(run("valuefill", range(len(values)), values, method=method))
    assert found == pytest.approx(expected)


def test_valuefill_autoregressive_fades_to_the_mean() -> None:
    wave = [math.sin(i / 5) for i in range(200)]
    values: list[float] = [*wave, *[NAN] * 30]
    found = np.array(values_of(run("valuefill", range(230), values, method="ar")))
    mean = np.mean(wave)
    away = np.abs(found[199:] - mean)
    assert (np.diff(away) < 0).all()
    assert away[-1] < away[0] * 0.7


def test_valuefill_likelihood_follows_the_speed_at_the_ends() -> None:
    found = values_of(run("valuefill", range(6), [NAN, 2, 4, 6, NAN, NAN], method="likelihood"))
    assert found == pytest.approx([0, 2, 4, 6, 8, 10])


def test_valuefill_likelihood_is_the_least_squares_answer() -> None:
    times, values = [0, 1, 2, 4, 8, 9], [0.0, 1, NAN, NAN, 9, 10]
    found = values_of(run("valuefill", times, values, method="likelihood"))
    speed = np.mean([1, 8 / 7, 1])

    def cost(first: float, second: float) -> float:
        moved = np.diff([1, first, second, 9]) / [1, 2, 4]
        return float(((moved - speed) ** 2).sum())

    best = cost(found[2], found[3])
    for a, b in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert cost(found[2] + a, found[3] + b) > best


def test_valuefill_fills_nulls_within_partitions_only() -> None:
    values = [None, 1.0, None, 3.0, None, None, math.inf, 5.0]
    found = run("valuefill", range(8), values, bounds=[0, 4, 6, 8], method="linear")
    assert values_of(found)[:4] == [1, 1, 2, 3]
    assert found.signals[0].mask()[4:6].tolist() == [False, False]
    assert values_of(found)[6:] == [5, 5]


@pytest.mark.parametrize("method", ["screen", "lsgreedy"])
def test_valuerepair_worked_example(method: str) -> None:
    found = values_of(run("valuerepair", TIMES_S, WRONG, method=method))
    assert found == pytest.approx(RIGHT)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(-50, 50)), min_size=2, max_size=30),
    st.integers(-5, 0),
    st.integers(0, 5),
)
def test_screen_keeps_speeds_in_bounds_and_good_values_as_they_are(
    readings: list[tuple[int, int]], slowest: int, fastest: int
) -> None:
    times = np.cumsum([step for step, _ in readings])
    values = np.array([value for _, value in readings], np.float64)
    options: dict[str, Any] = {"minspeed": float(slowest), "maxspeed": float(fastest)}
    repaired = values_of(run("valuerepair", times.tolist(), values.tolist(), **options))
    found = np.array(repaired, np.float64)
    moved = np.diff(found) / np.diff(times)
    assert (moved >= slowest - 1e-9).all()
    assert (moved <= fastest + 1e-9).all()
    again = values_of(run("valuerepair", times.tolist(), found.tolist(), **options))
    assert again == pytest.approx(found.tolist())


def test_screen_in_blocks_is_screen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([i * 37 % 23 for i in range(60)], np.float64)
    times = np.arange(60, dtype=np.int64) * SECOND
    whole = speeds.screen(times, values, -2.0, 3.0)
    monkeypatch.setattr(speeds, "BLOCK_ROWS", 7)
    assert speeds.screen(times, values, -2.0, 3.0).tolist() == whole.tolist()


def test_screen_outvotes_a_run_of_wrong_values() -> None:
    values = [float(i) for i in range(30)]
    wrong = [70.0, 71, 72, *values[3:12], 70.0, 71, 72, *values[15:]]
    assert values_of(run("valuerepair", range(30), wrong)) == pytest.approx(values)


def test_screen_between_bounds_that_cross_repairs_nothing() -> None:
    values = [1.0, 50, 2]
    options: dict[str, Any] = {"minspeed": 3.0, "maxspeed": 2.0}
    assert values_of(run("valuerepair", range(3), values, **options)) == values


def test_lsgreedy_leaves_likely_values() -> None:
    values = [0.0, 1, 4, 5, 8, 9, 12, 13, 16]
    found = values_of(run("valuerepair", range(9), values, method="lsgreedy", sigma=1.0))
    assert found == values
    values[4] = 60
    found = values_of(run("valuerepair", range(9), values, method="lsgreedy", sigma=1.0))
    assert found[4] == pytest.approx(7)
    assert found[:4] + found[5:] == values[:4] + values[5:]


@pytest.mark.parametrize("method", ["screen", "lsgreedy"])
def test_valuerepair_of_little(method: str) -> None:
    assert values_of(run("valuerepair", [], [], method=method)) == []
    assert values_of(run("valuerepair", [1], [5.0], method=method)) == [5]
    assert values_of(run("valuerepair", [1, 1, 1], [5.0, 7, 6], method=method)) == [5, 7, 6]
    found = run("valuerepair", [1, 2, 3], [None, NAN, 4.0], bounds=[0, 2, 3], method=method)
    assert found.signals[0].mask().tolist() == [False, True, True]
