"""A piece of a query's answer as columns to be inserted: Arrow in, numpy out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import to_column, to_times_ns
from mainstem_engine.errors import SchemaError, SqlError
from mainstem_engine.model import Column, ColumnType, Measurement, TimesNs
from mainstem_engine.sql.changes.batches import EXACT_DOUBLE
from mainstem_engine.sql.changes.literal_values import too_fine

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.result import Result


class Answer:
    """Columns by place. No value becomes a Python object, but texts and blobs."""

    def __init__(self, result: Result) -> None:
        self._table: pa.Table = result.arrow()
        self.row_count: int = self._table.num_rows

    def check_width(self, name: str, columns: Sequence[str]) -> None:
        """Raises SqlError unless there is one column of the answer for each of these."""
        if self._table.num_columns != len(columns):
            raise SqlError(
                f"{name}: the query has {self._table.num_columns} columns, not {len(columns)}",
                field=name,
                hint=f"the columns are {', '.join(columns[:20])}; from a path the time comes first",
            )

    def type_of(self, place: int) -> ColumnType | None:
        """What a new measurement of a column is to be; None for one that is NULL throughout."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._table.column(place)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        types = pa.types
        if types.is_null(kind):
            return None
        if types.is_integer(kind):
            found = pc.min_max(column)
            ends = [abs(end.as_py() or 0) for end in found.values()]
            return ColumnType.INT64 if max(ends) > EXACT_DOUBLE else ColumnType.DOUBLE
        if types.is_floating(kind) or types.is_decimal(kind):
            return ColumnType.DOUBLE
        if types.is_boolean(kind):
            return ColumnType.BOOLEAN
        if types.is_timestamp(kind) or types.is_date(kind):
            return ColumnType.TIMESTAMP
        if types.is_binary(kind) or types.is_large_binary(kind):
            return ColumnType.BLOB
        return ColumnType.TEXT

    def column(self, place: int, measurement: Measurement, precision_ns: int) -> Column | None:
        """The values as the measurement's type; None without any. Integers of a TIMESTAMP are in
        the precision. Raises SchemaError, OutOfRangeError."""
        import pyarrow as pa

        column = self._table.column(place)
        if column.null_count == len(column):
            return None
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        if not _is_plain(column.type):
            raise SchemaError(
                f"{measurement.name}: the query has values of type {column.type}",
                field=measurement.name,
                hint="CAST them to a number, a BOOLEAN, a VARCHAR, a BLOB or a TIMESTAMP",
            )
        return to_column(measurement, column, self.row_count, precision_ns)

    def times_ns(self, place: int, precision_ns: int) -> TimesNs:
        """int64[n] of the rows: timestamps, or integers in the precision. Raises SchemaError,
        OutOfRangeError."""
        import pyarrow as pa

        column = self._table.column(place)
        if column.null_count:
            raise SchemaError("a row without a time", field="time", hint="every row needs a time")
        if not (pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type)):
            raise SchemaError(
                f"the time of a row is a {column.type}",
                field="time",
                hint="select the time, or an integer",
            )
        times = to_times_ns(column, precision_ns)
        finer = times % precision_ns != 0
        if finer.any():
            raise too_fine("time", f"{times[int(np.argmax(finer))]} ns", precision_ns)
        return times

    def named(self, place: int) -> tuple[list[object], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The different values of a column, the first row of each, and for each row the number of
        its value."""
        import pyarrow as pa

        column = self._table.column(place).combine_chunks()
        if pa.types.is_dictionary(column.type) and column.null_count:
            column = column.dictionary_decode()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode("encode")
        numbers = column.indices.to_numpy(zero_copy_only=False)
        present, firsts, codes = np.unique(numbers, return_index=True, return_inverse=True)
        return column.dictionary.take(pa.array(present)).to_pylist(), firsts, codes

    def values_at(self, place: int, rows: npt.NDArray[np.intp]) -> list[object]:
        """Some values of a column: tags, one of each device."""
        import pyarrow as pa

        return list(self._table.column(place).take(pa.array(rows)).to_pylist())


def _is_plain(kind: pa.DataType) -> bool:
    """True for what a column of a table can be made of."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    is_blob = types.is_binary(kind) or types.is_large_binary(kind)
    is_number = types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)
    return bool(is_text or is_blob or is_number or types.is_timestamp(kind) or types.is_date(kind))
