"""The life of a write: catalog, log, head.

1. ``append_points`` and ``append`` encode a record outside every lock, then append it to the log
   under the *append lock*. Definitions are checked, appended and applied under the same lock, so
   the log never names what it has not defined.
2. The log's committer thread makes the record durable and hands it back in LSN order. ``_apply``
   puts its rows into the head, counts them, tells the consumers, and completes the Ack.
3. A start reads the newest checkpoint and applies every later record of the log in the same way.
   State = checkpoint at F + records above F.
4. ``freeze`` (see flush.py) waits, under the append lock, until everything appended is applied; what
   it copies is therefore the state at exactly that LSN.

Locks, always taken in this order: append lock (writers, definitions, freeze), state lock (head,
accounts, parts in use; held for microseconds).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.accounting import StoreAccounting, StoreCounts
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.templates import Table
from mainstem_engine.consumers import Ack, AppliedRows, Completion, LogConsumer
from mainstem_engine.errors import ClosedError, EngineError, LogFailedError, SchemaError
from mainstem_engine.filesystem import Buffer, Filesystem
from mainstem_engine.head import Chunk, Head
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import Record, RecordKind, decode_payload, encode_payload
from mainstem_engine.model import SELF_ORIGIN, DeviceIds, Lsns, Origin, Rows
from mainstem_engine.options import EngineOptions
from mainstem_engine.points import Points, decode_points, encode_points

logger = logging.getLogger(__name__)

ORIGINS_MAX = 1 << 16
"""Indexes of origins are uint16 in every stored row."""


@dataclass(frozen=True, slots=True)
class TableView:
    """What a query sees of one table: the same rows however long it takes."""

    table: str
    whole_rows: bool
    devices: DeviceIds
    chunks: Sequence[Chunk]
    parts: Sequence[Any]
    epochs: npt.NDArray[np.uint32]


class Origins:
    """Where rows come from, by index; 0 is this node."""

    def __init__(self, own: Origin) -> None:
        self.all: list[Origin] = [own]
        self._index: dict[Origin, int] = {own: SELF_ORIGIN}
        self.epochs: npt.NDArray[np.uint32] = np.array([own.epoch], np.uint32)

    def index(self, origin: Origin) -> int:
        """Its index, a new one in order of the log when it is new. Raises SchemaError when full."""
        found = self._index.get(origin)
        if found is None:
            if len(self.all) >= ORIGINS_MAX:
                raise SchemaError(f"more than {ORIGINS_MAX} origins")
            found = len(self.all)
            self.all.append(origin)
            self._index[origin] = found
            self.epochs = np.array([o.epoch for o in self.all], np.uint32)
        return found

    def find(self, origin: Origin) -> int | None:
        """Its index, None when no row of it was ever stored."""
        return self._index.get(origin)

    def snapshot(self) -> bytes:
        packed: bytes = msgpack.packb([[o.node_uuid, o.node, o.epoch] for o in self.all])
        return packed

    @classmethod
    def restore(cls, data: bytes, own: Origin) -> Origins:
        origins = cls(own)
        for uuid, node, epoch in msgpack.unpackb(data)[1:]:
            origins.index(Origin(uuid, node, epoch))
        return origins


class Store:
    """One data directory, open. Use Engine, which checks and converts what callers hand in."""

    def __init__(
        self,
        path: Path,
        options: EngineOptions,
        fs: Filesystem,
        log: Log,
        own: Origin,
        consumers: Sequence[LogConsumer],
    ) -> None:
        self.path = path
        self.options = options
        self.log = log
        self.catalog = Catalog()
        self.origins = Origins(own)
        self.accounting = StoreAccounting()
        self.consumers = tuple(consumers)
        self.append_lock = threading.RLock()
        self.state_lock = threading.Lock()
        self.applied_lsn = 0
        self.settled: Callable[[int], int] = _everything_settled
        self.holds: dict[str, Callable[[], int]] = {}
        self._fs = fs
        self._head = Head()
        self._completion = Completion()
        self._closed = False
        self._failure: EngineError | None = None

    # Writing

    def append_points(self, header: Mapping[str, Any], rows: Rows, table: Table) -> Ack:
        """Logs rows of this node: sorted, without duplicates, ids and types of the table."""
        types = {m.id: m.type for m in table.template.measurements}
        payload = encode_points(header, rows, types)
        return self._append(RecordKind.PTS, payload, Points(table.name, header, rows))

    def append(
        self,
        kind: RecordKind,
        header: Mapping[str, Any],
        buffers: Sequence[Buffer],
        decoded: object,
    ) -> Ack:
        """Logs a record of any other kind; ``decoded`` is handed to the consumers as it is."""
        return self._append(kind, encode_payload(header, buffers), decoded)

    def _append(self, kind: RecordKind, payload: Sequence[Buffer], decoded: object) -> Ack:
        ack = self._completion.ack(decoded)
        with self.append_lock:
            self.check_open()
            ack.lsn = self.log.append(kind, payload, ack)
        return ack

    def check_open(self) -> None:
        """Raises ClosedError, or LogFailedError when the log has failed."""
        if self._closed:
            raise ClosedError("the engine is closed")
        if self._failure is not None:
            raise self._failure

    # Applying

    def start(self) -> None:
        """Replays the log and begins to accept writes."""
        for record in self.log.read(self.applied_lsn + 1):
            self._apply(record, None)
            self.applied_lsn = record.lsn
        self.applied_lsn = self.log.appended_lsn
        self.log.start(self._on_commit, self._on_failure)

    def _on_commit(self, batch: Sequence[tuple[Record, object]]) -> None:
        acks: list[Ack] = []
        for record, token in batch:
            ack = token if isinstance(token, Ack) else None
            self._apply(record, None if ack is None else ack.decoded, live=True)
            if ack is not None:
                ack.lsn = record.lsn
                acks.append(ack)
        self.applied_lsn = batch[-1][0].lsn
        self._completion.complete(acks)

    def _on_failure(self, error: LogFailedError, tokens: Sequence[object]) -> None:
        self._failure = error
        logger.error("the log of %s failed: %s", self.path, error)
        self._completion.complete([t for t in tokens if isinstance(t, Ack)], error)

    def _apply(self, record: Record, decoded: object, *, live: bool = False) -> None:
        """One record. Definitions made while live are in the catalog already."""
        if record.kind == RecordKind.PTS:
            points = decoded if isinstance(decoded, Points) else decode_points(record.payload)
            self._add_rows(points.table, SELF_ORIGIN, points.rows, record.lsn, record.lsn)
            decoded = points
        elif record.kind == RecordKind.SCH and not live:
            self.catalog.apply_schema(decode_payload(record.payload)[0])
        elif record.kind == RecordKind.DEV and not live:
            self.catalog.apply_devices(decode_payload(record.payload)[0])
        sink: _Sink | None = None
        for consumer in self.consumers:
            if record.kind in consumer.kinds:
                sink = sink or _Sink(self, record.lsn)
                consumer.apply(record, decoded, sink)

    def _add_rows(
        self, table: str, origin: int, rows: Rows, lsn: int | Lsns, local_lsn: int
    ) -> None:
        if not len(rows):
            return
        with self.state_lock:
            head = self._head.table(table)
            late = self.accounting.account(table).note(rows.device, rows.time)
            if late is not None:
                head.late.append((rows.device[late], rows.time[late]))
            head.append(rows, origin, lsn)
        if self.consumers:
            batch = AppliedRows(table, origin, rows.device, rows.time, lsn, local_lsn)
            for consumer in self.consumers:
                consumer.rows_applied(batch)

    def add_foreign_rows(
        self, table: str, origin: Origin, rows: Rows, lsn: int | Lsns, local_lsn: int
    ) -> None:
        """Rows that a consumer found in the record ``local_lsn``."""
        with self.state_lock:
            index = self.origins.index(origin)
        self._add_rows(table, index, rows, lsn, local_lsn)

    # Reading

    def view(self, table: Table) -> TableView:
        """A snapshot of the table as it is now."""
        with self.state_lock:
            head = self._head.tables.get(table.name)
            return TableView(
                table.name,
                table.replaces_rows,
                self.catalog.devices.of_family(table.family),
                [] if head is None else head.view(),
                (),
                self.origins.epochs,
            )

    def counts(self) -> dict[str, StoreCounts]:
        """The accounts of all tables at one instant."""
        with self.state_lock:
            return self.accounting.counts()

    # Life

    def close(self) -> None:
        """Commits what is queued and lets go of the directory. May be called twice."""
        with self.append_lock:
            if self._closed:
                return
            self._closed = True
        self.log.close()


class _Sink:
    """The RowSink that a consumer gets with one record."""

    __slots__ = ("_lsn", "_store")

    def __init__(self, store: Store, local_lsn: int) -> None:
        self._store = store
        self._lsn = local_lsn

    def add(self, table: str, origin: Origin, rows: Rows, lsn: int | Lsns) -> None:
        self._store.add_foreign_rows(table, origin, rows, lsn, self._lsn)


def _everything_settled(origin: int) -> int:
    """Without sync nothing can arrive late from another node."""
    del origin
    return (1 << 63) - 1
