"""A disk that takes its time: one sync for all that came during the one before, and no word early.

Nothing is timed. Syncs of the file system here wait until the test lets them go on.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mainstem_engine.errors import LogFailedError
from mainstem_engine.filesystem import AppendFile, Buffer
from mainstem_engine.log import writer
from mainstem_engine.log.layout import RECORD_HEADER_BYTES
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.options import Durability
from mainstem_engine.testing.crash_states import crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.recorder import NODE_UUID, CommitRecorder, payload_for

OpenLog = Callable[..., Log]
PATIENCE_S = 30


class GatedFile(AppendFile):
    """The open segment: a sync begins, is counted, and ends when the test says so."""

    __slots__ = ("_file", "_fs")

    def __init__(self, fs: GatedFilesystem, file: AppendFile) -> None:
        self._fs = fs
        self._file = file
        self.path = file.path

    def write(self, buffers: Sequence[Buffer]) -> int:
        written = self._file.write(buffers)
        self._fs.writes.release()
        return written

    def sync(self) -> None:
        if self._fs.gated:
            self._fs.begun.release()
            assert self._fs.go.acquire(timeout=PATIENCE_S)
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()


class GatedFilesystem(FaultyFilesystem):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.writes = threading.Semaphore(0)
        self.gated = True

    def open_append(self, path: Path) -> AppendFile:
        return GatedFile(self, super().open_append(path))

    def open_gate(self) -> None:
        self.gated = False
        self.go.release(1000)


@pytest.fixture
def fs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatedFilesystem]:
    monkeypatch.setattr(writer, "SLOW_SYNC_NS", 0)
    made = GatedFilesystem(tmp_path)
    yield made
    made.open_gate()


class Sink(CommitRecorder):
    """Says when something was reported."""

    def __init__(self) -> None:
        super().__init__()
        self.reported = threading.Semaphore(0)

    def on_commit(self, entries: Sequence[tuple[Record, object]]) -> None:
        super().on_commit(entries)
        self.reported.release()


def append(log: Log, first: int, last: int) -> None:
    for lsn in range(first, last + 1):
        assert log.append(RecordKind.PTS, [payload_for(lsn)], lsn) == lsn


def passed(semaphore: threading.Semaphore, times: int = 1) -> None:
    for _ in range(times):
        assert semaphore.acquire(timeout=PATIENCE_S)


def check(log: Log, count: int) -> None:
    found = [(record.lsn, bytes(record.payload)) for record in log.read(1)]
    assert found == [(lsn, payload_for(lsn)) for lsn in range(1, count + 1)]


def until_second_sync(open_log: OpenLog, fs: GatedFilesystem, sink: Sink) -> Log:
    """A log whose record 1 is reported, 2 to 10 are being synced, and 11 to 20 are written."""
    log = open_log(fs, sink=sink)
    append(log, 1, 1)
    passed(fs.begun)
    append(log, 2, 10)
    assert sink.tokens == []
    fs.go.release()
    passed(fs.begun)  # the second sync
    passed(sink.reported)  # goes on beside the report of the first
    assert sink.tokens == [1]
    passed(fs.writes, 2)
    append(log, 11, 20)
    while log._writer._segment.written_lsn < 20:  # written while the second sync goes on
        passed(fs.writes)
    assert (sink.tokens, log.committed_lsn, log.fsynced_lsn) == ([1], 1, 1)
    return log


def test_one_sync_serves_all_that_came_during_the_one_before(
    open_log: OpenLog, fs: GatedFilesystem
) -> None:
    sink = Sink()
    log = until_second_sync(open_log, fs, sink)
    fs.go.release()
    passed(fs.begun)
    passed(sink.reported)
    assert sink.tokens == list(range(1, 11))
    assert log.fsynced_lsn == 10
    fs.go.release()
    assert log.barrier() == 20
    assert sink.tokens == list(range(1, 21))
    assert log.statistics().syncs == 3  # for twenty records
    check(log, 20)
    fs.open_gate()
    log.close()
    check(open_log(fs), 20)


def test_a_sync_covers_no_more_than_the_disk_takes_in_its_time(
    open_log: OpenLog, fs: GatedFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much waits: it is acknowledged evenly, not when all of it is on disk."""
    size = 40 + RECORD_HEADER_BYTES
    monkeypatch.setattr(writer, "COMMIT_BYTES_MAX", 5 * size)
    sink = Sink()
    log = open_log(fs, sink=sink)
    append(log, 1, 1)
    passed(fs.begun)
    append(log, 2, 40)
    fs.go.release()
    reported, syncs = 1, 1
    passed(sink.reported)
    while reported < 40:
        passed(fs.begun)
        assert log._writer._segment.written_lsn <= reported + 2 * 5  # being synced, and behind it
        fs.go.release()
        passed(sink.reported)
        assert reported < len(sink.tokens) <= reported + 5
        reported = len(sink.tokens)
        syncs += 1
    assert sink.tokens == list(range(1, 41))
    assert log.statistics().syncs == syncs == 9
    check(log, 40)


