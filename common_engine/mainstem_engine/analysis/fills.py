"""Filling nulls of a column from its neighbours in time, or with a constant.

1. A null is filled from its own partition and column only, by time. Ages and distances are
   inclusive: a value exactly ``limit_ns`` away is used.
2. ``previous`` and ``next`` copy values of any type, ``near`` the nearer of both, the earlier one
   when both are as near. ``linear`` draws a line between numbers and never goes beyond the first
   and last value; other types stay null.
3. A constant fills columns that its type fits (``fitting``), or is converted to the type of the
   column (``converted``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mainstem_engine.analysis.neighbours import is_number, next_rows, on_line, previous_rows
from mainstem_engine.analysis.rows import Mask, Positions, Signal, Timeline
from mainstem_engine.errors import SqlError

Constant = bool | int | float | str
_INT64 = range(-(2**63), 2**63)
_WORDS = {"true": True, "false": False, "1": True, "0": False}


def fill_previous(timeline: Timeline, signal: Signal, limit_ns: int | None = None) -> Signal:
    """Nulls take the last value before them."""
    return signal.take(_within(timeline, previous_rows(timeline, signal.mask()), limit_ns))


def fill_next(timeline: Timeline, signal: Signal, limit_ns: int | None = None) -> Signal:
    """Nulls take the first value after them."""
    return signal.take(_within(timeline, next_rows(timeline, signal.mask()), limit_ns))


def fill_near(timeline: Timeline, signal: Signal, limit_ns: int | None = None) -> Signal:
    """Nulls take the value that is nearest in time."""
    before = previous_rows(timeline, signal.mask())
    after = next_rows(timeline, signal.mask())
    rows = nearer(timeline.times, before, after, timeline.times)
    return signal.take(_within(timeline, rows, limit_ns))


def fill_linear(timeline: Timeline, signal: Signal, limit_ns: int | None = None) -> Signal:
    """Nulls between two numbers, at most ``limit_ns`` apart, lie on the line between them."""
    if not is_number(signal):
        return signal
    mask = signal.mask()
    before, after = previous_rows(timeline, mask), next_rows(timeline, mask)
    between = ~mask & (before >= 0) & (after >= 0)
    if limit_ns is not None:
        between[between] &= (
            timeline.times[after[between]] - timeline.times[before[between]] <= limit_ns
        )
    values = signal.values.copy()
    values[between] = on_line(
        values, timeline.times, before[between], after[between], timeline.times[between]
    )
    return Signal(values, mask | between, signal.is_time)


FILLS = {
    "PREVIOUS": fill_previous,
    "NEXT": fill_next,
    "NEAR": fill_near,
    "LINEAR": fill_linear,
}
"""The fills from neighbours by their names in FILL."""


def fill_constant(signal: Signal, value: Any) -> Signal:
    """Nulls become ``value``, of the type of the signal; None leaves them."""
    if value is None:
        return signal
    mask = signal.mask()
    values = signal.values.copy()
    values[~mask] = value
    return Signal(values, None, signal.is_time)


def fitting(signal: Signal, constant: Constant) -> Any:
    """The constant as a value of the signal, None where its type does not fit: whole numbers fit
    numbers, others fit floats, and everything fits text as it is written."""
    kind = signal.values.dtype.kind
    if kind == "O":
        return _text(constant) if not _is_binary(signal) else None
    if signal.is_time or isinstance(constant, str):
        return None
    if isinstance(constant, bool) or kind == "b":
        return constant if isinstance(constant, bool) and kind == "b" else None
    if kind == "f":
        return float(constant)
    is_whole = isinstance(constant, int) and constant in _INT64
    return constant if is_whole else None


def converted(signal: Signal, constant: Constant) -> Any:
    """The constant as a value of the signal. Raises SqlError where there is none."""
    kind = signal.values.dtype.kind
    try:
        if kind == "O" and not _is_binary(signal):
            return _text(constant)
        if kind == "b":
            return _WORDS[constant.lower()] if isinstance(constant, str) else bool(constant)
        if kind == "f":
            return float(constant)
        if kind == "i" and not signal.is_time:
            # Text of a whole number is read exactly, any other by way of a float.
            is_exact = isinstance(constant, int) or str(constant).lstrip("+-").isdecimal()
            number = int(constant) if is_exact else math.trunc(float(constant))
            if number in _INT64:
                return number
    except (ValueError, KeyError, OverflowError):
        pass
    raise SqlError(
        f"FILL cannot put {constant!r} into a column of another type",
        field="FILL",
        hint="write one value per column, or NULL for those that stay",
    )


def nearer(times: Any, before: Positions, after: Positions, moments: Any) -> Positions:
    """Of the rows before and after, the one that is nearer to each moment; -1 where neither is."""
    to_before = moments - times[np.maximum(before, 0)]
    to_after = times[np.maximum(after, 0)] - moments
    takes_before = (before >= 0) & ((after < 0) | (to_before <= to_after))
    found: Positions = np.where(takes_before, before, after)
    return found


def _within(timeline: Timeline, rows: Positions, limit_ns: int | None) -> Positions:
    """Rows that are not further from the row they fill than the limit."""
    if limit_ns is None or len(rows) == 0:
        return rows
    distance = np.abs(timeline.times - timeline.times[np.maximum(rows, 0)])
    near: Mask = (rows >= 0) & (distance <= limit_ns)
    return np.where(near, rows, -1)


def _is_binary(signal: Signal) -> bool:
    present = signal.values[signal.mask()]
    return len(present) > 0 and isinstance(present[0], bytes)


def _text(constant: Constant) -> str:
    if isinstance(constant, bool):
        return "true" if constant else "false"
    return str(constant)
