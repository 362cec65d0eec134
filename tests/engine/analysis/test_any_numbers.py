"""Functions of quality, profiles, anomalies, repair and likeness: whatever the numbers are, answers
have the form that is promised, and a refusal is an SqlError."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest

from mainstem_engine.analysis.function import REQUIRED, Function, Parameter, PointFunction
from mainstem_engine.analysis.rows import Points, Signal, Timeline, Windows
from mainstem_engine.errors import SqlError

MODULES = (
    *("anomalies", "convolution", "correlation", "density", "discovery", "frequency", "matching"),
    *("order_statistics", "profiling", "quality", "regular_times", "repair", "segment", "spline"),
)
FUNCTIONS: list[Function] = [
    function
    for module in MODULES
    for function in importlib.import_module(f"mainstem_engine.analysis.{module}").FUNCTIONS
]
VALUES: dict[str, Any] = {
    "r": 2.0,
    "wpass": 0.3,
    "points": 5,
    "every": 3,
    "length": 2,
    "window": 4,
    "interval": 2,
}
"""Parameters that have no default, or one that is too large for a few rows."""

FLOATS = [0.0, 1.0, -2.5, 7.0, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf]
WHOLE = [*range(-3, 4), 2**63 - 1, -(2**63)]
CASES = 60
"""Per function; a case takes some hundred microseconds."""


def any_line(random: np.random.Generator) -> Timeline:
    lengths = random.integers(0, 10, random.integers(1, 4))
    times = [np.cumsum(random.integers(0, 5, length)) for length in lengths]
    bounds = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return Timeline(np.concatenate(times).astype(np.int64), bounds)


def any_signal(random: np.random.Generator, count: int) -> Signal:
    kinds = (np.array(FLOATS), np.array(WHOLE, np.int64), np.array([False, True]))
    values = random.choice(kinds[random.integers(3)], count)
    valid = random.random(count) < 0.8 if random.random() < 0.7 else None
    return Signal(values, valid)


def value_of(parameter: Parameter) -> Any:
    if parameter.default is REQUIRED or parameter.name in ("every", "interval"):
        return VALUES[parameter.name]
    return parameter.default


def check_points(function: PointFunction, line: Timeline, points: Points) -> None:
    count = len(points.times)
    assert points.bounds[[0, -1]].tolist() == [0, count]
    assert len(points.bounds) == len(line.bounds)
    assert (np.diff(points.bounds) >= 0).all()
    assert all(len(signal) == len(signal.mask()) == count for signal in points.signals)
    for begin, end in zip(points.bounds[:-1], points.bounds[1:], strict=True):
        assert (np.diff(points.times[begin:end]) >= 0).all()
    if function.keeps_rows:
        assert points.times.tolist() == line.times.tolist()
    if points.rows is not None:
        assert points.times.tolist() == line.times[points.rows].tolist()


def check_answer(
    function: Function, line: Timeline, columns: list[Signal], options: dict[str, Any]
) -> None:
    try:
        if isinstance(function, PointFunction):
            check_points(function, line, function.run(line, columns, options))
            return
        begin = np.minimum(line.bounds[:-1] + 1, line.bounds[1:])
        partition = np.arange(line.partitions)
        windows = Windows(begin, line.bounds[1:], partition, begin, begin, begin)
        found = function.run(line, columns, windows, options)
    except SqlError as error:
        if error.field != function.name:
            raise
        return
    assert len(found) == len(found.mask()) == len(windows)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f"{type(f).__name__}-{f.name}")
def test_answers_have_their_form(function: Function) -> None:
    random = np.random.default_rng(len(function.name))
    for _ in range(CASES):
        line = any_line(random)
        columns = [any_signal(random, len(line)) for _ in range(max(function.columns[0], 1))]
        options = {parameter.name: value_of(parameter) for parameter in function.parameters}
        for parameter in function.parameters:
            if parameter.choices and random.random() < 0.5:
                options[parameter.name] = str(random.choice(parameter.choices))
        with np.errstate(all="ignore"):  # as walks do
            check_answer(function, line, columns, options)
