"""The log while nothing goes wrong: order, bounds, durability modes, segments, readers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mainstem_engine.errors import ClosedError, CorruptionError, LogRangeError, OutOfRangeError
from mainstem_engine.filesystem import AppendFile, Buffer, Filesystem
from mainstem_engine.log import writer
from mainstem_engine.log.layout import VERSION, SegmentHeader, chain_of_version, segment_name
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.log.segment import SMALL_BYTES
from mainstem_engine.options import Durability
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.recorder import NODE_UUID, CommitRecorder, fill

OpenLog = Callable[..., Log]


def test_append_commit_read(open_log: OpenLog) -> None:
    sink = CommitRecorder()
    log = open_log(sink=sink)
    assert (log.first_lsn, log.appended_lsn) == (1, 0)
    lsns = [log.append(RecordKind.PTS, [b"ab", b"c" * n], n) for n in range(50)]
    assert lsns == list(range(1, 51))
    assert log.barrier() == 50
    assert sink.tokens == list(range(50))
    assert [record.lsn for record in sink.records] == lsns
    assert (log.committed_lsn, log.fsynced_lsn) == (50, 50)
    read = list(log.read(1))
    assert [(r.lsn, r.kind, bytes(r.payload), r.chain) for r in read] == [
        (r.lsn, r.kind, bytes(r.payload), r.chain) for r in sink.records
    ]
    assert [record.lsn for record in log.read(20, 22)] == [20, 21, 22]
    assert list(log.read(51)) == []


def test_chain_binds_everything_before(open_log: OpenLog) -> None:
    sink = CommitRecorder()
    log = open_log(sink=sink)
    fill(log, 5)
    chain = bytes(16)
    for record in log.read(1):
        chain = chain_of_version(VERSION, chain, record.kind, record.lsn, record.payload)
        assert record.chain == chain == log.chain_at(record.lsn)
    assert log.chain_at(0) == bytes(16)
    with pytest.raises(LogRangeError) as caught:
        log.chain_at(6)
    assert caught.value.lsn == 6
    assert isinstance(caught.value, LookupError)


def test_reopen_goes_on(open_log: OpenLog) -> None:
    payloads: list[bytes] = []
    for round_number in range(4):
        log = open_log(sink=CommitRecorder())
        assert log.appended_lsn == 3 * round_number
        assert log.recovery.damages == ()
        assert log.recovery.torn_bytes == log.recovery.carried_records == 0
        payloads += fill(log, 3)
        assert [bytes(record.payload) for record in log.read(1)] == payloads
        log.close()


def test_appender_may_change_a_small_buffer(open_log: OpenLog) -> None:
    log = open_log()
    values = np.arange(100)
    log.append(RecordKind.PTS, [b"x", values])
    values[:] = -1
    log.start(lambda _: None)
    log.barrier()
    (record,) = log.read(1)
    assert bytes(record.payload) == b"x" + np.arange(100).tobytes()


class SeenFile(AppendFile):
    """Notes what is written."""

    seen: ClassVar[list[Buffer]] = []

    def write(self, buffers: Sequence[Buffer]) -> int:
        self.seen.extend(buffers)
        return super().write(buffers)


class SeenFilesystem(Filesystem):
    def open_append(self, path: Path) -> AppendFile:
        return SeenFile(path, os.open(path, os.O_WRONLY | os.O_APPEND))


def test_large_buffers_are_written_as_they_are(open_log: OpenLog) -> None:
    SeenFile.seen.clear()
    columns = [np.arange(n, dtype=np.int64) for n in (3, 50_000, 0, 7, 40_960)]
    expected = b"".join(column.tobytes() for column in columns)
    log = open_log(fs=SeenFilesystem(), sink=(sink := CommitRecorder()))
    log.append(RecordKind.PTS, columns)
    log.append(RecordKind.PTS, [columns[4][1:], b"small"])
    log.barrier()
    for column in (columns[1], columns[4]):
        assert any(np.shares_memory(np.frombuffer(b, np.uint8), column) for b in SeenFile.seen)
    assert len(SeenFile.seen) <= 7  # the small ones are joined, over the ends of records too
    whole, rest = (bytes(record.payload) for record in log.read(1))
    assert whole == expected == bytes(sink.records[0].payload)
    assert rest == columns[4][1:].tobytes() + b"small"
    assert [record.size for record in sink.records] == [len(whole), len(rest)]


def test_more_buffers_than_one_call_takes(open_log: OpenLog) -> None:
    log = open_log()
    columns = [np.full(SMALL_BYTES, n % 251 + 1, np.uint8) for n in range(1500)]
    for start in (0, 700):
        log.append(RecordKind.PTS, columns[start : start + 700])
    log.start(lambda _: None)
    log.barrier()
    read = b"".join(bytes(record.payload) for record in log.read(1))
    assert read == b"".join(column.tobytes() for column in columns[:1400])


def test_large_and_odd_sizes(open_log: OpenLog) -> None:
    sizes = [0, 1, 7, 8, 9, SMALL_BYTES - 1, SMALL_BYTES, (3 << 20) + 5, 2]
    log = open_log(sink=CommitRecorder())
    for size in sizes:
        log.append(RecordKind.PTS, [bytes([size % 251]) * size])
    log.barrier()
    assert [len(record.payload) for record in log.read(1)] == sizes
    log.close()
    again = open_log()
    assert [len(record.payload) for record in again.read(1)] == sizes
    assert [len(record.payload) for record in again.read(7, 8)] == sizes[6:8]


def test_too_large_a_record(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PAYLOAD_BYTES_MAX", 100)
    log = open_log(sink=CommitRecorder())
    with pytest.raises(OutOfRangeError):
        log.append(RecordKind.PTS, [bytes(101)])
    assert log.append(RecordKind.PTS, [bytes(100)]) == 1


def test_many_appenders_share_one_order(open_log: OpenLog) -> None:
    sink = CommitRecorder()
    log = open_log(sink=sink, queue_bytes_max=4096)
    got: dict[int, int] = {}

    def work(worker: int) -> None:
        for number in range(200):
            token = worker * 1000 + number
            got[log.append(RecordKind.PTS, [bytes(64)], token)] = token

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.barrier()
    assert sink.tokens == [got[lsn] for lsn in range(1, 801)]
    chain = bytes(16)
    for record in sink.records:
        chain = chain_of_version(VERSION, chain, record.kind, record.lsn, record.payload)
        assert record.chain == chain


def test_group_commit(open_log: OpenLog) -> None:
    log = open_log()
    for _ in range(100):
        log.append(RecordKind.PTS, [b"x"])
    log.start(lambda _: None)
    log.barrier()
    assert log.statistics().commits == 1
    assert log.statistics().syncs == 1


def test_full_queue_blocks_until_there_is_room(open_log: OpenLog) -> None:
    log = open_log(queue_bytes_max=1000)
    log.append(RecordKind.PTS, [bytes(5000)])  # an empty queue takes even this
    done = threading.Event()

    def append_more() -> None:
        log.append(RecordKind.PTS, [b"x"])
        done.set()

    thread = threading.Thread(target=append_more)
    thread.start()
    assert not done.wait(0.02)
    assert log.statistics().queue_bytes > 1000
    log.start(lambda _: None)
    assert done.wait(5)
    thread.join()
    assert log.barrier() == 2
    assert log.statistics().queue_bytes == 0


def test_closing_wakes_a_blocked_appender(open_log: OpenLog) -> None:
    log = open_log(queue_bytes_max=10)
    log.append(RecordKind.PTS, [bytes(100)])
    errors: list[Exception] = []

    def append_more() -> None:
        try:
            log.append(RecordKind.PTS, [b"x"])
        except ClosedError as exc:
            errors.append(exc)

    thread = threading.Thread(target=append_more)
    thread.start()
    log.close()
    thread.join(5)
    assert len(errors) == 1


def test_use_before_start_and_after_close(open_log: OpenLog) -> None:
    log = open_log()
    with pytest.raises(ClosedError):
        log.barrier()
    log.start(lambda _: None)
    with pytest.raises(RuntimeError):
        log.start(lambda _: None)
    log.close()
    log.close()
    with pytest.raises(ClosedError):
        log.append(RecordKind.PTS, [b"x"])


def test_waiting_inside_on_commit_is_an_error(open_log: OpenLog) -> None:
    log = open_log()
    caught: list[Exception] = []

    def on_commit(_: Sequence[tuple[Record, object]]) -> None:
        try:
            log.barrier()
        except RuntimeError as exc:
            caught.append(exc)

    log.start(on_commit)
    log.append(RecordKind.PTS, [b"x"])
    log.barrier()
    assert len(caught) == 1


class CountingFilesystem(Filesystem):
    """Counts syncs of log segments instead of doing them."""

    def __init__(self) -> None:
        self.syncs = 0

    def open_append(self, path: Path) -> AppendFile:
        file = super().open_append(path)
        outer = self

        class Counting(AppendFile):
            def sync(self) -> None:
                outer.syncs += 1

        counting = Counting(path, file._fd)
        file._fd = -1
        return counting


def test_mode_always_syncs_before_it_reports(open_log: OpenLog) -> None:
    fs = CountingFilesystem()
    seen: list[int] = []
    log = open_log(fs)
    log.start(lambda entries: seen.append(fs.syncs))
    fill(log, 3)
    assert seen == [1, 2, 3]


def test_mode_interval_reports_first_and_syncs_later(open_log: OpenLog) -> None:
    sink = CommitRecorder()
    log = open_log(mode="interval:3600000ms", sink=sink)
    fill(log, 3)
    assert (log.committed_lsn, log.fsynced_lsn) == (3, 0)
    assert list(log.read(1)) == []  # nothing that a power cut could take back
    log.rotate()
    assert log.fsynced_lsn == 3
    assert [record.lsn for record in log.read(1)] == [1, 2, 3]


@pytest.mark.parametrize("mode", ["interval:1ms", "os"])
def test_sync_follows_without_further_writes(
    open_log: OpenLog, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "OS_SYNC_NS", 1_000_000)
    synced = threading.Event()

    class SignallingFilesystem(Filesystem):
        def open_append(self, path: Path) -> AppendFile:
            file = super().open_append(path)

            class Signalling(AppendFile):
                def sync(self) -> None:
                    super().sync()
                    synced.set()

            signalling = Signalling(path, file._fd)
            file._fd = -1
            return signalling

    log = open_log(SignallingFilesystem(), mode=mode, sink=CommitRecorder())
    log.append(RecordKind.PTS, [b"x"])
    assert synced.wait(5)
    log.close()
    assert log.fsynced_lsn == 1


def test_close_syncs_in_every_mode(open_log: OpenLog) -> None:
    for mode in ("always", "interval:3600000ms", "os"):
        log = open_log(mode=mode, sink=CommitRecorder())
        fill(log, 2)
        log.close()
        assert log.fsynced_lsn == log.committed_lsn
        reopened = open_log()
        assert reopened.recovery.carried_records == 0  # a clean stop leaves nothing to do
        reopened.close()


def test_rotation_by_size_and_by_hand(open_log: OpenLog, directory: Path) -> None:
    log = open_log(sink=CommitRecorder(), segment_bytes_max=500)
    fill(log, 40, size=100)
    assert log.statistics().segments > 5
    log.rotate()
    count = log.statistics().segments
    log.rotate()  # an empty segment is not closed
    assert log.statistics().segments == count
    assert len(list(directory.iterdir())) == count
    assert [record.lsn for record in log.read(1)] == list(range(1, 41))
    log.close()
    again = open_log()
    assert [record.lsn for record in again.read(1)] == list(range(1, 41))
    assert again.first_lsn == 1


def test_release(open_log: OpenLog, directory: Path) -> None:
    log = open_log(sink=CommitRecorder())
    for _ in range(4):
        fill(log, 10)
        log.rotate()
    assert log.release(5) == 1
    assert log.release(10) == 11
    assert log.release(29) == 21
    assert [record.lsn for record in log.read(1)] == list(range(21, 41))
    chain = log.chain_at(20)  # the first segment's header still knows it
    assert log.release(10_000) == 41
    assert list(log.read(1)) == []
    assert log.chain_at(40) != chain
    with pytest.raises(LogRangeError):
        log.chain_at(20)
    assert len(list(directory.iterdir())) == 1
    fill(log, 1)
    log.close()
    again = open_log()
    assert (again.first_lsn, again.appended_lsn) == (41, 41)


def test_reading_while_appending_and_releasing(open_log: OpenLog, tmp_path: Path) -> None:
    fs = FaultyFilesystem(tmp_path)  # does not wait for the disk
    log = open_log(fs, sink=CommitRecorder(), segment_bytes_max=2000)
    stop = threading.Event()
    problems: list[str] = []

    def read_all() -> None:
        while not stop.is_set():
            before = log.first_lsn
            lsns = [record.lsn for record in log.read(1)]
            # Released in the meantime: a prefix may be missing, never something inside.
            if lsns and (np.diff(lsns) != 1).any():
                at = np.flatnonzero(np.diff(lsns) != 1)
                if lsns[int(at[-1]) + 1] > log.first_lsn:
                    problems.append(f"{before}: {lsns}")

    readers = [threading.Thread(target=read_all) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        fill(log, 10)
        log.release(log.committed_lsn - 30)
    stop.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert log.damages == ()


def test_reader_keeps_a_released_segment(open_log: OpenLog) -> None:
    log = open_log(sink=CommitRecorder())
    fill(log, 5)
    log.rotate()
    fill(log, 5)
    log.rotate()
    reader = log.read(1)
    assert next(reader).lsn == 1
    log.release(10)
    # The open segment is read to its end; the next one is gone, and skipped.
    assert [record.lsn for record in reader] == [2, 3, 4, 5]


def test_log_of_another_node(open_log: OpenLog, directory: Path) -> None:
    log = open_log(sink=CommitRecorder())
    fill(log, 1)
    log.close()
    with pytest.raises(CorruptionError, match="another node"):
        Log.open(
            directory, fs=Filesystem(), node_uuid="f" * 32, durability=Durability.parse("always")
        )
    assert NODE_UUID != "f" * 32


def test_log_of_a_later_version(open_log: OpenLog, directory: Path) -> None:
    log = open_log(sink=CommitRecorder())
    fill(log, 1)
    log.close()
    header = SegmentHeader(1, bytes(16), bytes.fromhex(NODE_UUID), version=3).pack()
    path = directory / segment_name(1)
    path.write_bytes(header + path.read_bytes()[len(header) :])
    before = path.read_bytes()
    with pytest.raises(CorruptionError, match="version 3"):
        open_log()
    assert path.read_bytes() == before


def test_kinds_of_a_later_version_are_kept(open_log: OpenLog, directory: Path) -> None:
    log = open_log(sink=CommitRecorder())
    log.append(RecordKind(200), [b"new"])
    log.barrier()
    data = (directory / segment_name(1)).read_bytes()
    log.close()
    for path in directory.iterdir():
        path.unlink()
    (directory / segment_name(1)).write_bytes(data)
    again = open_log()
    assert again.recovery.carried_records == 1  # copied into another segment
    (record,) = again.read(1)
    assert (int(record.kind), record.kind.name, bytes(record.payload)) == (200, "KIND_200", b"new")
    assert record.chain == chain_of_version(VERSION, bytes(16), 200, 1, b"new")


def test_trusted_segments_are_not_read_at_open(open_log: OpenLog, directory: Path) -> None:
    log = open_log(sink=CommitRecorder())
    fill(log, 10)
    log.rotate()
    fill(log, 10)
    log.close()
    path = directory / f"{1:020d}.log"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    trusting = open_log(trusted_lsn=10)
    assert trusting.recovery.records == 10
    assert trusting.statistics().damages == 0
    assert len(list(trusting.read(1))) == 19  # found by whoever reads it
    assert [damage.records for damage in trusting.damages] == [1]
    trusting.close()
    assert [damage.records for damage in open_log().recovery.damages] == [1]


def test_statistics(open_log: OpenLog) -> None:
    log = open_log(sink=CommitRecorder())
    fill(log, 3)
    statistics = log.statistics()
    assert (statistics.first_lsn, statistics.committed_lsn, statistics.segments) == (1, 3, 1)
    assert statistics.bytes == 64 + 3 * 80
    assert statistics.written_bytes == 3 * 80
    assert statistics.error is None
