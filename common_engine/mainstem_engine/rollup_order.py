"""The order in which windows are computed, so that few blocks are decoded more than once.

1. Time is cut where nothing that is stored goes on: between partitions. Short ones that follow one
   another are one *stretch*, as long as one scan holds their rows. So what is written of a stretch
   lies in few partitions too.
2. A stretch is cut by device, as its blocks are: only a block in which one piece ends and the next
   begins is decoded for both. A device with very many rows is cut by time, between windows.
3. A plan is for a few pieces: what is stored changes while they are computed. It decides memory
   and work, never the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mainstem_engine.dirty_windows import Span
from mainstem_engine.head import Chunk
from mainstem_engine.model import DeviceIds
from mainstem_engine.part_index import near_parts
from mainstem_engine.scan import step_size
from mainstem_engine.sources import PartBlocks, find_blocks
from mainstem_engine.steps import Extent, Step, cut
from mainstem_engine.view import TableView

PLANNED_MAX = 32
"""Pieces of one plan: planning costs about as much as a few blocks, a piece has dozens of them."""

Views = Sequence[TableView]
"""Of the source, and of the rollup, whose windows may have to go."""


def pieces_of(
    span: Span,
    look: Callable[[], Views],
    devices: Callable[[Span], DeviceIds],
    every_ns: int,
    scan_rows: int,
) -> Iterator[Span]:
    """Pieces that together are ``span``, each of about ``scan_rows`` rows or fewer.

    ``look``: what is stored at present. ``devices``: those of a span, ascending. Raises
    CorruptionError where a part that is needed cannot be read.
    """
    rest = [span]
    while rest:
        now = rest.pop()
        left = [now]
        for piece in _first_pieces(look(), now, devices(now), every_ns, scan_rows):
            yield piece
            left = [part for some in left for part in some.without(piece)]
        rest += reversed(left)


def has_rows(views: Views, devices: DeviceIds, start_ns: int, end_ns: int) -> bool:
    """False when no row of ``devices`` in [start, end) is stored."""
    if not len(devices):
        return False
    extent = _extent(views, devices, start_ns, end_ns)
    return extent.rows_at_most(0) > 0


def _first_pieces(
    views: Views, span: Span, devices: DeviceIds, every_ns: int, scan_rows: int
) -> Iterator[Span]:
    """Up to PLANNED_MAX pieces of the first stretch of ``span``; at least one."""
    if not len(devices):
        yield span
        return
    start, end = span.start_ns, _end_of_stretch(views, span, devices, every_ns, scan_rows)
    extent = _extent(views, devices, start, end)
    source = views[0]
    found = [item for item in extent.found if item.part.meta.table == source.table]
    rows, _ = step_size(source, found, tuple(source.types), scan_rows)
    steps = cut(extent, rows)
    if not steps:
        yield replace(span, end_ns=end)
        return
    # The last may end with devices that are not there yet: they belong to the span too.
    last = len(steps) - 1
    planned = 0
    low, begun = span.low, start
    for number, step in enumerate(steps):
        high = span.high if number == last else min(span.high, step.high)
        until = _end_of_step(step, end, every_ns)
        if high < low or until <= begun:
            continue
        yield replace(span, low=low, high=high, start_ns=begun, end_ns=until)
        planned += 1
        low, begun = (high + 1, start) if until == end else (low, until)
        if planned == PLANNED_MAX:
            return


def _end_of_step(step: Step, end_ns: int, every_ns: int) -> int:
    """The end of the last window that begins in a step."""
    return min(end_ns, step.end_ns + -step.end_ns % every_ns)


def _end_of_stretch(
    views: Views, span: Span, devices: DeviceIds, every_ns: int, scan_rows: int
) -> int:
    """Where the first stretch of ``span`` ends. What is in the head lies beside the blocks."""
    bounds = _parts(views, span, devices)
    if not len(bounds):
        return span.end_ns
    low = np.maximum(bounds[:, 0] // every_ns * every_ns, span.start_ns)
    high = np.minimum(bounds[:, 1] // every_ns * every_ns + every_ns, span.end_ns)
    order = np.argsort(low, kind="stable")
    low, rows = low[order], bounds[order, 2]
    reached = np.maximum.accumulate(high[order])
    begins = np.flatnonzero(np.append(True, low[1:] >= reached[:-1]))
    ends = reached[np.append(begins[1:], len(low)) - 1]
    total = np.cumsum(np.add.reduceat(rows, begins))
    fitting = max(1, int(np.searchsorted(total, scan_rows, side="right")))
    return span.end_ns if fitting == len(ends) else int(ends[fitting - 1])


def _parts(views: Views, span: Span, devices: DeviceIds) -> npt.NDArray[np.int64]:
    """int64[n, 3]: least and greatest time, and rows, of the parts that may hold rows."""
    found = [
        (part.meta.time_min_ns, part.meta.time_max_ns, part.meta.rows)
        for view in views
        for part in near_parts(view.parts, devices, span.start_ns, span.end_ns)
        if part.meta.time_max_ns >= span.start_ns and part.meta.time_min_ns < span.end_ns
    ]
    return np.array(found, np.int64).reshape(-1, 3)


def _extent(views: Views, devices: DeviceIds, start_ns: int, end_ns: int) -> Extent:
    """The blocks and chunks of all views that may hold such rows."""
    found: list[PartBlocks] = []
    chunks: list[Chunk] = []
    for view in views:
        found += find_blocks(view, devices, start_ns, end_ns)
        chunks += [chunk for chunk in view.chunks if _may_hold(chunk, start_ns, end_ns)]
    return Extent(found, chunks, devices, start_ns, end_ns)


def _may_hold(chunk: Chunk, start_ns: int, end_ns: int) -> bool:
    if not chunk.length:
        return False
    _, _, oldest, newest = chunk.bounds()
    return oldest < end_ns and newest >= start_ns
