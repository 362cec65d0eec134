"""The file of a base that is damaged: what of it can still be trusted.

1. The index is believed when it has the checksum that is known from elsewhere, wherever the head
   says that it ends. One wrong byte in it is found from the checksum, and put right.
2. A section is believed when it has the checksum that the index says.
3. Where two damaged sections say the same thing, what they agree on may be believed; so the bytes
   of a damaged section can be had, too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import msgpack
import numpy as np

from mainstem_engine.catalog.base_file import (
    HEAD,
    INDEX_BYTES_MAX,
    StoredSection,
    array_of,
    parse_index,
)
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import AnyArray

_POLYNOMIAL = 0x82F63B78
"""Of crc32c, reflected."""
_CORRECTED_BYTES_MAX = 1 << 20
"""An index of so many bytes, which is one of half a billion devices, is searched in seconds."""


class SalvagedFile:
    """Sections of a base by name, as far as they can be believed."""

    def __init__(
        self, data: bytes, fields: Mapping[str, Any], sections: Mapping[str, StoredSection]
    ) -> None:
        self._data = data
        self.fields = fields
        self._sections = sections
        self._whole: dict[str, bool] = {}

    @classmethod
    def open(cls, fs: Filesystem, path: Path, crc: int | None = None) -> SalvagedFile | None:
        """None when the file is gone or its index cannot be had. ``crc``: of the index, None: as
        the head says. The file is read into memory. Raises OSError."""
        try:
            data = fs.read(path)
        except FileNotFoundError:
            return None
        if len(data) < HEAD.size:
            return None
        _, _, length, named, _ = HEAD.unpack_from(data)
        index = _index(data, length, named if crc is None else crc)
        if index is None:
            return None
        try:
            return cls(data, *parse_index(index))
        except (msgpack.UnpackException, ValueError, KeyError, TypeError):
            return None

    def count(self, name: str) -> int:
        """How many elements a section has or had; 0 when there is none."""
        section = self._sections.get(name)
        return 0 if section is None else section.count

    def is_whole(self, name: str) -> bool:
        """True when the section is there and has its checksum."""
        if name not in self._whole:
            data = self._bytes(name)
            right = data is not None and google_crc32c.value(data) == self._sections[name].crc
            self._whole[name] = right
        return self._whole[name]

    def raw(self, name: str) -> bytes | None:
        """The bytes of a whole section."""
        return self._bytes(name) if self.is_whole(name) else None

    def array(self, name: str) -> AnyArray | None:
        """The array of a whole section. Only for reading."""
        return self.doubtful(name) if self.is_whole(name) else None

    def doubtful(self, name: str) -> AnyArray | None:
        """The array of a section that may be damaged; None when it is not all there."""
        data = self._bytes(name)
        return None if data is None else array_of(self._sections[name], data)

    def _bytes(self, name: str) -> bytes | None:
        section = self._sections.get(name)
        if section is None or section.offset + section.length > len(self._data):
            return None
        return self._data[section.offset : section.offset + section.length]


def _index(data: bytes, length: int, crc: int) -> bytes | None:
    """The bytes of the index that have this checksum."""
    longest = min(INDEX_BYTES_MAX, len(data) - HEAD.size)
    sizes = [size for size in (length, _parsed_length(data)) if 0 < size <= longest]
    candidates = [data[HEAD.size : HEAD.size + size] for size in sizes]
    for index in candidates:
        if google_crc32c.value(index) == crc:
            return index
    for index in candidates:
        corrected = _corrected(index, crc)
        if corrected is not None:
            return corrected
    return None


def _parsed_length(data: bytes) -> int:
    """Where the map that begins behind the head ends, whatever the head says; 0: nowhere."""
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=INDEX_BYTES_MAX)
    unpacker.feed(data[HEAD.size : HEAD.size + _CORRECTED_BYTES_MAX])
    try:
        unpacker.unpack()
    except (msgpack.UnpackException, ValueError, TypeError, struct.error):
        return 0
    return int(unpacker.tell())


def _corrected(index: bytes, crc: int) -> bytes | None:
    """The index with one byte changed, so that it has this checksum; None: no such byte."""
    if len(index) > _CORRECTED_BYTES_MAX:
        return None
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    # What a change of one byte changes of the checksum depends only on the change and on how many
    # bytes follow: of all 256 changes at once, from the last byte back.
    wanted = np.uint32(google_crc32c.value(index) ^ crc)
    effect = table.copy()
    for position in range(len(index) - 1, -1, -1):
        found = np.flatnonzero(effect == wanted)
        if len(found):
            changed = bytearray(index)
            changed[position] ^= int(found[0])
            return bytes(changed)
        effect = (effect >> np.uint32(8)) ^ table[effect & np.uint32(0xFF)]
    return None
