"""Groups of blocks that several devices share, as block_groups.py has them of blocks of one.

1. The rows of such a span are by device and time, distinct, and need no merging: a group is a run
   of rows of one device and window. Where neither is asked for, all rows are one group.
2. Rows outside of the range, of other devices, or that a filter keeps back go before groups are
   made. The times are decoded only where somebody needs them.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.aggregation import Aggregation
from mainstem_engine.head import is_member
from mainstem_engine.merge import Index, lengths, run_starts
from mainstem_engine.model import BoolMask, Column, DeviceIds, TimesNs
from mainstem_engine.spans import Span, read_span
from mainstem_engine.view import TableView
from mainstem_engine.windows import ALL_TIMES, Pieces, no_values, values_of_rows, window_of


def pieces_of_mixed_span(view: TableView, span: Span, aggregation: Aggregation) -> Pieces | None:
    """The groups of a span; None when no row is kept."""
    part, numbers, wanted = span.part, span.numbers, aggregation.wanted
    index = part.blocks
    is_cut = bool(
        index.time_min_ns[numbers].min() < span.start_ns
        or index.time_max_ns[numbers].max() >= span.end_ns
    )
    device = part.read_devices(numbers)
    has_ends = any(want.ends for want in wanted.values())
    needs_time = is_cut or has_ends or aggregation.every_ns is not None or aggregation.row_times
    time = part.read_times(numbers) if needs_time else np.empty(0, np.int64)
    filtered = [item.measurement_id for item in span.filters]
    columns = read_span(view, span, [*dict.fromkeys([*filtered, *wanted])])
    keep = _kept(span, device, time if is_cut else None, columns)
    if keep is not None:
        kept = np.flatnonzero(keep)
        if not len(kept):
            return None
        columns = {key: columns[key].take(kept) for key in wanted if key in columns}
        device, time = device[kept], time[kept] if needs_time else time
    is_one = aggregation.every_ns is None and not aggregation.by_device and not has_ends
    if is_one:
        starts, window = np.zeros(1, np.intp), np.full(1, ALL_TIMES, np.int64)
    else:
        starts, window = _groups(device, time, aggregation.every_ns)
    rows = lengths(starts, len(device))
    begin, end = (time[starts], time[starts + rows - 1]) if needs_time else (window, window)
    if is_one and needs_time:
        begin, end = time.min(keepdims=True), time.max(keepdims=True)
    pieces = Pieces(device[starts], window, rows, begin, end)
    for key, want in wanted.items():
        column = columns.get(key)
        pieces.values[key] = (
            no_values(want, len(starts))
            if column is None
            else values_of_rows(column, time, starts, rows, want)
        )
    return pieces


def _kept(
    span: Span, device: DeviceIds, time: TimesNs | None, columns: dict[int, Column]
) -> BoolMask | None:
    """Which rows take part; None: all. ``time``: None where all are in the range."""
    keep: BoolMask = np.ones(len(device), np.bool_)
    if time is not None:
        keep &= (time >= span.start_ns) & (time < span.end_ns)
    if span.devices is not None:
        keep &= is_member(device, span.devices)
    for item in span.filters:
        keep &= item.passes(columns.get(item.measurement_id), len(device))
    return None if keep.all() else keep


def _groups(device: DeviceIds, time: TimesNs, every_ns: int | None) -> tuple[Index, TimesNs]:
    """(first row, window) of each group."""
    if every_ns is not None:
        window = window_of(time, every_ns)
        starts = run_starts(device, window)
        return starts, window[starts]
    starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
    return starts, np.full(len(starts), ALL_TIMES, np.int64)
