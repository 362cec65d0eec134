"""Series with equal steps: worked examples, and promises of the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library
from mainstem_engine.analysis.rows import Points, Signal, Timeline
from mainstem_engine.errors import SqlLimitError

SECOND = 10**9
MINUTE = 60 * SECOND
JITTER_S = [0, 10, 19, 30, 40, 50, 61, 71, 81, 91]
QUARTERS = [3.09, 3.53, 3.5, 3.51, 3.41]


def run(
    name: str,
    times_s: Sequence[float],
    values: Sequence[float],
    *,
    bounds: Sequence[int] = (),
    **options: Any,
) -> Points:
    rows = Timeline(
        np.array([round(time * SECOND) for time in times_s], np.int64),
        np.array(bounds or [0, len(times_s)], np.int64),
    )
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, (Signal(np.array(values, np.float64)),), bound)


def table(points: Points) -> list[tuple[float, float]]:
    return list(
        zip((points.times / SECOND).tolist(), points.signals[0].values.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    "options",
    [{"interval": -10_000}, {"interval": 10 * SECOND}]
    + [{"method": method} for method in ("median", "mode", "cluster")],
)
def test_timestamprepair(options: dict[str, Any]) -> None:
    found = run("timestamprepair", JITTER_S, range(1, 11), **options)
    assert table(found) == [(10 * i, i + 1) for i in range(10)]


def test_timestamprepair_estimates_from_the_largest_cluster() -> None:
    gaps = [9.0, 9.4, 9.8, 10, 10.3, 10.7, 11, 20, 20, 20, 40, 1]
    times = [0, *np.cumsum(gaps).tolist()]
    found = run("timestamprepair", times, range(len(times)), method="cluster")
    assert np.diff(found.times)[0] == 10 * SECOND


def test_timestamprepair_leaves_nan_where_readings_are_lost() -> None:
    found = run("timestamprepair", [0, 10, 41, 50, 61], [1, 2, 3, 4, 5], interval=-10_000)
    times = (found.times / SECOND).tolist()
    assert times == [0, 10, 20, 30, 40, 50, 60]
    assert np.isnan(found.signals[0].values).tolist() == [False] * 2 + [True] * 2 + [False] * 3


def test_timestamprepair_of_two_on_one_place() -> None:
    found = run("timestamprepair", [0, 10, 28, 31, 40], [1, 2, 3, 4, 5], interval=-10_000)
    assert table(found) == [(0, 1), (10, 2), (20, 3), (30, 4), (40, 5)]
    rivals = run("timestamprepair", [0, 3, 18, 20, 30], [1, 2, 3, 4, 5], interval=-10_000)
    assert table(rivals) == [(0, 1), (10, 3), (20, 4), (30, 5)]
    full = run("timestamprepair", [0, 10, 18, 20, 23, 30], [1, 2, 3, 4, 5, 6], interval=-10_000)
    assert table(full) == [(0, 1), (10, 2), (20, 4), (30, 6)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.integers(1, 9))
def test_timestamprepair_is_a_grid_and_keeps_the_order(steps: list[int], interval: int) -> None:
    times = np.cumsum(steps).tolist()
    found = run("timestamprepair", times, range(len(times)), interval=interval * SECOND)
    assert set(np.diff(found.times).tolist()) <= {interval * SECOND}
    kept = found.signals[0].values[~np.isnan(found.signals[0].values)].astype(int)
    assert (np.diff(kept) > 0).all()
    at = found.times[~np.isnan(found.signals[0].values)] / SECOND
    assert (np.abs(at - np.array(times)[kept]) <= 1.5 * interval).all()
    origins = set((np.array(times) * SECOND - found.times[0]) // SECOND // interval)
    assert len(kept) >= len(origins) / 2


def test_timestamprepair_of_little() -> None:
    found = run("timestamprepair", [5, 7, 8, 8], [1, 2, 3, 4], bounds=[0, 0, 1, 2, 4])
    assert found.bounds.tolist() == [0, 0, 1, 2, 4]
    assert table(found) == [(5, 1), (7, 2), (8, 3), (8, 4)]
    with pytest.raises(SqlLimitError, match="would make"):
        run("timestamprepair", [0, 10_000_000], [1, 2], interval=-1)


def quarters(**options: Any) -> list[tuple[float, float]]:
    return table(run("resample", [900 * i for i in range(5)], QUARTERS, **options))


def test_resample_upwards() -> None:
    found = quarters(every=5 * MINUTE, interp="linear")
    assert [time for time, _ in found] == [300 * i for i in range(13)]
    assert [value for _, value in found][:4] == pytest.approx(
        [3.09, 3.09 + 0.44 / 3, 3.09 + 0.88 / 3, 3.53]
    )
    steps = [value for _, value in quarters(every=5 * MINUTE, interp="ffill")]
    assert steps == [value for value in QUARTERS[:4] for _ in range(3)] + [3.41]
    steps = [value for _, value in quarters(every=5 * MINUTE, interp="bfill")]
    assert steps == [3.09] + [value for value in QUARTERS[1:] for _ in range(3)]


@pytest.mark.parametrize(
    ("aggr", "expected"),
    [
        ("mean", [3.31, 3.505, 3.41]),
        ("first", [3.09, 3.5, 3.41]),
        ("last", [3.53, 3.51, 3.41]),
        ("min", [3.09, 3.5, 3.41]),
        ("max", [3.53, 3.51, 3.41]),
        ("median", [3.31, 3.505, 3.41]),
    ],
)
def test_resample_downwards(aggr: str, expected: list[float]) -> None:
    found = quarters(every=30 * MINUTE, aggr=aggr)
    assert [time for time, _ in found] == [0, 1800, 3600]
    assert [value for _, value in found] == pytest.approx(expected)


def test_resample_from_an_earlier_start_to_an_excluded_end() -> None:
    found = quarters(every=30 * MINUTE, start=-3600 * SECOND)
    assert [time for time, _ in found] == [-3600, -1800, 0, 1800, 3600]
    assert [value for _, value in found] == pytest.approx(
        [math.nan, math.nan, 3.31, 3.505, 3.41], nan_ok=True
    )
    found = quarters(every=30 * MINUTE, start=900 * SECOND, end=3600 * SECOND)
    assert found == [(900, pytest.approx(3.515)), (2700, 3.51)]
    outside = quarters(every=30 * MINUTE, start=-3600 * SECOND, interp="linear")
    assert math.isnan(outside[1][1])


def test_resample_of_nothing_and_of_too_much() -> None:
    found = run("resample", [1, 2], [math.nan, 4.0], bounds=[0, 1, 2], every=SECOND)
    assert found.bounds.tolist() == [0, 0, 1]
    empty = run("resample", [], [], every=SECOND, start=0, end=3 * SECOND)
    assert np.isnan(empty.signals[0].values).tolist() == [True] * 3
    with pytest.raises(SqlLimitError, match="would make"):
        run("resample", [0, 10_000_000], [1, 2], every=1_000_000)
