"""The open end of the log: encodes records into the last segment, syncs it, begins the next.

1. A segment begins only when everything in the one before it is synced, and exists (atomically,
   durably) before its first record is written.
2. A process without a free descriptor can still begin a segment: one is kept back for that.
3. A failed sync is never tried again. ``void_unsynced`` then leaves a new segment whose first LSN
   says from where the old one is void.

Used by one thread, but for ``synced_lsn`` and ``written_lsn``, which any thread may read, and for
``sync_file``, which may run on another one while the owner writes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstem_engine.filesystem import Buffer, Filesystem, SpareDescriptor
from mainstem_engine.log.layout import (
    RECORD_HEADER_BYTES,
    SegmentHeader,
    pack_record_header,
    padded,
    record_salt,
    segment_name,
)
from mainstem_engine.log.reader import Segment
from mainstem_engine.log.records import Record

SMALL_BYTES = 16 << 10
"""Pieces below this are joined into one buffer; larger ones go to writev as they are."""

_PADS = tuple(bytes(n) for n in range(8))


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the open segment: its last LSN, its chain, and its length."""

    lsn: int
    chain: bytes
    bytes: int


class OpenSegment:
    """The last segment of a log; see the module. ``segments`` is shared with the log's readers."""

    def __init__(
        self,
        fs: Filesystem,
        directory: Path,
        node_uuid: bytes,
        *,
        segments: list[Segment],
        segments_lock: threading.Lock,
        last_lsn: int,
        chain: bytes,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._node_uuid = node_uuid
        self._segments = segments
        self._segments_lock = segments_lock
        self._segment = segments[-1]
        self._file = fs.open_append(self._segment.path)
        self._spare = SpareDescriptor()
        self._chain = chain
        # Where a failure cuts: the last point that a sync confirmed.
        self._synced_chain = chain
        self._synced_bytes = self._segment.bytes
        self._sync_failed = False
        self.written_lsn = last_lsn
        self.synced_lsn = last_lsn
        self.syncs = 0
        self.written_bytes = 0

    @property
    def size(self) -> int:
        """Length of the segment in bytes."""
        return self._segment.bytes

    @property
    def is_empty(self) -> bool:
        """True if no record was written to the segment."""
        return self._segment.last_lsn < self._segment.first_lsn

    def write(self, records: Sequence[Record]) -> None:
        """Append records in LSN order, with one write. OSError: an unknown part is written."""
        pieces, size = self._encode(records)
        self._file.write(pieces)
        self._chain = records[-1].chain
        self.written_lsn = records[-1].lsn
        self.written_bytes += size
        self._segment.last_lsn = self.written_lsn
        self._segment.bytes += size

    def sync(self) -> None:
        """Wait until all that was written is on disk. An OSError is final."""
        if self.synced_lsn == self.written_lsn:
            return
        mark = self.mark()
        self.sync_file()
        self.confirm(mark)

    def mark(self) -> Mark:
        """The end of what is written now: what a sync that begins now covers."""
        return Mark(self.written_lsn, self._chain, self._segment.bytes)

    def sync_file(self) -> None:
        """The waiting part of sync(). An OSError is final."""
        try:
            self._file.sync()
        except OSError:
            self._sync_failed = True
            raise

    def confirm(self, mark: Mark) -> None:
        """A sync that began at ``mark`` has ended well. The segment was not changed meanwhile."""
        self.syncs += 1
        self._synced_chain, self._synced_bytes = mark.chain, mark.bytes
        self.synced_lsn = mark.lsn

    def rotate(self) -> None:
        """Sync and close the segment, begin the next. Nothing to do if it is empty."""
        if self.is_empty:
            return
        self.sync()
        with self._spare.lent():
            new = self._create(self.written_lsn + 1, self._chain)
            self._file.close()
            self._file = self._fs.open_append(new.path)
        self._segment, self._synced_bytes = new, new.bytes
        with self._segments_lock:
            self._segments.append(new)

    def void_unsynced(self) -> None:
        """After a failure: leave nothing that a later start could take for committed records.

        Every step may fail on a broken disk; recovery is right without any of them.
        """
        if not self._sync_failed:
            # It was not a sync that failed: what was written before has not been tried yet.
            with contextlib.suppress(OSError):
                self.sync()
        with contextlib.suppress(OSError), self._spare.lent():
            self._create(self.synced_lsn + 1, self._synced_chain)
        with contextlib.suppress(OSError):
            self._file.truncate(self._synced_bytes)

    def close(self) -> None:
        """Close the file without syncing. May be called twice."""
        self._file.close()
        self._spare.close()

    def _encode(self, records: Sequence[Record]) -> tuple[list[Buffer], int]:
        """The pieces to write, and how many bytes those are."""
        segment, synced_lsn = self._segment, self.synced_lsn
        salt, offset = segment.salt, segment.bytes
        pieces: list[Buffer] = []
        small: list[bytes | memoryview] = []
        for record in records:
            lsn = record.lsn
            segment.note(lsn, offset)
            small.append(
                pack_record_header(
                    salt, lsn, record.kind, lsn - 1 - synced_lsn,
                    record.chain, record.size, record.pieces,
                )
            )  # fmt: skip
            for piece in record.pieces:
                if len(piece) < SMALL_BYTES:
                    small.append(piece)
                else:
                    pieces += [b"".join(small), piece]
                    small = []
            length = RECORD_HEADER_BYTES + record.size
            end = padded(length)
            if end != length:
                small.append(_PADS[end - length])
            offset += end
        if small:
            pieces.append(b"".join(small))
        return pieces, offset - segment.bytes

    def _create(self, first: int, chain: bytes) -> Segment:
        path = self._directory / segment_name(first)
        self._fs.replace(path, [SegmentHeader(first, chain, self._node_uuid).pack()])
        return Segment(path, first, first - 1, record_salt(self._node_uuid, first), chain)
