"""The table of damages to a log: what each does to the bytes, and what must be left of the records.

1. ``recorded`` runs an engine and keeps its directory as a kill leaves it: three segments and more,
   the last of which ends with a commit of several records that nothing proves to be durable.
2. ``cases`` lists damages: kind x place. Each says which records are lost, and whether that is seen
   (damage) or must look like a write that the power cut (dropped quietly, for nobody was promised
   anything, or nobody can know).
3. ``judge_log`` and ``judge_engine`` open what is left and compare.
"""

from __future__ import annotations

import shutil
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine import CorruptionError, Engine, EngineOptions, Template
from mainstem_engine.check import CheckReport, check_directory
from mainstem_engine.filesystem import SECTOR_BYTES
from mainstem_engine.log.layout import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    padded,
    segment_name,
)
from mainstem_engine.log.log import Log
from mainstem_engine.options import Durability
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

T0 = 1_790_000_000_000
SEGMENT_BYTES = 6000
ROWS = 60
"""Of a record: it takes more than one sector."""
DURABLE, TOGETHER = 26, 5
"""Records of commits of their own, and those of the last commit."""

Rows = frozenset[tuple[int, int]]
Files = Mapping[int, bytes]
"""Segments by first LSN."""


class Gate(FaultyFilesystem):
    """Its log is synced only while the gate is open, so that records gather behind it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()

    def check(self, kind: str, path: Path) -> int:
        if kind == "sync" and path.suffix == ".log":
            self.reached.set()
            assert self.open.wait(60)
        return super().check(kind, path)


@dataclass(frozen=True)
class Recorded:
    """A directory of a killed engine; ``checkpoint_lsn``: rows up to it are in parts."""

    directory: Path
    node_uuid: str
    checkpoint_lsn: int
    segments: Files
    records: Mapping[int, tuple[int, int, int]]
    """(segment, start, end) of each record by LSN."""
    rows: Mapping[int, Rows]
    unsynced: range

    @property
    def last_lsn(self) -> int:
        return max(self.records)

    def lsns_in(self, segment: int) -> list[int]:
        return [lsn for lsn, (first, *_) in self.records.items() if first == segment]

    def touched(self, segment: int, start: int, end: int) -> frozenset[int]:
        """Records that have a byte in a stretch of a segment."""
        return frozenset(
            lsn
            for lsn, (first, begin, stop) in self.records.items()
            if first == segment and begin < end and stop > start
        )


@dataclass(frozen=True)
class Case:
    """One damage. ``lost``: records that are gone; ``seen``: that is damage, and ``counted`` LSNs
    are known to be lost. ``mended``: nothing is left to see for a second start."""

    name: str
    files: Files = field(repr=False)
    lost: frozenset[int] = frozenset()
    seen: bool = True
    counted: int = 0
    mended: bool = False


def recorded(place: Path, template: Template) -> Recorded:
    """See step 1."""
    fs = Gate(place / "first")
    options = EngineOptions(background=False, log_segment_bytes=SEGMENT_BYTES)
    engine = Engine.open(fs.root / "data", options, fs=fs)
    engine.create_template(template)
    engine.device_ids("meters", ["root.a.d1"], create=True)
    engine.flush()
    checkpoint = engine._store.checkpoint_lsn
    rows: dict[int, Rows] = {}

    def write(number: int, *, wait: bool = True) -> None:
        times = T0 + number * ROWS + np.arange(ROWS)
        # Not to be compressed: payloads are as long as their values.
        values = (times * 2_654_435_761) % 1_000_003
        ack = engine.write("meters", "root.a.d1", times, {"voltage": values})
        if wait:
            ack.wait()
        lsn = engine.log.appended_lsn
        rows[lsn] = frozenset(zip(times.tolist(), values.tolist(), strict=True))

    for number in range(DURABLE - 1):
        write(number)
    fs.open.clear()
    fs.reached.clear()
    write(DURABLE - 1, wait=False)
    assert fs.reached.wait(60)
    for number in range(DURABLE, DURABLE + TOGETHER):
        write(number, wait=False)
    fs.open.set()
    engine._store.barrier()
    last = engine.log.appended_lsn
    killed = place / "killed"
    shutil.copytree(fs.root / "data", killed)
    uuid = engine.node_uuid
    engine.abandon()
    segments = {int(p.stem): p.read_bytes() for p in sorted((killed / "log").glob("*.log"))}
    records = {lsn: where for first in segments for lsn, where in _records(first, segments[first])}
    assert sorted(records)[-1] == last
    assert len(segments) > 4
    return Recorded(
        killed, uuid, checkpoint, segments, records, rows, range(last - TOGETHER + 1, last + 1)
    )


def _records(first: int, data: bytes) -> Iterator[tuple[int, tuple[int, int, int]]]:
    position = SEGMENT_HEADER_BYTES
    while position < len(data):
        length, _, lsn = struct.unpack_from("<IIQ", data, position)
        end = position + padded(RECORD_HEADER_BYTES + length)
        yield lsn, (first, position, end)
        position = end


# What is done to one record, which lies at [start, end) of its segment.


def _flip(offset: int) -> Callable[[bytearray, int, int], None]:
    def damage(data: bytearray, start: int, end: int) -> None:
        data[(start if offset >= 0 else end) + offset] ^= 0x10

    return damage


def _length(change: Callable[[int], int]) -> Callable[[bytearray, int, int], None]:
    def damage(data: bytearray, start: int, end: int) -> None:
        (length,) = struct.unpack_from("<I", data, start)
        struct.pack_into("<I", data, start, change(length))

    return damage


def _overwrite(data: bytearray, start: int, end: int) -> None:
    data[start:end] = b"\xa5" * (end - start)


def _torn_by_noise(data: bytearray, start: int, end: int) -> None:
    """The second half is what the disk held before."""
    middle = start + (end - start) // 2
    data[middle:end] = b"\xa5" * (end - middle)


def _removed(data: bytearray, start: int, end: int) -> None:
    del data[start:end]


RECORD_DAMAGES: dict[str, Callable[[bytearray, int, int], None]] = {
    "length + 8": _length(lambda length: length + 8),
    "length - 8": _length(lambda length: length - 8),
    "length huge": _length(lambda _: 0xFFFF_FFF0),
    "length 0": _length(lambda _: 0),
    "checksum": _flip(4),
    "lsn": _flip(8),
    "kind": _flip(16),
    "unsynced": _flip(20),
    "chain": _flip(24),
    "payload, first byte": _flip(RECORD_HEADER_BYTES),
    "payload, middle": _flip(RECORD_HEADER_BYTES + 100),
    "torn, old bytes": _torn_by_noise,
    "overwritten": _overwrite,
    "removed": _removed,
}

CUTS = (1, 7, 8, 39, 40, 511, 512, 513, 1000, 2048, 4096)
"""Bytes that are missing at the end of a segment."""


def cases(recorded: Recorded) -> list[Case]:
    """The table."""
    return [
        *_of_records(recorded),
        *_of_sectors(recorded),
        *_of_segments(recorded),
        *_of_ends(recorded),
    ]


def _places(recorded: Recorded) -> dict[str, int]:
    """LSN of a record in the middle of each region, and the very last one."""
    firsts = [first for first in recorded.segments if recorded.lsns_in(first)]
    durable = [lsn for lsn in recorded.lsns_in(firsts[-1]) if lsn not in recorded.unsynced]
    first, middle = (recorded.lsns_in(firsts[n]) for n in (1, len(firsts) // 2))
    assert len(first) > 3
    assert len(durable) > 1
    return {
        "first segment": first[len(first) // 2],
        "middle segment": middle[len(middle) // 2],
        "last segment, synced": durable[-1],
        "last segment, unsynced": recorded.unsynced[2],
        "the end": recorded.unsynced[-1],
    }


def _changed(recorded: Recorded, segment: int, data: bytes | bytearray) -> Files:
    return {**recorded.segments, segment: bytes(data)}


def _of_records(recorded: Recorded) -> Iterator[Case]:
    for where, lsn in _places(recorded).items():
        segment, start, end = recorded.records[lsn]
        for kind, damage in RECORD_DAMAGES.items():
            data = bytearray(recorded.segments[segment])
            damage(data, start, end)
            # At the very end that is a write that never came, as far as anybody can tell.
            seen = where != "the end" or kind not in ("removed", "overwritten")
            files = _changed(recorded, segment, data)
            lost = frozenset({lsn})
            yield Case(f"{where}: {kind}", files, lost, seen, int(seen))


def _of_sectors(recorded: Recorded) -> Iterator[Case]:
    """Sectors of zeros: damage among durable records, a torn write among others."""
    for where, lsn in _places(recorded).items():
        segment, start, _ = recorded.records[lsn]
        for count in (1, 3):
            first = start + SECTOR_BYTES - start % SECTOR_BYTES
            data = bytearray(recorded.segments[segment])
            stop = min(len(data), first + count * SECTOR_BYTES)
            data[first:stop] = bytes(stop - first)
            lost = recorded.touched(segment, first, stop)
            torn = min(lost) in recorded.unsynced
            if torn:  # all that came with it and after it
                lost = frozenset(range(min(lost), recorded.last_lsn + 1))
            elif recorded.last_lsn in lost or lost & set(recorded.unsynced):
                continue  # part damage, part tear: either is right
            files = _changed(recorded, segment, data)
            counted = 0 if torn else len(lost)
            yield Case(f"{where}: {count} sectors of zeros", files, lost, not torn, counted)


def _of_segments(recorded: Recorded) -> Iterator[Case]:
    firsts = [first for first in recorded.segments if first > recorded.checkpoint_lsn]
    last = firsts[-1]
    for where, segment in (("first", firsts[0]), ("middle", firsts[1]), ("last", last)):
        data, lsns = recorded.segments[segment], frozenset(recorded.lsns_in(segment))
        flipped = bytearray(data)
        flipped[20] ^= 1
        zeros = bytes(SEGMENT_HEADER_BYTES) + data[SEGMENT_HEADER_BYTES:]
        name = f"{where} segment"
        yield Case(f"{name}: header flipped", _changed(recorded, segment, flipped))
        yield Case(f"{name}: header of zeros", _changed(recorded, segment, zeros))
        # Of the last one nobody can say how many records it had.
        counted = 0 if segment == last else len(lsns)
        empty = _changed(recorded, segment, b"")
        yield Case(f"{name}: empty", empty, lsns, counted=counted, mended=segment == last)
        if segment != last:
            noise = _changed(recorded, segment, b"\xa5" * len(data))
            yield Case(f"{name}: overwritten", noise, lsns, counted=counted)
            missing = {k: v for k, v in recorded.segments.items() if k != segment}
            yield Case(f"{name}: missing", missing, lsns, counted=len(lsns))
        foreign = data[:32] + bytes(32)
        yield Case(f"{name}: without its node", _changed(recorded, segment, foreign + data[64:]))
    copy = recorded.segments[firsts[1]]
    yield Case("another segment's content", _changed(recorded, firsts[2], copy),
               frozenset(recorded.lsns_in(firsts[2])),
               counted=len(recorded.lsns_in(firsts[2])))  # fmt: skip


def _of_ends(recorded: Recorded) -> Iterator[Case]:
    firsts = [first for first in recorded.segments if first > recorded.checkpoint_lsn]
    last = firsts[-1]
    for where, segment in (("first", firsts[0]), ("middle", firsts[1]), ("last", last)):
        data = recorded.segments[segment]
        for cut in CUTS:
            left = data[: max(0, len(data) - cut)]
            lost = recorded.touched(segment, len(left), len(data))
            seen = segment != last
            files = _changed(recorded, segment, left)
            name = f"{where} segment: {cut} bytes cut"
            yield Case(name, files, lost, seen, len(lost) if seen else 0)


def _written(recorded: Recorded, case: Case, root: Path) -> Path:
    """The directory with the damage."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(recorded.directory, root, ignore=shutil.ignore_patterns("*.log", "LOCK"))
    for first, data in case.files.items():
        (root / "log" / segment_name(first)).write_bytes(data)
    return root


