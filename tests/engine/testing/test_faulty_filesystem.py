"""The faulty file system fails where it is told to, and its crash states are the right ones."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mainstem_engine.testing.crash_states import crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem


@pytest.fixture
def fs(tmp_path: Path) -> FaultyFilesystem:
    return FaultyFilesystem(tmp_path / "root")


def disks(fs: FaultyFilesystem, operations: int | None = None) -> list[dict[str, bytes]]:
    """Every disk that a crash may leave (after so many operations)."""
    journal = fs.journal if operations is None else fs.journal[:operations]
    return [state.disk for state in crash_states(journal, {}) if state.operations == len(journal)]


def test_the_nth_operation_of_a_kind_fails_once(fs: FaultyFilesystem) -> None:
    fs.fail("write", skip=1, error=errno.ENOSPC, partial_bytes=2)
    file = fs.create(fs.root / "f")
    file.write([b"one"])
    assert fs.pending_faults == 1
    with pytest.raises(OSError, match="injected") as caught:
        file.write([b"two"])
    assert caught.value.errno == errno.ENOSPC
    assert fs.pending_faults == 0
    file.write([b"three"])
    assert file.size() == 10
    file.close()
    assert fs.read(fs.root / "f") == b"onetwthree"
    assert [op.data for op in fs.journal if op.kind == "write"] == [b"one", b"tw", b"three"]


def test_faults_by_path_and_healing(fs: FaultyFilesystem) -> None:
    fs.fail(path_part="bad", times=100)
    fs.create(fs.root / "good").close()
    for _ in range(3):
        with pytest.raises(OSError, match="injected"):
            fs.create(fs.root / "bad")
    fs.heal()
    fs.create(fs.root / "bad").close()


def test_nothing_is_durable_without_a_sync(fs: FaultyFilesystem) -> None:
    file = fs.create(fs.root / "f")
    file.write([b"abcdef"])
    assert {} in disks(fs)
    assert {"f": b""} in disks(fs)
    assert {"f": b"abcdef"} in disks(fs)
    assert {"f": b"abc"} in disks(fs)
    assert {"f": bytes(6)} in disks(fs)
    file.sync()
    fs.sync_directory(fs.root)
    assert all(disk == {"f": b"abcdef"} for disk in disks(fs))
    file.truncate(2)
    file.close()
    names = [state.disk for state in crash_states(fs.journal, {})]
    assert {"f": b"ab"} in names
    assert {"f": b"abcdef"} in names


def names_of(fs: FaultyFilesystem) -> set[str]:
    return {"".join(sorted(state.disk)) for state in crash_states(fs.journal, {})}


def test_names_become_durable_in_any_order_until_their_directory_is_synced(
    fs: FaultyFilesystem,
) -> None:
    for name in "abc":
        fs.create(fs.root / name).close()
    assert names_of(fs) == {"", "a", "b", "c", "ab", "ac", "bc", "abc"}
    fs.sync_directory(fs.root)
    fs.unlink(fs.root / "b")
    fs.unlink(fs.root / "b")
    assert {"".join(sorted(disk)) for disk in disks(fs)} == {"abc", "ac"}


def test_a_rename_is_there_or_not(fs: FaultyFilesystem) -> None:
    fs.create(fs.root / "a").close()
    fs.create(fs.root / "b").close()
    fs.sync_directory(fs.root)
    fs.rename(fs.root / "a", fs.root / "b")
    assert {"".join(sorted(disk)) for disk in disks(fs)} == {"ab", "b"}


def test_changes_in_two_directories_know_nothing_of_each_other(fs: FaultyFilesystem) -> None:
    for name in "xy":
        fs.make_directory(fs.root / name)
        fs.create(fs.root / name / "f").close()
    fs.sync_directory(fs.root / "y")
    names = {frozenset(disk) for disk in disks(fs)}
    assert names == {frozenset({"x/", "y/", "y/f"}), frozenset({"x/", "x/f", "y/", "y/f"})}


def test_a_directory_that_was_not_synced_is_gone_with_all_that_is_in_it(
    fs: FaultyFilesystem,
) -> None:
    fs.make_directory(fs.root / "d")
    assert [op.kind for op in fs.journal] == ["mkdir", "sync_directory"]
    file = fs.create(fs.root / "d" / "f")
    file.write([b"abc"])
    file.sync()
    file.close()
    fs.sync_directory(fs.root / "d")
    del fs.journal[1]  # the sync of the directory's own name
    assert {"d/": b"", "d/f": b"abc"} in disks(fs)
    assert {} in disks(fs)


def test_a_directory_gets_its_new_name_with_all_that_is_in_it_or_not(fs: FaultyFilesystem) -> None:
    fs.make_directory(fs.root / "a")
    file = fs.create(fs.root / "a" / "f")
    file.write([b"abc"])
    file.sync()
    file.close()
    fs.sync_directory(fs.root / "a")
    fs.rename(fs.root / "a", fs.root / "b")
    assert disks(fs) == [{"a/": b"", "a/f": b"abc"}, {"b/": b"", "b/f": b"abc"}]


def test_writes_that_were_not_synced_survive_in_part(fs: FaultyFilesystem) -> None:
    file = fs.create(fs.root / "f")
    fs.sync_directory(fs.root)
    for letter in (b"a", b"b", b"c"):
        file.write([letter * 700])
    file.close()
    found = {disk["f"] for disk in disks(fs)}
    whole = b"a" * 700 + b"b" * 700 + b"c" * 700
    for written in (0, 512, 700, 1024, 1400, 1536, 2048, 2100):
        assert whole[:written] in found
    assert bytes(700) + whole[700:] in found  # a later write came first
    assert whole[:700] + bytes(324) + whole[1024:] in found
    assert b"" in found  # the name alone


def test_a_sync_covers_what_was_written_when_it_began(fs: FaultyFilesystem) -> None:
    file = fs.create(fs.root / "f")
    fs.sync_directory(fs.root)
    file.write([b"before"])
    fs.during_sync = lambda path: file.write([b"meanwhile"])
    file.sync()
    found = {disk["f"] for disk in disks(fs)}
    assert b"before" in found
    assert b"beforemeanwhile" in found
    assert all(content.startswith(b"before") for content in found)
    fs.during_sync = lambda path: None
    file.sync()
    file.close()
    assert disks(fs) == [{"f": b"beforemeanwhile"}]


def test_the_content_of_one_file_says_nothing_of_another(fs: FaultyFilesystem) -> None:
    for name in "ab":
        file = fs.create(fs.root / name)
        file.write([name.encode()])
        file.close()
    fs.sync_directory(fs.root)
    found = [(disk["a"], disk["b"]) for disk in disks(fs)]
    assert (b"", b"b") in found
    assert (b"a", b"") in found


def test_start_is_durable(fs: FaultyFilesystem) -> None:
    fs.create(fs.root / "new").close()
    assert all(state.disk["old"] == b"x" for state in crash_states(fs.journal, {"old": b"x"}))


def test_a_lost_sector_before_a_kept_one(fs: FaultyFilesystem) -> None:
    file = fs.create(fs.root / "f")
    fs.sync_directory(fs.root)
    file.write([b"x" * 1500])
    file.close()
    assert {"f": bytes(512) + b"x" * 988} in disks(fs)
    assert {"f": b"x" * 512 + bytes(988)} in disks(fs)


def test_what_a_failed_sync_lost_no_later_sync_brings_back(fs: FaultyFilesystem) -> None:
    file = fs.create(fs.root / "f")
    fs.sync_directory(fs.root)
    file.write([b"lost"])
    fs.fail("sync")
    with pytest.raises(OSError, match="injected"):
        file.sync()
    file.write([b"kept"])
    file.sync()
    file.close()
    assert fs.read(fs.root / "f") == b"lostkept"  # as the running process sees it
    assert all(disk == {"f": b"\0\0\0\0kept"} for disk in disks(fs))


def test_states_can_be_written(fs: FaultyFilesystem, tmp_path: Path) -> None:
    fs.make_directory(fs.root / "d")
    fs.replace(fs.root / "d" / "f", [b"content"])
    last = list(crash_states(fs.journal, {}))[-1]
    last.write(tmp_path / "copy")
    assert (tmp_path / "copy" / "d" / "f").read_bytes() == b"content"
