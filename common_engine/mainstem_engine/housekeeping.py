"""Housekeeping: when the head is flushed, parts are compacted, and the log is released.

1. The *maintenance lock* is held by whoever changes which parts there are: by a flush and by expiry
   throughout, by a compaction only while it commits. It is taken before every other lock but the
   compaction lock.
2. The *compaction lock*, taken before it, lets one compaction run at a time, on a thread of its
   own. So a flush that is due never waits for a long compaction, nor does close(): it gives up
   between two steps.
3. A flush is due when the head is full or ``flush_every`` is over; afterwards, compactions. A
   delete makes one due, too, for its space comes back only then: at once where rows are refused,
   since no row would ever make one due there. While there are PARTS_WAITING_MAX parts to be
   joined, a flush gives them time first, and writers slow down with it: queries and starts cost by
   the part.
4. A flush that failed keeps its frozen state and is tried again before anything else is frozen.
5. A compaction whose parts are not all there any more when it is done (they expired meanwhile) is
   thrown away. One that failed is counted. Its parts are left alone until the next start, for it
   would fail again; but a full disk may be freed: after an OSError it is tried again with the next
   flush.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mainstem_engine.background import Background
from mainstem_engine.catalog.database_options import least_flush_every_ns
from mainstem_engine.catalog.templates import Table
from mainstem_engine.compaction import (
    DUE,
    FULL,
    Compaction,
    Policy,
    plan_compactions,
    rounds_needed,
)
from mainstem_engine.deletes import Tombstones
from mainstem_engine.errors import EngineError
from mainstem_engine.expiry import Expiry, ExpiryResult
from mainstem_engine.flush import Flusher, FrozenState
from mainstem_engine.part.reader import Part
from mainstem_engine.part_join import JoinAborted, JoinContext, join_parts
from mainstem_engine.set_aside import set_aside
from mainstem_engine.store import Store

logger = logging.getLogger(__name__)

RECORDS_BEHIND_MAX = 10_000
"""Records without rows (manifests, received ranges) make a checkpoint due too: this many replay in
well under a second."""

PARTS_WAITING_MAX = 32
"""Of one table, partition and vnode: four times what a compaction waits for. A query of one device
opens each."""
WAIT_FOR_COMPACTION_S = 10.0
"""A third of what a writer waits for memory (memory.WAIT_S_MAX): nobody is refused for this."""

EXPIRE_EVERY_NS = 60 * 1_000_000_000
"""Expired rows are invisible at once; their space may come back a minute later."""


@dataclass(frozen=True, slots=True)
class HousekeepingStatistics:
    """Counts since the start. ``last_error``: None when the latest flush and compaction worked.

    ``compaction_bytes``: of the parts that compactions wrote. ``compaction_freed_bytes``: by how
    much less they are than those that they replaced.
    """

    flushes: int = 0
    flush_failures: int = 0
    compactions: int = 0
    compaction_failures: int = 0
    compaction_bytes: int = 0
    compaction_freed_bytes: int = 0
    last_flush_ns: int = 0
    last_error: str | None = None
    expired: ExpiryResult = field(default_factory=ExpiryResult)


class Housekeeping:
    """Flushes and compacts one store, on its own thread or when called."""

    def __init__(self, store: Store, before_publish: Callable[[], None]) -> None:
        self._store = store
        self._before_publish = before_publish
        self._lock = threading.Lock()
        self._compaction_lock = threading.Lock()
        self._release_lock = threading.Lock()
        self._stopping = threading.Event()
        # Set when no compaction is to be waited for.
        self._compacted = threading.Event()
        self._compacted.set()
        # Parts have come since the last look for what is due.
        self._look_for_compactions = True
        self._flusher = Flusher(
            store.fs,
            store.inventory,
            store.catalog,
            memory=store.memory,
            block_rows=store.options.block_rows,
            catalog_files=store.catalog_files,
        )
        self.expiry = Expiry(store, self._quiet)
        self._expired_at_ns = store.options.monotonic()
        self._pending: FrozenState | None = None
        self._avoid: set[str] = set()
        self._last_flush_s = time.monotonic()
        self._flushes = 0
        self._flush_failures = 0
        self._compactions = 0
        self._compaction_failures = 0
        self._compaction_bytes = 0
        self._compaction_freed_bytes = 0
        self._last_flush_ns = 0
        self._flush_error: str | None = None
        self._compaction_error: str | None = None
        self._expiry_error: str | None = None
        self._background: Background | None = None
        self._compactor: Background | None = None
        self._releaser: Background | None = None
        if store.options.background:
            self._background = Background(self.work, "engine-housekeeping")
            self._compactor = Background(self._tidy, "engine-compaction")
            self._releaser = Background(self._release, "engine-release")
            store.on_full = self._background.wake
        else:
            # Nobody else would make room for a writer that waits for memory.
            store.on_full = self._flush_inline

    def start(self) -> None:
        """Starts the threads, if the options ask for them."""
        for thread in (self._background, self._compactor, self._releaser):
            if thread is not None:
                thread.start()

    def stop(self) -> None:
        """Waits for a flush under way; a compaction under way gives up."""
        self._stopping.set()
        self._compacted.set()
        for thread in (self._background, self._compactor, self._releaser):
            if thread is not None:
                thread.stop()

    def work(self) -> None:
        """What is due now, without compactions."""
        if self._flush_due():
            if self._is_behind():
                self._compacted.wait(WAIT_FOR_COMPACTION_S)
            self._flush_now()
            if self._compactor is not None:
                self._compactor.wake()
        if self._expiry_due():
            if self._compactor is None:
                self._expire_due()
            else:
                self._compactor.wake()
        # Segments of the log are large: while they are unlinked, the next flush may begin.
        if self._releaser is None:
            self._release()
        else:
            self._releaser.wake()

    def _release(self) -> None:
        """Lets go of log segments that nobody needs. Raises OSError."""
        with self._release_lock:
            self._store.release_log()

    def _tidy(self) -> None:
        """What may take long: a flush never waits for it."""
        if self._expiry_due():
            self._expire_due()
        self.compact_due()

    def _expiry_due(self) -> bool:
        return self._store.options.monotonic() - self._expired_at_ns >= EXPIRE_EVERY_NS

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """No part and no checkpoint comes or goes, and no log is released, inside the block."""
        with self._lock, self._release_lock:
            yield

    def expire(self) -> ExpiryResult:
        """Removes what is expired. Raises OSError, EngineError."""
        with self._compaction_lock:
            self._expired_at_ns = self._store.options.monotonic()
            return self.expiry.run()

    def give_way(self, table: Table, before_ns: int, *, held: bool) -> ExpiryResult:
        """Removes parts that end before a time, expired or not. Raises OSError, EngineError."""
        with self._compaction_lock:
            return self.expiry.give_way(table, before_ns, held=held)

    def set_aside(self, table: str, names: Collection[str]) -> int:
        """Gives up what cannot be read of parts; see set_aside.py."""
        with self._compaction_lock:
            return set_aside(self._store, table, names, lambda: self._lock)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """No delete is resolved and nothing is flushed inside the block; all before is in parts."""
        with self._store.delete_lock, self._lock:
            self._flush_all()
            yield

    def _expire_due(self) -> None:
        try:
            self.expire()
        except (OSError, EngineError, MemoryError) as error:
            logger.error("expired rows could not be removed: %s", error)
            self._expiry_error = f"expiry: {error}"
        else:
            self._expiry_error = None

    def _flush_due(self) -> bool:
        store = self._store
        if self._pending is not None:
            return True
        if store.head_bytes() >= store.flush_bytes or store.metadata.merge_due:
            return True
        if store.memory.is_waited_for("head") and store.head_rows():
            # A batch that is large beside the limit fits only into an empty head.
            return True
        if store.applied_lsn - store.checkpoint_lsn > RECORDS_BEHIND_MAX:
            return True
        every_ns = least_flush_every_ns(store.catalog.databases, store.options.flush_every_ns)
        timer = every_ns and time.monotonic() - self._last_flush_s >= every_ns / 1e9
        if timer and store.head_rows():
            return True
        return bool(timer or store.refusal is not None) and self._deletes_wait()

    def _deletes_wait(self) -> bool:
        """True while the checkpoint lacks a delete: no part is rewritten for it before."""
        store = self._store
        with store.state_lock:
            newest = [found.newest_lsn for found in store.tombstones.values()]
        return max(newest, default=0) > store.checkpoint_lsn

    def _flush_inline(self) -> None:
        """For a writer that waits for memory; never on the committer thread: flush waits for it."""
        if not self._store.on_committer_thread():
            self.flush()

    def flush(self, *, always: bool = False) -> None:
        """Moves what was accepted before the call into parts. ``always``: writes a checkpoint
        though no record is new. Raises OSError, EngineError."""
        self._flush_now(always=always)
        self._release()

    def _flush_now(self, *, always: bool = False) -> None:
        with self._lock:
            self._flush_all(always=always)
            self._last_flush_s = time.monotonic()
        # Only now nobody names the heads that were written.
        self._store.memory.tidy()

    def _flush_all(self, *, always: bool = False) -> None:
        if self._pending is not None:
            self._flush(self._pending)
        frozen = self._store.freeze(always=always)
        if frozen is not None:
            self._flush(frozen)

    def _flush(self, frozen: FrozenState) -> None:
        self._pending = frozen
        started = time.perf_counter_ns()
        inventory = self._store.inventory
        try:
            self._before_publish()
            result = self._flusher.write(frozen, frozen.settled_lsn)
            parts = inventory.open_written(result.parts)
            inventory.record(result.parts, (), result.checkpoint)
        except (OSError, EngineError, MemoryError) as error:
            self._flush_failures += 1
            self._flush_error = f"flush: {error}"
            raise
        self._store.publish_flush(frozen, result, parts)
        self._pending = None
        self._look_for_compactions = True
        inventory.unlink(())
        self._flushes += 1
        self._flush_error = None
        self._last_flush_ns = time.perf_counter_ns() - started

    def compact(self) -> None:
        """Merges the parts of every partition into one, and applies all deletes.

        A failure is logged and counted. Raises ClosedError, LogFailedError.
        """
        # More parts than are joined at once need several rounds; not those that come meanwhile.
        for _ in range(rounds_needed(len(self._store.inventory.all()))):
            if not self._compact(FULL):
                break

    def _is_behind(self) -> bool:
        """True while a compaction is under way and too many parts wait to be joined. Those that no
        compaction will join before the next start do not count: they would be waited for always."""
        done = self._compacted.is_set() or self._stopping.is_set()
        if done or self._compaction_error is not None:
            return False
        with self._store.state_lock:
            parts = [p for p in self._store.inventory.all() if p.meta.name not in self._avoid]
        metas = [part.meta for part in parts if isinstance(part, Part)]
        counts = Counter((m.table, m.partition_start_ns, m.vnode, m.vnodes) for m in metas)
        return max(counts.values(), default=0) >= PARTS_WAITING_MAX

    def compact_due(self) -> None:
        """Merges parts where there are many, and rewrites those of which much is deleted."""
        while self._look_for_compactions and not self._stopping.is_set():
            self._look_for_compactions = False
            # What comes out of one round may be joined in the next.
            if self._compact(DUE):
                self._look_for_compactions = True

    def _compact(self, policy: Policy) -> int:
        """Carries out what is planned now; returns how many compactions worked."""
        store = self._store
        done = 0
        failure: str | None = None
        with self._compaction_lock:
            for plan in self._plans(policy):
                if self._stopping.is_set():
                    break
                store.check_open()
                self._compacted.clear()
                try:
                    done += self._execute(plan)
                except JoinAborted:
                    break
                except (OSError, EngineError, MemoryError) as error:
                    logger.error("compaction of %s failed: %s", plan.table, error)
                    self._compaction_failures += 1
                    failure = f"compaction of {plan.table}: {error}"
                    if not isinstance(error, OSError):
                        self._avoid.update(plan.names)
                finally:
                    self._compacted.set()
            if done or failure:
                self._compaction_error = failure
        return done

    def _plans(self, policy: Policy) -> list[Compaction]:
        store = self._store
        with store.state_lock:
            parts = [p for p in store.inventory.all() if p.meta.name not in self._avoid]
        return plan_compactions(
            parts, store.catalog.devices.database_index, policy, self._applicable
        )

    def _applicable(self, table: str) -> Tombstones:
        """Deletes that the checkpoint has: what they erase stays erased after a crash."""
        return self._store.standing.of(table).through(self._store.checkpoint_lsn)

    def _execute(self, plan: Compaction) -> bool:
        """Joins the parts of a plan; False if they are not all there any more."""
        store, inventory = self._store, self._store.inventory
        context = JoinContext(
            store.fs,
            inventory,
            store.memory,
            store.settled_in_parts,
            lambda: not self._stopping.is_set(),
            store.options.block_rows,
            store.catalog.database_of(plan.parts[0].meta.device_min),
        )
        table = store.catalog.table(plan.table)
        meta = join_parts(plan, table, self._applicable(plan.table), context)
        metas = [] if meta is None else [meta]
        parts = inventory.open_written(metas)
        with self._lock:
            present = {part.meta.name for part in inventory.of_table(plan.table)}
            if not present.issuperset(plan.names):
                inventory.unlink(metas)
                return False
            inventory.record(metas, plan.names)
            store.publish_compaction(parts, plan.names)
            inventory.unlink([part.meta for part in plan.parts])
        written = sum(meta.bytes for meta in metas)
        self._compactions += 1
        self._compaction_bytes += written
        self._compaction_freed_bytes += plan.bytes - written
        return True

    def statistics(self) -> HousekeepingStatistics:
        return HousekeepingStatistics(
            self._flushes,
            self._flush_failures,
            self._compactions,
            self._compaction_failures,
            self._compaction_bytes,
            self._compaction_freed_bytes,
            self._last_flush_ns,
            self._flush_error or self._compaction_error or self._expiry_error,
            self.expiry.total,
        )
