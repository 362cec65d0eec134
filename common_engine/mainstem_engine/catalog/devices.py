"""Devices: permanent ids, paths, families and tag values.

1. Ids are dense from 0, in the order of the log, across all templates, and never re-used.
2. A device belongs to one family for ever: a template and its rollup tables.
3. Tag values are kept per family and tag as codes into a list of distinct values, so that a tag
   filter is one comparison per device, and a scan makes dictionary columns without touching text.
4. Reads need no lock: lists only grow, and a path is published after everything it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.vector import Vector
from mainstem_engine.model import NO_DEVICE, DeviceIds

TagValue = str | int | float | bool | bytes | None
NO_TAG = 0
"""Code of an absent tag value."""
LOST_DEVICES = "root.lost"
"""Where devices appear whose definition was damaged in the log."""

Codes = npt.NDArray[np.uint32]


class TagColumn:
    """Values of one tag for the devices of one family, by the device's position in it."""

    __slots__ = ("_index", "codes", "name", "values")

    def __init__(self, name: str) -> None:
        self.name = name
        self.codes = Vector(np.uint32)
        self.values: list[TagValue] = [None]
        self._index: dict[tuple[type, TagValue], int] = {(type(None), None): NO_TAG}

    def extend(self, values: Iterable[TagValue], position: int) -> None:
        """Gives the devices from ``position`` on (above all earlier ones) their values."""
        if len(self.codes) < position:
            self.codes.extend(np.full(position - len(self.codes), NO_TAG, np.uint32))
        self.codes.extend(np.array([self.code(value) for value in values], np.uint32))

    def code(self, value: TagValue) -> int:
        """The code of a value, a new one when it is new."""
        key = (type(value), value)
        found = self._index.get(key)
        if found is None:
            found = len(self.values)
            self.values.append(value)
            self._index[key] = found
        return found

    def codes_of(self, positions: npt.NDArray[np.uint32]) -> Codes:
        """Codes at these positions; absent where the column is shorter."""
        codes = self.codes.view()
        if len(codes) == 0:
            return np.zeros(len(positions), np.uint32)
        found: Codes = codes[np.minimum(positions, len(codes) - 1)]
        return np.where(positions < len(codes), found, np.uint32(NO_TAG))

    def codes_equal_to(self, wanted: Iterable[TagValue]) -> list[int]:
        """Codes of the values that equal one of ``wanted`` (1 equals 1.0, and not "1")."""
        accepted = list(wanted)
        return [code for code, value in enumerate(self.values) if value in accepted]


class Family:
    """The devices of one template and its rollups: ids in order of creation, and their tags."""

    __slots__ = ("databases", "ids", "index", "name", "tags")

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.index = index
        self.databases: set[int] = set()
        self.ids = Vector(np.uint32)
        self.tags: dict[str, TagColumn] = {}

    def tag_column(self, name: str) -> TagColumn:
        """The column of that tag, made when it is new."""
        column = self.tags.get(name.casefold())
        if column is None:
            column = self.tags[name.casefold()] = TagColumn(name)
        return column


