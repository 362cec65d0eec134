"""Merging: the devices of an overlay and of the base below it become a new base.

1. Only immutable values are read (a snapshot), so that it runs beside readers and writers, without
   a lock.
2. New paths are sorted and go into the shards of the base where they belong; shards that get none
   are copied as they are. New values go behind those of the base, whose codes stay.
   Memory: the overlay's paths and values once more, a few shards, and eight bytes per device.
3. Values of a tag that no device has any more are left out; then its codes change. Positions never
   do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.catalog.base import BaseValues, DeviceBase
from mainstem_engine.catalog.base_file import BaseName, SectionData, write_base
from mainstem_engine.catalog.key_index import KeyIndex
from mainstem_engine.catalog.key_shards import ABSENT, SHARD_KEYS, KeyShards, ShardBuilder
from mainstem_engine.catalog.value_table import StoredValues, ValueTable, stored_values
from mainstem_engine.catalog.vector import FrozenColumn
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import AnyArray

Sections = list[tuple[str, SectionData]]

_SORT_BYTES_MAX = 32 << 20
"""Paths that take more, each as long as the longest, are sorted as Python objects instead."""


@dataclass(frozen=True, slots=True)
class TagSnapshot:
    """``added``: the values behind those of the base, in order of their codes, packed. It may have
    grown since."""

    name: str
    codes: FrozenColumn
    base_values: BaseValues | None
    added: KeyIndex
    added_count: int


@dataclass(frozen=True, slots=True)
class FamilySnapshot:
    """One family: ids, and tags by position."""

    name: str
    ids: FrozenColumn
    databases: frozenset[int]
    tags: list[TagSnapshot]


@dataclass(frozen=True, slots=True)
class DevicesSnapshot:
    """All devices at one moment: ``base`` and, from its count on, what is in ``names``, which may
    have grown since. ``databases``: how many there were."""

    base: DeviceBase | None
    count: int
    databases: int
    names: KeyIndex
    family_of: FrozenColumn
    position_of: FrozenColumn
    database_of: FrozenColumn
    foreign: FrozenColumn
    families: list[FamilySnapshot]

    @property
    def first(self) -> int:
        """The first device that is not in the base."""
        return 0 if self.base is None else self.base.count

    def paths(self) -> list[bytes]:
        """UTF-8, of the devices that are not in the base."""
        return self.names.between(0, self.count - self.first)


def merge(snapshot: DevicesSnapshot, fs: Filesystem, directory: Path) -> BaseName:
    """Writes the new base durably. Raises OSError, CorruptionError."""
    paths = _merged_paths(snapshot)
    sections: Sections = [(f"paths/{shard}", trie) for shard, trie in enumerate(paths.tries)]
    counts = {"paths": paths.counts}
    same_order = _counts_up(paths.payload)
    if not same_order:
        key_of_device = np.empty(snapshot.count, np.uint32)
        key_of_device[paths.payload] = np.arange(snapshot.count, dtype=np.uint32)
        sections += [("device_of_key", paths.payload), ("key_of_device", key_of_device)]
    sections += [
        ("family_of", snapshot.family_of.pieces()),
        ("position_of", snapshot.position_of.pieces()),
        ("database_of", snapshot.database_of.pieces()),
        ("foreign", snapshot.foreign.pieces()),
    ]
    families: list[list[Any]] = []
    for index, family in enumerate(snapshot.families):
        sections.append((f"ids/{index}", family.ids.pieces()))
        size = len(family.ids.base) + len(family.ids.added)
        tags = []
        for place, tag in enumerate(family.tags):
            where = f"{index}/{place}"
            codes, values = _merged_tag(tag, size)
            sections.append((f"codes/{where}", codes))
            sections += [(f"values/{where}/{n}", held) for n, held in enumerate(values.shards)]
            sections += [(f"hashes/{where}", values.hashes), (f"numbers/{where}", values.numbers)]
            counts[f"values/{where}"] = values.counts
            tags.append([tag.name, values.count])
        families.append([family.name, sorted(family.databases), tags])
    fields = {
        "devices": snapshot.count,
        "same_order": same_order,
        "databases": snapshot.databases,
        "families": families,
        "firsts": {"paths": paths.firsts},
        "counts": counts,
    }
    return write_base(fs, directory, fields, sections)


def _merged_paths(snapshot: DevicesSnapshot) -> ShardBuilder:
    """The paths of the base and of the overlay, with the device of each."""
    new = snapshot.paths()
    order = _sorted_order(new)
    keys = [new[place] for place in order.tolist()]
    devices = order.astype(np.uint32) + np.uint32(snapshot.first)
    base = snapshot.base
    if base is None:
        return KeyShards([], [], []).with_keys(keys, devices, lambda numbers: numbers)
    return base.paths.with_keys(keys, devices, base.devices)


def _counts_up(values: AnyArray) -> bool:
    """True for 0, 1, 2, ..."""
    return all(
        bool((values[start : start + SHARD_KEYS] == np.arange(start, start + size)).all())
        for start in range(0, len(values), SHARD_KEYS)
        for size in (min(SHARD_KEYS, len(values) - start),)
    )


def _sorted_order(keys: list[bytes]) -> AnyArray:
    """int64[n]: the places of keys without zero bytes, in order of the keys."""
    longest = max(map(len, keys), default=0)
    if not longest or longest * len(keys) > _SORT_BYTES_MAX:
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
    # Bytes of one length are sorted without the interpreter's lock, and copied with short holds.
    text = np.empty(len(keys), f"S{longest}")
    for start in range(0, len(keys), SHARD_KEYS):
        text[start : start + SHARD_KEYS] = keys[start : start + SHARD_KEYS]
    return np.argsort(text, kind="stable")


def _merged_tag(tag: TagSnapshot, size: int) -> tuple[list[AnyArray], StoredValues]:
    """(codes by position, the set of values in use). The codes of the base stay, unless one of its
    values is not used any more."""
    base = _as_table(tag.base_values)
    known, old_codes = base.count, tag.codes.base
    keys = tag.added.between(0, tag.added_count)
    used = np.zeros(1 + known + len(keys), np.bool_)
    used[old_codes] = True
    used[tag.codes.added] = True
    new_code = np.zeros(1 + len(keys), np.uint32)
    added = tag.codes.added
    if not used[1 : known + 1].all():
        kept, old = np.flatnonzero(used[1 : known + 1]), list(base.keys())
        base = ValueTable(stored_values([old[number] for number in kept.tolist()]))
        kept_code = np.zeros(1 + known, np.uint32)
        kept_code[kept + 1] = np.arange(1, len(kept) + 1)
        old_codes = np.where(old_codes > known, 0, kept_code[np.minimum(old_codes, known)])
        added = np.where(added > known, added, kept_code[np.minimum(added, known)])
    # A value may be in the base and in the overlay: tags.py does not look for those of large tags.
    numbers = base.find_many(keys)
    twice = numbers != ABSENT
    new_code[1:][twice] = numbers[twice] + 1
    fresh = np.flatnonzero(~twice & used[known + 1 :])
    new_code[1 + fresh] = np.arange(base.count + 1, base.count + 1 + len(fresh))
    added = _renumbered(added, tag.codes.added, known, new_code)
    # Devices of the base whose tag was changed may have a value that came since.
    old_codes = _renumbered(old_codes, tag.codes.base, known, new_code)
    values = base.with_keys([keys[place] for place in fresh.tolist()])
    narrow = _narrowest(values.count)
    missing = size - len(old_codes) - len(added)
    # What is in the base and as wide as now is copied from there, and takes no memory.
    pieces = [old_codes.astype(narrow, copy=False), added.astype(narrow)]
    return [*pieces, np.zeros(missing, narrow)], values


def _renumbered(codes: AnyArray, before: AnyArray, known: int, new_code: AnyArray) -> AnyArray:
    """``codes``, with the new ones of values behind the ``known``; ``before``: as they were."""
    newer = before > known
    if not newer.any():
        return codes
    return np.where(newer, new_code[np.where(newer, before - known, 0)], codes)


def _as_table(values: BaseValues | None) -> ValueTable:
    """The values of a base, also of one whose values are in tries."""
    if isinstance(values, ValueTable):
        return values
    ordered = [b""] * (0 if values is None else len(values))
    if values is not None:
        for keys, numbers in values.sorted_pieces():
            for key, number in zip(keys, numbers.tolist(), strict=True):
                ordered[number] = key
    return ValueTable(stored_values(ordered))


def _narrowest(values: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned type that holds the codes 0 to ``values``."""
    return np.uint8 if values < 1 << 8 else np.uint16 if values < 1 << 16 else np.uint32
