"""The engine: arrays in, Arrow out. The public face of this package.

An Engine owns one data directory. Its methods may be called from any thread. Times are integers in
the precision of the table (``precision_ns``), devices are paths or uint32 ids, names of templates
and measurements are not case-sensitive.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.accounting import StoreCounts
from mainstem_engine.arrow import ArrowLayout
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, to_column, to_times_ns
from mainstem_engine.consumers import Ack, LogConsumer
from mainstem_engine.definitions import Definitions
from mainstem_engine.errors import EngineError, NotFoundError, SchemaError
from mainstem_engine.filesystem import Buffer, FileLock, Filesystem
from mainstem_engine.housekeeping import Housekeeping
from mainstem_engine.identity import ensure_identity
from mainstem_engine.last_values import LastRows, LastValues
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind
from mainstem_engine.merge import merge_call
from mainstem_engine.model import DeviceIds, Measurement, Origin, Rows, TimesNs, VersionedRows
from mainstem_engine.options import EngineOptions
from mainstem_engine.points import points_header
from mainstem_engine.scan import Selection, iterate_rows, read_rows
from mainstem_engine.slices import SliceDigests, slice_digests
from mainstem_engine.statistics import EngineStatistics, engine_statistics
from mainstem_engine.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.session import Session

logger = logging.getLogger(__name__)

LOCK_NAME = "LOCK"


class Engine:
    """Use ``Engine.open``."""

    def __init__(self, store: Store, lock: FileLock) -> None:
        self._store = store
        self._lock = lock
        self._definitions = Definitions(store)
        self._session: Session | None = None
        self._last_values = LastValues(store)
        self._housekeeping = Housekeeping(store, self._last_values.absorb)
        self.create_database = self._definitions.create_database
        self.create_template = self._definitions.create_template
        self.extend_template = self._definitions.extend_template
        self.set_template = self._definitions.set_template
        self.create_rollup = self._definitions.create_rollup
        self.device_ids = self._definitions.device_ids

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        options: EngineOptions | None = None,
        *,
        consumers: Sequence[LogConsumer] = (),
        owner_url: str | None = None,
        fs: Filesystem | None = None,
    ) -> Engine:
        """Opens a data directory, made when it is missing, and replays its log.

        ``owner_url`` is shown to others that try to open it. Raises LockedError, CorruptionError.
        """
        options = options or EngineOptions()
        fs = fs or Filesystem()
        directory = Path(path)
        fs.make_directory(directory)
        lock = fs.lock(directory / LOCK_NAME, url=owner_url)
        try:
            uuid = ensure_identity(fs, directory)
            store = Store(directory, options, fs, Origin(uuid, options.node_name), consumers)
            store.start()
        except BaseException:
            lock.close()
            raise
        engine = cls(store, lock)
        engine.append(RecordKind.BOOT, {"id": os.urandom(16), "at": options.clock()})
        engine._housekeeping.start()
        return engine

    def close(self) -> None:
        """Commits and flushes what was accepted and releases the directory. May be called twice.

        A flush that fails is logged: the rows are in the log, and the next start replays them.
        """
        if self._session is not None:
            self._session.close()
        self._housekeeping.stop()
        try:
            if self._store.behind > 1:  # beyond the BOOT record of this start
                self._housekeeping.flush()
        except (OSError, EngineError) as error:
            logger.error("the last flush of %s failed: %s", self._store.path, error)
        finally:
            self._store.close()
            self._lock.close()

    def abandon(self) -> None:
        """As close(), without the last flush: what a crash would leave, for the next start to replay.

        For a caller that must be quick, or whose disk is failing.
        """
        self._housekeeping.stop()
        self._store.close()
        self._lock.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # What is there

    @property
    def node_uuid(self) -> str:
        """32 hex digits, made at the first start."""
        return self._store.origins.all[0].node_uuid

    @property
    def origins(self) -> Sequence[Origin]:
        """Where rows came from, by index; 0 is this node."""
        return self._store.origins.all

    def origin_index(self, origin: Origin) -> int | None:
        """The index of an origin, None when nothing of it was stored."""
        return self._store.origins.find(origin)

    @property
    def catalog(self) -> Catalog:
        """Only for reading."""
        return self._store.catalog

    @property
    def databases(self) -> list[Database]:
        return list(self._store.catalog.databases)

    @property
    def log(self) -> Log:
        """Only for reading."""
        return self._store.log

    @property
    def options(self) -> EngineOptions:
        return self._store.options

    @property
    def path(self) -> Path:
        return self._store.path

    def precision_ns(self, table: str) -> int:
        """Nanoseconds per unit of the table's integer times: 10**6, 10**3 or 1."""
        return self._store.catalog.precision_ns(table)

    @property
    def committed_lsn(self) -> int:
        return self._store.log.committed_lsn

    @property
    def durable_lsn(self) -> int:
        """The last LSN that is on disk."""
        return self._store.log.fsynced_lsn

    @property
    def applied_lsn(self) -> int:
        """The last LSN whose rows are visible."""
        return self._store.applied_lsn

    # Writing

    def write(
        self,
        template: str,
        devices: str | Sequence[str] | DeviceIds,
        time: Any,
        columns: Mapping[str, Any],
        *,
        intake: Mapping[str, int] | None = None,
        derived: bool = False,
        header: Mapping[str, Any] | None = None,
    ) -> Ack:
        """Writes n rows as one log record; all become durable and visible together, or none.

        ``devices``: a path, n paths, or uint32[n] ids. ``time``: int64[n] in the table's
        precision. ``columns``: values by measurement name, see columns.py for what is accepted;
        measurements left out are null. Rows of one (device, time) are merged, the later wins.
        Raises SchemaError, NotFoundError, OutOfRangeError (nothing is stored), LogFailedError,
        OverloadedError.
        """
        table = self._store.catalog.table(template)
        count = _length(time)
        ids = self._definitions.devices_for_write(table, devices, count)
        precision_ns = self._store.catalog.precision_ns(template)
        times = to_times_ns(time, precision_ns)
        rows = Rows(ids, times)
        for name, data in columns.items():
            measurement = _measurement(table, name)
            rows.columns[measurement.id] = to_column(measurement, data, count, precision_ns)
        return self.write_rows(table, rows, intake=intake, derived=derived, header=header)

    def write_rows(
        self,
        table: Table,
        rows: Rows,
        *,
        intake: Mapping[str, int] | None = None,
        derived: bool = False,
        header: Mapping[str, Any] | None = None,
    ) -> Ack:
        """As write(), of rows that are typed already, times in ns. Takes over the arrays."""
        merged = merge_call(rows)
        fields = points_header(
            table.name,
            table.template.revision,
            len(merged),
            accepted=0 if derived else len(rows),
            derived=derived,
        )
        if derived:
            fields["mrg"] = 0
        if intake is not None:
            fields["in"] = dict(intake)
        return self._store.append_points({**fields, **(header or {})}, merged, table)

    def append(
        self,
        kind: RecordKind,
        header: Mapping[str, Any],
        buffers: Sequence[Buffer] = (),
        *,
        decoded: object = None,
    ) -> Ack:
        """Logs a record of a consumer; ``decoded`` spares it decoding its own record when live."""
        if buffers:
            self._store.admit()
        return self._store.append(kind, header, buffers, decoded)

    # Reading

    def scan(
        self,
        template: str,
        devices: str | Sequence[str] | DeviceIds | None = None,
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
        table = self._store.catalog.table(template)
        precision_ns = self._store.catalog.precision_ns(template)
        layout = ArrowLayout(table, self._store.catalog.devices, precision_ns, columns)
        selection = Selection(
            self._select_devices(table, devices, tags),
            _bound_ns(start, precision_ns, TIME_MIN_NS),
            _bound_ns(end, precision_ns, TIME_MAX_NS + 1),
            layout.measurement_ids,
        )
        view = self._store.view(table)
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
        found = self._store.catalog.table(table)
        ids = None if measurement_ids is None else tuple(measurement_ids)
        wanted = None if devices is None else np.unique(np.asarray(devices, np.uint32))
        view = self._store.view(found)
        rows = read_rows(view, Selection(wanted, start_ns, end_ns, ids, origin))
        return Rows(rows.device, rows.time, rows.columns)

    def last(
        self, template: str, devices: str | Sequence[str] | DeviceIds | None = None
    ) -> pa.Table:
        """One row per device that has rows: ``time`` of its newest row, ``device``, and per
        measurement the newest value that is not null."""
        import pyarrow as pa

        table = self._store.catalog.table(template)
        names = [m.name for m in table.template.measurements]
        precision_ns = self._store.catalog.precision_ns(template)
        layout = ArrowLayout(table, self._store.catalog.devices, precision_ns, names)
        found = self._last(table, devices)
        none = np.zeros(len(found.time), np.uint16)
        rows = VersionedRows(found.device, found.time, none, none.astype(np.uint64), found.columns)
        schema = layout.schema()
        return pa.Table.from_batches([layout.batch(schema, rows)])

    def last_rows(
        self, template: str, devices: str | Sequence[str] | DeviceIds | None = None
    ) -> list[dict[str, Any]]:
        """As last(), as plain Python values; measurements that are null are left out."""
        table = self._store.catalog.table(template)
        precision_ns = self._store.catalog.precision_ns(template)
        found = self._last(table, devices)
        rows: list[dict[str, Any]] = []
        for row, device in enumerate(found.device.tolist()):
            values: dict[str, Any] = {
                "time": int(found.time[row]) // precision_ns,
                "device": self._store.catalog.devices.path(device),
            }
            for m in table.template.measurements:
                column = found.columns.get(m.id)
                if column is not None and (column.valid is None or column.valid[row]):
                    value = column.values[row]
                    values[m.name] = value.item() if isinstance(value, np.generic) else value
            rows.append(values)
        return rows

    def _last(self, table: Table, devices: str | Sequence[str] | DeviceIds | None) -> LastRows:
        wanted = self._select_devices(table, devices, None)
        if wanted is None:
            wanted = self._store.catalog.devices.of_family(table.family)
        return self._last_values.last(table, wanted)

    def newest_times(self, template: str, devices: DeviceIds) -> TimesNs:
        """int64[n] ns: the time of each device's newest row; accounting.NEVER_NS without rows."""
        name = self._store.catalog.table(template).name
        return self._store.newest_times(name, np.asarray(devices, np.uint32))

    def slice_digests(
        self,
        table: str,
        origin: int,
        start_ns: int,
        end_ns: int,
        slice_ns: int,
        measurement_ids: Mapping[int, int] | None = None,
    ) -> SliceDigests:
        """Digests of the slices of [start, end) that hold rows of ``origin``, by scanning.

        ``measurement_ids``: the owner's id by local id; None when they are the same.
        """
        found = self._store.catalog.table(table)
        ids = measurement_ids
        if ids is None:
            ids = {m.id: m.id for m in found.template.measurements}
        selection = Selection(None, start_ns, end_ns, tuple(ids), origin)
        devices = self._store.catalog.devices
        return slice_digests(self._store.view(found), devices, selection, slice_ns, ids)

    def store_accounting(self) -> dict[str, StoreCounts]:
        """Where every stored row went, per table, as of one instant."""
        return self._store.counts()

    def statistics(self) -> EngineStatistics:
        """The engine at this moment; cheap."""
        return engine_statistics(self._store, self._housekeeping.statistics())

    # Housekeeping

    @property
    def settled(self) -> Callable[[int], int]:
        """LSN of an origin (by index) up to which nothing of it can still arrive."""
        return self._store.settled

    @settled.setter
    def settled(self, function: Callable[[int], int]) -> None:
        self._store.settled = function

    def add_hold(self, name: str, function: Callable[[], int]) -> None:
        """``function()`` says the highest LSN that may be released; called during a flush."""
        self._store.holds[name] = function

    def flush(self) -> None:
        """Moves what was accepted before into parts, and releases the log that no hold needs."""
        self._housekeeping.flush()

    def compact(self) -> None:
        """Merges the parts of each partition into one, as far as memory allows."""
        self._housekeeping.compact()

    def sql(
        self,
        statement: str,
        params: Sequence[Any] | None = None,
        *,
        database: str | None = None,
        **options: Any,
    ) -> Result:
        """Runs one SQL statement in this process; see mainstem_engine.sql.session.Session."""
        if self._session is None:
            from mainstem_engine.sql.session import Session

            self._session = Session(self)
        return self._session.execute(statement, params=params, database=database, **options)

    # Inside

    def _select_devices(
        self,
        table: Table,
        devices: str | Sequence[str] | DeviceIds | None,
        tags: Mapping[str, Any] | None,
    ) -> DeviceIds | None:
        """Ascending uint32, None for all devices of the table."""
        catalog = self._store.catalog
        chosen: DeviceIds | None = None
        if devices is not None:
            if isinstance(devices, np.ndarray) and devices.dtype.kind in "iu":
                chosen = np.unique(np.atleast_1d(devices)).astype(np.uint32)
            else:
                paths = [devices] if isinstance(devices, str) else [str(p) for p in devices]
                chosen = np.unique(catalog.devices.lookup(paths))
            chosen = np.intersect1d(chosen, catalog.devices.of_family(table.family))
        if tags:
            for name in tags:
                if table.tag(name) is None:
                    raise NotFoundError(f"template {table.name} has no tag {name!r}", field=name)
            matching = catalog.devices.matching(table.family, tags)
            chosen = matching if chosen is None else np.intersect1d(chosen, matching)
        return chosen


def _length(time: Any) -> int:
    try:
        return len(time)
    except TypeError:
        raise SchemaError(
            "time is a single value, expected one per row", field="time", hint="write [t]"
        ) from None


def _measurement(table: Table, name: str) -> Measurement:
    found = table.measurement(name)
    if found is None:
        known = ", ".join(m.name for m in table.template.measurements[:20])
        raise NotFoundError(
            f"template {table.name} has no measurement {name!r}",
            field=name,
            hint=f"it has {known}; add it with ALTER SCHEMA TEMPLATE {table.name} ADD",
        )
    return found


def _bound_ns(value: int | None, precision_ns: int, default: int) -> int:
    """A bound of a range in ns; beyond what a time can be, the extreme."""
    if value is None:
        return default
    return min(max(int(value) * precision_ns, TIME_MIN_NS), TIME_MAX_NS + 1)
