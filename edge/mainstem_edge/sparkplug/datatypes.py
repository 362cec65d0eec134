"""Sparkplug's data types: what a metric's value is, given the type that its birth named.

1. Signed integers travel as two's complement in unsigned fields. Of a narrow type the low bits
   count, however far the sender extended the sign.
2. A value may come in another field than its type's usual one: what it stands for decides.
3. Arrays and data sets become JSON text: a measurement of type TEXT holds them. Bytes and files
   become base64 text, as a BLOB is written in JSON.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

from mainstem_engine.model import ColumnType

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64 = range(1, 9)
FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT, UUID, DATASET, BYTES, FILE, TEMPLATE = range(9, 20)
PROPERTY_SET, PROPERTY_SET_LIST = 20, 21
INT8_ARRAY, INT16_ARRAY, INT32_ARRAY, INT64_ARRAY = range(22, 26)
UINT8_ARRAY, UINT16_ARRAY, UINT32_ARRAY, UINT64_ARRAY = range(26, 30)
FLOAT_ARRAY, DOUBLE_ARRAY, BOOLEAN_ARRAY, STRING_ARRAY, DATETIME_ARRAY = range(30, 35)

NS_PER_MS = 1_000_000

_SIGNED_BITS = {INT8: 8, INT16: 16, INT32: 32, INT64: 64}
_UNSIGNED_BITS = {UINT8: 8, UINT16: 16, UINT32: 32, UINT64: 64}
_PACKED = {
    INT8_ARRAY: "b", INT16_ARRAY: "h", INT32_ARRAY: "i", INT64_ARRAY: "q",
    UINT8_ARRAY: "B", UINT16_ARRAY: "H", UINT32_ARRAY: "I", UINT64_ARRAY: "Q",
    FLOAT_ARRAY: "f", DOUBLE_ARRAY: "d", DATETIME_ARRAY: "q",
}  # fmt: skip

_COLUMNS = {
    INT8: ColumnType.INT8, INT16: ColumnType.INT16, INT32: ColumnType.INT32,
    INT64: ColumnType.INT64, UINT8: ColumnType.UINT8, UINT16: ColumnType.UINT16,
    UINT32: ColumnType.UINT32, UINT64: ColumnType.UINT64, FLOAT: ColumnType.FLOAT,
    DOUBLE: ColumnType.DOUBLE, BOOLEAN: ColumnType.BOOLEAN, STRING: ColumnType.TEXT,
    DATETIME: ColumnType.TIMESTAMP, TEXT: ColumnType.TEXT, UUID: ColumnType.TEXT,
    BYTES: ColumnType.BLOB, FILE: ColumnType.BLOB,
}  # fmt: skip


class ValueFormError(ValueError):
    """A value that is not what its data type says."""


def column_type(datatype: int) -> ColumnType:
    """The type of a measurement for metrics of this type; what has no other is text."""
    return _COLUMNS.get(datatype, ColumnType.TEXT)


def plain_value(datatype: int, field: str, raw: Any) -> Any:
    """int, float, bool or text. ``field``: where on the wire ``raw`` was. A DateTime is in
    nanoseconds. Raises ValueFormError."""
    if datatype in _SIGNED_BITS:
        bits = _SIGNED_BITS[datatype]
        value = _whole(raw) & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    if datatype in _UNSIGNED_BITS:
        return _whole(raw) & ((1 << _UNSIGNED_BITS[datatype]) - 1)
    if datatype in (FLOAT, DOUBLE):
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            raise ValueFormError(f"{field} for a floating-point number")
        return float(raw)
    if datatype == BOOLEAN:
        return bool(_whole(raw)) if not isinstance(raw, bool) else raw
    if datatype == DATETIME:
        return plain_value(INT64, field, raw) * NS_PER_MS
    if datatype in (STRING, TEXT, UUID):
        if not isinstance(raw, str):
            raise ValueFormError(f"{field} for a text")
        return raw
    if datatype in (BYTES, FILE):
        return base64.b64encode(_octets(raw, field)).decode()
    if datatype == DATASET:
        return _json(_dataset(raw, field))
    if INT8_ARRAY <= datatype <= DATETIME_ARRAY:
        return _json(array_values(datatype, _octets(raw, field)))
    raise ValueFormError(f"data type {datatype}")


def wire_value(datatype: int, value: Any) -> tuple[str, Any]:
    """(field, what is put there) for a command. Raises ValueFormError for what does not fit."""
    bits = _SIGNED_BITS.get(datatype) or _UNSIGNED_BITS.get(datatype)
    if bits is not None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise ValueFormError("it wants a whole number")
        low = -(1 << (bits - 1)) if datatype in _SIGNED_BITS else 0
        high = low + (1 << bits) - 1
        if not low <= value <= high:
            raise ValueFormError(f"it wants {low}..{high}")
        wide = datatype in (INT64, UINT64)
        field, width = ("long_value", 64) if wide else ("int_value", 32)
        return field, int(value) & ((1 << width) - 1)
    if datatype in (FLOAT, DOUBLE):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueFormError("it wants a number")
        if datatype == FLOAT and math.isfinite(value) and abs(value) > 3.4028235e38:
            raise ValueFormError("it wants a single-precision number")
        return ("float_value" if datatype == FLOAT else "double_value"), float(value)
    if datatype == BOOLEAN:
        if not isinstance(value, bool):
            raise ValueFormError("it wants true or false")
        return "boolean_value", value
    if datatype == DATETIME:
        field, milliseconds = wire_value(INT64, value)
        return field, milliseconds
    if datatype in (STRING, TEXT, UUID):
        if not isinstance(value, str):
            raise ValueFormError("it wants a text")
        return "string_value", value
    raise ValueFormError(f"data type {datatype} cannot be written")


def array_values(datatype: int, octets: bytes) -> list[Any]:
    """The elements of a packed array, little endian."""
    if datatype == BOOLEAN_ARRAY:
        return _booleans(octets)
    if datatype == STRING_ARRAY:
        if octets and not octets.endswith(b"\0"):
            raise ValueFormError("an array of texts that does not end with zero")
        try:
            return [part.decode() for part in octets.split(b"\0")[:-1]]
        except UnicodeDecodeError:
            raise ValueFormError("an array of texts that are not UTF-8") from None
    code = _PACKED[datatype]
    size = struct.calcsize(f"<{code}")
    if len(octets) % size:
        raise ValueFormError(f"{len(octets)} bytes are no array of {size} each")
    values = list(struct.unpack(f"<{len(octets) // size}{code}", octets))
    if code in "fd":  # JSON has no NaN and no infinity
        return [value if math.isfinite(value) else None for value in values]
    return values


def _booleans(octets: bytes) -> list[Any]:
    """A count of four bytes, then the bits, the first of each byte on top."""
    if len(octets) < 4:
        raise ValueFormError("an array of booleans without a count")
    (count,) = struct.unpack_from("<I", octets)
    bits = octets[4:]
    if len(bits) != -(-count // 8):
        raise ValueFormError(f"{len(bits)} bytes for {count} booleans")
    return [bool(bits[n // 8] >> (7 - n % 8) & 1) for n in range(count)]


def _dataset(raw: Any, field: str) -> dict[str, Any]:
    if field != "dataset_value":
        raise ValueFormError(f"{field} for a data set")
    types, names = list(raw.types), list(raw.columns)
    if not all(isinstance(name, str) for name in names):
        raise ValueFormError("a data set whose names are not UTF-8")
    rows: list[list[Any]] = []
    for row in raw.rows:
        if len(row.elements) != len(types):
            raise ValueFormError("a data set whose rows differ from its types")
        cells: list[Any] = []
        for kind, element in zip(types, row.elements, strict=True):
            name = element.WhichOneof("value")
            cell = None if name is None else plain_value(kind, name, getattr(element, name))
            unfit = isinstance(cell, float) and not math.isfinite(cell)
            cells.append(None if unfit else cell)
        rows.append(cells)
    return {"columns": names, "rows": rows}


def _whole(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueFormError(f"{type(raw).__name__} for a whole number")
    return raw


def _octets(raw: Any, field: str) -> bytes:
    if not isinstance(raw, bytes):
        raise ValueFormError(f"{field} for bytes")
    return raw


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
