"""The nearest values before and after: of every row, or of moments between rows.

1. Positions are rows of the whole timeline; -1 where the partition has no such row.
2. A straight line between two values of an integer column is cut off to an integer, exactly, as
   both peers do; other numbers are interpolated as float64.
"""

from __future__ import annotations

import itertools

import numpy as np

from mainstem_engine.analysis.rows import Mask, Positions, Signal, Timeline
from mainstem_engine.model import AnyArray, TimesNs

_INT64_MAX = 2**63 - 1


def previous_rows(timeline: Timeline, present: Mask) -> Positions:
    """int64[n]: the last row at or before each row that is present, within its partition."""
    rows = np.where(present, np.arange(len(timeline), dtype=np.int64), -1)
    found: Positions = np.maximum.accumulate(rows) if len(rows) else rows
    first = np.repeat(timeline.bounds[:-1], np.diff(timeline.bounds))
    return np.where(found >= first, found, -1)


def next_rows(timeline: Timeline, present: Mask) -> Positions:
    """int64[n]: the first row at or after each row that is present, within its partition."""
    count = len(timeline)
    rows = np.where(present, np.arange(count, dtype=np.int64), count)
    found: Positions = np.minimum.accumulate(rows[::-1])[::-1] if count else rows
    end = np.repeat(timeline.bounds[1:], np.diff(timeline.bounds))
    return np.where(found < end, found, -1)


def rows_around(
    timeline: Timeline, present: Positions, moments: TimesNs
) -> tuple[Positions, Positions]:
    """(row at or before, row at or after) each moment in every partition, int64 of the length of
    ``moments`` times partitions. ``present``: int64[k] ascending, the rows that count."""
    edges = np.searchsorted(present, timeline.bounds)
    pairs = [
        _rows_of_partition(timeline.times, present[low:high], moments)
        for low, high in itertools.pairwise(edges)
    ]
    none = np.zeros(0, np.int64)
    before = np.concatenate([pair[0] for pair in pairs]) if pairs else none
    after = np.concatenate([pair[1] for pair in pairs]) if pairs else none
    return before, after


def _rows_of_partition(
    times: TimesNs, present: Positions, moments: TimesNs
) -> tuple[Positions, Positions]:
    known = times[present]
    before = np.searchsorted(known, moments, "right") - 1
    after = np.searchsorted(known, moments, "left")
    if len(present) == 0:
        none = np.full(len(moments), -1, np.int64)
        return none, none.copy()
    last = len(present) - 1
    at_or_before = np.where(before >= 0, present[np.maximum(before, 0)], -1)
    at_or_after = np.where(after <= last, present[np.minimum(after, last)], -1)
    return at_or_before.astype(np.int64), at_or_after.astype(np.int64)


def on_line(
    values: AnyArray, times: TimesNs, before: Positions, after: Positions, moments: TimesNs
) -> AnyArray:
    """The value at each moment on the line between two rows, all >= 0. Same dtype as ``values``,
    int64 or float64. Rows of one time have the value of the first."""
    span = times[after] - times[before]
    passed = np.where(span > 0, moments - times[before], 0)
    span = np.maximum(span, 1)
    low, high = values[before], values[after]
    if values.dtype.kind != "i":
        # Weights of both ends, and not a slope: infinities and large values stay as they are.
        share = passed / span
        with np.errstate(invalid="ignore"):  # infinities follow IEEE 754
            line = low * (1.0 - share) + high * share
        return np.where(passed == 0, low, np.where(passed == span, high, line))
    return _integers_on_line(low.astype(np.int64), high.astype(np.int64), passed, span)


def _integers_on_line(low: AnyArray, high: AnyArray, passed: AnyArray, span: AnyArray) -> AnyArray:
    """low + (high - low) * passed / span, cut off towards zero. Exact."""
    largest = float(np.abs(high.astype(np.float64) - low.astype(np.float64)).max(initial=0.0))
    if largest * float(passed.max(initial=0)) >= _INT64_MAX / 2:
        # Python's integers, for the few columns whose products do not fit 64 bits.
        low, high, passed, span = (part.astype(object) for part in (low, high, passed, span))
    product = (high - low) * passed
    floor = low + product // span
    has_rest = product % span != 0
    cut = floor + np.logical_and(has_rest, np.less(floor, 0)).astype(np.int64)
    line: AnyArray = cut.astype(np.int64)
    return line


def is_number(signal: Signal) -> bool:
    """True for integers and floats; a time, a boolean or a text has no line."""
    return signal.values.dtype.kind in "if" and not signal.is_time