class Devices:
    """Every device. Lookups by path are exact; ``NO_DEVICE`` stands for "there is none"."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._paths: list[str] = []
        self._family_of = Vector(np.uint16)
        self._position_of = Vector(np.uint32)
        self._database_of = Vector(np.uint16)
        self._foreign = Vector(np.uint8)
        self._families: list[Family] = []
        self._family_index: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def id_of(self, path: str) -> int | None:
        return self._ids.get(path)

    def path(self, device: int) -> str:
        """Raises IndexError for an id that was never given."""
        return self._paths[device]

    def paths(self, devices: Iterable[int]) -> list[str]:
        paths = self._paths
        return [paths[device] for device in devices]

    def lookup(self, paths: Sequence[str]) -> DeviceIds:
        """uint32[n], NO_DEVICE where a path is unknown."""
        get = self._ids.get
        missing = int(NO_DEVICE)
        return np.fromiter((get(p, missing) for p in paths), np.uint32, count=len(paths))

    def family_name(self, device: int) -> str:
        name: str = self._families[self._family_of[device]].name
        return name

    def is_foreign(self, device: int) -> bool:
        return bool(self._foreign[device])

    def database_index(self, device: int) -> int:
        """Index of the device's database."""
        return int(self._database_of[device])

    def database_indexes(self, devices: DeviceIds) -> npt.NDArray[np.uint16]:
        """uint16[n]: index of each device's database."""
        found: npt.NDArray[np.uint16] = self._database_of.view()[devices]
        return found

    def family_databases(self, name: str) -> list[int]:
        """Indexes of the databases that hold devices of the family."""
        family = self._family_by_name(name)
        return [] if family is None else list(family.databases)

    def assign_databases(self, index_of_path: Callable[[str], int]) -> None:
        """Recomputes each device's database, after a database was added."""
        indexes = [index_of_path(path) for path in self._paths]
        self._database_of = Vector(np.uint16, np.array(indexes, np.uint16))
        for family in self._families:
            held = self._database_of.view()[family.ids.view()]
            family.databases = {int(index) for index in np.unique(held)}

    def _family_by_name(self, name: str) -> Family | None:
        index = self._family_index.get(name.casefold())
        return None if index is None else self._families[index]

    def of_family(self, name: str) -> DeviceIds:
        """uint32, ascending: the devices of that family."""
        family = self._family_by_name(name)
        return np.empty(0, np.uint32) if family is None else family.ids.view()

    def all_in_family(self, devices: DeviceIds, name: str) -> bool:
        """True when every id was given and belongs to that family."""
        if len(devices) == 0:
            return True
        index = self._family_index.get(name.casefold())
        if index is None or int(devices.max()) >= len(self._paths):
            return False
        return bool((self._family_of.view()[devices] == index).all())

    def add(
        self,
        family: str,
        ids: Sequence[int],
        paths: Sequence[str],
        tags: Mapping[str, Sequence[TagValue]],
        *,
        foreign: bool,
        databases: Sequence[int],
    ) -> None:
        """Adds devices under the ids that the log gives them, ascending.

        Those already known are skipped. Ids that a damaged record took are filled with devices of
        no family, so that every later id keeps its meaning.
        """
        known = sum(device < len(self._paths) for device in ids)
        if known == len(ids):
            return
        self._fill_gap(ids[known], databases[known])
        member = self._family(family)
        for name, values in tags.items():
            member.tag_column(name).extend(values[known:], len(member.ids))
        self._append(member, ids[known:], paths[known:], databases[known:], foreign)

    def _append(
        self,
        family: Family,
        ids: Sequence[int],
        paths: Sequence[str],
        databases: Sequence[int],
        foreign: bool,
    ) -> None:
        count = len(ids)
        self._family_of.extend(np.full(count, family.index, np.uint16))
        first = len(family.ids)
        self._position_of.extend(np.arange(first, first + count, dtype=np.uint32))
        self._database_of.extend(np.asarray(databases, np.uint16))
        self._foreign.extend(np.full(count, foreign, np.uint8))
        family.databases.update(databases)
        family.ids.extend(np.asarray(ids, np.uint32))
        self._paths.extend(paths)
        self._ids.update(zip(paths, ids, strict=True))

    def _fill_gap(self, device: int, database: int) -> None:
        lost = range(len(self._paths), device)
        if lost:
            paths = [f"{LOST_DEVICES}.d{i}" for i in lost]
            self._append(self._family(""), lost, paths, [database] * len(lost), False)

    def _family(self, name: str) -> Family:
        index = self._family_index.get(name.casefold())
        if index is None:
            index = len(self._families)
            self._families.append(Family(name, index))
            self._family_index[name.casefold()] = index
        return self._families[index]

    def tag_codes(
        self, family: str, tag: str, devices: DeviceIds
    ) -> tuple[Codes, Sequence[TagValue]]:
        """(codes uint32[n], values): the value of device i is values[codes[i]]; code 0 is None."""
        member = self._family_by_name(family)
        column = None if member is None else member.tags.get(tag.casefold())
        if column is None:
            return np.zeros(len(devices), np.uint32), [None]
        return column.codes_of(self._position_of.view()[devices]), list(column.values)

    def tags(self, device: int) -> dict[str, TagValue]:
        """The tag values of one device by tag name; absent ones are left out."""
        family = self._families[self._family_of[device]]
        position = self._position_of[device]
        return {
            column.name: column.values[column.codes[position]]
            for column in family.tags.values()
            if position < len(column.codes) and column.codes[position] != NO_TAG
        }

    def matching(self, family: str, tags: Mapping[str, Any]) -> DeviceIds:
        """uint32 ascending: devices of the family whose tags equal the value, or one of a list."""
        ids = self.of_family(family)
        member = self._family_by_name(family)
        for name, wanted in tags.items():
            accepted = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
            column = None if member is None else member.tags.get(name.casefold())
            if column is None:
                ids = ids if None in accepted else ids[:0]
                continue
            codes, _ = self.tag_codes(family, name, ids)
            ids = ids[np.isin(codes, column.codes_equal_to(accepted))]
        return ids

    def to_map(self) -> dict[str, Any]:
        """For the checkpoint. Copies what later devices would change."""
        return {
            "paths": list(self._paths),
            "family": self._family_of.view().tobytes(),
            "foreign": self._foreign.view().tobytes(),
            "families": [
                [
                    family.name,
                    [
                        [column.name, list(column.values), column.codes.view().tobytes()]
                        for column in family.tags.values()
                    ],
                ]
                for family in self._families
            ],
        }

    def restore(self, data: Mapping[str, Any], index_of_path: Callable[[str], int]) -> None:
        """The inverse of to_map, on an empty catalog."""
        self._paths = list(data["paths"])
        self._ids = {path: device for device, path in enumerate(self._paths)}
        family_of = np.frombuffer(data["family"], np.uint16)
        self._family_of = Vector(np.uint16, family_of)
        self._foreign = Vector(np.uint8, np.frombuffer(data["foreign"], np.uint8))
        positions = np.zeros(len(self._paths), np.uint32)
        for name, columns in data["families"]:
            family = self._family(name)
            ids = np.flatnonzero(family_of == family.index).astype(np.uint32)
            positions[ids] = np.arange(len(ids), dtype=np.uint32)
            family.ids = Vector(np.uint32, ids)
            for tag, values, codes in columns:
                column = family.tag_column(tag)
                for value in values[1:]:
                    column.code(value)
                column.codes = Vector(np.uint32, np.frombuffer(codes, np.uint32))
        self._position_of = Vector(np.uint32, positions)
        self.assign_databases(index_of_path)
