"""Bytes that went to the disk, as the system counts them, and where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainstem_node.disk_writes import written_bytes


def test_the_counter_of_the_system_counts(tmp_path: Path) -> None:
    io = tmp_path / "io"
    io.write_text(
        "rchar: 9\nwchar: 8\nread_bytes: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n"
    )
    assert written_bytes(10, io) == 4096


@pytest.mark.parametrize("content", [None, "rchar: 9\n"])
def test_without_it_the_log_stands_in(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "io").write_text(content)
    assert written_bytes(10, tmp_path / "io") == 10


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts per process")
def test_a_written_file_is_counted_by_whole_pages(tmp_path: Path) -> None:
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True, check=True
    )
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        pytest.skip("temporary files are in memory here")
    before = written_bytes(0)
    for number in range(3):
        with (tmp_path / str(number)).open("wb") as file:
            file.write(b"a")
            file.flush()
            os.fsync(file.fileno())
    assert written_bytes(0) - before >= 3 * 4096
