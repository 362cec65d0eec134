"""What a caller hands to write() becomes typed columns, or an error that names value and column.

1. Accepted: numpy arrays, numpy masked arrays, ``(values, mask)`` with True for null, Arrow arrays
   and chunked arrays, lists with None for null, and a single value for every row.
2. Nothing is lost: a fraction or an out-of-range number for an integer, a string for a number and a
   number for a string are refused. Only floats round: any number fits FLOAT and DOUBLE unless it
   is finite and would become infinite.
3. The result never shares memory with the input, so the caller may re-use its arrays at once.
4. Rows of an older revision of a template become rows of the present one by ``conform_rows``: a
   type is only ever widened, and every value keeps its canonical bits (slices.py), so that a
   digest never changes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mainstem_engine.errors import OutOfRangeError, SchemaError
from mainstem_engine.model import (
    AnyArray,
    BoolMask,
    Column,
    ColumnType,
    Measurement,
    Rows,
    TimesNs,
    VersionedRows,
)

TIME_MIN_NS = -(2**63) + 1
TIME_MAX_NS = 2**63 - 2
"""The extremes of int64 are kept free as "before" and "after every time"."""
_EXPONENT_ALL_ONES = np.uint64(0x7FF0000000000000)

AnyRows = TypeVar("AnyRows", Rows, VersionedRows)


def conform_rows(rows: AnyRows, types: Mapping[int, ColumnType]) -> AnyRows:
    """``rows`` with every column in its present type: narrower ones are widened, bit-exactly.

    ``types`` by measurement id; a column that it does not name stays as it is, and columns that
    already fit are shared with the result. ``rows`` itself is returned when nothing has to change,
    which costs one comparison per column. Raises SchemaError for a column that cannot be widened.
    """
    changed: dict[int, Column] = {}
    for key, column in rows.columns.items():
        kind = types.get(key)
        if kind is None or column.values.dtype is kind.dtype:
            continue  # native types are one object each
        if column.values.dtype != kind.dtype:
            changed[key] = Column(widened_values(column.values, kind), column.valid)
    if not changed:
        return rows
    columns = {**rows.columns, **changed}
    if isinstance(rows, VersionedRows):
        return VersionedRows(rows.device, rows.time, rows.origin, rows.lsn, columns)
    return Rows(rows.device, rows.time, columns)


def widened_values(values: AnyArray, kind: ColumnType) -> AnyArray:
    """``values`` in the dtype of a type that holds each of them. SchemaError if one might not fit.

    Every conversion of values to a wider type goes through here: what numpy itself does to a
    signalling NaN depends on the processor.
    """
    dtype = kind.dtype
    if values.dtype == dtype:
        return values
    if values.dtype == np.float32 and dtype == np.float64:
        return exact_float64(values)
    if not (values.dtype.kind in "iu" and kind.is_integer and np.can_cast(values.dtype, dtype)):
        raise SchemaError(
            f"a column of {values.dtype} does not become {kind.name}",
            hint="add a new measurement of that type",
        )
    return values.astype(dtype)


def exact_float64(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """float64 of float32 values, with the payload and the quiet bit of every NaN as they are."""
    with np.errstate(invalid="ignore"):
        wide: npt.NDArray[np.float64] = values.astype(np.float64)
    nan = np.isnan(values)
    if nan.any():
        # Hardware would quiet a signalling NaN: done by hand here.
        raw = values.view(np.uint32)[nan].astype(np.uint64)
        sign = (raw >> np.uint64(31)) << np.uint64(63)
        mantissa = (raw & np.uint64(0x7FFFFF)) << np.uint64(29)
        wide.view(np.uint64)[nan] = sign | _EXPONENT_ALL_ONES | mantissa
    return wide


def to_column(
    measurement: Measurement, data: Any, rows: int, precision_ns: int, *, copy: bool = True
) -> Column:
    """A column of ``rows`` values of the measurement's type; integers of a TIMESTAMP are in the
    table's precision. Without ``copy`` it may share the memory of ``data``.
    Raises SchemaError (kind or length) or OutOfRangeError (a value)."""
    kind = measurement.type
    dtype = kind.dtype
    if type(data) is np.ndarray and data.dtype == dtype and kind < ColumnType.TEXT:
        column = Column(np.array(data, dtype, order="C", copy=copy or None))
    else:
        values, valid = _values_and_validity(data, rows)
        if valid is not None and valid.all():
            valid = None
        column = _convert(measurement, values, valid, precision_ns)
    if column.values.shape != (rows,):
        raise SchemaError(
            f"column {measurement.name} has shape {column.values.shape}, expected ({rows},)",
            field=measurement.name,
            hint="give one value per row",
        )
    return column


def to_times_ns(time: Any, precision_ns: int) -> TimesNs:
    """int64[n] ns from integers in the precision, or from datetime64. Raises OutOfRangeError."""
    values, valid = _values_and_validity(time, 1)
    if valid is not None and not valid.all():
        raise SchemaError("a row without a time", field="time", hint="every row needs a time")
    column = Measurement(0, "time", ColumnType.TIMESTAMP)
    times = _to_timestamp(column, values, None, precision_ns)
    if times.ndim != 1:
        raise SchemaError(f"time has {times.ndim} dimensions, expected 1", field="time")
    return times


def _values_and_validity(data: Any, rows: int) -> tuple[AnyArray, BoolMask | None]:
    # Nobody has a masked array who has not imported them: an idle process does without a megabyte.
    # Another thread may be about to, and the module be there without its classes.
    masked_array = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked_array is not None and isinstance(data, masked_array):
        return np.asarray(data.data), ~np.ma.getmaskarray(data)
    if isinstance(data, tuple) and len(data) == 2 and np.ndim(data[0]) == 1:
        values = np.asarray(data[0])
        valid = ~np.asarray(data[1], dtype=np.bool_)
        if valid.shape != values.shape:
            raise SchemaError(f"a mask of shape {valid.shape} for values of {values.shape}")
        return values, valid
    if isinstance(data, np.ndarray):
        return _split_none(data)
    if type(data).__module__.partition(".")[0] == "pyarrow":
        return _from_arrow(data)
    if data is None or isinstance(data, str | bytes | bool | int | float | np.generic):
        filled = np.empty(rows, object)
        filled[:] = [data] * rows
        return _split_none(filled)
    if isinstance(data, Sequence):
        boxed = np.empty(len(data), object)
        boxed[:] = data
        return _split_none(boxed)
    values = np.asarray(data)
    if not values.ndim:
        raise SchemaError(
            f"{data!r:.60} is no column of values",
            hint="give a list, or an array of numpy or Arrow",
        )
    return _split_none(values)


def _split_none(values: AnyArray) -> tuple[AnyArray, BoolMask | None]:
    if values.dtype != object:
        return values, None
    valid = np.fromiter((v is not None for v in values), np.bool_, count=len(values))
    return values, (None if valid.all() else valid)


def _from_arrow(data: Any) -> tuple[AnyArray, BoolMask | None]:
    """An Arrow array, chunked array or scalar column; dictionaries are decoded."""
    if hasattr(data, "combine_chunks"):
        data = data.combine_chunks()
    if hasattr(data, "dictionary_decode"):
        data = data.dictionary_decode()
    valid: BoolMask | None = None
    if data.null_count:
        valid = ~np.asarray(data.is_null().to_numpy(zero_copy_only=False), np.bool_)
    kind = str(data.type)
    if kind.startswith(("string", "large_string", "binary", "large_binary")):
        boxed = np.empty(len(data), object)
        boxed[:] = data.to_pylist()
        return boxed, valid
    if valid is not None:
        # A null integer would otherwise turn the whole column into floats.
        data = data.fill_null(False if kind == "bool" else data[int(np.argmax(valid))])
        if not valid.any():
            return np.zeros(len(valid), np.int64), valid
    return np.asarray(data.to_numpy(zero_copy_only=False)), valid


def _convert(
    measurement: Measurement, values: AnyArray, valid: BoolMask | None, precision_ns: int
) -> Column:
    kind = measurement.type
    if valid is not None and not valid.any():
        empty = None if kind.is_variable else 0
        return Column(np.full(len(values), empty, kind.dtype), valid)
    if kind.is_variable:
        return Column(_to_variable(measurement, values, valid), valid)
    if kind == ColumnType.TIMESTAMP:
        return Column(_to_timestamp(measurement, values, valid, precision_ns), valid)
    numbers = _numbers(measurement, values, valid)
    if kind == ColumnType.BOOLEAN:
        return Column(_to_boolean(measurement, numbers, valid), valid)
    if kind.is_float:
        return Column(_to_float(measurement, numbers, valid), valid)
    return Column(_to_integer(measurement, numbers, valid), valid)


def _numbers(measurement: Measurement, values: AnyArray, valid: BoolMask | None) -> AnyArray:
    """A numeric array; nulls become a copy of a valid value."""
    if values.dtype.kind in "biuf":
        if valid is not None:
            values = np.where(valid, values, values[int(np.argmax(valid))])
        return values
    if values.dtype != object:
        raise _wrong_type(measurement, values[0] if len(values) else values.dtype)
    good = values if valid is None else values[valid]
    for value in good:
        if not isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating):
            raise _wrong_type(measurement, value)
    filled = values if valid is None else np.where(valid, values, good[0])
    types = {type(value) for value in good}
    if any(issubclass(t, float | np.floating) for t in types):
        if measurement.type.is_integer:
            _check_integral(measurement, filled)
            return _integers_of(measurement, np.array([int(v) for v in filled], object))
        return np.array([_float_of(measurement, v) for v in filled], np.float64)
    if types <= {bool, np.bool_}:
        return filled.astype(np.bool_)
    if measurement.type.is_float:
        return np.array([_float_of(measurement, v) for v in filled], np.float64)
    return _integers_of(measurement, filled)


def _check_integral(measurement: Measurement, values: AnyArray) -> None:
    for value in values:
        if value != value or value in (float("inf"), float("-inf")) or int(value) != value:
            raise _out_of_range(measurement, value)


def _float_of(measurement: Measurement, value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _out_of_range(measurement, value) from None


def _integers_of(measurement: Measurement, values: AnyArray) -> AnyArray:
    """int64 or, where needed, uint64 from Python integers."""
    try:
        return values.astype(np.int64)
    except OverflowError:
        try:
            return np.array([int(v) for v in values], np.uint64)
        except OverflowError:
            bad = next(v for v in values if not -(2**63) <= int(v) < 2**63)
            raise _out_of_range(measurement, bad) from None


def _to_boolean(measurement: Measurement, numbers: AnyArray, valid: BoolMask | None) -> AnyArray:
    if numbers.dtype != np.bool_:
        _refuse(measurement, numbers, (numbers != 0) & (numbers != 1))
    return numbers.astype(np.bool_)


def _to_float(measurement: Measurement, numbers: AnyArray, valid: BoolMask | None) -> AnyArray:
    dtype = measurement.type.dtype
    with np.errstate(over="ignore"):
        floats = numbers.astype(dtype)
    if numbers.dtype.kind == "f" and numbers.dtype.itemsize > dtype.itemsize:
        _refuse(measurement, numbers, np.isinf(floats) & ~np.isinf(numbers))
    return floats


def _to_integer(measurement: Measurement, numbers: AnyArray, valid: BoolMask | None) -> AnyArray:
    dtype = measurement.type.dtype
    limits = np.iinfo(dtype)
    if numbers.dtype.kind == "f":
        # 2.0**63 is the first float above int64; comparing as floats is exact at these powers.
        low, high = float(limits.min), float(2 ** (limits.bits - (limits.min < 0)))
        bad = ~((numbers >= low) & (numbers < high)) | (np.trunc(numbers) != numbers)
        _refuse(measurement, numbers, bad)
    elif numbers.dtype.kind in "iu" and len(numbers):
        smallest, largest = int(numbers.min()), int(numbers.max())
        if smallest < limits.min:
            raise _out_of_range(measurement, smallest)
        if largest > limits.max:
            raise _out_of_range(measurement, largest)
    return numbers.astype(dtype)


def _to_timestamp(
    measurement: Measurement, values: AnyArray, valid: BoolMask | None, precision_ns: int
) -> TimesNs:
    if values.dtype.kind == "M":
        if valid is not None:
            values = np.where(valid, values, values[int(np.argmax(valid))])
        return _datetimes(measurement, values)
    numbers = _numbers(measurement, values, valid)
    integers = _to_integer(
        Measurement(measurement.id, measurement.name, ColumnType.INT64), numbers, valid
    )
    low, high = -(-TIME_MIN_NS // precision_ns), TIME_MAX_NS // precision_ns
    if len(integers):
        smallest, largest = int(integers.min()), int(integers.max())
        if smallest < low:
            raise _out_of_range(measurement, smallest)
        if largest > high:
            raise _out_of_range(measurement, largest)
    times: TimesNs = np.multiply(integers, precision_ns, dtype=np.int64)
    return times


def _datetimes(measurement: Measurement, values: AnyArray) -> TimesNs:
    if np.isnat(values).any():
        raise SchemaError(f"{measurement.name} holds NaT", field=measurement.name)
    times = values.astype("datetime64[ns]")
    # numpy wraps silently where a coarse unit does not fit into nanoseconds.
    _refuse(measurement, values, times.astype(values.dtype) != values)
    return np.array(times.view(np.int64))


def _to_variable(measurement: Measurement, values: AnyArray, valid: BoolMask | None) -> AnyArray:
    wanted: type = str if measurement.type == ColumnType.TEXT else bytes
    boxed = np.empty(len(values), object)
    boxed[:] = values.tolist()
    good = boxed if valid is None else boxed[valid]
    for value in good:
        if not isinstance(value, wanted):
            raise _wrong_type(measurement, value)
    if wanted is str:
        _check_unicode(measurement, good)
    if valid is not None:
        boxed[~valid] = None
    return boxed


def _check_unicode(measurement: Measurement, values: AnyArray) -> None:
    for value in values:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _out_of_range(measurement, value) from None


def _refuse(measurement: Measurement, values: AnyArray, bad: BoolMask) -> None:
    if bad.any():
        raise _out_of_range(measurement, values[int(np.argmax(bad))])


def _out_of_range(measurement: Measurement, value: Any) -> OutOfRangeError:
    shown = value.item() if isinstance(value, np.generic) else value
    return OutOfRangeError(
        f"{measurement.name} is {measurement.type.name} and cannot hold {shown!r}",
        field=measurement.name,
        hint="check the unit, or declare a wider type",
    )


def _wrong_type(measurement: Measurement, value: Any) -> SchemaError:
    return SchemaError(
        f"{measurement.name} is {measurement.type.name}, not {type(value).__name__} ({value!r})",
        field=measurement.name,
        hint="convert it before writing",
    )
