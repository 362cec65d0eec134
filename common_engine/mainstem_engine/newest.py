"""The newest row of one device, where it can be seen without reading rows.

1. Rows of the head are newer than all blocks of the device, and the newest of them has a value of
   every measurement: it is the answer.
2. Without rows in the head: the block that ends last is of this device alone, its rows are distinct
   and not deleted, and no other block ends at the same time or later. Its last row is the answer
   if it has no nulls. Statistics have its values; only types without statistics are decoded.

In every other case this file does not know, and last_values.py does. Nothing is kept.
"""

from __future__ import annotations

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, widened_values
from mainstem_engine.deletes import NONE
from mainstem_engine.inventory import blocks_of
from mainstem_engine.last_values import LastRows
from mainstem_engine.merge import concat_rows, merge_versions
from mainstem_engine.model import Column, DeviceIds, TimesNs, VersionedRows
from mainstem_engine.part_index import newest_first
from mainstem_engine.sources import PartBlocks
from mainstem_engine.view import TableView


def newest_row(view: TableView, device: DeviceIds) -> LastRows | None:
    """The newest row of ``device`` (uint32[1]); None when it is not known here, or there is none.

    Raises CorruptionError for a part that might hold it and cannot be read.
    """
    found = _newest_blocks(view, device)
    ends = [int(item.part.blocks.time_max_ns[item.numbers].max()) for item in found]
    fresh = _of_head(view, device)
    if fresh:
        newest = _newest_of(fresh, view, max(ends, default=TIME_MIN_NS - 1))
    else:
        newest = _of_block(found, ends, view) if found else None
    if newest is None:
        return None
    time, columns = newest
    if view.cutoff is not None and int(time[0]) < int(view.cutoff.of(device)[0]):
        return None
    return LastRows(device, time, columns, dict.fromkeys(columns, time))


def _newest_blocks(view: TableView, device: DeviceIds) -> list[PartBlocks]:
    """Blocks of the device; not those of parts that end before another block of it does."""
    span = device, TIME_MIN_NS, TIME_MAX_NS + 1
    erased = view.tombstones.overlapping(*span) if view.tombstones else NONE
    found: list[PartBlocks] = []
    end_ns = TIME_MIN_NS
    for part in newest_first(view.parts):
        if part.meta.time_max_ns < end_ns:
            break
        hit = blocks_of(part, *span)
        if hit is not None:
            found.append(PartBlocks(*hit, erased.of_part(hit[0].meta)))
            end_ns = max(end_ns, int(hit[0].blocks.time_max_ns[hit[1]].max()))
    return found


def _of_head(view: TableView, device: DeviceIds) -> list[VersionedRows]:
    rows = ((chunk, chunk.select(device, TIME_MIN_NS, TIME_MAX_NS + 1)) for chunk in view.chunks)
    return [view.tombstones.erase(some, chunk.applied) for chunk, some in rows if some is not None]


def _newest_of(
    batches: list[VersionedRows], view: TableView, stored_end_ns: int
) -> tuple[TimesNs, dict[int, Column]] | None:
    rows = merge_versions(concat_rows(batches), view.epochs, whole_rows=view.whole_rows)
    if not len(rows) or int(rows.time[-1]) <= stored_end_ns:
        return None
    last = slice(len(rows) - 1, None)
    columns: dict[int, Column] = {}
    for key, kind in view.types.items():
        column = rows.columns.get(key)
        if column is None or (column.valid is not None and not column.valid[-1]):
            return None
        columns[key] = Column(widened_values(column.values[last], kind))
    return rows.time[last], columns


def _of_block(
    found: list[PartBlocks], ends: list[int], view: TableView
) -> tuple[TimesNs, dict[int, Column]] | None:
    newest = max(ends)
    if ends.count(newest) > 1:
        return None
    item = found[ends.index(newest)]
    part, index = item.part, item.part.blocks
    times = index.time_max_ns[item.numbers]
    at = int(times.argmax())
    block = int(item.numbers[at])
    is_alone = int((times == newest).sum()) == 1 and bool(index.distinct[block])
    if not is_alone or item.tombstones or index.device_min[block] != index.device_max[block]:
        return None
    columns: dict[int, Column] = {}
    others: list[int] = []
    types = part.types
    for key, kind in view.types.items():
        if key not in types or part.nulls(key)[block]:
            return None
        statistics = part.statistics(key)
        if statistics is None:
            others.append(key)
            continue
        columns[key] = Column(widened_values(statistics.last[block : block + 1], kind))
    if others:
        rows = part.read([block], others, versions=False, times=False)
        for key in others:
            columns[key] = Column(widened_values(rows.columns[key].values[-1:], view.types[key]))
    return times[at : at + 1], columns
