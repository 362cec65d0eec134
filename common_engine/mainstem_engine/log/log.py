"""The log of a node: dense LSNs, one hash chain, segments that come and go.

What holds at every moment, also after a crash:

- ``first_lsn <= fsynced_lsn + 1`` and ``fsynced_lsn, committed_lsn <= appended_lsn``. In mode
  ``always`` a record is committed only when it is synced; in the other modes it may be committed
  first, and then ``fsynced_lsn`` follows later.
- Nothing above ``fsynced_lsn`` is ever read: nothing is shipped that a power cut could take back.
- A record keeps its LSN for ever. LSNs that damage took are skipped, reported and never re-used.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstem_engine.errors import NO_ROOM, LogFailedError, LogRangeError
from mainstem_engine.filesystem import Buffer, Filesystem
from mainstem_engine.log.layout import CHAIN_START, CHAIN_UNKNOWN
from mainstem_engine.log.reader import LogDamage, Segment, iterate_records
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.log.recovery import LogRecovery, RecoveredLog, recover_log
from mainstem_engine.log.segment import OpenSegment
from mainstem_engine.log.writer import LogWriter
from mainstem_engine.options import Durability

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """The log at one moment. Bytes and counts; ``error`` is None while the log works."""

    first_lsn: int
    appended_lsn: int
    committed_lsn: int
    fsynced_lsn: int
    segments: int
    bytes: int
    queue_bytes: int
    commits: int
    syncs: int
    written_bytes: int
    damages: int
    lost_records: int
    torn_bytes: int
    error: str | None
    capped_records: int = 0
    """Records that went because the log was too large, since the start."""


class Log:
    """See the module. Thread-safe; one Log per directory (the caller holds the lock file)."""

    def __init__(
        self,
        directory: Path,
        recovered: RecoveredLog,
        *,
        fs: Filesystem,
        node_uuid: str,
        durability: Durability,
        segment_bytes_max: int,
        queue_bytes_max: int,
    ) -> None:
        self._directory = directory
        self._fs = fs
        self._segments = recovered.segments
        self._segments_lock = threading.Lock()
        self._capped_records = 0
        self._damages = {(d.path, d.offset, d.first_lsn): d for d in recovered.report.damages}
        self.recovery: LogRecovery = recovered.report
        """What open() found."""
        self._open_segment = OpenSegment(
            fs,
            directory,
            bytes.fromhex(node_uuid),
            segments=self._segments,
            segments_lock=self._segments_lock,
            last_lsn=recovered.last_lsn,
            chain=recovered.chain,
        )
        self._writer = LogWriter(
            self._open_segment,
            durability=durability,
            segment_bytes_max=segment_bytes_max,
            queue_bytes_max=queue_bytes_max,
            last_lsn=recovered.last_lsn,
            chain=recovered.chain,
        )

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        fs: Filesystem,
        node_uuid: str,
        durability: Durability,
        segment_bytes_max: int = 64 * MIB,
        queue_bytes_max: int = 64 * MIB,
        trusted_lsn: int = 0,
    ) -> Log:
        """Recover and open the log in ``directory``, which is made if missing.

        ``node_uuid``: 32 hex digits. ``trusted_lsn``: segments that end at or below it are not
        checked now (a checkpoint covers them), so that opening does not grow with the backlog.
        Raises CorruptionError if the segments belong to another node; damage does not raise, see
        ``recovery`` and ``damages``.
        """
        recovered = recover_log(fs, directory, bytes.fromhex(node_uuid), trusted_lsn)
        return cls(
            directory,
            recovered,
            fs=fs,
            node_uuid=node_uuid,
            durability=durability,
            segment_bytes_max=segment_bytes_max,
            queue_bytes_max=queue_bytes_max,
        )

    # -- writing ---------------------------------------------------------------------------------

    def start(
        self,
        on_commit: Callable[[Sequence[tuple[Record, object]]], None],
        on_failure: Callable[[LogFailedError, Sequence[object]], None] | None = None,
    ) -> None:
        """Start the committer thread; records appended before wait for it.

        ``on_commit([(record, token), ...])`` runs on that thread in LSN order, after the sync in
        mode ``always`` and after the write in the others. If it raises, the log fails. It must not
        wait for the log, nor for a lock that somebody holds while calling append().
        ``on_failure(error, tokens)`` runs once if the log fails, with the tokens of every record
        that was appended and was not reported as committed.
        """
        self._writer.start(on_commit, on_failure)

    def append(self, kind: RecordKind, buffers: Sequence[Buffer], token: object = None) -> int:
        """Queue one record made of ``buffers`` (encode_payload gives them) and return its LSN.

        The buffers are not copied: they must not be changed before the record is committed, nor,
        for readers that take its payload then, after it. Blocks while the queue is over its bound.
        Raises LogFailedError, ClosedError, OverloadedError when the disk stands still, or
        OutOfRangeError for more than 256 MiB.
        """
        return self._writer.append(kind, buffers, token)

    def barrier(self) -> int:
        """Wait until everything appended so far is committed (on_commit done); its last LSN."""
        return self._writer.barrier()

    def rotate(self) -> None:
        """Sync, and let the next record open a new segment. Returns when that is so."""
        self._writer.rotate()

    def release(self, through_lsn: int) -> int:
        """Unlink whole segments whose last LSN is at or below ``through_lsn``.

        Oldest first, never the open one. Returns the new first LSN. Readers that are inside a
        released segment go on reading it; those that come to it later skip it. OSError: what was
        not released yet is still there, and goes the next time.
        """
        while True:
            with self._segments_lock:
                if len(self._segments) < 2 or self._segments[1].first_lsn - 1 > through_lsn:
                    break
                segment = self._segments.pop(0)
            try:
                self._fs.unlink(segment.path)
            except OSError:
                with self._segments_lock:
                    self._segments.insert(0, segment)
                raise
            with self._segments_lock:
                gone = segment.path
                self._damages = {k: d for k, d in self._damages.items() if d.path != gone}
            # Each for good before the next, which stays in the list if this fails: a crash in
            # between leaves no gap, on a file system too that keeps names in another order.
            self._fs.sync_directory(self._directory)
        return self.first_lsn

    def shrink(self, bytes_max: int, through_lsn: int) -> tuple[int, int] | None:
        """Unlink the oldest segments while all take more than ``bytes_max``.

        Only whole ones whose last LSN is at or below ``through_lsn``, never the open one. Returns
        the first and last LSN that went, None if none did. Raises OSError.
        """
        excess = self.excess(bytes_max, through_lsn)
        if excess is None:
            return None
        first, last = excess
        self.release(last)
        self._capped_records += last - first + 1
        return first, last

    def excess(self, bytes_max: int, through_lsn: int) -> tuple[int, int] | None:
        """The first and last LSN that ``shrink`` would let go now; None if nothing."""
        with self._segments_lock:
            first = self._segments[0].first_lsn
            size = sum(segment.bytes for segment in self._segments)
            last = 0
            for segment, following in itertools.pairwise(self._segments):
                if size <= bytes_max or following.first_lsn - 1 > through_lsn:
                    break
                size -= segment.bytes
                last = following.first_lsn - 1
        return None if last < first else (first, last)

    def close(self) -> None:
        """Commit what is queued, sync, and stop the thread. May be called twice."""
        self._writer.close()

    # -- reading ---------------------------------------------------------------------------------

    @property
    def queue_bytes(self) -> int:
        """What waits to be committed."""
        return self._writer.queue_bytes

    @property
    def appended_lsn(self) -> int:
        """The last LSN given out."""
        return self._writer.appended_lsn

    @property
    def committed_lsn(self) -> int:
        """The last LSN whose on_commit is done."""
        return self._writer.committed_lsn

    @property
    def fsynced_lsn(self) -> int:
        """The last LSN that is on disk."""
        return self._open_segment.synced_lsn

    @property
    def first_lsn(self) -> int:
        """The lowest LSN that may still be read; appended_lsn + 1 in a new log."""
        return self._segments[0].first_lsn

    @property
    def damages(self) -> tuple[LogDamage, ...]:
        """Every damage known now in segments that still exist, in LSN order."""
        return tuple(sorted(self._damages.values(), key=lambda damage: damage.first_lsn))

    @property
    def error(self) -> LogFailedError | None:
        """Why the log failed, or None."""
        return self._writer.error

    def read(self, first_lsn: int, last_lsn: int | None = None) -> Iterator[Record]:
        """Records from ``first_lsn`` to ``last_lsn`` (default: all that are on disk now).

        Never beyond fsynced_lsn as it is when the iteration starts; never below self.first_lsn.
        LSNs that damage took are left out, and added to ``damages``. Payloads stay valid.
        """
        limit = self.fsynced_lsn
        last = limit if last_lsn is None else min(last_lsn, limit)
        position = first_lsn
        while position <= last:
            segment = self._segment_of(position)
            if segment is None:
                return
            end = min(last, self._end_of(segment))
            try:
                file = self._fs.open_read(segment.path)
            except FileNotFoundError:
                # Released since it was looked up; what follows is still there.
                position = max(position + 1, self.first_lsn)
                continue
            with file:
                first = max(position, segment.first_lsn)
                yield from iterate_records(file, segment, first, end, self._note_damage)
            position = max(position, end) + 1

    def chain_at(self, lsn: int) -> bytes:
        """The chain value (16 bytes) of record ``lsn``; of 0 and of first_lsn - 1 as well.

        Raises LogRangeError if the record is released, damaged, or not on disk yet.
        """
        if lsn == 0:
            return CHAIN_START
        with self._segments_lock:
            for segment in self._segments:
                if segment.first_lsn - 1 == lsn and segment.chain_before != CHAIN_UNKNOWN:
                    return segment.chain_before
        if self.first_lsn <= lsn:
            for record in self.read(lsn, lsn):
                return record.chain
        raise LogRangeError(lsn, self.first_lsn, self.fsynced_lsn)

    @property
    def lacked_room(self) -> bool:
        """True if it failed because the disk was full: opened again, once there is room, it goes on
        after what it acknowledged."""
        error = self._writer.error
        cause = None if error is None else error.__cause__
        return isinstance(cause, OSError) and cause.errno in NO_ROOM

    def statistics(self) -> LogStatistics:
        """Counts and positions; cheap."""
        with self._segments_lock:
            segments = list(self._segments)
            damages = list(self._damages.values())
        writer = self._writer
        return LogStatistics(
            first_lsn=segments[0].first_lsn,
            appended_lsn=writer.appended_lsn,
            committed_lsn=writer.committed_lsn,
            fsynced_lsn=self._open_segment.synced_lsn,
            segments=len(segments),
            bytes=sum(segment.bytes for segment in segments),
            queue_bytes=writer.queue_bytes,
            commits=writer.commits,
            syncs=self._open_segment.syncs,
            written_bytes=self._open_segment.written_bytes,
            damages=len(damages),
            lost_records=sum(damage.records for damage in damages),
            torn_bytes=self.recovery.torn_bytes,
            error=None if writer.error is None else writer.error.message,
            capped_records=self._capped_records,
        )

    def _segment_of(self, lsn: int) -> Segment | None:
        """The segment that holds ``lsn``, or the first one if all are above it."""
        with self._segments_lock:
            below = [s for s in self._segments if s.first_lsn <= lsn]
            return below[-1] if below else self._segments[0]

    def _end_of(self, segment: Segment) -> int:
        """The last LSN that may lie in ``segment``."""
        with self._segments_lock:
            after = [s.first_lsn for s in self._segments if s.first_lsn > segment.first_lsn]
        return min(after) - 1 if after else self.fsynced_lsn

    def _note_damage(self, damage: LogDamage) -> None:
        with self._segments_lock:
            # What recovery carried over lacks the same records in another file.
            known = any(
                d.first_lsn <= damage.first_lsn and damage.last_lsn <= d.last_lsn
                for d in self._damages.values()
            )
            if not known:
                self._damages[(damage.path, damage.offset, damage.first_lsn)] = damage
