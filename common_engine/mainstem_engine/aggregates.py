"""Aggregates over a table: from the statistics of blocks where they say it all, else from rows.

1. Blocks that may hold rows of the range are found. A block is *answered by its statistics* when
   all of its rows are in the range and in one window, are of one device, distinct, not deleted, not
   expired, share their device and time with no other block and no row of the head, and when its
   statistics are usable for what is asked.
2. The rows of the other blocks and of the head are scanned in steps, as by a query. They share no
   device and time with the blocks of rule 1, so that merging them apart is the same.
3. Both give pieces (windows.py), which are merged to one per group. How often and how finely the
   work was cut never shows: counts, extremes, first and last have the same bits, sums and means
   agree to 1e-12.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mainstem_engine.columns import widened_values
from mainstem_engine.model import BoolMask
from mainstem_engine.part.layout import EXTREMES_USABLE, SUM_USABLE
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.scan import Selection, iterate_found, visible
from mainstem_engine.sources import Extents, PartBlocks, find_blocks, lone
from mainstem_engine.view import TableView
from mainstem_engine.windows import (
    COUNT,
    Pieces,
    Values,
    Wanted,
    canonical,
    merged,
    no_values,
    pieces_of_rows,
    totals_of,
    window_of,
)

PIECES_MAX = 1 << 20
"""More pieces than this are merged before more are made: some 100 bytes each and measurement."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What to compute: ``wanted`` by measurement id, per window of ``every_ns`` (None: one of all
    time, else > 0), ``by_device`` or over all devices."""

    wanted: Mapping[int, Wanted]
    every_ns: int | None = None
    by_device: bool = False


@dataclass(slots=True)
class Answered:
    """What answered a query. ``blocks``: that may hold rows of it. ``from_statistics``: of them,
    not read; ``rows_from_statistics``: their rows. ``rollup``: the table that was read instead."""

    blocks: int = 0
    from_statistics: int = 0
    rows_from_statistics: int = 0
    rollup: str | None = None

    def add(self, other: Answered) -> None:
        """Counts another part of the same question."""
        self.blocks += other.blocks
        self.from_statistics += other.from_statistics
        self.rows_from_statistics += other.rows_from_statistics

    @property
    def read(self) -> int:
        return self.blocks - self.from_statistics


@dataclass(frozen=True, slots=True)
class AggregateStatistics:
    """What answered all aggregates since the start. ``blocks`` may have held rows of one;
    ``blocks_from_statistics`` of them, with ``rows_from_statistics`` rows, were not read;
    ``from_rollups`` aggregates took windows of a rollup."""

    aggregates: int = 0
    blocks: int = 0
    blocks_from_statistics: int = 0
    rows_from_statistics: int = 0
    from_rollups: int = 0


class AggregateCounts:
    """Counts answers; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = AggregateStatistics()

    def add(self, answered: Answered) -> None:
        with self._lock:
            before = self._counts
            self._counts = AggregateStatistics(
                before.aggregates + 1,
                before.blocks + answered.blocks,
                before.blocks_from_statistics + answered.from_statistics,
                before.rows_from_statistics + answered.rows_from_statistics,
                before.from_rollups + (answered.rollup is not None),
            )

    def statistics(self) -> AggregateStatistics:
        return self._counts


def aggregate(
    view: TableView, selection: Selection, aggregation: Aggregation
) -> tuple[Pieces | None, Answered]:
    """One piece per group that has rows, sorted; None when there are none."""
    selection = visible(view, selection)
    pieces, rest, answered = _by_statistics(view, selection, aggregation)
    keys = tuple(aggregation.wanted)
    some = dataclasses.replace(selection, measurement_ids=keys, versions=False, times=True)
    count = sum(len(piece) for piece in pieces)
    if rest or view.chunks:
        for rows in iterate_found(view, some, rest, view.chunks):
            pieces.append(pieces_of_rows(rows, aggregation.every_ns, aggregation.wanted))
            count += len(pieces[-1])
            if count > PIECES_MAX and len(pieces) > 1:
                pieces = [merged(pieces, by_device=aggregation.by_device)]
                count = len(pieces[0])
    if not count:
        return None, answered
    return merged(pieces, by_device=aggregation.by_device), answered


def explain(view: TableView, selection: Selection, aggregation: Aggregation) -> Answered:
    """What aggregate() would read, without reading it."""
    return _by_statistics(view, visible(view, selection), aggregation)[2]


