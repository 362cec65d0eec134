"""Pieces of a head: every row once, in order of device and time, however rows arrived."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mainstem_engine import head as head_module
from mainstem_engine.deletes import NONE
from mainstem_engine.head import Chunk, Head
from mainstem_engine.merge import concat_rows, part_sorted
from mainstem_engine.model import Column, ColumnType, Rows, VersionedRows
from mainstem_engine.pieces import pieces_of

TYPES = {0: ColumnType.INT64}


def chunks_of(batches: list[tuple[Any, Any]]) -> list[Chunk]:
    """Sealed chunks with the rows of ``batches``, values numbered in order of arrival."""
    head = Head()
    number = 0
    for lsn, (device, time) in enumerate(batches, 1):
        values = np.arange(number, number + len(time), dtype=np.int64)
        number += len(time)
        rows = Rows(np.array(device, np.uint32), np.array(time, np.int64), {0: Column(values)})
        head.append("t", rows, 0, lsn, None, lsn)
    head.tables["t"].seal()
    return head.tables["t"].chunks


def listed(rows: VersionedRows) -> list[tuple[int, int, int, int]]:
    return list(
        zip(
            rows.device.tolist(),
            rows.time.tolist(),
            rows.lsn.tolist(),
            rows.columns[0].values.tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("piece_rows", [1, 7, 50, 10_000])
@pytest.mark.parametrize("large", [10, 1 << 13])
def test_all_pieces_together_are_the_head(
    monkeypatch: pytest.MonkeyPatch, piece_rows: int, large: int
) -> None:
    monkeypatch.setattr(head_module, "LARGE_BATCH_ROWS", large)
    monkeypatch.setattr(head_module, "CHUNK_ROWS", 64)
    rng = np.random.default_rng(piece_rows)
    batches = []
    for _ in range(30):
        count = int(rng.integers(1, 40))
        device = rng.choice([0, 3, 4, 70_000, 2**32 - 2], count, p=[0.6, 0.2, 0.1, 0.05, 0.05])
        batches.append((np.sort(device), rng.integers(-20, 20, count)))
    chunks = chunks_of(batches)
    whole = part_sorted(concat_rows([chunk.all_rows() for chunk in chunks]))
    pieces = [part_sorted(piece.rows(NONE, TYPES)) for piece in pieces_of(chunks, piece_rows)]
    assert listed(concat_rows(pieces)) == listed(whole)
    for before, after in itertools.pairwise(pieces):
        assert (before.device[-1], before.time[-1]) < (after.device[0], after.time[0])


def test_pieces_are_small() -> None:
    rng = np.random.default_rng(2)
    device = np.sort(rng.choice(200, 20_000))
    device[:9000] = 0  # a device with many rows, of many times
    chunks = chunks_of([(np.sort(device), np.arange(20_000)), (np.sort(device), np.arange(20_000))])
    sizes = [len(piece.keys()) for piece in pieces_of(chunks, 1000)]
    assert sum(sizes) == 40_000
    assert max(sizes) <= 2000


def test_rows_of_one_time_stay_together() -> None:
    chunks = chunks_of([([5] * 50, [7] * 50) for _ in range(20)])
    assert [len(piece.keys()) for piece in pieces_of(chunks, 100)] == [1000]


def test_keys_are_the_rows_without_columns() -> None:
    chunks = chunks_of([([1, 2], [5, 6]), ([1], [4])])
    (piece,) = pieces_of(chunks, 100)
    keys = piece.keys()
    assert keys.columns == {}
    assert sorted(zip(keys.device.tolist(), keys.time.tolist(), strict=True)) == [
        (1, 4),
        (1, 5),
        (2, 6),
    ]
