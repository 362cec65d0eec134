"""Functions of analysis called as a statement calls them: by name, with parameters as written."""

from __future__ import annotations

from typing import Any

import numpy as np

from mainstem_engine.analysis import library
from mainstem_engine.analysis.function import Written, bind
from mainstem_engine.analysis.rows import Points, Signal, Timeline

MS = 1_000_000
Found = list[tuple[int, int, Any]]


def parse_duration(text: str) -> int:
    """Whole seconds, as in 5s; a plain number is in ms."""
    if text.isdecimal():
        return int(text) * MS
    return int(text.removesuffix("s")) * 1_000_000_000


def run(name: str, line: Timeline, signal: Signal, *positional: Any, **named: Any) -> Points:
    """The points; checks that they are well formed."""
    function = library.point_function(name)
    assert function is not None
    options = bind(
        function,
        Written(positional, tuple(named.items())),
        parse_duration=parse_duration,
        parse_time=lambda text: int(text) * MS,
    )
    points = function.run(line, [signal], options)
    assert points.times.dtype == np.int64
    assert len(points.bounds) == len(line.bounds)
    assert points.bounds[0] == 0
    assert points.bounds[-1] == len(points.times)
    if points.rows is not None:
        assert np.array_equal(line.times[points.rows], points.times)
    if function.keeps_rows:
        assert points.rows is not None
        assert np.array_equal(points.rows, np.arange(len(line)))
    return points


def call(name: str, line: Timeline, signal: Signal, *positional: Any, **named: Any) -> Found:
    """(partition, time in ms, value or None) of each point."""
    points = run(name, line, signal, *positional, **named)
    found = points.signals[0]
    partitions = np.repeat(np.arange(len(points.bounds) - 1), np.diff(points.bounds))
    values = [
        value if there else None
        for value, there in zip(found.values.tolist(), found.mask(), strict=True)
    ]
    return list(zip(partitions.tolist(), (points.times // MS).tolist(), values, strict=True))


def values_of(found: Found) -> list[Any]:
    return [value for _, _, value in found]


def at(found: Found) -> list[tuple[int, Any]]:
    """(time in ms, value), for a timeline of one partition."""
    return [(time, value) for _, time, value in found]
