"""The base of the device catalog: the first ``count`` devices, mapped from one file.

1. Paths are in tries (key_shards.py), whose numbers for a path mean nothing beyond this file. Two
   permutations lead from a path's number to its device and back; they are left out where the two
   are the same, as for devices that were made in the order of their names.
2. Columns by device: family, position in the family, database at the time of writing, foreign.
   Columns by position: the family's device ids, and per tag a code in the narrowest type, which
   leads to a table of values (value_table.py; in a base of version 1, to tries).
3. Nothing of it is ever changed. What came since is in the overlay (devices.py); a merge
   (base_merge.py) makes a new base of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.catalog.base_file import BaseFile, BaseName
from mainstem_engine.catalog.key_shards import ABSENT, KeyShards, Numbers
from mainstem_engine.catalog.value_table import StoredValues, ValueTable
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import NO_DEVICE, AnyArray, DeviceIds

SHARD_KEYS_V1 = 1 << 16
"""Keys of each shard but the last in a base of version 1, which does not say how many."""

BaseValues = KeyShards | ValueTable


@dataclass(frozen=True, slots=True)
class BaseTag:
    """``codes``: unsigned, one per position of the family; code c > 0 is value number c - 1."""

    name: str
    codes: AnyArray
    values: BaseValues


@dataclass(frozen=True, slots=True)
class BaseFamily:
    """``databases``: indexes of those that held its devices when the base was written."""

    name: str
    ids: DeviceIds
    databases: frozenset[int]
    tags: tuple[BaseTag, ...]


class DeviceBase:
    """An open base. For any number of threads."""

    def __init__(self, name: BaseName, file: BaseFile) -> None:
        self.name = name
        self.count = int(file.fields["devices"])
        same = bool(file.fields["same_order"])
        self.databases = int(file.fields["databases"])
        """How many databases there were; those with a higher index took over devices since."""
        self.paths = open_keys(file, "paths", self.count)
        self._device_of_key = None if same else file.array("device_of_key")
        self._key_of_device = None if same else file.array("key_of_device")
        self.family_of = file.array("family_of")
        self.position_of = file.array("position_of")
        self.database_of = file.array("database_of")
        self.foreign = file.array("foreign")
        self.families = tuple(
            _family(file, index, fields) for index, fields in enumerate(file.fields["families"])
        )

    @classmethod
    def open(cls, fs: Filesystem, directory: Path, name: BaseName) -> DeviceBase:
        """Raises CorruptionError."""
        file = BaseFile.open(fs, directory, name)
        try:
            return cls(name, file)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            problem = f"the base cannot be understood ({error!r})"
            raise CorruptionError(directory / name.name, 0, problem) from error

    def id_of(self, path: bytes) -> int | None:
        """The device of a path (UTF-8)."""
        key = self.paths.find(path)
        if key == ABSENT or self._device_of_key is None:
            return None if key == ABSENT else key
        device: int = self._device_of_key.item(key)
        return device

    def lookup(self, paths: Sequence[bytes]) -> DeviceIds:
        """uint32[n], NO_DEVICE where a path is unknown."""
        keys = self.paths.find_many(paths)
        found = np.full(len(paths), NO_DEVICE, np.uint32)
        there = keys != ABSENT
        found[there] = self.devices(keys[there])
        return found

    def path(self, device: int) -> str:
        """Raises IndexError."""
        if self._key_of_device is None:
            return self.paths.key(device).decode()
        return self.paths.key(self._key_of_device.item(device)).decode()

    def below(self, prefix: str) -> DeviceIds:
        """uint32 in no order: devices whose path starts with ``prefix.``."""
        return self.devices(self.paths.starting_with(f"{prefix}.".encode()))

    def devices(self, keys: Numbers) -> DeviceIds:
        """uint32[n]: the devices of these numbers of paths."""
        if self._device_of_key is None:
            return keys.astype(np.uint32)
        found: DeviceIds = self._device_of_key[keys]
        return found


def open_keys(file: BaseFile, name: str, count: int) -> KeyShards:
    """The set of keys stored under ``name``."""
    tries = [file.raw(f"{name}/{shard}") for shard in range(len(file.fields["firsts"][name]))]
    return KeyShards(tries, file.fields["firsts"][name], key_counts(file.fields, name, count))


def key_counts(fields: Mapping[str, Any], name: str, count: int) -> list[int]:
    """How many keys or values each shard of a set has."""
    if "counts" in fields:
        return list(fields["counts"][name])
    return [min(SHARD_KEYS_V1, count - start) for start in range(0, count, SHARD_KEYS_V1)]


def open_values(file: BaseFile, index: int, place: int, count: int) -> BaseValues:
    """The values of a tag: family number ``index``, tag number ``place``."""
    name = f"values/{index}/{place}"
    if name in file.fields["firsts"]:
        return open_keys(file, name, count)
    counts = key_counts(file.fields, name, count)
    shards = [file.raw(f"{name}/{shard}") for shard in range(len(counts))]
    hashes, numbers = file.array(f"hashes/{index}/{place}"), file.array(f"numbers/{index}/{place}")
    return ValueTable(StoredValues(list(shards), counts, hashes, numbers))


def _family(file: BaseFile, index: int, fields: Sequence[Any]) -> BaseFamily:
    name, databases, tags = fields[:3]
    opened = []
    for place, (tag, values) in enumerate(tags):
        codes = file.array(f"codes/{index}/{place}")
        opened.append(BaseTag(tag, codes, open_values(file, index, place, values)))
    ids = file.array(f"ids/{index}")
    return BaseFamily(name, ids, frozenset(databases), tuple(opened))
