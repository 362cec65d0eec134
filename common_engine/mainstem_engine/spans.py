"""Blocks cut into spans: what is decoded and reduced at once.

Blocks of several devices have spans of their own, and so have blocks of which every row takes part:
those know nothing of filters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.aggregation import Aggregation
from mainstem_engine.columns import widened_values
from mainstem_engine.model import Column, DeviceIds
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.sources import PartBlocks
from mainstem_engine.value_filter import ValueFilter
from mainstem_engine.view import TableView

if TYPE_CHECKING:
    from mainstem_engine.scan import Selection


@dataclass(frozen=True, slots=True)
class Span:
    """Some blocks of one part, ascending, and what rows of them must fulfil. ``is_mixed``: they may
    be of several devices, of which ``devices`` (ascending, None: all) are asked for."""

    part: Part
    numbers: BlockNumbers
    filters: tuple[ValueFilter, ...]
    start_ns: int
    end_ns: int
    is_mixed: bool = False
    devices: DeviceIds | None = None


def spans_of(
    found: Sequence[PartBlocks], aggregation: Aggregation, selection: Selection, span_rows: int
) -> Iterator[Span]:
    """Spans of up to ``span_rows`` rows, but at least one block."""
    start, end = selection.start_ns, selection.end_ns
    for item in found:
        index, numbers = item.part.blocks, item.numbers
        cut = (index.time_min_ns[numbers] < start) | (index.time_max_ns[numbers] >= end)
        whole = ~cut
        for wanted in aggregation.filters:
            whole &= wanted.of_blocks(item.part, numbers)[0]
        mixed = index.device_min[numbers] != index.device_max[numbers]
        if mixed.any():
            for is_whole in (True, False):
                filters = () if is_whole else aggregation.filters
                for piece in _cut(item.part, numbers[mixed & (whole == is_whole)], span_rows):
                    yield Span(item.part, piece, filters, start, end, True, selection.devices)
            numbers, whole = numbers[~mixed], whole[~mixed]
        for is_whole in (True, False):
            filters = () if is_whole else aggregation.filters
            for piece in _cut(item.part, numbers[whole == is_whole], span_rows):
                yield Span(item.part, piece, filters, start, end)


def _cut(part: Part, numbers: BlockNumbers, span_rows: int) -> Iterator[BlockNumbers]:
    if not len(numbers):
        return
    rows = part.blocks.rows[numbers].astype(np.int64)
    bucket = (np.cumsum(rows) - 1) // span_rows
    edges = (np.flatnonzero(bucket[1:] != bucket[:-1]) + 1).tolist()
    for first, last in zip([0, *edges], [*edges, len(numbers)], strict=True):
        yield numbers[first:last]


def read_span(view: TableView, span: Span, keys: Sequence[int]) -> dict[int, Column]:
    """Columns that the part has, in the table's types."""
    columns = span.part.read_columns(span.numbers, keys)
    for key, column in columns.items():
        kind = view.types.get(key)
        if kind is not None:
            column.values = widened_values(column.values, kind)
    return columns
