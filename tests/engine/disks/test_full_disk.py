"""A real disk that is full, read-only or failing, under an engine that runs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstem_engine.part.layout import PART_SUFFIX

from .capabilities import ext4, require, strace, tmpfs
from .engine_process import EngineProcess, Refused
from .injection import Tracing
from .loop_disk import MIB, LoopDisk, failing_disk, loop_disk, run

pytestmark = [pytest.mark.slow, pytest.mark.crash]
BATCHES_MAX = 5000
"""More than any disk here takes."""


@pytest.fixture
def disk() -> Iterator[LoopDisk]:
    require(ext4)
    with loop_disk(size_mib=32) as one:
        yield one


def sealed_bytes(disk: LoopDisk) -> int:
    """Of all part files, on disk as well as listed."""
    return sum(path.stat().st_size for path in disk.path.rglob(f"*{PART_SUFFIX}"))


def write_until_refused(engine: EngineProcess, first: int) -> tuple[int, Refused]:
    """The number after the last batch that was tried, and why it was refused."""
    for batch in range(first, first + BATCHES_MAX):
        try:
            engine.write(batch)
        except Refused as refused:
            return batch + 1, refused
    raise AssertionError("nothing was refused")


def refused(engine: EngineProcess, name: str, *arguments: object) -> Refused:
    with pytest.raises(Refused) as caught:
        engine.ask(name, *arguments)
    return caught.value


def reopened(engine: EngineProcess) -> None:
    """The engine gives up what is not durable and opens its directory again, in its process."""
    engine.ask("abandon")
    assert engine.ask("check") == []
    engine.ask("open")


def test_a_full_disk_refuses_writes_and_goes_on_when_there_is_space(disk: LoopDisk) -> None:
    with EngineProcess(disk.path / "data") as engine:
        engine.ask("open", log_segment_bytes=MIB)
        for batch in range(20):
            engine.write(batch)
        engine.ask("flush")
        sealed = sealed_bytes(disk)
        filler = disk.fill(leave_bytes=300_000)
        batch, why = write_until_refused(engine, 20)
        assert "No space left on device" in why.message
        assert "re-open the data directory" in why.message
        # Nothing is acknowledged any more, reads go on, and the engine says so.
        assert "No space left" in refused(engine, "write", batch).message
        assert "No space left" in engine.ask("status")["log_error"]
        engine.assert_right(engine.ask("rows"))
        assert sealed_bytes(disk) == sealed
        filler.unlink()
        reopened(engine)
        engine.assert_right(engine.ask("rows"))
        engine.write(batch)
        engine.ask("flush")
        assert sealed_bytes(disk) > sealed
        engine.ask("close")
        assert engine.ask("check") == []


def test_a_start_on_a_full_disk(disk: LoopDisk) -> None:
    """It starts, or refuses with the reason; then the next one finds all that was there."""
    with EngineProcess(disk.path / "data") as engine:
        engine.ask("open", log_segment_bytes=MIB)
        for batch in range(20):
            engine.write(batch)
        engine.ask("flush")
        filler = disk.fill()
        batch, _ = write_until_refused(engine, 20)
        engine.kill()
        sealed = sealed_bytes(disk)
        tried, acknowledged = engine.tried, engine.acknowledged
    with EngineProcess(disk.path / "data") as engine:
        engine.tried, engine.acknowledged = tried, acknowledged
        said = None
        try:
            engine.ask("open")
        except Refused as why:
            said = why.message
        else:
            engine.assert_right(engine.ask("rows"))
            engine.ask("abandon")
        assert said is None or "No space left on device" in said
        assert sealed_bytes(disk) == sealed
        filler.unlink()
        engine.ask("open")
        engine.assert_right(engine.ask("rows"))
        engine.write(batch)
        engine.ask("close")
        assert engine.ask("check") == []


def test_a_flush_on_a_full_disk_is_tried_again(disk: LoopDisk) -> None:
    with EngineProcess(disk.path / "data") as engine:
        engine.ask("open")
        for batch in range(200):
            engine.write(batch)
        filler = disk.fill(leave_bytes=200_000)
        assert "No space left on device" in refused(engine, "flush").message
        assert "No space left on device" in engine.ask("status")["last_error"]
        engine.assert_right(engine.ask("rows"))
        filler.unlink()
        engine.ask("flush")
        status = engine.ask("status")
        assert (status["last_error"], status["log_error"]) == (None, None)
        engine.assert_right(engine.ask("rows"))
        engine.ask("close")
        assert engine.ask("check") == []


def test_a_compaction_and_a_backup_on_a_full_disk(disk: LoopDisk) -> None:
    with EngineProcess(disk.path / "data") as engine:
        engine.ask("open")
        for batch in range(100):
            engine.write(batch)
            if batch % 25 == 24:
                engine.ask("flush")
        sealed = sealed_bytes(disk)
        filler = disk.fill(leave_bytes=60_000)
        engine.ask("compact")
        assert "No space left on device" in engine.ask("status")["last_error"]
        rest = disk.fill(name="rest")  # parts are linked into a backup and need none
        why = refused(engine, "backup", str(disk.path / "backup"))
        assert "No space left on device" in why.message
        assert sealed_bytes(disk) == sealed
        engine.assert_right(engine.ask("rows"))
        filler.unlink()
        rest.unlink()
        engine.ask("compact")
        assert engine.ask("status")["last_error"] is None
        engine.assert_right(engine.ask("rows"))
        engine.ask("close")
        assert engine.ask("check") == []


def test_a_disk_that_becomes_read_only(disk: LoopDisk) -> None:
    with EngineProcess(disk.path / "data") as engine:
        engine.ask("open")
        for batch in range(10):
            engine.write(batch)
        engine.ask("flush")
        engine.ask("abandon")
        disk.remount("ro")
        # A start says why it cannot, and changes nothing.
        why = refused(engine, "open")
        assert "Read-only file system" in why.message
        assert engine.ask("check") == []
        disk.remount("rw")
        engine.ask("open")
        engine.assert_right(engine.ask("rows"))
        engine.write(10)
        engine.ask("close")


def test_power_goes_while_it_runs_and_nothing_more_is_acknowledged(disk: LoopDisk) -> None:
    """The kernel makes a file system read-only, or refuses everything, when its disk is gone."""
    with EngineProcess(disk.path / "data") as engine:
        engine.ask("open")
        for batch in range(10):
            engine.write(batch)
        disk.cut()
        batch, why = write_until_refused(engine, 10)
        assert batch == 11
        assert why.kind == "LogFailedError"
        assert "re-open" in refused(engine, "flush").message
        engine.assert_right(engine.ask("rows"))
        engine.kill()
        tried, acknowledged = engine.tried, engine.acknowledged
    disk.restart()
    with EngineProcess(disk.path / "data") as engine:
        engine.tried, engine.acknowledged = tried, acknowledged
        assert engine.ask("check") == []
        engine.ask("open")
        engine.assert_right(engine.ask("rows"))
        engine.ask("close")


def test_after_a_failed_fsync_nothing_more_is_acknowledged() -> None:
    """The disk takes the writes and loses them: the fsync says so once, and then that all is well.
    Whoever syncs again acknowledges rows that are nowhere.

    The loop driver takes a write of which its image took only the beginning for a whole one
    (lo_complete_rq of drivers/block/loop.c looks for short reads only), so this disk lies about one
    write: the last before the first failure, on the boundary of the memory. It may be lost."""
    require(ext4, tmpfs)
    with failing_disk(size_mib=200, memory_mib=16) as disk:
        with EngineProcess(disk.path / "data") as engine:
            engine.ask("open", log_segment_bytes=4 * MIB)
            batch, why = write_until_refused(engine, 0)
            assert why.kind == "LogFailedError"
            assert any(os.strerror(number) in why.message for number in (errno.EIO, errno.ENOSPC))
            assert engine.ask("status")["log_error"] is not None
            for more in range(batch, batch + 5):
                assert refused(engine, "write", more).kind == "LogFailedError"
            engine.assert_right(engine.ask("rows"))
            engine.kill()
            tried = engine.tried
            acknowledged = engine.acknowledged - {batch - 2}
        assert len(acknowledged) > 100
        # What the disk never got is not there when its memory is gone.
        make_room(disk)
        disk.restart()
        with EngineProcess(disk.path / "data") as engine:
            engine.tried, engine.acknowledged = tried, acknowledged
            assert all("its end is missing" in damage for damage in engine.ask("check"))
            engine.ask("open")
            engine.assert_right(engine.ask("rows"))
            engine.write(batch)
            engine.ask("close")


def make_room(disk: LoopDisk) -> None:
    """For the journal's replay and for what comes next."""
    run("mount", "-o", "remount,size=200m", disk.image.parent)


