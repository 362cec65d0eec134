"""Where the rows of INSERT go: which template a target means, and which columns of it.

1. A target names a device, with or without USING, or a template whose rows name their devices.
2. A full path (``root.a.d``) that has no template gets one of its own, of the types of the values
   (IoTDB's way); so does a measurement that such a device lacks. The answer warns of both.
3. What is to be made is only noted in the batch of its template; ``make`` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.database_options import extends_templates
from mainstem_engine.catalog.databases import PRECISION_NS
from mainstem_engine.catalog.names import ROOT, split_path
from mainstem_engine.catalog.tag_values import checked_tags
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import NotFoundError, SchemaError, SqlError
from mainstem_engine.model import ColumnType, Measurement
from mainstem_engine.sql.changes.batches import Batch
from mainstem_engine.sql.changes.literal_values import LiteralValues
from mainstem_engine.sql.definitions.device_templates import (
    is_own_name,
    own_template,
    template_above,
)
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.select.relations import DEVICE, TBNAME, TIME, device_path
from mainstem_engine.sql.statements import DeviceDefinition, InsertTarget, Name

if TYPE_CHECKING:
    from mainstem_engine.sql.storage import Storage


class Destinations:
    """The batches of one statement, by template."""

    def __init__(self, engine: Storage, request: Request) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._database = request.database
        self._values = LiteralValues(request)
        self._batches: dict[str, Batch] = {}
        self.warnings: list[str] = []

    @property
    def batches(self) -> list[Batch]:
        """One for each template that was named."""
        return list(self._batches.values())

    # Devices and their templates

    def path(self, name: Name) -> str:
        """The path of a device as written."""
        return device_path(name, self._database)

    def find(self, target: InsertTarget) -> tuple[Batch, str, InsertTarget]:
        """The batch for the rows of a target; its device, "" where each row names its own; and the
        target with its time called so. Raises NotFoundError, SchemaError, SqlError."""
        _check_columns(target)
        if target.using is None and self.names_devices(target):
            return self._batch(self._shared(target.name.elements[-1])), "", target
        path = self.path(target.name)
        batch = self._batch_of(target, path) if target.using is None else self.define(target.using)
        target = _with_time(target, batch.table)
        _check_times(target, batch.table)
        return batch, path, target

    def names_devices(self, target: InsertTarget) -> bool:
        """True for ``INSERT INTO template(device | tbname, ...)``."""
        name = target.name.elements[-1]
        named = {column.casefold() for column in target.columns or ()}
        return self._catalog.templates.find(name) is not None and bool(named & {TBNAME, DEVICE})

    def device_of(self, target: InsertTarget, value: Any) -> str:
        """The path of the device that a row names. Raises SqlError."""
        if not isinstance(value, str) or not value:
            raise SqlError(
                f"{target.name}: a device is given by its name or path, not {value!r}",
                hint="write 'd1001' or 'root.power.d1001'",
            )
        # As a device is shown: elements with dots stand in backquotes.
        elements = split_path(value if value.startswith(f"{ROOT}.") else f"{ROOT}.{value}")
        return self.path(Name(tuple(elements if value.startswith(f"{ROOT}.") else elements[1:])))

    def table_of(self, name: Name) -> Table:
        """The template of a device that exists, or that its path lets data create."""
        path = self.path(name)
        found = self._catalog.table_of_device(path)
        table = found[0] if found is not None else template_above(self._catalog, path)
        if table is None and self._catalog.templates.find(name.elements[-1]) is not None:
            raise SqlError(
                f"{name} is a template: its rows are of devices",
                field=str(name),
                hint=f"INSERT INTO {name}(tbname, ...), or INSERT INTO d1 USING {name} TAGS (...)",
            )
        if table is None:
            raise NotFoundError(
                f"there is no table {name}: no device {path}, and no template is set above it",
                field=str(name),
                hint="INSERT INTO ... USING template TAGS (...), SET SCHEMA TEMPLATE t TO it, or "
                f"write the whole path: INSERT INTO {path}(time, ...)",
            )
        return table

    def define(self, definition: DeviceDefinition) -> Batch:
        """The batch of ``USING template TAGS (...)``, its tags noted. Raises SqlError,
        SchemaError, NotFoundError."""
        table = self._shared(definition.template)
        names = definition.tag_names
        if names is None:
            names = tuple(tag.name for tag in table.template.tags)
        if len(names) != len(definition.tag_values):
            raise SqlError(
                f"{len(definition.tag_values)} tag values for {len(names)} tags of {table.name}",
                hint=f"give {', '.join(names) or 'none'}, or name the tags before TAGS",
            )
        values = [self._values.plain(value) for value in definition.tag_values]
        batch = self._batch(table)
        self.note_tags(batch, self.path(definition.name), dict(zip(names, values, strict=True)))
        return batch

    def note_tags(self, batch: Batch, path: str, tags: dict[str, Any]) -> None:
        """A device that may be new has these tags; one that is there keeps its own, with a warning.
        Raises SchemaError."""
        checked = checked_tags(batch.table, {name: [value] for name, value in tags.items()}, 1)
        tags = {name: column[0] for name, column in checked.items()}
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

    def _batch(self, table: Table) -> Batch:
        return self._batches.setdefault(table.name, Batch(table))

    def _shared(self, name: str) -> Table:
        """A template that is not dropped."""
        if self._catalog.templates.find(name) is None:
            raise NotFoundError(
                f"there is no template {name!r}", field=name, hint="create it, or SHOW TEMPLATES"
            )
        table = self._catalog.table(name)
        if table.replaces_rows:
            raise SchemaError(
                f"{table.name} is a rollup: its rows are computed",
                field=table.name,
                hint=f"insert into {table.family}, and the rollup follows",
            )
        return table

    def _batch_of(self, target: InsertTarget, path: str) -> Batch:
        """The batch for rows of a device without USING."""
        name = target.name
        if not _is_full(name) or self._catalog.devices.id_of(path) is not None:
            return self._batch(self.table_of(name))
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

    # Columns

    def extend(
        self,
        batch: Batch,
        path: str,
        target: InsertTarget,
        type_of: Callable[[int], ColumnType | None],
    ) -> set[str]:
        """Adds measurements that the template lacks, where it is the device's own or the database's
        ``auto_extend`` is on; ``type_of`` a column by its place. Columns of a device's own that
        have no type are left out: these are returned, with a warning."""
        is_own = is_own_name(batch.table.name) and _is_full(target.name)
        if not (is_own or self._may_extend(path)):
            return set()
        places = {
            name: place
            for place, name in enumerate(target.columns or ())
            if self._is_unknown(batch.table, name)
        }
        types = {name: type_of(place) for name, place in places.items()}
        added = [Measurement(0, name, kind) for name, kind in types.items() if kind is not None]
        if added:
            batch.extend(added)
        empty = {name for name, kind in types.items() if kind is None} if is_own else set()
        if empty:
            names = ", ".join(sorted(empty))
            self.warnings.append(f"{target.name}: {names} has no value yet, and so no type")
        return empty

    def measurement_or_time(self, table: Table, name: str) -> str:
        """The name of a column as declared, ``time`` for the time. Raises NotFoundError."""
        if _is_time(table, name):
            return TIME
        found = table.shown_measurement(name)
        if found is None:
            known = ", ".join(m.name for m in table.shown[:20])
            kind = "table" if is_own_name(table.name) else "template"
            raise NotFoundError(
                f"{kind} {table.name} has no measurement {name!r}",
                field=name,
                hint=f"it has {known}; add it with ALTER STABLE {table.name} ADD COLUMN",
            )
        return found.name

    def precision_ns(self, path: str) -> int:
        """What an integer of time of a device is worth."""
        index = self._catalog.databases.index_of_path(path)
        if index is None:
            return PRECISION_NS["ms"]
        return self._catalog.databases.at(index).precision_ns

    def finest_ns(self, paths: Iterable[str]) -> int:
        """The least of these devices."""
        return min(map(self.precision_ns, paths), default=PRECISION_NS["ms"])

    def _may_extend(self, path: str) -> bool:
        index = self._catalog.databases.index_of_path(path) if path else None
        return index is not None and extends_templates(self._catalog.databases.at(index))

    def _is_unknown(self, table: Table, name: str) -> bool:
        """True for a name that is no time, measurement or tag."""
        if _is_time(table, name):
            return False
        return table.shown_measurement(name) is None and table.tag(name) is None

    # What a batch needs before its rows

    def make(self, batch: Batch) -> bool:
        """Makes or extends the template of a batch; False when there is nothing to do."""
        if batch.new_for is None and not batch.added:
            return False
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
        return True

    def create(self, batch: Batch, *, durable: bool) -> None:
        """Makes the devices of a batch whose tags were noted."""
        if not batch.new_tags:
            return
        names = dict.fromkeys(name for tags in batch.new_tags.values() for name in tags)
        columns = {name: [tags.get(name) for tags in batch.new_tags.values()] for name in names}
        self._engine.device_ids(
            batch.table.name, list(batch.new_tags), columns, create=True, durable=durable
        )
        batch.new_tags = {}


def _check_columns(target: InsertTarget) -> None:
    """Raises SqlError for a column that is named twice."""
    seen: set[str] = set()
    for name in target.columns or ():
        if name.casefold() in seen:
            raise SqlError(
                f"{target.name}: column {name} is named twice", field=name, hint="name it once"
            )
        seen.add(name.casefold())


def _check_times(target: InsertTarget, table: Table) -> None:
    """Raises SqlError for two columns that are both the time."""
    named = [name for name in target.columns or () if _is_time(table, name)]
    if len(named) > 1:
        raise SqlError(
            f"{target.name}: {' and '.join(named)} are both the time",
            field=named[1],
            hint="name it once",
        )


def _with_time(target: InsertTarget, table: Table) -> InsertTarget:
    """The time of a full path may be called ``timestamp``, as in IoTDB, if nothing else is."""
    columns = target.columns or ()
    named = {column.casefold() for column in columns}
    is_other = (table.shown_measurement("timestamp") or table.tag("timestamp")) is not None
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
        return table.shown_measurement(name) is None and table.tag(name) is None
    return folded in (TIME, table.template.time_name.casefold())


def _is_full(name: Name) -> bool:
    """True for a path that is written out: ``root.a.d``."""
    return name.elements[0] == ROOT and len(name.elements) > 1
