"""Group commit: many appenders, one committer thread, one sync for all that waits.

1. ``append`` joins the buffers (the one copy), gives out the next LSN, extends the chain and queues
   the record. It blocks while the queue holds more bytes than its bound. Hashing there, not on the
   committer, lets it overlap with writing; large payloads are hashed without the interpreter lock.
2. The committer takes what is queued, up to COMMIT_BYTES_MAX and COMMIT_RECORDS_MAX, checksums it,
   writes it with one call, and syncs it if the durability says so.
3. It calls ``on_commit`` with the batch, in LSN order, and only then counts it as committed.
4. A failed write or sync ends the log: nothing queued or in the batch is ever reported as
   committed, every later call raises LogFailedError, and nothing is tried again. The committer
   cuts what it may, and leaves a new segment that says from which LSN the old one is void. If
   that fails as well, recovery does not rely on the old bytes either (see recovery, step 5).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mainstem_engine.errors import ClosedError, LogFailedError, OutOfRangeError
from mainstem_engine.filesystem import Buffer, Filesystem
from mainstem_engine.log.layout import (
    PAYLOAD_BYTES_MAX,
    RECORD_HEADER_BYTES,
    SegmentHeader,
    next_chain,
    pack_record_header,
    padded,
    record_salt,
    segment_name,
)
from mainstem_engine.log.reader import Segment
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.options import Durability

COMMIT_BYTES_MAX = 8 << 20
COMMIT_RECORDS_MAX = 4096
"""One commit at most: bounds how long the first record of a batch waits for the last."""

OS_SYNC_NS = 1_000_000_000
"""In mode ``os`` nobody waits for a sync, but what is shipped must be durable: sync this often."""

SMALL_BYTES = 16 << 10
"""Payloads below this are joined into one buffer; larger ones go to writev as they are."""

_PADS = tuple(bytes(n) for n in range(8))

OnCommit = Callable[[Sequence[tuple[Record, object]]], None]
OnFailure = Callable[[LogFailedError, Sequence[object]], None]


@dataclass(slots=True)
class _Pending:
    """A queued record; kind None asks for a new segment before what follows."""

    lsn: int
    kind: RecordKind | None
    payload: bytes
    chain: bytes
    token: object


class LogWriter:
    """The queue, the committer thread and the open segment."""

    def __init__(
        self,
        fs: Filesystem,
        directory: Path,
        *,
        node_uuid: bytes,
        durability: Durability,
        segment_bytes_max: int,
        queue_bytes_max: int,
        segments: list[Segment],
        segments_lock: threading.Lock,
        last_lsn: int,
        chain: bytes,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._node_uuid = node_uuid
        self._durability = durability
        self._segment_bytes_max = segment_bytes_max
        self._queue_bytes_max = queue_bytes_max
        self._segments = segments
        self._segments_lock = segments_lock
        self._segment = segments[-1]
        self._file = fs.open_append(self._segment.path)
        self._chain = chain  # of the last record appended
        self._written_chain = chain
        # Where a failure cuts: the last point that a sync confirmed.
        self._synced_chain = chain
        self._synced_bytes = self._segment.bytes
        self._sync_failed = False

        self._order = threading.Lock()  # LSN and chain go in step; held while hashing
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # the committer waits for records
        self._progress = threading.Condition(self._lock)  # everybody else waits for it
        self._queue: deque[_Pending] = deque()
        self._queue_bytes = 0
        self._rotations = 0
        self._rotations_done = 0
        self._closing = False
        self._error: LogFailedError | None = None
        self._thread: threading.Thread | None = None
        self._on_commit: OnCommit | None = None
        self._on_failure: OnFailure | None = None

        self.appended_lsn = last_lsn
        self.written_lsn = last_lsn
        self.committed_lsn = last_lsn
        self.fsynced_lsn = last_lsn
        self.commits = 0
        self.syncs = 0
        self.written_bytes = 0
        self._sync_due_ns = 0

    # -- appenders -------------------------------------------------------------------------------

    def append(self, kind: RecordKind, buffers: Sequence[Buffer], token: object) -> int:
        """Queue a record; see Log.append."""
        first = buffers[0] if len(buffers) == 1 else None
        payload = first if isinstance(first, bytes) else b"".join(cast("Iterable[bytes]", buffers))
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise OutOfRangeError(
                f"a record of {len(payload)} bytes is larger than {PAYLOAD_BYTES_MAX}",
                hint="write fewer rows per call",
            )
        size = len(payload) + RECORD_HEADER_BYTES
        with self._order:
            with self._lock:
                # An empty queue takes any record, or one larger than the bound would wait forever.
                while self._queue_bytes and self._queue_bytes + size > self._queue_bytes_max:
                    self._check()
                    self._progress.wait()
                self._check()
                lsn = self.appended_lsn + 1
            chain = next_chain(self._chain, kind, lsn, payload)
            with self._lock:
                self._check()
                self.appended_lsn = lsn
                self._chain = chain
                self._queue_bytes += size
                if not self._queue:
                    self._work.notify()
                self._queue.append(_Pending(lsn, kind, payload, chain, token))
        return lsn

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
            self._rotations += 1
            number = self._rotations
            self._queue.append(_Pending(self.appended_lsn, None, b"", b"", None))
            self._work.notify()
            self._wait(lambda: self._rotations_done >= number)

    @property
    def queue_bytes(self) -> int:
        """Bytes of records that are not committed yet."""
        return self._queue_bytes

    @property
    def error(self) -> LogFailedError | None:
        """Why the log stopped, if it did."""
        return self._error

    def _check(self) -> None:
        if self._error is not None:
            raise LogFailedError(self._error.message, hint=self._error.hint) from self._error
        if self._closing:
            raise ClosedError("the log is closed")

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait under the lock; raises as soon as the log failed."""
        if self._thread is None:
            raise ClosedError("the log is not started", hint="call start() first")
        if threading.current_thread() is self._thread:
            raise RuntimeError("on_commit must not wait for the log: it is what the log waits for")
        while not condition():
            if self._error is not None:
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
        self._file.close()

    def _run(self) -> None:
        batch: list[_Pending] = []
        try:
            while True:
                batch = self._take()
                if batch and batch[0].kind is None:
                    self._rotate()
                    with self._lock:
                        self._rotations_done += 1
                        self._progress.notify_all()
                elif batch:
                    self._commit(batch)
                elif self._closing:
                    break
                self._sync_if_due()
                batch = []
            self._sync()
            # An empty successor proves that this segment was synced to its end: the next start
            # has nothing to carry over. Without it the start only takes longer.
            with contextlib.suppress(OSError):
                self._rotate()
        except Exception as exc:
            self._fail(exc, batch)

    def _take(self) -> list[_Pending]:
        """The next batch: a rotation alone, or records. Empty: a sync is due, or closing."""
        with self._lock:
            while not self._queue and not self._closing:
                timeout_s = self._sync_timeout_s()
                if timeout_s is not None and timeout_s <= 0:
                    return []
                self._work.wait(timeout_s)
            batch: list[_Pending] = []
            size = 0
            while self._queue and size < COMMIT_BYTES_MAX and len(batch) < COMMIT_RECORDS_MAX:
                if self._queue[0].kind is None and batch:
                    break
                batch.append(self._queue.popleft())
                size += len(batch[-1].payload)
                if batch[-1].kind is None:
                    break
            return batch

    def _commit(self, batch: list[_Pending]) -> None:
        segment = self._segment
        if segment.last_lsn >= segment.first_lsn and segment.bytes >= self._segment_bytes_max:
            self._rotate()
            segment = self._segment
        entries, pieces, size = self._encode(batch)
        self._file.write(pieces)
        self._written_chain = batch[-1].chain
        self.written_lsn = batch[-1].lsn
        self.written_bytes += size
        segment.last_lsn = self.written_lsn
        segment.bytes += size
        if self._durability.mode == "always":
            self._sync()
        if self._on_commit is not None:
            self._on_commit(entries)
        with self._lock:
            self.committed_lsn = self.written_lsn
            self.commits += 1
            self._queue_bytes -= sum(len(p.payload) + RECORD_HEADER_BYTES for p in batch)
            self._progress.notify_all()

    def _encode(
        self, batch: list[_Pending]
    ) -> tuple[list[tuple[Record, object]], list[Buffer], int]:
        """Records for on_commit, pieces to write, and how many bytes those are."""
        segment, fsynced = self._segment, self.fsynced_lsn
        salt, offset = segment.salt, segment.bytes
        entries: list[tuple[Record, object]] = []
        pieces: list[Buffer] = []
        small: list[bytes] = []
        for pending in batch:
            lsn, kind, payload, chain = pending.lsn, pending.kind, pending.payload, pending.chain
            assert kind is not None
            segment.note(lsn, offset)
            small.append(pack_record_header(salt, lsn, kind, lsn - 1 - fsynced, chain, payload))
            if len(payload) < SMALL_BYTES:
                small.append(payload)
            else:
                pieces += [b"".join(small), payload]
                small = []
            length = RECORD_HEADER_BYTES + len(payload)
            end = padded(length)
            if end != length:
                small.append(_PADS[end - length])
            offset += end
            entries.append((Record(lsn, kind, payload, chain), pending.token))
        if small:
            pieces.append(b"".join(small))
        return entries, pieces, offset - segment.bytes

    def _sync(self) -> None:
        if self.fsynced_lsn < self.written_lsn:
            try:
                self._file.sync()
            except OSError:
                self._sync_failed = True
                raise
            self.syncs += 1
            self._synced_chain, self._synced_bytes = self._written_chain, self._segment.bytes
            self.fsynced_lsn = self.written_lsn
        self._sync_due_ns = 0

    def _sync_if_due(self) -> None:
        timeout_s = self._sync_timeout_s()
        if timeout_s is not None and timeout_s <= 0:
            self._sync()

    def _sync_timeout_s(self) -> float | None:
        """How long until the next sync is due; None if nothing waits for one."""
        if self.fsynced_lsn == self.written_lsn:
            return None
        now = time.monotonic_ns()
        if not self._sync_due_ns:
            interval = self._durability.interval_ns or OS_SYNC_NS
            self._sync_due_ns = now + interval
        return (self._sync_due_ns - now) / 1e9

    def _rotate(self) -> None:
        """Sync and close the open segment, begin the next. Nothing to do if it is empty."""
        old = self._segment
        if old.last_lsn < old.first_lsn:
            return
        self._sync()
        first = self.written_lsn + 1
        new = self._create_segment(first, self._written_chain)
        self._file.close()
        self._file = self._fs.open_append(new.path)
        self._segment, self._synced_bytes = new, new.bytes
        with self._segments_lock:
            self._segments.append(new)

    def _create_segment(self, first: int, chain: bytes) -> Segment:
        path = self._directory / segment_name(first)
        self._fs.replace(path, [SegmentHeader(first, chain, self._node_uuid).pack()])
        return Segment(path, first, first - 1, record_salt(self._node_uuid, first), chain)

    def _fail(self, cause: Exception, batch: list[_Pending]) -> None:
        error = LogFailedError(f"the log failed: {cause}", hint="re-open the data directory")
        error.__cause__ = cause
        with self._lock:
            self._error = error
            lost = [*batch, *self._queue]
            self._queue.clear()
            self._progress.notify_all()
        # Every step may fail on a broken disk; recovery is right without any of them.
        with contextlib.suppress(OSError):
            self._void_unsynced()
        if self._on_failure is not None:
            self._on_failure(error, [pending.token for pending in lost])

    def _void_unsynced(self) -> None:
        """Leave nothing behind that a later start could take for committed records."""
        if not self._sync_failed:
            self._sync()  # a write failed: what was written before it has not been tried yet
        self._file.truncate(self._synced_bytes)
        self._create_segment(self.fsynced_lsn + 1, self._synced_chain)
