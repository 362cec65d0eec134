"""Filters of values: rows that pass, and what statistics say of whole blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import write_part
from mainstem_engine.value_filter import OPERATORS, ValueFilter, kept_rows

NUMBERS = [-2.0, -0.0, 0.0, 0.5, 1.0, 2.0, float("inf"), float("nan")]


def key(value: float) -> tuple[bool, float]:
    """The order of SQL: NaN is the greatest."""
    return value != value, 0.0 if value != value else value


def passes(value: float | None, operator: str, number: float) -> bool:
    if value is None:
        return False
    left, right = key(value), key(number)
    return {
        "=": left == right, "<>": left != right, "<": left < right,
        "<=": left <= right, ">": left > right, ">=": left >= right,
    }[operator]  # fmt: skip


def rows_of(columns: dict[int, Column], device: np.ndarray) -> VersionedRows:
    count = len(device)
    zeros = np.zeros(count, np.uint16)
    return VersionedRows(
        device, np.arange(count, dtype=np.int64), zeros, zeros.astype(np.uint64), columns
    )


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("number", [-2, 0, 0.5, 2.0])
def test_rows_that_pass(operator: str, number: float) -> None:
    values = np.array(NUMBERS)
    valid = np.arange(len(values)) % 3 != 1
    rows = rows_of({4: Column(values, valid)}, np.zeros(len(values), np.uint32))
    wanted = ValueFilter(4, ColumnType.DOUBLE, operator, number)
    expected = [
        bool(there) and passes(value, operator, number)
        for value, there in zip(NUMBERS, valid, strict=True)
    ]
    assert wanted.keeps(rows).tolist() == expected
    assert len(kept_rows(rows, [wanted])) == sum(expected)
    assert kept_rows(rows, []) is rows
    absent = ValueFilter(5, ColumnType.DOUBLE, operator, number)
    assert not absent.keeps(rows).any()
    assert len(kept_rows(rows, [wanted, absent])) == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    blocks=st.lists(
        st.lists(st.one_of(st.none(), st.sampled_from(NUMBERS)), min_size=1, max_size=4),
        min_size=1, max_size=6,
    ),
    operator=st.sampled_from(OPERATORS),
    number=st.sampled_from([-2.0, 0.0, 0.5, 1.0, 2.0]),
    kind=st.sampled_from([ColumnType.DOUBLE, ColumnType.FLOAT, ColumnType.INT8]),
)  # fmt: skip
def test_what_statistics_say_is_true(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[float | None]],
    operator: str,
    number: float,
    kind: ColumnType,
) -> None:
    if kind == ColumnType.INT8:
        number = int(number)
        blocks = [
            [None if v is None or not np.isfinite(v) else int(v) for v in block] for block in blocks
        ]
    # Blocks of one row count each, so that every device has its own.
    size = max(map(len, blocks))
    cells = [value for block in blocks for value in (block * size)[:size]]
    device = np.repeat(np.arange(len(blocks), dtype=np.uint32), size)
    valid = np.array([value is not None for value in cells])
    values = np.array([0 if value is None else value for value in cells], kind.dtype)
    directory: Path = tmp_path_factory.mktemp("filter")
    fs = Filesystem()
    meta = write_part(
        fs, directory, "p", table="t", partition_start_ns=0, block_rows=size,
        rows=rows_of({3: Column(values, valid)}, device),
        measurements={3: Measurement(3, "m", kind)},
    )  # fmt: skip
    part = Part.open(fs, directory, meta)
    numbers = np.arange(len(part.blocks))
    wanted = ValueFilter(3, kind, operator, number)
    whole, none = wanted.of_blocks(part, numbers)
    for block in numbers.tolist():
        mask = wanted.keeps(part.read([block], [3]))
        assert mask.all() or not whole[block]
        assert not mask.any() or not none[block]
        clean = all(v is None or v == v for v in cells[block * size : (block + 1) * size])
        if operator in ("<", "<=", ">", ">=") and clean and mask.all():
            assert whole[block]
    whole, none = ValueFilter(9, kind, operator, number).of_blocks(part, numbers)
    assert none.all()
    assert not whole.any()
    part.close()