def _by_statistics(
    view: TableView, selection: Selection, aggregation: Aggregation
) -> tuple[list[Pieces], list[PartBlocks], Answered]:
    """Pieces of the blocks whose statistics answer, the blocks that must be read, the counts."""
    answered = Answered()
    if selection.start_ns >= selection.end_ns:
        return [], [], answered
    found = find_blocks(view, selection.devices, selection.start_ns, selection.end_ns)
    answered.blocks = sum(len(item.numbers) for item in found)
    usable = [_usable(view, item, selection, aggregation) for item in found]
    if not any(mask.any() for mask in usable):
        return [], found, answered
    alone = _lone(view, found, selection)
    pieces: list[Pieces] = []
    rest: list[PartBlocks] = []
    at = 0
    for item, mask in zip(found, usable, strict=True):
        mask = mask & alone[at : at + len(mask)]
        at += len(mask)
        if mask.any():
            chosen = dataclasses.replace(item, numbers=item.numbers[mask])
            pieces.append(_pieces_of_blocks(view, chosen, aggregation))
            answered.from_statistics += len(chosen.numbers)
            answered.rows_from_statistics += chosen.rows
        if not mask.all():
            rest.append(dataclasses.replace(item, numbers=item.numbers[~mask]))
    return pieces, rest, answered


def _lone(view: TableView, found: Sequence[PartBlocks], selection: Selection) -> BoolMask:
    """bool over all blocks of ``found``: shares no device and time with anything else."""
    extents = [Extents.of_blocks(item) for item in found]
    blocks = sum(len(extent) for extent in extents)
    for chunk in view.chunks:
        rows = chunk.select(selection.devices, selection.start_ns, selection.end_ns, [])
        if rows is not None:
            extents.append(Extents.of_rows(rows))
    return lone(extents)[:blocks]


def _usable(
    view: TableView, item: PartBlocks, selection: Selection, aggregation: Aggregation
) -> BoolMask:
    """Blocks of rule 1, but for what else may hold rows of the same device and time."""
    index, numbers = item.part.blocks, item.numbers
    first, last = index.time_min_ns[numbers], index.time_max_ns[numbers]
    usable: BoolMask = (first >= selection.start_ns) & (last < selection.end_ns)
    if aggregation.every_ns is not None:
        every = aggregation.every_ns
        usable &= window_of(first, every) == window_of(last, every)
    if selection.origin is not None:
        usable[:] = False
    if not usable.any():
        return usable
    device = index.device_min[numbers]
    usable &= device == index.device_max[numbers]
    usable &= index.distinct[numbers] > 0
    if view.cutoff is not None:
        usable &= first >= view.cutoff.of(device)
    for key, want in aggregation.wanted.items():
        usable &= _says(item, key, want)
    if item.tombstones:
        for at in np.flatnonzero(usable).tolist():
            extent = (int(device[at]), int(device[at]), int(first[at]), int(last[at]))
            usable[at] = not item.tombstones.covers_block(*extent)
    return usable


def _says(item: PartBlocks, key: int, want: Wanted) -> BoolMask:
    """Blocks whose statistics know what is wanted of one measurement."""
    part, numbers = item.part, item.numbers
    if key not in part.types:
        return np.ones(len(numbers), np.bool_)
    nulls = part.nulls(key)[numbers]
    empty: BoolMask = nulls == part.blocks.rows[numbers]
    statistics = part.statistics(key)
    if statistics is None:
        nothing_but_count = not want.functions - {COUNT}
        return np.ones(len(numbers), np.bool_) if nothing_but_count else empty
    flags = statistics.flags[numbers]
    known = np.ones(len(numbers), np.bool_)
    if want.extremes:
        known &= (flags & EXTREMES_USABLE) > 0
    if want.total:
        known &= (flags & SUM_USABLE) > 0
    if want.ends:
        # With nulls the first value is not the first row's, and its time is not in the index.
        known &= nulls == 0
    return known | empty


def _pieces_of_blocks(view: TableView, item: PartBlocks, aggregation: Aggregation) -> Pieces:
    index, numbers = item.part.blocks, item.numbers
    begin, end = index.time_min_ns[numbers], index.time_max_ns[numbers]
    rows = index.rows[numbers].astype(np.int64)
    pieces = Pieces(
        index.device_min[numbers], window_of(begin, aggregation.every_ns), rows, begin, end
    )
    for key, want in aggregation.wanted.items():
        if key not in item.part.types:
            pieces.values[key] = no_values(want, len(numbers))
            continue
        pieces.values[key] = _values_of_blocks(item.part, numbers, key, want, pieces)
    return pieces


def _values_of_blocks(
    part: Part, numbers: BlockNumbers, key: int, want: Wanted, pieces: Pieces
) -> Values:
    values = Values(pieces.rows - part.nulls(key)[numbers])
    statistics = part.statistics(key)
    if statistics is None:
        empty = no_values(want, len(numbers))
        empty.count = values.count
        return empty
    if want.extremes:
        values.low = canonical(widened_values(statistics.minimum[numbers], want.type))
        values.high = canonical(widened_values(statistics.maximum[numbers], want.type))
    if want.total:
        values.total = totals_of(statistics.total[numbers])
    if want.ends:
        values.first = widened_values(statistics.first[numbers], want.type)
        values.last = widened_values(statistics.last[numbers], want.type)
        values.first_ns, values.last_ns = pieces.begin_ns, pieces.end_ns
    return values
