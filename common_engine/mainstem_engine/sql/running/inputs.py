"""A planned scan as Arrow batches for the executing database: integers of time become timestamps.

``time`` and TIMESTAMP measurements arrive from the engine as integers in the table's precision.
They leave as timestamps in UTC: of nanoseconds when the statement reads any table of that
precision, else of the table's own unit, which the executing database widens to microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.model import ColumnType, TimesNs
from mainstem_engine.sql.plan import TableInput
from mainstem_engine.sql.running.groups import group_batch
from mainstem_engine.sql.select.relations import TIME
from mainstem_engine.sql.times import NS_PER_US, TIME_UNITS

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.storage import Storage


def open_input(
    engine: Storage, source: TableInput, precision_ns: int
) -> pa.RecordBatchReader | pa.Table:
    """The rows of one scan, read step by step, columns in the order of ``source.columns``; or its
    groups, which are all there.

    ``precision_ns``: the statement's; 1 makes timestamps of nanoseconds.
    """
    import pyarrow as pa

    if source.partials is not None:
        conversion = _TimeConversion(engine.precision_ns(source.table), precision_ns)
        batch = group_batch(engine, source, source.partials, conversion.of_ns)
        return pa.Table.from_batches([batch])
    reader = engine.scan_columns(
        source.table,
        source.columns,
        source.devices,
        source.start_ns,
        source.end_ns,
        dict(source.ranges),
        source.edge,
    )
    layout = _Layout(engine, source.table, reader.schema, source.columns, precision_ns)
    return pa.RecordBatchReader.from_batches(layout.schema, map(layout.convert, reader))


def batch_reader(
    engine: Storage,
    table: str,
    batch: pa.RecordBatch,
    columns: Sequence[str],
    precision_ns: int,
    row_column: str,
) -> pa.RecordBatchReader:
    """One batch of a scan of ``table`` as an input, columns in the order of ``columns``, and with
    them ``row_column``: int64, the number of the row."""
    import pyarrow as pa

    layout = _Layout(engine, table, batch.schema, columns, precision_ns)
    # Made of arrays: a batch without any column would have no length.
    numbers = number_array(np.arange(batch.num_rows, dtype=np.int64), pa.int64())
    schema = layout.schema.append(pa.field(row_column, pa.int64()))
    numbered = pa.RecordBatch.from_arrays([*layout.arrays(batch), numbers], schema=schema)
    return pa.RecordBatchReader.from_batches(schema, [numbered])


class _Layout:
    """Some columns of a scan, in their order, times as timestamps."""

    def __init__(
        self,
        engine: Storage,
        table: str,
        scanned: pa.Schema,
        columns: Sequence[str],
        precision_ns: int,
    ) -> None:
        import pyarrow as pa

        measurements = engine.catalog.table(table).template.measurements
        self._times = {TIME} | {m.name for m in measurements if m.type == ColumnType.TIMESTAMP}
        self._conversion = _TimeConversion(engine.precision_ns(table), precision_ns)
        self._positions = [scanned.get_field_index(name) for name in columns]
        self.schema = pa.schema(
            [
                pa.field(name, self._conversion.type)
                if name in self._times
                else scanned.field(position)
                for name, position in zip(columns, self._positions, strict=True)
            ]
        )

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of the scan."""
        import pyarrow as pa

        return pa.RecordBatch.from_arrays(self.arrays(batch), schema=self.schema)

    def arrays(self, batch: pa.RecordBatch) -> list[Any]:
        """The columns of a batch of the scan."""
        return [
            self._conversion.convert(batch.column(position))
            if field.name in self._times
            else batch.column(position)
            for field, position in zip(self.schema, self._positions, strict=True)
        ]


class _TimeConversion:
    """Integers of ``table_ns`` to timestamps."""

    def __init__(self, table_ns: int, precision_ns: int) -> None:
        import pyarrow as pa

        # A statement of coarser precision than the table knows microseconds at best.
        self._table_ns = table_ns
        unit_ns = 1 if precision_ns == 1 else max(table_ns, NS_PER_US)
        self.type = pa.timestamp(TIME_UNITS[unit_ns], tz="UTC")
        self._multiply, self._divide = max(table_ns // unit_ns, 1), max(unit_ns // table_ns, 1)

    def of_ns(self, times: TimesNs) -> Any:
        """Timestamps of nanoseconds."""
        import pyarrow as pa

        return self.convert(number_array(times // self._table_ns, pa.int64()))

    def convert(self, values: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._multiply > 1:
            values = pc.multiply(values, self._multiply)
        if self._divide > 1:
            # Of integers, whose division cuts towards zero: floor() would make floats of them.
            whole = pc.divide(values, self._divide)
            below = pc.less(pc.subtract(values, pc.multiply(whole, self._divide)), 0)
            values = pc.subtract(whole, below.cast(pa.int64()))
        return values.view(self.type)
