"""Pieces: as large as the disk takes in a second, and each on disk before the next is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.filesystem import AppendFile, Buffer, Filesystem
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.pace import AIM_S, LEAST_BYTES, MOST_BYTES, QUICK_S, Pace, PacedFile
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import PartWriter

MIB = 1 << 20


class Disk(Filesystem):
    """Takes ``bytes_per_s`` by a clock that only its syncs move."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.now_s = 0.0
        self.unsynced = 0
        self.syncs: list[int] = []
        """Bytes that each had to wait for."""

    def clock(self) -> float:
        return self.now_s

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        return _File(self, super().create(path, mode=mode))


class _File(AppendFile):
    __slots__ = ("_disk", "_file")

    def __init__(self, disk: Disk, file: AppendFile) -> None:
        self._disk, self._file = disk, file
        self.path = file.path

    def write(self, buffers: Sequence[Buffer]) -> int:
        written = self._file.write(buffers)
        self._disk.unsynced += written
        return written

    def sync(self) -> None:
        disk = self._disk
        disk.syncs.append(disk.unsynced)
        disk.now_s += disk.unsynced / disk.bytes_per_s
        disk.unsynced = 0

    def close(self) -> None:
        self._file.close()


def test_a_pace_falls_at_once_and_rises_by_doubling() -> None:
    pace = Pace(8 * MIB)
    pace.note(8 * MIB, 2 * AIM_S)
    assert pace.bytes == 4 * MIB
    pace.note(4 * MIB, 100 * AIM_S)
    assert pace.bytes == LEAST_BYTES
    pace.note(LEAST_BYTES, AIM_S)
    assert pace.bytes == LEAST_BYTES
    pace.note(LEAST_BYTES - 1, QUICK_S / 2)  # says little: there was little to write
    assert pace.bytes == LEAST_BYTES
    for doubled in (2 * MIB, 4 * MIB, 8 * MIB, MOST_BYTES):
        pace.note(pace.bytes, QUICK_S / 2)
        assert pace.bytes == doubled


def test_one_slow_sync_of_little_never_raises_the_pace() -> None:
    pace = Pace(2 * MIB)
    pace.note(100 * MIB, 1.5 * AIM_S)
    assert pace.bytes == 2 * MIB


@pytest.mark.parametrize(("mib_per_s", "waits_s"), [(1, 1.0), (0.5, 2.0), (64, 0.125)])
def test_nobody_waits_long_behind_a_large_file(
    tmp_path: Path, mib_per_s: float, waits_s: float
) -> None:
    disk = Disk(mib_per_s * MIB)
    file = PacedFile(disk.create(tmp_path / "large"), monotonic=disk.clock)
    data = np.random.default_rng(1).bytes(40 * MIB + 12_345)
    for start in range(0, len(data), 3_000_001):  # no multiple of a piece
        file.write(data[start : start + 3_000_001])
    file.sync()
    file.close()
    assert max(disk.syncs) <= waits_s * mib_per_s * MIB
    assert sum(disk.syncs) == len(data)
    assert (tmp_path / "large").read_bytes() == data


def test_a_fast_disk_sees_few_syncs(tmp_path: Path) -> None:
    disk = Disk(1e12)
    file = PacedFile(disk.create(tmp_path / "large"), monotonic=disk.clock)
    file.write(bytes(63 * MIB))
    assert disk.syncs == [MIB, 2 * MIB, 4 * MIB, *7 * [MOST_BYTES]]
    file.close()


def test_a_part_is_on_disk_piece_by_piece_before_it_is_finished(tmp_path: Path) -> None:
    disk = Disk(MIB)
    count = 400_000
    rows = VersionedRows(
        np.zeros(count, np.uint32),
        np.arange(count, dtype=np.int64),
        np.zeros(count, np.uint16),
        np.full(count, 7, np.uint64),
        {1: Column(np.random.default_rng(2).random(count))},
    )
    measurements = {1: Measurement(1, "x", ColumnType.DOUBLE)}
    with PartWriter(
        disk, tmp_path, "p", table="t", partition_start_ns=0, measurements=measurements
    ) as writer:
        writer.add(rows)
        meta = writer.finish()
    assert meta.bytes > 2 * MIB
    assert len(disk.syncs) >= 2
    assert disk.syncs[0] == LEAST_BYTES
    assert sum(disk.syncs) == meta.bytes
    part = Part.open(disk, tmp_path, meta)
    found = part.read(range(len(part.blocks)), part.types)
    assert np.array_equal(found.columns[1].values, rows.columns[1].values)
    part.close()
