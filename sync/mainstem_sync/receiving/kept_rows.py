"""Rows that their owner delivered and then lost: an image that lacks them does not take them away.

1. Of the rows that an image would replace, those stay whose record its owner declared lost
   (origins/gone_records.py): they are joined to the image by version, before it is logged. So the
   record says what the slice holds from then on, and a replay needs nothing else.
2. What the joined image has beyond the one that came is *kept*: rows and digest by slice. With it
   the slice equals its owner's statement, and is LOST; a difference of another kind is still found.
3. A relay says with its image what of it was kept there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mainstem_engine.columns import conform_rows
from mainstem_engine.engine import Engine
from mainstem_engine.images import SliceImage
from mainstem_engine.merge import concat_rows, merge_versions
from mainstem_engine.model import Rows, VersionedRows
from mainstem_engine.slices import SliceDigests
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.origins.line_rows import closed_epochs
from mainstem_sync.origins.origin_state import OriginState, TableMap
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

Kept = list[list[int]]
"""``[slice, rows, d1, d2]`` each; digests modulo 2^64."""

_MODULUS = 1 << 64


def with_kept(
    engine: Engine,
    state: OriginState,
    epochs: EpochTable,
    table: TableMap,
    image: SliceImage,
    gone: RangeSet,
    before: Kept,
) -> tuple[SliceImage, Kept]:
    """The image with the rows that stay, and what was kept of its slices. ``image`` with the ids of
    this node, ``gone`` the LSNs that its owner lost, ``before`` what a relay kept of it."""
    if not gone or image.part:
        return image, before
    held = _held(engine, state, epochs, image, gone)
    if not len(held):
        return image, before
    known = engine.catalog.table(image.table)
    mine = VersionedRows(
        image.rows.device, image.rows.time, np.zeros(len(image.rows), np.uint16), image.lsn,
        conform_rows(image.rows, known.types).columns,
    )  # fmt: skip
    joined = merge_versions(
        concat_rows([mine, held]), np.zeros(1, np.uint32), whole_rows=known.replaces_rows
    )
    rows = Rows(joined.device, joined.time, joined.columns)
    size = table.slice_ns
    all_of_it = engine.digests_of(image.table, rows, size, table.foreign_ids)
    theirs = engine.digests_of(image.table, image.rows, size, table.foreign_ids)
    kept = _sum(before, _of(all_of_it, size, 1), _of(theirs, size, -1))
    return replace(image, rows=rows, lsn=joined.lsn), kept


def _held(
    engine: Engine, state: OriginState, epochs: EpochTable, image: SliceImage, gone: RangeSet
) -> VersionedRows:
    """The rows of the line in the image's range whose record is gone; all of origin 0."""
    ends = [(older.origin, end) for older, end in closed_epochs(state, epochs) if end]
    known = [
        (index, end)
        for origin, end in (*ends, (state.origin, LSN_MAX))
        if (index := engine.origin_index(origin)) is not None
    ]
    if not known:
        return concat_rows([])
    here = engine.slice_image(
        image.table, known[-1][0], image.start_ns, image.end_ns, as_of=LSN_MAX, older=known
    )
    stays = gone.mask(here.lsn) & (here.lsn <= np.uint64(image.as_of))
    rows = here.rows.take(stays)
    origin = np.zeros(len(rows), np.uint16)
    return VersionedRows(rows.device, rows.time, origin, here.lsn[stays], rows.columns)


def _of(found: SliceDigests, slice_ns: int, sign: int) -> Kept:
    columns = (found.start // slice_ns, found.count, found.d1, found.d2)
    return [
        [key, sign * count, sign * d1, sign * d2]
        for key, count, d1, d2 in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _sum(*parts: Sequence[Sequence[int]]) -> Kept:
    total: dict[int, list[int]] = {}
    for key, *values in (item for part in parts for item in part):
        known = total.setdefault(key, [0, 0, 0])
        for at, value in enumerate(values):
            known[at] += value
    found = []
    for key, (rows, d1, d2) in sorted(total.items()):
        if rows or d1 % _MODULUS or d2 % _MODULUS:
            found.append([key, rows, d1 % _MODULUS, d2 % _MODULUS])
    return found
