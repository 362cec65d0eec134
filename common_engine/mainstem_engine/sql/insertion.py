"""INSERT: rows of literals become columns, devices and one write per template.

1. Everything is resolved and checked first: tables, columns, tags and every value. A statement with
   one bad value creates no device and stores no row.
2. Then the devices are created, and the rows of each template are written as one log record. The
   statement returns when they are durable.
3. Integers of time are in the precision of the device's database; text is read in the request's
   zone. NULL means "no value": it never erases one that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.catalog.catalog import checked_tags
from mainstem_engine.catalog.database_options import extends_templates
from mainstem_engine.catalog.databases import PRECISION_NS
from mainstem_engine.catalog.names import is_below
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import to_column, to_times_ns
from mainstem_engine.errors import NotFoundError, OutOfRangeError, SchemaError, SqlError
from mainstem_engine.model import ColumnType, Measurement, Rows
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.relations import DEVICE, TBNAME, TIME, device_path
from mainstem_engine.sql.statements import (
    ActivateTemplate,
    CreateDevices,
    DeviceDefinition,
    Insert,
    InsertTarget,
    Literal,
    Name,
    Now,
    Parameter,
)
from mainstem_engine.sql.time_expressions import datetime_ns
from mainstem_engine.sql.times import TIME_UNITS, parse_time_ns

if TYPE_CHECKING:
    from mainstem_engine.catalog.catalog import Catalog
    from mainstem_engine.sql.storage import Storage

_EXTENDED_TYPES: dict[type, ColumnType] = {
    bool: ColumnType.BOOLEAN,
    int: ColumnType.DOUBLE,
    float: ColumnType.DOUBLE,
    str: ColumnType.TEXT,
    bytes: ColumnType.BLOB,
    Now: ColumnType.TIMESTAMP,
}
"""What a value makes a measurement of that did not exist. A number may have a fraction in the next
row, though the first has none."""
_EXACT_DOUBLE = 1 << 53
"""A larger integer is kept as one: DOUBLE would round it."""
_FLOAT_WORDS = {"nan", "infinity", "-infinity", "inf", "-inf"}
"""Text that stands for a float, as results render it."""


@dataclass(slots=True)
class _Batch:
    """The rows of one template, columns by measurement name, values as Python objects."""

    table: Table
    paths: list[str] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    new_tags: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Tags by path of a device that may have to be created."""


