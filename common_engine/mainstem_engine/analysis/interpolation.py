"""Values of a column at given moments, between its rows: INTERP over RANGE and EVERY.

1. A moment at which there is a row has that row's value and is not filled; of several rows at one
   time the last one counts.
2. ``PREVIOUS``, ``NEXT`` and ``NEAR`` copy a row's value, ``LINEAR`` draws a line between the rows
   before and after. A moment without the neighbours that it needs is left out.
3. With ``surround_ns`` a neighbour further away than that is none; the moment then has the
   constant, if there is one.
4. ``VALUE`` and ``NULL`` fill every moment. In a partition without rows they fill none, unless
   they are forced.
5. Rows whose value is null count as rows, unless they are ignored.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.analysis.fills import converted, nearer
from mainstem_engine.analysis.local_time import (
    CLOCK_CHANGE_NS,
    NS_PER_DAY,
    CalendarStep,
    Duration,
    LocalTime,
    Span,
)
from mainstem_engine.analysis.neighbours import is_number, on_line, rows_around
from mainstem_engine.analysis.rows import Mask, Positions, Signal, Timeline
from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.model import AnyArray, TimesNs

_INT64 = np.iinfo(np.int64)
SLICES_MAX = 10_000_000
"""Moments of all partitions; a column of them takes 80 MB."""


@dataclass(frozen=True, slots=True)
class Filling:
    """``mode``: PREVIOUS, NEXT, NEAR, LINEAR, VALUE or NULL. ``constant``: of VALUE, or where there
    is no neighbour near enough. ``is_forced``: partitions without rows are filled too."""

    mode: str
    constant: Any = None
    surround_ns: int | None = None
    ignores_null: bool = False
    is_forced: bool = False


@dataclass(frozen=True, slots=True)
class Slices:
    """Beside the moments of every partition, one after the other: ``signal``; ``is_filled``;
    ``origin``, the time of the row that a value was copied from; ``is_there``: False for moments
    that are left out."""

    signal: Signal
    is_filled: Mask
    origin: Signal
    is_there: Mask


def moments_every(start_ns: int, end_ns: int, step: Span, zone: dt.tzinfo = dt.UTC) -> TimesNs:
    """Moments from start to end, inclusive; steps of months and days are those of the calendar in
    the zone, reckoned from the start. Raises SqlError and SqlLimitError."""
    step = Duration(*step)
    shortest_ns = step.months * 28 * NS_PER_DAY + step.ns
    if step.is_local:
        shortest_ns -= CLOCK_CHANGE_NS
    if start_ns > end_ns:
        raise SqlError(
            "RANGE ends before it starts", field="RANGE", hint="write RANGE(first, last)"
        )
    if start_ns < _INT64.min or end_ns > _INT64.max:
        raise SqlError(
            "RANGE is beyond what times can be", field="RANGE", hint="times are from 1677 to 2262"
        )
    count = (end_ns - start_ns) // shortest_ns + 1
    if count > SLICES_MAX:
        raise SqlLimitError(
            f"RANGE has more than {SLICES_MAX} moments", hint="use a longer EVERY or less of RANGE"
        )
    numbers = np.arange(count, dtype=np.int64)
    if not step.is_local:
        return start_ns + step.ns * numbers
    local = LocalTime(zone, start_ns, end_ns)
    origin = np.full(count, start_ns, np.int64)
    moments = local.add(origin, CalendarStep.of(step).times(numbers))
    return moments[moments <= end_ns]


def interpolate(timeline: Timeline, signal: Signal, moments: TimesNs, filling: Filling) -> Slices:
    """The values at ``moments`` (ascending) in every partition. Raises SqlError for a line between
    values that are no numbers, SqlLimitError above SLICES_MAX."""
    if filling.mode == "LINEAR" and not is_number(signal):
        raise SqlError(
            "INTERP draws lines between numbers only",
            field="FILL",
            hint="use FILL(PREV) or FILL(NEXT) for other types",
        )
    if len(moments) * timeline.partitions > SLICES_MAX:
        raise SqlLimitError(
            f"INTERP makes more than {SLICES_MAX} rows",
            hint="use a longer EVERY, less of RANGE, or fewer partitions",
        )
    present = np.arange(len(timeline), dtype=np.int64)
    if filling.ignores_null:
        present = present[signal.mask()]
    before, after = rows_around(timeline, present, moments)
    all_moments = np.tile(moments, timeline.partitions)
    return _filled(timeline, signal, filling, all_moments, before, after)


def _filled(
    timeline: Timeline,
    signal: Signal,
    filling: Filling,
    moments: TimesNs,
    before: Positions,
    after: Positions,
) -> Slices:
    times = timeline.times
    exact = (before >= 0) & (_times_at(times, before) == moments)
    if filling.surround_ns is not None:
        before = np.where(moments - _times_at(times, before) <= filling.surround_ns, before, -1)
        after = np.where(_times_at(times, after) - moments <= filling.surround_ns, after, -1)
    rows = _rows(times, moments, before, after, filling.mode)
    rows = np.where(exact, before, rows)
    has_source = rows >= 0
    values = signal.take(rows)
    if filling.mode == "LINEAR":
        values, has_source = _line(times, signal, moments, exact, before, after)
        rows = np.where(exact, rows, -1)
    is_there = has_source.copy()
    takes_constant = ~has_source & (filling.mode in ("VALUE", "NULL") or _has_constant(filling))
    if not filling.is_forced:
        count = len(moments) // max(timeline.partitions, 1)
        takes_constant &= np.repeat(np.diff(timeline.bounds) > 0, count)
    is_there |= takes_constant
    if filling.constant is not None:
        made = values.values.copy()
        made[takes_constant] = converted(signal, filling.constant)
        values = Signal(made, values.mask() | takes_constant, signal.is_time)
    origin = Signal(_times_at(times, rows), rows >= 0, is_time=True)
    return Slices(values, ~exact, origin, is_there)


def _has_constant(filling: Filling) -> bool:
    return filling.surround_ns is not None and filling.constant is not None


def _rows(
    times: TimesNs, moments: TimesNs, before: Positions, after: Positions, mode: str
) -> Positions:
    """The row whose value is copied, -1 for none."""
    if mode == "PREVIOUS":
        return before
    if mode == "NEXT":
        return after
    if mode == "NEAR":
        return nearer(times, before, after, moments) if len(times) else before
    return np.full(len(moments), -1, np.int64)


def _line(
    times: TimesNs,
    signal: Signal,
    moments: TimesNs,
    exact: Mask,
    before: Positions,
    after: Positions,
) -> tuple[Signal, Mask]:
    """Values on the line, null where an end is null; and where both ends are there."""
    between = (before >= 0) & (after >= 0) & ~exact
    mask = signal.mask()
    low, high = before[between], after[between]
    values: AnyArray = np.zeros(len(moments), signal.values.dtype)
    valid = np.zeros(len(moments), np.bool_)
    values[between] = on_line(signal.values, times, low, high, moments[between])
    valid[between] = mask[low] & mask[high]
    values[exact] = signal.values[before[exact]]
    valid[exact] = mask[before[exact]]
    return Signal(values, valid), between | exact


def _times_at(times: TimesNs, rows: Positions) -> TimesNs:
    """The times of rows; of no row, any."""
    if len(times) == 0:
        return np.zeros(len(rows), np.int64)
    found: TimesNs = times[np.maximum(rows, 0)]
    return found
