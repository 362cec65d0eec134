"""DROP, DEACTIVATE and DELETE TIMESERIES: rows first, then what they were of.

1. Everything is found and checked before a row is deleted. Only what this node has made is dropped:
   the engine refuses rows of other nodes.
2. A table or device goes with its rows; a template with all of its devices; a database with all of
   its devices, and the templates that are set in it are unset. A template that is shared stays.
3. DROP SCHEMA TEMPLATE is refused while the template is set or has devices, as IoTDB refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.catalog.names import is_below, split_path
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import DeviceIds, Measurement
from mainstem_engine.sql.definitions.device_templates import is_own_name
from mainstem_engine.sql.select.relations import (
    DEVICE,
    TIME,
    database_name,
    device_path,
    match_devices,
    path_pattern,
)
from mainstem_engine.sql.statements import Deactivate, Drop, Name

if TYPE_CHECKING:
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.sql.storage import Storage


class Removal:
    """Carries out what takes definitions away; ``database``: of short names."""

    def __init__(self, engine: Storage, database: str) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._database = database

    def drop(self, statement: Drop) -> None:
        """Raises NotFoundError unless IF EXISTS, SchemaError, NotOwnerError."""
        remove = {
            "TABLE": self._drop_table,
            "STABLE": self._drop_stable,
            "TEMPLATE": self._drop_template,
            "DATABASE": self._drop_database,
        }[statement.what]
        for name in self._meant(statement):
            try:
                remove(name)
            except NotFoundError:
                if not statement.if_exists:
                    raise

    def _meant(self, statement: Drop) -> list[Name]:
        """The names; of a pattern all databases, those further below first."""
        meant: list[Name] = []
        for name in statement.names:
            if not name.is_pattern:
                meant.append(name)
                continue
            pattern = path_pattern(name)
            every = [d.name for d in self._catalog.databases.shown() if pattern.fullmatch(d.name)]
            if not every and not statement.if_exists:
                raise NotFoundError(
                    f"no database matches {name}", field=str(name), hint="SHOW DATABASES"
                )
            meant += [Name(tuple(split_path(found))) for found in sorted(every, reverse=True)]
        return meant

    def deactivate(self, statement: Deactivate) -> None:
        """Drops devices with their rows. Raises NotFoundError when none is meant."""
        wanted = None if statement.template is None else self._table(statement.template).family
        ids: set[int] = set()
        for name in statement.targets:
            found = match_devices(self._catalog, name) if name.is_pattern else self._device(name)
            families = ((d, self._catalog.devices.family_name(d)) for d in found)
            ids.update(
                device
                for device, family in families
                if (not is_own_name(family) if wanted is None else family == wanted)
            )
        if not ids:
            raise NotFoundError(
                f"no device of {statement.template or 'a template'} is meant",
                hint="SHOW PATHS USING SCHEMA TEMPLATE t lists them",
            )
        self._drop_devices(ids)

    def measurements(self, table: Table, names: Sequence[str]) -> list[Measurement]:
        """Those of these names, each once. Raises NotFoundError, or SchemaError for what cannot be
        dropped."""
        found: dict[int, Measurement] = {}
        for name in names:
            measurement = table.measurement(name)
            if measurement is not None and measurement in table.shown:
                found[measurement.id] = measurement
                continue
            if table.tag(name) is not None:
                raise SchemaError(f"{table.name}.{name} is a tag", field=name, hint="use DROP TAG")
            if name.casefold() in (TIME, DEVICE, table.template.time_name.casefold()):
                raise SchemaError(
                    f"{name} of {table.name} cannot be dropped",
                    field=name,
                    hint="every table has a time and a device",
                )
            raise NotFoundError(
                f"{table.name} has no column {name!r}", field=name, hint="see DESCRIBE"
            )
        return list(found.values())

    def drop_measurements(self, table: Table, names: Sequence[str]) -> None:
        """Takes measurements and their values from a template; the last one of a device's own
        takes the device too."""
        dropped = self.measurements(table, names)
        if len(dropped) == len(table.shown) and is_own_name(table.name):
            self._drop_devices(self._catalog.devices.of_family(table.family).tolist())
            return
        gone = [m.name for m in dropped]
        self._engine.delete(table.name, measurements=gone).ack.wait()
        self._engine.hide_measurements(table.name, gone)

    def drop_series(self, deleted: Mapping[str, Sequence[str] | None]) -> list[str]:
        """After the values of series (measurements by template, None for all) were deleted: what is
        one device's own goes with them. The warnings."""
        kept = False
        for name, measurements in deleted.items():
            table = self._catalog.table(name)
            if is_own_name(name):
                every = [m.name for m in table.shown]
                self.drop_measurements(table, every if measurements is None else measurements)
            else:
                kept = True
        return ["the template keeps the measurement: its values were deleted"] if kept else []

    # Each kind

    def _drop_table(self, name: Name) -> None:
        if len(name.elements) == 1 and self._catalog.templates.find(name.elements[0]) is not None:
            raise SchemaError(f"{name} is a template", field=str(name), hint="use DROP STABLE")
        self._drop_devices(self._device(name))

    def _drop_stable(self, name: Name) -> None:
        path = device_path(name, self._database)
        if len(name.elements) > 1 and self._catalog.devices.id_of(path) is not None:
            raise SchemaError(f"{path} is a device", field=path, hint="use DROP TABLE")
        table = self._table(name.elements[-1])
        if table.replaces_rows:
            raise SchemaError(
                f"{table.name} is a rollup", field=table.name, hint=f"drop {table.family}"
            )
        self._drop_devices(self._catalog.devices.of_family(table.family).tolist())
        for path in table.set_paths:
            self._engine.unset_template(table.name, path)
        self._engine.drop_template(table.name)

    def _drop_template(self, name: Name) -> None:
        self._engine.drop_template(self._table(name.elements[-1]).name)

    def _drop_database(self, name: Name) -> None:
        path = database_name(name)
        catalog = self._catalog
        if catalog.databases.find(path) is None:
            raise NotFoundError(f"there is no database {path}", field=path, hint="SHOW DATABASES")
        below = catalog.devices.below(path)
        self._drop_devices(d for d in below.tolist() if catalog.database_of(d).name == path)
        for table in catalog.templates.shown():
            for set_path in table.set_paths:
                if is_below(set_path, path):
                    self._engine.unset_template(table.name, set_path)
        self._engine.drop_database(path)

    def _drop_devices(self, devices: Iterable[int]) -> None:
        """Their rows, the devices, and templates that were theirs alone."""
        ids = np.array(sorted(devices), np.uint32)
        families: dict[str, list[int]] = {}
        for device in ids.tolist():
            families.setdefault(self._catalog.devices.family_name(device), []).append(device)
        self._engine.require_own(self._catalog.devices.paths(ids))
        for family, some in families.items():
            self._delete_rows(family, np.array(some, np.uint32))
        self._engine.drop_devices(ids)
        for family in filter(is_own_name, families):
            if not len(self._catalog.devices.of_family(family)):
                self._engine.drop_template(family)

    def _delete_rows(self, family: str, devices: DeviceIds) -> None:
        if self._catalog.templates.get(family) is not None:
            self._engine.delete(family, devices=devices).ack.wait()

    # Names

    def _device(self, name: Name) -> list[int]:
        path = device_path(name, self._database)
        device = self._catalog.devices.id_of(path)
        if device is None:
            raise NotFoundError(f"there is no table {path}", field=path, hint="see SHOW DEVICES")
        return [device]

    def _table(self, name: str) -> Table:
        found = self._catalog.templates.find(name)
        if found is None:
            raise NotFoundError(
                f"there is no template {name}", field=name, hint="see SHOW TEMPLATES"
            )
        return found