def test_many_writers_that_wait_for_each_record(open_log: OpenLog, fs: GatedFilesystem) -> None:
    writers, records = 10, 8
    acknowledged = threading.Semaphore(0)

    class Acks(CommitRecorder):
        def on_commit(self, entries: Sequence[tuple[Record, object]]) -> None:
            super().on_commit(entries)
            for _, token in entries:
                assert isinstance(token, threading.Event)
                token.set()

    sink = Acks()
    log = open_log(fs, sink=sink)
    together = threading.Barrier(writers + 1)

    def write() -> None:
        for _ in range(records):
            together.wait(PATIENCE_S)  # as if all were woken at once
            done = threading.Event()
            log.append(RecordKind.PTS, [bytes(64)], done)
            assert done.wait(PATIENCE_S)
            acknowledged.release()

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for number in range(records):
        fs.gated = True
        together.wait(PATIENCE_S)
        passed(fs.begun)
        while log.appended_lsn < (number + 1) * writers:
            threading.Event().wait(0.001)  # the others come while the first is synced
        fs.gated = False
        fs.go.release()
        passed(acknowledged, writers)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(sink.records) == writers * records
    # One for the first of each round and one for the rest, at most.
    assert log.statistics().syncs <= 2 * records


@pytest.mark.parametrize("kind", ["sync", "write", "report"])
def test_a_failure_while_a_sync_goes_on(open_log: OpenLog, fs: GatedFilesystem, kind: str) -> None:
    sink = Sink()
    log = until_second_sync(open_log, fs, sink)
    if kind == "sync":
        fs.fail("sync", path_part=".log")
    elif kind == "write":
        fs.fail("write", path_part=".log", partial_bytes=30)
        append(log, 21, 25)
        while fs.pending_faults:
            threading.Event().wait(0.001)
    else:
        sink.on_commit = None  # type: ignore[assignment, method-assign]
        log._writer._on_commit = _raising
    fs.open_gate()
    with pytest.raises(LogFailedError):
        log.barrier()
    log.close()
    last = 25 if kind == "write" else 20
    ((_, failed),) = sink.failures
    # Everything is either reported or failed, once and in order.
    expected = list(range(1, last + 1))
    if kind == "report":
        assert [1, *failed] == expected
    else:
        assert [*sink.tokens, *failed] == expected
        assert sink.tokens == ([1] if kind == "sync" else list(range(1, 11)))
    fs.heal()
    again = open_log(fs)
    assert again.damages == ()
    assert again.appended_lsn >= len(sink.tokens)
    check(again, again.appended_lsn)


def _raising(entries: Sequence[tuple[Record, object]]) -> None:
    raise ValueError("cannot apply")


def test_any_operation_fails_while_syncs_overlap_with_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SLOW_SYNC_NS", 0)
    for skip in range(200):
        fs = FaultyFilesystem(tmp_path / str(skip))
        sink = CommitRecorder()
        log = open_at(fs, segment_bytes_max=1000)
        fs.fail(skip=skip, partial_bytes=20)
        log.start(sink.on_commit, sink.on_failure)
        appended = 0
        try:
            for lsn in range(1, 41):
                log.append(RecordKind.PTS, [payload_for(lsn)], lsn)
                appended = lsn
                if lsn % 8 == 0:
                    log.barrier()
        except LogFailedError:
            pass
        log.close()
        if not sink.failures and not fs.pending_faults:
            continue  # something failed that nobody relies on: the segment after a clean stop
        failed = [token for _, tokens in sink.failures for token in tokens]
        assert [*sink.tokens, *failed] == list(range(1, appended + 1)), skip
        no_fault_left = fs.pending_faults > 0
        fs.heal()
        again = open_at(fs)
        assert again.damages == (), skip
        assert again.appended_lsn >= len(sink.tokens), skip
        check(again, again.appended_lsn)
        again.close()
        if no_fault_left:
            assert skip > 20
            return
    pytest.fail("the workload has more operations than expected")


