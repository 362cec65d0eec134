"""A vnode: one shard of the store, with a head and parts of its own.

1. Device d belongs to vnode d % n, where n is EngineOptions.vnodes. Ids are given out one after the
   other, so vnodes are equally large.
2. The rows of vnode k of n > 1 lie in parts of their own, in ``parts/v<k>``; of one vnode in
   ``parts``. Flushing vnodes needs no order between them, so they are flushed in parallel.
3. Routing decides who writes, never what is found: a query looks at every part of a table. So n may
   change from one start to the next; old parts stay where they are until compaction joins them.
4. The log, its LSNs, the catalog and the accounts are the store's: all vnodes are frozen at one LSN
   and published by one record of the part list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mainstem_engine.head import KEY_BYTES, OBJECT_BYTES, Chunk, Head, text_bytes
from mainstem_engine.model import BoolMask, Lsns, Rows


@dataclass(slots=True)
class Vnode:
    """``head`` takes rows; ``frozen`` is the head that a flush is writing, if one is."""

    number: int
    head: Head = field(init=False)
    frozen: Head | None = None

    def __post_init__(self) -> None:
        self.head = Head(self.number)

    def freeze(self) -> Head:
        """Sets the head aside, sealed, and begins an empty one."""
        self.frozen, self.head = self.head, self.head.successor()
        return self.frozen

    def heads(self) -> tuple[Head, ...]:
        """What holds rows that are in no part, oldest first."""
        return (self.head,) if self.frozen is None else (self.frozen, self.head)

    def chunks(self, table: str) -> list[Chunk]:
        """The chunks of a table as they are now."""
        found: list[Chunk] = []
        for head in self.heads():
            rows = head.tables.get(table)
            if rows is not None:
                found += rows.view()
        return found


def rows_bytes(rows: Rows) -> int:
    """What rows take in a head, in bytes."""
    row = KEY_BYTES
    for column in rows.columns.values():
        row += column.values.itemsize + (column.valid is not None)
        if column.values.dtype == object:
            row += OBJECT_BYTES
    return row * len(rows) + text_bytes(rows)


def split_rows(
    rows: Rows, lsn: int | Lsns, late: BoolMask | None, vnodes: int
) -> Iterator[tuple[int, Rows, int | Lsns, BoolMask | None]]:
    """(vnode, its rows, LSNs and late marks), in order of arrival each. ``rows``: at least one.

    Rows that all belong to one vnode are not copied.
    """
    first = int(rows.device[0]) % vnodes
    if vnodes == 1 or len(rows) == 1:
        yield first, rows, lsn, late
        return
    place = rows.device % np.uint32(vnodes)
    if bool((place == first).all()):
        yield first, rows, lsn, late
        return
    for number in range(vnodes):
        index = np.flatnonzero(place == number)
        if len(index):
            yield (
                number,
                rows.take(index),
                lsn if isinstance(lsn, int) else lsn[index],
                None if late is None else late[index],
            )
