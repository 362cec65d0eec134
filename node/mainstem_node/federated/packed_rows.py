"""Rows as an Arrow stream, for the way between two nodes. Times travel in ns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import ColumnType
from mainstem_sync.errors import WireError

if TYPE_CHECKING:
    import pyarrow as pa

TIME = "time"


class RowsBudgetError(WireError):
    """More rows, or bytes of them, than the question allows."""

    code = "BUDGET"


def pack_rows(
    table: Table,
    readers: Sequence[pa.RecordBatchReader],
    precision_ns: int,
    rows_max: int,
    bytes_max: int,
) -> tuple[bytes, int]:
    """(the stream, its rows). Raises RowsBudgetError."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    rows = size = 0
    if not readers:
        return b"", 0
    with pa.ipc.new_stream(sink, readers[0].schema) as writer:
        for batch in (batch for reader in readers for batch in reader):
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows > rows_max or size > bytes_max:
                raise RowsBudgetError(
                    f"the question asks a node for more than {rows_max} rows or {bytes_max} bytes",
                    hint="ask for a shorter time, fewer columns, or aggregates",
                )
            writer.write_batch(_scaled(table, batch, precision_ns, 1))
    return (sink.getvalue().to_pybytes() if rows else b""), rows


def unpack_rows(table: Table, schema: pa.Schema, raw: bytes, precision_ns: int) -> list[pa.Table]:
    """The rows with the columns and types of here; no table where there are none. Raises
    WireError."""
    import pyarrow as pa

    if not raw:
        return []
    try:
        found = pa.ipc.open_stream(raw).read_all()
        found.validate(full=True)
        found = found.select(schema.names)
        batches = [_scaled(table, batch, 1, precision_ns) for batch in found.to_batches()]
        return [pa.Table.from_batches(batches, found.schema).cast(schema)]
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise WireError(f"rows that cannot be read ({error})") from error


def _scaled(table: Table, batch: Any, multiply: int, divide: int) -> Any:
    """Columns of time in another unit, cut towards the past."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if multiply == divide:
        return batch
    times = {TIME} | {m.name for m in table.template.measurements if m.type == ColumnType.TIMESTAMP}
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name in times:
            if divide == 1:
                array = pc.multiply_checked(array, multiply)
            else:
                whole = pc.divide(array, divide)
                below = pc.less(array, pc.multiply(whole, divide))
                array = pc.subtract(whole, below.cast(pa.int64()))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
