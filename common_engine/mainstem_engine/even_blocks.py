"""Blocks that have a row in every window, of all devices together, added place by place.

Rows of a finer rollup are such, and so are samples at the pace of the question. Where every block
of a span begins follows from its first time: its values are added to a stretch of the windows,
without a time, a number or a group for any of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mainstem_engine.aggregation import Aggregation
from mainstem_engine.dense_windows import PIECES_PER_WINDOW_MIN, neutral
from mainstem_engine.model import AnyArray, TimesNs
from mainstem_engine.spans import Span, read_span
from mainstem_engine.view import TableView
from mainstem_engine.windows import (
    Pieces,
    Values,
    canonical,
    is_in_first_window,
    no_values,
    totals_of,
)

_SUM_MAX = 1 << 62
"""Sums of integers below this fit int64 whatever their order."""

Places = Sequence[tuple[slice, slice]]
"""Of each block: its windows, and its rows in the span."""


def pieces_of_even_span(view: TableView, span: Span, aggregation: Aggregation) -> Pieces | None:
    """A piece per window, sorted; None for a span that is not such, and for one with nulls. Its
    device is unspecified."""
    every = aggregation.every_ns
    if every is None or not _is_even(span, aggregation, every):
        return None
    part, numbers = span.part, span.numbers
    keys = [key for key in aggregation.wanted if key in part.types]
    if any(part.nulls(key)[numbers].any() for key in keys):
        return None
    index = part.blocks
    begin, sizes = index.time_min_ns[numbers], index.rows[numbers].astype(np.int64)
    numbered = begin // every
    first = int(numbered.min())
    count = int((numbered + sizes).max()) - first
    if count * PIECES_PER_WINDOW_MIN > int(sizes.sum()):
        return None
    places = _places((numbered - first).tolist(), sizes.tolist())
    rows = np.zeros(count, np.int64)
    for windows, _ in places:
        rows[windows] += 1
    some = np.flatnonzero(rows)
    window = (first + some) * every
    begins = ends = window
    if aggregation.row_times:
        begins, ends = _row_times(begin.tolist(), places, count, every)
        begins, ends = begins[some], ends[some]
    device = np.full(len(some), index.device_min.item(int(numbers[0])), np.uint32)
    pieces = Pieces(device, window, rows[some], begins, ends)
    columns = read_span(view, span, keys)
    for key, want in aggregation.wanted.items():
        if key not in columns:
            pieces.values[key] = no_values(want, len(some))
            continue
        values = columns[key].values
        found = pieces.values[key] = Values(pieces.rows)
        if want.extremes:
            found.low = canonical(_placed(_least(values), values, places, count)[some])
            found.high = canonical(_placed(np.maximum, values, places, count)[some])
        if want.total:
            found.total = _totals(values, places, count)[some]
    return pieces


def _is_even(span: Span, aggregation: Aggregation, every_ns: int) -> bool:
    """True for blocks of one device each that lie in the range, with a row in every window."""
    part, numbers = span.part, span.numbers
    if span.is_mixed or span.filters or aggregation.by_device:
        return False
    if len(numbers) < PIECES_PER_WINDOW_MIN:
        return False
    if any(want.ends for want in aggregation.wanted.values()):
        return False
    index = part.blocks
    begin, end = index.time_min_ns[numbers], index.time_max_ns[numbers]
    oldest = int(begin.min())
    if oldest < span.start_ns or end.max() >= span.end_ns or is_in_first_window(oldest, every_ns):
        return False
    rows = index.rows[numbers].astype(np.int64)
    return bool(((end - begin == (rows - 1) * every_ns) & (part.steps_ns(numbers) > 0)).all())


def _places(first_windows: Sequence[int], sizes: Sequence[int]) -> Places:
    places: list[tuple[slice, slice]] = []
    row = 0
    for window, size in zip(first_windows, sizes, strict=True):
        places.append((slice(window, window + size), slice(row, row + size)))
        row += size
    return places


def _row_times(
    begin_ns: Sequence[int], places: Places, count: int, every_ns: int
) -> tuple[TimesNs, TimesNs]:
    """Times of the first and the last row of each window that has some."""
    least: TimesNs = np.full(count, np.iinfo(np.int64).max)
    greatest: TimesNs = np.full(count, np.iinfo(np.int64).min)
    for first, (windows, _) in zip(begin_ns, places, strict=True):
        times = first + every_ns * np.arange(windows.stop - windows.start)
        np.minimum(least[windows], times, out=least[windows])
        np.maximum(greatest[windows], times, out=greatest[windows])
    return least, greatest


def _least(values: AnyArray) -> np.ufunc:
    """What finds the least; NaN only where nothing else is."""
    return np.fmin if values.dtype.kind == "f" and np.isnan(values).any() else np.minimum


def _placed(operation: np.ufunc, values: AnyArray, places: Places, count: int) -> AnyArray:
    if values.dtype == np.bool_:
        return _placed(operation, values.astype(np.int8), places, count).astype(np.bool_)
    result: AnyArray = np.full(count, neutral(operation, values.dtype), values.dtype)
    for windows, rows in places:
        some: Any = result[windows]
        operation(some, values[rows], out=some)
    return result


def _totals(values: AnyArray, places: Places, count: int) -> AnyArray:
    if values.dtype.kind == "f":
        # Infinities of both signs make NaN, which is the sum that SQL gives too.
        with np.errstate(invalid="ignore", over="ignore"):
            return _placed(np.add, values.astype(np.float64, copy=False), places, count)
    largest = max(abs(int(values.min())), abs(int(values.max())))
    if largest * len(places) < _SUM_MAX:
        return totals_of(_placed(np.add, values.astype(np.int64, copy=False), places, count))
    halves = totals_of(values)
    return np.stack([_placed(np.add, halves[:, at], places, count) for at in (0, 1)], axis=1)
