"""The catalog of a checkpoint whose base is damaged.

1. Databases, templates, rules and the devices that the checkpoint holds itself stay as they are.
2. Of the base, everything whose checksum is right is kept (catalog/base_salvage.py); paths that
   are lost are looked for elsewhere (lost_names.py).
3. A device whose path is not found is called ``root.lost.d<id>``. Ids, families and tags stay.
4. All this becomes a new base beside the old one. What is not known any more is said, by id.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.catalog.base_file import CATALOG_DIRECTORY, BaseName
from mainstem_engine.catalog.base_salvage import (
    SalvagedDevices,
    salvage_devices,
    write_salvaged,
)
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.devices import LOST_DEVICES
from mainstem_engine.catalog.salvaged_file import SalvagedFile
from mainstem_engine.catalog.sections import CatalogFiles
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.records import Record
from mainstem_engine.lost_names import find_names
from mainstem_engine.model import AnyArray, DeviceIds

NO_DEVICES: dict[str, Any] = {
    "base": None,
    "paths": "",
    "family": b"",
    "foreign": b"",
    "families": [],
}
"""The devices of a catalog section that has none."""
RUNS_MAX = 1000
"""Ranges of ids that a report names one by one; the rest can be listed below ``root.lost``."""
_PRECISIONS = (("ms", 1_000_000), ("us", 1_000), ("ns", 1))


def definitions_of(section: bytes) -> Catalog:
    """Databases, templates and rules of a catalog section, whatever its base looks like."""
    fields = msgpack.unpackb(section, strict_map_key=False)
    return Catalog.restore(msgpack.packb({**fields, "devices": NO_DEVICES}))


def salvaged_catalog(
    fs: Filesystem,
    root: Path,
    section: bytes,
    rows: Mapping[str, DeviceIds],
    grain_ns: int,
    definitions: Sequence[Record],
    unknown: list[str],
) -> Catalog:
    """The catalog of a whole section that names a damaged base; the new base is written.

    ``rows``: by table the devices with rows in parts, whose times are multiples of ``grain_ns``.
    ``definitions``: SCH and DEV records of the log. What is lost is added to ``unknown``, in words.
    """
    fields = msgpack.unpackb(section, strict_map_key=False)
    named = BaseName.from_list(fields["devices"]["base"])
    catalog = definitions_of(section)
    file = SalvagedFile.open(fs, root / CATALOG_DIRECTORY / named.name, named.crc)
    count = named.devices if file is None else int(file.fields["devices"])
    if file is None:
        unknown.append(f"tags of devices 0 to {max(count, 1) - 1}: nothing of their file is left")
    devices = fields["devices"]
    if not count:
        # A checkpoint of an earlier form does not say where its own devices begin.
        count = max((int(ids[-1]) + 1 for ids in rows.values() if len(ids)), default=0)
        if devices["paths"]:
            unknown.append("the devices that the checkpoint holds itself: their ids are not known")
            devices = NO_DEVICES
    by_family = _by_family(catalog, rows)
    foreign = [table.family for table in catalog.templates.all() if table.foreign]
    salvaged = salvage_devices(file, count, by_family, foreign)
    find_names(salvaged.names, fs, root, definitions)
    _say(salvaged, unknown)
    paths = [name or lost_path(device).encode() for device, name in enumerate(salvaged.names)]
    if None in salvaged.names:
        define_lost_database(catalog, grain_ns)
    for database in catalog.missing_databases([path.decode() for path in paths]):
        catalog.apply_schema(catalog.schema_record("database", **database.to_map()))
    base = write_salvaged(salvaged, paths, catalog.databases, fs, root / CATALOG_DIRECTORY)
    fields["databases"] = [database.to_map() for database in catalog.databases]
    fields["devices"] = {**devices, "base": base.to_list()}
    return Catalog.restore(msgpack.packb(fields), CatalogFiles(fs, root))


def lost_path(device: int) -> str:
    """What a device is called whose path is lost."""
    return f"{LOST_DEVICES}.d{device}"


def define_lost_database(catalog: Catalog, grain_ns: int) -> None:
    """The database of such devices, with the coarsest precision that holds every time."""
    if catalog.databases.get(LOST_DEVICES) is None:
        precision = next(name for name, size in _PRECISIONS if grain_ns % size == 0)
        database = Database(LOST_DEVICES, precision=precision)
        catalog.apply_schema(catalog.schema_record("database", **database.to_map()))


def _by_family(catalog: Catalog, rows: Mapping[str, DeviceIds]) -> dict[str, DeviceIds]:
    """Devices with rows by family; a rollup table without a template counts last."""
    found: dict[str, DeviceIds] = {}
    for name in sorted(rows, key=len):
        table = catalog.templates.get(name)
        family = name if table is None else table.family
        found[family] = np.union1d(found.get(family, rows[name][:0]), rows[name])
    return found


def _say(salvaged: SalvagedDevices, unknown: list[str]) -> None:
    """What is lost, in words."""
    unnamed = [device for device, name in enumerate(salvaged.names) if name is None]
    if unnamed:
        ids = np.array(unnamed, np.uint32)
        unknown.append(f"paths of devices {_runs(ids)}: they are {LOST_DEVICES}.d<id>")
    if len(salvaged.no_family):
        unknown.append(f"the template and tags of devices {_runs(salvaged.no_family)}")
    if len(salvaged.no_origin):
        ids = salvaged.no_origin
        unknown.append(f"whether devices {_runs(ids)} are a child's: it is as their templates are")
    for family in salvaged.families:
        for tag, ids in family.lost.items():
            if len(ids):
                unknown.append(f"tag {tag!r} of {family.name}: its values of devices {_runs(ids)}")


def _runs(ids: AnyArray) -> str:
    """Ascending ids in words: "3, 5 to 9"."""
    cuts = [0, *(np.flatnonzero(np.diff(ids.astype(np.int64)) != 1) + 1).tolist(), len(ids)]
    runs = list(itertools.pairwise(cuts))
    texts = []
    for start, end in runs[:RUNS_MAX]:
        first, last = int(ids[start]), int(ids[end - 1])
        texts.append(str(first) if first == last else f"{first} to {last}")
    if len(runs) > RUNS_MAX:
        texts.append(f"and {len(ids) - runs[RUNS_MAX][0]:,} more")
    return ", ".join(texts)