def judge_log(recorded: Recorded, case: Case, root: Path) -> None:
    """Survivors are all but the lost ones; a second start finds the same and repairs nothing.

    The first one is killed before it writes anything of its own.
    """
    _written(recorded, case, root)
    kept = {lsn for lsn in recorded.records if lsn not in case.lost}
    for turn in range(3):
        log = Log.open(
            root / "log",
            fs=FaultyFilesystem(root),
            node_uuid=recorded.node_uuid,
            durability=Durability.parse("always"),
            trusted_lsn=recorded.checkpoint_lsn,
        )
        found = [r.lsn for r in log.read(1) if r.lsn > recorded.checkpoint_lsn]
        assert found == sorted(lsn for lsn in kept if lsn > recorded.checkpoint_lsn), case
        statistics = log.statistics()
        assert (statistics.damages > 0) == (case.seen and not (turn and case.mended)), case
        assert statistics.lost_records == case.counted, case
        assert not turn or log.recovery.torn_bytes == 0, case
        if turn == 0:
            _killed(root, log.close)
        else:
            log.close()
    assert log.recovery.carried_records == 0, case


def _killed(root: Path, end: Callable[[], None]) -> None:
    """Leaves the directory as it was before ``end``."""
    kept = root.with_name("kept")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(root, kept)
    end()
    shutil.rmtree(root)
    kept.rename(root)


