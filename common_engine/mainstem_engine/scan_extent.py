"""How much a question would read: parts, blocks and bytes, from the index alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mainstem_engine.part.layout import TIME_COLUMN
from mainstem_engine.scan import Selection, visible
from mainstem_engine.sources import PartBlocks, are_all_plain, find_blocks, within
from mainstem_engine.view import TableView


@dataclass(frozen=True, slots=True)
class ScanExtent:
    """``parts`` with ``blocks`` of which ``bytes`` are decoded, as they lie on disk, and
    ``head_rows`` of the memory that rows are in before they are flushed."""

    parts: int
    blocks: int
    bytes: int
    head_rows: int


def extent_of(view: TableView, selection: Selection) -> ScanExtent:
    """What a scan of ``selection`` reads. Raises CorruptionError."""
    selection = visible(view, selection)
    found = find_blocks(view, selection.devices, selection.start_ns, selection.end_ns)
    head_rows = 0
    for chunk in view.chunks:
        rows = chunk.select(selection.devices, selection.start_ns, selection.end_ns, [])
        head_rows += 0 if rows is None else len(rows)
    if selection.ranges and not head_rows and are_all_plain(found):
        found = within(found, selection.ranges)
    keys = view.types if selection.measurement_ids is None else selection.measurement_ids
    blocks = sum(len(item.numbers) for item in found)
    return ScanExtent(len(found), blocks, bytes_of(found, keys), head_rows)


def bytes_of(found: Sequence[PartBlocks], keys: Collection[int]) -> int:
    """Bytes of the times and of some columns of blocks."""
    total = 0
    for item in found:
        columns = item.part.footer.columns
        for key in (TIME_COLUMN, *keys):
            index = columns.get(key)
            if index is not None:
                total += int(index.bytes[item.numbers].sum(dtype="int64"))
                total += int(index.valid_bytes[item.numbers].sum(dtype="int64"))
    return total
