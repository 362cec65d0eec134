"""Records joined without decoding each: the same rows as decoding each and joining those."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import decode_payload
from mainstem_engine.model import BoolMask, Column, ColumnType, Rows
from mainstem_engine.points import decode_points, encode_points, points_header
from mainstem_engine.stacked_points import OpenRecord, stacked_rows

_VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.DOUBLE: st.floats(width=64, allow_nan=False),
    ColumnType.INT8: st.integers(-128, 127),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.TEXT: st.text(max_size=4),
}


def _record(rows: Rows, types: dict[int, ColumnType]) -> bytes:
    header = points_header("meters", 1, len(rows), accepted=len(rows))
    return b"".join(map(byte_view, encode_points(header, rows, types)))


def _open(payload: bytes) -> OpenRecord:
    return decode_payload(payload)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_are_those_of_the_records_in_order(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(_VALUES)), max_size=3))
    types = dict(enumerate(kinds))
    payloads = []
    for _ in range(data.draw(st.integers(1, 5))):
        count = data.draw(st.integers(1, 9))

        def draw(values: st.SearchStrategy[Any], count: int = count) -> list[Any]:
            return data.draw(st.lists(values, min_size=count, max_size=count))

        rows = Rows(
            np.array(draw(st.integers(0, 9)), np.uint32), np.array(draw(st.integers(0, 99)))
        )
        for key, kind in types.items():
            valid: BoolMask | None = None
            if data.draw(st.booleans()):
                valid = np.array(draw(st.booleans()), np.bool_)
            rows.columns[key] = Column(np.array(draw(_VALUES[kind]), kind.dtype), valid)
        payloads.append(_record(rows, types))
    found = stacked_rows([_open(payload) for payload in payloads])
    assert _plain([found]) == _plain([decode_points(payload).rows for payload in payloads])


def _plain(pieces: list[Rows]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for rows in pieces:
        columns = [
            [
                value if ok else None
                for value, ok in zip(
                    column.values.tolist(),
                    [True] * len(rows) if column.valid is None else column.valid.tolist(),
                    strict=True,
                )
            ]
            for column in rows.columns.values()
        ]
        found += zip(rows.device.tolist(), rows.time.tolist(), *columns, strict=True)
    return found


def test_records_of_other_columns_or_lengths_are_refused() -> None:
    rows = Rows(np.zeros(2, np.uint32), np.arange(2), {0: Column(np.zeros(2))})
    other = Rows(rows.device, rows.time, {1: Column(np.zeros(2))})
    one = _open(_record(rows, {0: ColumnType.DOUBLE}))
    with pytest.raises(CorruptionError):
        stacked_rows([one, _open(_record(other, {1: ColumnType.DOUBLE}))])
    with pytest.raises(CorruptionError):
        stacked_rows([(one[0], [*one[1], one[1][0]])])
    with pytest.raises(CorruptionError):
        stacked_rows([(one[0], [one[1][0], one[1][1], one[1][2][:8]])])
