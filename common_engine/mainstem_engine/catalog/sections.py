"""The catalog in a checkpoint: what its section says, and the base file that goes with it.

1. A section has databases, templates, rules, and of the devices those that are not in the base; it
   names the base by file, length and checksum. A flush therefore writes what came since the base.
2. When the overlay is large, against the base or for its memory, the flush writes a new base of
   both, and the section names that. The base counts when the part list commits the checkpoint:
   then the catalog puts it in place (``Catalog.adopt``), and the one before is deleted.
3. After a crash anywhere, the committed checkpoint names a base that is complete; any other is
   deleted at the next start.

A section of the first format has all devices in it and names no base; it is read too.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.catalog.base import DeviceBase
from mainstem_engine.catalog.base_file import (
    CATALOG_DIRECTORY,
    BaseName,
    check_base,
    remove_bases,
)
from mainstem_engine.catalog.base_merge import DevicesSnapshot, merge
from mainstem_engine.catalog.device_records import SEPARATOR, DeviceRecord
from mainstem_engine.catalog.tags import NO_TAG, CodedTag, TagValues
from mainstem_engine.filesystem import Filesystem

logger = logging.getLogger(__name__)

MERGE_DEVICES_MIN = 20_000
"""A smaller overlay is never merged: it takes about 2 MB, and as much in each checkpoint."""
MERGE_FRACTION = 32
"""Merged when it is a thirty-second of the base: an open reads at most so many devices one by one,
30,000 of a million in 20 ms, and a device is written at most 33 times while a catalog grows."""


@dataclass(slots=True)
class CatalogSnapshot:
    """The catalog at one moment. ``fields``: all but the devices, as plain values. ``merged``: the
    base that was written for it and waits to be adopted."""

    fields: dict[str, Any]
    devices: DevicesSnapshot
    overlay_bytes: int
    merged: DeviceBase | None = None


class CatalogFiles:
    """The bases of one data directory. ``overlay_bytes_max``: an overlay that takes more memory is
    merged; without a limit until a budget sets one."""

    def __init__(self, fs: Filesystem, root: Path) -> None:
        self._fs = fs
        self.directory = root / CATALOG_DIRECTORY
        self.overlay_bytes_max = 1 << 62
        self.merge_next = False
        """True: the next flush merges, however small the overlay is."""

    def open(self, name: BaseName) -> DeviceBase:
        """Raises CorruptionError."""
        return DeviceBase.open(self._fs, self.directory, name)

    def merge_if_due(self, snapshot: CatalogSnapshot) -> None:
        """Sets ``snapshot.merged`` when its overlay is large. Raises OSError, CorruptionError."""
        devices = snapshot.devices
        added = devices.count - devices.first
        due = added > max(MERGE_DEVICES_MIN, devices.first // MERGE_FRACTION)
        due |= self.merge_next or snapshot.overlay_bytes > self.overlay_bytes_max
        if due and added and snapshot.merged is None:
            snapshot.merged = self.open(merge(devices, self._fs, self.directory))
        self.merge_next = False

    def remove_all_but(self, base: DeviceBase | None) -> None:
        """Deletes the files that the committed checkpoint does not name."""
        try:
            remove_bases(self._fs, self.directory, [] if base is None else [base.name.name])
        except OSError as error:
            # They are in nobody's way but that of free space; the next start tries again.
            logger.warning("old files of the catalog stay in %s: %s", self.directory, error)


def encode_snapshot(snapshot: CatalogSnapshot, files: CatalogFiles | None = None) -> bytes:
    """The checkpoint section of a snapshot; a merge is slow, so it is done outside every lock.

    Without ``files`` there is no merge. Raises OSError, CorruptionError.
    """
    if files is not None:
        files.merge_if_due(snapshot)
    devices, merged = snapshot.devices, snapshot.merged
    fields = _base_fields(merged) if merged is not None else _overlay_fields(devices)
    packed: bytes = msgpack.packb({**snapshot.fields, "devices": fields})
    return packed


def _base_fields(base: DeviceBase) -> dict[str, Any]:
    return {"base": base.name.to_list(), "paths": "", "family": b"", "foreign": b"", "families": []}


def _overlay_fields(devices: DevicesSnapshot) -> dict[str, Any]:
    first, count = devices.first, devices.count
    family_of = devices.family_of.added
    families = []
    for family in devices.families:
        added = len(family.ids.added)
        tags = []
        for tag in family.tags:
            # Of the positions that are not in the base; the codes are new, 0 stays "no value".
            codes = tag.codes.added[len(family.ids.base) - len(tag.codes.base) :][:added]
            used = np.unique(codes)
            used = used[used != NO_TAG]
            place = np.where(codes == NO_TAG, 0, np.searchsorted(used, codes) + 1)
            values = TagValues(tag.base_values, tag.added, tag.added_count)
            meant = [None, *(values[code] for code in used.tolist())]
            tags.append([tag.name, meant, place.astype("<u4").tobytes()])
        families.append([family.name, tags])
    return {
        "base": None if devices.base is None else devices.base.name.to_list(),
        "paths": SEPARATOR.join(path.decode() for path in devices.paths()),
        "family": family_of[: count - first].tobytes(),
        "foreign": devices.foreign.added[: count - first].tobytes(),
        "families": families,
    }


def base_name(section: bytes) -> BaseName | None:
    """The base that a catalog section names: a backup of the section must have it too."""
    named = msgpack.unpackb(section, strict_map_key=False)["devices"].get("base")
    return None if named is None else BaseName.from_list(named)


def check_catalog_files(fs: Filesystem, root: Path, section: bytes) -> None:
    """Reads every byte of the base that a section names. Raises CorruptionError, OSError."""
    name = base_name(section)
    if name is not None:
        check_base(fs, root / CATALOG_DIRECTORY, name)


def overlay_records(fields: Mapping[str, Any], first: int) -> list[DeviceRecord]:
    """The devices of a section as runs of one family each, in order of their ids."""
    paths: Any = fields["paths"]
    if isinstance(paths, str):
        paths = paths.split(SEPARATOR) if paths else []
    family_of = np.frombuffer(fields["family"], "<u2")
    foreign = np.frombuffer(fields["foreign"], np.uint8)
    families = fields["families"]
    position = [0] * len(families)
    changes = (np.diff(family_of) != 0) | (np.diff(foreign) != 0)
    cuts = [0, *(np.flatnonzero(changes) + 1).tolist(), len(paths)]
    records = []
    for start, end in itertools.pairwise(cuts):
        if start == end:
            continue
        name, columns = families[int(family_of[start])]
        at = position[int(family_of[start])]
        position[int(family_of[start])] = stop = at + end - start
        tags = {}
        for tag, values, codes in columns:
            # Columns of the first format may be shorter than their family: absent behind.
            held = np.frombuffer(codes, "<u4")[at:stop]
            if len(held):
                padded = np.zeros(stop - at, np.uint32)
                padded[: len(held)] = held
                tags[tag] = CodedTag(list(values), padded)
        ids = np.arange(first + start, first + end, dtype=np.uint32)
        records.append(DeviceRecord(name, ids, paths[start:end], tags, bool(foreign[start])))
    return records
