"""What may be defined: databases, templates, rollups, devices.

Every definition is checked, logged with explicit ids and applied, under the append lock, so that
two callers cannot define the same thing twice and no row can come before its device. Definitions
of a database or template return when durable: they are rare and others build on them. Devices do
not wait: the log holds them before any of their rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_engine.aggregate import rollup_template
from mainstem_engine.alterations import revise
from mainstem_engine.catalog.budget import devices_bytes, templates_bytes
from mainstem_engine.catalog.databases import DEFAULT_DURATION_NS, Database, checked_database
from mainstem_engine.catalog.names import canonical_path, canonical_paths, check_element
from mainstem_engine.catalog.revisions import adopted_template, renewed_template
from mainstem_engine.catalog.tag_changes import dropped
from mainstem_engine.catalog.tag_values import check_tag_names, checked_tags
from mainstem_engine.catalog.tags import CodedTag
from mainstem_engine.catalog.templates import (
    Table,
    checked_template,
    foreign_template,
    refuse_unseen,
    template_to_map,
)
from mainstem_engine.consumers import Ack
from mainstem_engine.dropping import Dropping
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import NO_DEVICE, DeviceIds, Template
from mainstem_engine.selections import named_devices

DEVICES_PER_RECORD = 50_000
"""Devices in one DEV record, at most; it has fewer when their paths are long (device_records.py).
So many are also created in one hold of the append lock, which takes about 0.1 s."""


class Definitions(Dropping):
    """The defining half of an Engine."""

    def create_database(
        self,
        name: str,
        *,
        keep_ns: int | None = None,
        duration_ns: int = DEFAULT_DURATION_NS,
        precision: str = "ms",
        if_not_exists: bool = False,
        **options: object,
    ) -> Database:
        """Raises SchemaError when it exists (and not ``if_not_exists``) or a setting is wrong."""
        wanted = checked_database(
            name, keep_ns=keep_ns, duration_ns=duration_ns, precision=precision, options=options
        )
        with self._store.append_lock:
            known = self._store.catalog.databases
            existing = known.get(wanted.name)
            hidden = existing is not None and known.is_dropped(existing.name)
            if existing is not None and not hidden:
                if if_not_exists:
                    return existing
                raise SchemaError(
                    f"database {wanted.name} exists", field=wanted.name, hint="use IF NOT EXISTS"
                )
            if hidden:
                self._define_schema("drop", database=wanted.name, gone=False)
            ack = self._define_schema("database", **wanted.to_map())
        ack.wait()
        return wanted

    def create_template(
        self, template: Template, *, if_not_exists: bool = False, foreign: bool = False
    ) -> Template:
        """The template as stored, measurement ids given here. ``foreign``: for a child's data; an
        existing template gets the measurements that it lacks and the wider types, see
        revisions.adopted_template. Raises SchemaError when it exists or cannot be used."""
        store = self._store
        if not foreign:
            refuse_unseen(m.name for m in template.measurements)
        if store.catalog.templates.get(template.name) is None:
            store.metadata.admit(templates_bytes([template]), f"template {template.name}")
        with store.append_lock:
            existing = store.catalog.templates.get(template.name)
            hidden = store.catalog.templates.is_dropped(template.name)
            if existing is not None and not foreign and not hidden:
                if if_not_exists:
                    return existing.template
                raise SchemaError(
                    f"template {template.name} exists",
                    field=template.name,
                    hint="use IF NOT EXISTS",
                )
            theirs = foreign_template(template) if foreign else template
            ack: Ack | None
            if existing is None:
                wanted = checked_template(theirs)
                store.metadata.require(templates_bytes([wanted]), f"template {wanted.name}")
                ack = self._define_schema("template", foreign=foreign, **template_to_map(wanted))
            elif hidden and not foreign:
                wanted = renewed_template(existing.template, checked_template(theirs))
                # A tag of a name that was there has another column: the devices that come back
                # must not have their old values, which may be of another type.
                aliases = store.catalog.devices.tag_aliases(existing.family)
                for tag in existing.template.tags:
                    aliases = dropped(aliases, tag.name)
                revise(store, existing, wanted, foreign=False, tag_aliases=aliases)
                ack = self._define_schema("drop", template=wanted.name, gone=False)
            else:
                wanted = adopted_template(existing.template, theirs.measurements)
                ack = revise(store, existing, wanted, foreign=True)
        if ack is not None:
            ack.wait()
        return wanted

    def require_own(self, paths: Sequence[str]) -> None:
        """Whether devices may be made at these paths: of an engine by itself, anywhere. A node
        refuses those that another one owns."""

    def set_template(self, template: str, path: str) -> None:
        """Data below ``path`` may create devices of the template. Raises NotFoundError."""
        where = canonical_path(path)
        with self._store.append_lock:
            table = self._store.catalog.table(template)
            if where in table.set_paths:
                return
            ack = self._define_schema("set", name=table.name, path=where)
        ack.wait()

    def create_rollup(self, table: str, name: str, every_ns: int) -> Template:
        """The rollup table ``<table>_<name>`` with windows of ``every_ns``; an existing one of the
        same window is returned, and extended when its source has new measurements."""
        check_element(name, "rollup name")
        with self._store.append_lock:
            source = self._store.catalog.table(table)
            if source.replaces_rows:
                raise SchemaError(f"{source.name} is a rollup", hint="roll up its source")
            wanted = rollup_template(source.template, name, every_ns)
            existing = self._store.catalog.templates.get(wanted.name)
            if existing is not None:
                same = (existing.template.rollup_of, existing.template.every_ns)
                if same != (source.name, every_ns):
                    raise SchemaError(f"{wanted.name} exists and is another table")
                return self.extend_template(wanted.name, wanted.measurements)
        return self.create_template(wanted, if_not_exists=True)

    def device_ids(
        self,
        template: str,
        paths: str | Sequence[str],
        tags: Mapping[str, Sequence[Any]] | None = None,
        *,
        create: bool = False,
        foreign: bool = False,
        durable: bool = True,
    ) -> DeviceIds:
        """uint32[n] of one path or n. Unknown ones are created, or NotFoundError names the first.
        ``tags``: n values by name; those of devices that exist stay as they are. Raises SchemaError
        for a device of another template.

        New devices are durable when this returns; not ``durable``: with the next record that is
        acknowledged, for a caller that writes rows of them at once."""
        catalog = self._store.catalog
        family = catalog.family(template)
        kept = canonical_paths([paths] if isinstance(paths, str) else paths)
        table = catalog.templates.get(template)
        check_tag_names(table, tags, len(kept))
        known = len(catalog.devices)
        ids = catalog.devices.lookup(kept)
        unknown = np.flatnonzero(ids == NO_DEVICE)
        if len(unknown):
            if not create:
                missing = kept[unknown[0]]
                raise NotFoundError(
                    f"there is no device {missing}", field=missing, hint="create it first"
                )
            checked = checked_tags(table, tags, len(kept))
            new = [kept[row] for row in unknown.tolist()]
            coded = {name: CodedTag.of(values).take(unknown) for name, values in checked.items()}
            ids[unknown] = self._create_devices(family, new, coded, foreign, known)
            if durable:
                self._store.barrier()
        if not catalog.devices.all_in_family(ids, family):
            self._refuse_other_family(family, ids)
        return ids

    def _create_devices(
        self, family: str, paths: list[str], tags: Mapping[str, CodedTag], foreign: bool, known: int
    ) -> DeviceIds:
        """Ids of paths that were not there when there were ``known`` devices."""
        pieces = []
        for start in range(0, len(paths), DEVICES_PER_RECORD):
            some = paths[start : start + DEVICES_PER_RECORD]
            rows = np.arange(start, start + len(some))
            mine = {name: tag.take(rows) for name, tag in tags.items()}
            pieces.append(self._create_some(family, some, mine, foreign, known))
        return np.concatenate(pieces)

    def _create_some(
        self, family: str, paths: list[str], tags: Mapping[str, CodedTag], foreign: bool, known: int
    ) -> DeviceIds:
        store = self._store
        needed_bytes = devices_bytes(paths, tags.values())
        while True:
            store.metadata.admit(needed_bytes, f"{len(paths)} devices")
            with store.append_lock:
                if store.metadata.fits(needed_bytes):
                    return self._create_now(family, paths, tags, foreign, known)
            # Others were quicker: wait again.

    def _create_now(
        self, family: str, paths: list[str], tags: Mapping[str, CodedTag], foreign: bool, known: int
    ) -> DeviceIds:
        """Under the append lock."""
        store = self._store
        devices = store.catalog.devices
        table = store.catalog.templates.get(family)
        if table is not None:
            self._make_shown(table, foreign=foreign)
        if len(devices.dropped):
            values = {name: tag.to_list() for name, tag in tags.items()}
            self._revive(family, paths, values, foreign=foreign)
            ids = devices.lookup(paths)
        else:
            ids = devices.lookup_since(paths, known)
        unknown = np.flatnonzero(ids == NO_DEVICE)
        new = paths if len(unknown) == len(paths) else [paths[row] for row in unknown.tolist()]
        if not new:
            return ids
        distinct, twice = unknown, len(set(new)) < len(new)
        if twice:
            # Of a path that is there twice the first counts.
            first = dict(zip(reversed(new), reversed(unknown.tolist()), strict=True))
            distinct = np.array(sorted(first.values()))
            new = [paths[row] for row in distinct.tolist()]
        lie_in = store.catalog.databases.indexes_of_paths(new)
        if None in lie_in:
            for database in store.catalog.missing_databases(new, lie_in):
                self._define_schema("database", **database.to_map())
            lie_in = store.catalog.databases.indexes_of_paths(new)
        self._make_databases_shown([index for index in lie_in if index is not None])
        coded = {name: tag.take(distinct) for name, tag in tags.items()}
        whole = store.catalog.device_record(family, new, coded, foreign)
        done = 0
        for record in whole.pieces(DEVICES_PER_RECORD):
            store.append(RecordKind.DEV, record.to_header(), (), None)
            store.catalog.add_devices(record, lie_in[done : done + len(record.paths)])
            done += len(record.paths)
        ids[distinct] = whole.ids
        return devices.lookup(paths) if twice else ids

    def _refuse_other_family(self, family: str, ids: DeviceIds) -> None:
        devices = self._store.catalog.devices
        for device in ids.tolist():
            if device >= len(devices):
                raise NotFoundError(f"there is no device with id {device}")
            if devices.family_name(device).casefold() != family.casefold():
                raise SchemaError(
                    f"device {devices.path(device)} belongs to template "
                    f"{devices.family_name(device)}, not {family}",
                    field=devices.path(device),
                    hint="use another device path",
                )

    def _devices_for_write(self, table: Table, devices: Any, rows: int) -> DeviceIds:
        """uint32[rows] from a path, a list of paths or ids. Paths that may be created by data alone
        are; NotFoundError says what to do about others."""
        catalog = self._store.catalog
        if isinstance(devices, str):
            found = catalog.devices.id_of(devices)
            if found is None or catalog.devices.family_name(found) != table.family:
                found = int(self._ids_of_paths(table, [devices])[0])
            return np.full(rows, found, np.uint32)
        named = named_devices(devices)
        if isinstance(named, np.ndarray):
            one = np.ndim(devices) == 0
            ids = np.full(rows, named, np.uint32) if one else np.array(named, np.uint32)
            if not catalog.devices.all_in_family(ids, table.family):
                self._refuse_other_family(table.family, np.unique(ids))
        else:
            ids = self._ids_of_paths(table, named)
        if ids.shape != (rows,):
            raise SchemaError(
                f"{len(ids)} devices for {rows} rows", field="devices", hint="give one per row"
            )
        return ids

    def _ids_of_paths(self, table: Table, paths: Sequence[str]) -> DeviceIds:
        catalog = self._store.catalog
        ids = catalog.devices.lookup(paths)
        unknown = ids == NO_DEVICE
        if not unknown.any() and catalog.devices.all_in_family(ids, table.family):
            return ids
        rows = np.flatnonzero(unknown).tolist()
        kept = canonical_paths([paths[row] for row in rows])
        refused = [path for path in kept if not table.may_create(path)] if table.set_paths else []
        if refused and (catalog.devices.lookup(refused) == NO_DEVICE).any():
            path = refused[int(np.argmax(catalog.devices.lookup(refused) == NO_DEVICE))]
            raise NotFoundError(
                f"there is no device {path}, and template {table.name} is not set above it",
                field=path,
                hint=f"SET SCHEMA TEMPLATE {table.name} TO a path above it, or create it "
                f"with USING {table.name} TAGS (...)",
            )
        return self.device_ids(table.name, paths, create=True, durable=False)

    def _define_schema(self, op: str, **fields: Any) -> Ack:
        header = self._store.catalog.schema_record(op, **fields)
        ack = self._store.append(RecordKind.SCH, header, (), None)
        self._store.catalog.apply_schema(header)
        return ack
