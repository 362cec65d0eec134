"""Groups as an Arrow table: one column per function that was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.arrow import arrow_type
from mainstem_engine.arrow_arrays import number_array, text_array
from mainstem_engine.catalog.devices import Devices
from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import AnyArray, BoolMask, ColumnType, DeviceIds
from mainstem_engine.windows import (
    COUNT,
    FIRST,
    LAST,
    MAX,
    MEAN,
    MIN,
    ROWS,
    SUM,
    Pieces,
    Values,
    float_totals,
)

if TYPE_CHECKING:
    import pyarrow as pa


def no_groups(count: int) -> Pieces:
    """``count`` groups without rows."""
    zeros = np.zeros(count, np.int64)
    return Pieces(np.zeros(count, np.uint32), zeros, zeros, zeros, zeros)


def aggregate_table(
    table: Table,
    pieces: Pieces,
    columns: list[tuple[str, str]],
    keys: dict[str, AnyArray],
    present: DeviceIds | None,
    devices: Devices,
    precision_ns: int,
) -> pa.Table:
    """``keys`` (int64) first, then the device of each group (``present`` None: not asked), then a
    column for each (measurement, function) of ``columns``."""
    import pyarrow as pa

    whole = pa.int64()
    arrays: dict[str, Any] = {name: number_array(values, whole) for name, values in keys.items()}
    if present is not None:
        distinct, codes = np.unique(present, return_inverse=True)
        paths = text_array(devices.paths(distinct.tolist()))
        numbers = number_array(codes.astype(np.int32), pa.int32())
        arrays["device"] = pa.DictionaryArray.from_arrays(numbers, paths)
    for name, function in columns:
        if name == ROWS:
            arrays[COUNT] = number_array(pieces.rows, whole)
            continue
        measurement = table.measurement(name)
        assert measurement is not None
        values = pieces.values.get(measurement.id)
        heading = f"{measurement.name}_{function}"
        if function == COUNT:
            counts = np.zeros(len(pieces), np.int64) if values is None else values.count
            arrays[heading] = number_array(counts, whole)
            continue
        kind = pa.float64() if function in (SUM, MEAN) else arrow_type(measurement.type)
        if values is None:
            arrays[heading] = pa.nulls(len(pieces), kind)
            continue
        found, missing = result_of(values, function)
        if measurement.type == ColumnType.TIMESTAMP:
            found = found // precision_ns
        if found.dtype == object:
            arrays[heading] = pa.array(found, kind, mask=missing if missing.any() else None)
        else:
            arrays[heading] = number_array(found, kind, missing)
    return pa.Table.from_arrays(list(arrays.values()), names=list(arrays))


def result_of(values: Values, function: str) -> tuple[AnyArray, BoolMask]:
    """(results of a function that was asked, where there is none)."""
    missing: BoolMask = values.count == 0
    if function in (SUM, MEAN):
        assert values.total is not None
        total = float_totals(values.total)
        return (total if function == SUM else total / np.maximum(values.count, 1)), missing
    found = {MIN: values.low, MAX: values.high, FIRST: values.first, LAST: values.last}[function]
    assert found is not None
    return found, missing
