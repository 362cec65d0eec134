"""The oldest or the newest rows of a selection: a range of time that has enough of them.

1. Blocks and rows of the head are counted from the edge on, by their times in the index, until
   there should be enough. Where that ends, the range ends.
2. Rows may be deleted, expired, of other devices, or fragments of one row: what is in the range is
   counted exactly, mostly by statistics. With too few it is widened, at last to all of it.

So the range always holds the rows asked for, if there are so many, and hardly more blocks than
that takes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mainstem_engine.aggregates import aggregate
from mainstem_engine.aggregation import Aggregation
from mainstem_engine.model import TimesNs
from mainstem_engine.scan import Selection, visible
from mainstem_engine.sources import find_blocks
from mainstem_engine.view import TableView

WIDER = 8
"""So many times the rows when the range had too few."""
_COUNT = Aggregation({}, None, by_device=False)


def narrow_to_edge(view: TableView, selection: Selection, rows: int, *, newest: bool) -> Selection:
    """``selection`` with a later start (``newest``) or an earlier end, and at least ``rows`` rows
    if it has so many. Raises CorruptionError."""
    selection = visible(view, selection)
    if selection.start_ns >= selection.end_ns:
        return selection
    bounds, counts = _bounds(view, selection, newest=newest)
    wanted = rows
    while len(bounds):
        enough = int(np.searchsorted(np.cumsum(counts), wanted))
        if enough >= len(bounds) - 1:
            break
        narrowed = _cut(selection, int(bounds[enough]), newest=newest)
        pieces, _ = aggregate(view, narrowed, _COUNT)
        if pieces is not None and int(pieces.rows.sum()) >= rows:
            return narrowed
        wanted *= WIDER
    return selection


def _cut(selection: Selection, bound_ns: int, *, newest: bool) -> Selection:
    if newest:
        return replace(selection, start_ns=max(selection.start_ns, bound_ns))
    return replace(selection, end_ns=min(selection.end_ns, bound_ns + 1))


def _bounds(view: TableView, selection: Selection, *, newest: bool) -> tuple[TimesNs, TimesNs]:
    """(times up to which rows are whole, from the edge on, and how many come up to there), of
    blocks and of rows in the head."""
    start, end = selection.start_ns, selection.end_ns
    bounds: list[TimesNs] = []
    counts: list[TimesNs] = []
    for item in find_blocks(view, selection.devices, start, end):
        index, numbers = item.part.blocks, item.numbers
        far = index.time_min_ns if newest else index.time_max_ns
        bounds.append(far[numbers])
        counts.append(index.rows[numbers].astype(np.int64))
    for chunk in view.chunks:
        some = chunk.select(selection.devices, start, end, [])
        if some is not None and len(some):
            bounds.append(some.time)
            counts.append(np.ones(len(some), np.int64))
    if not bounds:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    times, rows = np.concatenate(bounds), np.concatenate(counts)
    order = np.argsort(-times if newest else times, kind="stable")
    return times[order], rows[order]
