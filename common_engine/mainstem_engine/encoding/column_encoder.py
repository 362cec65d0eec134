"""Encodes the blocks of one column, and remembers what suited the last.

1. Equal values are CONSTANT and a handful of numbers is PLAIN, whatever is named.
2. What the template names is used where it can hold the type; AUTO, and any other name, tries.
3. A trial (auto.py) costs as much as several blocks, so its choice is kept until the bytes that a
   value takes leave the range in which it is still likely to be the best, or DECIMAL does not hold
   a block. A trial that finds the same again widens that range.
4. A compression that is named follows any encoding; AUTO is ZSTD after all but PCO, DECIMAL and
   LINEAR. Either is kept only where it makes the bytes fewer.
5. Times and LSNs (``ordered``): LINEAR if they are, few runs as RLE, else PCO by differences.

What can be seen, or made, for many blocks in one pass over the column is: which blocks are constant
(block_shapes.py), where runs begin, the whole numbers of DECIMAL. A block itself costs one call of
its encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mainstem_engine.encoding.auto import VALUES_MIN, Choice, choose, choose_pco
from mainstem_engine.encoding.block_shapes import (
    Edges,
    Positions,
    changes,
    constant_blocks,
    runs_of_blocks,
    straight_blocks,
)
from mainstem_engine.encoding.compression import COMPRESS_BYTES_MIN, compress
from mainstem_engine.encoding.constant import Constant
from mainstem_engine.encoding.decimal import (
    EXCEPTIONS_SHARE,
    Decimal,
    WholeNumbers,
    whole_numbers,
)
from mainstem_engine.encoding.interface import Compression, Encoding, EncodingNumber
from mainstem_engine.encoding.linear import Linear
from mainstem_engine.encoding.pco import LEVEL_FAST, Pco, PcoConfig
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.encoding.registry import AUTO, NAMED
from mainstem_engine.encoding.run_length import RunLength
from mainstem_engine.model import AnyArray, ColumnType

GROWTH_MAX = 1.25
SHRINK_MAX = 0.6
"""A block whose values take more, or less, of what they took in trials asks for another."""
FRAME_BYTES = 32
"""What a block takes beside its values; short blocks do not ask for a trial for that."""
TRIAL_BLOCKS_MIN = 4
"""Blocks between two trials, so that a column that changes all the time is not tried for each."""
ORDERED_RUNS_MAX = 8
"""Runs of equal LSNs up to which their lengths are as small as PCO, and far cheaper."""

_CONSTANT, _LINEAR, _PCO, _PLAIN, _RLE = Constant(), Linear(), Pco(), Plain(), RunLength()
_DECIMAL = Decimal()


class EncodedColumn(NamedTuple):
    """Bytes of the values of one column, and the two numbers that are needed to read them."""

    encoding: EncodingNumber
    compression: Compression
    data: bytes


class _Column:
    """The values of some blocks, and what was found out about all of them at once."""

    __slots__ = ("_coder", "_runs", "_whole", "edges", "places", "values")

    def __init__(self, values: AnyArray, edges: Edges) -> None:
        self.values = values
        self.edges = edges
        self.places: list[int] = edges.tolist()
        self._coder: tuple[PcoConfig | None, Callable[[AnyArray], bytes]] | None = None
        self._runs: tuple[Positions, list[int]] | None = None
        self._whole: dict[int, WholeNumbers | None] = {}

    def block(self, number: int) -> AnyArray:
        return self.values[self.places[number] : self.places[number + 1]]

    def span(self, number: int) -> slice:
        return slice(self.places[number], self.places[number + 1])

    def run_starts(self, number: int) -> Positions:
        """First rows of the runs of a block, counted from its first row."""
        if self._runs is None:
            starts, places = runs_of_blocks(changes(self.values), self.edges)
            self._runs = starts, places.tolist()
        starts, bounds = self._runs
        return starts[bounds[number] : bounds[number + 1]] - self.places[number]

    def coder(self, config: PcoConfig | None) -> Callable[[AnyArray], bytes]:
        """Packs whole numbers."""
        if self._coder is None or self._coder[0] is not config:
            self._coder = config, _PCO.coder(config or PcoConfig())
        return self._coder[1]

    def whole(self, decimals: int) -> WholeNumbers | None:
        if decimals not in self._whole:
            self._whole[decimals] = whole_numbers(self.values, decimals)
        return self._whole[decimals]


class ColumnEncoder:
    """See the module. ``encoding``, ``compression``: as a template names them. ``choice``: what
    suited earlier blocks. ``level``: of pcodec. For one thread at a time."""

    def __init__(
        self,
        column_type: ColumnType,
        *,
        encoding: str = AUTO,
        compression: str = AUTO,
        ordered: bool = False,
        level: int = LEVEL_FAST,
        choice: Choice | None = None,
    ) -> None:
        self._type = column_type
        self._named = NAMED.get(encoding)
        if self._named is not None and not self._named.supports(column_type):
            self._named = None
        named = compression in Compression.__members__
        self._using = Compression[compression] if named else None
        self._ordered = ordered
        self._level = level
        self._blocks_since_trial = TRIAL_BLOCKS_MIN
        self.choice = choice
        """What suits the column, as far as is known."""

    def encode(self, values: AnyArray) -> EncodedColumn:
        """Encodes one block of values that are not null."""
        return self.encode_blocks(values, np.array([0, len(values)]))[0]

    def encode_blocks(self, values: AnyArray, edges: Edges) -> list[EncodedColumn]:
        """Encodes values[edges[i]:edges[i + 1]], none of them null, for each i."""
        column = _Column(values, edges)
        constant = constant_blocks(values, edges).tolist()
        straight = straight_blocks(values, edges).tolist() if self._ordered else constant
        others = None if self._named is None or self._named.number == _PCO.number else self._named
        found: list[EncodedColumn] = []
        for number, same in enumerate(constant):
            first, last = column.places[number], column.places[number + 1]
            if same:
                one = values[first : min(first + 1, last)]
                found.append(self._compressed(_CONSTANT, _CONSTANT.encode(one, self._type)))
            elif last - first < VALUES_MIN and not self._type.is_variable:
                block = values[first:last]
                found.append(self._compressed(_PLAIN, _PLAIN.encode(block, self._type)))
            elif self._ordered:
                found.append(self._encode_ordered(column, number, straight[number]))
            elif others is not None:
                found.append(
                    self._compressed(others, others.encode(values[first:last], self._type))
                )
            else:
                found.append(self._encode_chosen(column, number, values[first:last]))
        return found

    def _encode_ordered(self, column: _Column, number: int, straight: bool) -> EncodedColumn:
        values = column.block(number)
        if straight:
            data = _LINEAR.encode_step(values)
            return EncodedColumn(_LINEAR.number, Compression.UNCOMPRESSED, data)
        if values[0] == values[1]:
            starts = column.run_starts(number)
            if len(starts) <= ORDERED_RUNS_MAX:
                data = _RLE.encode_runs(values, starts, self._type)
                return EncodedColumn(_RLE.number, Compression.UNCOMPRESSED, data)
        config = PcoConfig(self._level, delta=1, base=0.0)
        data = _PCO.encode_as(values, self._type, config)
        return EncodedColumn(_PCO.number, Compression.UNCOMPRESSED, data)

    def _encode_chosen(self, column: _Column, number: int, values: AnyArray) -> EncodedColumn:
        choice = self.choice
        if choice is None or choice.stale:
            choice = self._try(values)
        encoding = choice.encoding
        if encoding.number is EncodingNumber.DECIMAL:
            encoded = self._encode_decimal(choice, column, number, values)
        elif choice.config is not None:
            encoded = self._compressed(_PCO, _PCO.encode_as(values, self._type, choice.config))
        elif encoding.number is EncodingNumber.RLE:
            starts = column.run_starts(number)
            encoded = self._compressed(_RLE, _RLE.encode_runs(values, starts, self._type))
        else:
            encoded = self._compressed(encoding, encoding.encode(values, self._type))
        self._blocks_since_trial += 1
        if self._blocks_since_trial > TRIAL_BLOCKS_MIN:
            size = len(encoded.data) / len(values)
            missed = encoded.encoding is not encoding.number
            if missed or _is_unusual(choice, size, len(values)):
                # Not this block, which may be the odd one, but the next one says what suits.
                self.choice = replace(choice.widened(size), stale=True)
        return encoded

    def _encode_decimal(
        self, choice: Choice, column: _Column, number: int, values: AnyArray
    ) -> EncodedColumn:
        """A block as DECIMAL; as PCO if that does not hold it."""
        whole = column.whole(choice.decimals)
        span = column.span(number)
        if whole is None or (
            len(whole.exceptions) and _exceptions(whole, span) * EXCEPTIONS_SHARE > len(values)
        ):
            data = _PCO.encode_as(values, self._type, PcoConfig(self._level))
            return self._compressed(_PCO, data)
        packed = column.coder(choice.config)(whole.numbers[span])
        data = _DECIMAL.encode_packed(whole, column.values, span, self._type, packed)
        return self._compressed(_DECIMAL, data)

    def _try(self, values: AnyArray) -> Choice:
        self._blocks_since_trial = 0
        if self._named is not None:
            found = choose_pco(values, self._type, self._level)
        else:
            found = choose(values, self._type, self._level)
        before = self.choice
        if before is not None and before.way == found.way:
            # What suits blocks of two sizes suits those between.
            found = found.widened(*before.value_bytes)
        self.choice = found
        return found

    def _compressed(self, encoding: Encoding, data: bytes) -> EncodedColumn:
        using = self._using
        if using is None:
            if not encoding.compressible or len(data) < COMPRESS_BYTES_MIN:
                return EncodedColumn(encoding.number, Compression.UNCOMPRESSED, data)
            using = Compression.ZSTD
        return EncodedColumn(encoding.number, *compress(data, using))


def _is_unusual(choice: Choice, value_bytes: float, values: int) -> bool:
    """True when a block of so many values and bytes for each asks for a trial."""
    least, most = choice.value_bytes
    frame = FRAME_BYTES / values
    return bool(most) and not (
        SHRINK_MAX * least - frame <= value_bytes <= GROWTH_MAX * most + frame
    )


def _exceptions(whole: WholeNumbers, span: slice) -> int:
    """How many rows of ``span`` are no whole numbers."""
    low, high = whole.exceptions.searchsorted((span.start, span.stop)).tolist()
    return int(high - low)


def encode_column(
    values: AnyArray,
    column_type: ColumnType,
    *,
    ordered: bool = False,
    encoding: str = AUTO,
    compression: str = AUTO,
) -> EncodedColumn:
    """Encodes one block alone; see ColumnEncoder."""
    encoder = ColumnEncoder(
        column_type, encoding=encoding, compression=compression, ordered=ordered
    )
    return encoder.encode(values)
