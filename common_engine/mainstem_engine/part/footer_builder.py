"""Collects what a part's footer says, block by block, while the part is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mainstem_engine.model import ColumnType
from mainstem_engine.part.block_statistics import empty_statistics
from mainstem_engine.part.encoder import null_blocks
from mainstem_engine.part.layout import (
    BlockIndex,
    EncodedBlocks,
    PartFooter,
    joined,
)

PIECES_MAX = 64
"""So many pieces become one: a part of many copied blocks has no small arrays for each of them."""

_Piece = tuple[BlockIndex, dict[int, EncodedBlocks]]


class FooterBuilder:
    """See the module. Pieces come in the order of their blocks."""

    def __init__(self) -> None:
        self._joined: list[_Piece] = []
        self._recent: list[_Piece] = []
        self.types: dict[int, ColumnType] = {}
        """Of every column that was noted."""

    def note(
        self,
        blocks: BlockIndex,
        columns: Mapping[int, EncodedBlocks],
        types: Mapping[int, ColumnType],
    ) -> None:
        """Takes in the entries of some blocks; ``types`` of at least ``columns``."""
        self.types.update((key, types[key]) for key in columns)
        noted = {key: replace(encoded, data=[]) for key, encoded in columns.items()}
        self._recent.append((blocks, noted))
        if len(self._recent) >= PIECES_MAX:
            self._joined.append(self._join(self._recent))
            self._recent = []

    def footer(self, table: str, partition_start_ns: int, keys: Sequence[int]) -> PartFooter:
        """Of everything that was noted; columns in the order of ``keys``."""
        blocks, columns = self._join([*self._joined, *self._recent])
        return PartFooter(
            table,
            partition_start_ns,
            blocks,
            {key: self.types[key] for key in keys},
            {key: columns[key].index for key in keys},
            {key: found for key in keys if (found := columns[key].statistics) is not None},
        )

    def _join(self, pieces: Sequence[_Piece]) -> _Piece:
        columns: dict[int, EncodedBlocks] = {}
        for key in self.types:
            found = [self._of(key, piece) for piece in pieces]
            statistics = [each.statistics for each in found if each.statistics is not None]
            columns[key] = EncodedBlocks(
                [],
                joined([each.index for each in found]),
                joined(statistics) if statistics else None,
            )
        return joined([blocks for blocks, _ in pieces]), columns

    def _of(self, key: int, piece: _Piece) -> EncodedBlocks:
        """A column of a piece; one that it lacks is nothing but nulls."""
        blocks, columns = piece
        found = columns.get(key)
        if found is not None:
            return found
        nothing = empty_statistics(self.types[key], len(blocks)) if key >= 0 else None
        return EncodedBlocks([], null_blocks(blocks.rows), nothing)
