"""Line protocol into the engine: points to templates, series to devices, fields to columns.

1. A measurement is a template, made and extended at first sight where that is allowed. A template
   that the configuration declares is never extended by data.
2. A value that its column cannot hold is put aside, and its row goes on; so is one for which there
   is no column. A row is put aside when none of its values is left, or its device cannot be.
3. A line that cannot be read is put aside with its number. It counts as a row of its measurement
   where there is a template for that.
4. Times are cut to the precision of the device's database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import PRECISION_NS, Databases
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, TimesNs
from mainstem_node.auto_templates import AutoTemplates
from mainstem_node.line_protocol.line import name_of
from mainstem_node.line_protocol.naming import device_path, element, field_column, tag_column
from mainstem_node.line_protocol.points import BadLine, FieldColumn, FieldType, Parsed, Points, Tags
from mainstem_node.plain import plain_value
from mainstem_node.posted_rules import rows_with_values
from mainstem_node.reasons import (
    BAD_PATH,
    MALFORMED,
    REFUSED,
    UNKNOWN_MEASUREMENT,
    UNKNOWN_TEMPLATE,
)
from mainstem_node.rows import Reject, tolerant_column
from mainstem_node.tolerant_writing import Series, SeriesBatch, TolerantWriter

COLUMN_TYPES = {
    FieldType.FLOAT: ColumnType.DOUBLE,
    FieldType.INTEGER: ColumnType.INT64,
    FieldType.UNSIGNED: ColumnType.UINT64,
    FieldType.BOOLEAN: ColumnType.BOOLEAN,
    FieldType.TEXT: ColumnType.TEXT,
}
SERIES_KEPT = 50_000
"""About 1 KiB each; beyond it the book starts anew."""
_NUMBERS = frozenset({ColumnType.UINT64, ColumnType.INT64, ColumnType.DOUBLE})
_NAME = re.compile(rb"[ \t]*+((?:[^, \\]++|\\[, ]?+)++)[, ]")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where lines go: ``prefix`` of the devices; whether templates and columns may be made, but no
    columns of those ``declared`` (lower case)."""

    prefix: str
    create: bool
    declared: Collection[str]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a text: ``rows`` stored, ``bad`` lines, ``rejects`` of values and rows."""

    rows: int
    bad: list[BadLine]
    rejects: list[Reject]


class LineStore:
    """Stores line protocol at one node. Its methods block; use them from a worker thread."""

    def __init__(self, writer: TolerantWriter, templates: AutoTemplates) -> None:
        self._writer = writer
        self._templates = templates
        self._book = SeriesBook()

    def store(self, parsed: Parsed, to: Destination) -> Stored:
        """Stores what was parsed; returns when it is durable. Raises as TolerantWriter.write."""
        now_ns = self._writer.clock_ns()
        catalog = self._writer.engine.catalog
        batches: dict[str, SeriesBatch] = {}
        found: list[SeriesBatch] = []
        others: list[Reject] = []
        for points in parsed.points:
            table = template_of(points, catalog, self._templates, to.create, to.declared)
            if table is None or table.replaces_rows:
                reason = UNKNOWN_TEMPLATE if table is None else REFUSED
                others += _whole(points, reason)
                continue
            series = self._book.series(points, table, to.prefix)
            batch = _batch(points, table, series, now_ns, catalog.databases)
            found.append(batch)
            batches.setdefault(table.family.casefold(), batch)
        unreadable = self._unreadable(parsed.bad, batches, found)
        rows = self._writer.write(found, [*others, *unreadable])
        listed = [each for batch in found for each in batch.rejects if each.reason != MALFORMED]
        return Stored(rows, parsed.bad, [*others, *listed])

    def _unreadable(
        self, bad: Iterable[BadLine], batches: dict[str, SeriesBatch], found: list[SeriesBatch]
    ) -> list[Reject]:
        """Gives each bad line to the batch of its measurement; returns those without one."""
        others = []
        templates = self._writer.engine.catalog.templates
        for line in bad:
            reject = Reject("", None, "", MALFORMED, _shown(line))
            name = _measurement(line)
            table = None if name is None else templates.find(name)
            if table is None or table.replaces_rows:
                others.append(reject)
                continue
            batch = batches.get(table.family.casefold())
            if batch is None:
                nothing = np.empty(0, np.int64)
                batch = SeriesBatch(table, [], nothing.astype(np.intp), nothing, {}, 0)
                batches[table.family.casefold()] = batch
                found.append(batch)
            batch.rejects.append(reject)
            batch.received += 1
        return others


def _measurement(line: BadLine) -> str | None:
    """The template that a bad line would be of, as far as it says so."""
    named = _NAME.match(line.text)
    try:
        return None if named is None else element(name_of(named[1]))
    except UnicodeDecodeError:
        return None


def _shown(line: BadLine) -> str:
    text = line.text.decode("utf-8", "backslashreplace")
    return f"line {line.number}: {line.problem}: {text}"


def template_of(
    points: Points,
    catalog: Catalog,
    templates: AutoTemplates,
    create: bool,
    declared: Collection[str],
) -> Table | None:
    """The template of a measurement, with columns for its fields where they may be made; None when
    there is none and none may be made. ``declared``: templates that are not extended."""
    name = element(points.measurement)
    known = catalog.templates.find(name)
    if not create or (known is not None and name.casefold() in declared):
        return known
    keys = dict.fromkeys(key for tags in points.series for key, _ in tags)
    tags = {tag_column(key): ColumnType.TEXT for key in keys}
    return templates.fitted(name, tags, _columns_of(points, known, tags))


def _columns_of(
    points: Points, known: Table | None, tags: Mapping[str, ColumnType]
) -> dict[str, ColumnType]:
    """The columns that these points need, each of one type: of numbers of several types DOUBLE,
    otherwise the first."""
    taken = {name.casefold() for name in tags}

    def is_tag(name: str) -> bool:
        return name.casefold() in taken or (known is not None and known.tag(name) is not None)

    columns: dict[str, ColumnType] = {}
    names: dict[str, str] = {}
    for column in points.columns:
        name = field_column(column.name, is_tag)
        name = names.setdefault(name.casefold(), name)
        kind = COLUMN_TYPES[column.type]
        before = columns.get(name, kind)
        mixed = before is not kind and {before, kind} <= _NUMBERS
        columns[name] = ColumnType.DOUBLE if mixed else before
    return columns


class SeriesBook:
    """The series of earlier requests, so that a path is formed once. Thread-safe: what two threads
    form at a time is equal."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, str, str, Tags], Series] = {}

    def series(self, points: Points, table: Table, prefix: str) -> list[Series]:
        """One for each of the points' series."""
        known = self._known
        if len(known) >= SERIES_KEPT:
            self._known = known = {}
        # A template that got a tag has other series.
        place = (table.name, table.template.revision, prefix, points.measurement)
        found = []
        for tags in points.series:
            one = known.get((*place, tags))
            if one is None:
                one = known[(*place, tags)] = _series(points.measurement, tags, table, prefix)
            found.append(one)
        return found


