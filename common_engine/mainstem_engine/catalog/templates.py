"""Templates and where they are set.

1. Measurement ids are given here in order of declaration, are never re-used, and address the
   columns of stored rows. What may change is in revisions.py; nothing is ever taken away.
2. A rollup table is a template whose ``rollup_of`` names its source. It shares the source's
   devices: both are of one *family*, called after the source.
3. Setting a template on a path lets the first data below that path create devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from mainstem_engine.catalog.names import (
    TIME,
    UNSEEN,
    check_column_name,
    check_element,
    is_below,
    is_unseen,
)
from mainstem_engine.encoding.interface import Compression
from mainstem_engine.encoding.registry import NAMED
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import AUTO, ColumnType, Measurement, Tag, Template

COLUMNS_MAX = 4096
"""Measurements plus tags of one template. A message or statement cannot exhaust the catalog."""
ENCODINGS = frozenset({AUTO, *NAMED})
COMPRESSIONS = frozenset({AUTO, *Compression.__members__})


class Table:
    """A template with its lookups. ``foreign``: made for a child's data, not this node's own."""

    __slots__ = (
        "_by_id",
        "_by_name",
        "_tags",
        "family",
        "foreign",
        "set_paths",
        "shown",
        "template",
        "types",
    )

    def __init__(self, template: Template, foreign: bool, set_paths: tuple[str, ...] = ()) -> None:
        self.template = template
        self.foreign = foreign
        self.set_paths = set_paths
        self.family = template.rollup_of or template.name
        self._by_name = {m.name.casefold(): m for m in template.measurements}
        self._by_name.update({m.name: m for m in template.measurements})
        self._by_id = {m.id: m for m in template.measurements}
        self._tags = {t.name.casefold(): t for t in template.tags}
        self.types = {m.id: m.type for m in template.measurements}
        self.shown = tuple(m for m in template.measurements if not m.name.startswith(UNSEEN))
        """The measurements that are not dropped."""

    @property
    def name(self) -> str:
        return self.template.name

    @property
    def replaces_rows(self) -> bool:
        """True for rollup tables: the newest version of a row replaces all of it."""
        return self.template.rollup_of is not None

    def measurement(self, name: str) -> Measurement | None:
        return self._by_name.get(name) or self._by_name.get(name.casefold())

    def shown_measurement(self, name: str) -> Measurement | None:
        """As ``measurement``, for who names it from outside: dropped ones are not there."""
        found = self.measurement(name)
        return None if found is None or found.name.startswith(UNSEEN) else found

    def measurement_by_id(self, measurement_id: int) -> Measurement | None:
        return self._by_id.get(measurement_id)

    def tag(self, name: str) -> Tag | None:
        return self._tags.get(name.casefold())

    def may_create(self, path: str) -> bool:
        """True when data alone may create this device: set on no path, or on one above it."""
        return not self.set_paths or any(is_below(path, prefix) for prefix in self.set_paths)


def checked_template(template: Template) -> Template:
    """A new template as it will be stored: names checked, ids given. Raises SchemaError."""
    check_element(template.name, "template name")
    if template.name.startswith(UNSEEN):
        raise SchemaError(
            f"template name {template.name!r} begins with {UNSEEN}",
            field=template.name,
            hint="begin it with a letter",
        )
    if len(template.measurements) + len(template.tags) > COLUMNS_MAX:
        raise SchemaError(
            f"template {template.name} has more than {COLUMNS_MAX} columns",
            field=template.name,
            hint="divide it into several templates",
        )
    if template.time_name.casefold() != TIME:
        check_column_name(template.time_name, "time column")
    seen: set[str] = {template.time_name.casefold()}
    for kind, name in _columns(template):
        if not (kind == "measurement" and is_unseen(name)):
            check_column_name(name, kind)
        if name.casefold() in seen:
            raise SchemaError(
                f"template {template.name}: {name!r} is declared twice",
                field=name,
                hint="leave one of them out, or give it another name",
            )
        seen.add(name.casefold())
    for measurement in template.measurements:
        check_measurement(measurement)
    if template.rollup_of is not None and (template.every_ns is None or template.every_ns <= 0):
        raise SchemaError(f"rollup {template.name} needs a positive window", field="every")
    numbered = tuple(dataclasses.replace(m, id=i) for i, m in enumerate(template.measurements))
    return dataclasses.replace(template, measurements=numbered, revision=1)


def _columns(template: Template) -> Iterable[tuple[str, str]]:
    yield from (("measurement", m.name) for m in template.measurements)
    yield from (("tag", t.name) for t in template.tags)


def refuse_unseen(names: Iterable[str]) -> None:
    """Refuses names of new measurements that only dropped ones have. Raises SchemaError."""
    for name in filter(is_unseen, names):
        check_column_name(name, "measurement")


def foreign_template(template: Template) -> Template:
    """A child's template as it can be used here: how long its rows are kept is this node's own
    matter, and an encoding of a later version is left to choice."""
    known = tuple(
        m if m.encoding in ENCODINGS else dataclasses.replace(m, encoding=AUTO)
        for m in template.measurements
    )
    return dataclasses.replace(template, measurements=known, keep_ns=None)


def check_measurement(measurement: Measurement) -> None:
    """Refuses a measurement that cannot be stored as it says. Raises SchemaError."""
    if measurement.type == ColumnType.UNKNOWN:
        raise SchemaError(f"measurement {measurement.name} has no type", field=measurement.name)
    if measurement.encoding not in ENCODINGS:
        raise SchemaError(
            f"measurement {measurement.name}: encoding {measurement.encoding!r} is unknown",
            field=measurement.name,
            hint=f"use one of {', '.join(sorted(ENCODINGS))}",
        )
    if measurement.compression not in COMPRESSIONS:
        raise SchemaError(
            f"measurement {measurement.name}: compression {measurement.compression!r} is unknown",
            field=measurement.name,
            hint=f"use one of {', '.join(sorted(COMPRESSIONS))}",
        )
    encoding = NAMED.get(measurement.encoding)
    if encoding is not None and not encoding.supports(measurement.type):
        raise SchemaError(
            f"measurement {measurement.name}: encoding {measurement.encoding} cannot hold "
            f"{measurement.type.name}",
            field=measurement.name,
            hint="use DICTIONARY or PLAIN",
        )


def template_to_map(template: Template) -> dict[str, Any]:
    """For the log, the wire and the checkpoint."""
    return {
        "name": template.name,
        "measurements": [
            [m.id, m.name, int(m.type), m.encoding, m.compression, m.unit]
            for m in template.measurements
        ],
        "tags": [[t.name, int(t.type)] for t in template.tags],
        "revision": template.revision,
        "time_name": template.time_name,
        "rollup_of": template.rollup_of,
        "every_ns": template.every_ns,
        "keep_ns": template.keep_ns,
    }


def template_from_map(data: Mapping[str, Any]) -> Template:
    """The inverse of template_to_map. Raises SchemaError when a field is missing or wrong."""
    try:
        return Template(
            name=str(data["name"]),
            measurements=tuple(
                Measurement(int(i), str(name), ColumnType(code), encoding, compression, unit)
                for i, name, code, encoding, compression, unit in data["measurements"]
            ),
            tags=tuple(Tag(str(name), ColumnType(code)) for name, code in data["tags"]),
            revision=int(data["revision"]),
            time_name=str(data["time_name"]),
            rollup_of=data["rollup_of"],
            every_ns=data["every_ns"],
            # Definitions of the first format have no such field.
            keep_ns=data.get("keep_ns"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"a template definition that cannot be read: {error!r}") from error


class Templates:
    """Every table by name, not case-sensitive."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._dropped: set[str] = set()
        self.measurements = 0
        """How many all templates have."""

    def __len__(self) -> int:
        return len(self._tables)

    def all(self) -> list[Table]:
        """In order of creation."""
        return list(self._tables.values())

    def get(self, name: str) -> Table | None:
        return self._tables.get(name.casefold())

    def shown(self) -> list[Table]:
        """Those that are not dropped, in order of creation."""
        return [table for table in self._tables.values() if not self.is_dropped(table.family)]

    def find(self, name: str) -> Table | None:
        """As get(), None for one that is dropped."""
        found = self.get(name)
        return None if found is None or self.is_dropped(found.family) else found

    def is_dropped(self, family: str) -> bool:
        """True for a template, and its rollups, that are hidden."""
        return family.casefold() in self._dropped

    @property
    def dropped(self) -> list[str]:
        """Casefolded names of templates."""
        return sorted(self._dropped)

    def drop(self, name: str, gone: bool) -> None:
        """Hides a template, or shows it again. Idempotent."""
        self._dropped = self._dropped | {name.casefold()}
        if not gone:
            self._dropped = self._dropped - {name.casefold()}

    def put(self, template: Template, *, foreign: bool) -> Table:
        """Adds or revises. An own template stays own when a child announces it too. Idempotent."""
        old = self.get(template.name)
        if old is not None:
            if template.revision < old.template.revision:
                return old
            foreign = foreign and old.foreign
        known = 0 if old is None else len(old.template.measurements)
        self.measurements += len(template.measurements) - known
        table = Table(template, foreign, old.set_paths if old is not None else ())
        self._tables[template.name.casefold()] = table
        return table

    def set_on(self, name: str, path: str) -> None:
        """Idempotent."""
        table = self._tables[name.casefold()]
        if path not in table.set_paths:
            self._tables[name.casefold()] = Table(
                table.template, table.foreign, (*table.set_paths, path)
            )

    def unset_on(self, name: str, path: str) -> None:
        """Idempotent."""
        table = self._tables[name.casefold()]
        left = tuple(known for known in table.set_paths if known != path)
        self._tables[name.casefold()] = Table(table.template, table.foreign, left)

    def family_exists(self, family: str) -> bool:
        wanted = family.casefold()
        return any(table.family.casefold() == wanted for table in self._tables.values())
