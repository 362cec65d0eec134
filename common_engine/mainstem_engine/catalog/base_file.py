"""The file of a catalog base: named arrays and bytes, mapped, each under its own checksum.

1. A file is written whole under a temporary name, synced and renamed. It counts when a checkpoint
   that the part list names refers to it, by name, length and the crc32c of its index; the index
   has the checksum of everything else.
2. Opening reads everything once, about 20 bytes a device, against the checksums: a wrong number
   would give a device another's tags, and everyone would believe it. Then it is mapped.
3. A file that the checkpoint does not name is what a crash left; ``remove_bases`` deletes it.

Bytes: ``magic 8 | version u32 | index length u32 | crc32c of the index u32 | zeros u32 | index |
sections``. The index is a msgpack map ``{"fields": map, "sections": [[name, dtype, count, offset,
length, crc32c], ...]}``. The sections start at the next multiple of 64 behind the index; offsets
count from there, in multiples of 64. An array whose values are all equal is stored as one value,
with its true count.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import msgpack
import numpy as np

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer, Filesystem, MappedFile, byte_view
from mainstem_engine.model import AnyArray

CATALOG_DIRECTORY = "catalog"
BASE_SUFFIX = ".base"
MAGIC = b"MSTMCAT\n"
VERSION = 2
VERSIONS = (1, VERSION)
"""Those that can be read. Version 1 has its tag values in tries, and shards of one size."""
RAW = ""
"""The dtype of a section that is bytes: a trie, or a shard of values."""

HEAD = struct.Struct("<8sIIII")
_ALIGNMENT = 64
"""A cache line; enough for any dtype."""
_READ_BYTES = 1 << 16
"""Bytes that a check reads at a time. Read, not mapped: a check leaves no pages in memory. So many
stay in the processor's cache, which makes a check half as long as with a megabyte."""
INDEX_BYTES_MAX = 1 << 28
"""Families, tags and the first keys of shards; a longer index is damage."""


@dataclass(frozen=True, slots=True)
class BaseName:
    """What a checkpoint says of its base: the file, its length, the crc32c of its index, and how
    many devices it has (0: written before that was said), for a repair that cannot ask the file."""

    name: str
    bytes: int
    crc: int
    devices: int = 0

    def to_list(self) -> list[Any]:
        return [self.name, self.bytes, self.crc, self.devices]

    @classmethod
    def from_list(cls, data: Sequence[Any]) -> BaseName:
        name, size, crc, devices = (*data, 0)[:4]
        return cls(str(name), int(size), int(crc), int(devices))


@dataclass(frozen=True, slots=True)
class StoredSection:
    """Where a section is. ``offset``: from the beginning of the file."""

    dtype: str
    count: int
    offset: int
    length: int
    crc: int


SectionData = bytes | memoryview | AnyArray | Sequence[AnyArray]
"""Bytes, an array, or the pieces of an array, which are written one behind the other."""


def write_base(
    fs: Filesystem,
    directory: Path,
    fields: Mapping[str, Any],
    sections: Sequence[tuple[str, SectionData]],
) -> BaseName:
    """Writes a new base durably; ``directory`` is made if it is missing. Nothing of the sections is
    copied as a whole. Raises OSError."""
    # The index states offsets, and its own length moves them: they are given relative first.
    listing, position, content = [], 0, list[Buffer]()
    for name, data in sections:
        dtype, count, pieces = _stored(data)
        crc, size = 0, 0
        for piece in pieces:
            view = byte_view(piece)
            size += view.nbytes
            for start in range(0, view.nbytes, _READ_BYTES):
                crc = google_crc32c.extend(crc, bytes(view[start : start + _READ_BYTES]))
        listing.append([name, dtype, count, position, size, crc])
        position = _aligned(position + size)
        content += [*pieces, bytes(_aligned(size) - size)]
    index = msgpack.packb({"fields": fields, "sections": listing})
    start = _aligned(HEAD.size + len(index))
    crc = google_crc32c.value(index)
    buffers: list[Buffer] = [HEAD.pack(MAGIC, VERSION, len(index), crc, 0), index]
    buffers += [bytes(start - HEAD.size - len(index)), *content]
    fs.make_directory(directory)
    taken = [int(name.removesuffix(BASE_SUFFIX)) for name in base_files(fs, directory)]
    name = f"{max(taken, default=0) + 1:012d}{BASE_SUFFIX}"
    size = fs.replace(directory / name, buffers)
    return BaseName(name, size, crc, int(fields.get("devices", 0)))


def _stored(data: SectionData) -> tuple[str, int, list[Buffer]]:
    """(dtype, number of elements, pieces) of a section as the file has it."""
    if isinstance(data, bytes | memoryview):
        return RAW, len(data), [data]
    arrays = [data] if isinstance(data, np.ndarray) else list(data)
    arrays = [piece for piece in arrays if len(piece)] or arrays[:1]
    dtype, count = arrays[0].dtype.newbyteorder("<"), sum(map(len, arrays))
    if count and all(bool((piece == arrays[0][0]).all()) for piece in arrays):
        arrays = [arrays[0][:1]]
    return dtype.str, count, [np.ascontiguousarray(piece, dtype) for piece in arrays]


