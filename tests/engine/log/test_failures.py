"""A failed write or sync is final; what was acknowledged survives it; nothing is tried again."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mainstem_engine.errors import LogFailedError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.layout import SEGMENT_HEADER_BYTES, segment_name
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.options import Durability
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.recorder import NODE_UUID, CommitRecorder, fill, payload_for

OpenLog = Callable[..., Log]


@pytest.fixture
def faulty(tmp_path: Path) -> FaultyFilesystem:
    return FaultyFilesystem(tmp_path)


def check(log: Log, count: int) -> None:
    assert [(r.lsn, bytes(r.payload)) for r in log.read(1)] == [
        (n, payload_for(n)) for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("kind", "error", "partial"),
    [
        ("write", errno.ENOSPC, 0),
        ("write", errno.ENOSPC, 17),
        ("write", errno.EIO, 79),
        ("sync", errno.EIO, 0),
        ("sync", errno.ENOSPC, 0),
    ],
)
def test_failure_is_final(
    open_log: OpenLog, faulty: FaultyFilesystem, kind: str, error: int, partial: int
) -> None:
    sink = CommitRecorder()
    log = open_log(faulty, sink=sink)
    fill(log, 5)
    faulty.fail(kind, error=error, partial_bytes=partial)
    log.append(RecordKind.PTS, [payload_for(6)], "six")
    with pytest.raises(LogFailedError) as caught:
        log.barrier()
    assert isinstance(caught.value, OSError)
    # The fault is gone, but the log does not come back by itself.
    with pytest.raises(LogFailedError):
        log.append(RecordKind.PTS, [b"more"])
    with pytest.raises(LogFailedError):
        log.rotate()
    assert len(sink.records) == 5
    assert (log.committed_lsn, log.fsynced_lsn) == (5, 5)
    assert log.statistics().error is not None
    check(log, 5)
    log.close()
    assert [tokens for _, tokens in sink.failures] == [["six"]]
    again = open_log(faulty, sink=CommitRecorder())
    assert again.appended_lsn == 5
    assert again.damages == ()
    check(again, 5)
    fill(again, 2)
    check(again, 7)


def test_after_a_failed_sync_a_new_segment_voids_the_suffix(
    open_log: OpenLog, faulty: FaultyFilesystem, directory: Path
) -> None:
    log = open_log(faulty, sink=CommitRecorder())
    fill(log, 3)
    faulty.fail("sync")
    faulty.fail("truncate")  # the old bytes stay where they are
    log.append(RecordKind.PTS, [payload_for(4)])
    with pytest.raises(LogFailedError):
        log.barrier()
    log.close()
    old = directory / segment_name(1)
    size = old.stat().st_size
    assert size > SEGMENT_HEADER_BYTES + 3 * 80  # record 4 is still there to be read
    again = open_log(sink=CommitRecorder())
    assert again.appended_lsn == 3
    check(again, 3)


def test_without_any_marker_the_doubtful_records_are_made_durable(
    open_log: OpenLog, faulty: FaultyFilesystem, directory: Path
) -> None:
    log = open_log(faulty, sink=CommitRecorder())
    fill(log, 3)
    faulty.fail("sync", times=100)
    faulty.fail("truncate", times=100)
    faulty.fail("create", times=100)
    log.append(RecordKind.PTS, [payload_for(4)])
    with pytest.raises(LogFailedError):
        log.barrier()
    log.close()
    faulty.heal()
    # Record 4 was refused, so it may be there or not. If it is, it is in a file that was synced.
    again = open_log(faulty, sink=CommitRecorder())
    assert again.appended_lsn == 4
    assert (directory / segment_name(4)).exists()
    check(again, 4)


@pytest.mark.parametrize("mode", ["interval:1ms", "os"])
def test_failed_sync_in_the_background_is_final_too(
    open_log: OpenLog, faulty: FaultyFilesystem, mode: str
) -> None:
    failed = threading.Event()
    log = open_log(faulty, mode=mode)
    log.start(lambda _: None, lambda *_: failed.set())
    faulty.fail("sync")
    log.append(RecordKind.PTS, [b"x"])
    if mode == "os":
        with pytest.raises(LogFailedError):
            log.rotate()
    assert failed.wait(5)
    assert log.fsynced_lsn == 0
    with pytest.raises(LogFailedError):
        log.append(RecordKind.PTS, [b"y"])


def test_failed_write_keeps_what_was_acknowledged_before(
    open_log: OpenLog, faulty: FaultyFilesystem
) -> None:
    log = open_log(faulty, mode="interval:3600000ms", sink=CommitRecorder())
    fill(log, 4)
    assert log.fsynced_lsn == 0
    faulty.fail("write", error=errno.ENOSPC, partial_bytes=30)
    log.append(RecordKind.PTS, [payload_for(5)])
    with pytest.raises(LogFailedError):
        log.barrier()
    log.close()
    check(open_log(faulty), 4)


def test_failed_rotation(open_log: OpenLog, faulty: FaultyFilesystem) -> None:
    for kind in ("create", "write", "sync", "rename", "sync_directory"):
        log = open_log(faulty, sink=CommitRecorder())
        count = log.appended_lsn
        fill(log, 2)
        faulty.fail(kind)
        with pytest.raises(LogFailedError):
            log.rotate()
        log.close()
        faulty.heal()
        again = open_log(faulty)
        check(again, count + 2)
        again.close()


def test_on_commit_that_raises_fails_the_log_but_loses_nothing(
    open_log: OpenLog, faulty: FaultyFilesystem
) -> None:
    failures: list[Sequence[object]] = []

    def on_commit(entries: Sequence[tuple[Record, object]]) -> None:
        if entries[0][0].lsn == 3:
            raise ValueError("cannot apply")

    log = open_log(faulty)
    log.start(on_commit, lambda error, tokens: failures.append(tokens))
    for number in (1, 2, 3):
        log.append(RecordKind.PTS, [payload_for(number)], number)
        if number < 3:
            log.barrier()
    with pytest.raises(LogFailedError, match="cannot apply"):
        log.barrier()
    assert log.committed_lsn == 2
    log.close()
    assert failures == [[3]]
    check(open_log(faulty), 3)  # it is durable; the next start applies it


def test_failure_wakes_every_waiter(open_log: OpenLog, faulty: FaultyFilesystem) -> None:
    log = open_log(faulty, queue_bytes_max=100)
    faulty.fail("write")
    log.append(RecordKind.PTS, [bytes(200)])
    results: list[str] = []

    def wait(action: Callable[[], object]) -> None:
        try:
            action()
        except LogFailedError:
            results.append("failed")

    threads = [
        threading.Thread(target=wait, args=(lambda: log.append(RecordKind.PTS, [b"x"]),)),
        threading.Thread(target=wait, args=(lambda: log.append(RecordKind.PTS, [b"y"]),)),
    ]
    for thread in threads:
        thread.start()
    log.start(lambda _: None)
    wait(log.barrier)
    for thread in threads:
        thread.join(5)
    assert results == ["failed"] * 3


@pytest.mark.parametrize("mode", ["always", "os"])
def test_every_operation_fails_once(tmp_path: Path, mode: str) -> None:
    """Fail the n-th change of a small life of a log, for every n, until none is left to fail."""
    for skip in range(200):
        root = tmp_path / str(skip)
        root.mkdir()
        fs = FaultyFilesystem(root)
        fs.fail(skip=skip, partial_bytes=20)
        acknowledged = 0
        try:
            log = open_at(root, fs, mode)
        except OSError:
            log = None
        if log is not None:
            try:
                log.start(lambda _: None)
                for number in range(6):
                    if number in (2, 4):
                        log.rotate()
                    log.append(RecordKind.PTS, [payload_for(number + 1)])
                    log.barrier()
                    acknowledged = log.committed_lsn if mode == "always" else log.fsynced_lsn
            except LogFailedError:
                pass
            log.close()
        again = open_at(root, Filesystem(), mode)
        found = [(r.lsn, bytes(r.payload)) for r in again.read(1)]
        again.close()
        assert found == [(n, payload_for(n)) for n in range(1, len(found) + 1)], skip
        assert len(found) >= acknowledged, skip
        assert again.recovery.damages == (), skip
        if not fs.pending_faults:
            continue
        assert skip > 20  # nothing was left to fail
        return
    pytest.fail("the workload has more operations than expected")


def open_at(root: Path, fs: Filesystem, mode: str) -> Log:
    return Log.open(root / "log", fs=fs, node_uuid=NODE_UUID, durability=Durability.parse(mode))


@pytest.mark.parametrize("kind", ["unlink", "sync_directory"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_release_that_fails_leaves_no_gap(
    open_log: OpenLog, faulty: FaultyFilesystem, kind: str, skip: int
) -> None:
    log = open_log(faulty, sink=CommitRecorder())
    for _ in range(4):
        fill(log, 10)
        log.rotate()
    faulty.fail(kind, skip=skip)
    with pytest.raises(OSError, match="injected"):
        log.release(30)
    first = log.first_lsn
    assert first == 1 + 10 * (skip + (kind == "sync_directory"))
    assert [record.lsn for record in log.read(1)] == list(range(first, 41))
    # The next try takes what the first left, and not only what came since.
    assert log.release(40) == 41
    log.close()
    again = open_log()
    assert again.first_lsn == 41
    assert again.damages == ()
