"""A backup holds what was durable when it was asked for; a restore believes nothing unread."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import (
    CorruptionError,
    Engine,
    EngineOptions,
    LockedError,
    NotFoundError,
    SchemaError,
    Template,
)
from mainstem_engine.backup import backup_directory
from mainstem_engine.backup_files import BACKUP_NAME, read_manifest, write_manifest
from mainstem_engine.backup_stage import STAGE_NAME
from mainstem_engine.check import check_directory
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.restore import restore

fs = Filesystem()


@pytest.fixture
def engine(open_engine: Any, meters: Template) -> Engine:
    """Two parts, and rows in the log only."""
    opened: Engine = open_engine()
    opened.create_template(meters)
    for start in (0, 10):
        write(opened, start, 10)
        opened.flush()
    write(opened, 20, 5)
    return opened


def write(engine: Engine, start: int, count: int) -> None:
    times = list(range(start, start + count))
    engine.write("meters", "root.a.d1", times, {"voltage": times}).wait()


def times_of(path: Path) -> list[int]:
    """What an engine finds in a directory; every value is that of its time."""
    with Engine.open(path, EngineOptions(background=False, durability="os")) as engine:
        table = engine.scan("meters").read_all()
    assert table["voltage"].to_pylist() == table["time"].cast("int64").to_pylist()
    found: list[int] = table["voltage"].to_pylist()
    return found


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_backup_and_its_restoration(engine: Engine, tmp_path: Path) -> None:
    report = engine.backup(tmp_path / "backup")
    assert report.parts == 2
    assert report.durable_lsn == engine.durable_lsn
    assert report.linked > 0
    assert check_directory(tmp_path / "backup").whole
    kept = contents(tmp_path / "backup")
    # What happens to the directory afterwards does not matter.
    write(engine, 25, 5)
    engine.flush()
    engine.compact()
    engine.close()
    restored = restore(tmp_path / "backup", tmp_path / "restored")
    assert (restored.durable_lsn, restored.node_uuid) == (report.durable_lsn, engine.node_uuid)
    assert times_of(tmp_path / "restored") == list(range(25))
    assert contents(tmp_path / "backup") == kept
    assert not list((engine.path / STAGE_NAME).rglob("*.part"))


def test_a_backup_without_anything_in_the_log(engine: Engine, tmp_path: Path) -> None:
    engine.flush()
    engine._store.release_log()
    engine.backup(tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert times_of(tmp_path / "restored") == list(range(25))


def test_a_backup_of_a_new_engine(open_engine: Any, tmp_path: Path) -> None:
    engine: Engine = open_engine()
    engine.backup(tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    Engine.open(tmp_path / "restored").close()


def test_a_backup_on_another_file_system_is_copied(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Filesystem, "link", lambda *_: False)
    report = engine.backup(tmp_path / "backup")
    assert report.linked == 0
    restore(tmp_path / "backup", tmp_path / "restored")
    assert times_of(tmp_path / "restored") == list(range(25))


@pytest.mark.parametrize("mode", ["always", "os"])
def test_backups_while_everything_goes_on(
    open_engine: Any, meters: Template, tmp_path: Path, mode: str
) -> None:
    engine: Engine = open_engine(
        durability=mode, background=True, flush_bytes=1 << 14, log_segment_bytes=1 << 13
    )
    engine.create_template(meters)
    acknowledged = [0]
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            write(engine, acknowledged[0], 20)
            acknowledged[0] += 20

    def maintain() -> None:
        while not stop.is_set():
            engine.flush()
            engine.compact()

    threads = [threading.Thread(target=work), threading.Thread(target=maintain)]
    for thread in threads:
        thread.start()
    before = []
    try:
        for number in range(5):
            while acknowledged[0] < 200 * (number + 1):
                threading.Event().wait(0.001)
            before.append(acknowledged[0])
            engine.backup(tmp_path / f"backup{number}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for number, least in enumerate(before):
        restore(tmp_path / f"backup{number}", tmp_path / f"restored{number}")
        found = times_of(tmp_path / f"restored{number}")
        assert found == list(range(len(found)))
        assert len(found) >= least


def test_further_files_keep_to_their_owner(engine: Engine, tmp_path: Path) -> None:
    (engine.path / "tokens.json").write_text("{}")
    (engine.path / "quarantine").mkdir()
    (engine.path / "quarantine" / "1.q").write_bytes(b"q")
    engine.backup(tmp_path / "backup", also=("tokens.json", "quarantine", "missing"))
    restore(tmp_path / "backup", tmp_path / "restored")
    assert (tmp_path / "restored" / "quarantine" / "1.q").read_bytes() == b"q"
    assert (tmp_path / "restored" / "tokens.json").stat().st_mode & 0o077 == 0


def test_where_a_backup_may_not_go(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    for destination in (tmp_path / "full", engine.path / "inside", tmp_path / "full" / "x"):
        with pytest.raises(SchemaError):
            engine.backup(destination)


def test_a_failed_backup_leaves_nothing_behind(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("mainstem_engine.backup.copy_file", fail)
        with pytest.raises(OSError, match="no space"):
            engine.backup(tmp_path / "backup")
    with pytest.raises(NotFoundError, match=r"backup\.json"):
        restore(tmp_path / "backup", tmp_path / "restored")
    assert not [p for p in (engine.path / STAGE_NAME).rglob("*") if p.is_file()]
    assert [name for name in engine._store.holds.names if name.startswith("backup")] == []
    engine.backup(tmp_path / "again")


def test_what_a_crash_left_of_a_backup_goes_at_the_next_start(
    engine: Engine, tmp_path: Path
) -> None:
    left = left_over(engine)
    engine.close()
    with Engine.open(engine.path) as again:
        assert not left.exists()
        again.backup(tmp_path / "backup")


def test_what_a_failing_disk_left_of_a_backup_is_in_nobodys_way(
    engine: Engine, tmp_path: Path
) -> None:
    left = left_over(engine)
    engine.backup(tmp_path / "backup")
    assert not left.exists()
    assert times_of(tmp_path / "backup") == list(range(25))


def left_over(engine: Engine) -> Path:
    (engine.path / STAGE_NAME / "parts").mkdir(parents=True)
    left = engine.path / STAGE_NAME / "parts" / "x.part"
    left.write_bytes(b"x")
    return left


def test_one_backup_at_a_time(engine: Engine, tmp_path: Path) -> None:
    with engine._store.backup_lock, pytest.raises(SchemaError, match="under way"):
        engine.backup(tmp_path / "backup")
    engine.backup(tmp_path / "backup")


def test_a_damaged_directory_has_no_good_backup(engine: Engine, tmp_path: Path) -> None:
    path = sorted(engine.path.glob("parts/*.part"))[0]
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CorruptionError, match="repair it first"):
        engine.backup(tmp_path / "backup")


def test_a_backup_of_a_closed_directory(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(LockedError):
        backup_directory(engine.path, tmp_path / "backup")
    engine.abandon()
    report = backup_directory(engine.path, tmp_path / "backup")
    assert report.durable_lsn == check_directory(engine.path).log.last_lsn
    kept = contents(tmp_path / "backup")
    assert times_of(engine.path) == list(range(25))
    assert contents(tmp_path / "backup") == kept
    restore(tmp_path / "backup", tmp_path / "restored")
    assert times_of(tmp_path / "restored") == list(range(25))


@pytest.mark.parametrize("spoil", ["bit", "cut", "gone", "list", "foreign"])
def test_a_damaged_backup_is_refused(engine: Engine, tmp_path: Path, spoil: str) -> None:
    backup = tmp_path / "backup"
    engine.backup(backup)
    path = sorted(backup.glob("parts/*.part"))[0]
    content = bytearray(path.read_bytes())
    path.unlink()  # the directory has another name for the same bytes
    if spoil == "bit":
        content[100] ^= 1
        path.write_bytes(content)
    elif spoil == "cut":
        path.write_bytes(content[:-1])
    elif spoil == "list":
        path.write_bytes(content)
        text = (backup / BACKUP_NAME).read_text()
        (backup / BACKUP_NAME).write_text(text.replace('"durable_lsn": ', '"durable_lsn": 1'))
    elif spoil == "foreign":
        path.write_bytes(content)
        whole = json.loads((backup / BACKUP_NAME).read_text())["backup"]
        manifest = read_manifest(fs, backup)
        assert len(whole["files"]) == len(manifest.files)
        outside = tuple(
            type(file)("../outside", file.bytes, file.crc32c) for file in manifest.files[:1]
        )
        write_manifest(fs, backup, type(manifest)(manifest.node_uuid, 0, 0, 0, outside))
    with pytest.raises(CorruptionError):
        restore(backup, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_restore_that_was_cut_short_begins_anew(engine: Engine, tmp_path: Path) -> None:
    engine.backup(tmp_path / "backup")
    (tmp_path / "restored.restoring" / "parts").mkdir(parents=True)
    (tmp_path / "restored.restoring" / "parts" / "000000000001.part").write_bytes(b"half")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert times_of(tmp_path / "restored") == list(range(25))
    with pytest.raises(SchemaError, match="not empty"):
        restore(tmp_path / "backup", tmp_path / "restored")
