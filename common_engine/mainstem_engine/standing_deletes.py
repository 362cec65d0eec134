"""Standing deletes: the tombstones and floors of all tables, as the log has made them.

1. A record that deletes or replaces adds a tombstone; a slice image also raises a floor. Both are
   functions of the log: the checkpoint holds what stood at its LSN, and replay adds the rest.
2. Rows of other origins that *arrive* below a floor or under a tombstone are left out at once. So
   whatever is stored is covered only by tombstones that came after it.
3. After a flush or compaction those go that nothing needs any more (deletes.Tombstones.needed).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mainstem_engine.deletes import (
    NONE,
    Tombstone,
    Tombstones,
    decode_tombstones,
    encode_tombstones,
)
from mainstem_engine.floors import Floors, decode_floors, encode_floors
from mainstem_engine.inventory import Inventory
from mainstem_engine.model import Lsns, Rows, VersionedRows

TOMBSTONES_SECTION = "tombstones"
FLOORS_SECTION = "floors"


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is left of rows that arrived. ``superseded``: below a floor; ``deleted``: erased."""

    rows: Rows
    lsn: int | Lsns
    superseded: int = 0
    deleted: int = 0


class StandingDeletes:
    """Of one store, whose state lock serialises all calls. What is read stays valid after it."""

    def __init__(self) -> None:
        self.tombstones: dict[str, Tombstones] = {}
        """By table; those without any may be missing. Values are replaced, never changed."""
        self._floors: dict[str, Floors] = {}
        self._frozen_lsn = 0

    def of(self, table: str) -> Tombstones:
        """The tombstones of a table."""
        return self.tombstones.get(table, NONE)

    def floors(self, table: str) -> Floors:
        """The floors of a table."""
        found = self._floors.get(table)
        return Floors() if found is None else found

    def add(self, table: str, tombstone: Tombstone) -> None:
        """A record of the log deletes."""
        self.tombstones[table] = self.of(table).adding(tombstone, fold_above=self._frozen_lsn)

    def end(
        self, table: str, origin: int, start_ns: int, end_ns: int, as_of: int, lsn: int
    ) -> None:
        """What an origin deleted of [start, end) by its LSN ``as_of`` the rows tell that come with
        the local record ``lsn``."""
        if known := self.of(table):
            self.tombstones[table] = known.ending(origin, start_ns, end_ns, as_of, lsn)

    def raise_floor(self, table: str, origin: int, start_ns: int, end_ns: int, as_of: int) -> None:
        """A slice image was applied."""
        self._floors.setdefault(table, Floors()).raise_to(origin, start_ns, end_ns, as_of)

    def arriving(self, table: str, origin: int, rows: Rows, lsn: int | Lsns) -> Arrival:
        """What is left of rows of another origin that come in now."""
        tombstones, floors = self.tombstones.get(table), self._floors.get(table)
        if not tombstones and floors is None:
            return Arrival(rows, lsn)
        count = len(rows)
        lsns = np.full(count, lsn, np.uint64) if isinstance(lsn, int) else lsn
        superseded = None if floors is None else floors.below(origin, rows.time, lsns)
        if superseded is not None:
            rows, lsns = rows.take(~superseded), lsns[~superseded]
        left = len(rows)
        origins = np.full(left, origin, np.uint16)
        versioned = VersionedRows(rows.device, rows.time, origins, lsns, rows.columns)
        if tombstones:
            # A slice image replaces only what was there: nothing that arrives came before it.
            after_all = (tombstones.newest_lsn, tombstones.newest_lsn)
            versioned = tombstones.erase(versioned, after_all)
        rows = Rows(versioned.device, versioned.time, versioned.columns)
        return Arrival(rows, versioned.lsn, count - left, left - len(rows))

    def origins(self) -> set[int]:
        """Origins that have tombstones or floors."""
        found = {item.origin for items in self.tombstones.values() for item in items}
        return found.union(*(floors.origins for floors in self._floors.values()))

    # With flushes

    def freeze(self, lsn: int) -> tuple[dict[str, Tombstones], dict[str, bytes]]:
        """What stands at ``lsn``: the tombstones, and the sections of the checkpoint."""
        self._frozen_lsn = lsn
        sections = {}
        if any(self.tombstones.values()):
            sections[TOMBSTONES_SECTION] = encode_tombstones(self.tombstones)
        if any(len(floors) for floors in self._floors.values()):
            sections[FLOORS_SECTION] = encode_floors(self._floors)
        return dict(self.tombstones), sections

    def restore(self, sections: Mapping[str, bytes], lsn: int) -> None:
        """Back to a checkpoint at ``lsn``; one of an older version has no such sections."""
        self._frozen_lsn = lsn
        if TOMBSTONES_SECTION in sections:
            self.tombstones = decode_tombstones(sections[TOMBSTONES_SECTION])
        if FLOORS_SECTION in sections:
            self._floors = decode_floors(sections[FLOORS_SECTION])

    def forget_needless(
        self, inventory: Inventory, checkpoint_lsn: int, settled: Callable[[int], int]
    ) -> None:
        """After parts were published: drops what nothing needs any more."""
        for table, tombstones in list(self.tombstones.items()):
            metas = [part.meta for part in inventory.of_table(table)]
            left = tombstones.needed(metas, checkpoint_lsn, settled)
            if left:
                self.tombstones[table] = left
            else:
                del self.tombstones[table]
        for table, floors in list(self._floors.items()):
            floors.drop_settled(settled)
            if not len(floors):
                del self._floors[table]
