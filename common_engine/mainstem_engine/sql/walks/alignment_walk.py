"""ALIGN(EVERY step) over the rows of a table: columns on one grid, partition by partition.

1. The grid goes over the moments that were asked for, or from the first row of all to the last.
2. The answer has a row per partition and moment, with the keys of the partition; or, where cells
   are asked for, a row per moment with a column for each cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.analysis.local_time import Duration
from mainstem_engine.analysis.resampling import METHODS, Grid, default_method, make_grid
from mainstem_engine.analysis.rows import Timeline
from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.sql.times import parse_zone
from mainstem_engine.sql.walks.timelines import (
    TIME,
    array_like,
    array_of,
    key_name,
    signal_of,
    time_array,
    timeline_of,
)
from mainstem_engine.sql.walks.walks import ROWS

if TYPE_CHECKING:
    import pyarrow as pa

VALUES_MAX = 20_000_000
"""Values of the answer, or rows where partitions are below each other: 160 MB of numbers."""


def run(table: pa.Table, arguments: dict[str, Any]) -> dict[str, pa.Table]:
    """``arguments``: ``keys`` their number; ``every`` (months, ns, whether exact); ``start_ns``,
    ``end_ns`` inclusive, or None; ``span`` the first and last moment that WHERE allows, or None
    each; ``zone``; ``columns`` {name, column, output, method, default, limit_ns} each, the last
    three perhaps None; ``cells`` {number, device, column, output} each where partitions stand side
    by side, else None: ``column`` a position in ``columns``, ``number`` and ``device`` the keys."""
    timeline = timeline_of(table, arguments["keys"])
    grid = _grid(timeline, arguments)
    cells = arguments["cells"]
    width = timeline.partitions if cells is None else len(cells)
    if len(grid.moments) * width > VALUES_MAX:
        raise SqlLimitError(
            f"ALIGN makes more than {VALUES_MAX} values",
            hint="use a longer step, or narrow the statement by time or device",
        )
    if cells is not None:
        return {ROWS: _beside(table, timeline, grid, arguments)}
    return {ROWS: _below(table, timeline, grid, arguments)}


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


def _below(table: pa.Table, timeline: Timeline, grid: Grid, arguments: dict[str, Any]) -> pa.Table:
    """A row per partition and moment."""
    import pyarrow as pa

    moment = table.schema.field(TIME).type
    partition = np.repeat(np.arange(timeline.partitions, dtype=np.int64), len(grid.moments))
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
        arrays[call["output"]] = _on_grid(table, timeline, grid, call)
    return pa.table(arrays)


def _beside(table: pa.Table, timeline: Timeline, grid: Grid, arguments: dict[str, Any]) -> pa.Table:
    """A row per moment: the grid is that of all partitions. A partition without rows is null."""
    import pyarrow as pa

    moments = grid.moments if len(timeline) else grid.moments[:0]
    arrays: dict[str, Any] = {TIME: time_array(moments, table.schema.field(TIME).type)}
    found = _partitions_by_key(table, timeline)
    for cell in arguments["cells"]:
        partition = found.get((cell["number"], cell["device"]))
        low, high = (0, 0) if partition is None else timeline.bounds[partition : partition + 2]
        line = Timeline(timeline.times[low:high], np.array([0, high - low], np.int64))
        call = arguments["columns"][cell["column"]]
        arrays[cell["output"]] = _on_grid(
            table.slice(low, high - low), line, Grid(grid.edges[: len(moments) + 1]), call
        )
    return pa.table(arrays)


def _partitions_by_key(table: pa.Table, timeline: Timeline) -> dict[tuple[int, str], int]:
    import pyarrow as pa

    first = number_array(timeline.bounds[:-1][np.diff(timeline.bounds) > 0], pa.int64())
    numbers, devices = (table.column(key_name(n)).take(first).to_pylist() for n in (0, 1))
    return {key: index for index, key in enumerate(zip(numbers, devices, strict=True))}


def _on_grid(table: pa.Table, timeline: Timeline, grid: Grid, call: dict[str, Any]) -> pa.Array:
    """One column by its method, in the type of the column; a rate is a float."""
    column, moment = table.column(call["column"]), table.schema.field(TIME).type
    signal = signal_of(column)
    method = call["method"] or default_method(signal, call["default"])
    try:
        made = METHODS[method](timeline, signal, grid, call["limit_ns"])
    except SqlError as error:
        raise SqlError(
            f"{call['name']}: {error.message}", field=call["name"], hint=error.hint
        ) from None
    return array_of(made, moment) if method == "RATE" else array_like(made, column, moment)
