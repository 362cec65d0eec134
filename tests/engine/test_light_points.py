"""Light rows: every value comes back bit by bit, and no bytes do harm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import light_points
from mainstem_engine.errors import CorruptionError
from mainstem_engine.light_points import (
    BITS,
    decode_light,
    encode_light,
    is_light,
    is_readable,
    light_bytes,
    light_devices,
)
from mainstem_engine.model import Column, ColumnType, Rows

HEADER = {"t": "meters", "rev": 3, "der": 0}
START_NS = 1_800_000_000 * 10**9
DECODED_MAX = 1 << 20

VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.TEXT: st.text(max_size=4),
    ColumnType.BLOB: st.binary(max_size=4),
    ColumnType.FLOAT: st.floats(width=32) | st.integers(-999, 999).map(lambda n: n / 8),
    ColumnType.DOUBLE: st.floats() | st.integers(-99_999, 99_999).map(lambda n: n / 100),
    ColumnType.TIMESTAMP: st.integers(-(1 << 63), (1 << 63) - 1),
}
for _kind in ColumnType:
    if _kind.is_integer:
        _limits = np.iinfo(_kind.dtype)
        VALUES[_kind] = st.integers(int(_limits.min), int(_limits.max))


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Rows, np.ndarray, dict[int, ColumnType]]:
    """Rows of up to three records with up to four columns."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    count = sum(sizes)
    step = draw(st.sampled_from([1, 1000, 10**6, 10**9]))
    times = draw(st.lists(st.integers(-(10**6), 10**9), min_size=count, max_size=count))
    devices = draw(st.lists(st.integers(0, (1 << 32) - 1), min_size=count, max_size=count))
    rows = Rows(np.array(devices, np.uint32), np.array(times, np.int64) * step)
    types: dict[int, ColumnType] = {}
    for key in draw(st.lists(st.integers(0, 300), max_size=4, unique=True)):
        kind = types[key] = draw(st.sampled_from(sorted(VALUES)))
        values = draw(st.lists(VALUES[kind], min_size=count, max_size=count))
        array = np.empty(count, kind.dtype)
        array[:] = values
        mask = draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
        rows.columns[key] = Column(array, None if mask is None else np.array(mask))
    steps = draw(st.lists(st.integers(1, 1 << 40), min_size=len(sizes), max_size=len(sizes)))
    lsn = np.repeat(np.cumsum(np.array(steps, np.uint64)), sizes)
    return rows, lsn, types


def same(column: Column, other: Column) -> bool:
    """Equal bit by bit where there is a value."""
    if (column.valid is None) != (other.valid is None):
        return False
    valid = np.ones(len(column.values), np.bool_) if column.valid is None else column.valid
    if other.valid is not None and not (valid == other.valid).all():
        return False
    one, two = column.values[valid], other.values[valid]
    if one.dtype == object:
        return bool((one == two).all())
    return one.dtype == two.dtype and one.tobytes() == two.tobytes()


@settings(max_examples=150, deadline=None)
@given(drawn())
def test_every_value_comes_back(case: tuple[Rows, np.ndarray, dict[int, ColumnType]]) -> None:
    rows, lsn, types = case
    payload = encode_light(HEADER, rows, lsn, types, {})
    found = decode_light(payload, bytes_max=DECODED_MAX)
    assert is_light(payload)
    assert (found.points.table, found.points.derived, found.points.header["rev"]) == (
        "meters", False, 3,
    )  # fmt: skip
    assert found.lsn.tolist() == lsn.tolist()
    assert found.points.rows.device.tolist() == rows.device.tolist()
    assert found.points.rows.time.tolist() == rows.time.tolist()
    assert light_devices(payload).tolist() == rows.device.tolist()
    assert list(found.points.rows.columns) == list(rows.columns)
    for key, column in rows.columns.items():
        assert same(column, found.points.rows.columns[key]), types[key].name


