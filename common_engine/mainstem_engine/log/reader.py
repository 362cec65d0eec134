"""Reading a log segment: one record, all records, and what damage left over.

1. A record is accepted only if its length fits, its crc is right, and its LSN is not below the one
   expected. Nothing of a payload is looked at before that.
2. At a record that is not accepted, the search goes on at every following multiple of 8 for a
   record that is. What lies between is damage: the LSNs in between are lost, what follows is kept.
3. A segment is never changed by reading it.
"""

from __future__ import annotations

import bisect
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from mainstem_engine.filesystem import ReadFile
from mainstem_engine.log.layout import (
    CHECKED_FROM,
    LSN_MAX,
    PAYLOAD_BYTES_MAX,
    RECORD_ALIGNMENT,
    RECORD_HEADER,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    VERSION,
    VERSIONS,
    chain_of_version,
    padded,
)
from mainstem_engine.log.records import Record, RecordKind

INDEX_BYTES = 16 << 10
"""One index entry per this many bytes: a seek parses at most this much before its record."""

READ_BYTES = 1 << 20
"""Records are read from the file in pieces of this size: large for a disk, small in memory."""

_LENGTH = struct.Struct("<I")
_KINDS = {int(kind): kind for kind in RecordKind}


@dataclass(frozen=True, slots=True)
class LogDamage:
    """A stretch of a segment that is not what was written.

    LSNs ``first_lsn`` to ``last_lsn`` are lost (none if last is below first). ``path`` may name a
    file that is missing altogether, with ``offset`` 0.
    """

    path: Path
    offset: int
    bytes: int
    first_lsn: int
    last_lsn: int

    @property
    def records(self) -> int:
        """How many records are lost."""
        return max(0, self.last_lsn - self.first_lsn + 1)


@dataclass(slots=True)
class Segment:
    """One file of the log. ``last_lsn`` is first_lsn - 1 while it holds no record."""

    path: Path
    first_lsn: int
    last_lsn: int
    salt: int
    chain_before: bytes
    bytes: int = SEGMENT_HEADER_BYTES
    version: int | None = VERSION
    """None when the header is damaged and does not say it."""
    index_lsn: array[int] = field(default_factory=lambda: array("Q"))
    index_offset: array[int] = field(default_factory=lambda: array("Q"))

    def note(self, lsn: int, offset: int) -> None:
        """Remember where a record starts, once per INDEX_BYTES."""
        if not self.index_offset or offset - self.index_offset[-1] >= INDEX_BYTES:
            # Offset first: a reader on another thread looks up the LSN, then takes its offset.
            self.index_offset.append(offset)
            self.index_lsn.append(lsn)

    def offset_before(self, lsn: int) -> tuple[int, int]:
        """(LSN expected there, offset) of the nearest known place at or before record ``lsn``."""
        position = bisect.bisect_right(self.index_lsn, lsn) - 1
        if position < 0:
            return self.first_lsn, SEGMENT_HEADER_BYTES
        return self.index_lsn[position], self.index_offset[position]


class Located(NamedTuple):
    """An accepted record of the buffer that was parsed. A tuple: millions are made at a start.

    It starts at ``offset``; its payload is from ``start`` to ``stop``, its padding ends at ``end``.
    """

    lsn: int
    kind: int
    unsynced: int
    chain: bytes
    offset: int
    start: int
    stop: int
    end: int

    def record(self, view: memoryview) -> Record:
        """The record, with a payload that looks into ``view``."""
        kind = _KINDS.get(self.kind) or RecordKind(self.kind)
        payload = view[self.start : self.stop]
        return Record(self.lsn, kind, (payload,), self.stop - self.start, self.chain)


def parse_record(
    view: memoryview, data: npt.NDArray[np.uint8], offset: int, salt: int, expected_lsn: int
) -> Located | None:
    """The record at ``offset`` of ``view``, or None. ``data`` is the same bytes as an array."""
    start = offset + RECORD_HEADER_BYTES
    if start > view.nbytes:
        return None
    length, crc, lsn, kind, _, _, unsynced, chain = RECORD_HEADER.unpack_from(view, offset)
    stop = start + length
    if lsn < expected_lsn or length > PAYLOAD_BYTES_MAX or stop > view.nbytes:
        return None
    if google_crc32c.extend(salt, data[offset + CHECKED_FROM : stop]) != crc:
        return None
    return Located(lsn, kind, unsynced, chain, offset, start, stop, padded(stop))


def find_record(
    view: memoryview, data: npt.NDArray[np.uint8], offset: int, salt: int, expected_lsn: int
) -> Located | None:
    """The first record behind ``offset`` that is accepted, or None.

    Only places whose LSN and length fields are possible are tried with the crc.
    """
    start = padded(offset + 1)
    words = np.frombuffer(view[start : view.nbytes - view.nbytes % RECORD_ALIGNMENT], "<u8")
    if len(words) < RECORD_HEADER_BYTES // RECORD_ALIGNMENT:
        return None
    # Every record takes at least a header, which bounds how far the LSN can have come.
    lsn_max = expected_lsn + view.nbytes // RECORD_HEADER_BYTES + 1
    lengths = words[:-1] & np.uint64(0xFFFFFFFF)
    lsns = words[1:]
    possible = (lsns >= np.uint64(expected_lsn)) & (lsns <= np.uint64(lsn_max))
    possible &= lengths <= np.uint64(min(view.nbytes, PAYLOAD_BYTES_MAX))
    for word in np.flatnonzero(possible):
        place = start + int(word) * RECORD_ALIGNMENT
        located = parse_record(view, data, place, salt, expected_lsn)
        if located is not None:
            return located
    return None


