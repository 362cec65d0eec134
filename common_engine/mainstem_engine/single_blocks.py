"""Which blocks of a selection are already what a merge would make of them.

Such a block is *single*: its rows are distinct, not deleted and not expired, and share their device
and time with no other block of the selection and no row of the head. Whoever reads single blocks
one by one, and merges the rest and the head apart, has read what a query reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.model import BoolMask, VersionedRows
from mainstem_engine.shared_keys import share_keys
from mainstem_engine.sources import Extents, PartBlocks, follow_strictly, lone_blocks
from mainstem_engine.view import TableView

if TYPE_CHECKING:
    from mainstem_engine.scan import Selection


def single_blocks(
    view: TableView, found: Sequence[PartBlocks], selection: Selection, *, exactly: bool = False
) -> list[BoolMask]:
    """bool over the blocks of each of ``found``, which are all that may hold rows of the devices
    and the range of ``selection``. Raises CorruptionError.

    ``exactly``: by the devices and times of rows where extents meet; else such blocks are none.
    """
    single = [_whole(view, item) for item in found]
    if not any(mask.any() for mask in single):
        return single
    fresh = [
        rows
        for chunk in view.chunks
        if (rows := chunk.select(selection.devices, selection.start_ns, selection.end_ns, []))
        is not None
    ]
    alone = _lone(found, fresh)
    if exactly and not alone.all():
        meeting = [
            chosen(item, ~mask) for item, mask in zip(found, _split(alone, found), strict=True)
        ]
        alone[~alone] = ~share_keys(meeting, [(rows.device, rows.time) for rows in fresh])
    for mask, some in zip(single, _split(alone, found), strict=True):
        mask &= some
    return single


def _split(mask: BoolMask, found: Sequence[PartBlocks]) -> list[BoolMask]:
    """Of each of ``found``."""
    ends = np.cumsum([len(item.numbers) for item in found])
    return np.split(mask, ends[:-1])


def chosen(item: PartBlocks, mask: BoolMask) -> PartBlocks:
    """Some of the blocks."""
    return item if mask.all() else dataclasses.replace(item, numbers=item.numbers[mask])


def _whole(view: TableView, item: PartBlocks) -> BoolMask:
    """Blocks whose rows are distinct and all there."""
    index, numbers = item.part.blocks, item.numbers
    whole: BoolMask = index.distinct[numbers] > 0
    low, high = index.device_min[numbers], index.device_max[numbers]
    if view.cutoff is not None:
        oldest = np.where(low == high, view.cutoff.of(low), view.cutoff.greatest_ns)
        whole &= index.time_min_ns[numbers] >= oldest
    if item.tombstones:
        first, last = index.time_min_ns[numbers], index.time_max_ns[numbers]
        for at in np.flatnonzero(whole).tolist():
            extent = (int(low[at]), int(high[at]), int(first[at]), int(last[at]))
            whole[at] = not item.tombstones.covers_block(*extent)
    return whole


def _lone(found: Sequence[PartBlocks], fresh: Sequence[VersionedRows]) -> BoolMask:
    """bool over all blocks of ``found``: their extents meet no other, and no row of ``fresh``."""
    if len(found) == 1 and not fresh and follow_strictly(found[0]):
        return np.ones(len(found[0].numbers), np.bool_)
    return lone_blocks(found, [Extents.of_rows(rows) for rows in fresh])