@settings(max_examples=150, deadline=None)
@given(drawn(), st.data())
def test_bytes_that_were_changed_are_refused_or_read(
    case: tuple[Rows, np.ndarray, dict[int, ColumnType]], data: st.DataObject
) -> None:
    payload = bytearray(encode_light(HEADER, *case[:2], case[2], {}))
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    else:
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_light(bytes(payload), bytes_max=DECODED_MAX)
    except CorruptionError:
        return
    assert len(found.lsn) == len(found.points.rows.time) == len(found.points.rows.device)


def ten_rows(values: np.ndarray | None = None) -> Rows:
    """Ten devices with ten sensors of two decimals, one second."""
    if values is None:
        values = np.round(np.random.default_rng(1).uniform(10, 90, (10, 10)), 2)
    columns = {key: Column(column) for key, column in enumerate(values)}
    return Rows(np.arange(10, dtype=np.uint32), np.full(10, START_NS), columns)


DOUBLES = dict.fromkeys(range(10), ColumnType.DOUBLE)
ONE = np.ones(10, np.uint64)


def test_values_of_two_decimals_take_two_bytes() -> None:
    powers: dict[tuple[str, int], int] = {}
    payload = encode_light(HEADER, ten_rows(), ONE, DOUBLES, powers)
    assert set(powers.values()) == {2}
    assert len(payload) < 100 * 2 + 120


def test_a_column_that_needs_more_decimals_gets_them_and_keeps_them() -> None:
    powers: dict[tuple[str, int], int] = {}
    encode_light(HEADER, ten_rows(np.full((10, 10), 1.0)), ONE, DOUBLES, powers)
    assert set(powers.values()) == {0}
    finer = np.full((10, 10), 1.0)
    finer[3] = 1.125
    encode_light(HEADER, ten_rows(finer), ONE, DOUBLES, powers)
    assert [powers["meters", key] for key in (2, 3)] == [0, 3]
    encode_light(HEADER, ten_rows(), ONE, DOUBLES, powers)
    assert powers["meters", 3] == 3


def test_noise_is_stored_as_its_bits_and_tried_again_later() -> None:
    powers: dict[tuple[str, int], int] = {}
    noise = np.random.default_rng(1).normal(size=(10, 10))
    encode_light(HEADER, ten_rows(noise), ONE, DOUBLES, powers)
    assert set(powers.values()) == {BITS}
    encode_light(HEADER, ten_rows(), ONE, DOUBLES, powers)
    assert set(powers.values()) == {BITS}
    encode_light(HEADER, ten_rows(), ONE * np.uint64(64), DOUBLES, powers)
    assert set(powers.values()) == {2}


def test_a_header_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects take more than their bytes: many different texts must not come in a header."""
    texts = np.array([f"text {n}" for n in range(10)], object)
    rows = Rows(np.arange(10, dtype=np.uint32), np.full(10, START_NS), {0: Column(texts)})
    payload = encode_light(HEADER, rows, ONE, {0: ColumnType.TEXT}, {})
    assert is_readable(payload)
    monkeypatch.setattr(light_points, "HEADER_BYTES_MAX", 100)
    assert not is_readable(payload)
    with pytest.raises(CorruptionError, match="header of 1"):
        decode_light(payload, bytes_max=DECODED_MAX)


def test_what_decodes_to_more_than_the_bound_is_refused_before_it_is_decoded() -> None:
    """A constant takes no bytes at all."""
    count = 100_000
    rows = Rows(np.zeros(count, np.uint32), np.full(count, START_NS), {0: Column(np.ones(count))})
    payload = encode_light(HEADER, rows, np.ones(count, np.uint64), {0: ColumnType.DOUBLE}, {})
    assert len(payload) < 100
    assert light_bytes(payload) == count * 29
    with pytest.raises(CorruptionError, match="at most"):
        decode_light(payload, bytes_max=count * 29 - 1)
    assert len(decode_light(payload, bytes_max=count * 29).lsn) == count
