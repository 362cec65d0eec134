"""A checkpoint: what every part of the store knew at one LSN, as named sections of bytes.

1. The file is written whole under a temporary name, synced and renamed, so it is never half there.
2. Its name is the LSN; a second checkpoint at the same LSN gets a suffix, because the part list may
   still name the first one.
3. Which checkpoint counts is said by the part list alone.

Bytes: ``magic 8 | index length u32 | crc32c of the index u32 | index | sections``. The index is a
msgpack map ``{"version", "lsn", "sections": [[name, length, crc32c], ...]}``; sections follow in
that order without gaps.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import msgpack

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem

CHECKPOINT_SUFFIX = ".ckpt"
MAGIC = b"MSTMCKP\n"
VERSION = 1

_HEAD = struct.Struct("<8sII")


def write_checkpoint(
    fs: Filesystem, directory: Path, lsn: int, sections: Mapping[str, bytes]
) -> str:
    """Write ``sections`` durably; returns the file's name in ``directory`` (made if missing)."""
    fs.make_directory(directory)
    existing = set(fs.list(directory))
    name, number = f"{lsn:020d}{CHECKPOINT_SUFFIX}", 0
    while name in existing:
        number += 1
        name = f"{lsn:020d}-{number}{CHECKPOINT_SUFFIX}"
    listing = [[key, len(data), google_crc32c.value(data)] for key, data in sections.items()]
    index = msgpack.packb({"version": VERSION, "lsn": lsn, "sections": listing})
    head = _HEAD.pack(MAGIC, len(index), google_crc32c.value(index))
    fs.replace(directory / name, [head, index, *sections.values()])
    return name


@dataclass(frozen=True, slots=True)
class Section:
    """One section as it lies in the file. ``whole``: its length and checksum are right."""

    name: str
    offset: int
    data: bytes
    whole: bool


def read_checkpoint(fs: Filesystem, directory: Path, name: str) -> tuple[int, dict[str, bytes]]:
    """(LSN, sections) of a checkpoint. Raises CorruptionError, or FileNotFoundError."""
    lsn, sections = inspect_checkpoint(fs, directory, name)
    for section in sections:
        if not section.whole:
            raise CorruptionError(
                directory / name, section.offset, f"section {section.name!r} has a wrong checksum"
            )
    return lsn, {section.name: section.data for section in sections}


def inspect_checkpoint(
    fs: Filesystem, directory: Path, name: str
) -> tuple[int, tuple[Section, ...]]:
    """(LSN, sections) of a checkpoint, damaged sections too.

    Raises CorruptionError when its head or index is damaged, or FileNotFoundError.
    """
    path = directory / name
    data = fs.read(path)
    if len(data) < _HEAD.size:
        raise CorruptionError(path, 0, "the checkpoint is shorter than its header")
    magic, index_length, crc = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise CorruptionError(path, 0, "this is not a checkpoint")
    position = _HEAD.size + index_length
    index_bytes = data[_HEAD.size : position]
    if len(index_bytes) != index_length or google_crc32c.value(index_bytes) != crc:
        raise CorruptionError(path, _HEAD.size, "the checkpoint's index has a wrong checksum")
    index = msgpack.unpackb(index_bytes)
    if index["version"] != VERSION:
        raise CorruptionError(path, _HEAD.size, f"version {index['version']} is not known")
    sections: list[Section] = []
    for key, length, section_crc in index["sections"]:
        section = data[position : position + length]
        whole = len(section) == length and google_crc32c.value(section) == section_crc
        sections.append(Section(key, position, section, whole))
        position += length
    return int(index["lsn"]), tuple(sections)


def remove_checkpoints(fs: Filesystem, directory: Path, keep: Collection[str]) -> int:
    """Delete temporary files and every checkpoint not in ``keep``; returns how many files."""
    removed = fs.remove_temporary(directory)
    for name in fs.list(directory):
        if name.endswith(CHECKPOINT_SUFFIX) and name not in keep:
            fs.unlink(directory / name)
            removed += 1
    return removed
