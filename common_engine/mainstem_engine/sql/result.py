"""What a statement answers.

1. A result is an Arrow table, or plain rows (SHOW, DESCRIBE, EXPLAIN, and nothing after INSERT).
2. In ``rows()`` integers are exact whatever their size, times are integers in ``precision_ns`` or
   RFC 3339, dates and times of day are ISO text, intervals are integers in ``precision_ns`` (ISO
   text when they hold months), BLOB is bytes, NaN and infinities are floats.
3. A large answer of a single query may come in pieces, each a result with the same columns: what
   fits into ``HEAD_BYTES`` is there at once, the rest is read as it is asked for.
4. ``tables`` and ``range_ns`` say what was read, for the node that attaches ``completeness``.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.program import WALKED
from mainstem_engine.sql.times import NS_PER_MS, NS_PER_US, TIME_UNITS, UTC, format_time

if TYPE_CHECKING:
    import pyarrow as pa

TimeFormat = Literal["integer", "rfc3339"]
_ARROW_UNIT_NS = {"s": 10**9, "ms": NS_PER_MS, "us": NS_PER_US, "ns": 1}
HEAD_BYTES = 4 << 20
"""An answer up to here is held: it is complete, or its error known, before any of it goes out."""
PIECE_BYTES = 1 << 20
"""Of the rest. Less would cost more per row, more would be held for each slow reader."""
_INT64_DIGITS = 18
"""Decimals of so many digits always fit int64."""


@dataclass(slots=True)
class Result:
    """The answer to one statement (the last one of a script)."""

    _table: pa.Table | None = None
    _rows: list[list[Any]] | None = None
    _plain_columns: tuple[tuple[str, str], ...] = ()
    tables: frozenset[str] = frozenset()
    """Names of the templates that were read, rollups included."""
    range_ns: tuple[int | None, int | None] = (None, None)
    """[start, end) in ns that the scans were narrowed to; None where open."""
    precision_ns: int = NS_PER_MS
    """Nanoseconds per unit of integer times."""
    time_zone: str = UTC
    """The zone in which literals without one were read."""
    units: Mapping[str, str] = field(default_factory=dict)
    rows_affected: int = 0
    warnings: list[str] = field(default_factory=list)
    completeness: list[dict[str, Any]] = field(default_factory=list)
    """Filled by the node: what it can prove about the tables that were read."""
    walked_s: float = 0.0
    """How long walks took, of a result of the executing database."""
    _rest: _Rest | None = None
    """What follows, of a result that is streamed."""

    @classmethod
    def of_rows(
        cls, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]], **fields: Any
    ) -> Result:
        """A result of plain Python values; ``columns`` are (name, type) pairs."""
        return cls(_rows=[list(row) for row in rows], _plain_columns=tuple(columns), **fields)

    @classmethod
    def of_table(cls, table: pa.Table, **fields: Any) -> Result:
        """A result of the executing database."""
        return cls(_table=_narrowed(table), **fields)

    @classmethod
    def of_steps(
        cls, steps: Generator[pa.Schema | pa.RecordBatch], *, is_streamed: bool, **fields: Any
    ) -> Result:
        """A result of the executing database: its schema, then its batches. ``is_streamed``: no
        more than the head is read now, unless a type depends on all rows."""
        told = cast("pa.Schema", next(steps))
        walked_s = float((told.metadata or {}).get(WALKED, 0))
        schema = told.remove_metadata()
        bound = HEAD_BYTES if is_streamed and not any(map(_is_wide, schema)) else None
        head, is_whole = _read(schema, steps, bound)
        rest = None if is_whole else _Rest(schema, steps)
        return cls.of_table(head, _rest=rest, walked_s=walked_s, **fields)

    def pieces(self) -> Iterator[Result]:
        """This result, and what follows of it. Raises what the statement raises."""
        yield self
        if self._rest is not None:
            for table in self._rest:
                yield replace(self, _table=table, _rest=None)

    def slices(self, rows_max: int) -> Iterator[Result]:
        """The rows that are there, so many at a time; at least one slice."""
        if self._table is None or self._table.num_rows <= rows_max:
            yield self
            return
        for start in range(0, self._table.num_rows, rows_max):
            yield replace(self, _table=self._table.slice(start, rows_max), _rest=None)

    @property
    def is_whole(self) -> bool:
        """False when more follows."""
        return self._rest is None

    def close(self) -> None:
        """Ends a statement whose pieces were not all read."""
        if self._rest is not None:
            self._rest.close()

    @property
    def row_count(self) -> int:
        """Rows that are there, of this piece."""
        if self._table is not None:
            return int(self._table.num_rows)
        return len(self._rows or ())

    @property
    def columns(self) -> list[dict[str, str | None]]:
        """``name``, ``type``, ``unit`` and ``zone`` of each; a time's unit is that of integers."""
        if self._table is None:
            return [
                {"name": name, "type": kind, "unit": None, "zone": None}
                for name, kind in self._plain_columns
            ]
        return [self._column(column) for column in self._table.schema]

    def _column(self, column: pa.Field) -> dict[str, str | None]:
        kind = type_name(column.type)
        unit = self.units.get(column.name.casefold())
        zone = None
        if kind in ("TIMESTAMP", "INTERVAL"):
            unit = TIME_UNITS[self.precision_ns]
            zone = self.time_zone if kind == "TIMESTAMP" else None
        return {"name": column.name, "type": kind, "unit": unit, "zone": zone}

    def arrow(self) -> pa.Table:
        """The table; times are Arrow timestamps in UTC of the statement's precision."""
        import pyarrow as pa

        if self._table is None:
            names = [name for name, _ in self._plain_columns]
            columns: list[Any] = [list(c) for c in zip(*(self._rows or ()), strict=True)]
            columns = columns or [[] for _ in names]
            arrays = [
                pa.array(values, pa.string() if kind == "TEXT" else None)
                for values, (_, kind) in zip(columns, self._plain_columns, strict=True)
            ]
            return pa.Table.from_arrays(arrays, names=names)
        unit = pa.timestamp(TIME_UNITS[self.precision_ns], tz=UTC)
        fields, arrays = [], []
        for column, values in zip(self._table.schema, self._table.columns, strict=True):
            if pa.types.is_timestamp(column.type) and column.type.tz is not None:
                values = values.cast(unit, safe=False)
            fields.append(pa.field(column.name, values.type))
            arrays.append(values)
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def df(self) -> Any:
        """A pandas data frame. Raises SqlUnsupportedError when pandas is not installed."""
        try:
            return self.arrow().to_pandas()
        except ImportError:
            raise SqlUnsupportedError(
                "df() needs pandas", hint="pip install pandas, or use arrow() or rows()"
            ) from None

    def rows(self, time_format: TimeFormat = "integer") -> list[list[Any]]:
        """Lists of Python values, see above."""
        if self._table is None:
            return [list(row) for row in self._rows or ()]
        rendering = _Rendering(self.precision_ns, self.time_zone, time_format)
        columns = [rendering.values(column) for column in self._table.columns]
        if not columns:
            return []
        return [list(row) for row in zip(*columns, strict=True)]


