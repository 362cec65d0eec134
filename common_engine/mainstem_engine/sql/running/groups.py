"""Groups as an input: what the engine aggregated, in the columns that a plan asks for.

See aggregation.py for what the columns are. Columns of the device and the tags are made as a scan
makes them, of one row per group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.aggregates import Answered
from mainstem_engine.arrow import ArrowLayout, arrow_type
from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.model import ColumnType, TimesNs, VersionedRows
from mainstem_engine.sql.plan import Partials, TableInput
from mainstem_engine.sql.planning.group_columns import (
    BEGIN,
    END,
    FIRST_AT,
    FIRST_TIME,
    HIGH,
    LAST_AT,
    LAST_ROW,
    LAST_TIME,
    LOW,
    ROWS,
)
from mainstem_engine.sql.select.relations import TIME
from mainstem_engine.windows import COUNT, FIRST, LAST, MAX, MIN, SUM, Pieces, Values

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.sql.storage import Storage


def group_batch(
    engine: Storage, source: TableInput, partials: Partials, timestamps: Callable[[TimesNs], Any]
) -> pa.RecordBatch:
    """One row per group, columns in the order of ``source.columns``; ``timestamps`` makes a column
    of times in ns."""
    import pyarrow as pa

    if partials.newest:
        pieces: Pieces | None = _newest(engine, source)
    else:
        pieces, _ = _aggregate(engine, source, partials, read=True)
    if pieces is None:
        zeros = np.zeros(0, np.int64)
        pieces = Pieces(np.zeros(0, np.uint32), zeros, zeros, zeros, zeros)
    table = engine.catalog.table(source.table)
    keys = _keys(engine, table, pieces, source.columns)
    arrays: dict[str, Any] = {}
    for name in source.columns:
        if name == TIME:
            arrays[name] = timestamps(pieces.window)
        elif name == ROWS:
            arrays[name] = number_array(pieces.rows, pa.int64())
        elif name in (BEGIN, END):
            arrays[name] = timestamps(pieces.begin_ns if name == BEGIN else pieces.end_ns)
        elif name.startswith("#"):
            part, _, measurement = name[1:].partition(":")
            arrays[name] = _part(table, pieces, part, measurement, timestamps)
        else:
            arrays[name] = keys.column(name)
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def describe_reading(engine: Storage, source: TableInput) -> str:
    """How an input would be read now, in words for EXPLAIN."""
    if source.partials is None:
        extent = engine.scan_extent(
            source.table,
            source.columns,
            source.devices,
            source.start_ns,
            source.end_ns,
            dict(source.ranges),
            source.edge,
        )
        head = f", {extent.head_rows} rows in memory" if extent.head_rows else ""
        return f"scan, {extent.parts} parts, {extent.blocks} blocks, {extent.bytes} bytes{head}"
    if source.partials.newest:
        return "newest values"
    _, answered = _aggregate(engine, source, source.partials, read=False)
    if answered.rollup is None:
        return _described(answered, "statistics" if answered.from_statistics else "scan")
    of = answered.of_rollup
    whole = "" if of is None else f" ({_described(of)})"
    ends = f"{answered.blocks} blocks at its ends, {answered.read} read"
    return f"rollup {answered.rollup}{whole}, and {ends}"


def _described(answered: Answered, *before: str) -> str:
    known, blocks = answered.from_statistics, answered.blocks
    said = (
        f"{known} of {blocks} blocks ({answered.rows_from_statistics} rows) by statistics",
        f"{answered.read} blocks read",
        f"{answered.parts} parts",
        f"{answered.bytes} bytes",
    )
    return ", ".join((*before, *said))


def _aggregate(
    engine: Storage, source: TableInput, partials: Partials, *, read: bool
) -> tuple[Pieces | None, Answered]:
    return engine.aggregate_pieces(
        source.table,
        partials.functions,
        source.devices,
        source.start_ns,
        source.end_ns,
        every_ns=partials.every_ns,
        by_device=partials.by_device,
        filters=partials.filters,
        row_times=BEGIN in source.columns or END in source.columns,
        read=read,
    )


def _newest(engine: Storage, source: TableInput) -> Pieces | None:
    """The newest values, a piece for each device with a row that is not older than the input's
    start; None without any."""
    _, found = engine.newest_values(source.table, source.devices)
    if not len(found.device):
        return None
    ones = np.ones(len(found.device), np.int64)
    pieces = Pieces(found.device, np.zeros_like(ones), ones, found.time, found.time)
    for key, column in found.columns.items():
        times = found.column_times[key]
        there = times >= source.start_ns
        if column.valid is not None:
            there &= column.valid
        pieces.values[key] = Values(there.astype(np.int64), last=column.values, last_ns=times)
    return pieces.take(found.time >= source.start_ns)


def _keys(engine: Storage, table: Table, pieces: Pieces, columns: tuple[str, ...]) -> Any:
    """Columns of device and tags."""
    keys = [name for name in columns if not name.startswith("#") and name != TIME]
    layout = ArrowLayout(table, engine.catalog.devices, 1, keys, keys=())
    none = np.zeros(len(pieces), np.uint16)
    rows = VersionedRows(pieces.device, pieces.window, none, none.astype(np.uint64))
    return layout.batch(layout.schema(), rows)


def _part(
    table: Table, pieces: Pieces, part: str, name: str, timestamps: Callable[[TimesNs], Any]
) -> Any:
    """A column that belongs to one measurement; null where a group has no value of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    measurement = table.measurement(name)
    assert measurement is not None
    values = pieces.values.get(measurement.id)
    if values is None:
        values = Values(np.zeros(len(pieces), np.int64))
    if part == COUNT:
        return number_array(values.count, pa.int64())
    kind = arrow_type(measurement.type)
    if part in (HIGH, LOW, FIRST_TIME, LAST_TIME):
        kind = pa.int64()
    elif part == SUM:
        kind = pa.float64()
    total = values.total
    found = {
        MIN: values.low,
        MAX: values.high,
        FIRST: values.first,
        LAST: values.last,
        LAST_ROW: values.last,
        FIRST_TIME: values.first_ns,
        FIRST_AT: values.first_ns,
        LAST_TIME: values.last_ns,
        LAST_AT: values.last_ns,
        SUM: total,
        HIGH: None if total is None or total.ndim == 1 else total[:, 0],
        LOW: None if total is None or total.ndim == 1 else total[:, 1],
    }[part]
    missing = values.count == 0
    if part == LAST_ROW and values.last_ns is not None:
        missing |= values.last_ns != pieces.end_ns
    is_time = part in (FIRST_AT, LAST_AT) or (
        measurement.type == ColumnType.TIMESTAMP and part in (FIRST, LAST, LAST_ROW)
    )
    if found is not None and is_time:
        times = timestamps(np.where(missing, 0, found))
        return pc.if_else(pa.array(missing), pa.scalar(None, times.type), times)
    if found is None:
        return pa.nulls(len(pieces), timestamps(pieces.window[:0]).type if is_time else kind)
    if found.dtype == object:
        return pa.array(found, kind, mask=missing if missing.any() else None)
    return number_array(found, kind, missing)
