"""Restoring a backup: every file is compared with the list, then the whole is checked.

1. The files are copied beside the target, under ``<target>.restoring``, and each must have the size
   and checksum that the backup's list says.
2. The copy is checked as any data directory is.
3. It gets the target's name in one step. A restore that was cut short leaves only the copy, and the
   next one begins it anew.

The restored directory is the same node as it was then. A parent that heard more of it since will
notice, and say so, when it connects.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mainstem_engine.backup_files import (
    BackupFile,
    copy_file,
    directories_of,
    read_manifest,
    require_empty,
)
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem

RESTORING_SUFFIX = ".restoring"
PRIVATE_BITS = 0o077
"""A file without these rights for others in the backup has none in the copy either."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored. Rows of records up to ``durable_lsn`` are there."""

    path: Path
    files: int
    bytes: int
    node_uuid: str
    durable_lsn: int
    taken_at_ms: int


def restore(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    fs: Filesystem | None = None,
) -> RestoreReport:
    """Makes ``directory`` (missing or empty) what the backup ``source`` holds.

    Raises NotFoundError when ``source`` is not a backup, CorruptionError when it is not what was
    written, SchemaError when the target is not empty.
    """
    fs = fs or Filesystem()
    root, target = Path(source), Path(directory)
    manifest = read_manifest(fs, root)
    require_empty(fs, target)
    copy = target.with_name(target.name + RESTORING_SUFFIX)
    names = [file.name for file in manifest.files]
    _clear(fs, copy)
    for name in ["", *directories_of(names)]:
        fs.make_directory(copy / name)
    for file in manifest.files:
        _copy(fs, root, copy, file)
    for name in ["", *directories_of(names)]:
        fs.sync_directory(copy / name)
    # What a check needs is only in the memory of a process that checks.
    from mainstem_engine.check import check_directory

    report = check_directory(copy, fs=fs)
    if not report.whole:
        damage = report.damages[0]
        raise CorruptionError(root / damage.file, damage.offset, damage.problem)
    fs.rename(copy, target)
    fs.sync_directory(target.parent)
    return RestoreReport(
        target,
        len(names),
        sum(file.bytes for file in manifest.files),
        manifest.node_uuid,
        manifest.durable_lsn,
        manifest.taken_at_ms,
    )


def _copy(fs: Filesystem, root: Path, copy: Path, file: BackupFile) -> None:
    source = root / file.name
    try:
        private = not source.stat().st_mode & PRIVATE_BITS
        found = copy_file(fs, source, copy / file.name, mode=0o600 if private else 0o644)
    except FileNotFoundError:
        raise CorruptionError(source, 0, "the file is missing from the backup") from None
    if (found.bytes, found.crc32c) != (file.bytes, file.crc32c):
        raise CorruptionError(
            source, 0, f"not what was written: {found.bytes} bytes, {file.bytes} were"
        )


def _clear(fs: Filesystem, directory: Path) -> None:
    """Removes the files of a restore that was cut short."""
    if directory.is_dir():
        for path in directory.rglob("*"):
            if path.is_file():
                fs.unlink(path)
