"""SHOW CREATE: the statement that makes a database, template or table as it is now."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.names import split_path
from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.model import AUTO, ColumnType, Measurement
from mainstem_engine.sql.definitions.device_templates import is_own_name
from mainstem_engine.sql.times import duration_text

if TYPE_CHECKING:
    from mainstem_engine.catalog.catalog import Catalog
    from mainstem_engine.catalog.databases import Database
    from mainstem_engine.catalog.templates import Table


def create_database_text(database: Database) -> str:
    """``CREATE DATABASE root.power WITH (...)``, with all of its options."""
    options = {
        **({} if database.keep_ns is None else {"keep": duration_text(database.keep_ns)}),
        "duration": duration_text(database.duration_ns),
        "precision": database.precision,
        **{key: str(value) for key, value in database.options.items()},
    }
    written = ", ".join(f"{key}={_literal(value)}" for key, value in options.items())
    return f"CREATE DATABASE {_path(database.name)} WITH ({written})"


def create_template_text(catalog: Catalog, table: Table) -> str:
    """``CREATE STABLE meters (...) TAGS (...)``. Raises SqlUnsupportedError for a rollup."""
    if table.template.rollup_of is not None:
        raise SqlUnsupportedError(
            f"{table.name} is a rollup of {table.template.rollup_of}",
            field=table.name,
            hint="it is declared under `rollups` in the topology file",
        )
    text = f"CREATE STABLE {_quoted(table.name)} {_columns(table)}"
    if table.template.tags:
        tags = (f"{_quoted(tag.name)} {tag.type.name}" for tag in table.template.tags)
        text += f" TAGS ({', '.join(tags)})"
    return text + _keep(catalog, table)


def create_device_text(catalog: Catalog, table: Table, device: int) -> str:
    """The statement of one device: of its template, or with columns of its own."""
    path = _path(catalog.devices.path(device))
    held = {name.casefold(): value for name, value in catalog.devices.tags(device).items()}
    tags = {tag.name: held.get(tag.name.casefold()) for tag in table.template.tags}
    if not is_own_name(table.name):
        names = f" ({', '.join(map(_quoted, tags))})" if tags else ""
        values = ", ".join(map(_literal, tags.values()))
        return f"CREATE TABLE {path} USING {_quoted(table.name)}{names} TAGS ({values})"
    if not tags:
        return f"CREATE TABLE {path} {_columns(table)}{_keep(catalog, table)}"
    columns = ", ".join(map(_column, table.shown))
    given = {name: value for name, value in tags.items() if value is not None}
    written = ", ".join(f"{_quoted(name)}={_literal(str(v))}" for name, v in given.items())
    return f"CREATE ALIGNED TIMESERIES {path} ({columns})" + (f" TAGS({written})" if given else "")


def _columns(table: Table) -> str:
    time = Measurement(0, table.template.time_name, ColumnType.TIMESTAMP)
    return f"({', '.join(map(_column, (time, *table.shown)))})"


def _column(measurement: Measurement) -> str:
    words = [_quoted(measurement.name), measurement.type.name]
    if measurement.encoding != AUTO:
        words.append(f"ENCODING={measurement.encoding}")
    if measurement.compression != AUTO:
        words.append(f"COMPRESSION={measurement.compression}")
    if measurement.unit is not None:
        words.append(f"UNIT={_literal(measurement.unit)}")
    return " ".join(words)


def _keep(catalog: Catalog, table: Table) -> str:
    keep_ns = catalog.rules.keep_of(table.name, table.template.keep_ns)
    return "" if keep_ns is None else f" KEEP {duration_text(keep_ns)}"


def _path(path: str) -> str:
    """A path with backquotes around what is no plain word of SQL."""
    plain = re.compile(r"\w+")
    return ".".join(e if plain.fullmatch(e) else _quoted(e) for e in split_path(path))


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, float) and not math.isfinite(value):
        return "NAN" if math.isnan(value) else f"{'-' if value < 0 else ''}INFINITY"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"
