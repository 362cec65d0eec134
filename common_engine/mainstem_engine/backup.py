"""Backups: everything that a directory held at one instant, while its engine goes on.

1. *Stand still*, for as long as listing and linking take: the maintenance lock keeps flush,
   compaction and retention away, a hold keeps the log, and the log begins a new segment, so that
   every segment before it is complete, synced and never written to again.
2. *Stage*: parts, checkpoint, catalog files and those segments get a second name under
   ``DATA/snapshot``. What is removed from now on only loses its first one.
3. *Write*, while everything goes on: from there each file is linked into the destination, or copied
   where that is on another file system. The part list is written anew with just these parts.
4. *Verify*: everything is read, for the list of sizes and checksums and by a check. The list is
   written last and makes the directory a backup.

Rows of every record that was durable when the backup was asked for are in it; rows of records
above the LSN that it names are not. A backup that was linked shares its bytes with the directory:
it keeps what a mistake deletes; against a broken disk it must be copied elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainstem_engine.backup_files import (
    BackupManifest,
    copy_file,
    directories_of,
    require_empty,
    summed,
    take,
    write_manifest,
)
from mainstem_engine.backup_stage import STAGE_NAME, unlink_below
from mainstem_engine.check import LOCK_NAME, CheckReport, check_directory, require_data_directory
from mainstem_engine.check_log import LOG_DIRECTORY, log_firsts
from mainstem_engine.checkpoint import inspect_checkpoint
from mainstem_engine.errors import CorruptionError, SchemaError
from mainstem_engine.filesystem import TEMPORARY_SUFFIX, Filesystem
from mainstem_engine.housekeeping import Housekeeping
from mainstem_engine.identity import IDENTITY_NAME, read_identity
from mainstem_engine.inventory import (
    CHECKPOINT_DIRECTORY,
    PART_LIST_NAME,
    part_directory,
)
from mainstem_engine.log.layout import SEGMENT_HEADER_BYTES, segment_name
from mainstem_engine.part.layout import PART_SUFFIX
from mainstem_engine.part.manifest import PartList, PartMeta
from mainstem_engine.store import Store

logger = logging.getLogger(__name__)

CATALOG_DIRECTORY = "catalog"
PRIVATE_MODE = 0o600
"""Of files of higher layers, which may hold credentials."""
_HOLD = "backup"


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup wrote. ``linked`` of its ``files`` share their bytes with the directory.

    ``still_ns``: how long flush and compaction had to wait.
    """

    path: Path
    files: int
    bytes: int
    linked: int
    parts: int
    checkpoint_lsn: int
    durable_lsn: int
    still_ns: int


@dataclass(slots=True)
class _Content:
    """What a directory holds at one instant, with the names that the files have there.

    ``end``: name and header of the log's next segment, which says that those before it are whole.
    None, as ``durable_lsn``, of a directory without an engine: its last segment says it.
    """

    metas: list[PartMeta]
    checkpoint: str | None
    facts: dict[str, Any]
    segments: list[str]
    catalog: list[str]
    checkpoint_lsn: int
    durable_lsn: int | None
    end: tuple[str, bytes] | None

    def files(self, root: Path) -> list[str]:
        """Everything that is linked or copied as it is."""
        parts = [
            (part_directory(root, meta) / f"{meta.name}{PART_SUFFIX}").relative_to(root).as_posix()
            for meta in self.metas
        ]
        checkpoints = [] if self.checkpoint is None else [self.checkpoint]
        return [
            *parts,
            *(f"{CHECKPOINT_DIRECTORY}/{name}" for name in checkpoints),
            *(f"{CATALOG_DIRECTORY}/{name}" for name in self.catalog),
            *(f"{LOG_DIRECTORY}/{name}" for name in self.segments),
        ]


