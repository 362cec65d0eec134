"""Row by row: whether a value is within bounds. Null where the value is null."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.exact import compare
from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.rows import Points, Signal, Timeline, points_of_rows


def on_off(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """bool, one value per row: whether it reaches ``threshold``."""
    (signal,) = signals
    found = compare(np.greater_equal, signal.values, options["threshold"])
    return points_of_rows(timeline, np.arange(len(timeline)), Signal(found, signal.valid))


def in_range(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """bool, one value per row: whether it is from ``lower`` to ``upper``, both included."""
    (signal,) = signals
    found = compare(np.greater_equal, signal.values, options["lower"])
    found &= compare(np.less_equal, signal.values, options["upper"])
    return points_of_rows(timeline, np.arange(len(timeline)), Signal(found, signal.valid))


FUNCTIONS = (
    PointFunction(
        "on_off",
        on_off,
        parameters=(Parameter("threshold", Kind.NUMBER),),
        keeps_rows=True,
    ),
    PointFunction(
        "in_range",
        in_range,
        parameters=(Parameter("lower", Kind.NUMBER), Parameter("upper", Kind.NUMBER)),
        keeps_rows=True,
    ),
)
