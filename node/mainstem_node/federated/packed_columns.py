"""Pieces and newest values as bytes, for the way between two nodes.

Arrays go as their little-endian bytes with their dtype; texts and blobs as lists. Devices go by
their paths and measurements by their names; who unpacks them checks lengths and types, and widens
values to the types that a column has there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.catalog.devices import Devices
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import widened_values
from mainstem_engine.last_values import LastRows
from mainstem_engine.model import NO_DEVICE, AnyArray, BoolMask, Column, DeviceIds, Measurement
from mainstem_engine.windows import Pieces, Values
from mainstem_sync.errors import WireError

_NUMBERS = frozenset({"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "b1"})
ROWS_MAX = 1 << 22
"""What an answer of 32 MiB can hold, twice over."""


def pack_pieces(table: Table, devices: Devices, pieces: Pieces | None, *, paths: bool) -> bytes:
    """``paths``: each group is of one device, and its path goes along."""
    if pieces is None or not len(pieces):
        return b""
    names = _names(table)
    plain: dict[str, Any] = {
        "n": len(pieces),
        "window": _packed(pieces.window),
        "rows": _packed(pieces.rows),
        "begin": _packed(pieces.begin_ns),
        "end": _packed(pieces.end_ns),
        "values": {
            names[key]: [None if a is None else _packed(a) for a in values.arrays()]
            for key, values in pieces.values.items()
        },
    }
    if paths:
        present, codes = np.unique(pieces.device, return_inverse=True)
        plain["paths"] = devices.paths(present.tolist())
        plain["codes"] = _packed(codes.astype(np.uint32))
    packed: bytes = msgpack.packb(plain)
    return packed


def unpack_pieces(
    table: Table, devices: Devices, raw: bytes, functions: Collection[str]
) -> tuple[Pieces | None, int]:
    """(the pieces, groups of devices that are not known here). ``functions``: names of measurements
    that were asked for. Raises WireError, SchemaError."""
    if not raw:
        return None, 0
    plain = _unpacked(raw)
    count = _count(plain)
    device, known = _devices(plain, devices, count)
    pieces = Pieces(
        device,
        _numbers(plain.get("window"), count, "i8"),
        _numbers(plain.get("rows"), count, "i8"),
        _numbers(plain.get("begin"), count, "i8"),
        _numbers(plain.get("end"), count, "i8"),
    )
    values = plain.get("values")
    if not isinstance(values, dict):
        raise WireError("pieces without values")
    for name in functions:
        measurement = table.measurement(name)
        if measurement is not None:
            pieces.values[measurement.id] = _values(
                values.get(measurement.name.casefold()), measurement, count
            )
    return pieces.take(known), int(np.count_nonzero(~known))


def pack_newest(table: Table, devices: Devices, rows: LastRows) -> bytes:
    """Each device's newest row, with the time of each value."""
    if not len(rows.device):
        return b""
    names = _names(table)
    columns = {}
    for key, column in rows.columns.items():
        if key in names and (column.valid is None or column.valid.any()):
            valid = None if column.valid is None else _packed(column.valid)
            columns[names[key]] = [_packed(column.values), valid, _packed(rows.column_times[key])]
    packed: bytes = msgpack.packb(
        {
            "n": len(rows.device),
            "paths": devices.paths(rows.device.tolist()),
            "codes": _packed(np.arange(len(rows.device), dtype=np.uint32)),
            "time": _packed(rows.time),
            "columns": columns,
        }
    )
    return packed


def unpack_newest(table: Table, devices: Devices, raw: bytes) -> tuple[LastRows | None, int]:
    """As ``unpack_pieces``; columns that nobody sent are null."""
    if not raw:
        return None, 0
    plain = _unpacked(raw)
    count = _count(plain)
    device, known = _devices(plain, devices, count)
    sent = plain.get("columns")
    if not isinstance(sent, dict):
        raise WireError("newest values without columns")
    columns: dict[int, Column] = {}
    times: dict[int, Any] = {}
    for measurement in table.template.measurements:
        values, valid, at = (*(sent.get(measurement.name.casefold()) or ()), None, None, None)[:3]
        if values is None:
            columns[measurement.id] = Column(
                np.zeros(count, measurement.type.dtype), np.zeros(count, np.bool_)
            )
            times[measurement.id] = np.zeros(count, np.int64)
            continue
        columns[measurement.id] = Column(
            _widened(values, measurement, count),
            None if valid is None else _numbers(valid, count, "b1"),
        )
        times[measurement.id] = _numbers(at, count, "i8")
    order = np.flatnonzero(known)[np.argsort(device[known], kind="stable")]
    rows = LastRows(
        device[order],
        _numbers(plain.get("time"), count, "i8")[order],
        {key: column.take(order) for key, column in columns.items()},
        {key: each[order] for key, each in times.items()},
    )
    return rows, int(np.count_nonzero(~known))


