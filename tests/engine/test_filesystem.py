"""Writing everything, replacing atomically, mapping, and a lock that no kill leaves behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine import filesystem
from mainstem_engine.errors import LockedError
from mainstem_engine.filesystem import (
    Buffer,
    Filesystem,
    SpareDescriptor,
    byte_view,
    has_blank_sector,
)
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.residence import resident_bytes

fs = Filesystem()


def test_write_many_and_odd_buffers(tmp_path: Path) -> None:
    pieces: list[Buffer] = [
        b"ab",
        bytearray(b"cd"),
        memoryview(b"ef"),
        np.arange(3, dtype=np.uint16),
        b"",
    ]
    pieces += [np.zeros((0, 3)), *[bytes([n % 256]) for n in range(3000)]]
    file = fs.create(tmp_path / "f")
    expected = b"".join(bytes(byte_view(piece)) for piece in pieces)
    assert file.write(pieces) == len(expected) == file.size()
    file.sync()
    file.close()
    file.close()
    assert fs.read(tmp_path / "f") == expected
    assert fs.size(tmp_path / "f") == len(expected)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no writev")
def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(fd: int, views: list[memoryview]) -> int:
        return os.write(fd, b"".join(views)[:3])

    monkeypatch.setattr(filesystem, "_writev", short)
    file = fs.create(tmp_path / "f")
    file.write([b"0123", b"456789"])
    file.close()
    assert fs.read(tmp_path / "f") == b"0123456789"


def test_large_groups_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_WRITE_BYTES_MAX", 10)
    file = fs.create(tmp_path / "f")
    data = bytes(range(57))
    assert file.write([data[:25], data[25:27], data[27:]]) == 57
    file.close()
    assert fs.read(tmp_path / "f") == data


def test_append_truncate_and_read_at(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fs.open_append(tmp_path / "f")
    fs.create(tmp_path / "f").close()
    with pytest.raises(FileExistsError):
        fs.create(tmp_path / "f")
    file = fs.open_append(tmp_path / "f")
    file.write([b"0123456789"])
    file.truncate(6)
    file.write([b"xy"])
    file.close()
    with fs.open_read(tmp_path / "f") as reader:
        assert reader.size() == 8
        assert reader.read_at(4, 100) == b"45xy"
        assert reader.read_at(2, 3) == b"234"
        assert reader.read_at(50, 3) == b""


def test_replace(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.with_name("f.tmp").write_bytes(b"left by a crash")
    assert fs.replace(path, [b"one"]) == 3
    assert fs.replace(path, [b"t", b"wo"], mode=0o600) == 3
    assert fs.list(tmp_path) == ["f"]
    assert path.read_bytes() == b"two"
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600


def test_failed_replacement_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "f"
    fs.replace(path, [b"one"])
    for kind in ("create", "write", "sync", "rename"):
        faulty = FaultyFilesystem(tmp_path)
        faulty.fail(kind, partial_bytes=1)
        with pytest.raises(OSError, match="injected"):
            faulty.replace(path, [b"two"])
        assert path.read_bytes() == b"one"
        if kind != "rename":
            assert fs.list(tmp_path) == ["f"]  # the space is given back at once


def test_directories(tmp_path: Path) -> None:
    assert fs.list(tmp_path / "none") == []
    fs.make_directory(tmp_path / "a" / "b")
    fs.make_directory(tmp_path / "a" / "b")
    (tmp_path / "a" / "x.tmp").touch()
    (tmp_path / "a" / "y").touch()
    assert fs.remove_temporary(tmp_path / "a") == 1
    assert fs.list(tmp_path / "a") == ["b", "y"]
    fs.unlink(tmp_path / "a" / "y")
    fs.unlink(tmp_path / "a" / "y")
    assert fs.list(tmp_path / "a") == ["b"]


def test_arrays_outlive_their_mapping_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(np.arange(1000).tobytes())
    mapped = fs.map(path)
    array = np.frombuffer(mapped.view, np.int64)
    fs.unlink(path)
    mapped.close()
    mapped.close()
    assert array.sum() == 499500


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what the process has")
def test_pages_that_were_let_go_of_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    numbers = np.arange(1 << 18)
    path.write_bytes(numbers.tobytes())
    mapped = fs.map(path)
    array = np.frombuffer(mapped.view, np.int64)
    assert array.sum() == numbers.sum()
    assert resident_bytes(path) == numbers.nbytes
    mapped.let_go()
    assert resident_bytes(path) == 0
    assert array.sum() == numbers.sum()
    assert resident_bytes(path) == numbers.nbytes
    del array
    mapped.close()
    mapped.let_go()


def test_an_empty_file_maps_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    mapped = fs.map(tmp_path / "f")
    assert mapped.view.nbytes == 0
    mapped.let_go()
    mapped.close()


@pytest.mark.parametrize(
    ("zeros", "blank"),
    [
        ((0, 0), False),
        ((512, 1024), True),
        ((600, 1030), False),
        ((110, 512), False),
        ((100, 512), True),  # the piece of the first sector that lies inside
        ((1024, 1100), True),  # the piece of the last one
    ],
)
def test_blank_sectors(zeros: tuple[int, int], blank: bool) -> None:
    data = bytearray(b"\x01" * 1100)
    data[slice(*zeros)] = bytes(zeros[1] - zeros[0])
    assert has_blank_sector(memoryview(bytes(data)), 100, len(data)) is blank


def test_lock_names_its_owner(tmp_path: Path) -> None:
    lock = fs.lock(tmp_path / "LOCK", url="http://127.0.0.1:1")
    assert json.loads((tmp_path / "LOCK").read_bytes())["pid"] == os.getpid()
    with pytest.raises(LockedError) as caught:
        fs.lock(tmp_path / "LOCK")
    assert (caught.value.pid, caught.value.url) == (os.getpid(), "http://127.0.0.1:1")
    lock.announce(None)
    with pytest.raises(LockedError) as caught:
        fs.lock(tmp_path / "LOCK")
    assert caught.value.url is None
    lock.close()
    lock.close()
    fs.lock(tmp_path / "LOCK").close()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x", "url": 5}', b"\xff\xfe"])
def test_lock_survives_any_content(tmp_path: Path, content: bytes) -> None:
    lock = fs.lock(tmp_path / "LOCK")
    (tmp_path / "LOCK").write_bytes(content)
    with pytest.raises(LockedError) as caught:
        fs.lock(tmp_path / "LOCK")
    assert (caught.value.pid, caught.value.url) == (None, None)
    lock.close()


@pytest.mark.crash
def test_a_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from mainstem_engine.filesystem import Filesystem\n"
        "lock = Filesystem().lock(pathlib.Path(sys.argv[1]), url='http://there')\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "LOCK")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline().strip() == b"locked"
        with pytest.raises(LockedError) as caught:
            fs.lock(tmp_path / "LOCK")
        assert (caught.value.pid, caught.value.url) == (owner.pid, "http://there")
        owner.kill()
    fs.lock(tmp_path / "LOCK").close()


def test_a_spare_descriptor_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    spare = SpareDescriptor()
    held = spare._fd
    os.fstat(held)
    with spare.lent(), pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)
    os.fstat(spare._fd)

    def used_up(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", used_up)
        with spare.lent():
            pass
    with spare.lent():  # nothing was kept back the last time; there is again
        pass
    os.fstat(spare._fd)
    spare.close()
    spare.close()


def test_a_lock_that_cannot_be_announced_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", full)
        with pytest.raises(OSError, match="full"):
            fs.lock(tmp_path / "LOCK")
    fs.lock(tmp_path / "LOCK").close()


def test_a_shared_lock_writes_nothing_and_keeps_owners_out(tmp_path: Path) -> None:
    path = tmp_path / "LOCK"
    assert fs.lock_shared(path) is None
    fs.lock(path, url="http://here").close()
    before = path.read_bytes()
    one, two = fs.lock_shared(path), fs.lock_shared(path)
    assert one is not None
    assert two is not None
    with pytest.raises(LockedError):
        fs.lock(path)
    one.close()
    two.close()
    assert path.read_bytes() == before
    owner = fs.lock(path, url="http://there")
    with pytest.raises(LockedError) as caught:
        fs.lock_shared(path)
    assert caught.value.url == "http://there"
    owner.close()


def test_a_link_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert fs.link(tmp_path / "a", tmp_path / "b")
    fs.unlink(tmp_path / "a")
    assert (tmp_path / "b").read_bytes() == b"content"
    (tmp_path / "a").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        fs.link(tmp_path / "a", tmp_path / "b")
