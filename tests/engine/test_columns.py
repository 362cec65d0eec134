"""Conversion of what callers hand in."""

from __future__ import annotations

import math
import struct
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.columns import (
    TIME_MAX_NS,
    TIME_MIN_NS,
    conform_rows,
    exact_float64,
    to_column,
    to_times_ns,
    widened_values,
)
from mainstem_engine.errors import OutOfRangeError, SchemaError
from mainstem_engine.model import AnyArray, Column, ColumnType, Measurement, Rows, VersionedRows
from mainstem_engine.slices import canonical_bits
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


def test_masked_arrays_that_another_thread_is_about_to_import_are_none_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The module is listed before its classes are there."""
    monkeypatch.setitem(sys.modules, "numpy.ma", ModuleType("numpy.ma"))
    assert to_times_ns([1, 2], 1_000_000).tolist() == [1_000_000, 2_000_000]


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


TYPES = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]
WIDENINGS = [(a, b) for a in TYPES for b in TYPES if a.widens_to(b)]


def test_what_widens_to_what() -> None:
    assert len(WIDENINGS) == 6 + 6 + 6 + 1  # signed, unsigned, unsigned to signed, float
    assert ColumnType.UINT32.widens_to(ColumnType.INT64)
    assert ColumnType.FLOAT.widens_to(ColumnType.DOUBLE)
    for old, new in [
        (ColumnType.INT64, ColumnType.INT32),
        (ColumnType.UINT64, ColumnType.INT64),
        (ColumnType.INT8, ColumnType.UINT64),
        (ColumnType.INT32, ColumnType.DOUBLE),
        (ColumnType.INT64, ColumnType.TIMESTAMP),
        (ColumnType.BOOLEAN, ColumnType.INT8),
        (ColumnType.TEXT, ColumnType.BLOB),
        (ColumnType.FLOAT, ColumnType.FLOAT),
    ]:
        assert not old.widens_to(new)
        if old != new:
            assert (old, new) not in WIDENINGS


@given(st.data(), st.sampled_from(WIDENINGS))
def test_widening_keeps_values_and_canonical_bits(
    data: st.DataObject, types: tuple[ColumnType, ColumnType]
) -> None:
    old, new = types
    column = convert(old, data.draw(st.lists(values(old), min_size=1, max_size=5)))
    wide = Column(widened_values(column.values, new))
    assert wide.values.dtype == new.dtype
    assert canonical_bits(wide).tolist() == canonical_bits(column).tolist()


def test_a_signalling_nan_keeps_its_payload() -> None:
    raw = np.array([0x7F800001, 0xFF812345, 0x7FC00001, 0x80000000], np.uint32)
    bits = exact_float64(raw.view(np.float32)).view(np.uint64).tolist()
    assert bits == [
        0x7FF0000020000000,
        0xFFF02468A0000000,
        0x7FF8000020000000,
        0x8000000000000000,
    ]


def test_rows_conform_to_the_present_types() -> None:
    device, time = np.zeros(2, np.uint32), np.arange(2)
    valid = np.array([True, False])
    rows = Rows(
        device,
        time,
        {0: Column(np.array([1, -1], np.int8), valid), 1: Column(np.zeros(2)), 9: Column(time)},
    )
    types = {0: ColumnType.INT64, 1: ColumnType.DOUBLE, 2: ColumnType.TEXT}
    wide = conform_rows(rows, types)
    assert wide.columns[0].values.dtype == np.int64
    assert wide.columns[0].valid is valid
    assert wide.columns[1] is rows.columns[1]
    assert wide.columns[9] is rows.columns[9]
    assert conform_rows(wide, types) is wide
    versioned = VersionedRows(
        device, time, np.zeros(2, np.uint16), np.arange(2, dtype=np.uint64), rows.columns
    )
    assert conform_rows(versioned, types).lsn is versioned.lsn


def test_rows_that_cannot_be_widened_are_refused() -> None:
    refused: list[tuple[AnyArray, ColumnType]] = [
        (np.zeros(1), ColumnType.FLOAT),
        (np.zeros(1, np.int64), ColumnType.INT32),
        (np.zeros(1, np.uint64), ColumnType.INT64),
        (np.zeros(1, np.int32), ColumnType.DOUBLE),
        (np.zeros(1, np.bool_), ColumnType.INT8),
    ]
    for narrow, kind in refused:
        with pytest.raises(SchemaError, match="add a new measurement"):
            widened_values(narrow, kind)
