"""Typed columns: what fits is kept exactly, what does not is named and null."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.payload_time import TimeReader
from mainstem_edge.values import number_of, typed_column
from mainstem_engine.model import Column, ColumnType

TIMES = TimeReader()
ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3)
    | st.just([1]) | st.just({})
)  # fmt: skip


def typed(raw: list[Any], kind: ColumnType, **options: Any) -> tuple[list[Any], list[int]]:
    """(values with None for null, misfits)."""
    column, misfits = typed_column(raw, kind, TIMES, **options)
    assert column.values.dtype == kind.dtype
    return shown(column), misfits


def shown(column: Column) -> list[Any]:
    values = list(column.values.tolist())
    if column.valid is None:
        return values
    return [v if ok else None for v, ok in zip(values, column.valid, strict=True)]


@pytest.mark.parametrize(
    ("kind", "raw", "kept", "misfits"),
    [
        (ColumnType.DOUBLE, [1.5, 2, None], [1.5, 2.0, None], []),
        (ColumnType.DOUBLE, [1.5, "2", True, [1]], [1.5, None, None, None], [1, 2, 3]),
        (
            ColumnType.DOUBLE,
            [float("nan"), float("inf"), 10**400, 1],
            [None] * 3 + [1.0],
            [0, 1, 2],
        ),
        (ColumnType.FLOAT, [0.5, 1e39, 3.4028235677973366e38], [0.5, None, None], [1, 2]),
        (ColumnType.INT32, [1, 2.0, 2.5, 2**40, None], [1, 2, None, None, None], [2, 3]),
        (ColumnType.INT64, [2**63 - 1, 2**63, "1"], [2**63 - 1, None, None], [1, 2]),
        (ColumnType.UINT64, [2**64 - 1, -1], [2**64 - 1, None], [1]),
        (ColumnType.UINT8, [255, 256], [255, None], [1]),
        (ColumnType.BOOLEAN, [True, 0, 1.0, 2, "true"], [True, False, True, None, None], [3, 4]),
        (ColumnType.TEXT, ["a", None, 5], ["a", None, None], [2]),
        (ColumnType.BLOB, ["aGk=", "?", 5], [b"hi", None, None], [1, 2]),
    ],
)
def test_what_each_type_takes(
    kind: ColumnType, raw: list[Any], kept: list[Any], misfits: list[int]
) -> None:
    assert typed(raw, kind) == (kept, misfits)


def test_float_rounds_once_to_the_nearest() -> None:
    value = 0.1
    assert typed([value], ColumnType.FLOAT)[0] == [struct.unpack("<f", struct.pack("<f", value))[0]]


def test_columns_known_to_be_floats_are_taken_as_they_are() -> None:
    assert typed([1.5, -0.0], ColumnType.DOUBLE, floats=True) == ([1.5, -0.0], [])
    assert typed([None, 1.5, 0.0], ColumnType.DOUBLE, floats=True) == ([None, 1.5, 0.0], [])
    assert typed([1e39, None], ColumnType.FLOAT, floats=True) == ([None, None], [0])


def test_timestamps_are_read_like_times() -> None:
    kept, misfits = typed([1_790_000_000_000, "2026-10-03T06:00:00Z", "?", None],
                          ColumnType.TIMESTAMP)  # fmt: skip
    assert kept == [1_790_000_000_000_000_000, 1_791_007_200_000_000_000, None, None]
    assert misfits == [2]


def test_text_cells_are_read_as_the_type_says() -> None:
    assert typed(["1", "2.5", "x", None, "1_0"], ColumnType.DOUBLE, textual=True) == (
        [1.0, 2.5, None, None, None], [2, 4],
    )  # fmt: skip
    assert typed(["1", "TRUE", "no"], ColumnType.BOOLEAN, textual=True)[0] == [True, True, None]
    assert typed(["1"], ColumnType.TEXT, textual=True)[0] == ["1"]
    assert number_of("-1e3") == -1000.0


@pytest.mark.parametrize("kind", [k for k in ColumnType if k not in (0, ColumnType.TIMESTAMP)])
@given(raw=st.lists(ANYTHING, max_size=8))
def test_each_value_is_kept_equal_or_named(kind: ColumnType, raw: list[Any]) -> None:
    kept, misfits = typed(raw, kind)
    assert len(kept) == len(raw)
    for row, (before, after) in enumerate(zip(raw, kept, strict=True)):
        assert (row in misfits) == (before is not None and after is None)
        if after is None:
            continue
        if kind == ColumnType.FLOAT:
            assert np.float32(before) == np.float32(after)
        elif kind == ColumnType.DOUBLE:
            assert float(before).hex() == after.hex()
        elif kind != ColumnType.BLOB:
            assert before == after
