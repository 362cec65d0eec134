"""INTERP over the rows of a table: values of columns at moments, partition by partition.

1. Moments are the same in every partition: from ``start_ns`` to ``end_ns``, or from the first row
   to the last.
2. A moment is in the answer when one of the columns has something to say of it; the others are
   null. Whether it is filled, and from which row, is that of the first column.
3. ``#p0`` ... and ``shown`` columns are those of the first row of the partition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.analysis.interpolation import Filling, Slices, interpolate, moments_every
from mainstem_engine.analysis.rows import Timeline
from mainstem_engine.arrow_arrays import number_array
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

    from mainstem_engine.model import TimesNs


def run(table: pa.Table, arguments: dict[str, Any]) -> dict[str, pa.Table]:
    """``arguments``: ``keys`` their number; ``start_ns``, ``end_ns`` or None; ``every`` (months,
    ns, whether exact) or None for one moment, in ``zone``; ``calls`` {column, output, filling: the
    fields of a Filling} each; ``shown`` names of columns that are the same all over a partition."""
    timeline = timeline_of(table, arguments["keys"])
    moments = _moments(timeline, arguments)
    made = [_slices(table, timeline, moments, call) for call in arguments["calls"]]
    there = np.logical_or.reduce([slices.is_there for slices in made])
    kept = np.flatnonzero(there)
    return {ROWS: _table(table, timeline, moments, arguments, made, kept)}


def _moments(timeline: Timeline, arguments: dict[str, Any]) -> TimesNs:
    start_ns, end_ns = arguments["start_ns"], arguments["end_ns"]
    if start_ns is None:
        if len(timeline) == 0:
            return np.zeros(0, np.int64)
        start_ns, end_ns = int(timeline.times.min()), int(timeline.times.max())
    step = arguments["every"] or (0, 1)
    return moments_every(start_ns, end_ns, step, parse_zone(arguments["zone"]))


def _slices(table: pa.Table, timeline: Timeline, moments: TimesNs, call: dict[str, Any]) -> Slices:
    return interpolate(
        timeline, signal_of(table.column(call["column"])), moments, Filling(**call["filling"])
    )


def _table(
    table: pa.Table,
    timeline: Timeline,
    moments: TimesNs,
    arguments: dict[str, Any],
    made: list[Slices],
    kept: Any,
) -> pa.Table:
    import pyarrow as pa

    moment = table.schema.field(TIME).type
    partition = kept // max(len(moments), 1)
    arrays: dict[str, Any] = {
        "#s": number_array(partition.astype(np.int64), pa.int64()),
        TIME: time_array(moments[kept % max(len(moments), 1)], moment),
        "#filled": pa.array(made[0].is_filled[kept]),
        "#origin": array_of(made[0].origin.take(kept), moment),
    }
    for call, slices in zip(arguments["calls"], made, strict=True):
        # A moment that this column leaves out is there for another one.
        rows = np.where(slices.is_there[kept], kept, -1)
        values = slices.signal.take(rows)
        arrays[call["output"]] = array_like(values, table.column(call["column"]), moment)
    first = timeline.bounds[:-1][partition]
    is_empty = np.diff(timeline.bounds)[partition] == 0
    first_rows = number_array(first, pa.int64(), is_empty)
    names = [key_name(number) for number in range(arguments["keys"])]
    for name in [*names, *arguments["shown"]]:
        arrays[name] = table.column(name).take(first_rows)
    return pa.table(arrays)