def _names(table: Table) -> dict[int, str]:
    return {
        measurement.id: measurement.name.casefold() for measurement in table.template.measurements
    }


def _packed(array: AnyArray) -> list[Any]:
    if array.dtype == object:
        return ["O", array.tolist()]
    kind = array.dtype.str[1:]
    return [kind, np.ascontiguousarray(array).astype(f"<{kind}", copy=False).tobytes()]


def _unpacked(raw: bytes) -> Mapping[str, Any]:
    try:
        plain = msgpack.unpackb(raw)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise WireError(f"an answer is not msgpack ({exc})") from exc
    if not isinstance(plain, dict):
        raise WireError("an answer is not a map")
    return plain


def _count(plain: Mapping[str, Any]) -> int:
    count = plain.get("n")
    if type(count) is not int or not 0 < count <= ROWS_MAX:
        raise WireError("an answer without its length")
    return count


def _array(value: object, count: int, width: int = 1) -> AnyArray:
    if not isinstance(value, list) or len(value) != 2:
        raise WireError("a column is [type, values]")
    kind, data = value
    if kind == "O":
        if not isinstance(data, list) or len(data) != count:
            raise WireError("a column of another length")
        found = np.empty(count, object)
        found[:] = data
        return found
    if kind not in _NUMBERS or not isinstance(data, bytes):
        raise WireError(f"a column of type {kind!r}")
    array = np.frombuffer(data, f"<{kind}")
    if len(array) != count * width:
        raise WireError("a column of another length")
    return array if width == 1 else array.reshape(count, width)


def _numbers(value: object, count: int, kind: str) -> Any:
    array = _array(value, count)
    if array.dtype != np.dtype(f"<{kind}"):
        raise WireError(f"a column that is not {kind}")
    return array


def _devices(plain: Mapping[str, Any], devices: Devices, count: int) -> tuple[DeviceIds, BoolMask]:
    """(uint32[n] local ids, bool[n] those that are known)."""
    paths = plain.get("paths")
    if paths is None:
        return np.zeros(count, np.uint32), np.ones(count, np.bool_)
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise WireError("devices without paths")
    codes = _numbers(plain.get("codes"), count, "u4")
    if count and (not paths or int(codes.max()) >= len(paths)):
        raise WireError("a device without a path")
    found = devices.lookup(paths)[codes]
    return found, found != np.uint32(NO_DEVICE)


def _values(sent: object, measurement: Measurement, count: int) -> Values:
    if sent is None:
        raise WireError(f"pieces without {measurement.name}")
    if not isinstance(sent, list) or len(sent) != 8:
        raise WireError("values of a measurement are eight columns")
    counts, low, high, total, first, first_ns, last, last_ns = sent

    def value(array: object) -> AnyArray | None:
        return None if array is None else _widened(array, measurement, count)

    def time(array: object) -> Any:
        return None if array is None else _numbers(array, count, "i8")

    return Values(
        _numbers(counts, count, "i8"),
        value(low),
        value(high),
        None if total is None else _total(total, measurement, count),
        value(first),
        time(first_ns),
        value(last),
        time(last_ns),
    )


def _widened(value: object, measurement: Measurement, count: int) -> AnyArray:
    array = _array(value, count)
    is_object = measurement.type.dtype == object
    if is_object != (array.dtype == object):
        raise WireError(f"{measurement.name} is of another kind there")
    if is_object:
        wanted = bytes if measurement.type.name == "BLOB" else str
        if not all(each is None or isinstance(each, wanted) for each in array.tolist()):
            raise WireError(f"{measurement.name} is of another kind there")
        return array
    return widened_values(array, measurement.type)


def _total(value: object, measurement: Measurement, count: int) -> AnyArray:
    if measurement.type.is_float:
        array = _array(value, count)
        if array.dtype.kind != "f":
            raise WireError(f"a sum of {measurement.name} that is not a float")
        return array
    array = _array(value, count, 2)
    if array.dtype != np.int64:
        raise WireError(f"a sum of {measurement.name} that is not exact")
    return array