class Insertion:
    """Carries out INSERT and CREATE TABLE ... USING for one request."""

    def __init__(self, engine: Storage, request: Request) -> None:
        self._engine = engine
        self._catalog: Catalog = engine.catalog
        self._request = request
        self._batches: dict[str, _Batch] = {}
        self.warnings: list[str] = []

    def create_devices(self, statement: CreateDevices) -> None:
        """Raises SchemaError when one exists and not IF NOT EXISTS."""
        for definition in statement.devices:
            path = device_path(definition.name, self._request.database)
            if not statement.if_not_exists and self._catalog.devices.id_of(path) is not None:
                raise SchemaError(f"table {path} exists", field=path, hint="use IF NOT EXISTS")
            self._define(definition)
        for batch in self._batches.values():
            self._create(batch, durable=True)

    def activate(self, statement: ActivateTemplate) -> None:
        """Makes a device of the template that is set above it; one that exists stays."""
        path = device_path(statement.path, self._request.database)
        table = self._table_of(statement.path, path)
        self._engine.device_ids(table.name, [path], create=True)

    def insert(self, statement: Insert) -> int:
        """The number of rows, which are durable then."""
        for target in statement.targets:
            self._read(target)
        batches = list(self._batches.values())
        typed = [self._typed(batch) for batch in batches]
        acks = []
        for batch in batches:
            self._create(batch, durable=not batch.paths)
        for batch, rows in zip(batches, typed, strict=True):
            if len(rows):
                rows.device = self._engine.device_ids(
                    batch.table.name, batch.paths, create=True, durable=False
                )
                acks.append(self._engine.write_rows(batch.table, rows))
        for ack in acks:
            ack.wait()
        return sum(len(rows) for rows in typed)

    # Tables and devices

    def _batch(self, table: Table) -> _Batch:
        return self._batches.setdefault(table.name, _Batch(table))

    def _define(self, definition: DeviceDefinition) -> _Batch:
        table = self._catalog.table(definition.template)
        path = device_path(definition.name, self._request.database)
        names = definition.tag_names
        if names is None:
            names = tuple(tag.name for tag in table.template.tags)
        if len(names) != len(definition.tag_values):
            raise SqlError(
                f"{len(definition.tag_values)} tag values for {len(names)} tags of {table.name}",
                hint=f"give {', '.join(names) or 'none'}, or name the tags before TAGS",
            )
        values = [self._plain(value) for value in definition.tag_values]
        tags = dict(zip(names, values, strict=True))
        checked = checked_tags(table, {name: [value] for name, value in tags.items()}, 1)
        batch = self._batch(table)
        self._note_tags(batch, path, {name: column[0] for name, column in checked.items()})
        return batch

    def _note_tags(self, batch: _Batch, path: str, tags: dict[str, Any]) -> None:
        device = self._catalog.devices.id_of(path)
        known = batch.new_tags.get(path) if device is None else self._catalog.devices.tags(device)
        if known is None:
            batch.new_tags[path] = tags
            return
        differing = [name for name, value in tags.items() if known.get(name) != value]
        if differing:
            self.warnings.append(
                f"{path} keeps the tags that it was created with ({', '.join(differing)} differ)"
            )

    def _create(self, batch: _Batch, *, durable: bool) -> None:
        if not batch.new_tags:
            return
        names = dict.fromkeys(name for tags in batch.new_tags.values() for name in tags)
        columns = {name: [tags.get(name) for tags in batch.new_tags.values()] for name in names}
        self._engine.device_ids(
            batch.table.name, list(batch.new_tags), columns, create=True, durable=durable
        )

    def _table_of(self, name: Name, path: str) -> Table:
        """The template of a device that exists, or that its path lets data create."""
        found = self._catalog.table_of_device(path)
        if found is not None:
            return found[0]
        candidates: list[tuple[int, Table]] = []
        for table in self._catalog.templates.all():
            depths = [p.count(".") for p in table.set_paths if is_below(path, p)]
            if depths and not table.replaces_rows:
                candidates.append((max(depths), table))
        candidates.sort(key=lambda pair: pair[0])
        if not candidates:
            raise NotFoundError(
                f"there is no table {name}: no device {path}, and no template is set above it",
                field=str(name),
                hint="INSERT INTO ... USING template TAGS (...), or SET SCHEMA TEMPLATE t TO it",
            )
        deepest = [table for depth, table in candidates if depth == candidates[-1][0]]
        if len(deepest) > 1:
            names = ", ".join(table.name for table in deepest)
            raise SchemaError(
                f"{path}: several templates are set above it ({names})",
                field=path,
                hint="INSERT INTO ... USING template TAGS (...)",
            )
        return deepest[0]

    # Rows

    def _read(self, target: InsertTarget) -> None:
        if target.using is None and self._is_template(target):
            self._read_template_rows(target)
            return
        path = device_path(target.name, self._request.database)
        if target.using is not None:
            batch = self._define(target.using)
        else:
            batch = self._batch(self._table_of(target.name, path))
        template = batch.table.template
        columns = target.columns or (TIME, *(m.name for m in template.measurements))
        self._extend(batch, path, target)
        keys = [self._measurement_or_time(batch.table, name) for name in columns]
        if TIME not in keys and len(target.rows) > 1:
            raise SqlError(
                f"{target.name}: several rows without a time", hint="name the time column too"
            )
        for number, row in enumerate(target.rows, 1):
            _check_width(target, columns, row, number)
            self._add(batch, path, dict(zip(keys, row, strict=True)))

    def _extend(self, batch: _Batch, path: str, target: InsertTarget) -> None:
        """Adds measurements that the template lacks, where the database's ``auto_extend`` is on;
        the first value that is not NULL decides the type."""
        index = self._catalog.databases.index_of_path(path)
        if index is None or not extends_templates(self._catalog.databases.at(index)):
            return
        added = []
        for place, name in enumerate(target.columns or ()):
            if name.casefold() in (TIME, batch.table.template.time_name.casefold()):
                continue
            if batch.table.measurement(name) is None and batch.table.tag(name) is None:
                values = (self._plain(row[place]) for row in target.rows if place < len(row))
                found = next((value for value in values if value is not None), None)
                kind = _EXTENDED_TYPES.get(type(found))
                if isinstance(found, int) and abs(found) > _EXACT_DOUBLE:
                    kind = ColumnType.INT64
                if kind is not None:
                    added.append(Measurement(0, name, kind))
        if added:
            self._engine.alter_template(batch.table.name, add=added)
            batch.table = self._catalog.table(batch.table.name)

    def _is_template(self, target: InsertTarget) -> bool:
        name = target.name.elements[-1]
        named = {column.casefold() for column in target.columns or ()}
        return self._catalog.templates.get(name) is not None and bool(named & {TBNAME, DEVICE})

    def _read_template_rows(self, target: InsertTarget) -> None:
        """``INSERT INTO template(device | tbname, tags..., time, values...)``."""
        batch = self._batch(self._catalog.table(target.name.elements[-1]))
        assert target.columns is not None
        for number, row in enumerate(target.rows, 1):
            _check_width(target, target.columns, row, number)
            values: dict[str, Literal] = {}
            tags: dict[str, Any] = {}
            path = ""
            for name, value in zip(target.columns, row, strict=True):
                folded = name.casefold()
                if folded in (TBNAME, DEVICE):
                    path = self._device_of(target, self._plain(value))
                elif (tag := batch.table.tag(name)) is not None:
                    tags[tag.name] = self._plain(value)
                else:
                    values[self._measurement_or_time(batch.table, name)] = value
            checked = checked_tags(batch.table, {k: [v] for k, v in tags.items()}, 1)
            self._note_tags(batch, path, {name: column[0] for name, column in checked.items()})
            self._add(batch, path, values)

    def _device_of(self, target: InsertTarget, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise SqlError(
                f"{target.name}: a device is given by its name or path, not {value!r}",
                hint="write 'd1001' or 'root.power.d1001'",
            )
        elements = tuple(value.split("."))
        return device_path(Name(elements), self._request.database)

    def _measurement_or_time(self, table: Table, name: str) -> str:
        if name.casefold() in (TIME, table.template.time_name.casefold()):
            return TIME
        found = table.measurement(name)
        if found is None:
            known = ", ".join(m.name for m in table.template.measurements[:20])
            raise NotFoundError(
                f"template {table.name} has no measurement {name!r}",
                field=name,
                hint=f"it has {known}; add it with ALTER STABLE {table.name} ADD COLUMN",
            )
        return found.name

    def _add(self, batch: _Batch, path: str, values: dict[str, Literal]) -> None:
        precision_ns = self._precision_ns(path)
        row = len(batch.times_ns)
        time = values.pop(TIME, Now())
        batch.times_ns.append(self._time_ns(TIME, time, precision_ns))
        batch.paths.append(path)
        for name, literal in values.items():
            measurement = batch.table.measurement(name)
            assert measurement is not None
            value = self._plain(literal)
            if measurement.type == ColumnType.TIMESTAMP and value is not None:
                value = self._time_ns(name, literal, precision_ns)
            elif measurement.type.is_float and isinstance(value, str):
                value = float(value) if value.strip().lower() in _FLOAT_WORDS else value
            column = batch.columns.setdefault(name, [])
            column.extend([None] * (row - len(column)))
            column.append(value)

    def _precision_ns(self, path: str) -> int:
        index = self._catalog.databases.index_of_path(path)
        if index is None:
            return PRECISION_NS["ms"]
        return self._catalog.databases.at(index).precision_ns

    def _typed(self, batch: _Batch) -> Rows:
        """Columns of the declared types, times in ns. Raises SchemaError or OutOfRangeError."""
        count = len(batch.times_ns)
        times = to_times_ns(np.array(batch.times_ns, object), 1) if count else _no_times()
        rows = Rows(np.empty(count, np.uint32), times)
        for name, values in batch.columns.items():
            measurement = batch.table.measurement(name)
            assert measurement is not None
            values.extend([None] * (count - len(values)))
            rows.columns[measurement.id] = to_column(measurement, values, count, 1)
        return rows

    # Values

    def _plain(self, value: Literal) -> Any:
        """The Python value of a literal; ``Now`` becomes nanoseconds only where a time is due."""
        if isinstance(value, Parameter):
            params: Sequence[Any] = self._request.params
            if value.index >= len(params):
                raise SqlError(
                    f"there is no value for parameter {value.index + 1}",
                    hint="pass one value for each ?",
                )
            found = params[value.index]
            is_array_scalar = hasattr(found, "item") and not isinstance(found, bytes)
            return found.item() if is_array_scalar else found
        return value

    def _time_ns(self, name: str, literal: Literal, precision_ns: int) -> int:
        value = self._plain(literal)
        if isinstance(value, Now):
            return (self._request.now_ns + value.offset_ns) // precision_ns * precision_ns
        if isinstance(value, str):
            found = parse_time_ns(value, self._request.zone)
        elif hasattr(value, "utcoffset"):
            found = datetime_ns(value, self._request.zone)
        elif isinstance(value, int) and not isinstance(value, bool):
            return value * precision_ns
        else:
            raise SchemaError(
                f"{name} is a time, not {value!r}",
                field=name,
                hint="write an integer, '2026-10-03T06:00:00Z' or now",
            )
        if found % precision_ns:
            raise OutOfRangeError(
                f"{name}: {value} is finer than the database's precision",
                field=name,
                hint=f"use at most {TIME_UNITS[precision_ns]}, or a database of finer precision",
            )
        return found


def _no_times() -> Any:
    return np.empty(0, np.int64)


def _check_width(
    target: InsertTarget, columns: Sequence[str], row: Sequence[Literal], number: int
) -> None:
    if len(row) != len(columns):
        raise SqlError(
            f"{target.name}: row {number} has {len(row)} values for {len(columns)} columns",
            hint=f"the columns are {', '.join(columns[:20])}",
        )
