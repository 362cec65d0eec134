"""One file that grows: what is held of it between two turns."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

import pytest

from mainstem_edge.files.directory import Sight
from mainstem_edge.files.followed import HELD_BYTES_MAX, Followed
from mainstem_edge.files.form import FileForm


def turn(followed: Followed, path: Path, *, bytes_max: int = 1 << 20) -> bytes:
    with FileIO(path) as file:
        return b"".join(lines.data for lines in followed.turn(file, bytes_max))


def followed_at(path: Path) -> Followed:
    status = os.stat(path)
    sight = Sight("x", status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, True)
    return Followed(sight, "x", FileForm(piece="line"))


@pytest.mark.parametrize("size", [100, HELD_BYTES_MAX + 1, 700_000])
def test_of_a_long_line_without_an_end_little_is_held(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a\n" + b"9" * size)
    followed = followed_at(path)
    assert turn(followed, path) == b"a\n"
    assert followed.held_bytes <= HELD_BYTES_MAX
    with path.open("ab") as file:
        file.write(b"\nb\n")
    assert turn(followed, path) == b"9" * size + b"\nb\n"


def test_a_file_that_is_cut_in_the_middle_of_a_turn(tmp_path: Path) -> None:
    """It grows beyond the place again: what is there now is not taken for the rest."""
    path = tmp_path / "x"
    path.write_bytes(b"1,1\n" * 200_000)
    followed = followed_at(path)
    with FileIO(path) as file:
        turns = followed.turn(file, 1 << 20)
        first = next(turns)
        path.write_bytes(b"2,2\n" * 300_000)
        rest = b"".join(lines.data for lines in turns)
    assert set(first.data.split()) == {b"1,1"}
    assert rest == b""
    assert followed.was_cut
