"""Rows in the encodings of parts: what is encoded comes back, and damage is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.encoded_points import Choices, decode_rows, device_runs, encode_rows
from mainstem_engine.errors import CorruptionError, MainstemError
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import decode_payload, encode_payload
from mainstem_engine.model import BoolMask, Column, ColumnType, Rows

HEADER = {"t": "meters", "rev": 3, "der": 0}
LARGE = 1 << 26


def _payload(
    rows: Rows, lsn: np.ndarray, types: dict[int, ColumnType], choices: Choices | None = None
) -> bytes:
    pieces = encode_rows(HEADER, rows, lsn, types, {} if choices is None else choices)
    return b"".join(map(byte_view, pieces))


def _sensors(devices: int, seconds: int, columns: int = 2) -> tuple[Rows, np.ndarray]:
    """Rows as a log has them: record after record, every device in each."""
    rng = np.random.default_rng(devices)
    second, device = (grid.ravel() for grid in np.mgrid[0:seconds, 0:devices])
    time = (1_800_000_000 + second) * 10**9
    found = {
        key: Column(np.round(20 + np.sin(second / 50 + device) + rng.normal(0, 0.1, len(time)), 2))
        for key in range(columns)
    }
    return Rows(device.astype(np.uint32), time, found), (second + 1).astype(np.uint64)


def _types(columns: int) -> dict[int, ColumnType]:
    return dict.fromkeys(range(columns), ColumnType.DOUBLE)


def test_rows_come_back_sorted_with_their_lsns() -> None:
    rows, lsn = _sensors(7, 900)
    found = decode_rows(_payload(rows, lsn, _types(2)), bytes_max=LARGE)
    order = np.lexsort((rows.time, rows.device))
    back = found.points.rows
    assert np.array_equal(back.device, rows.device[order])
    assert np.array_equal(back.time, rows.time[order])
    assert np.array_equal(found.lsn, lsn[order])
    for key in (0, 1):
        assert np.array_equal(back.columns[key].values, rows.columns[key].values[order])
    assert (found.points.table, found.points.header["rev"]) == ("meters", 3)


def test_they_take_a_fraction_of_the_bytes_that_a_general_codec_needs() -> None:
    rows, lsn = _sensors(40, 1000, columns=4)
    assert len(_payload(rows, lsn, _types(4))) < 1.0 * len(rows) * 4


def test_what_suited_a_column_is_remembered() -> None:
    rows, lsn = _sensors(5, 2000)
    choices: Choices = {}
    first = _payload(rows, lsn, _types(2), choices)
    assert set(choices) == {("meters", 0), ("meters", 1)}
    assert decode_rows(_payload(rows, lsn, _types(2), choices), bytes_max=LARGE)
    assert len(_payload(rows, lsn, _types(2), choices)) <= len(first)


def test_each_record_can_be_told_apart() -> None:
    rows, lsn = _sensors(3, 50)
    found = decode_rows(_payload(rows, lsn, _types(2)), bytes_max=LARGE)
    records = dict(found.records())
    assert sorted(records) == list(range(1, 51))
    for number, points in records.items():
        want = rows.take(lsn == number)
        assert points.rows.device.tolist() == [0, 1, 2]
        assert points.header["n"] == 3
        assert np.array_equal(points.rows.columns[1].values, want.columns[1].values)
    some = dict(found.records(found.lsn > 48))
    assert sorted(some) == [49, 50]


def test_devices_can_be_seen_without_the_values() -> None:
    rows, lsn = _sensors(3, 50)
    ids, counts = device_runs(_payload(rows, lsn, _types(2)))
    assert ids.tolist() == [0, 1, 2]
    assert counts.tolist() == [50, 50, 50]


_VALUES = {
    ColumnType.DOUBLE: st.floats(width=64),
    ColumnType.FLOAT: st.floats(width=32),
    ColumnType.INT16: st.integers(-(2**15), 2**15 - 1),
    ColumnType.UINT64: st.integers(0, 2**64 - 1),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.TEXT: st.text(max_size=6),
    ColumnType.BLOB: st.binary(max_size=6),
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_rows_of_any_types_come_back(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))

    def draw(values: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(values, min_size=count, max_size=count))

    rows = Rows(
        np.array(draw(st.integers(0, 5)), np.uint32),
        np.array(draw(st.integers(-100, 100)), np.int64),
    )
    lsn = np.array(draw(st.integers(1, 9)), np.uint64)
    types: dict[int, ColumnType] = {}
    for key, kind in enumerate(data.draw(st.lists(st.sampled_from(list(_VALUES)), max_size=3))):
        types[key] = kind
        values = np.array(draw(_VALUES[kind]), kind.dtype)
        valid: BoolMask | None = None
        if data.draw(st.booleans()):
            valid = np.array(draw(st.booleans()), np.bool_)
        rows.columns[key] = Column(values, valid)
    found = decode_rows(_payload(rows, lsn, types), bytes_max=LARGE)
    assert _as_set(found.points.rows, found.lsn) == _as_set(rows, lsn)


def _as_set(rows: Rows, lsn: np.ndarray) -> list[tuple[object, ...]]:
    values = []
    for column in rows.columns.values():
        bits = column.values
        if bits.dtype.kind == "f":
            bits = bits.view(f"u{bits.dtype.itemsize}")
        plain = bits.tolist()
        if column.valid is not None:
            plain = [v if ok else None for v, ok in zip(plain, column.valid.tolist(), strict=True)]
        values.append(plain)
    return sorted(zip(rows.device.tolist(), rows.time.tolist(), lsn.tolist(),
                      *values, strict=True), key=repr)  # fmt: skip


def test_values_beyond_the_bound_are_not_decoded() -> None:
    rows, lsn = _sensors(5, 100)
    payload = _payload(rows, lsn, _types(2))
    taken = 500 * (20 + 2 + 8 + 8 + 2 * 9)
    assert len(decode_rows(payload, bytes_max=taken).lsn) == 500
    with pytest.raises(CorruptionError, match="at most"):
        decode_rows(payload, bytes_max=taken - 1)


def test_a_text_that_declares_more_than_it_is_counts_with_what_it_declares() -> None:
    texts = np.array([f"state {n % 7}" for n in range(64)] * 4, object)
    rows = Rows(np.zeros(256, np.uint32), np.arange(256), {0: Column(texts)})
    payload = _payload(rows, np.ones(256, np.uint64), {0: ColumnType.TEXT})
    header, buffers = decode_payload(payload)
    blocks = bytearray(buffers[-1])
    blocks[:4] = (1 << 27).to_bytes(4, "little")
    forged = encode_payload({**header}, [*buffers[:-1], bytes(blocks)])
    with pytest.raises(CorruptionError, match="at most"):
        decode_rows(b"".join(map(byte_view, forged)), bytes_max=LARGE)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_damage_is_refused_or_gives_rows_of_the_same_shape(seed: int, flips: int) -> None:
    rows, lsn = _sensors(3, 40)
    payload = bytearray(_payload(rows, lsn, _types(2)))
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(payload), flips).tolist():
        payload[place] ^= 1 << int(rng.integers(8))
    try:
        found = decode_rows(bytes(payload), bytes_max=LARGE)
    except MainstemError:
        return
    back = found.points.rows
    lengths = {len(back.device), len(back.time), len(found.lsn)}
    assert lengths | {len(c.values) for c in back.columns.values()} == lengths
    assert len(lengths) == 1
