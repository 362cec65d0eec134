"""FILL over the rows of a table: nulls of some columns get values, partition by partition.

Copied values keep their type whatever it is. A line through a column of integers is of integers; a
constant becomes the column's type, or, without regard to fitting (VALUE), is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.analysis.fills import SOURCES, converted, fill_linear, fitting
from mainstem_engine.analysis.rows import Timeline
from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.errors import SqlError
from mainstem_engine.sql.walks.timelines import TIME, array_of, signal_of, timeline_of
from mainstem_engine.sql.walks.walks import ROWS

if TYPE_CHECKING:
    import pyarrow as pa


def run(table: pa.Table, arguments: dict[str, Any]) -> dict[str, pa.Table]:
    """``arguments``: ``keys`` their number; ``columns`` names of those that are filled; ``mode`` as
    of a FillClause; ``limit_ns`` or None; ``values`` beside the columns, None: stays null."""
    timeline = timeline_of(table, arguments["keys"])
    values = arguments["values"] or [None] * len(arguments["columns"])
    for name, value in zip(arguments["columns"], values, strict=True):
        column = table.column(name)
        if column.null_count:
            made = _filled(table, name, timeline, arguments, value)
            table = table.set_column(table.schema.get_field_index(name), name, made)
    return {ROWS: table}


def _filled(
    table: pa.Table, name: str, timeline: Timeline, arguments: dict[str, Any], value: Any
) -> Any:
    column = table.column(name)
    mode, limit_ns = arguments["mode"], arguments["limit_ns"]
    if mode in SOURCES:
        present = column.is_valid().to_numpy()
        rows = SOURCES[mode](timeline, np.asarray(present), limit_ns)
        return column.take(_positions(rows))
    if mode == "LINEAR":
        return _line(table, name, timeline, limit_ns)
    return column if value is None else _constant(column, mode, value)


def _positions(rows: Any) -> Any:
    import pyarrow as pa

    return number_array(rows, pa.int64(), rows < 0)


def _line(table: pa.Table, name: str, timeline: Timeline, limit_ns: int | None) -> Any:
    column = table.column(name)
    types = _types()
    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
        return column
    made = array_of(fill_linear(timeline, signal_of(column), limit_ns), table.field(TIME).type)
    # A line between two values is within the range of their type; a decimal becomes a float.
    return made if types.is_decimal(kind) else made.cast(kind, safe=False)


def _constant(column: Any, mode: str, value: Any) -> Any:
    import pyarrow as pa

    if _types().is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    signal = signal_of(column)
    if _types().is_null(column.type):
        return pa.array([value] * len(column))
    chosen = fitting(signal, value) if mode == "CONSTANT" else converted(signal, value)
    if chosen is None:
        return column
    try:
        return column.fill_null(pa.scalar(chosen).cast(column.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SqlError(
            f"FILL cannot put {value!r} into a column of type {column.type}",
            field="FILL",
            hint="write a constant of that type for it",
        ) from error


def _types() -> Any:
    from pyarrow import types

    return types
