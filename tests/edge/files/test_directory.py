"""Which files are complete, which are never looked at, and where they are put."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mainstem_edge.files import directory as module
from mainstem_edge.files.directory import BAD, DONE, Directory, Found


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def names(directory: Directory) -> list[str]:
    return [found.relative for found in directory.scan(lambda found: False)]


def put(path: Path, text: str = "x", mtime: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (mtime, mtime))
    return path


def test_a_file_is_complete_when_it_did_not_change_for_a_while(
    tmp_path: Path, clock: Clock
) -> None:
    found = Directory(tmp_path, "*.csv", 2.0, monotonic=clock)
    put(tmp_path / "a.csv")
    assert (names(found), found.waiting, found.waiting_bytes) == ([], 1, 1)
    clock.now += 1.9
    put(tmp_path / "a.csv", "xy")
    assert names(found) == []
    clock.now += 1.9
    assert names(found) == []
    clock.now += 0.2
    assert names(found) == ["a.csv"]
    put(tmp_path / "a.csv", "yx", mtime=1001)
    assert names(found) == []


def test_the_oldest_come_first_and_only_so_many_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCHED_MAX", 3)
    for number in range(10):
        put(tmp_path / f"{number}.csv", mtime=2000 - number)
    found = Directory(tmp_path, "*", 0)
    assert names(found) == ["9.csv", "8.csv", "7.csv"]
    assert (found.waiting, len(found._watched)) == (10, 3)
    assert [f.relative for f in found.scan(lambda f: f.relative > "7")] == [
        "6.csv", "5.csv", "4.csv",
    ]  # fmt: skip


def test_what_is_never_looked_at(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "secret.csv")
    root = tmp_path / "in"
    put(root / "a.csv")
    put(root / ".hidden.csv")
    put(root / "empty.csv", "")
    put(root / "a.txt")
    (root / "link.csv").symlink_to(outside)
    (root / "directory.csv").mkdir()
    (root / "linked").symlink_to(outside.parent)
    os.mkfifo(root / "pipe.csv")
    put(root / DONE / "old.csv")
    put(root / BAD / "old.csv")
    put(root / "line1" / "b.csv")
    assert names(Directory(root, "*.csv", 0)) == ["a.csv"]
    assert names(Directory(root, "*/*.csv", 0)) == ["line1/b.csv"]


def test_a_file_that_became_a_link_is_not_opened(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "a.csv")
    root = tmp_path / "in"
    put(root / "sub" / "a.csv")
    directory = Directory(root, "*/*.csv", 0)
    (found,) = directory.scan(lambda found: False)
    (root / "sub" / "a.csv").unlink()
    (root / "sub" / "a.csv").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic link"):
        directory.open(found)
    (root / "sub" / "a.csv").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside.parent)
    with pytest.raises(OSError, match="behind a symbolic link"):
        directory.open(found)
    with pytest.raises(OSError, match="No such"):
        directory.open(Found("sub2/a.csv", 1, 1))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    directory = Directory(tmp_path, "*.csv.gz", 0)
    for number in range(4):
        put(tmp_path / "a.csv.gz", str(number), mtime=1000)
        (found,) = directory.scan(lambda found: False)
        directory.put_away(found, DONE)
    kept = sorted(path.name for path in (tmp_path / DONE).iterdir())
    assert kept == [
        "a.19700101T001640000000-1.csv.gz", "a.19700101T001640000000-2.csv.gz",
        "a.19700101T001640000000.csv.gz", "a.csv.gz",
    ]  # fmt: skip
    texts = [path.read_text("utf-8") for path in (tmp_path / DONE).iterdir()]
    assert sorted(texts) == ["0", "1", "2", "3"]


def test_a_name_that_is_taken_at_the_last_moment_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who makes a file there only if there is none, as this collector does, is refused."""
    directory = Directory(tmp_path, "*.csv", 0)
    put(tmp_path / "a.csv", "ours", mtime=1000)
    (found,) = directory.scan(lambda found: False)
    real, refused = os.replace, []

    def replace(source: Path, target: Path) -> None:
        try:
            target.open("x").close()
        except FileExistsError:
            refused.append(target.name)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    directory.put_away(found, DONE)
    assert refused == ["a.csv"]
    assert (tmp_path / DONE / "a.csv").read_text("utf-8") == "ours"


def test_a_file_that_is_gone_leaves_no_name_behind(tmp_path: Path) -> None:
    directory = Directory(tmp_path, "*.csv", 0)
    with pytest.raises(FileNotFoundError):
        directory.put_away(Found("a.csv", 1, 1), DONE)
    assert list((tmp_path / DONE).iterdir()) == []


def test_done_is_no_way_out(tmp_path: Path) -> None:
    root = tmp_path / "in"
    put(root / "a.csv")
    (tmp_path / "elsewhere").mkdir()
    (root / DONE).symlink_to(tmp_path / "elsewhere")
    directory = Directory(root, "*", 0)
    (found,) = directory.scan(lambda found: False)
    with pytest.raises(OSError, match="symbolic link"):
        directory.put_away(found, DONE)
    assert (root / "a.csv").exists()


def test_a_directory_below_that_cannot_be_read_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a" / "a.csv")
    put(tmp_path / "b" / "b.csv")
    real = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    directory = Directory(tmp_path, "*/*.csv", 0)
    assert names(directory) == ["b/b.csv"]
    assert directory.problem == "a/: Permission denied"
