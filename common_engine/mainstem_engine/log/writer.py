"""Group commit: many appenders, one committer thread, one sync for all that waits.

1. ``append`` hashes the payload, gives out the next LSN, extends the chain and queues the record.
   It blocks while the queue holds more bytes than its bound. Nothing but small buffers is copied:
   large ones are written as they are. Hashing there, not on the committer, lets it overlap with
   writing; large buffers are hashed without the interpreter lock.
2. The committer takes what is queued, up to COMMIT_BYTES_MAX and COMMIT_RECORDS_MAX, checksums it,
   writes it with one call, and syncs it if the durability says so.
3. On a slow disk it does not wait: a thread beside it syncs what was written, while it reports what
   the sync before covered, and writes what comes for the next one. So the disk is never idle while
   something waits for it, and one sync serves all that came during the one before, but no more
   than the disk takes in about a second (pace.py): the rest waits in the queue, and what is written
   is acknowledged evenly, not in bursts of a whole queue.
4. It calls ``on_commit`` with what is durable, in LSN order, and only then counts it as committed.
5. A failed write or sync ends the log: nothing queued or in the batch is ever reported as
   committed, every later call raises LogFailedError, and nothing is tried again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mainstem_engine.errors import (
    ClosedError,
    LogFailedError,
    OutOfRangeError,
    OverloadedError,
)
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.log.layout import (
    PAYLOAD_BYTES_MAX,
    RECORD_HEADER_BYTES,
    next_chain,
    payload_digest,
)
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.log.segment import SMALL_BYTES, OpenSegment
from mainstem_engine.log.sync_thread import SyncThread
from mainstem_engine.options import Durability
from mainstem_engine.pace import Pace

COMMIT_BYTES_MAX = 8 << 20
COMMIT_RECORDS_MAX = 4096
"""One commit at most: bounds how long the first record of a batch waits for the last."""

QUEUE_WAIT_S_MAX = 30.0
"""An appender waits so long for room in the queue, as a writer does for memory (memory.py): a disk
that stands still is said to whoever writes."""

OS_SYNC_NS = 1_000_000_000
"""In mode ``os`` nobody waits for a sync, but what is shipped must be durable: sync this often."""

SLOW_SYNC_NS = 1_000_000
"""From here on a sync takes so long that work beside it is worth two switches of threads."""

OnCommit = Callable[[Sequence[tuple[Record, object]]], None]
OnFailure = Callable[[LogFailedError, Sequence[object]], None]

_Entry = tuple[Record, object]


@dataclass(slots=True)
class _Rotation:
    """In the queue: begin a new segment before what follows."""

    done: bool = False


class LogWriter:
    """The queue and the committer thread; see the module."""

    def __init__(
        self,
        segment: OpenSegment,
        *,
        durability: Durability,
        segment_bytes_max: int,
        queue_bytes_max: int,
        last_lsn: int,
        chain: bytes,
    ) -> None:
        self._segment = segment
        self._durability = durability
        self._segment_bytes_max = segment_bytes_max
        self._queue_bytes_max = queue_bytes_max
        self._chain = chain  # of the last record appended

        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # the committer waits for records
        self._progress = threading.Condition(self._lock)  # everybody else waits for it
        self._queue: deque[_Entry | _Rotation] = deque()
        self._closing = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._on_commit: OnCommit | None = None
        self._on_failure: OnFailure | None = None
        self._sync_due_ns = 0

        # The committer's own, in LSN order: to be reported, being synced, written, being written.
        self._durable: list[_Entry] = []
        self._covered: list[_Entry] = []
        self._written: list[_Entry] = []
        self._taken: list[_Entry] = []
        self._reporting = False  # stays True when on_commit raised
        self._mark = segment.mark()
        self._slow = False
        self._written_bytes = self._covered_bytes = 0  # of _written, of _covered
        self._pace = Pace(COMMIT_BYTES_MAX, most_bytes=COMMIT_BYTES_MAX)
        self._took_s = 0.0  # by the last sync
        self._beside = SyncThread(self._timed_sync, self._sync_ended)

        self.queue_bytes = 0
        self.appended_lsn = last_lsn
        self.committed_lsn = last_lsn
        self.commits = 0
        self.error: LogFailedError | None = None

    # -- appenders -------------------------------------------------------------------------------

    def append(self, kind: RecordKind, buffers: Sequence[Buffer], token: object) -> int:
        """Queue a record; see Log.append."""
        pieces, length = _payload(buffers)
        if length > PAYLOAD_BYTES_MAX:
            raise OutOfRangeError(
                f"a record of {length} bytes is larger than {PAYLOAD_BYTES_MAX}",
                hint="write fewer rows per call",
            )
        digest = payload_digest(pieces)
        size = length + RECORD_HEADER_BYTES
        with self._lock:
            self._wait_for_room(size)
            self._check()
            lsn = self.appended_lsn + 1
            chain = next_chain(self._chain, kind, lsn, length, digest)
            self.appended_lsn = lsn
            self._chain = chain
            self.queue_bytes += size
            if not self._queue:
                self._work.notify()
            self._queue.append((Record(lsn, kind, pieces, length, chain), token))
        return lsn

    def _wait_for_room(self, size: int) -> None:
        """Under the lock. An empty queue takes any record, or one larger than the bound would wait
        forever."""
        deadline = time.monotonic() + QUEUE_WAIT_S_MAX
        while self.queue_bytes and self.queue_bytes + size > self._queue_bytes_max:
            self._check()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise OverloadedError(
                    f"{self.queue_bytes} bytes wait for a disk that is too slow or stands still",
                    retry_after_s=5.0,
                )
            self._progress.wait(left_s)

    def barrier(self) -> int:
        """Wait until everything appended so far is committed; see Log.barrier."""
        with self._lock:
            lsn = self.appended_lsn
            self._wait(lambda: self.committed_lsn >= lsn)
            return lsn

    def rotate(self) -> None:
        """Wait until the open segment is closed and a new one begins; see Log.rotate."""
        with self._lock:
            self._check()
            rotation = _Rotation()
            self._queue.append(rotation)
            self._work.notify()
            self._wait(lambda: rotation.done)

    def _check(self) -> None:
        if self.error is not None:
            raise LogFailedError(self.error.message, hint=self.error.hint) from self.error
        if self._closing:
            raise ClosedError("the log is closed")

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait under the lock; raises as soon as the log failed."""
        if self._thread is None:
            raise ClosedError("the log is not started", hint="call start() first")
        if threading.current_thread() is self._thread:
            raise RuntimeError("on_commit must not wait for the log: it is what the log waits for")
        while not condition():
            if self.error is not None:
                self._check()
            self._progress.wait()

    # -- committer -------------------------------------------------------------------------------

    def start(self, on_commit: OnCommit, on_failure: OnFailure | None) -> None:
        """Start the committer thread."""
        if self._thread is not None:
            raise RuntimeError("the log is already started")
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name="log-committer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commit what is queued, sync, stop. After a failure: only stop. May be called twice."""
        with self._lock:
            self._closing = True
            self._work.notify()
            self._progress.notify_all()
        if self._thread is not None:
            self._thread.join()
        elif not self._closed:
            self._leave_synced()
        self._closed = True
        self._segment.close()

    def _run(self) -> None:
        try:
            while self._step():
                pass
            self._segment.sync()
            self._leave_synced()
        except Exception as exc:
            self._fail(exc)
        finally:
            self._beside.stop()

    def _step(self) -> bool:
        """One round of the committer; False when the log is closed and nothing is left to do."""
        taken = self._take()
        if isinstance(taken, _Rotation):
            self._rotate()
            with self._lock:
                taken.done = True
                self._progress.notify_all()
        elif taken:
            self._write(taken)
        if self._durability.mode == "always":
            self._advance()
        else:
            self._durable = self._take_written()
            self._complete()
            self._sync_if_due()
        left = self._queue or self._written or self._beside.running
        return bool(left) or not self._closing

    def _take(self, *, wait: bool = True) -> list[_Entry] | _Rotation:
        """A rotation, or the next batch of records. Empty: there is something else to do."""
        with self._lock:
            while wait and not (self._queue and self._has_room) and not self._beside.ended:
                timeout_s = None
                if not self._beside.running:
                    if self._closing or self._written:
                        return []
                    timeout_s = self._sync_timeout_s()
                    if timeout_s is not None and timeout_s <= 0:
                        return []
                self._work.wait(timeout_s)
            batch: list[_Entry] = []
            size = 0
            bytes_max = self._pace.bytes - self._written_bytes
            while self._queue and size < bytes_max and len(batch) < COMMIT_RECORDS_MAX:
                item = self._queue[0]
                if isinstance(item, _Rotation):
                    if batch or not wait:
                        break
                    self._queue.popleft()
                    return item
                batch.append(item)
                size += item[0].size + RECORD_HEADER_BYTES
                self._queue.popleft()
            return batch

    @property
    def _has_room(self) -> bool:
        """False when as much is written as the next sync should cover."""
        return self._written_bytes < self._pace.bytes

    def _write(self, batch: list[_Entry]) -> None:
        self._taken = batch
        if self._segment.size >= self._segment_bytes_max:
            self._rotate()
        before = self._segment.written_bytes
        self._segment.write([record for record, _ in batch])
        self._written += batch
        self._written_bytes += self._segment.written_bytes - before
        self._taken = []

    def _take_written(self) -> list[_Entry]:
        """What is written and was not taken yet: it is the caller's to complete."""
        written, self._written, self._written_bytes = self._written, [], 0
        return written

    def _advance(self) -> None:
        """Syncs what is written and completes what is durable; step 3 of the module."""
        if self._beside.running:
            if not self._beside.ended:
                return
            self._finish()
        elif self._written and not (self._slow and self._queue):
            self._sync()
        if self._slow:
            if not self._written and isinstance(batch := self._take(wait=False), list) and batch:
                self._write(batch)
            if self._written:
                self._mark = self._segment.mark()
                self._covered_bytes = self._written_bytes
                self._covered = self._take_written()
                self._beside.begin()
        self._complete()

    def _sync(self) -> None:
        """Here and now: all that is written is durable."""
        mark = self._segment.mark()
        self._timed_sync()
        self._segment.confirm(mark)
        self._pace.note(self._written_bytes, self._took_s)
        self._durable += self._take_written()

    def _timed_sync(self) -> None:
        started = time.perf_counter_ns()
        self._segment.sync_file()
        took_ns = time.perf_counter_ns() - started
        self._took_s = took_ns / 1e9
        self._slow = took_ns >= SLOW_SYNC_NS

    def _finish(self) -> None:
        """The end of the sync beside; waits for it."""
        self._beside.finish()
        self._segment.confirm(self._mark)
        self._pace.note(self._covered_bytes, self._took_s)
        self._durable += self._covered
        self._covered = []

    def _sync_ended(self) -> None:
        with self._lock:
            self._work.notify()

    def _rotate(self) -> None:
        """Nothing is being synced, everything is synced, and a new segment begins."""
        if self._beside.running:
            self._finish()
        self._segment.rotate()
        self._durable += self._take_written()
        self._complete()

    def _complete(self) -> None:
        """Reports what is durable, or in other modes than ``always`` written."""
        batch = self._durable
        if not batch:
            return
        self._reporting = True
        if self._on_commit is not None:
            self._on_commit(batch)
        self._reporting = False
        size = sum(record.size for record, _ in batch) + len(batch) * RECORD_HEADER_BYTES
        self._durable = []
        with self._lock:
            self.committed_lsn = batch[-1][0].lsn
            self.commits += 1
            self.queue_bytes -= size
            self._progress.notify_all()

    def _sync_if_due(self) -> None:
        timeout_s = self._sync_timeout_s()
        if timeout_s is not None and timeout_s <= 0:
            self._segment.sync()
            self._sync_due_ns = 0

    def _sync_timeout_s(self) -> float | None:
        """How long until the next sync is due; None if nothing waits for one."""
        synced = self._segment.synced_lsn == self._segment.written_lsn
        if synced or self._durability.mode == "always":
            self._sync_due_ns = 0
            return None
        now = time.monotonic_ns()
        if not self._sync_due_ns:
            self._sync_due_ns = now + (self._durability.interval_ns or OS_SYNC_NS)
        return (self._sync_due_ns - now) / 1e9

    def _leave_synced(self) -> None:
        """Begin an empty segment: it proves that the one before was synced to its end.

        So the next start has nothing to carry over. If this fails, that start only takes longer.
        """
        with contextlib.suppress(OSError):
            self._segment.rotate()

    def _fail(self, cause: Exception) -> None:
        with contextlib.suppress(Exception):
            # What a sync covers that runs beside may still become durable.
            if self._beside.running:
                self._finish()
        with contextlib.suppress(Exception):
            if not self._reporting:
                self._complete()
        error = LogFailedError(f"the log failed: {cause}", hint="re-open the data directory")
        error.__cause__ = cause
        with self._lock:
            self.error = error
            queued = [item for item in self._queue if not isinstance(item, _Rotation)]
            self._queue.clear()
            # First the waiters: one of them may hold what on_failure needs.
            self._progress.notify_all()
        self._segment.void_unsynced()
        if self._on_failure is not None:
            entries = [*self._durable, *self._covered, *self._written, *self._taken, *queued]
            self._on_failure(error, [token for _, token in entries])


def _payload(buffers: Sequence[Buffer]) -> tuple[tuple[bytes | memoryview, ...], int]:
    """The pieces of a payload and its length. Many small ones are copied into one: that costs less
    than to hash, checksum and write each by itself."""
    first = buffers[0] if len(buffers) == 1 else None
    if isinstance(first, bytes):
        return (first,), len(first)
    views = [byte_view(buffer) for buffer in buffers]
    length = sum(view.nbytes for view in views)
    if length < SMALL_BYTES * len(views) or not views:
        return (b"".join(views),), length
    return tuple(view for view in views if view.nbytes), length
