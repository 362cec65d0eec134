"""ALIGN(EVERY step) over the rows of a table: columns on one grid, partition by partition.

1. The grid goes over the moments that were asked for, or from the first row of all to the last.
2. The answer has a row per partition and moment. Keys are those of the partition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.analysis.local_time import Duration
from mainstem_engine.analysis.resampling import METHODS, Grid, default_method, make_grid
from mainstem_engine.analysis.rows import Timeline
from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.sql.timelines import (
    TIME,
    array_like,
    array_of,
    key_name,
    signal_of,
    time_array,
    timeline_of,
)
from mainstem_engine.sql.times import parse_zone
from mainstem_engine.sql.walks import ROWS

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_MAX = 10_000_000
"""Rows of the answer; a column of them takes 80 MB."""


def run(table: pa.Table, arguments: dict[str, Any]) -> dict[str, pa.Table]:
    """``arguments``: ``keys`` their number; ``every`` (months, ns, whether exact); ``start_ns``,
    ``end_ns`` inclusive, or None; ``span`` the first and last moment that WHERE allows, or None
    each; ``zone``; ``columns`` {name, column, output, method, default, limit_ns} each, the last
    three perhaps None."""
    timeline = timeline_of(table, arguments["keys"])
    grid = _grid(timeline, arguments)
    count = len(grid.moments)
    if count * timeline.partitions > ROWS_MAX:
        raise SqlLimitError(
            f"ALIGN makes more than {ROWS_MAX} rows",
            hint="use a longer step, or narrow the statement by time or device",
        )
    return {ROWS: _table(table, timeline, grid, arguments)}


def _grid(timeline: Timeline, arguments: dict[str, Any]) -> Grid:
    first, last = arguments["span"]
    start_ns = first if arguments["start_ns"] is None else arguments["start_ns"]
    end_ns = last if arguments["end_ns"] is None else arguments["end_ns"]
    if len(timeline) == 0 and (start_ns is None or end_ns is None):
        return Grid(np.zeros(1, np.int64))
    start_ns = int(timeline.times.min()) if start_ns is None else start_ns
    end_ns = int(timeline.times.max()) if end_ns is None else end_ns
    zone = parse_zone(arguments["zone"])
    return make_grid(start_ns, end_ns + 1, Duration(*arguments["every"]), zone)


def _table(table: pa.Table, timeline: Timeline, grid: Grid, arguments: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    moment = table.schema.field(TIME).type
    count = len(grid.moments)
    partition = np.repeat(np.arange(timeline.partitions, dtype=np.int64), count)
    is_empty = np.diff(timeline.bounds)[partition] == 0
    first_rows = number_array(timeline.bounds[:-1][partition], pa.int64(), is_empty)
    arrays: dict[str, Any] = {
        "#s": number_array(partition, pa.int64()),
        TIME: time_array(np.tile(grid.moments, timeline.partitions), moment),
    }
    for number in range(arguments["keys"]):
        name = key_name(number)
        arrays[name] = table.column(name).take(first_rows)
    for call in arguments["columns"]:
        column = table.column(call["column"])
        signal = signal_of(column)
        method = call["method"] or default_method(signal, call["default"])
        try:
            made = METHODS[method](timeline, signal, grid, call["limit_ns"])
        except SqlError as error:
            raise SqlError(
                f"{call['name']}: {error.message}", field=call["name"], hint=error.hint
            ) from None
        is_rate = method == "RATE"
        arrays[call["output"]] = (
            array_of(made, moment) if is_rate else array_like(made, column, moment)
        )
    return pa.table(arrays)
