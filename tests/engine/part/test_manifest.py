"""The part list: every change is whole, torn ends are cut, damage is never guessed away."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mainstem_engine.errors import CorruptionError, LogFailedError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.part import manifest
from mainstem_engine.part.manifest import PartList, PartMeta, remove_unlisted
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

fs = Filesystem()


def meta(name: str) -> PartMeta:
    return PartMeta(
        name, "table", -10, 5, 100, -7, 7, 1, 9, {0: (1, 5), 3: (2, 2**63)}, 3, 4, (7, 9), 8
    )


def test_changes_survive(tmp_path: Path) -> None:
    path = tmp_path / "data" / "part-list"
    parts = PartList.open(fs, path)
    assert (parts.parts, parts.checkpoint) == ({}, None)
    parts.commit(add=[meta("a"), meta("b")], checkpoint="one")
    before = parts.parts
    parts.commit(add=[meta("c")], remove=["a", "b"])
    assert list(before) == ["a", "b"]  # a snapshot is not changed
    parts.close()
    parts.close()
    again = PartList.open(fs, path)
    assert again.parts == {"c": meta("c")}
    assert again.checkpoint == "one"
    again.commit(checkpoint="two")
    again.close()
    assert PartList.open(fs, path).checkpoint == "two"


def test_metas_of_other_versions() -> None:
    packed = meta("a").pack()
    assert PartMeta.unpack([*packed, "of a later version"]) == meta("a")
    oldest = PartMeta.unpack(packed[:10])
    assert (oldest.vnode, oldest.vnodes, oldest.applied, oldest.erased_through) == (0, 1, (0, 0), 0)
    assert PartMeta.unpack(packed[:11]).vnode == 3


def test_unknown_removal_changes_nothing(tmp_path: Path) -> None:
    parts = PartList.open(fs, tmp_path / "l")
    with pytest.raises(KeyError):
        parts.commit(add=[meta("a")], remove=["b"])
    assert parts.parts == {}
    parts.commit(add=[meta("a")])
    parts.close()
    assert list(PartList.open(fs, tmp_path / "l").parts) == ["a"]


def test_use_after_close(tmp_path: Path) -> None:
    parts = PartList.open(fs, tmp_path / "l")
    parts.close()
    with pytest.raises(LogFailedError):
        parts.commit()


def filled(path: Path) -> list[int]:
    """A list with three records; returns the offset of each and the end."""
    parts = PartList.open(fs, path)
    offsets = [path.stat().st_size]
    for name in "abc":
        parts.commit(add=[meta(name)], checkpoint=name)
        offsets.append(path.stat().st_size)
    parts.close()
    return offsets


def test_torn_ends_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "l"
    offsets = filled(path)
    data = path.read_bytes()
    for cut in range(offsets[2], offsets[3]):
        path.write_bytes(data[:cut])
        parts = PartList.open(fs, path)
        assert list(parts.parts) == ["a", "b"]
        assert parts.checkpoint == "b"
        assert path.stat().st_size == offsets[2]
        parts.commit(add=[meta("d")])
        parts.close()
        assert list(PartList.open(fs, path).parts) == ["a", "b", "d"]
    path.write_bytes(data[: offsets[2]] + bytes(300))
    assert list(PartList.open(fs, path).parts) == ["a", "b"]


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "l"
    filled(path)
    data = path.read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x04
        path.write_bytes(flipped)
        with pytest.raises(CorruptionError) as caught:
            PartList.open(fs, path)
        assert caught.value.path == path
        assert caught.value.offset <= position


def test_records_that_do_not_fit_together(tmp_path: Path) -> None:
    path = tmp_path / "l"
    filled(path)
    with path.open("ab") as file:
        file.write(manifest._record([], ["never added"], None))
    with pytest.raises(CorruptionError, match="not understood"):
        PartList.open(fs, path)


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_a_failed_change_is_undone_by_the_next(tmp_path: Path, kind: str) -> None:
    faulty = FaultyFilesystem(tmp_path)
    parts = PartList.open(faulty, tmp_path / "l")
    parts.commit(add=[meta("a")])
    faulty.fail(kind, error=errno.ENOSPC, partial_bytes=9)
    with pytest.raises(OSError, match="injected"):
        parts.commit(add=[meta("b")])
    assert list(parts.parts) == ["a"]
    # Unknown if it is read now: there as a whole, or not at all.
    assert list(PartList.read(fs, tmp_path / "l").parts) in (["a"], ["a", "b"])
    faulty.fail("rename", error=errno.ENOSPC)
    with pytest.raises(OSError, match="injected"):
        parts.ready()
    parts.commit(add=[meta("c")])
    parts.close()
    assert list(PartList.open(fs, tmp_path / "l").parts) == ["a", "c"]


def test_a_closed_list_takes_nothing(tmp_path: Path) -> None:
    parts = PartList.open(fs, tmp_path / "l")
    parts.close()
    with pytest.raises(LogFailedError, match="closed"):
        parts.commit(add=[meta("a")])


def test_a_long_list_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "REWRITE_BYTES_MIN", 1000)
    path = tmp_path / "l"
    parts = PartList.open(fs, path)
    parts.commit(add=[meta("p0")], checkpoint="c")
    for number in range(30):
        parts.commit(add=[meta(f"p{number + 1}")], remove=[f"p{number}"])
    parts.close()
    size = path.stat().st_size
    again = PartList.open(fs, path)
    assert path.stat().st_size < size / manifest.REWRITE_FACTOR
    again.commit(add=[meta("q")])
    again.close()
    third = PartList.open(fs, path)
    assert (list(third.parts), third.checkpoint) == (["p30", "q"], "c")


def test_unlisted_files_are_removed(tmp_path: Path) -> None:
    for name in ("a.part", "b.part", "c.part.tmp", "notes"):
        (tmp_path / name).touch()
    assert remove_unlisted(fs, tmp_path, ["a"]) == 2
    assert fs.list(tmp_path) == ["a.part", "notes"]
    assert remove_unlisted(fs, tmp_path / "none", []) == 0
