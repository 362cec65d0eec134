"""Conversion of what callers hand in."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, to_column, to_times_ns
from mainstem_engine.errors import OutOfRangeError, SchemaError
from mainstem_engine.model import Column, ColumnType, Measurement
from mainstem_engine.testing.strategies import values

MS = 1_000_000


def convert(kind: ColumnType, data: Any, rows: int | None = None) -> Column:
    return to_column(Measurement(0, "m", kind), data, len(data) if rows is None else rows, MS)


def plain(column: Column) -> list[Any]:
    valid = column.valid
    found = column.values.tolist()
    return [v if valid is None or valid[i] else None for i, v in enumerate(found)]


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (ColumnType.INT8, [1, None, -128], [1, None, -128]),
        (ColumnType.INT8, np.array([1.0, 127.0]), [1, 127]),
        (ColumnType.INT16, [1.0, 2], [1, 2]),
        (ColumnType.UINT64, [2**64 - 1, 0], [2**64 - 1, 0]),
        (ColumnType.UINT8, [True, False], [1, 0]),
        (ColumnType.BOOLEAN, [True, None], [True, None]),
        (ColumnType.BOOLEAN, [1, 0], [True, False]),
        (ColumnType.BOOLEAN, np.array([0.0, 1.0]), [False, True]),
        (ColumnType.FLOAT, [0.1, 1], [struct.unpack("f", struct.pack("f", 0.1))[0], 1.0]),
        (ColumnType.FLOAT, [math.inf, None], [math.inf, None]),
        (ColumnType.DOUBLE, [1, 2**70], [1.0, float(2**70)]),
        (ColumnType.DOUBLE, np.array([1, 2], np.uint8), [1.0, 2.0]),
        (ColumnType.DOUBLE, [None, None], [None, None]),
        (ColumnType.TEXT, ["a", None, "ä"], ["a", None, "ä"]),
        (ColumnType.TEXT, np.array(["a", "bb"]), ["a", "bb"]),
        (ColumnType.BLOB, [b"", None], [b"", None]),
        (ColumnType.TIMESTAMP, [5, None], [5 * MS, None]),
        (ColumnType.TIMESTAMP, np.array(["1970-01-01T00:00:01"], "datetime64[s]"), [1000 * MS]),
        (ColumnType.INT32, (np.array([1, 9]), np.array([False, True])), [1, None]),
        (ColumnType.INT32, np.ma.masked_array([1, 9], [True, False]), [None, 9]),
        (ColumnType.INT32, pa.array([1, None, 3]), [1, None, 3]),
        (ColumnType.INT32, pa.chunked_array([[1], [None]]), [1, None]),
        (ColumnType.INT32, pa.array([None, None], pa.int32()), [None, None]),
        (ColumnType.BOOLEAN, pa.array([True, None]), [True, None]),
        (ColumnType.TEXT, pa.array(["a", None]), ["a", None]),
        (ColumnType.TEXT, pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (ColumnType.BLOB, pa.array([b"a", None]), [b"a", None]),
        (ColumnType.TIMESTAMP, pa.array([1, None], pa.timestamp("ms")), [MS, None]),
        (ColumnType.INT32, range(3), [0, 1, 2]),
    ],
)
def test_accepted(kind: ColumnType, data: Any, expected: list[Any]) -> None:
    column = convert(kind, data)
    assert column.values.dtype == kind.dtype
    assert plain(column) == expected
    assert (column.valid is None) == (None not in expected)


@pytest.mark.parametrize("single", [3, np.int64(3), 3.0])
def test_a_single_value_stands_for_every_row(single: Any) -> None:
    assert plain(convert(ColumnType.INT32, single, rows=2)) == [3, 3]
    assert plain(convert(ColumnType.TEXT, None, rows=2)) == [None, None]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ColumnType.INT8, [128]),
        (ColumnType.INT8, np.array([-129])),
        (ColumnType.UINT8, [-1]),
        (ColumnType.INT32, [0.5]),
        (ColumnType.INT32, [math.nan]),
        (ColumnType.INT32, np.array([math.nan])),
        (ColumnType.INT64, np.array([2.0**63])),
        (ColumnType.INT64, [2**63]),
        (ColumnType.UINT64, [2**64]),
        (ColumnType.UINT64, [-1, 2**63]),
        (ColumnType.FLOAT, [1e39]),
        (ColumnType.FLOAT, np.array([1e39])),
        (ColumnType.DOUBLE, [10**400]),
        (ColumnType.BOOLEAN, [2]),
        (ColumnType.TEXT, ["\ud800"]),
        (ColumnType.TIMESTAMP, [2**62]),
        (ColumnType.TIMESTAMP, [-(2**62)]),
        (ColumnType.TIMESTAMP, np.array([10**12], "datetime64[D]")),
    ],
)
def test_what_the_type_cannot_hold_is_named(kind: ColumnType, data: Any) -> None:
    with pytest.raises(OutOfRangeError, match="m is") as caught:
        convert(kind, data)
    assert caught.value.field == "m"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ColumnType.INT32, ["1"]),
        (ColumnType.INT32, np.array(["1"])),
        (ColumnType.DOUBLE, [b"1"]),
        (ColumnType.DOUBLE, np.array([1 + 2j])),
        (ColumnType.TEXT, [1]),
        (ColumnType.TEXT, [b"x"]),
        (ColumnType.BLOB, ["x"]),
        (ColumnType.TIMESTAMP, np.array(["NaT"], "datetime64[s]")),
        (ColumnType.INT32, [[1, 2]]),
    ],
)
def test_what_is_of_another_kind_is_refused(kind: ColumnType, data: Any) -> None:
    with pytest.raises(SchemaError):
        convert(kind, data)


def test_lengths_are_checked() -> None:
    with pytest.raises(SchemaError, match="one value per row"):
        convert(ColumnType.INT32, np.zeros(3, np.int32), rows=2)
    with pytest.raises(SchemaError, match="mask"):
        convert(ColumnType.INT32, (np.zeros(3), np.zeros(2)), rows=3)


def test_the_callers_array_is_not_kept() -> None:
    mine = np.zeros(3)
    column = convert(ColumnType.DOUBLE, mine)
    mine[:] = 7
    assert column.values.tolist() == [0, 0, 0]


def test_nan_payloads_and_the_sign_of_zero_survive() -> None:
    bits = np.array([0x7FF8DEADBEEF0001, 0x8000000000000000], np.uint64)
    column = convert(ColumnType.DOUBLE, bits.view(np.float64))
    assert column.values.view(np.uint64).tolist() == bits.tolist()


@given(st.data(), st.sampled_from([t for t in ColumnType if t != ColumnType.UNKNOWN]))
def test_values_of_the_type_come_back(data: st.DataObject, kind: ColumnType) -> None:
    given_values = data.draw(st.lists(st.none() | values(kind), min_size=1, max_size=5))
    column = convert(kind, given_values)
    factor = MS if kind == ColumnType.TIMESTAMP else 1
    for wanted, found in zip(given_values, plain(column), strict=True):
        if isinstance(wanted, float) and math.isnan(wanted):
            assert math.isnan(found)
        else:
            assert found == (None if wanted is None else wanted * factor)


def test_times_are_scaled_and_bounded() -> None:
    assert to_times_ns([1, 2], MS).tolist() == [MS, 2 * MS]
    assert to_times_ns(np.array([1], "datetime64[ns]"), MS).tolist() == [1]
    assert to_times_ns([TIME_MIN_NS, TIME_MAX_NS], 1).tolist() == [TIME_MIN_NS, TIME_MAX_NS]
    for wrong in ([TIME_MAX_NS + 1], [TIME_MIN_NS - 1]):
        with pytest.raises(OutOfRangeError, match="time"):
            to_times_ns(wrong, 1)
    with pytest.raises(SchemaError, match="every row needs a time"):
        to_times_ns([1, None], MS)
    with pytest.raises(SchemaError):
        to_times_ns(np.zeros((2, 2), np.int64), MS)
