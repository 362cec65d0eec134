"""The engine: arrays in, Arrow out. The public face of this package.

An Engine owns one data directory. Its methods may be called from any thread. Times are integers in
the precision of the table (``precision_ns``), devices are paths or uint32 ids, names of templates
and measurements are not case-sensitive.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.accounting import StoreCounts
from mainstem_engine.aggregates import AggregateCounts
from mainstem_engine.backup_stage import remove_stage
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import to_column, to_times_ns
from mainstem_engine.consumers import Ack, LogConsumer
from mainstem_engine.deletion import Deletions
from mainstem_engine.errors import EngineError, NotFoundError, SchemaError
from mainstem_engine.filesystem import Buffer, FileLock, Filesystem
from mainstem_engine.housekeeping import Housekeeping
from mainstem_engine.identity import ensure_identity
from mainstem_engine.imaging import Imaging
from mainstem_engine.known_blocks import MEMORY_SHARE, KnownBlocks
from mainstem_engine.last_values import LastValues
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind
from mainstem_engine.merge import is_strictly_sorted, merge_call
from mainstem_engine.model import DeviceIds, Measurement, Origin, Rows
from mainstem_engine.options import EngineOptions
from mainstem_engine.points import points_header
from mainstem_engine.rollup_control import RollupControl
from mainstem_engine.set_aside import DamagedPart, damaged_parts
from mainstem_engine.single_rows import SingleRows
from mainstem_engine.slices import DeviceKeys
from mainstem_engine.statistics import EngineStatistics, engine_statistics
from mainstem_engine.store import Store
from mainstem_engine.vnode import rows_bytes

if TYPE_CHECKING:
    from mainstem_engine.backup import BackupReport
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.session import Session

logger = logging.getLogger(__name__)

LOCK_NAME = "LOCK"


class Engine(RollupControl, Deletions, Imaging):
    """Use ``Engine.open``. It is also what definitions.py, retention_control.py, queries.py,
    deletion.py and imaging.py say."""

    def __init__(self, store: Store, lock: FileLock) -> None:
        self._store = store
        self._lock = lock
        self._session: Session | None = None
        self._last_values = LastValues(store)
        self._device_keys = DeviceKeys(store.catalog.devices)
        self._known_blocks = KnownBlocks(store.options.memory_limit_bytes // MEMORY_SHARE)
        self._aggregates = AggregateCounts()
        self._housekeeping = Housekeeping(store, self._last_values.absorb)
        self._single_rows = SingleRows(store, self._write_group)
        store.take_over = self._single_rows.take_over

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
            remove_stage(fs, directory)
            uuid = ensure_identity(fs, directory)
            store = Store(directory, options, fs, Origin(uuid, options.node_name), consumers)
            try:
                store.start()
            except BaseException:
                store.close()
                raise
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
        self._single_rows.stop()
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
        """As close(), without the last flush: the next start replays the log, as after a crash.

        For a caller that must be quick, or whose disk is failing.
        """
        self._single_rows.stop()
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
    def checkpoint_lsn(self) -> int:
        """The last LSN whose rows are in parts: replay begins after it."""
        return self._store.checkpoint_lsn

    @property
    def applied_lsn(self) -> int:
        """The last LSN whose rows are visible."""
        return self._store.applied_lsn

    # Writing

    def write(
        self,
        template: str,
        devices: str | Sequence[str] | DeviceIds | int | np.integer[Any],
        time: Any,
        columns: Mapping[str, Any],
        *,
        intake: Mapping[str, int] | None = None,
        derived: bool = False,
        header: Mapping[str, Any] | None = None,
    ) -> Ack:
        """Writes n rows. Up to 2 MiB are one log record: durable and visible together, or not at
        all. More become several records, one after the other; the Ack is that of the last.

        ``devices``: one path or id for all rows, n paths, or uint32[n] ids. ``time``: int64[n] in
        the table's precision. ``columns``: values by measurement name, see columns.py for what is
        accepted; measurements left out are null. Rows of one (device, time) are merged, the later
        wins.
        Raises SchemaError, NotFoundError, OutOfRangeError, OutOfRetentionError (nothing is stored),
        LogFailedError, OverloadedError.
        """
        if type(time) is list and len(time) == 1 and not (derived or intake or header):
            ack = self._single_rows.offer(template, devices, time[0], columns)
            if ack is not None:
                return ack
        table, rows = self._checked(template, devices, time, columns)
        return self.write_rows(table, rows, intake=intake, derived=derived, header=header)

    def _checked(
        self, template: str, devices: Any, time: Any, columns: Mapping[str, Any]
    ) -> tuple[Table, Rows]:
        """The rows of a call, typed. Raises what write() says."""
        table = self._store.catalog.table(template)
        count = _length(time)
        ids = self._devices_for_write(table, devices, count)
        precision_ns = self._store.catalog.precision_ns(template)
        rows = Rows(ids, to_times_ns(time, precision_ns))
        # Rows that are not sorted are copied when they are.
        copy = is_strictly_sorted(rows.device, rows.time)
        for name, data in columns.items():
            known = _measurement(table, name)
            rows.columns[known.id] = to_column(known, data, count, precision_ns, copy=copy)
        return table, rows

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
        if not derived:
            self._store.retention.check(table, rows.device, rows.time)
        if len(self._store.catalog.devices.dropped):
            self._revive_written(rows.device)
        merged, revision = merge_call(rows), table.template.revision
        fields = points_header(
            table.name, revision, len(merged), accepted=len(rows), derived=derived, intake=intake
        )
        return self._store.append_points({**fields, **(header or {})}, merged, table)

    def _write_group(self, table: Table, rows: Rows, ack: Ack | None) -> Ack:
        """Logs rows of several calls that were checked one by one."""
        if len(self._store.catalog.devices.dropped):
            self._revive_written(rows.device)
        merged, revision = merge_call(rows), table.template.revision
        fields = points_header(table.name, revision, len(merged), accepted=len(rows))
        return self._store.append_points(fields, merged, table, ack)

    def append(
        self,
        kind: RecordKind,
        header: Mapping[str, Any],
        buffers: Sequence[Buffer] = (),
        *,
        decoded: object = None,
        rows: Iterable[Rows] = (),
    ) -> Ack:
        """Logs a record of a consumer; ``decoded`` spares it decoding its own record when live.

        ``buffers`` are written as they are: they must not be changed afterwards. ``rows``: what the
        consumer will hand over when the record is applied. They count as memory from now on, and
        wait for room, as those of ``write`` do. Raises OverloadedError, LogFailedError.
        """
        held_bytes = sum(map(rows_bytes, rows))
        if buffers and not held_bytes:
            self._store.admit(derived=True)
        return self._store.append(kind, header, buffers, decoded, held_bytes)

    def refuse_rows(self, why: str | None) -> None:
        """From now on new rows, also of other nodes, are refused with OverloadedError, because
        ``why``; None takes them again. Rollups of what is here go on, and so do deletes."""
        self._store.refusal = why

    # What it says about itself

    def store_accounting(self) -> dict[str, StoreCounts]:
        """Where every stored row went, per table, as of one instant."""
        return self._store.counts()

    def statistics(self) -> EngineStatistics:
        """The engine at this moment; cheap."""
        return engine_statistics(
            self._store, self._housekeeping.statistics(), self._aggregates.statistics()
        )

    # Housekeeping

    @property
    def settled(self) -> Callable[[int], int]:
        """LSN of an origin (by index) up to which nothing of it can still arrive."""
        return self._store.settled

    @settled.setter
    def settled(self, function: Callable[[int], int]) -> None:
        self._store.settled = function

    @property
    def deletable(self) -> Callable[[Origin], bool]:
        """Whether a delete here may erase rows of another node: one that will not do it itself."""
        return self._store.deletable

    @deletable.setter
    def deletable(self, function: Callable[[Origin], bool]) -> None:
        self._store.deletable = function

    def add_hold(self, name: str, function: Callable[[], int]) -> None:
        """``function()`` says the highest LSN that may be released; called during a flush."""
        self._store.holds.add(name, function)

    def on_log_released(self, function: Callable[[int, int], None]) -> None:
        """``function(first_lsn, last_lsn)`` is told what went although a hold asked for it, because
        the log was larger than ``EngineOptions.log_bytes_max``; called during a flush."""
        self._store.holds.on_released(function)

    def flush(self) -> None:
        """Moves what was accepted before into parts, and releases the log that no hold needs."""
        self._housekeeping.flush()

    def checkpoint(self) -> None:
        """As flush, and what consumers know is durable after it even if no record is new."""
        self._housekeeping.flush(always=True)

    def compact(self) -> None:
        """Merges the parts of each partition into one, as far as memory allows."""
        self._housekeeping.compact()

    def damaged_parts(self, table: str, start_ns: int, end_ns: int) -> list[DamagedPart]:
        """Parts of a table with rows of about [start, end) that cannot be read. Reads all of them:
        for whoever met a CorruptionError there."""
        return damaged_parts(self._store, self._store.catalog.table(table).name, start_ns, end_ns)

    def set_aside(self, table: str, names: Collection[str]) -> int:
        """Gives up what cannot be read of these parts, but for those with rows of this node;
        returns how many rows are gone (``lost_local``). Raises OSError."""
        return self._housekeeping.set_aside(self._store.catalog.table(table).name, names)

    def backup(self, destination: str | os.PathLike[str], also: Sequence[str] = ()) -> BackupReport:
        """Everything that is durable now, as a directory of its own; writers go on meanwhile.

        ``destination`` must be empty or missing, and outside the data directory. ``also``: further
        files of the data directory. Raises SchemaError, OSError, CorruptionError; see backup.py.
        """
        # Most processes never make one, and the checks that it makes are a package of their own.
        from mainstem_engine.backup import backup_store

        return backup_store(self._store, self._housekeeping, Path(destination), also)

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


def _length(time: Any) -> int:
    try:
        return len(time)
    except TypeError:
        raise SchemaError(
            "time is a single value, expected one per row", field="time", hint="write [t]"
        ) from None


def _measurement(table: Table, name: str) -> Measurement:
    found = table.shown_measurement(name)
    if found is None:
        known = ", ".join(m.name for m in table.shown[:20])
        raise NotFoundError(
            f"template {table.name} has no measurement {name!r}",
            field=name,
            hint=f"it has {known}; add it with ALTER SCHEMA TEMPLATE {table.name} ADD",
        )
    return found
