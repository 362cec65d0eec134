"""Devices: permanent ids, paths, families and tag values.

1. Ids are dense from 0, in the order of the log, across all templates, and never re-used.
2. A device belongs to one family for ever: a template and its rollup tables.
3. The first devices are in an immutable *base*, mapped from a file (base.py); those that came since
   are in memory, the *overlay*. A flush merges a large overlay into a new base.
4. Reads need no lock. Everything hangs on one state object: a reader takes it once, and a new base
   is put in place by replacing it. Within a state columns only grow, and a path is published
   after everything it leads to.
5. A dropped device keeps its id and its path, and is not there for whoever looks for it. Made anew
   it is the same device: its id leads to rows that were deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from mainstem_engine.catalog.base import DeviceBase
from mainstem_engine.catalog.base_merge import DevicesSnapshot
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.families import Family
from mainstem_engine.catalog.key_index import ABSENT, KeyIndex
from mainstem_engine.catalog.names import ROOT
from mainstem_engine.catalog.tag_changes import TagChanges
from mainstem_engine.catalog.tags import (
    BITMAPS_PER_QUESTION,
    INDEXED_VALUES_MAX,
    CodedTag,
    Codes,
    TagColumn,
    TagIndex,
    TagValue,
)
from mainstem_engine.catalog.vector import LayeredColumn, Vector
from mainstem_engine.model import NO_DEVICE, DeviceIds

__all__ = ["LOST_DEVICES", "Devices", "TagValue"]

LOST_DEVICES = "root.lost"
"""Where devices appear whose definition was damaged in the log."""


class _State:
    """A base with what came since. ``first``: the first device that is not in the base."""

    __slots__ = (
        "base", "database_of", "families", "families_bytes", "family_index", "family_of", "first",
        "foreign", "names", "position_of",
    )  # fmt: skip

    def __init__(self, base: DeviceBase | None = None) -> None:
        self.base = base
        self.first = 0 if base is None else base.count
        self.names = KeyIndex()
        self.families: list[Family] = []
        self.families_bytes = 0
        """Of all of them when each was last grown: there may be as many as devices."""
        self.family_index: dict[str, int] = {}
        if base is None:
            self.family_of = LayeredColumn.empty(np.uint16)
            self.position_of = LayeredColumn.empty(np.uint32)
            self.database_of = LayeredColumn.empty(np.uint16)
            self.foreign = LayeredColumn.empty(np.uint8)
            return
        self.family_of = LayeredColumn(base.family_of, Vector(np.uint16))
        self.position_of = LayeredColumn(base.position_of, Vector(np.uint32))
        self.database_of = LayeredColumn(base.database_of, Vector(np.uint16))
        self.foreign = LayeredColumn(base.foreign, Vector(np.uint8))
        for index, family in enumerate(base.families):
            self.put(Family.of_base(family, index))

    @property
    def count(self) -> int:
        return self.first + len(self.names)

    @property
    def nbytes(self) -> int:
        columns = (self.family_of, self.position_of, self.database_of, self.foreign)
        fixed = self.names.nbytes + sum(column.added.nbytes for column in columns)
        return fixed + self.families_bytes

    def put(self, family: Family) -> None:
        self.families.append(family)
        self.family_index[family.name.casefold()] = family.index
        self.families_bytes += family.grown_bytes()

    def family(self, name: str) -> Family | None:
        index = self.family_index.get(name.casefold())
        return None if index is None else self.families[index]

    def family_made(self, name: str) -> Family:
        found = self.family(name)
        if found is None:
            found = Family(name, len(self.families))
            self.put(found)
        return found


class Devices:
    """Every device. Lookups by path are exact; ``NO_DEVICE`` stands for "there is none".

    Of those that change something, one at a time.
    """

    def __init__(self) -> None:
        self._state = _State()
        self._index = TagIndex()
        self._dropped = np.empty(0, np.uint32)
        self.tag_changes = TagChanges()

    def __len__(self) -> int:
        return self._state.count

    @property
    def nbytes(self) -> int:
        """Estimate of what devices and tags take in memory that is not mapped from a file."""
        return self._state.nbytes + self._index.nbytes

    @property
    def overlay_bytes(self) -> int:
        """The part of ``nbytes`` that goes when the overlay is merged into a base."""
        return self._state.nbytes

    @property
    def base(self) -> DeviceBase | None:
        """The base in use."""
        return self._state.base

    # Names

    def id_of(self, path: str) -> int | None:
        """Of a device that is not dropped."""
        device = self._any_id_of(path)
        dropped = self._dropped
        if device is None or not len(dropped):
            return device
        place = int(np.searchsorted(dropped, device))
        return None if place < len(dropped) and dropped[place] == device else device

    def _any_id_of(self, path: str) -> int | None:
        state, key = self._state, path.encode()
        place = state.names.find(key)
        if place != ABSENT:
            return state.first + place
        return None if state.base is None else state.base.id_of(key)

    def path(self, device: int) -> str:
        """Raises IndexError for an id that was never given."""
        state = self._state
        if state.base is not None and 0 <= device < state.first:
            return state.base.path(device)
        return state.names.key(device - state.first).decode()

    def paths(self, devices: Iterable[int]) -> list[str]:
        state = self._state
        ids = np.asarray(devices if isinstance(devices, np.ndarray) else list(devices), np.int64)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < state.count:
            raise IndexError(int(ids.max()))
        if state.base is None:
            return list(map(bytes.decode, state.names.keys(ids)))
        old = ids < state.first
        if old.all():
            return list(map(state.base.path, ids.tolist()))
        newer = map(bytes.decode, state.names.keys(ids[~old] - state.first))
        base_path = state.base.path
        return [
            base_path(device) if device < state.first else next(newer) for device in ids.tolist()
        ]

    def lookup(self, paths: Sequence[str]) -> DeviceIds:
        """uint32[n], NO_DEVICE where a path is unknown or its device dropped."""
        found = self.lookup_all(paths)
        return np.where(self._is_dropped(found), NO_DEVICE, found) if len(self._dropped) else found

    def lookup_all(self, paths: Sequence[str]) -> DeviceIds:
        """As lookup(), of dropped devices too."""
        state = self._state
        distinct = list(dict.fromkeys(paths))
        if 2 * len(distinct) > len(paths):
            return _lookup(state, paths)
        ids = dict(zip(distinct, _lookup(state, distinct).tolist(), strict=True))
        return np.fromiter(map(ids.__getitem__, paths), np.uint32, count=len(paths))

    def lookup_since(self, paths: Sequence[str], known: int) -> DeviceIds:
        """As lookup(), for paths that were not there when there were ``known`` devices."""
        if len(self._dropped):
            return self.lookup(paths)
        state = self._state
        if state.count == known:
            return np.full(len(paths), NO_DEVICE, np.uint32)
        if state.first > known:
            return _lookup(state, paths)
        places = state.names.find_many([path.encode() for path in paths])
        return np.where(places == ABSENT, np.int64(NO_DEVICE), places + state.first).astype(
            np.uint32
        )

    def below(self, prefix: str) -> DeviceIds:
        """uint32, ascending: the device ``prefix``, if it is one, and all whose path lies below."""
        state = self._state
        count = state.count
        if prefix == ROOT:
            return self._shown(np.arange(count, dtype=np.uint32))
        start = f"{prefix}.".encode()
        places = [
            place
            for place, path in enumerate(state.names.between(0, count - state.first))
            if path.startswith(start)
        ]
        found = [np.array(places, np.uint32) + np.uint32(state.first)]
        if state.base is not None:
            found.append(state.base.below(prefix))
        itself = self._any_id_of(prefix)
        if itself is not None:
            found.append(np.array([itself], np.uint32))
        return self._shown(np.sort(np.concatenate(found)))

    def all_ids(self) -> DeviceIds:
        """uint32, ascending: every device that is not dropped."""
        return self.below(ROOT)

    # Dropped devices

    @property
    def dropped(self) -> DeviceIds:
        """uint32, ascending."""
        return self._dropped

    def _is_dropped(self, devices: DeviceIds) -> npt.NDArray[np.bool_]:
        return np.isin(devices, self._dropped)

    def _shown(self, devices: DeviceIds) -> DeviceIds:
        return devices[~self._is_dropped(devices)] if len(self._dropped) else devices

    def drop(self, devices: DeviceIds) -> None:
        """From now on they are not there. Idempotent."""
        self._dropped = np.union1d(self._dropped, devices).astype(np.uint32)

    def revive(self, devices: DeviceIds) -> None:
        """They are there again. Idempotent."""
        self._dropped = np.setdiff1d(self._dropped, devices).astype(np.uint32)

    # Families and databases

    def family_name(self, device: int) -> str:
        state = self._state
        name: str = state.families[state.family_of[device]].name
        return name

    def is_foreign(self, device: int) -> bool:
        return bool(self._state.foreign[device])

    def database_index(self, device: int) -> int:
        """Index of the device's database."""
        return self._state.database_of[device]

    def database_indexes(self, devices: DeviceIds) -> npt.NDArray[np.uint16]:
        """uint16[n]: index of each device's database."""
        return self._state.database_of.take(devices)

    def family_databases(self, name: str) -> list[int]:
        """Indexes of the databases that hold devices of the family."""
        family = self._state.family(name)
        return [] if family is None else sorted(family.databases)

    def take_over(self, prefix: str, database: int, keeps: Callable[[int], bool]) -> None:
        """A new database takes the devices at and below ``prefix``, but for those of databases that
        ``keeps`` says yes to."""
        mine = self.below(prefix)
        state = self._state
        held = state.database_of.slice(0, state.count)
        lost = [other for other in np.unique(held[mine]).tolist() if not keeps(other)]
        mine = mine[np.isin(held[mine], lost)]
        if not len(mine):
            return
        changed = held.astype(np.uint16)
        changed[mine] = database
        state.database_of = LayeredColumn(changed[: state.first], Vector(np.uint16))
        state.database_of.extend(changed[state.first :])
        for family in state.families:
            if not family.databases.isdisjoint(lost):
                there = np.bincount(changed[family.all_ids()])
                family.databases = frozenset(np.flatnonzero(there).tolist())

    def of_family(self, name: str) -> DeviceIds:
        """uint32, ascending: the devices of that family."""
        family = self._state.family(name)
        return np.empty(0, np.uint32) if family is None else self._shown(family.all_ids())

    def all_in_family(self, devices: DeviceIds, name: str) -> bool:
        """True when every id was given and belongs to that family."""
        if len(devices) == 0:
            return True
        state = self._state
        index = state.family_index.get(name.casefold())
        if index is not None and len(devices) == 1:
            device = devices.item(0)
            return device < state.count and state.family_of[device] == index
        if index is None or int(devices.max()) >= state.count:
            return False
        return bool((state.family_of.take(devices) == index).all())

    # Adding

    def add(self, record: DeviceRecord, databases: npt.NDArray[np.uint16]) -> None:
        """Adds devices under the ids that the log gives them; ``databases``: index of each one's.

        Those already known are skipped. Ids that a damaged record took are filled with devices of
        no family, so that every later id keeps its meaning.
        """
        state = self._state
        known = int(np.count_nonzero(record.ids < state.count))
        if known == len(record.ids):
            return
        indexes = databases[known:]
        lost = range(state.count, int(record.ids[known]))
        if lost:
            paths = [f"{LOST_DEVICES}.d{device}" for device in lost]
            _append(state, "", paths, {}, np.full(len(lost), indexes[0], np.uint16), False)
        tags = record.tags
        if known:
            rest = np.arange(known, len(record.ids))
            tags = {name: tag.take(rest) for name, tag in tags.items()}
        _append(state, record.family, record.paths[known:], tags, indexes, record.foreign)

    # Tags

    def tag_codes(
        self, family: str, tag: str, devices: DeviceIds
    ) -> tuple[Codes, Sequence[TagValue]]:
        """(codes uint32[n], values): the value of device i is values[codes[i]]; code 0 is None."""
        state = self._state
        member = state.family(family)
        column = None if member is None else member.find_tag(tag)
        if column is None:
            return np.zeros(len(devices), np.uint32), [None]
        codes = column.codes_of(state.position_of.take(devices))
        return column.canonical(codes), column.values

    def tags(self, device: int) -> dict[str, TagValue]:
        """The tag values of one device by tag name; absent ones are left out."""
        state = self._state
        return state.families[state.family_of[device]].tag_values(state.position_of[device])

    def matching(self, family: str, tags: Mapping[str, Any]) -> DeviceIds:
        """uint32 ascending: devices of the family whose tags equal the value, or one of a list."""
        member = self._state.family(family)
        if member is None:
            return np.empty(0, np.uint32)
        ids = member.all_ids()
        indexed: BitMap | None = None
        compared: list[tuple[TagColumn, list[int]]] = []
        for name, wanted in tags.items():
            accepted = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
            column = member.find_tag(name)
            if column is None:
                if None not in accepted:
                    return ids[:0]
                continue
            codes = column.codes_equal_to(accepted)
            if column.distinct >= INDEXED_VALUES_MAX or len(codes) > BITMAPS_PER_QUESTION:
                compared.append((column, codes))
                continue
            found = BitMap()
            for code in codes:
                found = found | self._index.positions(member.index, column, code, len(ids))
            indexed = found if indexed is None else indexed & found
        positions = None if indexed is None else np.frombuffer(indexed.to_array(), np.uint32)
        for column, codes in compared:
            if positions is None:
                held = column.codes_between(0, len(ids))
                same = held == codes[0] if len(codes) == 1 else np.isin(held, codes)
                positions = np.flatnonzero(same).astype(np.uint32)
            else:
                positions = positions[np.isin(column.codes_of(positions), codes)]
        return self._shown(ids if positions is None else ids[positions])

    def set_tags(self, family: str, devices: DeviceIds, tags: Mapping[str, TagValue]) -> None:
        """Other values for devices of one family; None takes one away. Idempotent."""
        member = self._state.family(family)
        if member is None or not len(devices):
            return
        positions = self._state.position_of.take(devices).astype(np.uint32)
        for name, value in tags.items():
            self.tag_changes.set(member, name, positions, value)
        self._index.forget()

    def tag_aliases(self, family: str) -> dict[str, str]:
        """See TagChanges."""
        member = self._state.family(family)
        return {} if member is None else member.aliases

    def alias_tags(self, family: str, aliases: Mapping[str, str]) -> None:
        """The columns of a family's tags by name from now on. Idempotent."""
        self.tag_changes.alias(self._state.family_made(family), aliases)
        self._index.forget()

    def restore_changes(self, dropped: DeviceIds, tags: Mapping[str, Any]) -> None:
        """What a checkpoint says beside the devices themselves."""
        self._dropped = dropped
        self.tag_changes.restore(tags)
        self.tag_changes.apply(_by_name(self._state))

    # Bases and the checkpoint

    def snapshot(self, databases: int) -> DevicesSnapshot:
        """As of now, without a copy of a column. ``databases``: how many there are."""
        state = self._state
        return DevicesSnapshot(
            state.base,
            state.count,
            databases,
            state.names,
            state.family_of.frozen(),
            state.position_of.frozen(),
            state.database_of.frozen(),
            state.foreign.frozen(),
            [family.snapshot() for family in state.families],
        )

    def adopt(self, base: DeviceBase) -> None:
        """Puts a base of some of these devices in place; the others stay in the overlay. Where
        there are none yet, a database that came after the base has to take over its devices."""
        old, state = self._state, _State(base)
        for number, family in enumerate(old.families):
            if number == len(state.families):
                state.put(Family(family.name, number))
            state.families[number].adopt(family)
            state.families_bytes += state.families[number].grown_bytes()
        first, count = state.first, old.count
        if count and not np.array_equal(base.database_of, old.database_of.slice(0, first)):
            # A database came while the base was being written.
            held = old.database_of.slice(0, first).astype(np.uint16)
            state.database_of = LayeredColumn(held, Vector(np.uint16))
        for name in ("family_of", "position_of", "database_of", "foreign"):
            getattr(state, name).extend(getattr(old, name).slice(first, count))
        if count > first:
            places = np.arange(first - old.first, count - old.first)
            state.names.add(old.names.keys(places))
        self.tag_changes.apply(_by_name(state))
        self._state = state