@dataclass(frozen=True, slots=True)
class SegmentScan:
    """What a whole segment holds. ``end`` is the offset behind its last record."""

    last_lsn: int
    chain: bytes
    end: int
    records: int
    synced_lsn: int
    damages: tuple[LogDamage, ...]


def scan_segment(segment: Segment, view: memoryview, limit_lsn: int | None) -> SegmentScan:
    """Read every record of ``view`` (the whole file) below ``limit_lsn``; fills the index.

    Bytes behind the last record are left to the caller to judge. ``synced_lsn``: the records up to
    it were durable when a later one was written.
    """
    data = np.frombuffer(view, np.uint8)
    expected, offset, chain = segment.first_lsn, SEGMENT_HEADER_BYTES, segment.chain_before
    records, synced = 0, segment.first_lsn - 1
    damages: list[LogDamage] = []
    while limit_lsn is None or expected < limit_lsn:
        located = parse_record(view, data, offset, segment.salt, expected)
        if located is None:
            located = find_record(view, data, offset, segment.salt, expected)
            if located is None:
                break
        lsn = located.lsn
        if limit_lsn is not None and lsn >= limit_lsn:
            break
        if lsn > expected or located.offset > offset:
            lost = LogDamage(segment.path, offset, located.offset - offset, expected, lsn - 1)
            damages.append(lost)
        segment.note(lsn, located.offset)
        synced = max(synced, lsn - 1 - located.unsynced)
        expected, offset, chain = lsn + 1, located.end, located.chain
        records += 1
    segment.last_lsn, segment.bytes = expected - 1, offset
    return SegmentScan(expected - 1, chain, offset, records, synced, tuple(damages))


def iterate_records(
    file: ReadFile,
    segment: Segment,
    first_lsn: int,
    last_lsn: int,
    on_damage: Callable[[LogDamage], None],
) -> Iterator[Record]:
    """Records ``first_lsn`` to ``last_lsn`` of one segment, in order; lost ones are left out.

    ``last_lsn`` must be durable: bytes behind it may be half written and are not looked at.
    Payloads are views into immutable buffers of about READ_BYTES.
    """
    expected, position = segment.offset_before(first_lsn)
    # One record lies within INDEX_BYTES of where the index points, or is itself large.
    wanted = READ_BYTES if last_lsn > first_lsn else 2 * INDEX_BYTES
    while expected <= last_lsn:
        view = memoryview(file.read_at(position, wanted))
        data = np.frombuffer(view, np.uint8)
        offset = 0
        while expected <= last_lsn:
            located = parse_record(view, data, offset, segment.salt, expected)
            if located is None:
                break
            lsn = located.lsn
            if lsn > expected:
                on_damage(LogDamage(segment.path, position + offset, 0, expected, lsn - 1))
            if first_lsn <= lsn <= last_lsn:
                yield located.record(view)
            expected, offset = lsn + 1, located.end
        else:
            return
        if offset:  # the piece ended inside a record: go on from its start
            position, wanted = position + offset, READ_BYTES
            continue
        declared = declared_bytes(view)
        if view.nbytes == wanted < declared:  # a record larger than a piece
            wanted = declared
            continue
        found = _skip_damage(file, segment, position, expected, last_lsn, on_damage)
        if found is None:
            return
        (expected, position), wanted = found, READ_BYTES


def _skip_damage(
    file: ReadFile,
    segment: Segment,
    position: int,
    expected: int,
    last_lsn: int,
    on_damage: Callable[[LogDamage], None],
) -> tuple[int, int] | None:
    """(LSN, offset) of the next good record behind ``position``; None if there is none."""
    rest = memoryview(file.read_at(position, max(0, file.size() - position)))
    found = find_record(rest, np.frombuffer(rest, np.uint8), 0, segment.salt, expected)
    if found is None:
        on_damage(LogDamage(segment.path, position, rest.nbytes, expected, last_lsn))
        return None
    lsn = found.lsn
    on_damage(LogDamage(segment.path, position, found.offset, expected, lsn - 1))
    return lsn, position + found.offset


def version_of(file: ReadFile, segment: Segment, last_lsn: int = LSN_MAX) -> int:
    """The version of a segment whose header does not say it, by how the chain of its records was
    made; the newest if it has no two records in a row."""
    before: Record | None = None
    for record in iterate_records(file, segment, segment.first_lsn, last_lsn, _seen):
        if before is not None and record.lsn == before.lsn + 1:
            for version in VERSIONS:
                chain = before.chain, record.kind, record.lsn, record.payload
                if chain_of_version(version, *chain) == record.chain:
                    return version
        before = record
    return VERSION


def _seen(_: LogDamage) -> None:
    """Damage that somebody else reports."""


def declared_bytes(view: memoryview) -> int:
    """The size that the record at the start of ``view`` says it has; 0 if that is impossible."""
    if view.nbytes < RECORD_HEADER_BYTES:
        return 0
    (length,) = _LENGTH.unpack_from(view)
    return padded(RECORD_HEADER_BYTES + length) if length <= PAYLOAD_BYTES_MAX else 0