def backup_store(
    store: Store, housekeeping: Housekeeping, destination: Path, also: Sequence[str] = ()
) -> BackupReport:
    """A backup of an open store into an empty or missing directory; see the module.

    ``also``: further files or directories of the data directory to copy, by name; missing ones are
    skipped. Raises SchemaError, OSError, LogFailedError; CorruptionError when something that was
    read is damaged.
    """
    fs, root = store.fs, store.path
    _require_elsewhere(fs, root, destination)
    stage = root / STAGE_NAME
    with _staged(store, stage), _log_held(store):
        with housekeeping.standing_still():
            started = time.perf_counter_ns()
            content = _content_of(store)
            names = content.files(root)
            _link_all(fs, root, stage, names)
            still_ns = time.perf_counter_ns() - started
        return _write(fs, root, stage, destination, content, names, also, still_ns)


def backup_directory(
    path: Path, destination: Path, also: Sequence[str] = (), *, fs: Filesystem | None = None
) -> BackupReport:
    """A backup of a directory that no process owns. Raises as ``backup_store``, NotFoundError and
    LockedError."""
    fs = fs or Filesystem()
    require_data_directory(path)
    _require_elsewhere(fs, path, destination)
    lock = fs.lock_shared(path / LOCK_NAME)
    try:
        content = _content_at(fs, path)
        return _write(fs, path, path, destination, content, content.files(path), also, 0)
    finally:
        if lock is not None:
            lock.close()


def _require_elsewhere(fs: Filesystem, root: Path, destination: Path) -> None:
    require_empty(fs, destination)
    if destination.resolve().is_relative_to(root.resolve()):
        raise SchemaError(
            f"{destination} lies in the data directory itself", hint="name a directory outside it"
        )


@contextmanager
def _log_held(store: Store) -> Iterator[None]:
    """No segment is released."""
    name = f"{_HOLD}:{time.monotonic_ns()}"
    store.holds.add(name, lambda: 0, firm=True)
    try:
        yield
    finally:
        store.holds.remove(name)


@contextmanager
def _staged(store: Store, stage: Path) -> Iterator[None]:
    """One backup at a time has the staging names. Raises SchemaError while there is another."""
    if not store.backup_lock.acquire(blocking=False):
        raise SchemaError(f"a backup of {store.path} is under way", hint="wait until it has ended")
    try:
        unlink_below(store.fs, stage)  # of one that could not remove them
        try:
            yield
        finally:
            _let_go(store.fs, stage)
    finally:
        store.backup_lock.release()


def _let_go(fs: Filesystem, stage: Path) -> None:
    """A backup that is whole does not fail because of its second names."""
    try:
        unlink_below(fs, stage)
    except OSError as error:
        logger.warning("%s could not be emptied; the next backup or start will: %s", stage, error)


def _content_of(store: Store) -> _Content:
    """An open store at this instant. The maintenance lock is held."""
    store.check_open()
    store.barrier()
    store.log.rotate()
    fs, root = store.fs, store.path
    # Every segment but the newest is complete; records that come meanwhile go into that one.
    *complete, newest = log_firsts(fs, root / LOG_DIRECTORY)
    with fs.open_read(root / LOG_DIRECTORY / segment_name(newest)) as file:
        header = file.read_at(0, SEGMENT_HEADER_BYTES)
    inventory = store.inventory
    return _Content(
        [part.meta for part in inventory.all()],
        inventory.checkpoint,
        dict(inventory.facts),
        [segment_name(first) for first in complete],
        _whole_files(fs, root / CATALOG_DIRECTORY),
        store.checkpoint_lsn,
        newest - 1,
        (segment_name(newest), header),
    )


def _content_at(fs: Filesystem, root: Path) -> _Content:
    """A directory without an engine, as it lies there."""
    part_list = PartList.read(fs, root / PART_LIST_NAME)
    lsn = 0
    if part_list.checkpoint is not None:
        directory = root / CHECKPOINT_DIRECTORY
        lsn = inspect_checkpoint(fs, directory, part_list.checkpoint)[0]
    return _Content(
        list(part_list.parts.values()),
        part_list.checkpoint,
        dict(part_list.facts),
        [segment_name(first) for first in log_firsts(fs, root / LOG_DIRECTORY)],
        _whole_files(fs, root / CATALOG_DIRECTORY),
        lsn,
        None,
        None,
    )


