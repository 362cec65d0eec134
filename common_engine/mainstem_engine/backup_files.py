"""Files of a backup: taken without waiting, copied, listed with sizes and checksums.

The list is ``backup.json``, written last: a directory without it is not a backup. It is a JSON
object with ``backup`` (format, node_uuid, checkpoint_lsn, durable_lsn, taken_at_ns, files: list of
[name, bytes, crc32c]) and ``crc32c``, that of the JSON text of ``backup``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import google_crc32c

from mainstem_engine.errors import CorruptionError, NotFoundError, SchemaError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.pace import PacedFile

BACKUP_NAME = "backup.json"
FORMAT = 1
COPY_BYTES = 4 << 20
"""A file is copied and checked in pieces of this size: large for a disk, small in memory."""
MANIFEST_BYTES_MAX = 256 << 20
"""Some two million files; more than any directory has, and a bound for what a reader takes in."""


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file: its name relative to the directory, with slashes, its size and crc32c."""

    name: str
    bytes: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup holds. Rows of records up to ``durable_lsn`` are in it, none above."""

    node_uuid: str
    checkpoint_lsn: int
    durable_lsn: int
    taken_at_ms: int
    files: tuple[BackupFile, ...]


def write_manifest(fs: Filesystem, directory: Path, manifest: BackupManifest) -> None:
    """Makes the directory a backup. Everything that it names must be durable."""
    content: dict[str, Any] = {"format": FORMAT, **asdict(manifest)}
    content["files"] = [[file.name, file.bytes, file.crc32c] for file in manifest.files]
    text = json.dumps(content)
    body = json.dumps({"backup": content, "crc32c": google_crc32c.value(text.encode())})
    fs.replace(directory / BACKUP_NAME, [body.encode()])


def read_manifest(fs: Filesystem, directory: Path) -> BackupManifest:
    """Raises NotFoundError when there is none, CorruptionError when it is not what was written."""
    path = directory / BACKUP_NAME
    if not path.is_file():
        raise NotFoundError(
            f"{directory} is not a backup", hint=f"it has no {BACKUP_NAME}; was it cut short?"
        )
    if fs.size(path) > MANIFEST_BYTES_MAX:
        raise CorruptionError(path, 0, "too large for a list of files")
    try:
        whole = json.loads(fs.read(path))
        content = whole["backup"]
        right = google_crc32c.value(json.dumps(content).encode()) == whole["crc32c"]
        files = tuple(
            BackupFile(str(name), int(size), int(crc)) for name, size, crc in content["files"]
        )
        manifest = BackupManifest(
            str(content["node_uuid"]),
            int(content["checkpoint_lsn"]),
            int(content["durable_lsn"]),
            int(content["taken_at_ms"]),
            files,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptionError(path, 0, f"the list is not understood ({error!r})") from error
    if not right:
        raise CorruptionError(path, 0, "the list has a wrong checksum")
    if content["format"] != FORMAT:
        raise CorruptionError(path, 0, f"format {content['format']} is not known")
    for file in manifest.files:
        require_inside(path, file.name)
    return manifest


def require_inside(path: Path, name: str) -> None:
    """Raises CorruptionError for a name that leads out of its directory."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise CorruptionError(path, 0, f"the list names {name!r}, which is no file of a backup")


def take(fs: Filesystem, source: Path, target: Path) -> bool:
    """Gives ``source`` a second name, or copies it where that cannot be. True when linked."""
    if fs.link(source, target):
        return True
    copy_file(fs, source, target)
    return False


def copy_file(fs: Filesystem, source: Path, target: Path, *, mode: int = 0o644) -> BackupFile:
    """Copies a file durably, but for its name. Memory: one piece."""
    fs.unlink(target)
    file = PacedFile(fs.create(target, mode=mode))
    try:
        with fs.open_read(source) as opened:
            offset, crc = 0, 0
            while data := opened.read_at(offset, COPY_BYTES):
                file.write(data)
                crc = google_crc32c.extend(crc, data)
                offset += len(data)
        file.sync()
    finally:
        file.close()
    return BackupFile(target.name, offset, crc)


def summed(fs: Filesystem, directory: Path, name: str) -> BackupFile:
    """Size and checksum of a file as it lies there."""
    with fs.open_read(directory / name) as opened:
        offset, crc = 0, 0
        while data := opened.read_at(offset, COPY_BYTES):
            crc = google_crc32c.extend(crc, data)
            offset += len(data)
    return BackupFile(name, offset, crc)


def require_empty(fs: Filesystem, directory: Path) -> None:
    """Raises SchemaError unless the directory is missing or empty."""
    if directory.exists() and not directory.is_dir():
        raise SchemaError(f"{directory} is not a directory", hint="name a new one")
    if fs.list(directory):
        raise SchemaError(f"{directory} is not empty", hint="name a new directory")


def directories_of(names: Sequence[str]) -> list[str]:
    """The directories that these files need, parents first; "" is the root."""
    found = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    return sorted("" if name == "." else name for name in found)
