"""Taking definitions away, and changing tags.

1. Stored rows stay addressed by what they were written with: ids of devices and of measurements are
   never given again. So whatever is dropped stays known to the engine and is hidden from whoever
   looks for it; its rows are deleted before, by the caller.
2. What is made anew under the name of something dropped continues it: a device gets its id back and
   new tags, a template keeps its old measurements under names that begin with ``#``.
3. Each change is checked, logged and applied under the append lock, and durable at the return. Only
   what this node has made itself is dropped here; what a child drops or changes of its own is
   followed (``foreign``), without waiting for the disk: the child's record makes it durable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_engine.alterations import Alterations, log_schema
from mainstem_engine.catalog.revisions import TagRevision, retagged_template
from mainstem_engine.catalog.tag_changes import dropped, renamed
from mainstem_engine.catalog.tag_values import checked_tags
from mainstem_engine.catalog.templates import Table, template_to_map
from mainstem_engine.errors import NotFoundError, NotOwnerError, SchemaError
from mainstem_engine.model import DeviceIds, Template


class Dropping(Alterations):
    """The dropping half of an Engine."""

    def drop_devices(self, devices: DeviceIds) -> None:
        """Hides devices (uint32[n]) whose rows were deleted. Raises NotOwnerError for one that a
        child has made."""
        catalog = self._store.catalog
        with self._store.append_lock:
            for device in devices.tolist():
                if catalog.devices.is_foreign(device):
                    family = catalog.devices.family_name(device)
                    raise NotOwnerError(family, catalog.devices.path(device), "a child node")
            if not len(devices):
                return
            ack = log_schema(self._store, "drop", {"devices": _packed(devices), "gone": True})
        ack.wait()

    def drop_template(self, name: str, *, foreign: bool = False) -> None:
        """Hides a template and its rollups. Raises SchemaError while it is set or has devices."""
        catalog = self._store.catalog
        with self._store.append_lock:
            table = catalog.table(name)
            count = len(catalog.devices.of_family(table.family))
            if table.replaces_rows or table.set_paths or count:
                held = f"set on {', '.join(table.set_paths)}" if table.set_paths else "in use"
                raise SchemaError(
                    f"template {table.name} is {'a rollup' if table.replaces_rows else held}",
                    field=table.name,
                    hint="DEACTIVATE it on its devices, then UNSET it"
                    if not table.replaces_rows
                    else f"drop {table.family}",
                )
            fields = {"template": table.name, "gone": True, **_FOREIGN[foreign]}
            ack = log_schema(self._store, "drop", fields)
        if not foreign:
            ack.wait()

    def drop_database(self, name: str) -> None:
        """Hides a database without devices, and forgets its settings. Raises SchemaError."""
        catalog = self._store.catalog
        with self._store.append_lock:
            database = catalog.databases.get(name)
            if database is None:
                raise NotFoundError(f"there is no database {name}", field=name)
            below = catalog.devices.below(database.name)
            owners = catalog.devices.database_indexes(below)
            if any(catalog.databases.at(i) == database for i in np.unique(owners).tolist()):
                raise SchemaError(f"database {name} has devices", field=name)
            ack = log_schema(self._store, "drop", {"database": database.name, "gone": True})
        ack.wait()

    def set_tags(
        self,
        template: str,
        devices: DeviceIds,
        tags: Mapping[str, Any],
        *,
        foreign: bool = False,
    ) -> None:
        """Other tag values for devices (uint32[n]) of a template; None takes one away.

        Raises NotFoundError for a tag that is not declared, SchemaError for a value of another
        type or when too many values would have been changed.
        """
        catalog = self._store.catalog
        with self._store.append_lock:
            table = catalog.table(template)
            checked = checked_tags(table, {name: [value] for name, value in tags.items()}, 1)
            catalog.devices.tag_changes.check_room(len(devices) * len(tags))
            values = {name: column[0] for name, column in checked.items()}
            ack = log_schema(
                self._store,
                "tags",
                {
                    "name": table.family,
                    "devices": _packed(devices),
                    "tags": values,
                    **_FOREIGN[foreign],
                },
            )
        if not foreign:
            ack.wait()

    def follow_dropped(self, devices: DeviceIds, *, gone: bool) -> None:
        """Devices (uint32[n]) that a child has dropped, or made again. Those that are not a child's
        stay as they are."""
        known = self._store.catalog.devices
        with self._store.append_lock:
            hidden = np.isin(devices, known.dropped)
            some = devices[~hidden if gone else hidden]
            some = some[[known.is_foreign(device) for device in some.tolist()]]
            if not len(some):
                return
            if not gone:
                self._make_seen(some, foreign=True)
            fields = {"devices": _packed(some), "gone": gone, **_FOREIGN[True]}
            log_schema(self._store, "drop", fields)

    def alter_tags(self, name: str, revision: TagRevision) -> Template:
        """The next revision of a template, with other tags. Raises NotFoundError, SchemaError."""
        store = self._store
        with store.append_lock:
            table = store.catalog.table(name)
            if table.replaces_rows:
                raise SchemaError(
                    f"{table.name} is a rollup", field=table.name, hint=f"alter {table.family}"
                )
            wanted = retagged_template(table.template, revision)
            aliases = store.catalog.devices.tag_aliases(table.family)
            for old, new in revision.rename.items():
                aliases = renamed(aliases, old, new)
            for gone in revision.drop:
                aliases = dropped(aliases, gone)
            fields = template_to_map(wanted)
            fields["rollups"] = [
                template_to_map(_with_tags(rollup.template, wanted))
                for rollup in _rollups_of(store.catalog.templates.all(), table)
            ]
            fields["tag_aliases"] = aliases
            ack = log_schema(store, "template", {"foreign": table.foreign, **fields})
        ack.wait()
        return wanted

    # Back again

    def _make_shown(self, table: Table, *, foreign: bool = False) -> None:
        """Under the append lock: a template gets devices, so it is there."""
        if self._store.catalog.templates.is_dropped(table.family):
            fields = {"template": table.family, "gone": False, **_FOREIGN[foreign]}
            log_schema(self._store, "drop", fields)

    def _make_databases_shown(self, indexes: Sequence[int]) -> None:
        """Under the append lock: databases get devices, so they are there."""
        databases = self._store.catalog.databases
        for index in set(indexes) if databases.dropped else ():
            database = databases.at(index)
            if databases.is_dropped(database.name):
                log_schema(self._store, "drop", {"database": database.name, "gone": False})

    def _revive_written(self, devices: DeviceIds) -> None:
        """Devices that rows come for are there, whoever knows their ids."""
        known = self._store.catalog.devices
        back = np.intersect1d(devices, known.dropped).astype(np.uint32)
        if len(back):
            with self._store.append_lock:
                self._show_again(back)

    def _show_again(self, devices: DeviceIds, *, foreign: bool = False) -> None:
        """Under the append lock: dropped devices, with what they are of."""
        self._make_seen(devices, foreign=foreign)
        fields = {"devices": _packed(devices), "gone": False, **_FOREIGN[foreign]}
        log_schema(self._store, "drop", fields)

    def _make_seen(self, devices: DeviceIds, *, foreign: bool = False) -> None:
        """Under the append lock: the templates and databases of dropped devices."""
        known = self._store.catalog.devices
        for family in {known.family_name(device) for device in devices.tolist()}:
            table = self._store.catalog.templates.get(family)
            if table is not None:
                self._make_shown(table, foreign=foreign)
        self._make_databases_shown(known.database_indexes(devices).tolist())

    def _revive(
        self,
        family: str,
        paths: Sequence[str],
        tags: Mapping[str, Sequence[Any]],
        *,
        foreign: bool,
    ) -> None:
        """Under the append lock: dropped devices of these paths are there again, with new tags.

        ``tags``: n values by name. Raises SchemaError for a device of another template.
        """
        devices = self._store.catalog.devices
        ids = devices.lookup_all(paths)
        rows = np.flatnonzero(np.isin(ids, devices.dropped))
        for device in np.unique(ids[rows]).tolist():
            if devices.family_name(device).casefold() != family.casefold():
                raise SchemaError(
                    f"{devices.path(device)} was a device of {devices.family_name(device)}",
                    field=devices.path(device),
                    hint="a path keeps its template, dropped or not: use another one",
                )
        if not len(rows):
            return
        table = self._store.catalog.templates.get(family)
        declared = [] if table is None else [tag.name for tag in table.template.tags]
        self._show_again(np.unique(ids[rows]), foreign=foreign)
        for row in rows.tolist():
            values = {name: tags[name][row] if name in tags else None for name in declared}
            if values:
                device = _packed(ids[row : row + 1])
                fields = {"name": family, "devices": device, "tags": values, **_FOREIGN[foreign]}
                log_schema(self._store, "tags", fields)


_FOREIGN: Mapping[bool, Mapping[str, bool]] = {False: {}, True: {"foreign": True}}
"""Marks records of what a child did: they are not this node's to say to its own parent."""


def _packed(devices: DeviceIds) -> bytes:
    return devices.astype("<u4").tobytes()


def _rollups_of(tables: Sequence[Table], source: Table) -> list[Table]:
    wanted = source.name.casefold()
    return [table for table in tables if (table.template.rollup_of or "").casefold() == wanted]


def _with_tags(rollup: Template, source: Template) -> Template:
    return dataclasses.replace(rollup, tags=source.tags, revision=rollup.revision + 1)
