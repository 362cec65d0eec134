"""Pieces of a head: every row once, in order of device and time, however rows arrived."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import head as head_module
from mainstem_engine.columns import conform_rows
from mainstem_engine.deferred import join_deferred
from mainstem_engine.deletes import NONE, Tombstone, Tombstones
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


KINDS = {0: ColumnType.INT64, 1: ColumnType.DOUBLE, 2: ColumnType.TEXT}


@st.composite
def heads(draw: st.DrawFn) -> list[Chunk]:
    """Chunks of several origins with repeated keys, late rows, nulls, and columns that come late or
    were narrower once."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    head = Head()
    for lsn in range(1, draw(st.integers(2, 9))):
        count = int(rng.integers(1, 40))
        device = rng.integers(0, draw(st.sampled_from([1, 6, 90_000])), count).astype(np.uint32)
        time = rng.integers(0, 15, count)
        narrow = draw(st.booleans())
        columns = {0: Column(rng.integers(0, 99, count).astype(np.int32 if narrow else np.int64))}
        if draw(st.booleans()):
            columns[1] = Column(rng.normal(size=count), rng.random(count) < 0.6)
        if draw(st.booleans()):
            columns[2] = Column(np.array(["on", "off", "ä"], object)[rng.integers(0, 3, count)])
        lsns = rng.integers(1, 20, count).astype(np.uint64)
        head.append("t", Rows(device, time, columns), draw(st.integers(0, 2)), lsns, None, lsn)
        if draw(st.booleans()):
            head.tables["t"].seal()
    head.tables["t"].seal()
    return head.tables["t"].chunks


def plain(rows: VersionedRows) -> list[tuple[Any, ...]]:
    """Rows as Python values, None for a null."""
    columns = []
    for key in sorted(KINDS):
        column = rows.columns.get(key)
        if column is None:
            columns.append([None] * len(rows))
            continue
        valid = np.ones(len(rows), np.bool_) if column.valid is None else column.valid
        assert column.values.dtype == KINDS[key].dtype
        columns.append([v if ok else None for v, ok in zip(column.values, valid, strict=True)])
    keys = (rows.device, rows.time, rows.origin, rows.lsn)
    return list(zip(*(key.tolist() for key in keys), *columns, strict=True))


@settings(max_examples=60, deadline=None)
@given(heads(), st.sampled_from([1, 7, 50]), st.integers(1, 30), st.booleans())
def test_gathered_columns_are_those_of_joined_and_sorted_rows(
    chunks: list[Chunk], piece_rows: int, cut: int, deleted: bool
) -> None:
    """The definition: rows of all chunks, joined, what is deleted left out, sorted for a part."""
    gone = Tombstone(5, 0, 9, 3, np.array([2, 4], np.uint32), 3, 9, rows=None)
    tombstones = Tombstones([gone]) if deleted else NONE
    kept = [tombstones.erase(chunk.all_rows(), chunk.applied) for chunk in chunks]
    whole = part_sorted(concat_rows([conform_rows(rows, KINDS) for rows in kept if len(rows)]))
    pieces = [piece.sorted_rows(tombstones, KINDS) for piece in pieces_of(chunks, piece_rows)]
    assert plain(concat_rows(pieces)) == plain(whole)
    # As a part's writer joins them: what it held back, and a piece.
    held = [piece.sorted_rows(tombstones, KINDS) for piece in pieces_of(chunks, piece_rows)]
    found: list[tuple[Any, ...]] = []
    rest: list[VersionedRows] = []
    for piece in held:
        joined = join_deferred([*rest, piece])
        found += plain(joined.take(slice(0, cut)))
        rest = [joined.take(slice(cut, None))]
    assert found + plain(rest[0]) == plain(whole)
