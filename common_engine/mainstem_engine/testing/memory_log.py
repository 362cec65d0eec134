"""The log's twin in memory: one thread, no files, and a disk that may lose what was not synced.

1. ``append`` queues. ``commit`` writes what is queued, syncs it if the durability says so, and
   reports it: nothing happens in between, so that a run is a function of its seed.
2. What a process leaves behind is its LogDisk. ``power_cut`` takes what was not synced; what was
   queued and not committed is gone with the process anyway.
3. The hash chain, the rules of what may be read, and release by whole segments are the real ones;
   a segment ends where the engine rotates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mainstem_engine.errors import ClosedError, LogFailedError, LogRangeError
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.log.layout import CHAIN_START, next_chain, payload_digest
from mainstem_engine.log.log import Log, LogStatistics
from mainstem_engine.log.reader import LogDamage
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.options import Durability

RECORD_OVERHEAD_BYTES = 40
"""What a record's header takes in a real segment: caps and statistics count it."""


@dataclass(slots=True)
class LogDisk:
    """What is stored: ``records`` from ``first_lsn`` on, ``synced_lsn`` of them for good.
    ``segments``: first LSNs, ascending. ``chain_before``: of the first record."""

    records: list[Record] = field(default_factory=list)
    first_lsn: int = 1
    synced_lsn: int = 0
    segments: list[int] = field(default_factory=lambda: [1])
    chain_before: bytes = CHAIN_START
    damages: list[LogDamage] = field(default_factory=list)

    @property
    def last_lsn(self) -> int:
        """The last record that was written; first_lsn - 1 when there is none."""
        return self.first_lsn + len(self.records) - 1

    @property
    def chain(self) -> bytes:
        """The chain value of the last record."""
        return self.records[-1].chain if self.records else self.chain_before

    def copy(self) -> LogDisk:
        """Everything as it is now: records themselves never change."""
        return LogDisk(
            list(self.records), self.first_lsn, self.synced_lsn, list(self.segments),
            self.chain_before, list(self.damages),
        )  # fmt: skip

    def power_cut(self) -> None:
        """What was written and not synced is gone."""
        del self.records[max(0, self.synced_lsn - self.first_lsn + 1) :]
        self.segments = [s for s in self.segments if s <= self.last_lsn + 1] or [self.first_lsn]

    def damage(self, first_lsn: int, last_lsn: int) -> None:
        """These records can be read no more."""
        self.damages.append(LogDamage(Path("log"), 0, 0, first_lsn, last_lsn))

    def is_damaged(self, lsn: int) -> bool:
        return any(d.first_lsn <= lsn <= d.last_lsn for d in self.damages)