def _whole_files(fs: Filesystem, directory: Path) -> list[str]:
    return [
        name
        for name in fs.list(directory)
        if not name.endswith(TEMPORARY_SUFFIX) and (directory / name).is_file()
    ]


def _link_all(fs: Filesystem, root: Path, stage: Path, names: Sequence[str]) -> None:
    for directory in directories_of(names):
        fs.make_directory(stage / directory)
    for name in names:
        take(fs, root / name, stage / name)


def _write(
    fs: Filesystem,
    root: Path,
    source: Path,
    destination: Path,
    content: _Content,
    names: Sequence[str],
    also: Sequence[str],
    still_ns: int,
) -> BackupReport:
    """Step 3 and 4. ``source`` has the files of ``names`` for as long as this takes."""
    taken_at_ms = time.time_ns() // 1_000_000
    extra = _existing(fs, root, also)
    for directory in ["", *directories_of([*names, *extra])]:
        fs.make_directory(destination / directory)
    # The last segment of a closed directory may still be cut by the start that comes next.
    last = f"{LOG_DIRECTORY}/{content.segments[-1]}" if content.segments else ""
    written = [IDENTITY_NAME, PART_LIST_NAME]
    if content.end is not None:
        written.append(f"{LOG_DIRECTORY}/{content.end[0]}")
        fs.make_directory(destination / LOG_DIRECTORY)
        fs.replace(destination / LOG_DIRECTORY / content.end[0], [content.end[1]])
        last = ""
    linked = 0
    for name in names:
        if name == last:
            copy_file(fs, source / name, destination / name)
        else:
            linked += take(fs, source / name, destination / name)
    copy_file(fs, root / IDENTITY_NAME, destination / IDENTITY_NAME)
    for name in extra:
        copy_file(fs, root / name, destination / name, mode=PRIVATE_MODE)
    part_list = PartList.open(fs, destination / PART_LIST_NAME)
    part_list.commit(add=content.metas, checkpoint=content.checkpoint, facts=content.facts)
    part_list.close()
    for directory in ["", *directories_of([*names, *extra])]:
        fs.sync_directory(destination / directory)
    report = _verified(fs, destination)
    files = tuple(summed(fs, destination, name) for name in sorted([*names, *extra, *written]))
    lsn = content.durable_lsn
    durable_lsn = report.log.last_lsn if lsn is None else lsn
    uuid = read_identity(fs, destination) or ""
    write_manifest(
        fs,
        destination,
        BackupManifest(uuid, content.checkpoint_lsn, durable_lsn, taken_at_ms, files),
    )
    size = sum(file.bytes for file in files)
    return BackupReport(
        destination, len(files), size, linked, len(content.metas), content.checkpoint_lsn,
        durable_lsn, still_ns,
    )  # fmt: skip


def _existing(fs: Filesystem, root: Path, also: Sequence[str]) -> list[str]:
    """Files among ``also``, and those of directories among them."""
    found: list[str] = []
    for name in also:
        path = root / name
        if path.is_file():
            found.append(name)
        elif path.is_dir():
            found += [f"{name}/{each}" for each in _whole_files(fs, path)]
    return found


def _verified(fs: Filesystem, directory: Path) -> CheckReport:
    """Reads the backup. Raises CorruptionError when something in it is damaged."""
    report = check_directory(directory, fs=fs)
    if not report.whole:
        damage = report.damages[0]
        more = len(report.damages) - 1
        raise CorruptionError(
            directory / damage.file,
            damage.offset,
            f"{damage.problem}{f', and {more} damages more' if more else ''}; what is damaged in"
            " the directory is damaged in its backup: repair it first",
        )
    return report
