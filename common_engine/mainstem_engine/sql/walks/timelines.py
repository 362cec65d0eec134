"""Tables of a program as rows in order of time, and back.

1. Such a table is ordered by its keys ``#p0``, ``#p1`` ..., then by ``#t``, and ``#t`` has no null.
   Rows with equal keys (null equals null) are a partition. Without keys all rows are one, even if
   there are none.
2. Times become int64 nanoseconds, integers int64, floats and decimals float64, text objects. What
   cannot become any of these (lists, intervals) is refused.
3. Times go back as timestamps of the type of ``#t``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.analysis.local_time import multiply_saturated
from mainstem_engine.analysis.rows import Mask, Signal, Timeline
from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.errors import SqlError
from mainstem_engine.model import TimesNs

if TYPE_CHECKING:
    import pyarrow as pa

TIME = "#t"
_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_INT64_MAX = 2**63 - 1


def key_name(number: int) -> str:
    """The column of a partition key."""
    return f"#p{number}"


def timeline_of(table: pa.Table, keys: int) -> Timeline:
    """The rows of a table, see the module."""
    times = times_of(table.column(TIME))
    if not keys:
        return Timeline(times, np.array([0, len(times)], np.int64))
    opens = np.zeros(len(times), np.bool_)
    opens[:1] = True
    for number in range(keys):
        codes = _codes(table.column(key_name(number)))
        opens[1:] |= codes[1:] != codes[:-1]
    bounds = np.append(np.flatnonzero(opens), len(times))
    return Timeline(times, bounds.astype(np.int64))


def _codes(column: pa.ChunkedArray) -> Any:
    """Equal numbers for equal values, null among them."""
    array = _one(column)
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode(null_encoding="encode")
    return array.indices.fill_null(-1).to_numpy(zero_copy_only=False)


def times_of(column: pa.ChunkedArray) -> TimesNs:
    """A column of timestamps as int64 nanoseconds."""
    array = _one(column)
    import pyarrow as pa

    if not pa.types.is_timestamp(array.type):
        raise SqlError(f"a time is needed, not {array.type}", hint="name a column of times")
    # A pane of the first day that there is begins before the first time of int64 nanoseconds.
    return multiply_saturated(_integers(array.view(pa.int64())), _UNIT_NS[array.type.unit])


def signal_of(column: pa.ChunkedArray, *, unsigned: bool = False) -> Signal:
    """A column beside the rows. Integers beyond int64 are float64, or (``unsigned``) uint64. Raises
    SqlError for types that cannot be walked."""
    import pyarrow as pa

    array = _one(column)
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    valid = _valid(array)
    types = pa.types
    if types.is_timestamp(kind):
        return Signal(times_of(column), valid, is_time=True)
    if types.is_boolean(kind):
        return Signal(array.fill_null(False).to_numpy(zero_copy_only=False), valid)
    if types.is_integer(kind):
        if kind == pa.uint64() and _exceeds_int64(array):
            return Signal(_integers(array) if unsigned else _floats(array), valid)
        return Signal(_integers(array.cast(pa.int64())), valid)
    if types.is_floating(kind) or types.is_decimal(kind):
        return Signal(_floats(array), valid)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind):
        # Values of nulls mean nothing, but are compared with others.
        none = b"" if types.is_binary(kind) else ""
        filled = array.fill_null(none) if valid is not None else array
        return Signal(filled.to_numpy(zero_copy_only=False).astype(object), valid)
    if types.is_null(kind):
        return Signal(np.full(len(array), np.nan), np.zeros(len(array), np.bool_))
    raise SqlError(
        f"values of type {kind} cannot be used in windows or functions of time",
        hint="cast them to a number, a text or a boolean",
    )


def array_of(signal: Signal, time_type: pa.DataType) -> pa.Array:
    """A signal as an Arrow array; times have ``time_type``."""
    import pyarrow as pa

    missing = None if signal.valid is None or signal.valid.all() else ~signal.valid
    values = signal.values
    if signal.is_time:
        return time_array(values, time_type, missing)
    if values.dtype == object:
        return pa.array(values, _object_type(values, missing), mask=missing)
    if values.dtype == np.bool_:
        return pa.array(values, pa.bool_(), mask=missing)
    kind = {"f": pa.float64(), "u": pa.uint64()}.get(values.dtype.kind, pa.int64())
    return number_array(values.astype(kind.to_pandas_dtype()), kind, missing)


def array_like(signal: Signal, column: pa.ChunkedArray, time_type: pa.DataType) -> pa.Array:
    """As array_of, in the type of a column. Raises SqlError for an integer that it cannot hold."""
    import pyarrow as pa

    made = array_of(signal, time_type)
    kind = column.type
    is_narrow = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    try:
        return made.cast(kind) if is_narrow and kind != made.type else made
    except pa.ArrowInvalid as error:
        raise SqlError(
            f"a value does not fit the type {kind} of its column", hint="cast the column first"
        ) from error


def time_array(times: TimesNs, kind: pa.DataType, missing: Mask | None = None) -> pa.Array:
    """Nanoseconds as timestamps of a unit, cut off below it."""
    import pyarrow as pa

    whole = times // _UNIT_NS[kind.unit] if _UNIT_NS[kind.unit] > 1 else times
    return number_array(np.ascontiguousarray(whole), pa.int64(), missing).view(kind)


def _object_type(values: Any, missing: Mask | None) -> Any:
    import pyarrow as pa

    present = values if missing is None else values[~missing]
    return pa.binary() if len(present) and isinstance(present[0], bytes) else pa.string()


def _one(column: pa.ChunkedArray | pa.Array) -> Any:
    """One array; a table of one batch has it already."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def _valid(array: Any) -> Mask | None:
    if array.null_count == 0:
        return None
    found: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return found


def _integers(array: Any) -> Any:
    if array.null_count:
        array = array.fill_null(0)
    return array.to_numpy(zero_copy_only=False)


def _floats(array: Any) -> Any:
    import pyarrow as pa

    return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _exceeds_int64(array: Any) -> bool:
    import pyarrow.compute as pc

    largest = pc.max(array).as_py()
    return largest is not None and largest > _INT64_MAX
