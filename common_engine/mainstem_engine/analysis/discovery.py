"""Stretches of rows that follow each other without a gap, over one column or several.

1. A row is *complete* when none of the columns is null or NaN. Rows that are not stand for nothing.
2. Complete rows are *consecutive* when they are exactly one ``gap`` apart. By default the gap is
   the commonest distance between the partition's complete rows, of several the shortest.
3. CONSECUTIVESEQUENCES: the longest stretches, a single row among them: at the first row's time,
   the number of rows.
4. CONSECUTIVEWINDOWS: every complete row that starts a stretch of at least ``length``; the number
   of rows in that length, ``length // gap + 1``. Windows overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.rows import (
    Mask,
    Points,
    Positions,
    Signal,
    Timeline,
    points_of_rows,
)

COLUMNS_MAX = 1_000
"""Columns that are looked at together."""


def consecutivesequences(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """int64: the rows of each stretch."""
    rows, ends, _ = _stretches(timeline, signals, options["gap"])
    first = np.flatnonzero(np.diff(ends, prepend=-1))
    lengths = ends[first] - first
    return points_of_rows(timeline, rows[first], Signal(lengths))


def consecutivewindows(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """int64: the rows of each window."""
    rows, ends, gaps = _stretches(timeline, signals, options["gap"])
    needed = options["length"] // np.maximum(gaps, 1) + 1
    starts = np.flatnonzero(ends - np.arange(len(rows)) >= needed)
    return points_of_rows(timeline, rows[starts], Signal(needed[starts]))


def _stretches(
    timeline: Timeline, signals: Sequence[Signal], gap: int | None
) -> tuple[Positions, Positions, Positions]:
    """The complete rows; for each the number of the complete row after its stretch; for each the
    gap of its partition."""
    complete = np.ones(len(timeline), np.bool_)
    for signal in signals:
        complete &= _has_value(signal)
    rows = np.flatnonzero(complete)
    bounds = np.searchsorted(rows, timeline.bounds)
    times = timeline.times[rows]
    gaps = np.zeros(len(rows), np.int64)
    opens = np.ones(len(rows), np.bool_)
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        steps = np.diff(times[begin:end])
        usual = _commonest(steps) if gap is None else gap
        gaps[begin:end] = usual
        opens[begin + 1 : end] = steps != usual
    begins = np.flatnonzero(opens)
    lengths = np.diff(np.append(begins, len(rows)))
    return rows, np.repeat(begins + lengths, lengths), gaps


def _commonest(steps: Positions) -> int:
    """Of those above zero: two devices of one partition may have one time."""
    values, counts = np.unique(steps[steps > 0], return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else 1


def _has_value(signal: Signal) -> Mask:
    mask = signal.mask()
    if signal.values.dtype.kind == "f":
        mask = mask & ~np.isnan(signal.values)
    return mask


_GAP = Parameter("gap", Kind.DURATION, None, low=1)

FUNCTIONS = (
    PointFunction(
        "consecutivesequences",
        consecutivesequences,
        columns=(1, COLUMNS_MAX),
        parameters=(_GAP,),
        takes_text=True,
    ),
    PointFunction(
        "consecutivewindows",
        consecutivewindows,
        columns=(1, COLUMNS_MAX),
        parameters=(Parameter("length", Kind.DURATION, low=1), _GAP),
        takes_text=True,
    ),
)
