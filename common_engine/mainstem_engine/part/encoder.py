"""Encodes the blocks of one column: one task of a thread.

A block of the DEVICE column that holds one device has no bytes: the block index has the device. Nor
has a block that is all null.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np

from mainstem_engine.encoding.auto import Choice
from mainstem_engine.encoding.column_encoder import ColumnEncoder
from mainstem_engine.encoding.pco import LEVEL_FAST
from mainstem_engine.encoding.registry import AUTO
from mainstem_engine.model import Column, ColumnType
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
_NOTHING = (0, 0, 0, 0, 0, 0)

_INDEX_DTYPES = (np.uint32, np.uint32, np.uint32, np.uint32, np.uint8, np.uint8)
"""In the order of the fields of ColumnIndex."""


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
    if column.values.dtype != plan.type.dtype:
        # What is written under a wrong type could never be read.
        raise ValueError(f"column {plan.key} is {column.values.dtype}, not {plan.type.name}")
    data: list[bytes] = []
    entries: list[tuple[int, int, int, int, int, int]] = []
    edges = [*starts.tolist(), len(column.values)]
    encoder = ColumnEncoder(
        plan.type,
        encoding=plan.encoding,
        compression=plan.compression,
        ordered=plan.key in _ORDERED_COLUMNS,
        level=plan.level,
        choice=plan.choice,
    )
    for first, last in itertools.pairwise(edges):
        bitmap, values, entry = _encode_block(plan.key, encoder, column.take(slice(first, last)))
        data.append(bitmap + values if bitmap else values)
        entries.append(entry)
    statistics = block_statistics(column, plan.type, starts) if plan.key >= 0 else None
    return EncodedBlocks(data, _index(entries), statistics), encoder.choice


def _encode_block(
    key: int, encoder: ColumnEncoder, block: Column
) -> tuple[bytes, bytes, tuple[int, int, int, int, int, int]]:
    values, bitmap, nulls = block.values, b"", 0
    if key == DEVICE_COLUMN and values[0] == values[-1]:
        return b"", b"", _NOTHING
    if block.valid is not None:
        nulls = len(values) - int(np.count_nonzero(block.valid))
        if nulls == len(values):
            return b"", b"", (0, 0, 0, nulls, 0, 0)
        if nulls:
            bitmap = np.packbits(block.valid, bitorder="little").tobytes()
            values = values[block.valid]
    encoded = encoder.encode(values)
    data = encoded.data
    crc = google_crc32c.extend(google_crc32c.value(bitmap), data)
    entry = (len(data), len(bitmap), crc, nulls, int(encoded.encoding), int(encoded.compression))
    return bitmap, data, entry


def null_blocks(rows: Sequence[int]) -> ColumnIndex:
    """The index of blocks of so many rows that are all null."""
    return _index([(0, 0, 0, count, 0, 0) for count in rows])


def _index(entries: list[tuple[int, int, int, int, int, int]]) -> ColumnIndex:
    fields = zip(*entries, strict=True)
    return ColumnIndex(
        *(np.array(values, dtype) for values, dtype in zip(fields, _INDEX_DTYPES, strict=True))
    )