@pytest.mark.parametrize("durability", ["always", "os"])
def test_a_failed_sync_and_then_a_power_cut(
    disk: LoopDisk, tmp_path: Path, durability: str
) -> None:
    """Injected, an EIO loses nothing: the cut takes what the sync did not bring to the disk.

    In mode ``os`` rows are acknowledged before: then the same cut must be seen to take some.
    """
    require(strace)
    with EngineProcess(disk.path / "data") as engine:
        engine.ask("open", durability=durability)
        for batch in range(5):
            engine.write(batch)
        tracing = Tracing(
            engine.pid, tmp_path / "strace",
            "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1",
        )  # fmt: skip
        if durability == "always":
            batch, why = write_until_refused(engine, 5)
            assert batch == 6
            assert "Input/output error" in why.message
        else:
            engine.write(5)
        disk.cut()
        engine.kill()
        tracing.text()
        tried, acknowledged = engine.tried, engine.acknowledged
    disk.restart()
    with EngineProcess(disk.path / "data") as engine:
        engine.tried, engine.acknowledged = tried, acknowledged
        engine.ask("open")
        if durability == "always":
            engine.assert_right(engine.ask("rows"))
        else:
            with pytest.raises(AssertionError, match="lost"):
                engine.assert_right(engine.ask("rows"))
        engine.ask("close")
        assert engine.ask("check") == []
