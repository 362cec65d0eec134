"""Rebuilding the sections of a checkpoint from what is left: the parts, the log, a catalog's base.

1. *Catalog*: when only the base is damaged, the rest of the section stays (repair_catalog.py).
   Otherwise names and tags of devices come from the newest base, as far as it is whole, and from
   the definitions that the log still holds; templates and databases from these definitions. What
   has no definition gets one: a template ``T`` with measurements ``m<id>`` in the types that the
   parts have, a device ``root.lost.d<id>``. Rows then stay readable under the ids they always had.
2. *Origins*: this node, and a stand-in for every other origin that rows name.
3. *Accounts*: what the parts hold is what was stored. What was overwritten, deleted or expired
   before is not known.

Every other section is left out: its state starts empty, and the report says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.accounting import NEVER_NS
from mainstem_engine.catalog.base import DeviceBase
from mainstem_engine.catalog.base_file import (
    CATALOG_DIRECTORY,
    HEAD,
    BaseName,
    base_files,
    check_base,
)
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import Database, default_database_name
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.devices import LOST_DEVICES
from mainstem_engine.catalog.salvaged_file import SalvagedFile
from mainstem_engine.catalog.sections import CatalogFiles
from mainstem_engine.errors import EngineError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.inventory import part_directory
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.model import ColumnType, DeviceIds, Measurement, Template, TimesNs
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.repair_catalog import (
    NO_DEVICES,
    define_lost_database,
    lost_path,
    salvaged_catalog,
)

_SETTINGS = "the settings of databases: keep, duration and precision are the defaults"
_UNITS_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}


@dataclass(slots=True)
class TableContent:
    """What the parts hold of one table. ``newest`` int64 ns by device id, NEVER_NS without rows."""

    rows: int = 0
    types: dict[int, ColumnType] = field(default_factory=dict)
    newest: TimesNs = field(default_factory=lambda: np.full(16, NEVER_NS, np.int64))
    grain_ns: int = 0
    """Greatest common divisor of the times seen; 0: none."""

    @property
    def devices(self) -> DeviceIds:
        """uint32 ascending."""
        return np.flatnonzero(self.newest != NEVER_NS).astype(np.uint32)

    def note(self, device: DeviceIds, time: TimesNs) -> None:
        """Rows of one block."""
        high = int(device.max())
        if high >= len(self.newest):
            grown = np.full(2 * high + 2, NEVER_NS, np.int64)
            grown[: len(self.newest)] = self.newest
            self.newest = grown
        np.maximum.at(self.newest, device, time)
        self.rows += len(device)
        self.grain_ns = int(np.gcd(self.grain_ns, np.gcd.reduce(time)))


def contents(
    fs: Filesystem, root: Path, metas: Iterable[PartMeta]
) -> tuple[dict[str, TableContent], int]:
    """(content of every table, highest origin index). The parts must be whole. Reads keys only."""
    tables: dict[str, TableContent] = {}
    origin = 0
    for meta in metas:
        part = Part.open(fs, part_directory(root, meta), meta)
        try:
            table = tables.setdefault(meta.table, TableContent())
            table.types.update(part.types)
            for number in range(len(part.blocks)):
                rows = part.read([number], ())
                table.note(rows.device, rows.time)
            origin = max(origin, *meta.lsn, 0)
        finally:
            part.close()
    return tables, origin


def grain_ns(tables: dict[str, TableContent]) -> int:
    """What every time in the parts is a multiple of; 0 when there is none."""
    return int(np.gcd.reduce([table.grain_ns for table in tables.values()] or [0]))


def completed_catalog(
    fs: Filesystem,
    root: Path,
    section: bytes,
    tables: dict[str, TableContent],
    definitions: Sequence[Record],
    unknown: list[str],
) -> Catalog:
    """The catalog of a section that is whole and names a base that is not, made complete."""
    rows = {name: table.devices for name, table in tables.items()}
    catalog = salvaged_catalog(fs, root, section, rows, grain_ns(tables), definitions, unknown)
    complete_catalog(catalog, tables, unknown)
    return catalog


def rebuilt_catalog(
    fs: Filesystem,
    root: Path,
    tables: dict[str, TableContent],
    definitions: Sequence[Record],
    unknown: list[str],
) -> Catalog:
    """A catalog that defines everything in ``tables``. ``definitions``: SCH and DEV records that
    the log still has, in order. What had to be made up is added to ``unknown``, in words."""
    catalog = _from_base(fs, root, tables, definitions, unknown)
    devices: list[DeviceRecord] = []
    for record in definitions:
        header = decode_payload(record.payload)[0]
        if record.kind == RecordKind.SCH:
            catalog.apply_schema(header)
        else:
            devices.append(DeviceRecord.from_header(header))
    _define_devices(catalog, devices, tables, unknown)
    complete_catalog(catalog, tables, unknown)
    return catalog


def complete_catalog(catalog: Catalog, tables: dict[str, TableContent], unknown: list[str]) -> None:
    """Adds what the parts refer to and the catalog lacks."""
    highest = max((int(t.devices[-1]) for t in tables.values() if len(t.devices)), default=-1)
    if highest >= len(catalog.devices):
        _lost_devices(catalog, len(catalog.devices), highest + 1, tables, unknown)
    for name, table in sorted(tables.items(), key=lambda item: len(item[0])):
        found = catalog.templates.get(name)
        if found is None:
            unknown.append(
                f"the template of table {name}: its measurements are called m<id>, tags are unknown"
            )
            template = _template(name, table, catalog)
            catalog.templates.put(template, foreign=False)
            continue
        known = {m.id for m in found.template.measurements}
        missing = {key: kind for key, kind in table.types.items() if key not in known}
        if missing:
            unknown.append(f"the names of {len(missing)} measurements of {name}")


def _template(name: str, table: TableContent, catalog: Catalog) -> Template:
    """A template with the types of the parts; a rollup where its name and devices say so."""
    measurements = tuple(
        Measurement(key, f"m{key}", kind) for key, kind in sorted(table.types.items())
    )
    source, _, suffix = name.rpartition("_")
    every_ns = _UNITS_NS.get(suffix[-1:], 0) * int(suffix[:-1] or 0) if suffix[:-1].isdigit() else 0
    if every_ns and catalog.templates.get(source) is not None:
        return Template(name, measurements, rollup_of=source, every_ns=every_ns)
    return Template(name, measurements)


def _from_base(
    fs: Filesystem,
    root: Path,
    tables: dict[str, TableContent],
    definitions: Sequence[Record],
    unknown: list[str],
) -> Catalog:
    """A catalog with the devices of the newest base that is whole, or else of what is left of the
    newest one that can be opened at all; empty when there is none."""
    directory = root / CATALOG_DIRECTORY
    section: dict[str, Any] = {"databases": [], "templates": [], "devices": NO_DEVICES}
    doubtful: BaseName | None = None
    for name in sorted(base_files(fs, directory), reverse=True):
        try:
            wanted = _base_name(fs, directory, name)
            if doubtful is None and SalvagedFile.open(fs, directory / name) is not None:
                doubtful = wanted
            check_base(fs, directory, wanted)
            base = DeviceBase.open(fs, directory, wanted)
        except (EngineError, OSError, struct.error):
            continue
        section["devices"] = {**NO_DEVICES, "base": wanted.to_list()}
        section["databases"] = [d.to_map() for d in _databases_of(base)]
        unknown.append(_SETTINGS)
        return Catalog.restore(msgpack.packb(section), CatalogFiles(fs, root))
    if doubtful is None:
        return Catalog()
    unknown.append(_SETTINGS)
    section["devices"] = {**NO_DEVICES, "base": doubtful.to_list()}
    rows = {name: table.devices for name, table in tables.items()}
    packed = msgpack.packb(section)
    return salvaged_catalog(fs, root, packed, rows, grain_ns(tables), definitions, unknown)


def _base_name(fs: Filesystem, directory: Path, name: str) -> BaseName:
    with fs.open_read(directory / name) as file:
        _, _, _, crc, _ = HEAD.unpack(file.read_at(0, HEAD.size))
        return BaseName(name, file.size(), crc)


def _databases_of(base: DeviceBase) -> list[Database]:
    """One per index that devices of the base name, called as their paths suggest."""
    found: list[Database] = []
    names: set[str] = set()
    database_of = np.asarray(base.database_of)
    for index in range(base.databases):
        mine = np.flatnonzero(np.broadcast_to(database_of, base.count) == index)
        name = default_database_name(base.path(int(mine[0]))) if len(mine) else ""
        if not name or name in names:
            name = f"{LOST_DEVICES}{index}"
        names.add(name)
        found.append(Database(name))
    return found


def _define_devices(
    catalog: Catalog,
    records: Sequence[DeviceRecord],
    tables: dict[str, TableContent],
    unknown: list[str],
) -> None:
    """Devices in the order of their ids: those of the log, and stand-ins between them."""
    for record in sorted(records, key=lambda each: int(each.ids[0]) if len(each.ids) else 0):
        if not len(record.ids):
            continue
        first = int(record.ids[0])
        if first > len(catalog.devices):
            _lost_devices(catalog, len(catalog.devices), first, tables, unknown)
        for database in catalog.missing_databases(record.paths):
            catalog.apply_schema(catalog.schema_record("database", **database.to_map()))
        catalog.add_devices(record)


def _lost_devices(
    catalog: Catalog,
    first: int,
    end: int,
    tables: dict[str, TableContent],
    unknown: list[str],
) -> None:
    """Stand-ins for the ids from ``first`` to ``end``, each in the family that has its rows."""
    unknown.append(f"paths and tags of devices {first} to {end - 1}: they are {LOST_DEVICES}.d<id>")
    define_lost_database(catalog, grain_ns(tables))
    family_of: dict[int, str] = {}
    # Rollup tables have longer names than their source, and the same devices.
    for name, table in sorted(tables.items(), key=lambda item: -len(item[0])):
        devices = table.devices
        for device in devices[(devices >= first) & (devices < end)].tolist():
            family_of[device] = name
    for ids, family in _runs(first, end, family_of):
        paths = [lost_path(device) for device in ids]
        catalog.add_devices(
            DeviceRecord(family, np.array(ids, np.uint32), paths, {}, foreign=False)
        )


def _runs(first: int, end: int, family_of: dict[int, str]) -> Iterator[tuple[range, str]]:
    """Neighbouring ids of one family; ids without rows are of none."""
    start = first
    for device in range(first, end):
        following = family_of.get(device + 1, "") if device + 1 < end else None
        if following != family_of.get(device, ""):
            yield range(start, device + 1), family_of.get(device, "")
            start = device + 1


def rebuilt_origins(own: tuple[str, str], highest: int, unknown: list[str]) -> bytes:
    """The section of origins: this node, and stand-ins up to index ``highest``."""
    if highest:
        unknown.append(f"which nodes the origins 1 to {highest} are: their rows stay, unnamed")
    others = [[f"{index:032x}", f"lost-{index}", 0] for index in range(1, highest + 1)]
    packed: bytes = msgpack.packb([[*own, 0], *others])
    return packed


def rebuilt_accounts(tables: dict[str, TableContent], unknown: list[str]) -> bytes:
    """The section of accounts, as if the parts held all that was ever stored."""
    unknown.append("how many rows were overwritten, deleted or expired before")
    packed: bytes = msgpack.packb(
        {
            name: {
                "logged": table.rows,
                "live": table.rows,
                "unresolved": 0,
                "overwritten": 0,
                "deleted": 0,
                "newest": table.newest.tobytes(),
            }
            for name, table in tables.items()
        }
    )
    return packed
