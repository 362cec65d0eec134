"""INSERT: rows of literals or of a query become columns, devices and one write per template.

1. Everything is resolved and checked first: tables, columns, tags and every value. A statement with
   one bad value defines nothing and stores no row.
2. Then templates are made or extended and devices created, and the rows of each template are
   written as one log record. The statement returns when they are durable.
3. A large answer of a query comes in pieces (selected_rows.py). The first is checked with
   everything else; each further one is checked, and then written as a record of its own. So what
   fails later leaves the rows of the pieces before it.
4. NULL means "no value": it never erases one that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainstem_engine.errors import SchemaError, SqlError
from mainstem_engine.model import ColumnType
from mainstem_engine.sql.changes.batches import FLOAT_WORDS, Batch, new_type
from mainstem_engine.sql.changes.destinations import Destinations
from mainstem_engine.sql.changes.literal_values import LiteralValues
from mainstem_engine.sql.changes.selected_rows import SelectedRows
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.select.relations import DEVICE, TBNAME, TIME
from mainstem_engine.sql.statements import (
    ActivateTemplate,
    CreateDevices,
    Insert,
    InsertTarget,
    Literal,
    Now,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainstem_engine.consumers import Ack
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.storage import Storage


class Insertion:
    """Carries out INSERT and CREATE TABLE ... USING for one request."""

    def __init__(self, engine: Storage, request: Request) -> None:
        self._engine = engine
        self._values = LiteralValues(request)
        self._destinations = Destinations(engine, request)

    @property
    def warnings(self) -> list[str]:
        return self._destinations.warnings

    def create_devices(self, statement: CreateDevices) -> None:
        """Raises SchemaError when one exists and not IF NOT EXISTS."""
        self.warnings.extend(statement.warnings)
        for definition in statement.devices:
            path = self._destinations.path(definition.name)
            exists = self._engine.catalog.devices.id_of(path) is not None
            if exists and not statement.if_not_exists:
                raise SchemaError(f"table {path} exists", field=path, hint="use IF NOT EXISTS")
            self._destinations.define(definition)
        for batch in self._destinations.batches:
            self._destinations.create(batch, durable=True)

    def activate(self, statement: ActivateTemplate) -> None:
        """Makes a device of the template that is set above it; one that exists stays."""
        table = self._destinations.table_of(statement.path)
        path = self._destinations.path(statement.path)
        self._engine.device_ids(table.name, [path], create=True)

    def insert(self, statement: Insert, answers: Mapping[int, Result] | None = None) -> int:
        """The number of rows, which are durable then. ``answers``: of targets with a query, by
        their number."""
        selected = []
        for number, target in enumerate(statement.targets):
            if target.query is None:
                self._read(target)
            else:
                answer = (answers or {})[number]
                selected.append(SelectedRows(self._engine, self._destinations, target, answer))
        filled = {id(rows.batch) for rows in selected if not rows.is_empty}
        batches = self._destinations.batches
        typed = [batch.typed() for batch in batches]
        acks: list[Ack] = []
        for number, batch in enumerate(batches):
            has_rows = bool(batch.paths) or id(batch) in filled
            if has_rows and self._destinations.make(batch):
                typed[number] = batch.typed()
            self._destinations.create(batch, durable=not has_rows)
        for batch, rows in zip(batches, typed, strict=True):
            if len(rows):
                rows.device = self._engine.device_ids(
                    batch.table.name, batch.paths, create=True, durable=False
                )
                acks.append(self._engine.write_rows(batch.table, rows))
        try:
            return sum(len(rows) for rows in typed) + sum(rows.write(acks) for rows in selected)
        finally:
            # Where a later piece fails, too: those before it stand, and whoever looks finds them.
            for ack in acks:
                ack.wait()

    def _read(self, target: InsertTarget) -> None:
        batch, path, target = self._destinations.find(target)
        columns = target.columns or (TIME, *(m.name for m in batch.table.shown))
        for number, row in enumerate(target.rows, 1):
            _check_width(target, columns, row, number)
        if not path:
            self._read_template_rows(batch, target)
            return

        def type_of(place: int) -> ColumnType | None:
            return new_type([self._values.plain(row[place]) for row in target.rows])

        empty = self._destinations.extend(batch, path, target, type_of)
        keys = [
            None if name in empty else self._destinations.measurement_or_time(batch.table, name)
            for name in columns
        ]
        if TIME not in keys and len(target.rows) > 1:
            raise SqlError(
                f"{target.name}: several rows without a time", hint="name the time column too"
            )
        for row in target.rows:
            named = zip(keys, row, strict=True)
            self._add(batch, path, {key: value for key, value in named if key is not None})

    def _read_template_rows(self, batch: Batch, target: InsertTarget) -> None:
        """``INSERT INTO template(device | tbname, tags..., time, values...)``."""
        assert target.columns is not None
        for row in target.rows:
            values: dict[str, Literal] = {}
            tags: dict[str, Any] = {}
            path = ""
            for name, value in zip(target.columns, row, strict=True):
                if name.casefold() in (TBNAME, DEVICE):
                    path = self._destinations.device_of(target, self._values.plain(value))
                elif (tag := batch.table.tag(name)) is not None:
                    tags[tag.name] = self._values.plain(value)
                else:
                    values[self._destinations.measurement_or_time(batch.table, name)] = value
            self._destinations.note_tags(batch, path, tags)
            self._add(batch, path, values)

    def _add(self, batch: Batch, path: str, values: dict[str, Literal]) -> None:
        precision_ns = self._destinations.precision_ns(path)
        row = len(batch.times_ns)
        time = values.pop(TIME, Now())
        batch.times_ns.append(self._values.time_ns(TIME, time, precision_ns))
        batch.paths.append(path)
        for name, literal in values.items():
            measurement = batch.table.measurement(name)
            assert measurement is not None
            value = self._values.plain(literal)
            if measurement.type == ColumnType.TIMESTAMP and value is not None:
                value = self._values.time_ns(name, literal, precision_ns)
            elif measurement.type.is_float and isinstance(value, str):
                value = float(value) if value.strip().lower() in FLOAT_WORDS else value
            batch.column(name, row).append(value)


def _check_width(
    target: InsertTarget, columns: Sequence[str], row: Sequence[Literal], number: int
) -> None:
    if len(row) != len(columns):
        raise SqlError(
            f"{target.name}: row {number} has {len(row)} values for {len(columns)} columns",
            hint=f"the columns are {', '.join(columns[:20])}",
        )
