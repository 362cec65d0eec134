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


def previous_source(timeline: Timeline, present: Mask, limit_ns: int | None) -> Positions:
    """int64[n]: the row whose value each row takes, itself where it has one, -1 for none: here the
    last one before."""
    return _within(timeline, previous_rows(timeline, present), limit_ns)


def next_source(timeline: Timeline, present: Mask, limit_ns: int | None) -> Positions:
    """The first one after."""
    return _within(timeline, next_rows(timeline, present), limit_ns)


def near_source(timeline: Timeline, present: Mask, limit_ns: int | None) -> Positions:
    """The one that is nearest in time."""
    before, after = previous_rows(timeline, present), next_rows(timeline, present)
    rows = nearer(timeline.times, before, after, timeline.times) if len(timeline) else before
    return _within(timeline, rows, limit_ns)


SOURCES = {"PREVIOUS": previous_source, "NEXT": next_source, "NEAR": near_source}
"""Fills that copy, by their names in FILL."""


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
