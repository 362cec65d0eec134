"""SHOW and DESCRIBE: what the catalog holds, as rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.names import is_below, split_path
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import NotFoundError
from mainstem_engine.sql.pushdown import like_pattern
from mainstem_engine.sql.relations import (
    RelationColumn,
    database_name,
    device_path,
    match_devices,
    table_columns,
)
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.statements import Describe, Name, Show
from mainstem_engine.sql.times import UNIT_NS

if TYPE_CHECKING:
    from mainstem_engine.catalog.databases import Database

Columns = Sequence[tuple[str, str]]

_DATABASES: Columns = (
    ("database", "TEXT"),
    ("keep", "TEXT"),
    ("duration", "TEXT"),
    ("precision", "TEXT"),
    ("options", "TEXT"),
)
_TEMPLATES: Columns = (
    ("template", "TEXT"),
    ("measurements", "INT64"),
    ("tags", "INT64"),
    ("devices", "INT64"),
    ("set_on", "TEXT"),
    ("rollup_of", "TEXT"),
    ("every", "TEXT"),
)
_DEVICES: Columns = (("device", "TEXT"), ("template", "TEXT"), ("database", "TEXT"))
_TABLES: Columns = (("tbname", "TEXT"), ("template", "TEXT"), ("device", "TEXT"))
_COLUMNS: Columns = (
    ("name", "TEXT"),
    ("type", "TEXT"),
    ("kind", "TEXT"),
    ("unit", "TEXT"),
    ("encoding", "TEXT"),
    ("compression", "TEXT"),
)


class Listings:
    """Lists the contents of one catalog."""

    def __init__(self, catalog: Catalog, database: str) -> None:
        self._catalog = catalog
        self._database = database

    def show(self, statement: Show, row_limit: int) -> Result:
        """The rows of a SHOW statement, at most ``row_limit`` with a warning when there are more.

        Raises NotFoundError.
        """
        lister = {
            "DATABASES": self._databases,
            "TEMPLATES": self._templates,
            "STABLES": self._templates,
            "DEVICES": self._devices,
            "TABLES": self._tables,
            "TAGS": self._tags,
        }[statement.what]
        columns, rows = lister(statement)
        if statement.like is not None:
            matcher = like_pattern(statement.like)
            rows = (row for row in rows if matcher.fullmatch(str(row[0])) is not None)
        limit = row_limit if statement.limit is None else min(statement.limit, row_limit)
        end = statement.offset + limit
        listed = list(itertools.islice(rows, statement.offset, end + 1))
        result = Result.of_rows(columns, listed[:limit])
        if len(listed) > limit and statement.limit is None:
            result.warnings.append(f"only the first {limit} rows are shown: use LIMIT and OFFSET")
        return result

    def describe(self, statement: Describe) -> Result:
        """The columns of a template, rollup or device."""
        table = self._table(statement.name)
        rows = []
        for column in table_columns(table):
            if column.kind in ("ALIAS", "TBNAME"):
                continue
            rows.append(_column_row(table, column))
        return Result.of_rows(_COLUMNS, rows)

    def _table(self, name: Name) -> Table:
        found = self._catalog.templates.get(name.elements[-1])
        if found is not None and len(name.elements) == 1:
            return found
        device = self._catalog.table_of_device(device_path(name, self._database))
        if device is not None:
            return device[0]
        if found is not None:
            return found
        raise NotFoundError(
            f"there is no table {name}", field=str(name), hint="SHOW TEMPLATES, or SHOW DEVICES"
        )

    def _databases(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        return _DATABASES, [_database_row(database) for database in self._catalog.databases]

    def _templates(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        return _TEMPLATES, [self._template_row(t) for t in self._catalog.templates.all()]

    def _template_row(self, table: Table) -> Sequence[Any]:
        template = table.template
        return (
            template.name,
            len(template.measurements),
            len(template.tags),
            len(self._catalog.devices.of_family(table.family)),
            ", ".join(table.set_paths),
            template.rollup_of,
            None if template.every_ns is None else duration_text(template.every_ns),
        )

    def _devices(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        return _DEVICES, (
            (path, template, self._catalog.database_of(device).name)
            for device, path, template in self._listed_devices(statement.of)
        )

    def _listed_devices(self, of: Name | None) -> Iterable[tuple[int, str, str]]:
        devices = self._catalog.devices
        if of is None:
            ids: Iterable[int] = range(len(devices))
        elif of.is_pattern:
            ids = match_devices(self._catalog, of)
        elif len(of.elements) == 1 and self._catalog.templates.get(of.elements[0]) is not None:
            table = self._catalog.table(of.elements[0])
            ids = devices.of_family(table.family).tolist()
        else:
            prefix = device_path(of, self._database)
            ids = (i for i in range(len(devices)) if is_below(devices.path(i), prefix))
        return ((i, devices.path(i), devices.family_name(i)) for i in ids)

    def _tables(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        """The devices of the current database, as TDengine lists its subtables."""
        database = self._database if statement.of is None else database_name(statement.of)
        return _TABLES, (
            (split_path(path)[-1], template, path)
            for device, path, template in self._listed_devices(None)
            if self._catalog.database_of(device).name == database
        )

    def _tags(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        assert statement.of is not None
        table = self._table(statement.of)
        tags = table.template.tags
        columns: Columns = (("device", "TEXT"), *((tag.name, tag.type.name) for tag in tags))
        path = device_path(statement.of, self._database)
        device = self._catalog.devices.id_of(path)
        is_template = table.name.casefold() == statement.of.elements[-1].casefold()
        if device is None or (is_template and len(statement.of.elements) == 1):
            ids = self._catalog.devices.of_family(table.family).tolist()
        else:
            ids = [device]
        return columns, (self._tag_row(device, [tag.name for tag in tags]) for device in ids)

    def _tag_row(self, device: int, names: Sequence[str]) -> Sequence[Any]:
        values = self._catalog.devices.tags(device)
        by_name = {name.casefold(): value for name, value in values.items()}
        path = self._catalog.devices.path(device)
        return (path, *(by_name.get(name.casefold()) for name in names))


def _database_row(database: Database) -> Sequence[Any]:
    options = ", ".join(f"{key}={value}" for key, value in database.options.items())
    keep = None if database.keep_ns is None else duration_text(database.keep_ns)
    duration = duration_text(database.duration_ns)
    return (database.name, keep, duration, database.precision, options)


def _column_row(table: Table, column: RelationColumn) -> Sequence[Any]:
    measurement = table.measurement(column.name) if column.kind == "MEASUREMENT" else None
    kind = "COMPUTED" if column.kind == "MEAN" else column.kind
    name = table.template.time_name if column.kind == "TIME" else column.name
    return (
        name,
        column.type.name,
        kind,
        column.unit,
        None if measurement is None else measurement.encoding,
        None if measurement is None else measurement.compression,
    )


def duration_text(length_ns: int) -> str:
    """``10d`` or ``90s``: the largest unit that divides it."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if length_ns % UNIT_NS[unit] == 0:
            return f"{length_ns // UNIT_NS[unit]}{unit}"
    return f"{length_ns}ns"
