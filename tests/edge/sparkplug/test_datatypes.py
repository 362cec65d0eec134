"""Data types of Sparkplug: two's complement, arrays, data sets, and values for commands."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from mainstem_edge.sparkplug import datatypes as d
from mainstem_edge.sparkplug.datatypes import (
    ValueFormError,
    array_values,
    column_type,
    plain_value,
    wire_value,
)
from mainstem_edge.sparkplug.payload import parse
from mainstem_edge.testing import sparkplug_encoder as enc
from mainstem_engine.model import ColumnType


def through(kind: int, value: object) -> Any:
    """A value as a metric of these octets has it."""
    (metric,) = parse(enc.payload([enc.metric("m", kind, value)])).metrics
    assert metric.field is not None
    return plain_value(kind, metric.field, metric.value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (d.INT8, [0, 127, -128, -1]),
        (d.INT16, [0, 32_767, -32_768, -1]),
        (d.INT32, [0, 2**31 - 1, -(2**31), -1]),
        (d.INT64, [0, 2**63 - 1, -(2**63), -1]),
        (d.UINT8, [0, 255]),
        (d.UINT16, [0, 65_535]),
        (d.UINT32, [0, 2**32 - 1]),
        (d.UINT64, [0, 2**64 - 1]),
        (d.FLOAT, [0.0, -1.5]),
        (d.DOUBLE, [0.0, -1e300]),
        (d.BOOLEAN, [True, False]),
        (d.STRING, ["", "Grüße"]),
        (d.TEXT, ["a"]),
        (d.UUID, ["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]),
    ],
)
def test_a_value_comes_back_as_it_was(kind: int, values: list[object]) -> None:
    for value in values:
        found = through(kind, value)
        assert found == value
        assert type(found) is type(value)
        field, raw = wire_value(kind, value)
        assert plain_value(kind, field, raw) == value


@pytest.mark.parametrize(("kind", "raw"), [(d.INT8, 0xFF), (d.INT16, 0xFFFF), (d.INT8, 2**32 - 1)])
def test_a_narrow_integer_may_come_with_or_without_its_sign_extended(kind: int, raw: int) -> None:
    assert plain_value(kind, "int_value", raw) == -1


def test_a_time_is_in_nanoseconds_and_octets_are_base64() -> None:
    assert through(d.DATETIME, 1_700_000_000_123) == 1_700_000_000_123_000_000
    assert base64.b64decode(through(d.BYTES, b"\0\xff")) == b"\0\xff"
    assert base64.b64decode(through(d.FILE, b"file")) == b"file"


@pytest.mark.parametrize(
    ("kind", "octets", "values"),
    [
        (d.INT8_ARRAY, b"\xff\x01", [-1, 1]),
        (d.INT16_ARRAY, struct.pack("<2h", -2, 3), [-2, 3]),
        (d.INT32_ARRAY, struct.pack("<i", -4), [-4]),
        (d.INT64_ARRAY, struct.pack("<q", -5), [-5]),
        (d.UINT8_ARRAY, b"\xff", [255]),
        (d.UINT16_ARRAY, struct.pack("<H", 65_535), [65_535]),
        (d.UINT32_ARRAY, struct.pack("<I", 2**32 - 1), [2**32 - 1]),
        (d.UINT64_ARRAY, struct.pack("<Q", 2**64 - 1), [2**64 - 1]),
        (d.FLOAT_ARRAY, struct.pack("<2f", 0.5, float("nan")), [0.5, None]),
        (d.DOUBLE_ARRAY, struct.pack("<d", 0.25), [0.25]),
        (d.BOOLEAN_ARRAY, struct.pack("<I", 10) + b"\xa0\x40",
         [True, False, True, False, False, False, False, False, False, True]),
        (d.STRING_ARRAY, b"ab\0\0c\0", ["ab", "", "c"]),
        (d.DATETIME_ARRAY, struct.pack("<q", 7), [7]),
        (d.DOUBLE_ARRAY, b"", []),
    ],
)  # fmt: skip
def test_arrays_become_json(kind: int, octets: bytes, values: list[object]) -> None:
    assert array_values(kind, octets) == values
    assert json.loads(through(kind, octets)) == values


@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        (d.INT16_ARRAY, b"\0"),
        (d.BOOLEAN_ARRAY, b"\1"),
        (d.BOOLEAN_ARRAY, struct.pack("<I", 9) + b"\0"),
        (d.STRING_ARRAY, b"ab"),
        (d.STRING_ARRAY, b"\xff\0"),
    ],
)
def test_a_broken_array_is_refused(kind: int, octets: bytes) -> None:
    with pytest.raises(ValueFormError):
        array_values(kind, octets)


def test_a_data_set_becomes_json() -> None:
    octets = enc.dataset(["a", "b"], [d.INT8, d.UINT8], [[2**32 - 1, 255], [1, 2]])
    assert json.loads(through(d.DATASET, octets)) == {
        "columns": ["a", "b"], "rows": [[-1, 255], [1, 2]],
    }  # fmt: skip
    with pytest.raises(ValueFormError):
        through(d.DATASET, enc.dataset(["a"], [d.INT8], [[1, 2]]))


@pytest.mark.parametrize(
    ("kind", "field", "raw"),
    [
        (d.INT32, "string_value", "1"),
        (d.DOUBLE, "string_value", "1"),
        (d.DOUBLE, "boolean_value", True),
        (d.STRING, "int_value", 1),
        (d.BYTES, "string_value", "x"),
        (d.DATASET, "int_value", 1),
        (0, "int_value", 1),
        (d.PROPERTY_SET, "int_value", 1),
        (99, "int_value", 1),
    ],
)
def test_a_value_of_another_type_is_refused(kind: int, field: str, raw: object) -> None:
    with pytest.raises(ValueFormError):
        plain_value(kind, field, raw)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (d.INT8, 128), (d.INT8, 0.5), (d.INT8, True), (d.UINT8, -1), (d.FLOAT, 1e39),
        (d.BOOLEAN, 1), (d.STRING, 1), (d.DOUBLE, "1"), (d.DATASET, {}), (d.INT8_ARRAY, [1]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_not_written(kind: int, value: object) -> None:
    with pytest.raises(ValueFormError):
        wire_value(kind, value)


def test_columns_for_metrics() -> None:
    assert column_type(d.INT16) == ColumnType.INT16
    assert column_type(d.DATETIME) == ColumnType.TIMESTAMP
    assert column_type(d.DOUBLE_ARRAY) == ColumnType.TEXT
