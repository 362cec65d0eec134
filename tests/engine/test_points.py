"""Payloads of PTS records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.columns import to_column
from mainstem_engine.errors import CorruptionError
from mainstem_engine.log.records import encode_payload
from mainstem_engine.model import Column, Rows
from mainstem_engine.points import decode_points, encode_points, points_header, split_points
from mainstem_engine.testing.strategies import templates, values


def joined(pieces: Any) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


@given(st.data(), templates(), st.integers(0, 20))
def test_rows_come_back(data: st.DataObject, template: Any, count: int) -> None:
    columns: dict[int, Column] = {}
    for m in template.measurements:
        cells = data.draw(
            st.lists(st.none() | values(m.type), min_size=count, max_size=count), label=m.name
        )
        columns[m.id] = to_column(m, cells, count, 1)
    rows = Rows(np.arange(count, dtype=np.uint32), np.arange(count, dtype=np.int64), columns)
    header = points_header("t", 3, count, accepted=count + 2)
    types = {m.id: m.type for m in template.measurements}
    points = decode_points(joined(encode_points({**header, "more": 1}, rows, types)))
    assert points.table == "t"
    assert not points.derived
    assert (points.header["mrg"], points.header["rev"], points.header["more"]) == (2, 3, 1)
    assert points.rows.device.tolist() == rows.device.tolist()
    assert points.rows.time.tolist() == rows.time.tolist()
    for key, column in columns.items():
        found = points.rows.columns[key]
        assert found.values.dtype == column.values.dtype
        keep = slice(None) if column.valid is None else column.valid
        if column.values.dtype == object:
            assert found.values[keep].tolist() == column.values[keep].tolist()
        else:
            assert found.values[keep].tobytes() == column.values[keep].tobytes()
        if column.valid is not None:
            assert found.valid is not None
            assert found.valid.tolist() == column.valid.tolist()


def payload(**changes: Any) -> bytes:
    header = {"t": "t", "n": 2, "cols": [[0, 12, False, 1]], **changes.pop("header", {})}
    buffers: list[Any] = [
        np.zeros(2, np.uint32),
        np.zeros(2, np.int64),
        np.zeros(2, np.uint32),
        np.array([0, 1], np.uint32),
        b"x",
    ]
    for index, buffer in changes.items():
        buffers[int(index[1:])] = buffer
    return joined(encode_payload(header, buffers))


@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"n": 3}},
        {"header": {"n": -1}},
        {"header": {"n": "x"}},
        {"header": {"cols": [[0, 99, False, 1]]}},
        {"header": {"cols": [[0, 12, False, 0]]}},
        {"header": {"cols": [[0, 11, False, 1]]}},
        {"header": {"cols": [[0, 12, True, 1]]}},
        {"header": {"cols": []}},
        {"header": {"cols": [[0]]}},
        {"_2": np.array([0, 1], np.uint32)},
        {"_3": np.array([0, 2], np.uint32)},
        {"_3": np.array([1, 1], np.uint32)},
        {"_3": np.array([0, 5, 1], np.uint32)},
        {"_4": b"\xff"},
        {"_0": np.zeros(3, np.uint32)},
    ],
)
def test_payloads_of_others_are_checked(changes: dict[str, Any]) -> None:
    assert decode_points(payload()).rows.columns[0].values.tolist() == ["x", "x"]
    with pytest.raises(CorruptionError):
        decode_points(payload(**changes))


@given(st.integers(1, 50), st.integers(1, 12), st.integers(0, 5), st.booleans())
def test_pieces_add_up_and_each_is_consistent(
    count: int, pieces: int, merged: int, derived: bool
) -> None:
    rows = Rows(np.arange(count, dtype=np.uint32), np.arange(count, dtype=np.int64))
    accepted = 0 if derived else count + merged
    header = {**points_header("t", 1, count, accepted=accepted, derived=derived), "asof": 7}
    intake = {"received": accepted + 3, "filtered": 2, "quarantined": 1, "refused": 0, "late": 4}
    split = split_points({**header, "in": intake}, rows, pieces)
    assert 1 <= len(split) <= pieces
    assert np.concatenate([piece.time for _, piece in split]).tolist() == rows.time.tolist()
    for name in ("n", "acc", "mrg"):
        assert sum(fields[name] for fields, _ in split) == header[name]
    for name, value in intake.items():
        assert sum(fields["in"][name] for fields, _ in split) == value
    for fields, piece in split:
        assert fields["n"] == len(piece)
        assert fields["asof"] == 7
        if not derived:
            assert fields["acc"] - fields["mrg"] == fields["n"]
        put_aside = fields["in"]["filtered"] + fields["in"]["quarantined"]
        assert fields["in"]["received"] == fields["acc"] + put_aside