def type_name(kind: pa.DataType) -> str:
    """Our name of an Arrow type."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return type_name(kind.value_type)
    simple = {
        "bool": "BOOLEAN",
        "float": "FLOAT",
        "double": "DOUBLE",
        "string": "TEXT",
        "large_string": "TEXT",
        "binary": "BLOB",
        "large_binary": "BLOB",
        "null": "NULL",
        "month_day_nano_interval": "INTERVAL",
    }
    text = str(kind)
    if text in simple:
        return simple[text]
    if types.is_timestamp(kind):
        return "TIMESTAMP"
    if types.is_date(kind):
        return "DATE"
    if types.is_time(kind):
        return "TIME"
    if types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return f"{type_name(kind.value_type)}[]"
    if types.is_struct(kind):
        return "STRUCT"
    if types.is_map(kind):
        return "MAP"
    return text.upper()


def _narrowed(table: pa.Table) -> pa.Table:
    """Sums of integers come as 128-bit decimals; where every value fits they become INT64."""
    import pyarrow as pa

    for position, column in enumerate(table.schema):
        if not _is_wide(column):
            continue
        try:
            values = table.column(position).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
        table = table.set_column(position, pa.field(column.name, pa.int64()), values)
    return table


def _is_wide(column: pa.Field) -> bool:
    """True for whole numbers that may need more than 64 bits."""
    import pyarrow as pa

    kind = column.type
    return bool(pa.types.is_decimal(kind) and kind.scale == 0 and kind.precision > _INT64_DIGITS)


def _read(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], bytes_max: int | None
) -> tuple[pa.Table, bool]:
    """The next batches, at least one, until they have ``bytes_max``; True when these are all."""
    import pyarrow as pa

    taken: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        taken.append(batch)
        size += batch.nbytes
        if bytes_max is not None and size >= bytes_max:
            return pa.Table.from_batches(taken, schema), False
    return pa.Table.from_batches(taken, schema), True


class _Rest:
    """The batches of a statement that are not read yet."""

    def __init__(self, schema: pa.Schema, batches: Generator[pa.RecordBatch]) -> None:
        self._schema = schema
        self._batches = batches

    def __iter__(self) -> Iterator[pa.Table]:
        is_whole = False
        while not is_whole:
            table, is_whole = _read(self._schema, self._batches, PIECE_BYTES)
            yield table

    def close(self) -> None:
        """Ends the statement, in this thread and at once."""
        self._batches.close()


class _Rendering:
    """Arrow values to Python values."""

    def __init__(self, precision_ns: int, time_zone: str, time_format: TimeFormat) -> None:
        from mainstem_engine.sql.times import parse_zone

        self._precision_ns = precision_ns
        self._zone = parse_zone(time_zone)
        self._as_text = time_format == "rfc3339"

    def values(self, column: Any) -> list[Any]:
        """One value per row of an array or chunked array."""
        import pyarrow as pa

        kind = column.type
        types = pa.types
        if types.is_timestamp(kind):
            return self._times(column)
        if types.is_dictionary(kind):
            return self.values(column.cast(kind.value_type))
        if kind == pa.month_day_nano_interval():
            return [self._interval(value) for value in column.to_pylist()]
        if types.is_decimal(kind):
            return [_number(value) for value in column.to_pylist()]
        if types.is_date(kind) or types.is_time(kind):
            return [None if v is None else v.isoformat() for v in column.to_pylist()]
        if types.is_nested(kind):
            return self._nested(column)
        if isinstance(kind, pa.BaseExtensionType):
            return [v if v is None or isinstance(v, bytes) else str(v) for v in column.to_pylist()]
        return list(column.to_pylist())

    def _times(self, column: Any) -> list[Any]:
        import pyarrow as pa

        unit_ns = _ARROW_UNIT_NS[column.type.unit]
        precision_ns = self._precision_ns
        integers = column.cast(pa.int64()).to_pylist()
        if self._as_text:
            zone = self._zone if column.type.tz is not None else dt.UTC
            return [
                None if value is None else format_time(value * unit_ns, zone, precision_ns)
                for value in integers
            ]
        if unit_ns == precision_ns:
            return list(integers)
        return [None if v is None else v * unit_ns // precision_ns for v in integers]

    def _interval(self, value: Any) -> Any:
        if value is None:
            return None
        months, days, nanoseconds = value
        if months:
            return f"P{months}M{days}DT{nanoseconds / 10**9:f}S"
        return (days * 86_400 * 10**9 + nanoseconds) // self._precision_ns

    def _nested(self, column: Any) -> list[Any]:
        import pyarrow as pa

        if isinstance(column, pa.ChunkedArray):
            return [value for chunk in column.chunks for value in self._nested(chunk)]
        present = column.is_valid().to_pylist()
        if pa.types.is_struct(column.type):
            names = [column.type.field(i).name for i in range(column.type.num_fields)]
            fields = [self.values(column.field(i)) for i in range(len(names))]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)]
            return [row if ok else None for row, ok in zip(rows, present, strict=True)]
        if pa.types.is_map(column.type):
            pairs = zip(self.values(column.keys), self.values(column.items), strict=True)
            items: list[Any] = [list(pair) for pair in pairs]
        else:
            items = self.values(column.values)
        if pa.types.is_fixed_size_list(column.type):
            size = column.type.list_size
            offsets = [(column.offset + i) * size for i in range(len(column) + 1)]
        else:
            offsets = column.offsets.to_pylist()
        return [
            items[start:end] if ok else None
            for start, end, ok in zip(offsets[:-1], offsets[1:], present, strict=True)
        ]


def _number(value: decimal.Decimal | None) -> int | float | None:
    if value is None:
        return None
    return (
        int(value)
        if value == value.to_integral_value() and value.as_tuple().exponent == 0
        else float(value)
    )
