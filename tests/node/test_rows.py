"""What clients send: typed columns, values put aside, nothing lost and nothing invented."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_node.arrow_body import read_table
from mainstem_node.errors import BadRequestError
from mainstem_node.rows import RowGroup, make_batch, parse_groups, tolerant_column

MS = 1_000_000
TEMPLATE = Template(
    "pump",
    (
        Measurement(0, "flow", ColumnType.DOUBLE),
        Measurement(1, "count", ColumnType.INT32),
        Measurement(2, "on", ColumnType.BOOLEAN),
        Measurement(3, "note", ColumnType.TEXT),
        Measurement(4, "a.b", ColumnType.FLOAT),
        Measurement(5, "raw", ColumnType.BLOB),
    ),
    (Tag("line"),),
)
TABLE = Table(TEMPLATE, False)


def batch(*rows: dict[str, Any]) -> Any:
    return make_batch(TABLE, [RowGroup("pump", "root.a.d", {}, rows)], MS)


def reasons(made: Any) -> list[tuple[str, str]]:
    return [(reject.measurement, reject.reason) for reject in made.rejects]


def test_good_rows_become_columns() -> None:
    made = batch(
        {"time": 1, "flow": 1.5, "count": 2, "on": True, "note": "x"},
        {"time": 2, "flow": 3, "a": {"b": 0.5}},
    )
    assert made.time_ns.tolist() == [MS, 2 * MS]
    assert made.devices == ["root.a.d"] * 2
    assert made.columns[0].values.tolist() == [1.5, 3.0]
    assert made.columns[1].valid is not None
    assert made.columns[1].valid.tolist() == [True, False]
    assert made.columns[4].values.dtype == np.float32
    assert made.rejects == []


def test_names_are_not_case_sensitive_and_null_is_absent() -> None:
    made = batch({"Time": 1, "FLOW": 1.0, "count": None}, {"time": 2, "flow": 2.0})
    assert made.columns[0].values.tolist() == [1.0, 2.0]
    assert made.columns[0].valid is None
    assert 1 not in made.columns


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("count", 1.5, "out_of_range"), ("count", "7", "wrong_type"), ("flow", [1], "wrong_type"),
        ("count", 2**31, "out_of_range"), ("count", 2**70, "out_of_range"),
        ("flow", "1.5", "wrong_type"),
        ("on", "yes", "wrong_type"), ("on", 2, "out_of_range"), ("note", 5, "wrong_type"),
        ("nope", 5, "unknown_measurement"), ("a", {"c": 1}, "unknown_measurement"),
        ("raw", "not base64!", "wrong_type"),
    ],
)  # fmt: skip
def test_a_bad_value_is_put_aside_and_its_row_stays(name: str, value: Any, reason: str) -> None:
    made = batch(
        {"time": 1, "flow": 1.0, "count": 1}, {"time": 2, name: value, "a": {"b": 1.0}}
        if name != "a" else {"time": 2, "a": {"b": 1.0, "c": 1}},
    )  # fmt: skip
    assert [found for _, found in reasons(made)] == [reason]
    assert made.time_ns.tolist() == [MS, 2 * MS]
    assert made.rejects[0].time_ns == 2 * MS


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (None, "no_time"), ("2026-10-03T06:00:00", "time_without_zone"), ("yesterday", "bad_time"),
        (1.5, "bad_time"), (True, "bad_time"), (2**63, "bad_time"), ([1], "bad_time"),
    ],
)  # fmt: skip
def test_a_row_without_a_usable_time_is_put_aside_whole(stamp: Any, reason: str) -> None:
    row = {"flow": 1.0} if stamp is None else {"time": stamp, "flow": 1.0}
    made = batch(row, {"time": 5, "flow": 2.0})
    assert reasons(made) == [("", reason)]
    assert made.time_ns.tolist() == [5 * MS]
    assert made.columns[0].values.tolist() == [2.0]
    assert (made.received, made.rows_rejected) == (2, 1)


def test_times_may_be_texts_with_a_zone() -> None:
    made = batch({"time": "2026-10-03T06:00:00.000001Z", "flow": 1.0})
    assert made.time_ns.tolist() == [1_791_007_200_000_001_000]
    made = batch({"time": "2026-10-03T08:00:00+02:00", "flow": 1.0})
    assert made.time_ns.tolist() == [1_791_007_200_000_000_000]


def test_a_row_without_values_is_put_aside() -> None:
    made = batch({"time": 1}, {"time": 2, "flow": "x"}, {"time": 3, "flow": 1.0})
    assert made.time_ns.tolist() == [3 * MS]
    assert sorted(reasons(made)) == [("", "no_values"), ("flow", "wrong_type")]
    assert (made.received, made.rows_rejected) == (3, 2)


def test_json_s_names_of_floats_and_base64_are_understood() -> None:
    made = batch({"time": 1, "flow": "NaN", "raw": "AAE="}, {"time": 2, "flow": "-Infinity"})
    assert math.isnan(made.columns[0].values[0])
    assert made.columns[0].values[1] == float("-inf")
    assert made.columns[5].values[0] == b"\x00\x01"
    assert made.rejects == []


@given(
    st.lists(
        st.one_of(
            st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=3), st.booleans(),
            st.none(), st.just([1]),
        ),
        min_size=1,
        max_size=40,
    )
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_every_value_is_stored_exactly_or_named(values: list[Any]) -> None:
    measurement = Measurement(0, "count", ColumnType.INT32)
    column, bad = tolerant_column(measurement, values, MS)
    named = {row for row, _, _ in bad}
    for row, value in enumerate(values):
        valid = column.valid is None or bool(column.valid[row])
        if value is None:
            assert not valid
            assert row not in named
        elif valid:
            assert row not in named
            assert column.values[row] == value
        else:
            assert row in named


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (3, None), ([3], "[0]"), ({"device": "root.a", "rows": []}, "template"),
        ({"template": "p", "device": 1, "rows": []}, "device"),
        ({"template": "p", "device": "d", "rows": {}}, "rows"),
        ({"template": "p", "device": "d", "rows": [1]}, ".rows"),
        ({"template": "p", "device": "d", "rows": [], "tag": {}}, "tag"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_groups(data: Any, field: str | None) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_groups(data)
    assert caught.value.field == field


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table() -> pa.Table:
    devices = pa.array(["root.a.d"] * 100).dictionary_encode()
    return pa.table({"device": devices, "time": pa.array(range(100), pa.int64())})


def test_an_arrow_stream_is_read() -> None:
    assert read_table(stream(table())).num_rows == 100


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_arrow_stream_is_refused(compression: str) -> None:
    with pytest.raises(BadRequestError, match="compressed"):
        read_table(stream(table(), compression))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_what_is_no_arrow_stream_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_table(body)


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_damaged_arrow_stream_is_read_or_refused(place: int, value: int) -> None:
    body = bytearray(stream(table()))
    body[place % len(body)] = value
    try:
        found = read_table(bytes(body))
    except BadRequestError:
        return
    assert found.num_rows <= 1_000
