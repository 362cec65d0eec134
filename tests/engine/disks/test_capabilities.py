"""What is missing is said; in continuous integration some of it is a failure."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from . import capabilities
from .capabilities import CAPABILITIES, Missing, ext4, found, loop_disks, refuse, strace
from .loop_disk import PREFIX, loop_disk, mounts_below, run, take_away_leftovers


def test_what_is_missing_is_said() -> None:
    for capability in CAPABILITIES:
        missing = found(capability)
        assert missing is None or missing.reason


def test_a_program_that_ci_installs_must_be_there_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_find", lambda _: None)
    if found(loop_disks) is None:
        assert ext4() == Missing("mkfs.ext4 is missing (Debian: e2fsprogs)", expected=True)
    if capabilities.on_linux() is None:
        assert strace() == Missing("strace is missing (Debian: strace)", expected=True)


@pytest.mark.parametrize(
    ("missing", "in_ci", "ending"),
    [
        (Missing("no root"), True, "skipped"),
        (Missing("no strace", expected=True), False, "skipped"),
        (Missing("no strace", expected=True), True, "failed"),
    ],
)
def test_skipped_or_failed(missing: Missing, in_ci: bool, ending: str) -> None:
    expected = pytest.fail.Exception if ending == "failed" else pytest.skip.Exception
    with pytest.raises(expected, match=missing.reason):
        refuse(missing, in_ci=in_ci)


def test_a_disk_goes_with_its_test() -> None:
    capabilities.require(ext4)
    places: list[Path] = []

    def fail() -> None:
        with loop_disk() as disk:
            places.append(disk.path.parent)
            assert mounts_below(places[0]) == [str(disk.path)]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert mounts_below(places[0]) == []
    assert not places[0].exists()
    assert str(places[0]) not in run("losetup", "-a")


def test_what_a_killed_run_left_is_taken_away(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f"{PREFIX}{gone.pid}-x").mkdir()
    (tmp_path / f"{PREFIX}{os.getpid()}-y").mkdir()
    assert take_away_leftovers(tmp_path) == [tmp_path / f"{PREFIX}{gone.pid}-x"]


def test_power_cut_takes_what_was_not_synced() -> None:
    """Nothing else of this folder would notice a cut that cuts nothing."""
    capabilities.require(ext4)
    with loop_disk() as disk:
        (disk.path / "kept").write_bytes(b"x" * 10)
        for path, flags in ((disk.path / "kept", os.O_RDONLY), (disk.path, os.O_DIRECTORY)):
            fd = os.open(path, flags)
            os.fsync(fd)
            os.close(fd)
        (disk.path / "lost").write_bytes(b"x" * 10)
        disk.cut()
        disk.restart()
        assert (disk.path / "kept").read_bytes() == b"x" * 10
        lost = disk.path / "lost"
        assert not lost.exists() or lost.read_bytes() != b"x" * 10
