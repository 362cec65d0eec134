"""Point functions over the rows of a table: one value per row, or points of their own.

1. Every function gets the rows of each partition in order of time.
2. Functions that keep the rows add a column each; the answer is the rows. If all of them ask for
   it, rows are left out where all of them are null.
3. Any other makes points. Several functions are brought together by partition and time; a function
   that has no point there is null. ``with_rows``: rows of the table take part.
4. The columns of the table beside points are those of the row that a point is, else those of a row
   of its time, else null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.analysis import library
from mainstem_engine.analysis.rows import Points, Positions, Timeline
from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.sql.walks.timelines import (
    TIME,
    array_of,
    key_name,
    signal_of,
    time_array,
    timeline_of,
)
from mainstem_engine.sql.walks.walks import ROWS
from mainstem_engine.sql.walks.window_walk import check_signals, check_span

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.model import TimesNs


def run(table: pa.Table, arguments: dict[str, Any]) -> dict[str, pa.Table]:
    """``arguments``: ``keys`` their number; ``functions`` {name, columns, options, outputs} each;
    ``with_rows``."""
    timeline = timeline_of(table, arguments["keys"])
    made = [(call, run_point_function(call, table, timeline)) for call in arguments["functions"]]
    keeps = all(_keeps_rows(call) for call, _ in made)
    if keeps:
        partition = number_array(timeline.partition_of_rows(), _int64())
        table = table.append_column("#s", partition)
        return {ROWS: _without_empty(_beside_rows(table, made), made)}
    return {ROWS: _together(table, timeline, made, arguments)}


def _int64() -> Any:
    import pyarrow as pa

    return pa.int64()


def _keeps_rows(call: dict[str, Any]) -> bool:
    function = library.point_function(call["name"])
    return function is not None and function.keeps_rows


def run_point_function(call: dict[str, Any], table: pa.Table, timeline: Timeline) -> Points:
    """The points of one function. Raises SqlError for columns that it cannot take."""
    function = library.point_function(call["name"])
    assert function is not None, call["name"]  # the planner found it
    signals = [signal_of(table.column(name), unsigned=True) for name in call["columns"]]
    check_signals(function.name, signals, takes_text=function.takes_text)
    check_span(timeline)
    return function.run(timeline, signals, call["options"])


def _beside_rows(table: pa.Table, made: list[tuple[dict[str, Any], Points]]) -> pa.Table:
    moment = table.schema.field(TIME).type
    for call, points in made:
        for name, signal in zip(call["outputs"], points.signals, strict=False):
            table = table.append_column(name, array_of(signal, moment))
    return table


def _without_empty(table: pa.Table, made: list[tuple[dict[str, Any], Points]]) -> pa.Table:
    """Leaves rows out that no function has a value of, where all functions ask for it."""
    import pyarrow as pa

    for call, _ in made:
        function = library.point_function(call["name"])
        skips = None if function is None else function.skips_empty
        if skips is None or not skips(call["options"]):
            return table
    masks = [signal.mask() for _, points in made for signal in points.signals]
    return table.filter(pa.array(np.logical_or.reduce(masks))) if masks else table


def _together(
    table: pa.Table,
    timeline: Timeline,
    made: list[tuple[dict[str, Any], Points]],
    arguments: dict[str, Any],
) -> pa.Table:
    """Rule 3: one row per partition, time, and number of the point within that time."""
    import pyarrow as pa

    all_points = [points for _, points in made]
    if arguments["with_rows"]:
        none = np.arange(len(timeline), dtype=np.int64)
        all_points.append(Points(timeline.times, timeline.bounds, (), none))
    partition, times, places = _places(all_points)
    count = len(times)
    row = np.full(count, -1, np.int64)
    for points, place in zip(reversed(all_points), reversed(places), strict=True):
        if points.rows is not None:
            row[place] = points.rows
    moment = table.schema.field(TIME).type
    arrays = _columns_of_rows(table, timeline, partition, row, arguments["keys"])
    arrays["#s"] = number_array(partition, pa.int64())
    arrays[TIME] = time_array(times, moment)
    for (call, points), place in zip(made, places, strict=False):
        source = np.full(count, -1, np.int64)
        source[place] = np.arange(len(points.times), dtype=np.int64)
        for name, signal in zip(call["outputs"], points.signals, strict=False):
            arrays[name] = array_of(signal.take(source), moment)
    return pa.table(arrays)


def _places(all_points: list[Points]) -> tuple[Positions, TimesNs, list[Positions]]:
    """The partition and time of every row of the answer, and where each function's points are."""
    if len(all_points) == 1:
        (points,) = all_points
        return _partitions(points), points.times, [np.arange(len(points.times), dtype=np.int64)]
    partition = np.concatenate([_partitions(points) for points in all_points])
    times = np.concatenate([points.times for points in all_points])
    nth = np.concatenate([_nth(points) for points in all_points])
    order = np.lexsort((nth, times, partition))
    ordered = partition[order], times[order], nth[order]
    opens = np.ones(len(order), np.bool_)
    opens[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in ordered])
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(opens) - 1
    ends = np.cumsum([len(points.times) for points in all_points])
    return ordered[0][opens], ordered[1][opens], np.split(number, ends[:-1])


def _partitions(points: Points) -> Positions:
    return np.repeat(np.arange(len(points.bounds) - 1, dtype=np.int64), np.diff(points.bounds))


def _nth(points: Points) -> Positions:
    """How many points of the same partition and time come before each."""
    count = len(points.times)
    opens = np.ones(count, np.bool_)
    opens[1:] = points.times[1:] != points.times[:-1]
    opens[points.bounds[:-1][points.bounds[:-1] < count]] = True
    first = np.maximum.accumulate(np.where(opens, np.arange(count), 0))
    return np.arange(count, dtype=np.int64) - first


def _columns_of_rows(
    table: pa.Table, timeline: Timeline, partition: Positions, row: Positions, keys: int
) -> dict[str, Any]:
    """Keys from the partition, all other columns from the row."""
    import pyarrow as pa

    names = {key_name(number) for number in range(keys)}
    first = number_array(timeline.bounds[:-1][partition], pa.int64())
    rows = number_array(row, pa.int64(), row < 0)
    return {
        name: table.column(name).take(first if name in names else rows)
        for name in table.schema.names
        if name != TIME
    }
