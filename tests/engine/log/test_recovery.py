"""Torn tails are cut without a word; damage is kept, counted and named; nothing is guessed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from mainstem_engine.errors import LogRangeError
from mainstem_engine.log.layout import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, segment_name
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind
from mainstem_engine.options import Durability
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.recorder import NODE_UUID, CommitRecorder, fill, payload_for

OpenLog = Callable[..., Log]
RECORD = RECORD_HEADER_BYTES + 40


@pytest.fixture
def killed(open_log: OpenLog, directory: Path) -> Callable[[int], bytes]:
    """The bytes of a segment of ``count`` records as a killed process leaves it."""

    def make(count: int) -> bytes:
        log = open_log(sink=CommitRecorder())
        fill(log, count)
        data = (directory / segment_name(1)).read_bytes()
        log.close()
        return data

    return make


def restore(directory: Path, segments: dict[int, bytes]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for first, data in segments.items():
        (directory / segment_name(first)).write_bytes(data)


def offset_of(lsn: int) -> int:
    return SEGMENT_HEADER_BYTES + (lsn - 1) * RECORD


def check(log: Log, lsns: list[int]) -> None:
    assert [(r.lsn, bytes(r.payload)) for r in log.read(1)] == [(n, payload_for(n)) for n in lsns]


def test_torn_at_every_byte_of_the_last_record(
    killed: Callable[[int], bytes], open_log: OpenLog, directory: Path
) -> None:
    data = killed(5)
    assert len(data) == offset_of(6)
    for cut in range(offset_of(5), len(data)):
        restore(directory, {1: data[:cut]})
        log = open_log()
        assert log.recovery.torn_bytes == cut - offset_of(5)
        assert log.recovery.damages == ()
        check(log, [1, 2, 3, 4])
        assert (log.appended_lsn, log.fsynced_lsn) == (4, 4)
        log.close()
        # A second start finds nothing more, and the LSN is given out again.
        again = open_log(sink=CommitRecorder())
        assert again.recovery.torn_bytes == 0
        fill(again, 1)
        check(again, [1, 2, 3, 4, 5])
        again.close()


def test_zeros_behind_the_last_record_are_a_torn_write(
    killed: Callable[[int], bytes], open_log: OpenLog, directory: Path
) -> None:
    data = killed(3)
    for extra in (8, 80, 1000, 5000):
        restore(directory, {1: data + bytes(extra)})
        log = open_log()
        check(log, [1, 2, 3])
        assert log.recovery.torn_bytes == extra
        assert log.recovery.damages == ()
        log.close()


@pytest.mark.parametrize("lsn", [1, 3, 5])
@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("length", 0),
        ("length high", 3),
        ("crc", 4),
        ("lsn", 8),
        ("kind", 16),
        ("flags", 17),
        ("unsynced", 20),
        ("chain", 24),
        ("payload start", RECORD_HEADER_BYTES),
        ("payload end", RECORD - 1),
    ],
)
def test_bit_flip_in_the_middle(
    killed: Callable[[int], bytes],
    open_log: OpenLog,
    directory: Path,
    lsn: int,
    field: str,
    place: int,
) -> None:
    data = bytearray(killed(6))
    data[offset_of(lsn) + place] ^= 0x10
    restore(directory, {1: bytes(data)})
    log = open_log(sink=CommitRecorder())
    survivors = [n for n in range(1, 7) if n != lsn]
    check(log, survivors)
    (damage,) = log.recovery.damages
    assert (damage.first_lsn, damage.last_lsn, damage.offset) == (lsn, lsn, offset_of(lsn)), field
    assert damage.bytes == RECORD
    assert log.recovery.lost_records == log.statistics().lost_records == 1
    with pytest.raises(LogRangeError):
        log.chain_at(lsn)
    fill(log, 1)
    log.close()
    # It stays known until the segment goes, and nothing more is lost.
    again = open_log(sink=CommitRecorder())
    check(again, [*survivors, 7])
    assert again.recovery.lost_records == 1
    again.rotate()
    again.release(7)
    assert again.damages == ()
    assert again.statistics().lost_records == 0


@pytest.mark.parametrize("place", [0, 3, 4, 8, 16, 20, 24, RECORD_HEADER_BYTES, RECORD - 1])
def test_bit_flip_in_the_last_record_is_damage_not_a_torn_write(
    killed: Callable[[int], bytes], open_log: OpenLog, directory: Path, place: int
) -> None:
    data = bytearray(killed(4))
    data[offset_of(4) + place] ^= 0x10
    restore(directory, {1: bytes(data)})
    log = open_log(sink=CommitRecorder())
    check(log, [1, 2, 3])
    assert log.recovery.lost_records == 1
    assert log.appended_lsn == 4  # its LSN is not given out again
    fill(log, 1)
    log.close()
    again = open_log()
    check(again, [1, 2, 3, 5])
    assert again.recovery.lost_records == 1
    assert again.recovery.damages == again.damages


@pytest.mark.parametrize(
    ("start", "length", "lost"),
    [(0, 1, 1), (RECORD - 1, 2, 2), (0, 3 * RECORD, 3), (10, 200, 3)],
)
def test_overwritten_stretch(
    killed: Callable[[int], bytes],
    open_log: OpenLog,
    directory: Path,
    start: int,
    length: int,
    lost: int,
) -> None:
    data = bytearray(killed(10))
    begin = offset_of(4) + start
    data[begin : begin + length] = bytes([0xA5]) * length
    restore(directory, {1: bytes(data)})
    log = open_log()
    check(log, [n for n in range(1, 11) if not 4 <= n < 4 + lost])
    assert log.recovery.lost_records == lost


def test_zeroed_sector_in_durable_records_is_damage(
    killed: Callable[[int], bytes], open_log: OpenLog, directory: Path
) -> None:
    data = bytearray(killed(30))
    data[512:1024] = bytes(512)
    restore(directory, {1: bytes(data)})
    log = open_log()
    lsns = [record.lsn for record in log.read(1)]
    assert lsns[-1] == 30
    assert len(lsns) + log.recovery.lost_records == 30
    assert 0 < log.recovery.lost_records <= 9


def test_swapped_records_are_damage(
    killed: Callable[[int], bytes], open_log: OpenLog, directory: Path
) -> None:
    data = bytearray(killed(6))
    second, third = offset_of(2), offset_of(3)
    a, b = bytes(data[second:third]), bytes(data[third : offset_of(4)])
    data[second:third], data[third : offset_of(4)] = b, a
    restore(directory, {1: bytes(data)})
    log = open_log()
    lsns = [record.lsn for record in log.read(1)]
    assert lsns == [1, 3, 4, 5, 6]
    assert log.recovery.lost_records == 1


def test_record_inside_a_payload_is_not_taken_for_one(open_log: OpenLog, directory: Path) -> None:
    other = open_log(sink=CommitRecorder())
    fill(other, 3)
    inner = (directory / segment_name(1)).read_bytes()[SEGMENT_HEADER_BYTES:]
    other.close()
    shutil.rmtree(directory)
    log = Log.open(
        directory,
        fs=FaultyFilesystem(directory.parent),
        node_uuid="f" * 32,
        durability=Durability.parse("always"),
    )
    log.start(lambda _: None)
    log.append(RecordKind.RCV, [inner])
    log.barrier()
    fill(log, 2)
    data = bytearray((directory / segment_name(1)).read_bytes())
    log.close()
    data[SEGMENT_HEADER_BYTES + 4] ^= 1
    restore(directory, {1: bytes(data)})
    again = Log.open(
        directory,
        fs=FaultyFilesystem(directory.parent),
        node_uuid="f" * 32,
        durability=Durability.parse("always"),
    )
    assert [record.lsn for record in again.read(1)] == [2, 3]
    assert again.recovery.lost_records == 1
    again.close()


def segments_of(open_log: OpenLog, directory: Path) -> dict[int, bytes]:
    """Three segments of ten records each and the empty one that a clean stop leaves."""
    log = open_log(sink=CommitRecorder())
    for _ in range(3):
        fill(log, 10)
        log.rotate()
    log.close()
    return {int(path.stem): path.read_bytes() for path in directory.iterdir()}


def test_damage_costs_only_its_segment(open_log: OpenLog, directory: Path) -> None:
    segments = segments_of(open_log, directory)
    assert sorted(segments) == [1, 11, 21, 31]
    damaged = segments | {11: segments[11][:SEGMENT_HEADER_BYTES] + b"\xa5" * 800}
    restore(directory, damaged)
    log = open_log()
    check(log, [*range(1, 11), *range(21, 31)])
    assert log.recovery.lost_records == 10


def test_truncated_older_segment_is_damage(open_log: OpenLog, directory: Path) -> None:
    segments = segments_of(open_log, directory)
    for length in (0, 20, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + 3 * RECORD + 11):
        restore(directory, segments | {11: segments[11][:length]})
        log = open_log()
        whole = max(0, (length - SEGMENT_HEADER_BYTES) // RECORD)
        check(log, [*range(1, 11 + whole), *range(21, 31)])
        assert log.recovery.lost_records == 10 - whole
        log.close()


def test_missing_segment_is_damage(open_log: OpenLog, directory: Path) -> None:
    segments = segments_of(open_log, directory)
    del segments[11]
    restore(directory, segments)
    log = open_log()
    check(log, [*range(1, 11), *range(21, 31)])
    assert log.recovery.lost_records == 10


def test_damaged_segment_header_loses_no_record(open_log: OpenLog, directory: Path) -> None:
    segments = segments_of(open_log, directory)
    for first in (1, 11, 21, 31):
        data = bytearray(segments[first])
        data[20] ^= 1
        restore(directory, segments | {first: bytes(data)})
        log = open_log(sink=CommitRecorder())
        check(log, list(range(1, 31)))
        assert len(log.recovery.damages) == 1
        assert log.recovery.lost_records == 0
        chain = log.chain_at(30)
        fill(log, 1)
        check(log, list(range(1, 32)))
        assert log.chain_at(31) != chain
        log.close()


def test_the_only_segment_has_a_damaged_header(open_log: OpenLog, directory: Path) -> None:
    restore(directory, {7: b"\xff" * SEGMENT_HEADER_BYTES})
    log = open_log(sink=CommitRecorder())
    assert (log.first_lsn, log.appended_lsn) == (7, 6)
    assert len(log.recovery.damages) == 1
    fill(log, 1)
    check(log, [7])


def test_records_above_a_newer_segment_are_void(open_log: OpenLog, directory: Path) -> None:
    segments = segments_of(open_log, directory)
    # A failed sync at LSN 7 left a segment that starts there; 7 to 10 in the old one are void.
    log = open_log()
    log.close()
    restore(directory, {1: segments[1], 7: segments[1]})
    broken = open_log()  # the header does not fit its name: only the name counts
    assert [record.lsn for record in broken.read(1)] == [1, 2, 3, 4, 5, 6]


def test_unfinished_temporary_files_are_removed(open_log: OpenLog, directory: Path) -> None:
    directory.mkdir()
    (directory / f"{segment_name(1)}.tmp").write_bytes(b"half")
    (directory / "notes.txt").write_bytes(b"not ours")
    open_log()
    assert sorted(path.name for path in directory.iterdir()) == [segment_name(1), "notes.txt"]


def test_what_may_not_be_durable_is_written_again(
    killed: Callable[[int], bytes], open_log: OpenLog, directory: Path
) -> None:
    restore(directory, {1: killed(5)})
    log = open_log()
    # Record 5 says that 4 was durable when it was written; of 5 itself nothing is known.
    assert log.recovery.carried_records == 1
    assert (directory / segment_name(5)).stat().st_size == SEGMENT_HEADER_BYTES + RECORD
    assert (directory / segment_name(1)).stat().st_size == offset_of(5)
    check(log, [1, 2, 3, 4, 5])
    chain = log.chain_at(5)
    log.close()
    again = open_log()
    assert again.recovery.carried_records == 0
    assert again.chain_at(5) == chain


class LogMachine(RuleBasedStateMachine):
    """Random appends, rotations, releases, clean stops, kills and torn tails against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[int, bytes] = {}
        self.first = 1

    @initialize(mode=st.sampled_from(["always", "os"]), segment=st.sampled_from([200, 1000, 10**6]))
    def begin(self, mode: str, segment: int) -> None:
        self.root = Path(self.directory_of_run())
        self.mode, self.segment = mode, segment
        self.open()

    @staticmethod
    def directory_of_run() -> str:
        raise NotImplementedError

    def open(self) -> None:
        self.fs = FaultyFilesystem(self.root)
        self.log = Log.open(
            self.root / "log",
            fs=self.fs,
            node_uuid=NODE_UUID,
            durability=Durability.parse(self.mode),
            segment_bytes_max=self.segment,
        )
        self.log.start(lambda _: None)

    @rule(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            payload = payload_for(self.log.appended_lsn + 1, size)
            self.model[self.log.append(RecordKind.PTS, [payload])] = payload
        self.log.barrier()

    @rule()
    def rotate(self) -> None:
        self.log.rotate()

    @rule(behind=st.integers(0, 20))
    def release(self, behind: int) -> None:
        self.first = self.log.release(self.log.committed_lsn - behind)

    @rule()
    def stop_and_start(self) -> None:
        self.log.close()
        self.open()
        assert self.log.recovery.carried_records == 0

    @rule(torn=st.integers(0, 200))
    def kill_and_start(self, torn: int) -> None:
        names = self.fs.list(self.root / "log")
        copies = {name: (self.root / "log" / name).read_bytes() for name in names}
        self.log.close()
        shutil.rmtree(self.root / "log")
        (self.root / "log").mkdir()
        for name, data in copies.items():
            (self.root / "log" / name).write_bytes(data)
        with (self.root / "log" / names[-1]).open("ab") as file:
            file.write(payload_for(1, torn))
        self.open()

    @invariant()
    def same_as_the_model(self) -> None:
        self.log.rotate()  # in mode os, reading waits for a sync
        expected = {lsn: data for lsn, data in self.model.items() if lsn >= self.first}
        assert {r.lsn: bytes(r.payload) for r in self.log.read(1)} == expected
        assert self.log.appended_lsn == len(self.model)
        assert self.log.damages == ()

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()


def test_random_lives(tmp_path_factory: pytest.TempPathFactory) -> None:
    class Machine(LogMachine):
        @staticmethod
        def directory_of_run() -> str:
            return str(tmp_path_factory.mktemp("run"))

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=25, stateful_step_count=12, deadline=None)
    )
