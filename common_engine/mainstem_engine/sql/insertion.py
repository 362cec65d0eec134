"""INSERT: rows of literals become columns, devices and one write per template.

1. Everything is resolved and checked first: tables, columns, tags and every value. A statement with
   one bad value defines nothing and stores no row.
2. Then templates are made or extended and devices created, and the rows of each template are
   written as one log record. The statement returns when they are durable.
3. A full path (``root.a.d``) that has no template gets one of its own, of the types of the values
   (IoTDB's way); so does a measurement that such a device lacks. The answer warns of both.
4. Integers of time are in the precision of the device's database; text is read in the request's
   zone. NULL means "no value": it never erases one that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.catalog.catalog import checked_tags
from mainstem_engine.catalog.database_options import extends_templates
from mainstem_engine.catalog.databases import PRECISION_NS
from mainstem_engine.catalog.names import ROOT
from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import NotFoundError, OutOfRangeError, SchemaError, SqlError
from mainstem_engine.model import ColumnType, Measurement, Tag
from mainstem_engine.sql.answers import Answer
from mainstem_engine.sql.batches import FLOAT_WORDS, Batch, new_type
from mainstem_engine.sql.device_templates import is_own_name, own_template, template_above
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
    SetTags,
)
from mainstem_engine.sql.time_expressions import datetime_ns
from mainstem_engine.sql.times import TIME_UNITS, parse_time_ns

if TYPE_CHECKING:
    from mainstem_engine.catalog.catalog import Catalog
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.storage import Storage


class Insertion:
    """Carries out INSERT and CREATE TABLE ... USING for one request."""

    def __init__(self, engine: Storage, request: Request) -> None:
        self._engine = engine
        self._catalog: Catalog = engine.catalog
        self._request = request
        self._batches: dict[str, Batch] = {}
        self.warnings: list[str] = []

    def create_devices(self, statement: CreateDevices) -> None:
        """Raises SchemaError when one exists and not IF NOT EXISTS."""
        self.warnings += statement.warnings
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

    def insert(self, statement: Insert, answers: Mapping[int, Result] | None = None) -> int:
        """The number of rows, which are durable then. ``answers``: of targets with a query, by
        their number."""
        for number, target in enumerate(statement.targets):
            if target.query is None:
                self._read(target)
            else:
                self._read_answer(target, (answers or {})[number])
        batches = list(self._batches.values())
        typed = [batch.typed() for batch in batches]
        acks = []
        for number, batch in enumerate(batches):
            if batch.new_for is not None or batch.added:
                self._carry_out(batch)
                typed[number] = batch.typed()
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

    def set_tags(self, statement: SetTags) -> None:
        """Raises NotFoundError for a device or tag that is not there, SchemaError."""
        tags = {name: self._plain(value) for name, value in statement.tags.items()}
        for name in statement.names:
            device_name = Name(name.elements[:-1]) if statement.series else name
            path = device_path(device_name, self._request.database)
            found = self._catalog.table_of_device(path)
            if found is None:
                raise NotFoundError(f"there is no table {path}", field=path, hint="SHOW DEVICES")
            table, device = found
            self._engine.require_own([path])
            missing = [Tag(tag) for tag in tags if table.tag(tag) is None]
            if statement.series and missing and is_own_name(table.name):
                self._engine.alter_tags(table.name, TagRevision(add=missing))
            self._engine.set_tags(table.name, np.array([device], np.uint32), tags)

    # Tables and devices

    def _batch(self, table: Table) -> Batch:
        return self._batches.setdefault(table.name, Batch(table))

    def _shared(self, name: str) -> Table:
        """A template that is not dropped."""
        if self._catalog.templates.find(name) is None:
            raise NotFoundError(
                f"there is no template {name!r}", field=name, hint="create it, or SHOW TEMPLATES"
            )
        return self._catalog.table(name)

    def _define(self, definition: DeviceDefinition) -> Batch:
        table = self._shared(definition.template)
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

    def _note_tags(self, batch: Batch, path: str, tags: dict[str, Any]) -> None:
        device = self._catalog.devices.id_of(path)
        known = batch.new_tags.get(path) if device is None else self._catalog.devices.tags(device)
        if known is None:
            batch.new_tags[path] = tags
            return
        held = {name.casefold(): value for name, value in known.items()}
        differing = [name for name, value in tags.items() if held.get(name.casefold()) != value]
        if differing:
            self.warnings.append(
                f"{path} keeps the tags that it was created with ({', '.join(differing)} differ)"
            )

    def _create(self, batch: Batch, *, durable: bool) -> None:
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
        table = found[0] if found is not None else template_above(self._catalog, path)
        if table is None:
            raise NotFoundError(
                f"there is no table {name}: no device {path}, and no template is set above it",
                field=str(name),
                hint="INSERT INTO ... USING template TAGS (...), SET SCHEMA TEMPLATE t TO it, or "
                f"write the whole path: INSERT INTO {path}(time, ...)",
            )
        return table

    def _batch_of(self, target: InsertTarget, path: str) -> Batch:
        """The batch for rows of a device without USING."""
        name = target.name
        if not _is_full(name) or self._catalog.devices.id_of(path) is not None:
            return self._batch(self._table_of(name, path))
        table = template_above(self._catalog, path)
        if table is not None:
            return self._batch(table)
        if target.columns is None:
            raise SqlError(
                f"there is no device {path} to name the columns",
                hint=f"INSERT INTO {name}(time, ...) VALUES ...",
            )
        template = own_template(self._catalog, path, ())
        known = self._batches.get(template.name)
        if known is None:
            known = self._batches[template.name] = Batch(Table(template, False), path)
        return known

    def _carry_out(self, batch: Batch) -> None:
        """Makes or extends the template of a batch."""
        name = batch.table.name
        added = ", ".join(f"{m.name} {m.type.name}" for m in batch.added)
        if batch.new_for is not None:
            self._engine.require_own([batch.new_for])
            self._engine.create_template(batch.table.template, if_not_exists=True)
            self.warnings.append(
                f"{batch.new_for} is new and has no template: it gets {added or 'no measurement'}"
            )
        else:
            self.warnings.append(f"{name} gets new measurements: {added}")
        if batch.added:
            self._engine.alter_template(name, add=batch.added)
        batch.table = self._catalog.table(name)

    # Rows

    def _read(self, target: InsertTarget) -> None:
        if target.using is None and self._is_template(target):
            self._read_template_rows(target)
            return
        path = device_path(target.name, self._request.database)
        if target.using is not None:
            batch = self._define(target.using)
        else:
            batch = self._batch_of(target, path)
        target = _with_time(target, batch.table)
        columns = target.columns or (TIME, *(m.name for m in batch.table.shown))
        for number, row in enumerate(target.rows, 1):
            _check_width(target, columns, row, number)
        if target.columns is not None:
            rows = target.rows
            self._extend(batch, path, target, lambda n: [self._plain(row[n]) for row in rows])
        empty = self._without_type(batch, target)
        keys = [
            None if name in empty else self._measurement_or_time(batch.table, name)
            for name in columns
        ]
        if TIME not in keys and len(target.rows) > 1:
            raise SqlError(
                f"{target.name}: several rows without a time", hint="name the time column too"
            )
        for row in target.rows:
            named = zip(keys, row, strict=True)
            self._add(batch, path, {key: value for key, value in named if key is not None})

    def _read_answer(self, target: InsertTarget, answer: Result) -> None:
        """The rows that a query has found, its columns in the order of those that are named."""
        found = Answer(answer)
        by_device = target.using is None and self._is_template(target)
        path = "" if by_device else device_path(target.name, self._request.database)
        if by_device:
            batch = self._batch(self._shared(target.name.elements[-1]))
        elif target.using is not None:
            batch = self._define(target.using)
        else:
            batch = self._batch_of(target, path)
        target = _with_time(target, batch.table)
        columns = target.columns or (TIME, *(m.name for m in batch.table.shown))
        found.check_width(str(target.name), columns)
        if not by_device:
            self._extend(batch, path, target, found.values)
        empty = self._without_type(batch, target)
        start, count = len(batch.times_ns), found.row_count
        paths, has_time = [path] * count, False
        for place, name in enumerate(columns):
            if name.casefold() in (TBNAME, DEVICE):
                named = {text: self._device_of(target, text) for text in set(found.values(place))}
                paths = [named[text] for text in found.values(place)]
            elif name not in empty:
                key = self._measurement_or_time(batch.table, name)
                if key == TIME:
                    batch.times_ns += found.times_ns(place, self._finest_ns(paths))
                    has_time = True
                    continue
                batch.column(key, start).extend(found.values(place))
        if not has_time:
            raise SqlError(f"{target.name}: a query without a time", hint="name the time column")
        batch.paths += paths

    def _extend(
        self,
        batch: Batch,
        path: str,
        target: InsertTarget,
        values: Callable[[int], Sequence[Any]],
    ) -> None:
        """Adds measurements that the template lacks, where it is the device's own or the
        database's ``auto_extend`` is on; ``values`` of a column decide its type."""
        if not self._may_extend(batch, path, target):
            return
        added = []
        for place, name in enumerate(target.columns or ()):
            if self._is_unknown(batch.table, name):
                kind = new_type(values(place))
                if kind is not None:
                    added.append(Measurement(0, name, kind))
        if added:
            batch.extend(added)

    def _may_extend(self, batch: Batch, path: str, target: InsertTarget) -> bool:
        if is_own_name(batch.table.name) and _is_full(target.name):
            return True
        index = self._catalog.databases.index_of_path(path)
        return index is not None and extends_templates(self._catalog.databases.at(index))

    def _is_unknown(self, table: Table, name: str) -> bool:
        """True for a name that is no time, measurement or tag."""
        if _is_time(table, name):
            return False
        return table.measurement(name) is None and table.tag(name) is None

    def _without_type(self, batch: Batch, target: InsertTarget) -> set[str]:
        """Columns of a device's own that are not there and have no value to take a type from."""
        if not (is_own_name(batch.table.name) and _is_full(target.name)):
            return set()
        found = {name for name in target.columns or () if self._is_unknown(batch.table, name)}
        if found:
            names = ", ".join(sorted(found))
            self.warnings.append(f"{target.name}: {names} has no value yet, and so no type")
        return found

    def _is_template(self, target: InsertTarget) -> bool:
        name = target.name.elements[-1]
        named = {column.casefold() for column in target.columns or ()}
        return self._catalog.templates.find(name) is not None and bool(named & {TBNAME, DEVICE})

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
        if _is_time(table, name):
            return TIME
        found = table.measurement(name)
        if found is None:
            known = ", ".join(m.name for m in table.shown[:20])
            kind = "table" if is_own_name(table.name) else "template"
            raise NotFoundError(
                f"{kind} {table.name} has no measurement {name!r}",
                field=name,
                hint=f"it has {known}; add it with ALTER STABLE {table.name} ADD COLUMN",
            )
        return found.name

    def _add(self, batch: Batch, path: str, values: dict[str, Literal]) -> None:
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
                value = float(value) if value.strip().lower() in FLOAT_WORDS else value
            batch.column(name, row).append(value)

    def _precision_ns(self, path: str) -> int:
        index = self._catalog.databases.index_of_path(path)
        if index is None:
            return PRECISION_NS["ms"]
        return self._catalog.databases.at(index).precision_ns

    def _finest_ns(self, paths: Sequence[str]) -> int:
        """What an integer of time is worth: the least of the databases of these devices."""
        return min(map(self._precision_ns, set(paths)), default=PRECISION_NS["ms"])

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


