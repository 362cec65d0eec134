"""Encodes the blocks of one column: one task of a thread.

A block of the DEVICE column that holds one device has no bytes: the block index has the device. Nor
has a block that is all null.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import google_crc32c
import numpy as np
import numpy.typing as npt

from mainstem_engine.encoding.auto import Choice
from mainstem_engine.encoding.column_encoder import ColumnEncoder, EncodedColumn
from mainstem_engine.encoding.interface import Compression, EncodingNumber
from mainstem_engine.encoding.pco import LEVEL_FAST
from mainstem_engine.encoding.registry import AUTO
from mainstem_engine.model import AnyArray, Column, ColumnType
from mainstem_engine.part.block_statistics import block_statistics
from mainstem_engine.part.blocks import Starts
from mainstem_engine.part.layout import (
    DEVICE_COLUMN,
    LSN_COLUMN,
    TIME_COLUMN,
    ColumnIndex,
    EncodedBlocks,
)

_ORDERED_COLUMNS = (TIME_COLUMN, LSN_COLUMN)
_NOTHING = EncodedColumn(EncodingNumber.UNKNOWN, Compression.UNCOMPRESSED, b"")


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """How a column is encoded: its id, type, what its template names, the level of pcodec, and
    what suited earlier blocks."""

    key: int
    type: ColumnType
    encoding: str = AUTO
    compression: str = AUTO
    level: int = LEVEL_FAST
    choice: Choice | None = None


def encode_blocks(
    plan: ColumnPlan, column: Column, starts: Starts
) -> tuple[EncodedBlocks, Choice | None]:
    """Encodes the blocks that begin at the rows ``starts`` of ``column``; the last ends with it.

    Also what suited them, for the blocks that follow. ValueError for values of another type.
    """
    values, edges, blocks, choice = _encoded(plan, column, starts)
    if plan.key < 0:
        return blocks, choice
    return replace(blocks, statistics=block_statistics(values, edges, plan.type)), choice


def encode_values(
    plan: ColumnPlan, column: Column, starts: Starts
) -> tuple[EncodedBlocks, Choice | None]:
    """As encode_blocks(), for blocks that go into no part: without their statistics."""
    _, _, blocks, choice = _encoded(plan, column, starts)
    return blocks, choice


def _encoded(
    plan: ColumnPlan, column: Column, starts: Starts
) -> tuple[AnyArray, Starts, EncodedBlocks, Choice | None]:
    """(values that are not null, where those of each block begin, the blocks, what suited them)."""
    if column.values.dtype != plan.type.dtype:
        # What is written under a wrong type could never be read.
        raise ValueError(f"column {plan.key} is {column.values.dtype}, not {plan.type.name}")
    rows, values, edges, bitmaps = _without_nulls(column, starts)
    count = edges[1:] - edges[:-1]
    encoder = ColumnEncoder(
        plan.type,
        encoding=plan.encoding,
        compression=plan.compression,
        ordered=plan.key in _ORDERED_COLUMNS,
        level=plan.level,
        choice=plan.choice,
    )
    if plan.key == DEVICE_COLUMN:
        written = values[edges[:-1]] != values[edges[1:] - 1]
    else:
        written = count > 0
    found = [_NOTHING] * len(starts)
    if written.any():
        found = encoder.encode_blocks(values, edges)
        for number in (~written).nonzero()[0].tolist():
            found[number] = _NOTHING
    encodings, compressions, data = map(list, zip(*found, strict=True))
    sizes = np.array([len(encoded) for encoded in data], np.uint32)
    bitmap_sizes = np.zeros(len(starts), np.uint32)
    if bitmaps:
        bitmap_sizes[:] = [len(bitmap) for bitmap in bitmaps]
        data = [bitmap + encoded for bitmap, encoded in zip(bitmaps, data, strict=True)]
    index = ColumnIndex(
        sizes,
        bitmap_sizes,
        np.array([google_crc32c.value(stored) for stored in data], np.uint32),
        (rows - count).astype(np.uint32),
        np.array(encodings, np.uint8),
        np.array(compressions, np.uint8),
    )
    return values, edges, EncodedBlocks(data, index, None), encoder.choice


def _without_nulls(column: Column, starts: Starts) -> tuple[Starts, AnyArray, Starts, list[bytes]]:
    """(rows of each block, values that are not null, where those of each block begin and the last
    end, the bitmap of each block: b"" without nulls or without a value). No bitmaps where nothing
    is null."""
    edges = np.concatenate((starts, (len(column.values),)))
    rows = edges[1:] - edges[:-1]
    valid = column.valid
    if valid is None or valid.all():
        return rows, column.values, edges, []
    count = np.add.reduceat(valid, starts, dtype=np.int64)
    mixed = (count > 0) & (count < rows)
    bitmaps = [
        np.packbits(valid[first:last], bitorder="little").tobytes() if some else b""
        for some, (first, last) in zip(
            mixed.tolist(), itertools.pairwise(edges.tolist()), strict=True
        )
    ]
    return rows, column.values[valid], np.concatenate([[0], np.cumsum(count)]), bitmaps


def null_blocks(rows: npt.NDArray[np.uint32]) -> ColumnIndex:
    """The index of blocks of so many rows that are all null."""
    none, nothing = _zeros(len(rows)), np.zeros(len(rows), np.uint8)
    return ColumnIndex(none, none, none, rows, nothing, nothing)


def _zeros(count: int) -> npt.NDArray[np.uint32]:
    return np.zeros(count, np.uint32)