def _by_name(state: _State) -> dict[str, Family]:
    return {family.name.casefold(): family for family in state.families}


def _lookup(state: _State, paths: Sequence[str]) -> DeviceIds:
    keys = [path.encode() for path in paths]
    places = state.names.find_many(keys)
    ids = np.where(places == ABSENT, np.int64(NO_DEVICE), places + state.first).astype(np.uint32)
    if state.base is not None:
        rest = np.flatnonzero(places == ABSENT)
        if len(rest):
            ids[rest] = state.base.lookup([keys[row] for row in rest.tolist()])
    return ids


def _append(
    state: _State,
    family_name: str,
    paths: Sequence[str],
    tags: Mapping[str, CodedTag],
    databases: npt.NDArray[np.uint16],
    foreign: bool,
) -> None:
    """Devices at the next ids; see rule 4 for the order."""
    family, count, first = state.family_made(family_name), len(paths), state.count
    position = len(family.ids)
    for name, tag in tags.items():
        family.tag_column(name).extend(tag, position)
    state.family_of.extend(np.full(count, family.index, np.uint16))
    state.position_of.extend(np.arange(position, position + count, dtype=np.uint32))
    state.database_of.extend(databases)
    state.foreign.extend(np.full(count, foreign, np.uint8))
    family.databases |= frozenset(np.flatnonzero(np.bincount(databases)).tolist())
    state.names.add([path.encode() for path in paths])
    family.ids.extend(np.arange(first, first + count, dtype=np.uint32))
    state.families_bytes += family.grown_bytes()