def _with_time(target: InsertTarget, table: Table) -> InsertTarget:
    """The time of a full path may be called ``timestamp``, as in IoTDB, if nothing else is."""
    columns = target.columns or ()
    named = {column.casefold() for column in columns}
    is_other = table.measurement("timestamp") is not None or table.tag("timestamp") is not None
    if not _is_full(target.name) or is_other or "timestamp" not in named:
        return target
    if named & {TIME, table.template.time_name.casefold()}:
        return target
    renamed = (TIME if column.casefold() == "timestamp" else column for column in columns)
    return replace(target, columns=tuple(renamed))


def _is_time(table: Table, name: str) -> bool:
    """True for the time's names. IoTDB's users call it ``timestamp`` as well."""
    folded = name.casefold()
    if folded == "timestamp":
        return table.measurement(name) is None and table.tag(name) is None
    return folded in (TIME, table.template.time_name.casefold())


def _is_full(name: Name) -> bool:
    """True for a path that is written out: ``root.a.d``."""
    return name.elements[0] == ROOT and len(name.elements) > 1


def _check_width(
    target: InsertTarget, columns: Sequence[str], row: Sequence[Literal], number: int
) -> None:
    if len(row) != len(columns):
        raise SqlError(
            f"{target.name}: row {number} has {len(row)} values for {len(columns)} columns",
            hint=f"the columns are {', '.join(columns[:20])}",
        )
