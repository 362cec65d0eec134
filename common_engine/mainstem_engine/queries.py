"""What may be asked of an engine: scans, newest values, digests.

Every answer is of one instant: a view of head and parts is taken first, and what happens afterwards
does not change it. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.aggregate_queries import AggregateQueries
from mainstem_engine.arrow import TIME, ArrowLayout
from mainstem_engine.block_digests import slice_digests
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.edges import narrow_to_edge
from mainstem_engine.known_blocks import KnownBlocks
from mainstem_engine.last_values import LastRows, LastValues
from mainstem_engine.merge import version_sorted
from mainstem_engine.model import DeviceIds, Rows, TimesNs, VersionedRows
from mainstem_engine.newest import newest_row
from mainstem_engine.scan import Selection, iterate_rows, read_fragments, read_rows
from mainstem_engine.selections import DevicesLike, bound_ns, select_devices
from mainstem_engine.slices import DeviceKeys, SliceDigests, digest_rows
from mainstem_engine.sources import ValueRange
from mainstem_engine.store import Store

if TYPE_CHECKING:
    import pyarrow as pa


class Queries(AggregateQueries):
    """The reading half of an Engine."""

    _store: Store
    _last_values: LastValues
    _device_keys: DeviceKeys
    _known_blocks: KnownBlocks

    def scan(
        self,
        template: str,
        devices: DevicesLike = None,
        tags: Mapping[str, Any] | None = None,
        start: int | None = None,
        end: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Rows sorted by device id and time, read step by step as the reader is read.

        ``devices`` that do not exist have no rows. ``tags``: value, or list of accepted values, by
        tag. [``start``, ``end``) in the table's precision. ``columns``: names of measurements and
        tags, after ``time`` and ``device``, which are always there; None: all, as declared.
        Raises NotFoundError for an unknown template, column or tag.
        """
        precision_ns = self._store.catalog.precision_ns(template)
        table, view = self._store.current(template)
        layout = ArrowLayout(table, self._store.catalog.devices, precision_ns, columns)
        selection = Selection(
            self._select_devices(table, devices, tags),
            bound_ns(start, precision_ns, TIME_MIN_NS),
            bound_ns(end, precision_ns, TIME_MAX_NS + 1),
            layout.measurement_ids,
        )
        return layout.reader(iterate_rows(view, selection))

    def scan_columns(
        self,
        template: str,
        columns: Sequence[str],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        ranges: Mapping[str, tuple[float, float]],
        edge: tuple[int, bool] | None = None,
    ) -> pa.RecordBatchReader:
        """As scan(), for SQL: of devices (ascending, None: all) in [first, beyond) ns.

        Times are unspecified unless ``columns`` names them. ``ranges``: rows whose value of a
        measurement is null or not in [low, high] may be left out. ``edge`` (n, newest): and so may
        all but the newest, or the oldest, n rows.
        """
        table, view = self._store.current(template)
        precision_ns = self._store.catalog.precision_ns(template)
        # Paths of many devices take longer to make than their rows: only where they are named.
        layout = ArrowLayout(table, self._store.catalog.devices, precision_ns, columns, keys=())
        wanted = [(table.measurement(name), bounds) for name, bounds in ranges.items()]
        selection = Selection(
            devices,
            first_ns,
            beyond_ns,
            layout.measurement_ids,
            times=TIME in columns,
            ranges=tuple(ValueRange(m.id, *bounds) for m, bounds in wanted if m is not None),
        )
        if edge is not None:
            selection = narrow_to_edge(view, selection, edge[0], newest=edge[1])
        return layout.reader(iterate_rows(view, selection))

    def scan_rows(
        self,
        table: str,
        *,
        devices: DeviceIds | None = None,
        origin: int | None = None,
        start_ns: int = TIME_MIN_NS,
        end_ns: int = TIME_MAX_NS + 1,
        measurement_ids: Sequence[int] | None = None,
    ) -> Rows:
        """Merged rows sorted by device id and time, all at once; times in ns, end exclusive."""
        _, view = self._store.current(table)
        ids = None if measurement_ids is None else tuple(measurement_ids)
        wanted = None if devices is None else np.unique(np.asarray(devices, np.uint32))
        rows = read_rows(view, Selection(wanted, start_ns, end_ns, ids, origin))
        return Rows(rows.device, rows.time, rows.columns)

    def last(self, template: str, devices: DevicesLike = None) -> pa.Table:
        """One row per device that has rows: ``time`` of its newest row, ``device``, and per
        measurement the newest value that is not null."""
        import pyarrow as pa

        table, found = self.newest_values(template, devices)
        precision_ns = self._store.catalog.precision_ns(template)
        layout, schema = self._last_values.layout(table, precision_ns)
        count = len(found.time)
        none, nothing = np.zeros(count, np.uint16), np.zeros(count, np.uint64)
        rows = VersionedRows(found.device, found.time, none, nothing, found.columns)
        return pa.Table.from_batches([layout.batch(schema, rows)])

    def last_rows(self, template: str, devices: DevicesLike = None) -> list[dict[str, Any]]:
        """As last(), as plain Python values; measurements that are null are left out."""
        precision_ns = self._store.catalog.precision_ns(template)
        table, found = self.newest_values(template, devices)
        rows: list[dict[str, Any]] = []
        for row, device in enumerate(found.device.tolist()):
            values: dict[str, Any] = {
                "time": int(found.time[row]) // precision_ns,
                "device": self._store.catalog.devices.path(device),
            }
            for m in table.shown:
                column = found.columns.get(m.id)
                if column is not None and (column.valid is None or column.valid[row]):
                    value = column.values[row]
                    values[m.name] = value.item() if isinstance(value, np.generic) else value
            rows.append(values)
        return rows

    def newest_values(self, template: str, devices: DevicesLike = None) -> tuple[Table, LastRows]:
        """The table and its newest rows, of one revision: as last(), times in ns, with the time of
        each value."""
        while True:
            table = self._store.catalog.table(template)
            wanted = self._select_devices(table, devices, None)
            if wanted is None:
                wanted = self._store.catalog.devices.of_family(table.family)
            if len(wanted) == 1:
                table, view = self._store.current(template)
                # Without a head the statistics of one block say it as fast as what is held.
                if not view.chunks or not self._last_values.is_worth_holding(table, wanted):
                    newest = newest_row(view, wanted)
                    if newest is not None:
                        return table, newest
            found = self._last_values.last(table, wanted)
            if self._store.catalog.table(template).types == table.types:
                return table, found

    def newest_times(self, template: str, devices: DeviceIds) -> TimesNs:
        """int64[n] ns: the time of each device's newest row; accounting.NEVER_NS without rows."""
        name = self._store.catalog.table(template).name
        return self._store.newest_times(name, np.asarray(devices, np.uint32))

    def fragments(self, table: str, device: int, time_ns: int) -> VersionedRows:
        """What is stored of one device at one time, in the order of versions: the last is what a
        query reads, measurement by measurement."""
        view = self._store.view(self._store.catalog.table(table))
        devices = np.array([device], np.uint32)
        selection = Selection(devices, time_ns, time_ns + 1, versions=True)
        return version_sorted(read_fragments(view, selection), view.epochs)

    def stored_rows(
        self, table: str, devices: DeviceIds, start_ns: int, end_ns: int
    ) -> VersionedRows:
        """Rows of ``devices`` (ascending) in [start, end) as a query reads them, sorted by device
        and time. Versions are unspecified. OverloadedError when memory for scans is used up."""
        view = self._store.view(self._store.catalog.table(table))
        return read_rows(view, Selection(devices, start_ns, end_ns), counted=True)

    def slice_digests(
        self,
        table: str,
        origin: int | tuple[int, ...] | None,
        start_ns: int,
        end_ns: int,
        slice_ns: int,
        measurement_ids: Mapping[int, int] | None = None,
        devices: DeviceIds | None = None,
        *,
        expired: bool = False,
    ) -> SliceDigests:
        """Digests of the slices of [start, end) that hold rows of ``origin`` (by index, or several;
        None: of any, as a query would read them), by scanning.

        ``measurement_ids``: the owner's id by local id; None when they are the same. ``devices``:
        only these, ascending; None for all. ``expired``: with rows that nobody sees any more and
        that have not been removed.
        """
        found = self._store.catalog.table(table)
        view = self._store.view_at(table)[2] if expired else self._store.view(found)
        ids = measurement_ids
        if ids is None:
            ids = {m.id: m.id for m in found.template.measurements}
        selection = Selection(devices, start_ns, end_ns, tuple(ids), origin)
        return slice_digests(view, self._device_keys, self._known_blocks, selection, slice_ns, ids)

    def digests_of(
        self,
        table: str,
        rows: Rows,
        slice_ns: int,
        measurement_ids: Mapping[int, int] | None = None,
    ) -> SliceDigests:
        """As ``slice_digests``, of rows (sorted by device and time) that were read before."""
        ids = measurement_ids
        if ids is None:
            found = self._store.catalog.table(table)
            ids = {m.id: m.id for m in found.template.measurements}
        return SliceDigests(*digest_rows(rows, self._device_keys, slice_ns, ids))

    def _select_devices(
        self, table: Table, devices: DevicesLike, tags: Mapping[str, Any] | None
    ) -> DeviceIds | None:
        """Ascending uint32, None for all devices of the table."""
        return select_devices(self._store.catalog, table, devices, tags)
