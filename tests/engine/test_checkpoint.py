"""Checkpoints: whole or not there; any wrong byte is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_engine.checkpoint import read_checkpoint, remove_checkpoints, write_checkpoint
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem

fs = Filesystem()
SECTIONS = {"catalog": b"abc" * 50, "empty": b"", "counters": b"\x00\xff"}


def test_round_trip(tmp_path: Path) -> None:
    name = write_checkpoint(fs, tmp_path / "c", 42, SECTIONS)
    assert name == f"{42:020d}.ckpt"
    assert read_checkpoint(fs, tmp_path / "c", name) == (42, SECTIONS)
    empty = write_checkpoint(fs, tmp_path / "c", 0, {})
    assert read_checkpoint(fs, tmp_path / "c", empty) == (0, {})


def test_a_second_one_at_the_same_lsn_does_not_touch_the_first(tmp_path: Path) -> None:
    names = [write_checkpoint(fs, tmp_path, 7, {"n": bytes([n])}) for n in range(3)]
    assert len(set(names)) == 3
    assert [read_checkpoint(fs, tmp_path, name)[1]["n"] for name in names] == [b"\0", b"\1", b"\2"]
    (tmp_path / "x.tmp").touch()
    assert remove_checkpoints(fs, tmp_path, [names[1]]) == 3
    assert fs.list(tmp_path) == [names[1]]


def test_every_byte_counts(tmp_path: Path) -> None:
    name = write_checkpoint(fs, tmp_path, 42, SECTIONS)
    data = (tmp_path / name).read_bytes()
    for position in range(len(data)):
        (tmp_path / name).write_bytes(
            data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        )
        with pytest.raises(CorruptionError) as caught:
            read_checkpoint(fs, tmp_path, name)
        assert caught.value.path == tmp_path / name
    for length in range(len(data)):
        (tmp_path / name).write_bytes(data[:length])
        with pytest.raises(CorruptionError):
            read_checkpoint(fs, tmp_path, name)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(fs, tmp_path, "none.ckpt")
