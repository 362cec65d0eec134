"""Merging: the devices of an overlay and of the base below it become a new base.

1. Only immutable values are read (a snapshot), so that it runs beside readers and writers, without
   a lock.
2. Base and overlay are both sorted by path and merged shard by shard. Memory: the overlay's paths
   once more, one shard, and eight bytes per device.
3. Values of a tag that no device has any more are left out, so codes change; positions do not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.catalog.base import DeviceBase
from mainstem_engine.catalog.base_file import BaseName, write_base
from mainstem_engine.catalog.key_index import KeyIndex
from mainstem_engine.catalog.key_shards import KeyShards, ShardBuilder
from mainstem_engine.catalog.vector import FrozenColumn
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import AnyArray

Sections = list[tuple[str, AnyArray | bytes]]


@dataclass(frozen=True, slots=True)
class TagSnapshot:
    """``added``: the values behind those of the base, in order of their codes, packed. It may have
    grown since."""

    name: str
    codes: FrozenColumn
    base_values: KeyShards | None
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
    sections: Sections = []
    firsts: dict[str, list[bytes]] = {}
    builder = ShardBuilder(snapshot.count)
    for keys, devices in _merged_paths(snapshot):
        builder.add(keys, devices)
    _store_keys("paths", builder, sections, firsts)
    in_order = np.arange(snapshot.count, dtype=np.uint32)
    same_order = np.array_equal(builder.payload, in_order)
    if not same_order:
        key_of_device = np.empty(snapshot.count, np.uint32)
        key_of_device[builder.payload] = in_order
        sections += [("device_of_key", builder.payload), ("key_of_device", key_of_device)]
    sections += [
        ("family_of", snapshot.family_of.joined()),
        ("position_of", snapshot.position_of.joined()),
        ("database_of", snapshot.database_of.joined()),
        ("foreign", snapshot.foreign.joined()),
    ]
    families: list[list[Any]] = []
    for index, family in enumerate(snapshot.families):
        ids = family.ids.joined()
        sections.append((f"ids/{index}", ids))
        tags = []
        for place, tag in enumerate(family.tags):
            name = f"values/{index}/{place}"
            codes, values = _merged_values(tag, len(ids))
            _store_keys(name, values, sections, firsts)
            sections.append((f"codes/{index}/{place}", codes))
            tags.append([tag.name, len(values.payload)])
        families.append([family.name, sorted(family.databases), tags])
    fields = {
        "devices": snapshot.count,
        "same_order": same_order,
        "databases": snapshot.databases,
        "families": families,
        "firsts": firsts,
    }
    return write_base(fs, directory, fields, sections)


def _store_keys(
    name: str, builder: ShardBuilder, sections: Sections, firsts: dict[str, list[bytes]]
) -> None:
    builder.finish()
    firsts[name] = builder.firsts
    sections.extend((f"{name}/{shard}", trie) for shard, trie in enumerate(builder.tries))


def _merged_paths(snapshot: DevicesSnapshot) -> Iterator[tuple[list[bytes], AnyArray]]:
    """(paths, devices) in order of the paths."""
    new = snapshot.paths()
    order = sorted(range(len(new)), key=new.__getitem__)
    keys = [new[place] for place in order]
    devices = np.array(order, np.uint32) + np.uint32(snapshot.first)
    base = snapshot.base
    if base is None:
        yield keys, devices
        return
    start = 0
    for old, numbers in base.paths.sorted_pieces():
        # New paths below the last of this shard are in its place; the rest waits.
        end = bisect_left(keys, old[-1], start)
        yield _two_sorted(old, base.devices(numbers), keys[start:end], devices[start:end])
        start = end
    yield keys[start:], devices[start:]


def _two_sorted(
    old: list[bytes], old_devices: AnyArray, new: list[bytes], new_devices: AnyArray
) -> tuple[list[bytes], AnyArray]:
    if not new:
        return old, old_devices
    both = old + new
    order = sorted(range(len(both)), key=both.__getitem__)
    return [both[place] for place in order], np.concatenate([old_devices, new_devices])[order]


def _merged_values(tag: TagSnapshot, count: int) -> tuple[AnyArray, ShardBuilder]:
    """(codes by position, the set of values in use, whose payload is the code they had)."""
    known = 0 if tag.base_values is None else len(tag.base_values)
    used = np.zeros(1 + known + tag.added_count, np.bool_)
    old_codes = tag.codes.joined()
    used[old_codes] = True
    used[0] = False
    builder = ShardBuilder(int(np.count_nonzero(used)))
    for keys, codes in _sorted_values(tag, used):
        builder.add(keys, codes)
    builder.finish()
    new_code = np.zeros(len(used), np.uint32)
    new_code[builder.payload] = np.arange(1, len(builder.payload) + 1, dtype=np.uint32)
    codes = np.zeros(count, _narrowest(len(builder.payload)))
    codes[: len(old_codes)] = new_code[old_codes]
    return codes, builder


def _sorted_values(tag: TagSnapshot, used: AnyArray) -> Iterator[tuple[list[bytes], AnyArray]]:
    known = 0 if tag.base_values is None else len(tag.base_values)
    new = sorted(
        (key, 1 + known + place)
        for place, key in enumerate(tag.added.between(0, tag.added_count))
        if used[1 + known + place]
    )
    keys = [key for key, _ in new]
    codes = np.array([code for _, code in new], np.uint32)
    start = 0
    for old, numbers in () if tag.base_values is None else tag.base_values.sorted_pieces():
        end = bisect_left(keys, old[-1], start)
        kept = np.flatnonzero(used[numbers + 1])
        old_keys = old if len(kept) == len(old) else [old[place] for place in kept.tolist()]
        old_codes = (numbers[kept] + 1).astype(np.uint32)
        yield _two_sorted(old_keys, old_codes, keys[start:end], codes[start:end])
        start = end
    yield keys[start:], codes[start:]


def _narrowest(values: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned type that holds the codes 0 to ``values``."""
    return np.uint8 if values < 1 << 8 else np.uint16 if values < 1 << 16 else np.uint32