class BaseFile:
    """An open base. Arrays that were taken from it keep the mapping."""

    def __init__(
        self,
        path: Path,
        mapped: MappedFile,
        fields: Mapping[str, Any],
        sections: Mapping[str, StoredSection],
    ) -> None:
        self._path = path
        self._mapped = mapped
        self.fields = fields
        self._sections = sections

    @classmethod
    def open(cls, fs: Filesystem, directory: Path, wanted: BaseName) -> BaseFile:
        """Raises CorruptionError, also when the file is missing."""
        path = directory / wanted.name
        fields, sections = _read_index(fs, path, wanted)
        _check_sections(fs, path, sections)
        return cls(path, fs.map(path), fields, sections)

    def has(self, name: str) -> bool:
        return name in self._sections

    def raw(self, name: str) -> memoryview:
        """A section of bytes, mapped. Raises CorruptionError when there is none."""
        section = self._section(name)
        return self._mapped.view[section.offset : section.offset + section.length]

    def array(self, name: str) -> AnyArray:
        """An array, mapped, only for reading. Raises CorruptionError when there is none."""
        return array_of(self._section(name), self.raw(name))

    def _section(self, name: str) -> StoredSection:
        found = self._sections.get(name)
        if found is None:
            raise CorruptionError(self._path, 0, f"the catalog's base has no section {name!r}")
        return found


def array_of(section: StoredSection, data: Buffer) -> AnyArray:
    """The array whose bytes these are."""
    values = np.frombuffer(data, np.dtype(section.dtype))
    if len(values) == section.count:
        return values
    return np.broadcast_to(values[:1], section.count)


def check_base(fs: Filesystem, directory: Path, wanted: BaseName) -> None:
    """Reads every byte of a base. Raises CorruptionError for the first that is wrong, OSError."""
    path = directory / wanted.name
    _, sections = _read_index(fs, path, wanted)
    _check_sections(fs, path, sections)


def base_files(fs: Filesystem, directory: Path) -> list[str]:
    """Names of the base files in a directory."""
    found = fs.list(directory)
    return [n for n in found if n.endswith(BASE_SUFFIX) and n.removesuffix(BASE_SUFFIX).isdigit()]


def remove_bases(fs: Filesystem, directory: Path, keep: Collection[str]) -> None:
    """Deletes every base that is not in ``keep``, and temporary files."""
    fs.remove_temporary(directory)
    for name in base_files(fs, directory):
        if name not in keep:
            fs.unlink(directory / name)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _read_index(
    fs: Filesystem, path: Path, wanted: BaseName
) -> tuple[Mapping[str, Any], dict[str, StoredSection]]:
    try:
        file = fs.open_read(path)
    except FileNotFoundError as error:
        raise CorruptionError(path, 0, "the catalog's base is missing") from error
    with file:
        if file.size() != wanted.bytes:
            problem = f"the base has {file.size()} bytes, the checkpoint says {wanted.bytes}"
            raise CorruptionError(path, 0, problem)
        head = file.read_at(0, HEAD.size)
        if len(head) < HEAD.size or head[:8] != MAGIC:
            raise CorruptionError(path, 0, "this is not a catalog base")
        _, version, length, crc, _ = HEAD.unpack(head)
        if version not in VERSIONS:
            raise CorruptionError(path, 8, f"version {version} is not known")
        index = file.read_at(HEAD.size, length) if length <= INDEX_BYTES_MAX else b""
    if len(index) != length or crc != wanted.crc or google_crc32c.value(index) != crc:
        raise CorruptionError(path, HEAD.size, "the index of the base has a wrong checksum")
    fields, sections = parse_index(index)
    for name, section in sections.items():
        if section.offset + section.length > wanted.bytes:
            raise CorruptionError(path, HEAD.size, f"section {name!r} lies outside the file")
    return fields, sections


def parse_index(index: bytes) -> tuple[Mapping[str, Any], dict[str, StoredSection]]:
    """(fields, sections by name) of an index whose checksum is right."""
    parsed = msgpack.unpackb(index, strict_map_key=False)
    start = _aligned(HEAD.size + len(index))
    sections = {}
    for name, dtype, count, offset, size, section_crc in parsed["sections"]:
        sections[name] = StoredSection(dtype, count, start + offset, size, section_crc)
    return parsed["fields"], sections


def _check_sections(fs: Filesystem, path: Path, sections: Mapping[str, StoredSection]) -> None:
    with fs.open_read(path) as file:
        for name, section in sections.items():
            crc, position, end = 0, section.offset, section.offset + section.length
            while position < end:
                data = file.read_at(position, min(_READ_BYTES, end - position))
                if not data:
                    break
                crc = google_crc32c.extend(crc, data)
                position += len(data)
            if position < end or crc != section.crc:
                problem = f"section {name!r} of the base has a wrong checksum"
                raise CorruptionError(path, section.offset, problem)
