"""DEV records: which ids new devices have, their paths and tags.

The header's map has ``t`` (family), ``foreign``, and

    first, n     the ids are first, first + 1, ...; or
    ids          u32[n], where they are not consecutive
    paths        all paths in one text, separated by line feeds, which no path holds
    coded        by name of the tag: [distinct values, code of each device, 1, 2 or 4 bytes wide,
                 the narrowest that can name all values]

Further keys belong to who wrote them. An earlier form is read too: ``ids`` and ``paths`` as lists,
and ``tags``: by name a list of one value per device.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.catalog.tags import CodedTag
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import DeviceIds

SEPARATOR = "\n"
DEVICES_PER_RECORD = 50_000
RECORD_TEXT_BYTES = 1 << 20
"""Paths and tag values of one record: with ids and codes it stays below 2 MiB, so that it travels
whole, in one batch."""
CODE_BYTES = 8
"""What a device takes in a record besides its path and its distinct tag values: id and a code."""


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """Devices of one family. ``ids`` uint32[n] ascending, ``paths`` n, each tag for n devices."""

    family: str
    ids: DeviceIds
    paths: list[str]
    tags: dict[str, CodedTag]
    foreign: bool

    def to_header(self, **further: Any) -> dict[str, Any]:
        """The map of the record; ``further`` keys are added to it."""
        header: dict[str, Any] = {"t": self.family, "foreign": self.foreign}
        count = len(self.ids)
        if count and bool((np.diff(self.ids.astype(np.int64)) == 1).all()):
            header.update(first=int(self.ids[0]), n=count)
        else:
            header["ids"] = self.ids.astype("<u4").tobytes()
        header["paths"] = SEPARATOR.join(self.paths)
        header["coded"] = {
            name: [tag.values, tag.codes.astype(_code_dtype(len(tag.values))).tobytes()]
            for name, tag in self.tags.items()
        }
        return {**header, **further}

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> DeviceRecord:
        """Of either form. Raises SchemaError when the parts of a record do not fit together."""
        try:
            record = cls(
                str(header["t"]),
                _ids_of(header),
                _paths_of(header["paths"]),
                _tags_of(header),
                bool(header.get("foreign")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SchemaError(f"a record of devices that cannot be read ({error!r})") from error
        counts = [len(record.paths), *(len(tag.codes) for tag in record.tags.values())]
        if any(count != len(record.ids) for count in counts):
            raise SchemaError("a record of devices whose lists do not fit together")
        return record

    def take(self, index: Sequence[int]) -> DeviceRecord:
        """Some of the devices, by their place in the record, ascending."""
        places = np.asarray(index, np.int64)
        paths = [self.paths[place] for place in places.tolist()]
        tags = {name: tag.take(places) for name, tag in self.tags.items()}
        return DeviceRecord(self.family, self.ids[places], paths, tags, self.foreign)

    def pieces(self, devices_max: int = DEVICES_PER_RECORD) -> Iterator[DeviceRecord]:
        """The same devices in records of bounded size."""
        sizes = np.fromiter(map(len, self.paths), np.int64, count=len(self.paths)) + CODE_BYTES
        if not all(map(str.isascii, self.paths)):
            sizes = np.array([len(path.encode()) + CODE_BYTES for path in self.paths], np.int64)
        for tag in self.tags.values():
            texts = [value for value in tag.values if isinstance(value, str)]
            if len(texts) == len(tag.values):
                lengths = np.fromiter(map(len, texts), np.int64, count=len(texts)) * 4
            else:
                lengths = np.array(
                    [len(v) * 4 if isinstance(v, str | bytes) else 9 for v in tag.values], np.int64
                )
            sizes += (lengths[tag.codes] if len(lengths) else 0) + CODE_BYTES
        before = np.cumsum(sizes) - sizes
        full = np.diff(before // RECORD_TEXT_BYTES) != 0
        full |= np.diff(np.arange(len(sizes)) // devices_max) != 0
        cuts = [0, *(np.flatnonzero(full) + 1).tolist(), len(sizes)]
        if len(cuts) == 2:
            yield self
            return
        for start, end in itertools.pairwise(cuts):
            yield self.take(range(start, end))


def _code_dtype(values: int) -> str:
    return "<u1" if values <= 1 << 8 else "<u2" if values <= 1 << 16 else "<u4"


def _ids_of(header: Mapping[str, Any]) -> DeviceIds:
    if "first" in header:
        first, count = int(header["first"]), int(header["n"])
        if not 0 <= first <= first + count <= 0xFFFFFFFF or count > len(header["paths"]):
            raise ValueError(f"{count} devices from {first}")
        return np.arange(first, first + count, dtype=np.uint32)
    ids = header["ids"]
    if isinstance(ids, bytes):
        return np.frombuffer(ids, "<u4")
    return np.array([int(device) for device in ids], np.uint32)


def _paths_of(paths: Any) -> list[str]:
    if isinstance(paths, str):
        return paths.split(SEPARATOR) if paths else []
    return [str(path) for path in paths]


def _tags_of(header: Mapping[str, Any]) -> dict[str, CodedTag]:
    if "coded" not in header:
        return {str(name): CodedTag.of(list(v)) for name, v in header["tags"].items()}
    tags = {}
    for name, (values, codes) in header["coded"].items():
        found = np.frombuffer(codes, _code_dtype(len(values))).astype(np.uint32)
        if len(found) and int(found.max()) >= len(values):
            raise ValueError(f"tag {name}: a code without a value")
        tags[str(name)] = CodedTag(list(values), found)
    return tags
