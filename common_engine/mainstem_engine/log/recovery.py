"""Opening a log directory: which records are there, and where the next one goes.

1. Segments are ordered by first LSN. Records at or above the next segment's first LSN are void.
2. Each segment is read to its end; what is damaged between good records is reported, never cut.
   Segments that are older than ``trusted_lsn`` are left unread (a checkpoint covers them; damage in
   them is found by whoever reads them).
3. Behind the last good record of the last segment there may be a torn write: dropped. It is damage
   instead if every byte of the record is there (only its length may be wrong) and no sector of it
   is blank, for a torn write always lacks something.
4. A gap between good records that were never known to be durable, with a blank sector in it, is a
   torn write of one commit that reached the disk out of order: dropped from the gap on.
5. What was not proven durable is written again, into a new segment that is synced. So nothing that
   recovery saw only in the page cache, perhaps after a failed sync, is ever relied on. The new
   segment's first LSN voids the old copies; after that the old segment is cut.
6. A segment of an older version is not extended: an empty one of this version follows it. Records
   that are written again keep their chain, in a segment of the version that they came from.

Running it again finds the same records and nothing more to repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer, Filesystem, has_blank_sector
from mainstem_engine.log.layout import (
    CHAIN_START,
    CHAIN_UNKNOWN,
    CHECKED_FROM,
    RECORD_ALIGNMENT,
    RECORD_HEADER,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    VERSION,
    VERSIONS,
    SegmentHeader,
    pack_record_header,
    padded,
    record_salt,
    segment_first_lsn,
    segment_name,
)
from mainstem_engine.log.reader import (
    LogDamage,
    Segment,
    SegmentScan,
    declared_bytes,
    iterate_records,
    parse_record,
    scan_segment,
    version_of,
)
from mainstem_engine.log.records import Record


@dataclass(frozen=True, slots=True)
class LogRecovery:
    """What opening a log found. ``damages`` persist until their segment is released."""

    segments: int
    records: int
    torn_bytes: int
    carried_records: int
    damages: tuple[LogDamage, ...]

    @property
    def lost_records(self) -> int:
        """LSNs that damage took."""
        return sum(damage.records for damage in self.damages)


@dataclass(frozen=True, slots=True)
class RecoveredLog:
    """The state to go on from. The last of ``segments`` is the one to append to."""

    segments: list[Segment]
    last_lsn: int
    chain: bytes
    report: LogRecovery


class _Recovery:
    """One run of the steps above."""

    def __init__(self, fs: Filesystem, directory: Path, node_uuid: bytes) -> None:
        self._fs = fs
        self._directory = directory
        self._uuid = node_uuid
        self._damages: list[LogDamage] = []
        self._records = 0
        self._torn_bytes = 0
        self._carried = 0

    def run(self, trusted_lsn: int) -> RecoveredLog:
        fs, directory = self._fs, self._directory
        fs.make_directory(directory)
        fs.remove_temporary(directory)
        firsts = [lsn for name in fs.list(directory) if (lsn := segment_first_lsn(name))]
        segments: list[Segment] = []
        last_lsn, chain = 0, CHAIN_START
        for position, first in enumerate(firsts):
            limit = firsts[position + 1] if position + 1 < len(firsts) else None
            segment, header_ok = self._open_segment(first, chain)
            # What a checkpoint covers may be gone; the record after it may not.
            before = last_lsn if segments else trusted_lsn
            if before and first > before + 1:
                self._damages.append(LogDamage(segment.path, 0, 0, before + 1, first - 1))
            segments.append(segment)
            if limit is not None:
                chain = self._read_inner(segment, limit, trusted_lsn)
                last_lsn = limit - 1
            else:
                last_lsn, chain = self._read_last(segments, header_ok)
        if not segments:
            segments.append(self._new_segment(1, CHAIN_START, ()))
        report = LogRecovery(
            len(firsts), self._records, self._torn_bytes, self._carried, tuple(self._damages)
        )
        return RecoveredLog(segments, last_lsn, chain, report)

    def _open_segment(self, first: int, chain_before: bytes) -> tuple[Segment, bool]:
        """The segment of that name, and whether its header is whole."""
        path = self._directory / segment_name(first)
        with self._fs.open_read(path) as file:
            header = SegmentHeader.unpack(file.read_at(0, SEGMENT_HEADER_BYTES))
            size = file.size()
        ok = header is not None and header.first_lsn == first
        if header is not None and header.version not in VERSIONS:
            raise CorruptionError(path, 8, f"version {header.version} of the log is not known")
        if header is not None and header.node_uuid != self._uuid:
            raise CorruptionError(path, 0, "this segment belongs to the log of another node")
        if not ok:
            self._damages.append(LogDamage(path, 0, SEGMENT_HEADER_BYTES, first, first - 1))
        elif header is not None:
            chain_before = header.chain_before
        salt = record_salt(self._uuid, first)
        version = header.version if ok and header is not None else None
        return Segment(path, first, first - 1, salt, chain_before, size, version=version), ok

    def _read_inner(self, segment: Segment, limit: int, trusted_lsn: int) -> bytes:
        """Read a segment that has a successor: all of it was synced. Returns its last chain."""
        if limit - 1 <= trusted_lsn:
            segment.last_lsn = limit - 1
            return CHAIN_UNKNOWN  # the next segment's header says it
        mapped = self._fs.map(segment.path)
        try:
            scan = scan_segment(segment, mapped.view, limit)
            self._records += scan.records
            self._damages.extend(scan.damages)
            if scan.last_lsn < limit - 1:
                length = mapped.view.nbytes - scan.end
                lost = LogDamage(segment.path, scan.end, length, scan.last_lsn + 1, limit - 1)
                self._damages.append(lost)
            segment.last_lsn, segment.bytes = limit - 1, mapped.view.nbytes
            return scan.chain
        finally:
            mapped.close()

    def _read_last(self, segments: list[Segment], header_ok: bool) -> tuple[int, bytes]:
        """Read the segment that was open; leaves a durable segment to append to behind it."""
        segment = segments[-1]
        mapped = self._fs.map(segment.path)
        try:
            view = mapped.view
            scan = scan_segment(segment, view, None)
            torn = next((d for d in scan.damages if is_torn(view, d, scan.synced_lsn)), None)
            lost = None
            if torn is not None:
                # Read again up to the tear only; the index must not know what lies behind.
                del segment.index_lsn[:], segment.index_offset[:]
                scan = scan_segment(segment, view[: torn.offset], None)
            else:
                lost = lost_tail(view, segment, scan)
            size = view.nbytes
        finally:
            mapped.close()
        self._records += scan.records
        self._damages.extend(scan.damages)
        if lost is not None:
            self._damages.append(lost)
        elif size > scan.end:
            self._torn_bytes += size - scan.end
        if not (scan.records == 0 and size == SEGMENT_HEADER_BYTES and header_ok):
            self._carry_over(segments, scan)
        if lost is not None:
            # The gap between the two segments keeps the lost LSN from being given out again.
            segments.append(self._new_segment(lost.last_lsn + 1, scan.chain, ()))
            return lost.last_lsn, scan.chain
        if segments[-1].version != VERSION:
            if segments[-1].first_lsn > scan.last_lsn:
                segments.pop()  # empty: replaced by one of the same name
            segments.append(self._new_segment(scan.last_lsn + 1, scan.chain, ()))
        return scan.last_lsn, scan.chain

    def _carry_over(self, segments: list[Segment], scan: SegmentScan) -> None:
        """Copy the records that may not be durable into a new segment, sync it, cut the old one."""
        old, first, records = segments[-1], scan.synced_lsn + 1, list[Record]()
        chain = old.chain_before if scan.synced_lsn < old.first_lsn else CHAIN_UNKNOWN
        with self._fs.open_read(old.path) as file:
            start = max(scan.synced_lsn, old.first_lsn)
            for record in iterate_records(file, old, start, scan.last_lsn, _ignore):
                if record.lsn < first:
                    chain = record.chain
                else:
                    records.append(record)
        version = old.version if records else VERSION
        if version is None:
            with self._fs.open_read(old.path) as file:
                version = version_of(file, old, scan.last_lsn)
        new = self._new_segment(first, chain, records, version)
        self._carried += len(records)
        if new.path == old.path:
            segments[-1] = new
            return
        segments.append(new)
        old.last_lsn = scan.synced_lsn
        if not any(damage.path == old.path for damage in self._damages):
            # Tidiness only: the new segment has voided these bytes. Damage stays as evidence.
            self._cut(old, first)

    def _cut(self, segment: Segment, lsn: int) -> None:
        """Truncate an undamaged segment where record ``lsn`` starts, or behind its last record."""
        position, offset = segment.offset_before(lsn)
        mapped = self._fs.map(segment.path)
        try:
            data = np.frombuffer(mapped.view, np.uint8)
            while position < lsn:
                located = parse_record(mapped.view, data, offset, segment.salt, position)
                if located is None:
                    return  # cannot be; then nothing is cut
                position, offset = located.lsn + 1, located.end
        finally:
            mapped.close()
        file = self._fs.open_append(segment.path)
        try:
            file.truncate(offset)
            file.sync()
        finally:
            file.close()
        segment.bytes = offset

    def _new_segment(
        self, first: int, chain: bytes, records: Sequence[Record], version: int = VERSION
    ) -> Segment:
        """A durable segment that starts at ``first`` and holds ``records``."""
        path = self._directory / segment_name(first)
        salt = record_salt(self._uuid, first)
        new = Segment(path, first, first - 1, salt, chain, version=version)
        pieces: list[Buffer] = [SegmentHeader(first, chain, self._uuid, version).pack()]
        for record in records:
            header = pack_record_header(
                salt, record.lsn, record.kind, record.lsn - first,
                record.chain, record.size, record.pieces,
            )  # fmt: skip
            new.note(record.lsn, new.bytes)
            length = RECORD_HEADER_BYTES + record.size
            pieces += [header, *record.pieces, bytes(padded(length) - length)]
            new.bytes += padded(length)
            new.last_lsn = record.lsn
        self._fs.replace(path, pieces)
        return new


def is_torn(view: memoryview, damage: LogDamage, synced_lsn: int) -> bool:
    """True for a gap in what was never durable that has a sector which was never written."""
    return damage.first_lsn > synced_lsn and has_blank_sector(
        view, damage.offset, damage.offset + damage.bytes
    )


def lost_tail(view: memoryview, segment: Segment, scan: SegmentScan) -> LogDamage | None:
    """The record behind the last good one, if all of it is there: damaged rather than torn."""
    tail = view[scan.end :]
    if not tail.nbytes:
        return None
    if declared_bytes(tail) != tail.nbytes and not _whole_but_for_length(tail, segment.salt):
        return None
    if has_blank_sector(view, scan.end, view.nbytes):
        return None
    lsn = scan.last_lsn + 1
    return LogDamage(segment.path, scan.end, tail.nbytes, lsn, lsn)


def _whole_but_for_length(tail: memoryview, salt: int) -> bool:
    """True if ``tail`` is a record with a right checksum and a wrong length."""
    if tail.nbytes < RECORD_HEADER_BYTES:
        return False
    (_, crc, *_) = RECORD_HEADER.unpack_from(tail)
    data = np.frombuffer(tail, np.uint8)
    # The crc does not cover the length; the padding is not covered either, so each is tried.
    return any(
        google_crc32c.extend(salt, data[CHECKED_FROM : tail.nbytes - pad]) == crc
        for pad in range(min(RECORD_ALIGNMENT, tail.nbytes - RECORD_HEADER_BYTES + 1))
    )


def _ignore(_: LogDamage) -> None:
    """Damage that was already counted when the segment was scanned."""


def recover_log(
    fs: Filesystem, directory: Path, node_uuid: bytes, trusted_lsn: int = 0
) -> RecoveredLog:
    """Open the log in ``directory`` (made if missing).

    CorruptionError: it belongs to another node, or to a later version of the program.
    """
    return _Recovery(fs, directory, node_uuid).run(trusted_lsn)
