"""Power cuts: every disk that a crash may leave opens, and holds what was acknowledged.

Each scenario runs once on a file system that keeps a journal, and notes at each point what it was
promised. Then every crash state is opened anew and compared with the promise of that point.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.checkpoint import read_checkpoint, remove_checkpoints, write_checkpoint
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.options import Durability
from mainstem_engine.part.manifest import PartList, PartMeta, remove_unlisted
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import write_part
from mainstem_engine.testing.crash_states import CrashState, crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.recorder import NODE_UUID, payload_for


@dataclass
class Promises:
    """What the scenario knew after so many operations of the journal."""

    fs: FaultyFilesystem
    points: list[tuple[int, int]]

    def note(self, value: int) -> None:
        self.points.append((len(self.fs.journal), value))

    def at(self, operations: int) -> int:
        return max((value for count, value in self.points if count <= operations), default=0)


@pytest.fixture
def fs(tmp_path: Path) -> FaultyFilesystem:
    return FaultyFilesystem(tmp_path / "before")


def each_crash(
    fs: FaultyFilesystem, tmp_path: Path, promises: Promises
) -> Iterator[tuple[CrashState, Path]]:
    root = tmp_path / "after"
    for state in crash_states(fs.journal, {}, promise=promises.at):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        state.write(root)
        yield state, root


def open_log(root: Path, mode: str = "always", fs: FaultyFilesystem | None = None) -> Log:
    return Log.open(
        root / "log",
        fs=fs or FaultyFilesystem(root),
        node_uuid=NODE_UUID,
        durability=Durability.parse(mode),
    )


def append(log: Log, sizes: list[int]) -> None:
    for size in sizes:
        log.append(RecordKind.PTS, [payload_for(log.appended_lsn + 1, size)])
    log.barrier()


LOG_LIVES: dict[str, Callable[[Log, Callable[[], None]], None]] = {}


def life(function: Callable[[Log, Callable[[], None]], None]) -> None:
    LOG_LIVES[function.__name__] = function


@life
def appends(log: Log, note: Callable[[], None]) -> None:
    for sizes in ([40], [10, 700, 30], [1500, 20], [5]):
        append(log, sizes)
        note()


@life
def rotations(log: Log, note: Callable[[], None]) -> None:
    for _ in range(3):
        append(log, [30, 600])
        note()
        log.rotate()
        note()


@life
def releases(log: Log, note: Callable[[], None]) -> None:
    for number in range(4):
        append(log, [30, 600])
        note()
        log.rotate()
        if number % 2:  # two segments at once: a crash in between must not leave a gap
            log.release(2 * number)
        note()


@pytest.mark.parametrize(
    ("name", "mode"),
    [("appends", "always"), ("appends", "os"), ("rotations", "os"), ("releases", "always")],
)
def test_log(fs: FaultyFilesystem, tmp_path: Path, name: str, mode: str) -> None:
    log = open_log(fs.root, mode, fs)
    log.start(lambda _: None)
    synced, released = Promises(fs, []), Promises(fs, [])
    sizes: dict[int, int] = {}

    def note() -> None:
        synced.note(log.fsynced_lsn)
        released.note(log.first_lsn)
        sizes.update((record.lsn, len(record.payload)) for record in log.read(1))

    LOG_LIVES[name](log, note)
    log.close()
    note()
    states = 0
    for state, root in each_crash(fs, tmp_path, synced):
        states += 1
        again = open_log(root)
        found = {record.lsn: bytes(record.payload) for record in again.read(1)}
        label = (state.operations, state.label)
        # No hole, nothing foreign, nothing acknowledged missing, and no false alarm.
        assert sorted(found) == list(range(again.first_lsn, again.appended_lsn + 1)), label
        assert all(found[n] == payload_for(n, sizes[n]) for n in found), label
        assert again.appended_lsn >= synced.at(state.operations), label
        assert again.first_lsn <= max(1, released.at(len(fs.journal))), label
        assert again.recovery.damages == (), label
        if states % 4 == 0:
            again.start(lambda _: None)
            append(again, [50])
        again.close()
        # A second start repairs nothing more.
        third = open_log(root)
        assert third.appended_lsn == again.appended_lsn, label
        assert (third.recovery.torn_bytes, third.recovery.damages) == (0, ()), label
        third.close()
    assert states > 300


def rows_of(version: int) -> VersionedRows:
    count = 20 + version
    return VersionedRows(
        device=np.zeros(count, np.uint32),
        time=np.arange(count, dtype=np.int64),
        origin=np.zeros(count, np.uint16),
        lsn=np.full(count, version, np.uint64),
        columns={0: Column(np.arange(count, dtype=np.float64) * version)},
    )


def flush(fs: FaultyFilesystem, root: Path, parts: PartList, version: int) -> None:
    """Part and checkpoint ``version`` replace the ones before, in one change of the list."""
    meta: PartMeta = write_part(
        fs,
        root / "parts",
        f"p{version}",
        table="t",
        partition_start_ns=0,
        rows=rows_of(version),
        measurements={0: Measurement(0, "m", ColumnType.DOUBLE)},
    )
    checkpoint = write_checkpoint(fs, root / "checkpoint", version, {"v": bytes([version])})
    parts.commit(add=[meta], remove=list(parts.parts), checkpoint=checkpoint)


def test_parts_checkpoints_and_their_list(fs: FaultyFilesystem, tmp_path: Path) -> None:
    root = fs.root
    fs.make_directory(root / "parts")
    parts = PartList.open(fs, root / "part-list")
    done = Promises(fs, [])
    for version in (1, 2, 3):
        flush(fs, root, parts, version)
        done.note(version)
        remove_unlisted(fs, root / "parts", parts.parts)
        remove_checkpoints(fs, root / "checkpoint", [parts.checkpoint or ""])
    parts.close()
    states = 0
    for state, after in each_crash(fs, tmp_path, done):
        states += 1
        plain = FaultyFilesystem(after)
        label = (state.operations, state.label)
        again = PartList.open(plain, after / "part-list")
        remove_unlisted(plain, after / "parts", again.parts)
        if again.checkpoint is None:
            assert done.at(state.operations) == 0, label
            assert again.parts == {}, label
            assert plain.list(after / "parts") == [], label
            again.close()
            continue
        version, sections = read_checkpoint(plain, after / "checkpoint", again.checkpoint)
        assert sections == {"v": bytes([version])}, label
        # At the moment of the change it may be the old or the new state, never a mixture.
        assert version in (done.at(state.operations), done.at(state.operations) + 1), label
        assert list(again.parts) == [f"p{version}"], label
        assert plain.list(after / "parts") == [f"p{version}.part"], label
        part = Part.open(plain, after / "parts", again.parts[f"p{version}"])
        read = part.read(range(len(part.blocks)), [0])
        assert read.columns[0].values.tolist() == rows_of(version).columns[0].values.tolist()
        part.close()
        again.close()
    assert states > 500


def test_part_list_appends(fs: FaultyFilesystem, tmp_path: Path) -> None:
    fs.make_directory(fs.root)
    parts = PartList.open(fs, fs.root / "part-list")
    done = Promises(fs, [])
    for number in range(1, 9):
        meta = PartMeta(f"p{number}", "t" * 200, 0, 1, 1, 0, 0, 0, 0, {0: (number, number)})
        remove = [f"p{number - 3}"] if number > 3 else []
        parts.commit(add=[meta], remove=remove, checkpoint=f"c{number}")
        done.note(number)
    parts.close()
    for state, root in each_crash(fs, tmp_path, done):
        again = PartList.open(FaultyFilesystem(root), root / "part-list")
        number = int((again.checkpoint or "c0")[1:])
        assert done.at(state.operations) <= number <= done.at(state.operations) + 1, state.label
        expected = [f"p{n}" for n in range(max(1, number - 2), number + 1)]
        assert sorted(again.parts) == expected, state.label
        again.close()
