"""Lines through holes: between readings, at the ends, and never from one window to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mainstem_engine.analysis.holes import filled_along_lines
from mainstem_engine.analysis.readings import Readings

NAN = math.nan


def filled(
    times: Sequence[int],
    values: Sequence[float],
    window: Sequence[int] = (),
    *,
    level: bool = False,
) -> list[float]:
    count = len(times)
    readings = Readings(
        np.array(times, np.int64),
        np.array(values, np.float64),
        np.array(window or [0] * count, np.int64),
        1 + max(window, default=0),
        np.arange(count),
    )
    found: list[float] = filled_along_lines(readings, level=level).tolist()
    return found


def test_lines_run_over_time_and_go_on_at_the_ends() -> None:
    times, values = [0, 1, 3, 4, 8, 9, 12], [NAN, 1.0, 3, NAN, 8, math.inf, -math.inf]
    assert filled(times, values) == pytest.approx([0, 1, 3, 4, 8, 9, 12])
    assert filled(times, values, level=True) == pytest.approx([1, 1, 3, 4, 8, 8, 8])


def test_windows_are_apart() -> None:
    values = [NAN, 2.0, NAN, 5, 7, NAN, NAN, 1]
    found = filled(range(8), values, [0, 0, 1, 1, 1, 2, 3, 3])
    assert found == pytest.approx([2, 2, 3, 5, 7, NAN, 1, 1], nan_ok=True)


def test_readings_of_one_time_have_no_line_between_them() -> None:
    assert filled([5, 5, 5], [1.0, NAN, 3]) == [1, 1, 3]
    assert filled([5, 5, 6], [1.0, 3, NAN]) == [1, 3, 1]


def test_nothing_to_fill_and_nothing_to_fill_from() -> None:
    assert filled([], []) == []
    assert filled([1, 2], [3.0, 4]) == [3, 4]
    assert np.isnan(filled([1, 2], [NAN, NAN])).all()
