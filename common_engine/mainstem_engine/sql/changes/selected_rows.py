"""The rows that a query has found for a table: INSERT ... SELECT, and SELECT ... INTO.

1. The columns of the query go to those that the target names, in order. A template's target names
   the device, and may have tags of it, which the first row of a new device gives it.
2. The first piece of the answer is resolved and checked before anything is made; it decides what
   types new measurements have.
3. Every piece is turned into columns and written as one record. One piece is held at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.model import Rows
from mainstem_engine.sql.changes.answers import Answer
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.relations import DEVICE, TBNAME, TIME

if TYPE_CHECKING:
    from mainstem_engine.consumers import Ack
    from mainstem_engine.sql.changes.destinations import Destinations
    from mainstem_engine.sql.result import Result
    from mainstem_engine.sql.statements import InsertTarget
    from mainstem_engine.sql.storage import Storage


def query_of(target: InsertTarget) -> exp.Query:
    """The query of a target, which names its columns one by one where it begins with an expression:
    ``SELECT ts + INTERVAL '1 hour', a FROM d`` has no further time put before it, as a SELECT from
    a path has that does not show the time."""
    query = target.query
    assert query is not None  # the caller looks
    if not isinstance(query, exp.Select) or target.columns is None:
        return query
    items = query.expressions
    is_complete = len(items) == len(target.columns) and not query.is_star
    if not is_complete or isinstance(items[0].unalias(), exp.Column):
        return query
    if any(is_aggregate(node) for item in items for node in item.walk()):
        return query
    alias = exp.TableAlias(this=exp.to_identifier("selected", quoted=True))
    source = exp.Subquery(this=query, alias=alias)
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=source))


class SelectedRows:
    """The answer of one target's query. The first piece is checked when this is made."""

    def __init__(
        self, engine: Storage, destinations: Destinations, target: InsertTarget, result: Result
    ) -> None:
        """Raises SqlError, SchemaError, NotFoundError, OutOfRangeError."""
        self._engine = engine
        self._destinations = destinations
        self._pieces = result.pieces()
        self.batch, self._path, self._target = destinations.find(target)
        self._first = Answer(next(self._pieces))
        self._with_tags: set[str] = set()
        self._device = -1
        self._tags: dict[str, int] = {}
        table = self.batch.table
        columns = self._target.columns or (TIME, *(m.name for m in table.shown))
        self._first.check_width(str(target.name), columns)
        empty: set[str] = set()
        if self._path and not self.is_empty:
            empty = destinations.extend(self.batch, self._path, self._target, self._first.type_of)
        self._places = self._places_of(columns, empty)
        self._typed(self._first)

    @property
    def is_empty(self) -> bool:
        """True when the query has found nothing."""
        return not self._first.row_count

    def write(self, acks: list[Ack]) -> int:
        """Writes all pieces and returns the number of rows; what is to be waited for is added."""
        count = self._write(self._first, acks)
        for result in self._pieces:
            count += self._write(Answer(result), acks)
        return count

    def _places_of(self, columns: tuple[str, ...], empty: set[str]) -> dict[str, int]:
        """The places of the time and of measurements by name; notes those of device and tags."""
        places: dict[str, int] = {}
        table = self.batch.table
        for place, name in enumerate(columns):
            tag = table.tag(name) if not self._path else None
            if name.casefold() in (TBNAME, DEVICE) and not self._path:
                self._device = place
            elif tag is not None:
                self._tags[tag.name] = place
            elif name not in empty and not (self.is_empty and self.batch.new_for is not None):
                places[self._destinations.measurement_or_time(table, name)] = place
        if TIME not in places and not self.is_empty:
            raise SqlError(
                f"{self._target.name}: a query without a time", hint="name the time column"
            )
        return places

    def _typed(self, answer: Answer) -> tuple[Rows, list[str], npt.NDArray[np.intp]]:
        """The columns of a piece, its devices, and of each row the number of its device."""
        count = answer.row_count
        paths, codes = [self._path], np.zeros(count, np.intp)
        if not self._path:
            named, firsts, codes = answer.named(self._device)
            paths = [self._destinations.device_of(self._target, name) for name in named]
            self._note_tags(answer, paths, firsts)
        rows = Rows(np.empty(count, np.uint32), np.empty(0, np.int64))
        if not count:
            return rows, paths, codes
        precision_ns = self._destinations.finest_ns(paths)
        for name, place in self._places.items():
            if name == TIME:
                rows.time = answer.times_ns(place, precision_ns)
                continue
            measurement = self.batch.table.measurement(name)
            assert measurement is not None  # measurement_or_time
            column = answer.column(place, measurement, precision_ns)
            if column is not None:
                rows.columns[measurement.id] = column
        return rows, paths, codes

    def _note_tags(self, answer: Answer, paths: list[str], firsts: npt.NDArray[np.intp]) -> None:
        if not self._tags:
            return
        values = [answer.values_at(place, firsts) for place in self._tags.values()]
        for path, *tags in zip(paths, *values, strict=True):
            if path not in self._with_tags:
                self._with_tags.add(path)
                named = dict(zip(self._tags, tags, strict=True))
                self._destinations.note_tags(self.batch, path, named)

    def _write(self, answer: Answer, acks: list[Ack]) -> int:
        if not answer.row_count:
            return 0
        # The ids of measurements may be others since the template was made.
        rows, paths, codes = self._typed(answer)
        self._destinations.create(self.batch, durable=False)
        table = self.batch.table
        ids = self._engine.device_ids(table.name, paths, create=True, durable=False)
        rows.device = ids[codes]
        # There is one log: what came before the last record is durable when that is.
        acks[:] = [self._engine.write_rows(table, rows)]
        return answer.row_count
