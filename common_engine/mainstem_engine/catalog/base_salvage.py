"""A new base from a damaged one: everything of it whose checksum is right is kept.

1. *Paths*: a shard that is damaged loses its keys; their devices stay, unnamed. Each of the two
   permutations follows from the other; of two damaged ones, the entries that agree are right.
2. *Families*: the column by device and the ids by family say the same; one is enough. When both
   are damaged, what they agree on, the rows in parts, and exclusion have to do. A device of which
   nothing is known is of no family.
3. *Tags*: a damaged column of codes loses its tag, a damaged shard of values the values in it. A
   column by position is of use only when it is known who is in the family. The hashes of values
   are computed.
4. Positions follow from the families, databases from the paths: both are always computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import marisa_trie
import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.base import key_counts
from mainstem_engine.catalog.base_file import BaseName
from mainstem_engine.catalog.base_merge import (
    DevicesSnapshot,
    FamilySnapshot,
    TagSnapshot,
    merge,
)
from mainstem_engine.catalog.databases import Databases
from mainstem_engine.catalog.key_index import KeyIndex
from mainstem_engine.catalog.salvaged_file import SalvagedFile
from mainstem_engine.catalog.value_table import keys_between, shard_parts
from mainstem_engine.catalog.vector import FrozenColumn
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import AnyArray, DeviceIds

_NOBODY = 0xFFFF
"""Index of no family; there are never so many."""


@dataclass(frozen=True, slots=True)
class SalvagedFamily:
    """``ids`` ascending; ``lost`` by tag: the devices whose value is not known any more."""

    name: str
    ids: DeviceIds
    tags: list[TagSnapshot] = field(default_factory=list)
    lost: dict[str, DeviceIds] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SalvagedDevices:
    """The devices of a base. ``names`` by id, UTF-8, None for lost ones; it may be filled in.
    ``no_family``: ids of which no family is known. ``no_origin``: ids whose mark "of a child" had
    to be guessed."""

    names: list[bytes | None]
    families: list[SalvagedFamily]
    foreign: npt.NDArray[np.uint8]
    no_family: DeviceIds
    no_origin: DeviceIds


def salvage_devices(
    file: SalvagedFile | None,
    count: int,
    rows: Mapping[str, DeviceIds],
    foreign: Collection[str],
) -> SalvagedDevices:
    """The devices 0 to ``count`` - 1. ``file`` None: nothing of the base is left.

    ``rows``: by family devices that have rows in its tables. ``foreign``: families of children.
    """
    names: list[bytes | None] = [None] * count
    if file is not None:
        names = salvaged_names(file)
    called = list(rows) if file is None else [str(each[0]) for each in file.fields["families"]]
    family_of = _family_of(file, called, count, rows)
    nobody = np.flatnonzero(family_of == _NOBODY).astype(np.uint32)
    families = []
    for index, name in enumerate(called):
        ids = np.flatnonzero(family_of == index).astype(np.uint32)
        families.append(SalvagedFamily(name, ids))
        if file is not None:
            _salvage_tags(file, index, families[-1])
    if len(nobody):
        families.append(SalvagedFamily("", nobody))
    marks = None if file is None else file.array("foreign")
    guessed = np.arange(count if marks is None else 0, dtype=np.uint32)
    if marks is None:
        children = {name.casefold() for name in foreign}
        marks = np.zeros(count, np.uint8)
        for family in families:
            marks[family.ids] = family.name.casefold() in children
    return SalvagedDevices(names, families, np.asarray(marks, np.uint8), nobody, guessed)


def salvaged_names(file: SalvagedFile) -> list[bytes | None]:
    """By device the path, None where it is lost."""
    count = int(file.fields["devices"])
    names: list[bytes | None] = [None] * count
    device_of_key = _device_of_key(file, count)
    start = 0
    for shard, size in enumerate(key_counts(file.fields, "paths", count)):
        data, first = file.raw(f"paths/{shard}"), start
        start += size
        if data is None:
            continue
        keys, numbers = _keys_of(data)
        devices = device_of_key[numbers + first]
        for key, device in zip(keys, devices.tolist(), strict=True):
            if device >= 0:
                names[device] = key
    return names


def write_salvaged(
    salvaged: SalvagedDevices,
    paths: Sequence[bytes],
    databases: Databases,
    fs: Filesystem,
    directory: Path,
) -> BaseName:
    """Writes the base. ``paths``: of all devices, each below one of the databases. Raises
    OSError."""
    count = len(paths)
    names = KeyIndex()
    names.add(list(paths))
    database_of = np.array(databases.indexes_of_paths([path.decode() for path in paths]), np.uint16)
    family_of, position_of = np.zeros(count, np.uint16), np.zeros(count, np.uint32)
    families = []
    for index, family in enumerate(salvaged.families):
        family_of[family.ids] = index
        position_of[family.ids] = np.arange(len(family.ids), dtype=np.uint32)
        held = frozenset(np.unique(database_of[family.ids]).tolist())
        families.append(FamilySnapshot(family.name, _column(family.ids), held, family.tags))
    snapshot = DevicesSnapshot(
        None,
        count,
        len(databases),
        names,
        _column(family_of),
        _column(position_of),
        _column(database_of),
        _column(salvaged.foreign),
        families,
    )
    return merge(snapshot, fs, directory)


def _column(values: AnyArray) -> FrozenColumn:
    return FrozenColumn(values[:0], values)


def _keys_of(trie: bytes) -> tuple[list[bytes], AnyArray]:
    """(keys, their numbers) of one trie whose checksum is right."""
    opened = marisa_trie.BinaryTrie()
    opened.map(trie)
    items = opened.items()
    numbers = np.fromiter((number for _, number in items), np.int64, count=len(items))
    return [key for key, _ in items], numbers


def _device_of_key(file: SalvagedFile, count: int) -> AnyArray:
    """int64 by number of a path: its device, -1 where it is not known."""
    in_order = np.arange(count, dtype=np.int64)
    if file.fields["same_order"]:
        return in_order
    there, back = file.array("device_of_key"), file.array("key_of_device")
    if there is not None:
        return there.astype(np.int64)
    found = np.full(count, -1, np.int64)
    if back is not None:
        found[back] = in_order
        return found
    there, back = file.doubtful("device_of_key"), file.doubtful("key_of_device")
    if there is not None and back is not None:
        keys = np.flatnonzero(there < count)
        keys = keys[back[there[keys]] == keys]
        found[keys] = there[keys]
    return found


def _family_of(
    file: SalvagedFile | None, called: Sequence[str], count: int, rows: Mapping[str, DeviceIds]
) -> AnyArray:
    """uint16 by device: index of its family, _NOBODY where it is not known."""
    column = None if file is None else file.array("family_of")
    if column is not None:
        return column
    found = np.full(count, _NOBODY, np.uint16)
    doubtful = None if file is None else file.doubtful("family_of")
    with_rows = {name.casefold(): devices for name, devices in rows.items()}
    for index, name in enumerate(called):
        ids = None if file is None else file.array(f"ids/{index}")
        if ids is None and file is not None and doubtful is not None:
            held = file.doubtful(f"ids/{index}")
            held = np.empty(0, np.uint32) if held is None else held[held < count]
            ids = held[doubtful[held] == index]
        for members in (ids, with_rows.get(name.casefold())):
            if members is not None:
                mine = members[members < count]
                found[mine[found[mine] == _NOBODY]] = index
    if file is not None:
        open_ones = [
            index
            for index in range(len(called))
            if np.count_nonzero(found == index) != file.count(f"ids/{index}")
        ]
        if len(open_ones) == 1:
            found[found == _NOBODY] = open_ones[0]
    return found


def _salvage_tags(file: SalvagedFile, index: int, family: SalvagedFamily) -> None:
    """Fills in the tags of a family and what is lost of them."""
    tags = file.fields["families"][index][2]
    known = len(family.ids) == file.count(f"ids/{index}")
    for place, (name, distinct) in enumerate(tags):
        codes = file.array(f"codes/{index}/{place}") if known else None
        if codes is None:
            nothing = np.zeros(len(family.ids), np.uint8)
            family.tags.append(TagSnapshot(name, _column(nothing), None, KeyIndex(), 0))
            family.lost[name] = family.ids
            continue
        stored = f"values/{index}/{place}"
        counts = key_counts(file.fields, stored, distinct)
        in_tries = stored in file.fields["firsts"]
        kept, new_code = KeyIndex(), np.zeros(1 + distinct, np.uint32)
        start = 1
        for shard, size in enumerate(counts):
            data = file.raw(f"{stored}/{shard}")
            if data is not None:
                keys, numbers = _keys_of(data) if in_tries else _values_of(data, size)
                first = 1 + len(kept)
                kept.add(keys)
                new_code[start + numbers] = np.arange(first, first + len(keys), dtype=np.uint32)
            start += size
        new_codes = new_code[codes]
        family.tags.append(TagSnapshot(name, _column(new_codes), None, kept, len(kept)))
        lost = family.ids[(codes != 0) & (new_codes == 0)]
        if len(lost):
            family.lost[name] = lost


def _values_of(shard: bytes, count: int) -> tuple[list[bytes], AnyArray]:
    """(values, their numbers) of one shard of a table whose checksum is right."""
    return keys_between(*shard_parts(shard, count)), np.arange(count)
