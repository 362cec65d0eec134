"""When an origin defined what: enough to take back what was defined beyond a fork.

1. Tables are kept with the LSN of the record that brought them, once per revision.
2. A node gives device ids out in ascending order, so a few pairs (LSN, greatest id so far) say
   which ids are older than a fork. Where pairs are thinned out fewer ids count as known, and their
   node says them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REVISIONS_KEPT = 4096
"""Revisions of all tables of a node. What an older one said a newer one says again."""

PAIRS_KEPT = 512
"""Every second pair of the older half goes when they are too many."""


class DefinitionLog:
    """Of one origin. Guarded by the federation's lock."""

    __slots__ = ("_devices", "_tables")

    def __init__(self) -> None:
        self._tables: list[tuple[int, list[Any]]] = []
        self._devices: list[tuple[int, int]] = []

    def note(self, tables: Sequence[Any], devices: Sequence[Any], end_lsn: int) -> None:
        """What an RCV record defines (its ``sch`` and ``dev``), of records up to ``end_lsn``."""
        if not tables and not devices:
            return
        self._tables += [(lsn, plain) for lsn, plain in tables if lsn <= end_lsn]
        del self._tables[:-REVISIONS_KEPT]
        self._devices += [
            (lsn, int(max(ids))) for lsn, ids, _ in devices if lsn <= end_lsn and len(ids)
        ]
        while len(self._devices) > PAIRS_KEPT:
            self._devices.sort()
            del self._devices[1 : PAIRS_KEPT // 2 : 2]

    def until(self, lsn: int) -> DefinitionLog:
        """Without what was defined later."""
        found = DefinitionLog()
        found._tables = [item for item in self._tables if item[0] <= lsn]
        found._devices = [item for item in self._devices if item[0] <= lsn]
        return found

    @property
    def tables(self) -> list[list[Any]]:
        """Every TableMap, as plain values, by the LSN of its record."""
        return [plain for _, plain in sorted(self._tables, key=lambda item: item[0])]

    def newest(self, table: str) -> int:
        """The last record that defined a table (its owner's name); 0 if none is known."""
        name = table.casefold()
        return max((lsn for lsn, plain in self._tables if plain[0].casefold() == name), default=0)

    @property
    def device_top(self) -> int:
        """The greatest device id that is surely known; -1 for none."""
        return max((top for _, top in self._devices), default=-1)

    def snapshot(self) -> list[Any]:
        return [[list(item) for item in self._tables], [list(item) for item in self._devices]]

    @classmethod
    def restore(cls, data: Sequence[Any]) -> DefinitionLog:
        log = cls()
        tables, devices = data
        log._tables = [(lsn, plain) for lsn, plain in tables]
        log._devices = [(lsn, top) for lsn, top in devices]
        return log
