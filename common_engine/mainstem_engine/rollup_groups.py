"""Aggregates of the rows of a rollup, in place of those of the table that it rolls up.

What is asked of a measurement becomes what is asked of columns of the rollup, and the answer is put
together from theirs: a count is the total of counts, an extreme that of extremes, a total that of
totals. So statistics of blocks answer, and blocks are grouped without making rows.

1. Of a table of rows: counts, extremes, and totals that are DOUBLE anyway. First and last values
   need the times of two columns, totals of integers a look at every one of them: those are not
   known here.
2. Of a rollup, from a coarser one: totals of counts, sums and squares, the least minimum and the
   greatest maximum. How many windows there were is not known any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mainstem_engine.aggregate import rolled_up
from mainstem_engine.aggregates import aggregate
from mainstem_engine.aggregation import Aggregation
from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import ColumnType, Measurement
from mainstem_engine.scan import Selection
from mainstem_engine.view import TableView
from mainstem_engine.windows import (
    COUNT,
    LOW_BITS,
    MAX,
    MIN,
    SUM,
    Counts,
    Pieces,
    Values,
    Wanted,
    no_values,
)

_OF_ROLLUPS: Mapping[str, frozenset[str]] = {
    "count": frozenset({SUM}), "sum": frozenset({SUM}), "sumsq": frozenset({SUM}),
    "min": frozenset({MIN}), "max": frozenset({MAX}),
}  # fmt: skip
"""What a coarser rollup knows of a column of a finer one."""


@dataclass(slots=True)
class _Columns:
    """Where the parts of a measurement's values come from: ids of the rollup's columns."""

    want: Wanted
    count: int | None = None
    low: int | None = None
    high: int | None = None
    total: int | None = None


@dataclass(slots=True)
class _Question:
    """What is asked of the rollup."""

    target: Table
    wanted: dict[int, Wanted] = field(default_factory=dict)

    def ask(self, name: str, function: str, kind: ColumnType | None = None) -> int | None:
        """The id of a column; None when it is not there in that type (None: any)."""
        column = self.target.measurement(name)
        if column is None or (kind is not None and column.type != kind):
            return None
        before = self.wanted.get(column.id)
        already = frozenset() if before is None else before.functions
        self.wanted[column.id] = Wanted(column.type, already | {function})
        return column.id


def pieces_of_rollup(
    table: Table, target: Table, view: TableView, selection: Selection, aggregation: Aggregation
) -> list[Pieces] | None:
    """Pieces, merged, of the windows of ``target`` in the range of ``selection``, which may be
    none; None when it is not known here what its columns say. ``view``: of ``target``."""
    known = _question(table, target, aggregation)
    if known is None:
        return None
    asked, found = known
    pieces, _ = aggregate(view, selection, asked)
    if pieces is None:
        return []
    values = pieces.values
    pieces.values = {key: _values(values, columns, len(pieces)) for key, columns in found.items()}
    return [pieces]


def question_of(table: Table, target: Table, aggregation: Aggregation) -> Aggregation | None:
    """What is asked of the rows of ``target``; None when that is not known here."""
    known = _question(table, target, aggregation)
    return None if known is None else known[0]


def _question(
    table: Table, target: Table, aggregation: Aggregation
) -> tuple[Aggregation, dict[int, _Columns]] | None:
    question = _Question(target)
    found: dict[int, _Columns] = {}
    for key, want in aggregation.wanted.items():
        source = next((m for m in table.template.measurements if m.id == key), None)
        asked = None
        if source is not None:
            of = _of_rollup if table.template.rollup_of is not None else _of_rows
            asked = of(question, table, source, want)
        if asked is None:
            return None
        found[key] = asked
    return replace(aggregation, wanted=question.wanted), found


def _of_rows(
    question: _Question, table: Table, source: Measurement, want: Wanted
) -> _Columns | None:
    del table
    if want.ends or (want.total and not want.type.is_float):
        return None
    if want.extremes and want.type == ColumnType.BOOLEAN:
        return None
    columns = _Columns(want, count=question.ask(f"{source.name}_count", SUM))
    wanted = [columns.count]
    if want.extremes:
        columns.low = question.ask(f"{source.name}_min", MIN, want.type)
        columns.high = question.ask(f"{source.name}_max", MAX, want.type)
        wanted += [columns.low, columns.high]
    if want.total:
        columns.total = question.ask(f"{source.name}_sum", SUM)
        wanted.append(columns.total)
    return None if None in wanted else columns


def _of_rollup(
    question: _Question, table: Table, source: Measurement, want: Wanted
) -> _Columns | None:
    suffix = next(
        (
            suffix
            for base in rolled_up(table)
            for suffix in _OF_ROLLUPS
            if source.name == f"{base}_{suffix}"
        ),
        "",
    )
    if COUNT in want.functions or not want.functions <= _OF_ROLLUPS.get(suffix, frozenset()):
        return None
    (function,) = want.functions
    found = question.ask(source.name, function, want.type)
    if found is None:
        return None
    columns = _Columns(want)
    if function == SUM:
        columns.total = found
    else:
        columns.low = columns.high = found
    return columns


def _values(values: Mapping[int, Values], columns: _Columns, count: int) -> Values:
    found = no_values(columns.want, count)
    one = columns.total if columns.total is not None else columns.low
    if columns.count is not None:
        found.count = _whole(values[columns.count])
    elif one is not None:
        # Whether there is any value, which is all that is known.
        found.count = np.minimum(values[one].count, 1)
    if columns.low is not None and columns.high is not None:
        found.low, found.high = values[columns.low].low, values[columns.high].high
    if columns.total is not None:
        found.total = values[columns.total].total
    return found


def _whole(counts: Values) -> Counts:
    """Totals of counts, which fit 64 bits."""
    assert counts.total is not None
    whole: Counts = (counts.total[:, 0] << LOW_BITS) + counts.total[:, 1]
    return whole
