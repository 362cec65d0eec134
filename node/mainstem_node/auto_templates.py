"""Templates that data makes: one for a kind of thing never seen, a column for a value never seen.

1. What is made is durable before this returns, hence before the first row that needs it.
2. At most so many templates and columns a minute: a faulty source must not fill the catalog. What
   finds no room is not made; its values are put aside by whoever asked, and asks again later.
3. Nothing that is there is changed: a template that lacks a column gets it, no more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import MetadataLimitError, SchemaError
from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_node.allowance import Allowance
from mainstem_node.logs import fields

log = logging.getLogger("mainstem.auto_templates")

TEMPLATES_PER_MINUTE = 200
"""Several times what an agent with all of its inputs sends."""
COLUMNS_PER_MINUTE = 5000


class Definer(Protocol):
    """What is needed of the engine."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def create_template(self) -> Callable[..., Template]: ...
    @property
    def alter_template(self) -> Callable[..., Template]: ...
    @property
    def alter_tags(self) -> Callable[..., Template]: ...


class AutoTemplates:
    """Makes what data needs. Thread-safe."""

    def __init__(
        self,
        engine: Definer,
        *,
        templates_per_minute: int = TEMPLATES_PER_MINUTE,
        columns_per_minute: int = COLUMNS_PER_MINUTE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._templates = Allowance(templates_per_minute, monotonic)
        self._columns = Allowance(columns_per_minute, monotonic)

    def fitted(
        self, name: str, tags: Mapping[str, ColumnType], measurements: Mapping[str, ColumnType]
    ) -> Table | None:
        """The template of that name, with these tags and measurements as far as they may be made;
        None when it is not there and must not be made now, or cannot be called so."""
        found = self._engine.catalog.templates.find(name)
        if found is not None and not _lacks(found, tags, measurements):
            return found
        with self._lock:
            try:
                if self._engine.catalog.templates.find(name) is None:
                    self._make(name, tags, measurements)
                else:
                    self._extend(name, tags, measurements)
            except (SchemaError, MetadataLimitError) as error:
                log.warning("not made", extra=fields(template=name, error=str(error)))
        return self._engine.catalog.templates.find(name)

    def _make(
        self, name: str, tags: Mapping[str, ColumnType], measurements: Mapping[str, ColumnType]
    ) -> None:
        if not self._templates.take(1):
            return
        some = _first(measurements, self._columns)
        self._engine.create_template(
            Template(
                name,
                tuple(Measurement(0, column, kind) for column, kind in some.items()),
                tuple(Tag(tag, kind) for tag, kind in tags.items()),
            ),
            if_not_exists=True,
        )
        log.info("template made by data", extra=fields(template=name, columns=len(some)))

    def _extend(
        self, name: str, tags: Mapping[str, ColumnType], measurements: Mapping[str, ColumnType]
    ) -> None:
        table = self._engine.catalog.table(name)
        if table.replaces_rows:
            return
        new_tags = _first(_missing(table, tags), self._columns)
        new = _first(_missing(table, measurements), self._columns)
        if new_tags:
            added = [Tag(tag, kind) for tag, kind in new_tags.items()]
            self._engine.alter_tags(table.name, TagRevision(add=added))
        if new:
            columns = [Measurement(0, column, kind) for column, kind in new.items()]
            self._engine.alter_template(table.name, add=columns)
        if new or new_tags:
            log.info(
                "template extended by data",
                extra=fields(template=table.name, new=[*new_tags, *new]),
            )


def _has(table: Table, column: str) -> bool:
    return table.shown_measurement(column) is not None or table.tag(column) is not None


def _lacks(
    table: Table, tags: Mapping[str, ColumnType], measurements: Mapping[str, ColumnType]
) -> bool:
    return any(not _has(table, column) for column in (*tags, *measurements))


def _missing(table: Table, columns: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    return {name: kind for name, kind in columns.items() if not _has(table, name)}


def _first(columns: Mapping[str, ColumnType], allowance: Allowance) -> dict[str, ColumnType]:
    """As many of them as there is room for."""
    room = allowance.take(len(columns)) if columns else 0
    return dict(list(columns.items())[:room])