def open_at(fs: FaultyFilesystem, **options: int) -> Log:
    return Log.open(
        fs.root / "log", fs=fs, node_uuid=NODE_UUID, durability=Durability.parse("always"),
        **options,
    )  # fmt: skip


def test_a_rotation_waits_for_the_sync(open_log: OpenLog, fs: GatedFilesystem) -> None:
    sink = Sink()
    log = until_second_sync(open_log, fs, sink)
    rotated = threading.Thread(target=log.rotate)
    rotated.start()
    fs.open_gate()
    rotated.join(PATIENCE_S)
    assert not rotated.is_alive()
    assert sink.tokens == list(range(1, 21))
    append(log, 21, 22)
    log.barrier()
    assert log.statistics().segments == 2
    log.close()
    check(open_log(fs), 22)


@pytest.mark.parametrize("fails", [False, True])
def test_closing_waits_for_the_sync(open_log: OpenLog, fs: GatedFilesystem, fails: bool) -> None:
    """What is being synced, and what was written meanwhile, is reported or failed by the end."""
    sink = Sink()
    log = until_second_sync(open_log, fs, sink)
    closing = threading.Thread(target=log.close)
    closing.start()
    while not log._writer._closing:
        threading.Event().wait(0.001)
    assert sink.tokens == [1]
    if fails:
        fs.fail("sync", path_part=".log")
    fs.open_gate()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert log._writer._beside._thread is None
    failed = [token for _, tokens in sink.failures for token in tokens]
    assert [*sink.tokens, *failed] == list(range(1, 21))
    assert sink.tokens == ([1] if fails else list(range(1, 21)))
    fs.heal()
    again = open_log(fs)
    assert again.damages == ()
    check(again, again.appended_lsn)


def test_a_release_while_a_sync_goes_on(open_log: OpenLog, fs: GatedFilesystem) -> None:
    sink = Sink()
    fs.gated = False
    log = open_log(fs, sink=sink)
    for lsn in (1, 2, 3):
        append(log, lsn, lsn)
        log.barrier()
        log.rotate()
    while fs.begun.acquire(blocking=False) or fs.go.acquire(blocking=False):
        pass
    fs.gated = True
    append(log, 4, 4)
    passed(fs.begun)
    append(log, 5, 6)
    releasing = threading.Thread(target=log.release, args=(3,))
    releasing.start()
    releasing.join(PATIENCE_S)
    assert not releasing.is_alive(), "a release waits for no sync of the open segment"
    assert log.first_lsn >= 3
    fs.open_gate()
    assert log.barrier() == 6
    log.close()
    again = open_log(fs)
    assert again.damages == ()
    assert [record.lsn for record in again.read(again.first_lsn)][-3:] == [4, 5, 6]


def test_power_cuts_while_syncs_overlap_with_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SLOW_SYNC_NS", 0)
    fs = FaultyFilesystem(tmp_path / "before")
    promises: list[tuple[int, int]] = []

    def on_commit(entries: Sequence[tuple[Record, object]]) -> None:
        promises.append((len(fs.journal), entries[-1][0].lsn))

    log = open_at(fs, segment_bytes_max=1500)
    log.start(on_commit)
    for lsn in range(1, 16):
        log.append(RecordKind.PTS, [payload_for(lsn, 40 + 60 * (lsn % 7))])
        if lsn % 5 == 0:
            log.barrier()
    log.close()
    assert promises[-1][1] == 15

    def promised(operations: int) -> int:
        return max((lsn for count, lsn in promises if count <= operations), default=0)

    root = tmp_path / "after"
    for state in crash_states(fs.journal, {}, promise=promised):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        state.write(root)
        again = open_at(FaultyFilesystem(root))
        found = [(record.lsn, bytes(record.payload)) for record in again.read(1)]
        again.close()
        label = state.operations, state.label
        assert found == [
            (lsn, payload_for(lsn, 40 + 60 * (lsn % 7))) for lsn in range(1, len(found) + 1)
        ], label
        assert len(found) >= promised(state.operations), label
        assert again.recovery.damages == (), label
