"""The catalog: databases, templates and devices, as a state machine over SCH and DEV records.

1. A change is first checked, then logged with every id explicit, then applied: by the caller that
   appended it (under the store's append lock) and, after a restart, by replay of the log.
2. Applying a record twice changes nothing, so replay over a checkpoint is safe.
3. Reads need no lock (see devices.py); changes are made by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.catalog.base import DeviceBase
from mainstem_engine.catalog.base_file import BaseName
from mainstem_engine.catalog.databases import (
    PRECISION_NS,
    Database,
    Databases,
    default_database_name,
)
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.devices import Devices, TagValue
from mainstem_engine.catalog.names import canonical_path, is_below
from mainstem_engine.catalog.sections import (
    CatalogFiles,
    CatalogSnapshot,
    encode_snapshot,
    overlay_records,
)
from mainstem_engine.catalog.tags import CodedTag
from mainstem_engine.catalog.templates import (
    Table,
    Templates,
    template_from_map,
    template_to_map,
)
from mainstem_engine.catalog.ttl import KEEP_OP, TTL_OP, RetentionRules
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import Template

__all__ = ["Catalog", "checked_device_path", "encode_snapshot"]

DEVICES_MAX = 0xFFFFFFFE
"""Ids are uint32 and the last value means "no device"."""


class Catalog:
    """What exists, and what it is called."""

    def __init__(self) -> None:
        self.databases = Databases()
        self.templates = Templates()
        self.devices = Devices()
        self.rules = RetentionRules()
        self.revision = 0
        """Rises when something has changed, not before: what was learnt at one that still stands
        is still true."""
        self.definitions_revision = 0
        """Rises with it, but not for devices in databases that hold others of their template."""

    # Reading

    def table(self, name: str) -> Table:
        """Raises NotFoundError."""
        found = self.templates.get(name)
        if found is None:
            raise NotFoundError(
                f"there is no template {name!r}", field=name, hint="create it, or SHOW TEMPLATES"
            )
        return found

    def template(self, name: str) -> Template:
        """Raises NotFoundError."""
        return self.table(name).template

    def is_foreign(self, name: str) -> bool:
        """True for a template made for a child's data. Raises NotFoundError."""
        return self.table(name).foreign

    def family(self, name: str) -> str:
        """The family of a template or rollup table; its source need not exist here."""
        found = self.templates.get(name)
        if found is not None:
            return found.family
        if self.templates.family_exists(name):
            return name
        return self.table(name).family

    def table_of_device(self, path: str) -> tuple[Table, int] | None:
        """(table, device id) of a device path, None when unknown or when only rollups are held."""
        device = self.devices.id_of(path)
        if device is None:
            return None
        table = self.templates.get(self.devices.family_name(device))
        return None if table is None else (table, device)

    def database_of(self, device: int) -> Database:
        """The database that a device belongs to."""
        return self.databases.at(self.devices.database_index(device))

    def precision_ns(self, table_name: str) -> int:
        """Finest precision of the databases that hold or are set to hold the table's devices."""
        table = self.table(table_name)
        indexes = self.devices.family_databases(table.family)
        found = [self.databases.at(i).precision_ns for i in indexes]
        if not found:
            set_paths = table.set_paths
            set_indexes = [self.databases.index_of_path(path) for path in set_paths]
            found = [self.databases.at(i).precision_ns for i in set_indexes if i is not None]
        return min(found, default=PRECISION_NS["ms"])

    # Changing

    def missing_databases(
        self, paths: Sequence[str], indexes: Sequence[int | None] | None = None
    ) -> list[Database]:
        """Databases to make before devices of these paths are added. ``indexes``: of the databases
        that they lie in, if known."""
        orphans: dict[str, str] = {}
        if indexes is None:
            indexes = self.databases.indexes_of_paths(paths)
        for path, index in zip(paths, indexes, strict=True):
            if index is None:
                orphans.setdefault(path.rpartition(".")[0], path)
        names = dict.fromkeys(default_database_name(path) for path in orphans.values())
        return [Database(name) for name in names]

    def schema_record(self, op: str, **fields: Any) -> dict[str, Any]:
        """Header of an SCH record."""
        return {"op": op, **fields}

    def apply_schema(self, header: Mapping[str, Any]) -> None:
        """Applies an SCH record. Unknown operations are of a later version and are ignored."""
        try:
            self._apply_schema(header)
        finally:
            self.definitions_revision += 1
            self.revision += 1

    def _apply_schema(self, header: Mapping[str, Any]) -> None:
        op = header.get("op")
        if op == "template":
            self.templates.put(template_from_map(header), foreign=bool(header.get("foreign")))
            for rollup in header.get("rollups", ()):
                # They exist: whose they are does not change.
                self.templates.put(template_from_map(rollup), foreign=True)
            if "tag_aliases" in header:
                self.devices.alias_tags(header["name"], header["tag_aliases"])
        elif op == "drop":
            self._drop(header)
        elif op == "tags":
            devices = np.frombuffer(header["devices"], "<u4").astype(np.uint32)
            self.devices.set_tags(header["name"], devices, header["tags"])
        elif op == "set":
            self.templates.set_on(header["name"], header["path"])
        elif op == "unset":
            self.templates.unset_on(header["name"], header["path"])
        elif op == "database":
            self._put_database(Database.from_map(header))
        elif op in (TTL_OP, KEEP_OP):
            self.rules.apply(header)

    def _drop(self, header: Mapping[str, Any]) -> None:
        gone = bool(header["gone"])
        if "devices" in header:
            devices = np.frombuffer(header["devices"], "<u4").astype(np.uint32)
            (self.devices.drop if gone else self.devices.revive)(devices)
        elif "template" in header:
            self.templates.drop(header["template"], gone)
            if gone:
                self._forget_keeps(header["template"])
        elif "database" in header:
            self.databases.drop(header["database"], gone)

    def _forget_keeps(self, family: str) -> None:
        """Of a template and its rollups."""
        for table in self.templates.all():
            if table.family.casefold() == family.casefold():
                self.rules.forget_keep(table.name)

    def _put_database(self, database: Database) -> None:
        added = self.databases.get(database.name) is None
        self.databases.put(database)
        if added and len(self.devices):
            self._take_over(len(self.databases) - 1)

    def _take_over(self, index: int) -> None:
        """A database gets the devices below it, but for those of databases further below."""
        name = self.databases.at(index).name
        self.devices.take_over(
            name, index, lambda other: is_below(self.databases.at(other).name, name)
        )

    def device_record(
        self,
        family: str,
        paths: Sequence[str],
        tags: Mapping[str, Sequence[TagValue] | CodedTag],
        foreign: bool,
    ) -> DeviceRecord:
        """Gives these (new, distinct) devices the next ids."""
        first = len(self.devices)
        if first + len(paths) > DEVICES_MAX:
            raise SchemaError("there are no device ids left")
        ids = np.arange(first, first + len(paths), dtype=np.uint32)
        coded = {
            name: values if isinstance(values, CodedTag) else CodedTag.of(values)
            for name, values in tags.items()
        }
        return DeviceRecord(family, ids, list(paths), coded, foreign)

    def add_devices(
        self, record: DeviceRecord, indexes: Sequence[int | None] | None = None
    ) -> None:
        """Applies a DEV record. ``indexes``: of the databases that its paths lie in, if known.
        Raises SchemaError."""
        found = self.databases.indexes_of_paths(record.paths) if indexes is None else indexes
        if None in found:
            path = record.paths[found.index(None)]
            raise SchemaError(f"device {path} lies in no database")
        known = self.devices.family_databases(record.family)
        try:
            self.devices.add(record, np.array(found, np.uint16))
        finally:
            if not {*found} <= {*known}:
                self.definitions_revision += 1
            self.revision += 1

    def apply_devices(self, header: Mapping[str, Any]) -> None:
        """Applies a DEV record as the log has it. Raises SchemaError."""
        self.add_devices(DeviceRecord.from_header(header))

    # Checkpoint

    def snapshot(self) -> CatalogSnapshot:
        """What later changes do not touch, for encode_snapshot."""
        fields = {
            "databases": [database.to_map() for database in self.databases],
            "templates": [
                {
                    "template": template_to_map(table.template),
                    "foreign": table.foreign,
                    "set": list(table.set_paths),
                }
                for table in self.templates.all()
            ],
            "rules": self.rules.to_map(),
            **self._changes(),
        }
        devices = self.devices.snapshot(len(self.databases))
        return CatalogSnapshot(fields, devices, self.devices.overlay_bytes)

    def _changes(self) -> dict[str, Any]:
        """What was dropped or changed afterwards; nothing in most catalogs."""
        changes: dict[str, Any] = {}
        templates, databases = self.templates.dropped, self.databases.dropped
        devices = self.devices.dropped
        if templates or databases or len(devices):
            changes["dropped"] = [templates, databases, devices.astype("<u4").tobytes()]
        tags = self.devices.tag_changes.to_map()
        return {**changes, "tag_changes": tags} if tags else changes

    def _restore_changes(self, fields: Mapping[str, Any]) -> None:
        templates, databases, devices = fields.get("dropped", ([], [], b""))
        for name in templates:
            self.templates.drop(name, True)
        for name in databases:
            self.databases.drop(name, True)
        ids = np.frombuffer(devices, "<u4").astype(np.uint32)
        self.devices.restore_changes(ids, fields.get("tag_changes", {}))

    def adopt(self, base: DeviceBase) -> None:
        """Puts a base that a committed checkpoint names in place of the one before it."""
        self.devices.adopt(base)

    @classmethod
    def restore(cls, data: bytes, files: CatalogFiles | None = None) -> Catalog:
        """The catalog of a checkpoint section. Raises CorruptionError when its base is damaged,
        SchemaError when it names one and there are no ``files``."""
        fields = msgpack.unpackb(data, strict_map_key=False)
        catalog = cls()
        for database in fields["databases"]:
            catalog.databases.put(Database.from_map(database))
        for entry in fields["templates"]:
            template = template_from_map(entry["template"])
            catalog.templates.put(template, foreign=entry["foreign"])
            for path in entry["set"]:
                catalog.templates.set_on(template.name, path)
        catalog._restore_devices(fields["devices"], files)
        if "rules" in fields:
            catalog.rules.restore(fields["rules"])
        catalog._restore_changes(fields)
        return catalog

    def _restore_devices(self, fields: Mapping[str, Any], files: CatalogFiles | None) -> None:
        named = fields.get("base")
        if named is not None:
            if files is None:
                raise SchemaError("the catalog has a base file, and its directory is not known")
            base = files.open(BaseName.from_list(named))
            self.devices.adopt(base)
            for index in range(base.databases, len(self.databases)):
                self._take_over(index)
        for record in overlay_records(fields, len(self.devices)):
            self.add_devices(record)


def checked_device_path(path: str) -> str:
    """The kept form of a device path. Raises SchemaError."""
    return canonical_path(path)
