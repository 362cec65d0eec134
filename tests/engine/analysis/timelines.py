"""Timelines for tests, and the slow models that windows are compared with."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st

from mainstem_engine.analysis.rows import Signal, Timeline, Windows


def timeline(*partitions: list[int], tick: int = 1) -> Timeline:
    """One partition per list of times."""
    times = [time * tick for partition in partitions for time in partition]
    bounds = np.cumsum([0, *(len(partition) for partition in partitions)])
    return Timeline(np.array(times, np.int64), bounds.astype(np.int64))


def signal(*values: object) -> Signal:
    """None is null; text makes an array of objects."""
    valid = np.array([value is not None for value in values], np.bool_)
    known = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in known):
        array = np.array([value if value is not None else "" for value in values], object)
    elif known and all(isinstance(value, bool) for value in known):
        array = np.array([bool(value) for value in values], np.bool_)
    elif any(isinstance(value, float) for value in known):
        array = np.array([0.0 if value is None else value for value in values], np.float64)
    else:
        array = np.array([0 if value is None else value for value in values], np.int64)
    return Signal(array, None if valid.all() else valid)


def values(found: Signal) -> list[Any]:
    """None is null."""
    known = found.mask().tolist()
    return [
        value if is_known else None for value, is_known in zip(found.values, known, strict=True)
    ]


def partitions_of(line: Timeline) -> list[list[int]]:
    """The row numbers of each partition."""
    bounds = line.bounds.tolist()
    return [list(range(a, b)) for a, b in itertools.pairwise(bounds)]


def rows_of(windows: Windows) -> list[tuple[int, list[int]]]:
    """(partition, rows) of each window."""
    return [
        (int(p), list(range(int(a), int(b))))
        for p, a, b in zip(windows.partition, windows.begin, windows.end, strict=True)
    ]


@st.composite
def timelines(
    draw: st.DrawFn, low: int = -60, high: int = 60, tick: int = 1, rows_max: int = 12
) -> Timeline:
    """Up to three partitions, some of them empty, with repeated times."""
    moments = st.lists(st.integers(low, high), max_size=rows_max).map(sorted)
    return timeline(*draw(st.lists(moments, min_size=1, max_size=3)), tick=tick)


@st.composite
def signals(draw: st.DrawFn, rows: int, values: st.SearchStrategy[object]) -> Signal:
    """A signal of so many rows."""
    return signal(*draw(st.lists(values, min_size=rows, max_size=rows)))
