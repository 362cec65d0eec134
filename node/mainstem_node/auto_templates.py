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
from mainstem_node.logs import fields

log = logging.getLogger("mainstem.auto_templates")

TEMPLATES_PER_MINUTE = 200
"""Several times what an agent with all of its inputs sends."""
COLUMNS_PER_MINUTE = 5000
MINUTE_S = 60.0


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
        self._templates = _Allowance(templates_per_minute, monotonic)
        self._columns = _Allowance(columns_per_minute, monotonic)

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
        some = self._columns.some(measurements)
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
        new_tags = self._columns.some(_missing(table, tags))
        new = self._columns.some(_missing(table, measurements))
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


class _Allowance:
    """At most ``per_minute`` in any minute's worth of time (a token bucket)."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._left = float(per_minute)
        self._at = monotonic()

    def take(self, count: int) -> int:
        """As many of ``count`` as there is room for."""
        now = self._monotonic()
        refill = (now - self._at) * self._per_minute / MINUTE_S
        self._left = min(float(self._per_minute), self._left + refill)
        self._at = now
        taken = min(count, int(self._left))
        self._left -= taken
        return taken

    def some(self, columns: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
        """The first of them, as many as there is room for."""
        room = self.take(len(columns)) if columns else 0
        return dict(list(columns.items())[:room])