def judge_engine(recorded: Recorded, case: Case, root: Path) -> None:
    """As judge_log for a whole engine: its rows, its check, its statistics."""
    _written(recorded, case, root)
    expected = {row for lsn, rows in recorded.rows.items() if lsn not in case.lost for row in rows}
    _named(case, check_directory(root), case.seen)
    for turn in range(2):
        options = EngineOptions(background=False)
        engine = Engine.open(root, options, fs=FaultyFilesystem(root))
        table = engine.scan("meters").read_all()
        times = table["time"].cast("int64").to_pylist()
        assert set(zip(times, table["voltage"].to_pylist(), strict=True)) == expected, case
        assert all(counts.balanced for counts in engine.store_accounting().values()), case
        seen = case.seen and not (turn and case.mended)
        statistics = engine.statistics().log
        assert statistics.lost_records == case.counted, case
        assert (statistics.damages > 0) == seen, case
        _killed(root, engine.abandon)
        _named(case, check_directory(root), case.seen and not case.mended)


def _named(case: Case, report: CheckReport, seen: bool) -> None:
    assert report.whole != seen, (case, report.damages, report.remarks)
    assert sum(damage.records for damage in report.damages) == case.counted, (case, report.damages)
    assert all("log" in damage.file for damage in report.damages), case


def judge_foreign(recorded: Recorded, root: Path) -> None:
    """A segment of another node: a start refuses and a check says so."""
    other = FaultyFilesystem(root.with_name("other"))
    uuid = "f" * 32
    log = Log.open(
        other.root / "log", fs=other, node_uuid=uuid, durability=Durability.parse("always")
    )
    log.close()
    foreign = (other.root / "log" / segment_name(1)).read_bytes()
    first = max(recorded.segments)
    case = Case("another node's segment", {**recorded.segments, first: foreign})
    _written(recorded, case, root)
    with pytest.raises(CorruptionError, match="another node"):
        Engine.open(root, EngineOptions(background=False))
    assert not check_directory(root).whole
