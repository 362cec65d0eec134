"""SHOW and DESCRIBE: what the catalog holds, as rows.

What only a node knows (its neighbours, its quarantine, its jobs) comes from the functions that it
hands to the session, by subject: each gives one map per row, by name of the column. An engine by
itself has no such rows; the columns are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mainstem_engine.analysis import library
from mainstem_engine.analysis.function import describe, kind_of
from mainstem_engine.catalog.names import is_below, split_path
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import NotFoundError, SqlError, SqlUnsupportedError
from mainstem_engine.sql.definitions.create_texts import (
    create_database_text,
    create_device_text,
    create_template_text,
)
from mainstem_engine.sql.definitions.definition import ttl_path
from mainstem_engine.sql.definitions.device_templates import is_own_name, shown_template
from mainstem_engine.sql.listings.device_filter import DeviceFilter
from mainstem_engine.sql.listings.path_listings import PathListings
from mainstem_engine.sql.listings.series_listing import SeriesListing
from mainstem_engine.sql.listings.tag_listings import TagListings
from mainstem_engine.sql.planning.pushdown import like_pattern
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.select.relations import (
    RelationColumn,
    database_name,
    device_path,
    match_devices,
    path_pattern,
    table_columns,
)
from mainstem_engine.sql.statements import Describe, Name, Parameter, Show
from mainstem_engine.sql.times import NS_PER_MS, duration_text

if TYPE_CHECKING:
    from mainstem_engine.catalog.databases import Database
    from mainstem_engine.sql.listings.row_conditions import RowConditions
    from mainstem_engine.sql.storage import Storage

Columns = Sequence[tuple[str, str]]
NodeListing = Callable[[], Iterable[Mapping[str, Any]]]
"""The rows of a subject that a node knows; what a map lacks is null."""

_ROWS_MAX = 2**31 - 1
"""No answer has more rows."""
_DATABASES: Columns = (
    ("database", "TEXT"),
    ("keep", "TEXT"),
    ("duration", "TEXT"),
    ("precision", "TEXT"),
    ("options", "TEXT"),
    ("vnodes", "INT64"),
)
_TEMPLATES: Columns = (
    ("template", "TEXT"),
    ("measurements", "INT64"),
    ("tags", "INT64"),
    ("devices", "INT64"),
    ("set_on", "TEXT"),
    ("rollup_of", "TEXT"),
    ("every", "TEXT"),
    ("revision", "INT64"),
    ("keep", "TEXT"),
)
_DEVICES: Columns = (("device", "TEXT"), ("template", "TEXT"), ("database", "TEXT"))
_FUNCTIONS: Columns = (("function", "TEXT"), ("kind", "TEXT"), ("call", "TEXT"))
_TABLES: Columns = (("tbname", "TEXT"), ("template", "TEXT"), ("device", "TEXT"))
_COLUMNS: Columns = (
    ("name", "TEXT"),
    ("type", "TEXT"),
    ("kind", "TEXT"),
    ("unit", "TEXT"),
    ("encoding", "TEXT"),
    ("compression", "TEXT"),
)


_TTLS: Columns = (("path", "TEXT"), ("ttl", "TEXT"), ("ttl_ms", "INT64"))
_STREAMS: Columns = (
    ("stream", "TEXT"),
    ("source", "TEXT"),
    ("every", "TEXT"),
    ("keep", "TEXT"),
    ("lateness", "TEXT"),
    ("pending", "INT64"),
)
_OF_NODE: Mapping[str, Columns] = {
    "NODES": (
        ("node", "TEXT"),
        ("tier", "TEXT"),
        ("parent", "TEXT"),
        ("path", "TEXT"),
        ("state", "TEXT"),
        ("lag_ms", "INT64"),
        ("pending_rows", "INT64"),
    ),
    "QUARANTINE": (
        ("id", "TEXT"),
        ("node", "TEXT"),
        ("table", "TEXT"),
        ("device", "TEXT"),
        ("time", "INT64"),
        ("measurement", "TEXT"),
        ("reason", "TEXT"),
        ("value", "TEXT"),
        ("at", "INT64"),
    ),
    "JOBS": (("job", "TEXT"), ("runs", "INT64"), ("failures", "INT64"), ("error", "TEXT")),
}


class Listings:
    """Lists what an engine holds, and what its node adds to it."""

    def __init__(
        self,
        engine: Storage,
        conditions: RowConditions,
        of_node: Mapping[str, NodeListing] | None = None,
    ) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._conditions = conditions
        self._request = conditions.request
        self._database = self._request.database
        self._of_node = of_node or {}

    def show(self, statement: Show, row_limit: int) -> Result:
        """The rows of a SHOW statement, at most ``row_limit`` with a warning when there are more.

        Raises NotFoundError.
        """
        paths = PathListings(self._catalog, self._database)
        if statement.counts and statement.level is not None and statement.what != "PATH NODES":
            of_series = statement.what == "TIMESERIES"
            if statement.where is not None:
                raise SqlUnsupportedError(
                    "COUNT by level with WHERE is not supported", hint="leave one of them out"
                )
            counted = paths.by_level(statement.of, statement.level, of_series=of_series)
            return Result.of_rows((("path", "TEXT"), ("count", "INT64")), list(counted))
        listers: dict[str, Callable[[Show], tuple[Columns, Iterable[Sequence[Any]]]]] = {
            "DATABASES": self._databases,
            "TEMPLATES": self._templates,
            "STABLES": self._templates,
            "DEVICES": self._devices,
            "TIMESERIES": SeriesListing(self._engine, self._conditions).rows,
            "TABLES": self._tables,
            "NORMAL TABLES": self._tables,
            "CHILD TABLES": self._tables,
            "TTL": self._ttls,
            "STREAMS": self._streams,
            "FUNCTIONS": _functions,
            "CREATE DATABASE": self._create_database,
            "CREATE STABLE": self._create_table,
            "CREATE TABLE": self._create_table,
            **paths.subjects,
            **TagListings(self._catalog, self._conditions, self._table).subjects,
        }
        columns, rows = listers.get(statement.what, self._known_to_node)(statement)
        if statement.like is not None:
            matcher = like_pattern(statement.like)
            rows = (row for row in rows if matcher.fullmatch(str(row[0])) is not None)
        if statement.counts:
            count = sum(1 for _ in rows)
            return Result.of_rows([(f"count({statement.what.lower()})", "INT64")], [[count]])
        limit = row_limit if statement.limit is None else self._number(statement.limit)
        limit, offset = min(limit, row_limit), self._number(statement.offset)
        listed = list(itertools.islice(rows, offset, offset + limit + 1))
        result = Result.of_rows(columns, listed[:limit])
        if len(listed) > limit and statement.limit is None:
            result.warnings.append(f"only the first {limit} rows are shown: use LIMIT and OFFSET")
        return result

    def _number(self, written: int | Parameter) -> int:
        """A number of rows. Raises SqlError for a parameter that is none."""
        if isinstance(written, int):
            return written
        params = self._request.params
        value = params[written.index] if written.index < len(params) else None
        if type(value) is not int or not 0 <= value <= _ROWS_MAX:
            raise SqlError(
                f"parameter {written.index + 1} is no number of rows",
                field="LIMIT",
                hint="pass a whole number, zero or more",
            )
        return value

    def describe(self, statement: Describe) -> Result:
        """The columns of a template, rollup or device."""
        table = self._table(statement.name)
        rows = []
        for column in table_columns(table):
            if column.kind in ("ALIAS", "TBNAME"):
                continue
            if column.kind == "DEVICE" and is_own_name(table.name):
                # It is the same in every row.
                continue
            rows.append(_column_row(table, column))
        return Result.of_rows(_COLUMNS, rows)

    def _table(self, name: Name) -> Table:
        found = self._catalog.templates.find(name.elements[-1])
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
        vnodes = self._engine.options.vnodes
        meant = None if statement.of is None else path_pattern(statement.of)
        return _DATABASES, [
            (*_database_row(database), vnodes)
            for database in self._catalog.databases.shown()
            if meant is None or meant.fullmatch(database.name)
        ]

    def _templates(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        shared = (t for t in self._catalog.templates.shown() if not is_own_name(t.name))
        return _TEMPLATES, [self._template_row(table) for table in shared]

    def _template_row(self, table: Table) -> Sequence[Any]:
        template = table.template
        return (
            template.name,
            len(table.shown),
            len(template.tags),
            len(self._catalog.devices.of_family(table.family)),
            ", ".join(table.set_paths),
            template.rollup_of,
            _duration(template.every_ns),
            template.revision,
            _duration(self._keep_ns(table)),
        )

    def _keep_ns(self, table: Table) -> int | None:
        """How long the table's rows are kept by a rule of its own."""
        return self._catalog.rules.keep_of(table.name, table.template.keep_ns)

    def _devices(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        return _DEVICES, (
            (path, shown_template(template), self._catalog.database_of(device).name)
            for device, path, template in self._chosen_devices(statement)
        )

    def _chosen_devices(self, statement: Show) -> Iterable[tuple[int, str, str]]:
        listed = self._listed_devices(statement.of)
        if statement.where is None:
            return listed
        devices = self._catalog.devices
        filtering = DeviceFilter(self._catalog, statement.where, self._conditions)
        ids = filtering.devices(device for device, _, _ in listed)
        return ((i, devices.path(i), devices.family_name(i)) for i in ids)

    def _listed_devices(self, of: Name | None) -> Iterable[tuple[int, str, str]]:
        devices = self._catalog.devices
        if of is None:
            ids: Iterable[int] = devices.all_ids().tolist()
        elif of.is_pattern:
            ids = match_devices(self._catalog, of)
        elif len(of.elements) == 1 and self._catalog.templates.find(of.elements[0]) is not None:
            table = self._catalog.table(of.elements[0])
            ids = devices.of_family(table.family).tolist()
        else:
            prefix = device_path(of, self._database)
            ids = devices.below(prefix).tolist()
        return ((i, devices.path(i), devices.family_name(i)) for i in ids)

    def _tables(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        """The devices of the current database, as TDengine lists its subtables."""
        database = self._database if statement.of is None else database_name(statement.of)
        kinds = {"NORMAL TABLES": (True,), "CHILD TABLES": (False,)}
        wanted = kinds.get(statement.what, (True, False))
        return _TABLES, (
            (split_path(path)[-1], shown_template(template), path)
            for device, path, template in self._listed_devices(None)
            if is_own_name(template) in wanted
            and self._catalog.database_of(device).name == database
        )

    def _create_database(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        assert statement.of is not None  # the grammar asks for it
        name = database_name(statement.of)
        found = [d for d in self._catalog.databases.shown() if d.name == name]
        if not found:
            raise NotFoundError(f"there is no database {name}", field=name, hint="SHOW DATABASES")
        columns = (("database", "TEXT"), ("create_database", "TEXT"))
        return columns, [(name, create_database_text(found[0]))]

    def _create_table(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        assert statement.of is not None  # the grammar asks for it
        table = self._table(statement.of)
        path = device_path(statement.of, self._database)
        device = self._catalog.devices.id_of(path)
        is_template = self._catalog.templates.find(statement.of.elements[-1]) is not None
        columns = (("table", "TEXT"), ("create_table", "TEXT"))
        if device is None or (is_template and len(statement.of.elements) == 1):
            return columns, [(table.name, create_template_text(self._catalog, table))]
        text = create_device_text(self._catalog, table, device)
        return columns, [(split_path(path)[-1], text)]

    def _ttls(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        named = () if statement.of is None else (statement.of, *statement.others)
        prefixes = [ttl_path(name) for name in named]
        return _TTLS, [
            (path, duration_text(ttl_ns), ttl_ns // NS_PER_MS)
            for path, ttl_ns in sorted(self._catalog.rules.ttls().items())
            if not prefixes or any(is_below(path, prefix) for prefix in prefixes)
        ]

    def _streams(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        """Rollup tables; of those that this node computes, how far it is."""
        known = {str(row["stream"]).casefold(): row for row in self._rows_of_node("STREAMS")}
        rows = []
        for table in self._catalog.templates.shown():
            template = table.template
            if template.rollup_of is not None:
                more = known.get(table.name.casefold(), {})
                row = {"keep": _duration(self._keep_ns(table)), **more}
                rest = [row.get(name) for name, _ in _STREAMS[3:]]
                rows.append((table.name, template.rollup_of, _duration(template.every_ns), *rest))
        return _STREAMS, rows

    def _known_to_node(self, statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
        columns = _OF_NODE[statement.what]
        rows = self._rows_of_node(statement.what)
        return columns, ([row.get(name) for name, _ in columns] for row in rows)

    def _rows_of_node(self, subject: str) -> Iterable[Mapping[str, Any]]:
        listing = self._of_node.get(subject)
        return () if listing is None else listing()


def _functions(statement: Show) -> tuple[Columns, Iterable[Sequence[Any]]]:
    """The functions of time; all others are the executing database's."""
    return _FUNCTIONS, [
        (function.name, kind_of(function), describe(function)) for function in library.functions()
    ]


def _database_row(database: Database) -> Sequence[Any]:
    options = ", ".join(f"{key}={value}" for key, value in database.options.items())
    duration = duration_text(database.duration_ns)
    return (database.name, _duration(database.keep_ns), duration, database.precision, options)


def _duration(length_ns: int | None) -> str | None:
    return None if length_ns is None else duration_text(length_ns)


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
