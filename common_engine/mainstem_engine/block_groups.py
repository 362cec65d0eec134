"""Groups of blocks that are already what a merge would make of them, without making their rows.

1. The caller vouches for every block: distinct, lone, not deleted, not expired. Blocks are cut into
   *spans* that are decoded on all cores; small answers on the caller's thread. Blocks of several
   devices have spans of their own (mixed_groups.py).
2. Where a window begins inside a block follows from the first time and the step when its times are
   in equal steps: they are not decoded. Otherwise they are, and a change of window is looked for.
3. A filter keeps some rows of a span; groups without a row that is kept are no groups. A block that
   the range of the question cuts is filtered by time in the same way.
4. Of all devices together, blocks with a row in every window are added place by place
   (even_blocks.py).
5. The values of a span are reduced group after group, then forgotten: what is held are groups.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mainstem_engine.aggregation import Aggregation
from mainstem_engine.columns import widened_values
from mainstem_engine.dense_windows import merge_dense
from mainstem_engine.even_blocks import pieces_of_even_span
from mainstem_engine.merge import Index, lengths
from mainstem_engine.mixed_groups import pieces_of_mixed_span
from mainstem_engine.model import BoolMask, TimesNs
from mainstem_engine.part.reader import THREADED_ROWS_MIN, BlockNumbers, Part, in_steps
from mainstem_engine.part.workers import THREADS, submit
from mainstem_engine.sources import PartBlocks
from mainstem_engine.spans import Span, read_span, spans_of
from mainstem_engine.value_filter import ValueFilter
from mainstem_engine.view import TableView
from mainstem_engine.windows import (
    ALL_TIMES,
    Pieces,
    is_in_first_window,
    no_values,
    values_of_rows,
    window_of,
)

if TYPE_CHECKING:
    from mainstem_engine.scan import Selection

SPAN_ROWS = 1 << 16
"""Rows of one span: a few hundred microseconds of decoding, half a MB for each column."""
SPAN_ROWS_MIN = 1 << 12
"""However little memory there is: for smaller ones the Python around them would take over."""
IN_FLIGHT = THREADS + 2
"""Spans that are decoded, wait for a thread, or wait for the caller."""
ROW_BYTES = 40
"""Of a row of a span: its time, its window and what a filter makes of it."""
VALUE_BYTES = 18
"""Of a value of a span: decoded, with its validity, and once more where rows are filtered."""


@dataclass(slots=True)
class _Groups:
    """g groups of neighbouring rows of a span: group k has the rows from starts[k] up to the next.

    ``block``: which block of the span each is of. ``begin_ns``, ``end_ns``: its first, last row's.
    """

    starts: Index
    block: Index
    rows: npt.NDArray[np.int64]
    window: TimesNs
    begin_ns: TimesNs
    end_ns: TimesNs


def iterate_groups(
    view: TableView, found: Sequence[PartBlocks], aggregation: Aggregation, selection: Selection
) -> Iterator[Pieces]:
    """Groups of blocks that the caller vouches for, of the devices and the range of ``selection``;
    groups of one block come together, and each block's in order. Not every iteration has to have
    some."""
    if sum(item.rows for item in found) < THREADED_ROWS_MIN:
        for few in spans_of(found, aggregation, selection, THREADED_ROWS_MIN):
            if pieces := pieces_of_span(view, few, aggregation):
                yield pieces
        return
    keys = {*aggregation.wanted, *(item.measurement_id for item in aggregation.filters)}
    row_bytes = ROW_BYTES + VALUE_BYTES * len(keys)
    share = None if view.memory is None else view.memory.limit_of("scan")
    span_rows = SPAN_ROWS
    if share is not None:
        span_rows = min(SPAN_ROWS, max(SPAN_ROWS_MIN, share // (row_bytes * IN_FLIGHT)))
    spans = list(spans_of(found, aggregation, selection, span_rows))
    rows = sum(int(s.part.blocks.rows[s.numbers].sum(dtype=np.int64)) for s in spans)
    if view.memory is None:
        yield from _in_parallel(view, spans, aggregation)
    else:
        # Taken here and not by the threads: they must never wait for one who waits for them.
        with view.memory.reserve("scan", min(rows, span_rows * IN_FLIGHT) * row_bytes):
            yield from _in_parallel(view, spans, aggregation)


def passing(found: Sequence[PartBlocks], filters: Sequence[ValueFilter]) -> list[PartBlocks]:
    """Without the blocks of which no row passes all filters, by their statistics."""
    kept: list[PartBlocks] = []
    for item in found:
        some = np.ones(len(item.numbers), np.bool_)
        for wanted in filters:
            some &= ~wanted.of_blocks(item.part, item.numbers)[1]
        if some.any():
            kept.append(item if some.all() else replace(item, numbers=item.numbers[some]))
    return kept


def _in_parallel(
    view: TableView, spans: Sequence[Span], aggregation: Aggregation
) -> Iterator[Pieces]:
    waiting: deque[Future[Pieces | None]] = deque()
    try:
        for item in spans:
            waiting.append(submit(pieces_of_span, view, item, aggregation))
            if len(waiting) == IN_FLIGHT and (pieces := waiting.popleft().result()):
                yield pieces
        while waiting:
            if pieces := waiting.popleft().result():
                yield pieces
    finally:
        for task in waiting:
            task.cancel()


def pieces_of_span(view: TableView, span: Span, aggregation: Aggregation) -> Pieces | None:
    """The groups of a span, those of several devices merged where that is quick; None when no row
    is kept."""
    pieces = pieces_of_even_span(view, span, aggregation)
    if pieces is not None:
        return pieces
    found = pieces_of_mixed_span if span.is_mixed else _pieces_of_span
    pieces = found(view, span, aggregation)
    if pieces is None or aggregation.by_device or aggregation.every_ns is None:
        return pieces
    return merge_dense(pieces, aggregation.every_ns, row_times=aggregation.row_times)


def _pieces_of_span(view: TableView, span: Span, aggregation: Aggregation) -> Pieces | None:
    part, numbers = span.part, span.numbers
    index = part.blocks
    sizes = index.rows[numbers].astype(np.int64)
    total = int(sizes.sum())
    wanted = aggregation.wanted
    is_cut = bool(
        index.time_min_ns[numbers].min() < span.start_ns
        or index.time_max_ns[numbers].max() >= span.end_ns
    )
    steps = part.steps_ns(numbers) if aggregation.every_ns is not None else None
    in_steps = steps is not None and bool(steps.all())
    keeps_some = is_cut or bool(span.filters)
    has_ends = any(want.ends for want in wanted.values())
    needs_time = is_cut or has_ends or (aggregation.every_ns is not None and not in_steps)
    needs_time = needs_time or (keeps_some and aggregation.row_times)
    time = part.read_times(numbers) if needs_time else np.empty(0, np.int64)
    if aggregation.every_ns is None:
        groups = _one_each(part, numbers, sizes)
    elif steps is not None and in_steps:
        groups = _groups_of_steps(part, numbers, sizes, steps, aggregation.every_ns)
    else:
        groups = _groups_of_times(time, sizes, aggregation.every_ns)
    filtered = {item.measurement_id for item in span.filters}
    columns = read_span(view, span, [*dict.fromkeys([*filtered, *wanted])])
    if keeps_some:
        keep: BoolMask = np.ones(total, np.bool_)
        if is_cut:
            keep = (time >= span.start_ns) & (time < span.end_ns)
        for item in span.filters:
            keep &= item.passes(columns.get(item.measurement_id), total)
        kept = np.flatnonzero(keep)
        if not len(kept):
            return None
        if len(kept) < total:
            columns = {key: columns[key].take(kept) for key in wanted if key in columns}
            time = time[kept] if needs_time else time
            groups = _kept(groups, keep, time if needs_time else None)
    device = index.device_min[numbers[groups.block]]
    pieces = Pieces(device, groups.window, groups.rows, groups.begin_ns, groups.end_ns)
    for key, want in wanted.items():
        column = columns.get(key)
        pieces.values[key] = (
            no_values(want, len(groups.starts))
            if column is None
            else values_of_rows(column, time, groups.starts, groups.rows, want)
        )
    return pieces


def pieces_of_block(
    view: TableView, part: Part, number: int, aggregation: Aggregation
) -> Pieces | None:
    """The groups of one block of one device, all of whose rows take part; None where they are not
    some windows of a block in equal steps. What is asked most often, and with less ado."""
    every_ns = aggregation.every_ns
    if every_ns is None or aggregation.filters:
        return None
    index, step = part.blocks, part.step_ns(number)
    first, last = index.time_min_ns.item(number), index.time_max_ns.item(number)
    if not 0 < step <= every_ns or first // every_ns == last // every_ns:
        return None
    if is_in_first_window(first, every_ns):
        return None
    groups = _groups_of_block(part, number, step, every_ns)
    wanted = aggregation.wanted
    has_ends = any(want.ends for want in wanted.values())
    time = in_steps(first, last, step) if has_ends else np.empty(0, np.int64)
    columns = part.read_block(number, wanted)
    device = np.full(len(groups.starts), index.device_min.item(number), np.uint32)
    pieces = Pieces(device, groups.window, groups.rows, groups.begin_ns, groups.end_ns)
    for key, want in wanted.items():
        column = columns.get(key)
        if column is None:
            pieces.values[key] = no_values(want, len(groups.starts))
            continue
        column.values = widened_values(column.values, want.type)
        pieces.values[key] = values_of_rows(column, time, groups.starts, groups.rows, want)
    return pieces


def _one_each(part: Part, numbers: BlockNumbers, sizes: npt.NDArray[np.int64]) -> _Groups:
    """Every block is a group."""
    index = part.blocks
    return _Groups(
        np.cumsum(sizes) - sizes,
        np.arange(len(sizes)),
        sizes,
        np.full(len(sizes), ALL_TIMES, np.int64),
        index.time_min_ns[numbers],
        index.time_max_ns[numbers],
    )


def _groups_of_steps(
    part: Part,
    numbers: BlockNumbers,
    sizes: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
    every_ns: int,
) -> _Groups:
    """Windows of blocks whose times are in equal steps."""
    if is_in_first_window(int(part.blocks.time_min_ns[numbers].min()), every_ns):
        return _groups_of_times(part.read_times(numbers), sizes, every_ns)
    if len(numbers) == 1 and steps[0] <= every_ns:
        return _groups_of_block(part, int(numbers[0]), int(steps[0]), every_ns)
    first, last = part.blocks.time_min_ns[numbers], part.blocks.time_max_ns[numbers]
    windows = last // every_ns - first // every_ns + 1
    if bool((steps == every_ns).all()):
        return _rows_as_groups(part, numbers, sizes, every_ns)
    # Of windows that are shorter than a step most have no row: then each row has its own.
    count = np.where(steps > every_ns, sizes, windows)
    block = np.repeat(np.arange(len(sizes)), count)
    number = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    step, begin = steps[block], first[block]
    window = (begin // every_ns + number) * every_ns
    row = np.where(step > every_ns, number, np.maximum(-((begin - window) // step), 0))
    begin += row * step
    if bool((steps > every_ns).any()):
        window = begin // every_ns * every_ns
    starts = (np.cumsum(sizes) - sizes)[block] + row
    rows = lengths(starts, int(sizes.sum()))
    return _Groups(starts, block, rows, window, begin, begin + (rows - 1) * step)


def _rows_as_groups(
    part: Part, numbers: BlockNumbers, sizes: npt.NDArray[np.int64], every_ns: int
) -> _Groups:
    """Of blocks with a row in every window, as those of rollups have."""
    time = part.read_times(numbers)
    aligned = not (part.blocks.time_min_ns[numbers] % every_ns).any()
    window = time if aligned else window_of(time, every_ns)
    block = np.repeat(np.arange(len(sizes)), sizes)
    return _Groups(np.arange(len(time)), block, np.ones(len(time), np.int64), window, time, time)


def _groups_of_block(part: Part, number: int, step: int, every_ns: int) -> _Groups:
    """As _groups_of_steps, of one block, and with less ado."""
    index = part.blocks
    first, last = index.time_min_ns.item(number), index.time_max_ns.item(number)
    window = in_steps(first // every_ns * every_ns, last, every_ns)
    starts = (window - (first - step + 1)) // step
    starts[0] = 0
    rows = lengths(starts, index.rows.item(number))
    begin = starts * step
    begin += first
    return _Groups(starts, np.zeros(len(starts), np.intp), rows, window, begin,
                   begin + (rows - 1) * step)  # fmt: skip


def _groups_of_times(time: TimesNs, sizes: npt.NDArray[np.int64], every_ns: int) -> _Groups:
    """Windows of blocks by the time of every row."""
    window = window_of(time, every_ns)
    begins = np.cumsum(sizes) - sizes
    first = np.ones(len(time), np.bool_)
    first[1:] = window[1:] != window[:-1]
    first[begins] = True
    starts = np.flatnonzero(first)
    rows = lengths(starts, len(time))
    block = np.searchsorted(begins, starts, side="right") - 1
    return _Groups(starts, block, rows, window[starts], time[starts], time[starts + rows - 1])


def _kept(groups: _Groups, keep: BoolMask, time: TimesNs | None) -> _Groups:
    """The groups of the rows that are kept; ``time``: theirs, None when nobody asks."""
    count = np.add.reduceat(keep, groups.starts, dtype=np.int64)
    some = np.flatnonzero(count)
    rows = count[some]
    starts = np.cumsum(rows) - rows
    begin, end = groups.begin_ns[some], groups.end_ns[some]
    if time is not None:
        begin, end = time[starts], time[starts + rows - 1]
    return _Groups(starts, groups.block[some], rows, groups.window[some], begin, end)