def _batch(
    points: Points, table: Table, series: list[Series], now_ns: int, databases: Databases
) -> SeriesBatch:
    """The rows of a measurement, typed; what does not fit its column is a reject already."""
    units = _precisions_ns(databases, [each.path for each in series])
    times = np.where(points.timed, points.time_ns, now_ns)
    times -= times % units[points.series_of]
    rejects: list[Reject] = []

    def reject(row: int, name: str, reason: str, value: Any) -> None:
        path = series[int(points.series_of[row])].path
        plain = plain_value(value.item() if isinstance(value, np.generic) else value)
        rejects.append(Reject(path, int(times[row]), name, reason, plain))

    count = len(points)
    found: dict[int, tuple[AnyArray, BoolMask]] = {}
    for column in points.columns:
        name = field_column(column.name, lambda name: table.tag(name) is not None)
        measurement = table.shown_measurement(name)
        if measurement is None:
            for row, value in zip(column.rows.tolist(), column.values.tolist(), strict=True):
                reject(row, name, UNKNOWN_MEASUREMENT, value)
            continue
        typed, bad = tolerant_column(measurement, column.values, int(units.min()))
        for at, reason, value in bad:
            reject(int(column.rows[at]), measurement.name, reason, value)
        if measurement.id not in found:
            values = np.zeros(count, measurement.type.dtype)
            if measurement.type.is_variable:
                values[:] = None
            found[measurement.id] = (values, np.zeros(count, np.bool_))
        _scatter(found[measurement.id], column, typed)
    columns = {
        key: Column(values, None if valid.all() else valid)
        for key, (values, valid) in found.items()
    }
    batch = SeriesBatch(table, series, points.series_of, times, columns, count, rejects)
    some = rows_with_values(columns, count)
    if not some.all():  # their values are put aside one by one already
        batch.keep(some)
    return batch


def _scatter(into: tuple[AnyArray, BoolMask], column: FieldColumn, typed: Column) -> None:
    values, valid = into
    rows, given = column.rows, typed.values
    if typed.valid is not None:
        rows, given = rows[typed.valid], given[typed.valid]
    values[rows] = given
    valid[rows] = True


def _series(measurement: str, tags: Tags, table: Table, prefix: str) -> Series:
    columns = {}
    for key, value in tags:
        tag = table.tag(tag_column(key))
        if tag is not None:
            columns[tag.name] = tag_value(tag.type, value)
    try:
        return Series(device_path(prefix, measurement, tags), columns)
    except SchemaError:
        shown = ".".join([prefix, measurement, *(value for _, value in tags)])
        return Series(shown[:1024], columns, BAD_PATH)


def tag_value(kind: ColumnType, text: str) -> Any:
    """The text as the tag's type; None when it does not fit."""
    if kind == ColumnType.TEXT:
        return text
    if kind == ColumnType.BOOLEAN:
        return {"true": True, "false": False}.get(text.casefold())
    try:
        return int(text) if kind.is_integer else float(text)
    except ValueError:
        return None


def _precisions_ns(databases: Databases, paths: list[str]) -> TimesNs:
    """ns per unit of the times of each device's database, which need not be there yet."""
    indexes = databases.indexes_of_paths(paths)
    known = {
        index: PRECISION_NS["ms"] if index is None else databases.at(index).precision_ns
        for index in set(indexes)
    }
    return np.array([known[index] for index in indexes], np.int64)


def _whole(points: Points, reason: str) -> list[Reject]:
    """Each point as one reject, of no template."""
    values: list[dict[str, Any]] = [{} for _ in range(len(points))]
    for column in points.columns:
        for row, value in zip(column.rows.tolist(), column.values.tolist(), strict=True):
            values[row][column.name] = plain_value(value)
    return [
        Reject(
            "",
            int(points.time_ns[row]) if points.timed[row] else None,
            "",
            reason,
            json.dumps(
                {
                    "line": int(points.lines[row]),
                    "measurement": points.measurement,
                    "tags": dict(points.series[int(points.series_of[row])]),
                    "fields": fields,
                },
                ensure_ascii=False,
            ),
        )
        for row, fields in enumerate(values)
    ]