class MemoryLog(Log):
    """See the module. ``durability`` as the engine's: ``always`` syncs with every commit, the
    others when ``sync`` is called."""

    def __init__(self, disk: LogDisk, durability: Durability) -> None:
        self._disk = disk
        self._durability = durability
        self._queue: list[tuple[Record, object]] = []
        self._on_commit: Callable[[Sequence[tuple[Record, object]]], None] | None = None
        self._on_failure: Callable[[LogFailedError, Sequence[object]], None] | None = None
        self._committing = False
        self._closed = False
        self._chain = disk.chain
        self._appended = disk.last_lsn
        self._committed = disk.last_lsn
        self._capped_records = 0
        self.on_append: Callable[[], None] = _nothing
        """Called when there is something to commit."""
        # A start relies on nothing that it saw only in a cache.
        disk.synced_lsn = disk.last_lsn

    # -- writing ---------------------------------------------------------------------------------

    def start(
        self,
        on_commit: Callable[[Sequence[tuple[Record, object]]], None],
        on_failure: Callable[[LogFailedError, Sequence[object]], None] | None = None,
    ) -> None:
        self._on_commit, self._on_failure = on_commit, on_failure

    def append(self, kind: RecordKind, buffers: Sequence[Buffer], token: object = None) -> int:
        if self._closed:
            raise ClosedError("the log is closed")
        payload = b"".join(byte_view(buffer) for buffer in buffers)
        lsn = self._appended + 1
        digest = payload_digest([payload])
        self._chain = next_chain(self._chain, kind, lsn, len(payload), digest)
        self._appended = lsn
        record = Record(lsn, RecordKind(kind), (payload,), len(payload), self._chain)
        self._queue.append((record, token))
        self.on_append()
        return lsn

    def commit(self) -> int:
        """Writes, syncs and reports what is queued; returns how many records that were. Nothing, of
        a process that is gone."""
        if self._committing or self._closed:
            return 0
        done = 0
        self._committing = True
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                self._disk.records += [record for record, _ in batch]
                if self._durability.mode == "always":
                    self.sync()
                if self._on_commit is not None:
                    self._on_commit(batch)
                self._committed = batch[-1][0].lsn
                done += len(batch)
        finally:
            self._committing = False
        return done

    def sync(self) -> None:
        """What was written stays. Nothing, of a process that is gone."""
        if not self._closed:
            self._disk.synced_lsn = self._disk.last_lsn

    def barrier(self) -> int:
        self.commit()
        return self._appended

    def rotate(self) -> None:
        self.sync()
        if self._disk.segments[-1] <= self._disk.last_lsn:
            self._disk.segments.append(self._disk.last_lsn + 1)

    def release(self, through_lsn: int) -> int:
        disk = self._disk
        while len(disk.segments) > 1 and disk.segments[1] - 1 <= through_lsn:
            disk.segments.pop(0)
            gone = disk.segments[0] - disk.first_lsn
            if gone:
                disk.chain_before = disk.records[gone - 1].chain
                del disk.records[:gone]
                disk.first_lsn = disk.segments[0]
        disk.damages = [d for d in disk.damages if d.last_lsn >= disk.first_lsn]
        return self.first_lsn

    def shrink(self, bytes_max: int, through_lsn: int) -> tuple[int, int] | None:
        found = self.excess(bytes_max, through_lsn)
        if found is not None:
            self.release(found[1])
            self._capped_records += found[1] - found[0] + 1
        return found

    def excess(self, bytes_max: int, through_lsn: int) -> tuple[int, int] | None:
        disk = self._disk
        size, last = self._bytes(), 0
        for start, following in itertools.pairwise(disk.segments):
            if size <= bytes_max or following - 1 > through_lsn:
                break
            low, high = start - disk.first_lsn, following - disk.first_lsn
            size -= sum(r.size + RECORD_OVERHEAD_BYTES for r in disk.records[low:high])
            last = following - 1
        return None if last < disk.first_lsn else (disk.first_lsn, last)

    def close(self) -> None:
        self.commit()
        self.sync()
        self._closed = True

    def stop(self) -> None:
        """The process is gone: what is queued is lost, and nobody is told."""
        self._queue.clear()
        self._closed = True

    # -- reading ---------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Records that wait to be committed."""
        return len(self._queue)

    @property
    def queue_bytes(self) -> int:
        return sum(record.size for record, _ in self._queue)

    @property
    def appended_lsn(self) -> int:
        return self._appended

    @property
    def committed_lsn(self) -> int:
        return self._committed

    @property
    def fsynced_lsn(self) -> int:
        return self._disk.synced_lsn

    @property
    def first_lsn(self) -> int:
        return self._disk.first_lsn

    @property
    def damages(self) -> tuple[LogDamage, ...]:
        return tuple(sorted(self._disk.damages, key=lambda damage: damage.first_lsn))

    @property
    def error(self) -> LogFailedError | None:
        return None

    def read(self, first_lsn: int, last_lsn: int | None = None) -> Iterator[Record]:
        limit = self.fsynced_lsn
        last = limit if last_lsn is None else min(last_lsn, limit)
        position = first_lsn
        while position <= last:
            disk = self._disk
            position = max(position, disk.first_lsn)
            at = position - disk.first_lsn
            if position > last or at >= len(disk.records):
                return
            record = disk.records[at]
            position += 1
            if not disk.damages or not disk.is_damaged(record.lsn):
                yield record

    def chain_at(self, lsn: int) -> bytes:
        disk = self._disk
        if lsn == 0:
            return CHAIN_START
        if lsn == disk.first_lsn - 1:
            return disk.chain_before
        if disk.first_lsn <= lsn <= self.fsynced_lsn and not disk.is_damaged(lsn):
            return disk.records[lsn - disk.first_lsn].chain
        raise LogRangeError(lsn, disk.first_lsn, self.fsynced_lsn)

    def statistics(self) -> LogStatistics:
        disk = self._disk
        return LogStatistics(
            disk.first_lsn, self._appended, self._committed, disk.synced_lsn, len(disk.segments),
            self._bytes(), self.queue_bytes, 0, 0, 0, len(disk.damages),
            sum(d.records for d in disk.damages), 0, None, self._capped_records,
        )  # fmt: skip

    def _bytes(self) -> int:
        return sum(record.size + RECORD_OVERHEAD_BYTES for record in self._disk.records)


def _nothing() -> None:
    """Until somebody wants to know."""
