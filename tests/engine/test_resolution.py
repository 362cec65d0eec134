"""What a flush finds out about deletes: the counts stay true to what is visible."""

from __future__ import annotations

from typing import Any

import numpy as np

from mainstem_engine.accounting import Resolution
from mainstem_engine.deletes import NONE, Tombstone, Tombstones
from mainstem_engine.head import Chunk
from mainstem_engine.model import DeviceIds
from mainstem_engine.resolution import resolve_deletes
from mainstem_engine.view import TableView

DEVICE: DeviceIds = np.zeros(1, np.uint32)


def view_of(*chunks: Chunk) -> TableView:
    return TableView("t", False, DEVICE, chunks, (), np.zeros(3, np.uint32))


def chunk(times: list[int], lsn: int, applied: int, origin: int = 1) -> Chunk:
    count = len(times)
    return Chunk(
        applied,
        np.zeros(count, np.uint32),
        np.array(times, np.int64),
        np.full(count, origin, np.uint16),
        np.full(count, lsn, np.uint64),
        {},
        count,
        (applied, applied),
        sealed=True,
    )


def tombstone(lsn: int, as_of: int, start: int, end: int, **more: Any) -> Tombstone:
    origin = more.pop("origin", 1)
    return Tombstone(lsn, origin, as_of, more.pop("before", None), None, start, end, **more)


def keys(*times: int) -> Any:
    return np.zeros(len(times), np.uint32), np.array(times, np.int64)


def test_what_others_deleted_is_counted() -> None:
    view = view_of(chunk([1, 2, 3, 4], 5, 10), chunk([3], 9, 11))
    new = Tombstones([tombstone(12, 6, 2, 5), tombstone(13, 7, 1, 3)])
    # 2, 4, then 1; 3 is there again.
    assert resolve_deletes(view, NONE, new, []) == Resolution(0, -3, 3)
    earlier = Tombstones([tombstone(8, 6, 1, 2)])
    assert resolve_deletes(view, earlier, new, []) == Resolution(0, -2, 2)


def test_an_image_counts_what_it_does_not_have() -> None:
    view = view_of(chunk([1, 2, 3], 5, 10), chunk([2, 7], 6, 11))
    new = Tombstones([tombstone(11, 6, 0, 9, before=11)])
    assert resolve_deletes(view, NONE, new, []) == Resolution(0, -2, 2)


def test_own_deletes_are_counted_again_only_where_late_rows_came() -> None:
    view = view_of(chunk([1, 2, 3], 5, 5, origin=0), chunk([2], 8, 8, origin=0))
    item = tombstone(7, 6, 2, 4, origin=0, rows=2)
    assert resolve_deletes(view, NONE, Tombstones([item]), []) == Resolution()
    assert resolve_deletes(view, NONE, Tombstones([item]), [keys(1)]) == Resolution()
    # 2 was deleted and lives again: of two deleted rows one is live.
    assert resolve_deletes(view, NONE, Tombstones([item]), [keys(2)]) == Resolution(0, 1, 0)
