"""The answer of a query as columns to be inserted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainstem_engine.errors import SchemaError, SqlError

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.sql.result import Result


class Answer:
    """Columns by place, values as Python objects; times as nanoseconds."""

    def __init__(self, result: Result) -> None:
        self._table: pa.Table = result.arrow()
        self.row_count: int = self._table.num_rows

    def check_width(self, name: str, columns: Sequence[str]) -> None:
        """Raises SqlError unless there is one column of the answer for each of these."""
        if self._table.num_columns != len(columns):
            raise SqlError(
                f"{name}: the query has {self._table.num_columns} columns, not {len(columns)}",
                hint=f"the columns are {', '.join(columns[:20])}",
            )

    def values(self, place: int) -> list[Any]:
        """One value per row; decimals and huge integers as floats."""
        import pyarrow as pa

        column = self._table.column(place)
        if pa.types.is_timestamp(column.type):
            return self._nanoseconds(column)
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        return list(column.to_pylist())

    def times_ns(self, place: int, precision_ns: int) -> list[int]:
        """The times of the rows: timestamps, or integers in the precision. Raises SchemaError."""
        import pyarrow as pa

        column = self._table.column(place)
        if column.null_count:
            raise SchemaError("a row without a time", field="time", hint="every row needs a time")
        if pa.types.is_timestamp(column.type):
            return self._nanoseconds(column)
        if not pa.types.is_integer(column.type):
            raise SchemaError(
                f"the time of a row is a {column.type}",
                field="time",
                hint="select the time, or an integer",
            )
        return [value * precision_ns for value in column.to_pylist()]

    def _nanoseconds(self, column: pa.ChunkedArray) -> list[Any]:
        import pyarrow as pa

        zone = column.type.tz
        return list(column.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64()).to_pylist())
