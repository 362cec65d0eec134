"""Aggregates over a table: from the statistics of blocks where they say it all, else from rows.

1. Blocks that may hold rows of the range are found. A block is *single* when its rows are distinct,
   not deleted, not expired, and share their device and time with no other block and no row of the
   head: then it needs no merging.
2. A single block of one device is *answered by its statistics* when all of its rows are in the
   range, in one window and pass the filters, and when its statistics are usable for what is asked.
3. Other single blocks are decoded and grouped as they are (block_groups.py), unless their
   statistics say that no row passes the filters.
4. The rows of the other blocks and of the head are scanned in steps, as by a query. They share no
   device and time with single blocks, so that merging them apart is the same.
5. All give pieces (windows.py), which are merged to one per group. How often and how finely the
   work was cut never shows: counts, extremes, first and last have the same bits, sums and means
   agree to 1e-12.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mainstem_engine.aggregation import Aggregation
from mainstem_engine.block_groups import iterate_groups, passing, pieces_of_block
from mainstem_engine.columns import widened_values
from mainstem_engine.dense_windows import merge_dense
from mainstem_engine.device_rows import block_of_device
from mainstem_engine.model import BoolMask
from mainstem_engine.part.layout import EXTREMES_USABLE, SUM_USABLE
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.scan import Selection, iterate_found, visible
from mainstem_engine.scan_extent import bytes_of
from mainstem_engine.single_blocks import chosen, single_blocks
from mainstem_engine.sources import PartBlocks, find_blocks
from mainstem_engine.value_filter import kept_rows
from mainstem_engine.view import TableView
from mainstem_engine.windows import (
    COUNT,
    Pieces,
    Values,
    Wanted,
    canonical,
    joined,
    merged,
    no_values,
    pieces_of_rows,
    totals_of,
    window_of,
)

PIECES_MAX = 1 << 20
"""More pieces than this are merged before more are made: some 100 bytes each and measurement."""


@dataclass(slots=True)
class Answered:
    """What answered a query. ``blocks``: that may hold rows of it. ``from_statistics``: of them,
    not read; ``rows_from_statistics``: their rows. ``rollup``: the table that was read instead.
    ``parts`` that hold the blocks and ``bytes`` of those that are read: only where it is asked how
    a question would be answered. ``of_rollup``: the same of the rows of the rollup."""

    blocks: int = 0
    from_statistics: int = 0
    rows_from_statistics: int = 0
    rollup: str | None = None
    parts: int = 0
    bytes: int = 0
    of_rollup: Answered | None = None

    def add(self, other: Answered) -> None:
        """Counts another part of the same question."""
        self.blocks += other.blocks
        self.from_statistics += other.from_statistics
        self.rows_from_statistics += other.rows_from_statistics
        self.parts += other.parts
        self.bytes += other.bytes

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
        self._aggregates = self._from_rollups = 0
        self._sum = Answered()

    def add(self, answered: Answered) -> None:
        with self._lock:
            self._aggregates += 1
            self._from_rollups += answered.rollup is not None
            self._sum.add(answered)

    def statistics(self) -> AggregateStatistics:
        with self._lock:
            known = self._sum
            return AggregateStatistics(
                self._aggregates,
                known.blocks,
                known.from_statistics,
                known.rows_from_statistics,
                self._from_rollups,
            )


@dataclass(slots=True)
class _Sorted:
    """The blocks of a question: pieces of those that statistics answer, those that are grouped as
    they are, and those whose rows have to be merged."""

    pieces: list[Pieces]
    single: list[PartBlocks]
    rest: list[PartBlocks]
    answered: Answered


def aggregate(
    view: TableView, selection: Selection, aggregation: Aggregation
) -> tuple[Pieces | None, Answered]:
    """One piece per group that has rows, sorted; None when there are none."""
    selection = visible(view, selection)
    block = block_of_device(view, selection)
    if block is not None:
        known = pieces_of_block(view, *block, aggregation)
        if known is not None:
            return known, Answered(blocks=1)
    found = _sorted(view, selection, aggregation)
    pieces, count = found.pieces, sum(len(piece) for piece in found.pieces)
    for piece in _read(view, selection, aggregation, found):
        pieces.append(piece)
        count += len(piece)
        if count > PIECES_MAX and len(pieces) > 1:
            pieces = [_merged(pieces, aggregation)]
            count = len(pieces[0])
    if not count:
        return None, found.answered
    return _merged(pieces, aggregation), found.answered


def _merged(pieces: Sequence[Pieces], aggregation: Aggregation) -> Pieces:
    """One piece per group, sorted."""
    if aggregation.every_ns is not None and not aggregation.by_device and len(pieces) > 1:
        pieces = [
            merge_dense(joined(pieces), aggregation.every_ns, row_times=aggregation.row_times)
        ]
    return merged(pieces, by_device=aggregation.by_device)


def _read(
    view: TableView, selection: Selection, aggregation: Aggregation, found: _Sorted
) -> Iterator[Pieces]:
    """Pieces of what no statistics answer."""
    if found.single:
        yield from iterate_groups(view, found.single, aggregation, selection)
    if not found.rest and not view.chunks:
        return
    keys = {*aggregation.wanted, *(item.measurement_id for item in aggregation.filters)}
    some = dataclasses.replace(selection, measurement_ids=tuple(keys), versions=False, times=True)
    for rows in iterate_found(view, some, found.rest, view.chunks):
        rows = kept_rows(rows, aggregation.filters)
        if len(rows):
            yield pieces_of_rows(rows, aggregation.every_ns, aggregation.wanted)


def explain(view: TableView, selection: Selection, aggregation: Aggregation) -> Answered:
    """What aggregate() would read, without reading it."""
    found = _sorted(view, visible(view, selection), aggregation)
    keys = {*aggregation.wanted, *(item.measurement_id for item in aggregation.filters)}
    found.answered.bytes = bytes_of([*found.single, *found.rest], keys)
    return found.answered


def blocks_to_read(view: TableView, selection: Selection, aggregation: Aggregation) -> int:
    """How many blocks aggregate() would read."""
    return _sorted(view, visible(view, selection), aggregation).answered.read


def _sorted(view: TableView, selection: Selection, aggregation: Aggregation) -> _Sorted:
    result = _Sorted([], [], [], Answered())
    if selection.start_ns >= selection.end_ns:
        return result
    found = find_blocks(view, selection.devices, selection.start_ns, selection.end_ns)
    answered = result.answered
    answered.parts = len(found)
    answered.blocks = sum(len(item.numbers) for item in found)
    if selection.origin is not None:  # which rows are whose is not in any index
        result.rest = found
        return result
    for item, single in zip(found, single_blocks(view, found, selection), strict=True):
        if not single.all():
            result.rest.append(chosen(item, ~single))
            item = chosen(item, single)
        if not len(item.numbers):
            continue
        said = _said(item, selection, aggregation)
        if said.any():
            known = chosen(item, said)
            result.pieces.append(_pieces_of_blocks(view, known, aggregation))
            answered.from_statistics += len(known.numbers)
            answered.rows_from_statistics += known.rows
        if not said.all():
            result.single.append(chosen(item, ~said))
    if aggregation.filters and result.single:
        before = sum(len(item.numbers) for item in result.single)
        result.single = passing(result.single, aggregation.filters)
        # Of them no row takes part.
        answered.blocks -= before - sum(len(item.numbers) for item in result.single)
    return result


def _said(item: PartBlocks, selection: Selection, aggregation: Aggregation) -> BoolMask:
    """Blocks of rule 2, of those of rule 1."""
    index, numbers = item.part.blocks, item.numbers
    first, last = index.time_min_ns[numbers], index.time_max_ns[numbers]
    said: BoolMask = (first >= selection.start_ns) & (last < selection.end_ns)
    said &= index.device_min[numbers] == index.device_max[numbers]
    if aggregation.every_ns is not None:
        every = aggregation.every_ns
        said &= window_of(first, every) == window_of(last, every)
    if not said.any():
        return said
    for wanted in aggregation.filters:
        said &= wanted.of_blocks(item.part, numbers)[0]
    for key, want in aggregation.wanted.items():
        said &= _says(item, key, want)
    return said


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
