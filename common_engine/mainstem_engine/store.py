"""The life of a write: catalog, log, head.

1. ``append_points`` and ``append`` encode a record outside every lock, then append it to the log
   under the *append lock*. Definitions are checked, appended and applied under the same lock, so
   the log never names what it has not defined.
2. The log's committer thread makes the record durable and hands it back in LSN order;
   application.py puts its rows into the head. Then the Ack is completed.
3. A start reads the checkpoint that the part list names and applies every later record of the log
   in the same way: state = checkpoint at F + records above F.
4. ``freeze`` waits, under the append lock, until everything appended is applied. What it copies is
   therefore the state at exactly that LSN.

Locks, always taken in this order: delete lock (one delete at a time), append lock (writers,
definitions, freeze), state lock (head, accounts, parts in use; held for microseconds).
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mainstem_engine.accounting import StoreAccounting, StoreCounts
from mainstem_engine.application import Application
from mainstem_engine.catalog.budget import MetadataBudget, default_metadata_bytes
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles
from mainstem_engine.catalog.templates import Table
from mainstem_engine.checkpoint import read_checkpoint
from mainstem_engine.columns import conform_rows
from mainstem_engine.consumers import (
    Ack,
    Completion,
    LogConsumer,
)
from mainstem_engine.deletes import Tombstones
from mainstem_engine.encoding.compression import load_compressors
from mainstem_engine.errors import (
    ClosedError,
    CorruptionError,
    EngineError,
    LogFailedError,
    OverloadedError,
)
from mainstem_engine.filesystem import Buffer, Filesystem, byte_view
from mainstem_engine.flush import (
    ACCOUNTS_SECTION,
    CATALOG_SECTION,
    ORIGINS_SECTION,
    FlushResult,
    FrozenState,
    consumer_sections,
)
from mainstem_engine.head import Chunk
from mainstem_engine.holds import Holds
from mainstem_engine.inventory import AnyPart, Inventory
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import Record, RecordKind, encode_payload
from mainstem_engine.losses import Losses
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.model import SELF_ORIGIN, DeviceIds, Origin, Rows, TimesNs
from mainstem_engine.options import MIB, Durability, EngineOptions
from mainstem_engine.origins import Origins
from mainstem_engine.points import Points, encode_points, split_points
from mainstem_engine.retention import CLOCK_SECTION, FACT, Retention, RetentionState
from mainstem_engine.retention_clock import RetentionClock
from mainstem_engine.standing_deletes import StandingDeletes
from mainstem_engine.view import TableView
from mainstem_engine.vnode import Vnode, rows_bytes

logger = logging.getLogger(__name__)

RECORD_BYTES_MAX = 2 * MIB
"""A record travels to the parent whole, inside a batch: small against the batch's own bound, and so
small that live rows need not wait behind one."""

HEADS = 2
"""While one is flushed, the other takes rows. More memory than that makes nothing faster: rows in
memory that was never used before cost page faults, and old ones leave the caches."""
HEAD_BYTES_MIN = 32 * MIB
"""However small a head is flushed: a batch need not wait for the one before."""
REFUSED_RETRY_S = 5.0
"""Room is looked for every second; asking sooner would only be refused again."""
LOG_QUEUE_BYTES_MAX = 64 * MIB
"""What may wait for the committer; several commits of the largest size."""


class Store:
    """One data directory, open. Use Engine, which checks and converts what callers hand in.

    ``open_log``: instead of Log.open; tests put a twin in its place."""

    def __init__(
        self,
        path: Path,
        options: EngineOptions,
        fs: Filesystem,
        own: Origin,
        consumers: Sequence[LogConsumer],
        open_log: Callable[..., Log] | None = None,
    ) -> None:
        self.path = path
        self.options = options
        self.fs = fs
        self.consumers = tuple(consumers)
        self.catalog = Catalog()
        limit = options.metadata_bytes_max
        if limit is None:
            limit = default_metadata_bytes(options.memory_limit_bytes)
        self.catalog_files = CatalogFiles(fs, path)
        self.metadata = MetadataBudget(
            limit,
            lambda: self.catalog,
            self.catalog_files,
            self._make_room,
            background=options.background,
        )
        self.origins = Origins(own)
        self.accounting = StoreAccounting()
        self.standing = StandingDeletes()
        self.application = Application(self)
        self.refusal: str | None = None
        """Why new rows are refused now."""
        self.backup_lock = threading.Lock()
        """One backup at a time; taken before every other lock and never waited for."""
        self.delete_lock = threading.Lock()
        self.append_lock = threading.RLock()
        self.state_lock = threading.Lock()
        self.settled: Callable[[int], int] = _everything_settled
        self.deletable: Callable[[Origin], bool] = _is_alive
        self._settled_in_parts: Mapping[int, int] = {}
        self.on_full: Callable[[], None] = _nothing_to_do
        self.take_over: Callable[[], None] = _nothing_to_do
        self.definitions = 0
        """Changes whenever the catalog is about to, under the append lock."""
        self.memory = MemoryBudget(
            options.memory_limit_bytes,
            head_bytes_max=max(HEAD_BYTES_MIN, HEADS * options.flush_bytes),
        )
        self.inventory = Inventory.open(fs, path)
        clock = RetentionClock(options.clock, options.monotonic)
        self.checkpoint_lsn = self._restore(clock)
        kept = RetentionState.from_plain(self.inventory.facts.get(FACT, {}))
        self.accounting.set_expired(kept.expired)
        self.accounting.set_lost(Losses.of(self.inventory.facts).rows)
        self.retention = Retention(self.catalog, clock, kept)
        self.log = (open_log or Log.open)(
            path / "log",
            fs=fs,
            node_uuid=own.node_uuid,
            durability=Durability.parse(options.durability),
            segment_bytes_max=options.log_segment_bytes,
            queue_bytes_max=min(LOG_QUEUE_BYTES_MAX, self.memory.limit_of("log")),
            trusted_lsn=self.checkpoint_lsn,
        )
        self.holds = Holds(self.log, options.log_bytes_max)
        self.applied_lsn = self.checkpoint_lsn
        self.visible_lsn = self.checkpoint_lsn
        """The last record that brought or deleted rows; under the state lock."""
        self.replayed_records = 0
        self.vnodes = [Vnode(number) for number in range(options.vnodes)]
        self._completion = Completion()
        self._committer = 0
        self._closed = False
        self._failure: EngineError | None = None
        self.flush_bytes = min(options.flush_bytes, self.memory.limit_of("head") // HEADS)
        self.memory.watch("log", lambda: self.log.queue_bytes)

    def _restore(self, clock: RetentionClock) -> int:
        """Takes over the checkpoint that goes with the parts; returns its LSN."""
        name = self.inventory.checkpoint
        if name is None:
            self.catalog_files.remove_all_but(None)
            return 0
        lsn, sections = read_checkpoint(self.fs, self.inventory.checkpoints, name)
        self.catalog = Catalog.restore(sections[CATALOG_SECTION], self.catalog_files)
        self.catalog_files.remove_all_but(self.catalog.devices.base)
        self.origins = Origins.restore(sections[ORIGINS_SECTION], self.origins.all[SELF_ORIGIN])
        self.accounting = StoreAccounting.restore(sections[ACCOUNTS_SECTION])
        self.standing.restore(sections, lsn)
        if CLOCK_SECTION in sections:
            clock.restore(sections[CLOCK_SECTION])
        snapshots = consumer_sections(sections)
        for consumer in self.consumers:
            if consumer.name in snapshots:
                consumer.restore(snapshots[consumer.name])
        return lsn

    # Writing

    def append_points(
        self, header: Mapping[str, Any], rows: Rows, table: Table, ack: Ack | None = None
    ) -> Ack:
        """Logs rows of this node: sorted, without duplicates, ids and types of the table.

        More than RECORD_BYTES_MAX become several records. The Ack is that of the last one: the
        log makes records durable in order. ``ack``: of a caller that was admitted already.
        """
        # The table may have been altered since the caller looked it up.
        types = self.catalog.table(table.name).types
        rows = conform_rows(rows, types)
        payload = encode_points(header, rows, types)
        size = sum(byte_view(buffer).nbytes for buffer in payload)
        if size > RECORD_BYTES_MAX and len(rows) > 1:
            *pieces, last = split_points(header, rows, -(-size // RECORD_BYTES_MAX))
            for some, piece in pieces:
                self.append_points(some, piece, table, None if ack is None else self.ack())
            return self.append_points(*last, table, ack)
        points = Points(table.name, header, rows)
        if ack is not None:
            return self._append(RecordKind.PTS, payload, points, ack)
        ack = self.ack()
        ack.held_bytes = rows_bytes(rows)
        self.admit(ack.held_bytes, derived=bool(header.get("der")))
        try:
            return self._append(RecordKind.PTS, payload, points, ack)
        except Exception:
            self._let_go(ack)
            raise

    def append(
        self,
        kind: RecordKind,
        header: Mapping[str, Any],
        buffers: Sequence[Buffer],
        decoded: object,
        held_bytes: int = 0,
    ) -> Ack:
        """Logs a record of any other kind; ``decoded`` is handed to the consumers as it is.

        ``buffers`` are written as they are: they must not be changed afterwards. ``held_bytes``: of
        the heads' share of memory, waited for (OverloadedError) and taken until it is applied."""
        ack = self.ack()
        ack.held_bytes = held_bytes
        if held_bytes:
            self.admit(held_bytes)
        try:
            return self._append(kind, encode_payload(header, buffers), decoded, ack)
        except Exception:
            self._let_go(ack)
            raise

    def _append(
        self,
        kind: RecordKind,
        payload: Sequence[Buffer],
        decoded: object,
        ack: Ack | None = None,
    ) -> Ack:
        ack = self._completion.ack() if ack is None else ack
        ack.decoded = decoded
        with self.append_lock:
            self.take_over()
            self.check_open()
            self.definitions += kind == RecordKind.SCH
            ack.lsn = self.log.append(kind, payload, ack)
        return ack

    def barrier(self) -> int:
        """Waits until everything that was accepted is visible; the last LSN."""
        with self.append_lock:
            self.take_over()
        return self.log.barrier()

    def ack(self) -> Ack:
        """For rows that are not yet in a record; append_points completes it."""
        return self._completion.ack()

    def refuse(self, ack: Ack, error: EngineError) -> None:
        """Completes an Ack whose rows could not be appended."""
        self._completion.complete([ack], error)

    def done(self, lsn: int) -> Ack:
        """The Ack of a call that had nothing to log."""
        ack = self._completion.ack()
        ack.lsn = lsn
        self._completion.complete([ack])
        return ack

    def admit(self, nbytes: int = 0, *, derived: bool = False) -> None:
        """Takes ``nbytes`` of the heads' share of memory when there is room. OverloadedError, also
        while new rows are refused; ``derived``: they come from rows that are here.

        Never called with the append lock held: the flush that makes room needs it.
        """
        if self.refusal is not None and not derived:
            raise OverloadedError(self.refusal, retry_after_s=REFUSED_RETRY_S)
        load_compressors()
        self.memory.admit("head", nbytes, self._make_room)

    def _make_room(self) -> None:
        self.check_open()
        self.on_full()

    def head_bytes(self) -> int:
        """What the rows that are in no part take in memory."""
        return sum(head.bytes for vnode in self.vnodes for head in vnode.heads())

    def head_rows(self) -> int:
        """Rows that are in no part."""
        return sum(head.rows for vnode in self.vnodes for head in vnode.heads())

    def head_sizes(self) -> dict[str, tuple[int, int]]:
        """(rows, bytes) by table that are in no part."""
        sizes: dict[str, tuple[int, int]] = {}
        with self.state_lock:
            for head in (head for vnode in self.vnodes for head in vnode.heads()):
                for name, table in head.tables.items():
                    rows, size = sizes.get(name, (0, 0))
                    sizes[name] = (rows + table.rows, size + table.bytes)
        return sizes

    @property
    def behind(self) -> int:
        """Records that a restart would replay."""
        return self.applied_lsn - self.checkpoint_lsn

    def on_committer_thread(self) -> bool:
        """True inside what the log calls."""
        return threading.get_ident() == self._committer

    def check_open(self) -> None:
        """Raises ClosedError, or LogFailedError when the log has failed."""
        if self._closed:
            raise ClosedError("the engine is closed")
        if self._failure is not None:
            raise self._failure

    # Applying

    def start(self) -> None:
        """Replays the log above the checkpoint and begins to accept writes."""
        if self.log.appended_lsn < self.checkpoint_lsn:
            raise CorruptionError(
                self.path / "log",
                0,
                f"the log ends at LSN {self.log.appended_lsn}, the parts at {self.checkpoint_lsn}",
            )
        for record in self.log.read(self.checkpoint_lsn + 1):
            self.application.apply(record, None, live=False)
            self.applied_lsn = record.lsn
            self.replayed_records += 1
        self.applied_lsn = self.log.appended_lsn
        self._tell_damage()
        self.log.start(self._on_commit, self._on_failure)

    def _tell_damage(self) -> None:
        """One line at a start whose log lacks what no repair has given up yet."""
        declared = Losses.of(self.inventory.facts)
        found = [d for d in self.log.damages if not declared.declares(d.first_lsn, d.last_lsn)]
        if found:
            logger.error(
                "the log of %s is damaged in %d places, %d records are lost; "
                "run `mainstem db check` on the directory",
                self.path, len(found), sum(damage.records for damage in found),
            )  # fmt: skip

    def _on_commit(self, batch: Sequence[tuple[Record, object]]) -> None:
        self._committer = threading.get_ident()
        acks: list[Ack] = []
        for record, token in batch:
            if isinstance(token, Ack):
                token.lsn = record.lsn
                acks.append(token)
                self.application.apply(record, token.decoded, live=True)
                self._let_go(token)  # its rows are counted in the head by now
        self.applied_lsn = batch[-1][0].lsn
        self._completion.complete(acks)
        if sum(vnode.head.bytes for vnode in self.vnodes) >= self.flush_bytes:
            self.on_full()

    def _on_failure(self, error: LogFailedError, tokens: Sequence[object]) -> None:
        self._failure = error
        logger.error("the log of %s failed: %s", self.path, error)
        acks = [token for token in tokens if isinstance(token, Ack)]
        for ack in acks:
            self._let_go(ack)
        self._completion.complete(acks, error)

    def _let_go(self, ack: Ack) -> None:
        """Of what was taken for the rows of a record, once."""
        held, ack.held_bytes = ack.held_bytes, 0
        if held:
            self.memory.give_back("head", held)

    # Reading

    def view(self, table: Table) -> TableView:
        """A snapshot of the table as it is now."""
        with self.state_lock:
            return self._view(self.catalog.table(table.name))

    def view_with_newest(
        self, table: Table, devices: DeviceIds
    ) -> tuple[TableView, TimesNs | None]:
        """A snapshot, and the newest time of each device in it (accounting.NEVER_NS: no row); None
        where rows were deleted, for then the newest that came may not be there any more."""
        with self.state_lock:
            view = self._view(self.catalog.table(table.name))
            account = self.accounting.account(table.name)
            known = not view.tombstones and not account.deleted
            return view, account.newest_of(devices) if known else None

    def snapshots(self, names: Sequence[str]) -> tuple[int, list[tuple[Table, TableView]]]:
        """(last record that brought or deleted rows, tables with their snapshots), of one instant.
        Raises NotFoundError."""
        with self.state_lock:
            tables = [self.catalog.table(name) for name in names]
            return self.visible_lsn, [(table, self._view(table)) for table in tables]

    def current(self, name: str) -> tuple[Table, TableView]:
        """A table as it is now, and a snapshot with exactly its types. Raises NotFoundError."""
        with self.state_lock:
            # Rows of a wider type come into the head only after the catalog names that type.
            table = self.catalog.table(name)
            return table, self._view(table)

    def view_at(self, name: str) -> tuple[int, Table, TableView]:
        """(LSN, table, snapshot), with the rows that are expired and have not been removed. Of this
        node's rows and deletes the snapshot has exactly those up to that LSN."""
        with self.state_lock:
            table = self.catalog.table(name)
            view = dataclasses.replace(self._view(table), cutoff=self.retention.whole(table))
            return self.visible_lsn, table, view

    @property
    def tombstones(self) -> Mapping[str, Tombstones]:
        """What was deleted and may still be stored, by table."""
        return self.standing.tombstones

    def _view(self, table: Table) -> TableView:
        chunks: list[Chunk] = []
        for vnode in self.vnodes:
            chunks += vnode.chunks(table.name)
        return TableView(
            table.name,
            table.replaces_rows,
            self.catalog.devices.of_family(table.family),
            chunks,
            self.inventory.of_table(table.name),
            self.origins.epochs,
            table.types,
            self.standing.of(table.name),
            self.retention.cutoff(table),
            self.memory,
        )

    def newest_times(self, table: str, devices: DeviceIds) -> TimesNs:
        """Time of the newest row of each device, NEVER_NS where there is none."""
        with self.state_lock:
            return self.accounting.account(table).newest_of(devices)

    def counts(self) -> dict[str, StoreCounts]:
        """The accounts of all tables at one instant."""
        with self.state_lock:
            return self.accounting.counts()

    # Flushing

    def freeze(self, *, always: bool = False) -> FrozenState | None:
        """Sets the heads aside and copies the state at the LSN of now; None if no record is new,
        unless ``always``: a consumer may know more than before without one."""
        with self.append_lock:
            self.check_open()
            lsn = self.barrier()
            same = lsn == self.checkpoint_lsn and not self.catalog_files.merge_next
            if same and not always:
                return None
            self.log.rotate()
            with self.state_lock:
                heads = [vnode.freeze() for vnode in self.vnodes]
                accounts = self.accounting.snapshot()
                tombstones, deletes = self.standing.freeze(lsn)
                # Chunks and parts that deletes of these records may cover, and nothing later.
                views = {
                    name: dataclasses.replace(self._view(table), cutoff=self.retention.whole(table))
                    for name, found in tombstones.items()
                    if found.newest_lsn > self.checkpoint_lsn
                    and (table := self.catalog.templates.get(name)) is not None
                }
            return FrozenState(
                self.checkpoint_lsn + 1,
                lsn,
                heads,
                self.catalog.snapshot(),
                self.origins.snapshot(),
                accounts,
                {consumer.name: consumer.snapshot() for consumer in self.consumers},
                {CLOCK_SECTION: self.retention.clock.snapshot(), **deletes},
                tombstones,
                views,
                {index: self.settled(index) for index in range(len(self.origins.all))},
            )

    def publish_flush(
        self, frozen: FrozenState, result: FlushResult, parts: Sequence[AnyPart]
    ) -> None:
        """Shows the parts in place of the frozen heads. They must be durable in the part list."""
        if frozen.catalog.merged is not None:
            with self.append_lock:
                self.catalog.adopt(frozen.catalog.merged)
            self.catalog_files.remove_all_but(frozen.catalog.merged)
            self.metadata.merged()
        with self.state_lock:
            self.inventory.publish(parts, ())
            for vnode in self.vnodes:
                vnode.frozen = None
            for table, found in result.resolutions.items():
                self.accounting.account(table).resolve(found)
            self.checkpoint_lsn = frozen.lsn
            self._settled_in_parts = frozen.settled
        self.memory.give_back("head", sum(head.bytes for head in frozen.heads))
        self._forget_deletes()

    def settled_in_parts(self, origin: int) -> int:
        """The LSN up to which everything of an origin is in parts; of another node, 0 before the
        first flush of this start. What arrives later than a flush may settle older rows too."""
        own = self.checkpoint_lsn if origin == SELF_ORIGIN else 0
        return self._settled_in_parts.get(origin, own)

    def whole_view(self, table: Table) -> TableView:
        """As view(), with the rows that are expired and have not been removed."""
        return dataclasses.replace(self.view(table), cutoff=self.retention.whole(table))

    def publish_expiry(
        self, state: RetentionState, added: Sequence[AnyPart], removed: Sequence[str]
    ) -> None:
        """Takes expired rows away from readers. It must be durable in the part list."""
        with self.state_lock:
            self.inventory.publish(added, removed)
            self.accounting.set_expired(state.expired)
            self.retention.publish(state)

    def publish_losses(
        self, losses: Losses, added: Sequence[AnyPart], removed: Sequence[str]
    ) -> None:
        """Shows what is left of damaged parts. It must be durable in the part list."""
        with self.state_lock:
            self.inventory.publish(added, removed)
            self.accounting.set_lost(losses.rows)

    def publish_compaction(self, parts: Sequence[AnyPart], replaced: Sequence[str]) -> None:
        """Shows parts in place of others. They must be durable in the part list."""
        with self.state_lock:
            self.inventory.publish(parts, replaced)
        self._forget_deletes()

    def _forget_deletes(self) -> None:
        """Drops tombstones and floors that nothing needs any more."""
        with self.state_lock:
            origins = self.standing.origins()
        # Not under the lock: whoever knows what is settled has a lock of its own.
        reached = {origin: self.settled(origin) for origin in origins}
        with self.state_lock:
            self.standing.forget_needless(
                self.inventory, self.checkpoint_lsn, lambda origin: reached.get(origin, 0)
            )

    def release_log(self) -> None:
        """Lets go of log segments that neither a restart nor a hold needs."""
        self.holds.release(self.checkpoint_lsn)

    # Life

    def close(self) -> None:
        """Commits what is queued and lets go of the files. May be called twice."""
        with self.append_lock:
            self._closed = True
        self.log.close()
        self.inventory.close()


def _is_alive(origin: Origin) -> bool:
    return False


def _everything_settled(origin: int) -> int:
    """Without sync, nothing can arrive late from another node."""
    del origin
    return (1 << 63) - 1


def _nothing_to_do() -> None:
    """Until housekeeping is there."""
