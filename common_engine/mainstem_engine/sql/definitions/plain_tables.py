"""CREATE TABLE without TAGS, CREATE TIMESERIES: devices with columns of their own.

1. Such a device gets a template for itself (device_templates.py), so whatever holds for templates
   (ALTER, KEEP, DESCRIBE) holds for it.
2. Below a template that is set on a path no series of another shape are made: the template is to be
   altered, and its devices follow.
3. Everything is checked first; the template is durable before the device, and both at the return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import Tag
from mainstem_engine.sql.definitions.device_templates import (
    is_own_name,
    own_template,
    template_above,
)
from mainstem_engine.sql.select.relations import device_path
from mainstem_engine.sql.statements import CreateSeries, CreateTable

if TYPE_CHECKING:
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.sql.storage import Storage


class PlainTables:
    """Makes devices with templates of their own; ``database``: of short names."""

    def __init__(self, engine: Storage, database: str) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._database = database

    def create_table(self, statement: CreateTable) -> list[str]:
        """Its warnings. Raises SchemaError when it exists and not IF NOT EXISTS."""
        path = device_path(statement.name, self._database)
        if self._catalog.devices.id_of(path) is not None:
            if statement.if_not_exists:
                return list(statement.warnings)
            raise SchemaError(f"table {path} exists", field=path, hint="use IF NOT EXISTS")
        name = statement.name
        if len(name.elements) == 1 and self._catalog.templates.find(name.elements[0]) is not None:
            raise SchemaError(
                f"{name} is a template", field=str(name), hint=f"CREATE TABLE d USING {name} TAGS"
            )
        above = template_above(self._catalog, path)
        if above is not None:
            raise SchemaError(
                f"template {above.name} is set above {path}: its devices have its columns",
                field=path,
                hint=f"use another path, or CREATE TABLE {name} USING {above.name} TAGS (...)",
            )
        template = own_template(
            self._catalog,
            path,
            statement.columns,
            time_name=statement.time_name,
            keep_ns=statement.keep_ns,
        )
        self._engine.require_own([path])
        self._engine.create_template(template, if_not_exists=True)
        self._engine.device_ids(template.name, [path], create=True)
        return list(statement.warnings)

    def create_series(self, statement: CreateSeries) -> list[str]:
        """Its warnings. Raises SchemaError when a series exists, or belongs to a template."""
        path = device_path(statement.device, self._database)
        found = self._catalog.table_of_device(path)
        table = found[0] if found is not None else template_above(self._catalog, path)
        if table is not None and not is_own_name(table.name):
            raise SchemaError(
                f"{path} has the series of template {table.name}",
                field=path,
                hint=f"ALTER SCHEMA TEMPLATE {table.name} ADD (...) adds to all of its devices",
            )
        if found is not None and table is not None:
            return [*statement.warnings, *self._extend(path, table, found[1], statement)]
        tags = tuple(Tag(name) for name in statement.tags)
        template = own_template(self._catalog, path, statement.columns, tags=tags)
        self._engine.require_own([path])
        self._engine.create_template(template, if_not_exists=True)
        values = {name: [value] for name, value in statement.tags.items()}
        self._engine.device_ids(template.name, [path], values, create=True)
        return list(statement.warnings)

    def _extend(self, path: str, table: Table, device: int, statement: CreateSeries) -> list[str]:
        for column in statement.columns:
            known = table.measurement(column.name)
            if statement.if_not_exists and known is not None and known.type == column.type:
                continue
            if known is not None:
                raise SchemaError(
                    f"series {path}.{column.name} exists, as {known.type.name}",
                    field=column.name,
                    hint="use IF NOT EXISTS where it may be there; SHOW TIMESERIES lists them",
                )
        self._engine.alter_template(table.name, add=statement.columns)
        tags = dict(statement.tags)
        missing = [Tag(name) for name in tags if table.tag(name) is None]
        if missing:
            self._engine.alter_tags(table.name, TagRevision(add=missing))
            new = {tag.name: tags.pop(tag.name) for tag in missing}
            self._engine.set_tags(table.name, np.array([device], np.uint32), new)
        held = {k.casefold(): v for k, v in self._catalog.devices.tags(device).items()}
        differing = [name for name, value in tags.items() if held.get(name.casefold()) != value]
        if not differing:
            return []
        return [f"{path} keeps the tags that it has ({', '.join(differing)} differ)"]
