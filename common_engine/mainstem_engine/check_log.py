"""Checking the log: every record of every segment, and the chain over all of them.

1. Segments in order of their first LSN; header, name and node must agree. Records at or above the
   next segment's first LSN are void and left alone.
2. Every record's checksum; what lies between good records is damage, with the LSNs that it took.
   Behind the last record of the last segment a torn write is no damage: nobody was told that it
   was stored.
3. Every payload's lengths, and that the chain of each record follows from the one before, across
   segments too.
4. LSNs are dense from the first segment to the last, and the log reaches the checkpoint.

A segment is mapped, never copied; beyond that one piece of READ_BYTES or one record is in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstem_engine.damage import Damage, Findings, damage_of
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.layout import (
    CHAIN_START,
    CHAIN_UNKNOWN,
    SEGMENT_HEADER_BYTES,
    VERSIONS,
    SegmentHeader,
    chain_of_version,
    record_salt,
    segment_first_lsn,
    segment_name,
)
from mainstem_engine.log.reader import (
    LogDamage,
    Segment,
    SegmentScan,
    iterate_records,
    scan_segment,
)
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.log.recovery import is_torn, lost_tail
from mainstem_engine.losses import Losses
from mainstem_engine.points import decode_points

LOG_DIRECTORY = "log"
HEADER_DAMAGED = "the segment's header is damaged"


@dataclass(slots=True)
class LogCounts:
    """What was read. ``first_lsn`` and ``last_lsn`` are 0 without a log."""

    segments: int = 0
    records: int = 0
    bytes: int = 0
    first_lsn: int = 0
    last_lsn: int = 0


def log_firsts(fs: Filesystem, directory: Path) -> list[int]:
    """First LSN of every segment of a log directory, ascending."""
    return [lsn for name in fs.list(directory) if (lsn := segment_first_lsn(name)) is not None]


def log_node(fs: Filesystem, directory: Path) -> str | None:
    """The node uuid that every readable header of a log directory names; None without one."""
    found = set()
    for first in log_firsts(fs, directory):
        with fs.open_read(directory / segment_name(first)) as file:
            header = SegmentHeader.unpack(file.read_at(0, SEGMENT_HEADER_BYTES))
        if header is not None:
            found.add(header.node_uuid.hex())
    return found.pop() if len(found) == 1 else None


def check_log(
    fs: Filesystem,
    root: Path,
    node_uuid: str | None,
    checkpoint_lsn: int,
    losses: Losses,
    findings: Findings,
) -> LogCounts:
    """Reads the whole log. ``node_uuid`` None: unknown, the first segment's is taken. Of records
    that ``losses`` declare lost there is only a remark."""
    return _LogCheck(fs, root, node_uuid, checkpoint_lsn, losses, findings).run()


class _LogCheck:
    """One run of the steps above."""

    def __init__(
        self,
        fs: Filesystem,
        root: Path,
        node_uuid: str | None,
        checkpoint_lsn: int,
        losses: Losses,
        findings: Findings,
    ) -> None:
        self._fs = fs
        self._root = root
        self._directory = root / LOG_DIRECTORY
        self._uuid = None if node_uuid is None else bytes.fromhex(node_uuid)
        self._checkpoint_lsn = checkpoint_lsn
        self._losses = losses
        self._findings = findings
        self._counts = LogCounts()
        self._chain = CHAIN_UNKNOWN

    def run(self) -> LogCounts:
        firsts = log_firsts(self._fs, self._directory)
        counts = self._counts
        last = 0
        for position, first in enumerate(firsts):
            limit = firsts[position + 1] if position + 1 < len(firsts) else None
            if position == 0:
                counts.first_lsn = first
                self._chain = CHAIN_START if first == 1 else CHAIN_UNKNOWN
            elif first > last + 1:
                name = segment_name(first)
                self._lost(LogDamage(self._directory / name, 0, 0, last + 1, first - 1), "")
                self._chain = CHAIN_UNKNOWN
            last = self._segment(first, limit)
            counts.segments += 1
        counts.last_lsn = last
        self._against_checkpoint()
        return counts

    def _segment(self, first: int, limit: int | None) -> int:
        """Reads one segment; returns the last LSN that is its."""
        path = self._directory / segment_name(first)
        file = path.relative_to(self._root).as_posix()
        try:
            mapped = self._fs.map(path)
        except OSError as error:
            self._findings.add(damage_of(self._root, error, file))
            return first - 1 if limit is None else limit - 1
        try:
            view = mapped.view
            self._counts.bytes += view.nbytes
            segment = self._open(path, file, first, view)
            if segment is None:
                return first - 1 if limit is None else limit - 1
            scan = scan_segment(segment, view, limit)
            if limit is None:
                scan, last = self._tail(view, segment, scan)
            else:
                last = limit - 1
                if scan.last_lsn < last:
                    length = view.nbytes - scan.end
                    damage = LogDamage(path, scan.end, length, scan.last_lsn + 1, last)
                    self._lost(damage, "its end is missing")
        finally:
            mapped.close()
        for damage in scan.damages:
            self._lost(damage, "these bytes are not records")
        self._records(segment, scan.last_lsn, file)
        if last != scan.last_lsn:
            self._chain = CHAIN_UNKNOWN
        return last

    def _open(self, path: Path, file: str, first: int, view: memoryview) -> Segment | None:
        """The segment as its header says, None when nothing in it can be told."""
        header = SegmentHeader.unpack(bytes(view[:SEGMENT_HEADER_BYTES]))
        if header is None or header.first_lsn != first:
            self._findings.add(Damage(file, 0, HEADER_DAMAGED))
            self._chain = CHAIN_UNKNOWN
            if self._uuid is None:
                return None
            salt = record_salt(self._uuid, first)
            return Segment(path, first, first - 1, salt, CHAIN_UNKNOWN, version=None)
        if header.version not in VERSIONS:
            problem = f"version {header.version} of the log is not known"
            self._findings.add(Damage(file, 8, problem))
            return None
        self._uuid = self._uuid or header.node_uuid
        if header.node_uuid != self._uuid:
            self._findings.add(Damage(file, 0, "this segment belongs to the log of another node"))
            return None
        known = CHAIN_UNKNOWN not in (self._chain, header.chain_before)
        if known and header.chain_before != self._chain:
            self._findings.add(Damage(file, 24, "the chain does not follow the segment before"))
        if header.chain_before != CHAIN_UNKNOWN:
            self._chain = header.chain_before
        salt = record_salt(self._uuid, first)
        return Segment(path, first, first - 1, salt, header.chain_before, version=header.version)

    def _tail(
        self, view: memoryview, segment: Segment, scan: SegmentScan
    ) -> tuple[SegmentScan, int]:
        """What lies behind the last good record of the last segment: torn, or damaged."""
        torn = next((d for d in scan.damages if is_torn(view, d, scan.synced_lsn)), None)
        if torn is not None:
            # Read again up to the tear only; the index must not know what lies behind.
            del segment.index_lsn[:], segment.index_offset[:]
            scan = scan_segment(segment, view[: torn.offset], None)
        else:
            lost = lost_tail(view, segment, scan)
            if lost is not None:
                self._lost(lost, "the last record is not what was written")
                return scan, lost.last_lsn
        if view.nbytes > scan.end:
            self._findings.remark(
                f"{segment.path.name}: {view.nbytes - scan.end} bytes of a torn write at"
                f" byte {scan.end}; never acknowledged, the next start drops them"
            )
        return scan, scan.last_lsn

    def _records(self, segment: Segment, last_lsn: int, file: str) -> None:
        """Payloads and chain of every record."""
        expected = segment.first_lsn
        with self._fs.open_read(segment.path) as opened:
            for record in iterate_records(opened, segment, expected, last_lsn, _known):
                if record.lsn != expected:
                    self._chain = CHAIN_UNKNOWN
                # Without the chain before it nothing can be said; LSN 1 follows the zeros.
                known = self._chain != CHAIN_UNKNOWN or record.lsn == 1
                if known and not _follows(segment.version, self._chain, record):
                    self._findings.add(
                        Damage(
                            file,
                            segment.offset_before(record.lsn)[1],
                            f"the chain breaks at LSN {record.lsn}: what came before is not"
                            " what was written",
                        )
                    )
                self._chain = record.chain
                expected = record.lsn + 1
                self._counts.records += 1
                try:
                    if record.kind == RecordKind.PTS:
                        decode_points(record.payload)
                    else:
                        decode_payload(record.payload)
                except CorruptionError as error:
                    offset = segment.offset_before(record.lsn)[1]
                    problem = f"LSN {record.lsn}: {error.problem}"
                    self._findings.add(Damage(file, offset, problem))

    def _lost(self, damage: LogDamage, problem: str) -> None:
        """LSNs that are gone, and what that means for the rows in them."""
        first, last = damage.first_lsn, damage.last_lsn
        file = damage.path.relative_to(self._root).as_posix()
        if last < first:
            self._findings.remark(f"{file} at byte {damage.offset}: {problem}; no record is lost")
            return
        lsns = f"LSN {first}" if first == last else f"LSN {first} to {last}"
        if self._losses.declares(first, last):
            self._findings.remark(f"{file} at byte {damage.offset}: {lsns}, declared lost")
            return
        if last <= self._checkpoint_lsn:
            lost = f"{lsns} cannot be forwarded any more; their rows are in the parts"
        else:
            lost = f"lost: {lsns}, with all rows and definitions in them"
        text = problem or "records are missing before this segment"
        self._findings.add(Damage(file, damage.offset, text, lost, first_lsn=first, last_lsn=last))

    def _against_checkpoint(self) -> None:
        """The log must go on where the checkpoint ends."""
        counts, lsn = self._counts, self._checkpoint_lsn
        if not counts.segments:
            if lsn:
                self._findings.add(
                    Damage(LOG_DIRECTORY, 0, f"there is no log; the checkpoint is at LSN {lsn}")
                )
            return
        if counts.last_lsn < lsn:
            self._findings.add(
                Damage(
                    LOG_DIRECTORY, 0, f"the log ends at LSN {counts.last_lsn}, the parts at {lsn}"
                )
            )  # fmt: skip
        if counts.first_lsn > lsn + 1 and not self._losses.declares(lsn + 1, counts.first_lsn - 1):
            self._findings.add(
                Damage(
                    LOG_DIRECTORY,
                    0,
                    f"the log begins at LSN {counts.first_lsn}, the checkpoint is at {lsn}",
                    f"lost: LSN {lsn + 1} to {counts.first_lsn - 1}",
                    first_lsn=lsn + 1,
                    last_lsn=counts.first_lsn - 1,
                )
            )


def _follows(version: int | None, chain: bytes, record: Record) -> bool:
    """True if the chain of ``record`` goes on from ``chain``, as segments of ``version`` have it;
    of any version if the header does not say which."""
    made = chain, record.kind, record.lsn, record.payload
    versions = VERSIONS if version is None else (version,)
    return any(chain_of_version(number, *made) == record.chain for number in versions)


def _known(_: LogDamage) -> None:
    """The scan has noted it."""


def record_spans(damages: Sequence[Damage]) -> list[tuple[int, int]]:
    """LSN ranges of the damages that took records, ascending."""
    spans = [
        (d.first_lsn, d.last_lsn)
        for d in damages
        if d.first_lsn is not None and d.last_lsn is not None and d.records
    ]
    return sorted(spans)
