"""The base of the device catalog: the first ``count`` devices, mapped from one file.

1. Paths are in tries (key_shards.py), whose numbers for a path mean nothing beyond this file. Two
   permutations lead from a path's number to its device and back. Each lookup goes both ways, so
   that damage in either is found where it would matter.
2. Columns by device: family, position in the family, database at the time of writing, foreign.
   Columns by position: the family's device ids, and per tag a code in the narrowest type.
3. Nothing of it is ever changed. What came since is in the overlay (devices.py); a merge
   (base_merge.py) makes a new base of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.catalog.base_file import BaseFile, BaseName
from mainstem_engine.catalog.key_shards import ABSENT, KeyShards, Numbers
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import NO_DEVICE, AnyArray, DeviceIds


@dataclass(frozen=True, slots=True)
class BaseTag:
    """``codes``: unsigned, one per position of the family; code c > 0 is value number c - 1."""

    name: str
    codes: AnyArray
    values: KeyShards


@dataclass(frozen=True, slots=True)
class BaseFamily:
    """``databases``: indexes of those that held its devices when the base was written."""

    name: str
    ids: DeviceIds
    databases: frozenset[int]
    tags: tuple[BaseTag, ...]


class DeviceBase:
    """An open base. For any number of threads."""

    def __init__(self, name: BaseName, path: Path, file: BaseFile) -> None:
        self.name = name
        self._path = path
        self.count = int(file.fields["devices"])
        self.databases = int(file.fields["databases"])
        """How many databases there were; those with a higher index took over devices since."""
        self.paths = open_keys(file, "paths", self.count)
        self.device_of_key = file.array("device_of_key")
        self._key_of_device = file.array("key_of_device")
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
            return cls(name, directory / name.name, file)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            problem = f"the base cannot be understood ({error!r})"
            raise CorruptionError(directory / name.name, 0, problem) from error

    def id_of(self, path: str) -> int | None:
        """Raises CorruptionError."""
        key = self.paths.find(path.encode())
        if key == ABSENT:
            return None
        device: int = self.device_of_key.item(key)
        if device >= self.count or self._key_of_device.item(device) != key:
            raise self._damaged()
        return device

    def lookup(self, paths: Sequence[str]) -> DeviceIds:
        """uint32[n], NO_DEVICE where a path is unknown. Raises CorruptionError."""
        keys = self.paths.find_many([path.encode() for path in paths])
        found = np.full(len(paths), NO_DEVICE, np.uint32)
        there = keys != ABSENT
        found[there] = self._devices(keys[there])
        return found

    def path(self, device: int) -> str:
        """Raises IndexError, CorruptionError."""
        key: int = self._key_of_device.item(device)
        if key >= self.count or self.device_of_key.item(key) != device:
            raise self._damaged()
        return self.paths.key(key).decode()

    def below(self, prefix: str) -> DeviceIds:
        """uint32 in no order: devices whose path starts with ``prefix.``. CorruptionError."""
        return self._devices(self.paths.starting_with(f"{prefix}.".encode()))

    def _devices(self, keys: Numbers) -> DeviceIds:
        devices: DeviceIds = self.device_of_key[keys]
        if len(devices) and int(devices.max()) >= self.count:
            raise self._damaged()
        if not (self._key_of_device[devices] == keys).all():
            raise self._damaged()
        return devices

    def _damaged(self) -> CorruptionError:
        return CorruptionError(self._path, 0, "names and ids of devices contradict each other")


def open_keys(file: BaseFile, name: str, count: int) -> KeyShards:
    """The set of keys stored under ``name``."""
    firsts = file.fields["firsts"][name]
    tries = [file.raw(f"{name}/{shard}") for shard in range(len(firsts))]
    return KeyShards(tries, firsts, count)


def _family(file: BaseFile, index: int, fields: Sequence[Any]) -> BaseFamily:
    name, databases, tags = fields[:3]
    opened = []
    for place, (tag, values) in enumerate(tags):
        codes = file.array(f"codes/{index}/{place}")
        opened.append(BaseTag(tag, codes, open_keys(file, f"values/{index}/{place}", values)))
    ids = file.array(f"ids/{index}")
    return BaseFamily(name, ids, frozenset(databases), tuple(opened))
