"""The file of a catalog base: what was written comes back, and damage is found."""

from __future__ import annotations

from pathlib import Path

import marisa_trie
import numpy as np
import pytest

from mainstem_engine.catalog.base_file import (
    BaseFile,
    BaseName,
    base_files,
    check_base,
    remove_bases,
    write_base,
)
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

fs = Filesystem()
TRIE = marisa_trie.BinaryTrie([b"a", b"b"]).tobytes()
NUMBERS = np.arange(1000, dtype=np.uint32)


def write(directory: Path) -> BaseName:
    sections = [
        ("trie", TRIE),
        ("numbers", NUMBERS),
        ("same", np.full(1000, 7, np.uint16)),
        ("none", np.empty(0, np.uint8)),
    ]
    return write_base(fs, directory, {"devices": 3}, sections)


def test_sections_come_back(tmp_path: Path) -> None:
    name = write(tmp_path)
    assert name == BaseName.from_list(name.to_list())
    assert name.bytes == (tmp_path / name.name).stat().st_size
    check_base(fs, tmp_path, name)
    file = BaseFile.open(fs, tmp_path, name)
    assert file.fields == {"devices": 3}
    assert bytes(file.raw("trie")) == TRIE
    assert (file.array("numbers") == NUMBERS).all()
    same = file.array("same")
    assert (len(same), set(same.tolist())) == (1000, {7})
    assert same.dtype == np.uint16
    assert len(file.array("none")) == 0
    assert file.has("none")
    assert not file.has("others")
    with pytest.raises(CorruptionError, match="no section"):
        file.array("others")
    with pytest.raises(ValueError, match="read-only"):
        file.array("numbers")[0] = 1


def test_equal_values_take_no_room(tmp_path: Path) -> None:
    one = write_base(fs, tmp_path, {}, [("a", np.zeros(10, np.uint32))])
    many = write_base(fs, tmp_path, {}, [("a", np.zeros(10**6, np.uint32))])
    assert many.bytes - one.bytes < 64


def test_names_go_on_and_others_are_removed(tmp_path: Path) -> None:
    names = [write(tmp_path).name for _ in range(3)]
    assert names == ["000000000001.base", "000000000002.base", "000000000003.base"]
    (tmp_path / "other.base").touch()
    (tmp_path / "000000000004.base.tmp").touch()
    remove_bases(fs, tmp_path, names[1:2])
    assert base_files(fs, tmp_path) == names[1:2]
    assert sorted(p.name for p in tmp_path.iterdir()) == [names[1], "other.base"]
    remove_bases(fs, tmp_path / "missing", [])


def test_every_wrong_byte_is_found(tmp_path: Path) -> None:
    name = write(tmp_path)
    path = tmp_path / name.name
    good = path.read_bytes()
    harmless = 0
    for position in range(0, len(good), 5):
        path.write_bytes(good[:position] + bytes([good[position] ^ 8]) + good[position + 1 :])
        try:
            check_base(fs, tmp_path, name)
        except CorruptionError:
            continue
        harmless += 1
        file = BaseFile.open(fs, tmp_path, name)
        assert bytes(file.raw("trie")) == TRIE
        assert (file.array("numbers") == NUMBERS).all()
    assert harmless < 64  # the padding between sections, and the reserved bytes of the head


@pytest.mark.parametrize("end", [0, 10, 23, 24, 100, -1])
def test_a_file_that_is_cut(tmp_path: Path, end: int) -> None:
    name = write(tmp_path)
    path = tmp_path / name.name
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(CorruptionError, match="bytes"):
        BaseFile.open(fs, tmp_path, name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    name = write(tmp_path)
    path = tmp_path / name.name
    good = path.read_bytes()
    with pytest.raises(CorruptionError, match="missing"):
        BaseFile.open(fs, tmp_path, BaseName("000000000009.base", 1, 1))
    with pytest.raises(CorruptionError, match="checksum"):
        BaseFile.open(fs, tmp_path, BaseName(name.name, name.bytes, name.crc ^ 1))
    for wrong, message in ((b"X" + good[1:], "not a catalog"), (good[:8] + b"\3" + good[9:], "3")):
        path.write_bytes(wrong)
        with pytest.raises(CorruptionError, match=message):
            BaseFile.open(fs, tmp_path, name)


def test_a_damaged_trie_is_never_walked(tmp_path: Path) -> None:
    name = write(tmp_path)
    path = tmp_path / name.name
    data = bytearray(path.read_bytes())
    data[data.find(TRIE) + len(TRIE) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="'trie'"):
        BaseFile.open(fs, tmp_path, name)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    faulty = FaultyFilesystem(tmp_path)
    write_base(faulty, tmp_path / "catalog", {}, [])
    for kind in ("write", "sync", "rename"):
        faulty.fail(kind, path_part="catalog")
        with pytest.raises(OSError, match="injected"):
            write_base(faulty, tmp_path / "catalog", {}, [])
    assert base_files(faulty, tmp_path / "catalog") == ["000000000001.base"]
