"""Rows and values of a batch that this node puts aside, and what they add to a slice's digest.

1. Rows of a denied device are put aside whole. Of a measurement whose type differs here only the
   values are, unless the record has no other column: then its rows are.
2. ``blocks`` go to the quarantine, by column; ``slices`` into the RCV record, so that a slice can
   be shown to be equal when what was put aside is added.

A value that was put aside and then corrected by its owner is counted in both versions here: such
a slice stays a mismatch, which is the truth about what is stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.erasures import Erasure
from mainstem_engine.model import BoolMask, Column, DeviceIds, Lsns, Rows, VersionedRows
from mainstem_engine.slices import DeviceKeys, digest_rows
from mainstem_sync.origins.origin_state import DENIED, OriginMaps, TableMap
from mainstem_sync.origins.received import MappedPoints
from mainstem_sync.receiving.covering import Covering
from mainstem_sync.receiving.quarantine import QuarantineBlock
from mainstem_sync.wire.messages import OriginKey

NOT_OWNER = "not_owner"
TYPE_CONFLICT = "type_conflict"

NS_PER_MS = 1_000_000
U64 = 0xFFFFFFFFFFFFFFFF


class Parking:
    """What one batch of one origin leaves behind."""

    def __init__(self, key: OriginKey, at_ms: int) -> None:
        self._key = key
        self._at_ms = at_ms
        self.blocks: list[QuarantineBlock] = []
        self.coverings: list[Covering] = []
        self._values: dict[str, int] = {}
        self._slices: dict[tuple[str, int, int], list[int]] = {}

    def put(
        self,
        lsn: int,
        mapped: MappedPoints,
        table: TableMap,
        maps: OriginMaps,
        catalog: Catalog,
        versions: Lsns | None = None,
    ) -> None:
        """Take what ``map_points`` did not let through. ``versions``: the LSN of each row of
        ``mapped.points``, where they are not all of the record ``lsn``."""
        rows = mapped.points.rows
        lsns = np.full(len(rows), lsn, np.uint64) if versions is None else versions
        paths = _paths(rows, maps, catalog)
        denied = mapped.denied
        if denied is not None:
            columns = rows.take(denied).columns
            self._park(lsn, table, rows.take(denied), columns, paths, rows_too=True)
            self._whole_rows(lsn, table, rows.take(denied), lsns[denied], paths)
        if mapped.conflicts:
            kept: BoolMask | slice = slice(None) if denied is None else ~denied
            left = rows.take(kept)
            lsns = lsns[kept]
            columns = {key: left.columns[key] for key, _, _ in mapped.conflicts}
            self._park(lsn, table, left, columns, paths, rows_too=mapped.refused)
            for key, measurement, _ in mapped.conflicts:
                column = left.columns[key]
                self._column(lsn, table, measurement.name, left, lsns, column, paths)

    def cover(self, erasure: Erasure, table: TableMap, maps: OriginMaps, catalog: Catalog) -> None:
        """A delete of the origin, with its ids, removes what was put aside of its rows too."""
        devices = np.empty(0, np.uint32) if erasure.devices is None else np.unique(erasure.devices)
        names = {key: measurement.name for key, measurement in table.measurements.items()}
        self.coverings.append(
            Covering.of(
                erasure, _paths_of(devices, maps, catalog), names, node=self._key.name,
                uuid=self._key.uuid, epoch=self._key.epoch, table=table.local,
            )
        )  # fmt: skip

    def values_by_table(self) -> dict[str, int]:
        """Local table to values put aside whose row is stored all the same."""
        return dict(self._values)

    def slices(self) -> list[list[Any]]:
        """``[local table, slice_ns, slice, rows, d1, d2, values]``, see the RCV record."""
        return [[*key, *sums] for key, sums in self._slices.items()]

    def _whole_rows(
        self, lsn: int, table: TableMap, rows: Rows, lsns: Lsns, paths: dict[int, str]
    ) -> None:
        names = {key: m.name for key, m in table.measurements.items()}
        values = [
            json.dumps(
                {
                    names.get(key, str(key)): _plain(column.values[row])
                    for key, column in rows.columns.items()
                    if column.valid is None or column.valid[row]
                },
                default=str,
            )
            for row in range(len(rows))
        ]
        self._block(lsn, table, "", NOT_OWNER, rows, lsns, values, paths)

    def _column(
        self,
        lsn: int,
        table: TableMap,
        measurement: str,
        rows: Rows,
        lsns: Lsns,
        column: Column,
        paths: dict[int, str],
    ) -> None:
        present = slice(None) if column.valid is None else column.valid
        rows = Rows(rows.device[present], rows.time[present])
        if len(rows):
            values = column.values[present].tolist()
            versions = lsns[present]
            self._block(lsn, table, measurement, TYPE_CONFLICT, rows, versions, values, paths)

    def _block(
        self,
        lsn: int,
        table: TableMap,
        measurement: str,
        reason: str,
        rows: Rows,
        lsns: Lsns,
        values: Sequence[Any],
        paths: dict[int, str],
    ) -> None:
        self.blocks.append(
            QuarantineBlock(
                self._key.name,
                table.local,
                measurement,
                reason,
                self._at_ms,
                [paths[device] for device in rows.device.tolist()],
                (rows.time // NS_PER_MS).tolist(),
                values,
                lsn,
                self._key.uuid,
                self._key.epoch,
                rows.time,
                lsns,
            )
        )

    def sum_up(self, lsn: int, table: TableMap, rows: Rows, path: str, *, rows_too: bool) -> None:
        """Only the sums of rows of one device, which have the origin's ids."""
        paths = {int(device): path for device in np.unique(rows.device)}
        self._park(lsn, table, rows, rows.columns, paths, rows_too=rows_too)

    def _park(
        self,
        lsn: int,
        table: TableMap,
        rows: Rows,
        columns: dict[int, Column],
        paths: dict[int, str],
        *,
        rows_too: bool,
    ) -> None:
        """Add rows (sorted by device, as a record has them) to the sums of their slices."""
        if not len(rows):
            return
        versions = VersionedRows(
            rows.device,
            rows.time,
            np.zeros(len(rows), np.uint16),
            np.full(len(rows), lsn, np.uint64),
            columns,
        )
        keys = DeviceKeys(_PathTable(paths))
        start, count, d1, d2 = digest_rows(
            versions, keys, table.slice_ns, {key: key for key in columns}
        )
        values = _values_by_slice(rows, columns, start, table.slice_ns)
        for at, key in enumerate((start // table.slice_ns).tolist()):
            sums = self._slices.setdefault((table.local, table.slice_ns, key), [0, 0, 0, 0])
            sums[0] += int(count[at]) if rows_too else 0
            sums[1] = (sums[1] + int(d1[at])) & U64
            sums[2] = (sums[2] + int(d2[at])) & U64
            sums[3] += int(values[at])
        if not rows_too:
            total = int(values.sum())
            self._values[table.local] = self._values.get(table.local, 0) + total


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _values_by_slice(
    rows: Rows, columns: dict[int, Column], start: npt.NDArray[np.int64], slice_ns: int
) -> npt.NDArray[np.int64]:
    """Values that are not null, per slice of ``start`` (ascending)."""
    present = np.zeros(len(rows), np.int64)
    for column in columns.values():
        present += 1 if column.valid is None else column.valid
    totals = np.zeros(len(start), np.int64)
    np.add.at(totals, np.searchsorted(start, rows.time - rows.time % slice_ns), present)
    return totals


def _paths(rows: Rows, maps: OriginMaps, catalog: Catalog) -> dict[int, str]:
    """Device path by the origin's id."""
    return _paths_of(np.unique(rows.device), maps, catalog)


def _paths_of(ids: DeviceIds, maps: OriginMaps, catalog: Catalog) -> dict[int, str]:
    local = maps.local_devices(ids).tolist()
    return {
        device: maps.denied.get(device, "?") if here == DENIED else catalog.devices.path(here)
        for device, here in zip(ids.tolist(), local, strict=True)
    }


class _PathTable:
    """Paths by the origin's device id, for DeviceKeys."""

    def __init__(self, paths: dict[int, str]) -> None:
        self._paths = paths

    def path(self, device: int) -> str:
        return self._paths[device]
