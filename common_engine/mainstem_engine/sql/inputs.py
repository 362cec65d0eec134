"""A planned scan as Arrow batches for the executing database: integers of time become timestamps.

``time`` and TIMESTAMP measurements arrive from the engine as integers in the table's precision.
They leave as timestamps in UTC: of nanoseconds when the statement reads any table of that
precision, else of the table's own unit, which the executing database widens to microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.model import ColumnType
from mainstem_engine.sql.plan import TableInput
from mainstem_engine.sql.relations import DEVICE, TIME
from mainstem_engine.sql.times import NS_PER_US, TIME_UNITS

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.engine import Engine


def open_input(engine: Engine, source: TableInput, precision_ns: int) -> pa.RecordBatchReader:
    """The rows of one scan, read step by step, columns in the order of ``source.columns``.

    ``precision_ns``: the statement's; 1 makes timestamps of nanoseconds.
    """
    import pyarrow as pa

    table = engine.catalog.table(source.table)
    table_ns = engine.precision_ns(source.table)
    reader = engine.scan(
        source.table,
        devices=source.devices,
        start=None if source.start_ns <= TIME_MIN_NS else source.start_ns // table_ns,
        end=None if source.end_ns > TIME_MAX_NS else -(-source.end_ns // table_ns),
        columns=[name for name in source.columns if name not in (TIME, DEVICE)],
    )
    times = {TIME} | {m.name for m in table.template.measurements if m.type == ColumnType.TIMESTAMP}
    conversion = _TimeConversion(table_ns, precision_ns)
    positions = [reader.schema.get_field_index(name) for name in source.columns]
    fields = [
        pa.field(name, conversion.type) if name in times else reader.schema.field(position)
        for name, position in zip(source.columns, positions, strict=True)
    ]
    schema = pa.schema(fields)
    batches = _batches(reader, schema, positions, times, conversion)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _batches(
    reader: pa.RecordBatchReader,
    schema: pa.Schema,
    positions: list[int],
    times: set[str],
    conversion: _TimeConversion,
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for batch in reader:
        arrays = [
            conversion.convert(batch.column(position))
            if field.name in times
            else batch.column(position)
            for field, position in zip(schema, positions, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class _TimeConversion:
    """Integers of ``table_ns`` to timestamps."""

    def __init__(self, table_ns: int, precision_ns: int) -> None:
        import pyarrow as pa

        # A statement of coarser precision than the table knows microseconds at best.
        unit_ns = 1 if precision_ns == 1 else max(table_ns, NS_PER_US)
        self.type = pa.timestamp(TIME_UNITS[unit_ns], tz="UTC")
        self._multiply, self._divide = max(table_ns // unit_ns, 1), max(unit_ns // table_ns, 1)

    def convert(self, values: Any) -> Any:
        import pyarrow.compute as pc

        if self._multiply > 1:
            values = pc.multiply(values, self._multiply)
        if self._divide > 1:
            values = pc.floor(pc.divide(values, self._divide))
        return values.view(self.type)
