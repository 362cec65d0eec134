"""Encodes the blocks of one column one after the other, and remembers what suited the last.

1. Equal values are CONSTANT and a handful of numbers is PLAIN, whatever is named.
2. What the template names is used where it can hold the type; AUTO, and any other name, tries.
3. A trial (auto.py) costs as much as several blocks, so its choice is kept until the bytes that a
   value takes leave the range in which it is still likely to be the best.
4. A compression that is named follows any encoding; AUTO is ZSTD after all but PCO and LINEAR.
   Either is kept only where it makes the bytes fewer.
5. Times and LSNs (``ordered``): LINEAR if they are, few runs as RLE, else PCO by differences.
"""

from __future__ import annotations

from dataclasses import dataclass

from mainstem_engine.encoding.auto import VALUES_MIN, Choice, choose, choose_pco
from mainstem_engine.encoding.compression import compress
from mainstem_engine.encoding.constant import Constant, is_constant
from mainstem_engine.encoding.interface import Compression, Encoding, EncodingNumber
from mainstem_engine.encoding.linear import Linear, is_linear
from mainstem_engine.encoding.pco import LEVEL_FAST, Pco, PcoConfig
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.encoding.registry import AUTO, NAMED
from mainstem_engine.encoding.run_length import RunLength, run_starts
from mainstem_engine.model import AnyArray, ColumnType

GROWTH_MAX = 1.25
SHRINK_MAX = 0.6
"""A block whose values take more, or less, of what they took in the trial asks for another."""
FRAME_BYTES = 32
"""What a block takes beside its values; short blocks do not ask for a trial for that."""
TRIAL_BLOCKS_MIN = 4
"""Blocks between two trials, so that a column that changes all the time is not tried for each."""
ORDERED_RUNS_MAX = 8
"""Runs of equal LSNs up to which their lengths are as small as PCO, and far cheaper."""

_CONSTANT, _LINEAR, _PCO, _PLAIN, _RLE = Constant(), Linear(), Pco(), Plain(), RunLength()


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """Bytes of the values of one column, and the two numbers that are needed to read them."""

    encoding: EncodingNumber
    compression: Compression
    data: bytes


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
        self._compression = compression
        self._ordered = ordered
        self._level = level
        self._blocks_since_trial = TRIAL_BLOCKS_MIN
        self.choice = choice
        """What suits the column, as far as is known."""

    def encode(self, values: AnyArray) -> EncodedColumn:
        """Encodes one block of values that are not null."""
        if is_constant(values):
            return self._compressed(_CONSTANT, _CONSTANT.encode(values, self._type))
        if self._ordered and len(values) >= VALUES_MIN:
            return self._encode_ordered(values)
        if len(values) < VALUES_MIN and not self._type.is_variable:
            return self._compressed(_PLAIN, _PLAIN.encode(values, self._type))
        if self._named is not None and self._named.number != EncodingNumber.PCO:
            return self._compressed(self._named, self._named.encode(values, self._type))
        return self._encode_chosen(values)

    def _encode_ordered(self, values: AnyArray) -> EncodedColumn:
        if is_linear(values):
            data = _LINEAR.encode(values, self._type)
            return EncodedColumn(_LINEAR.number, Compression.UNCOMPRESSED, data)
        if values[0] == values[1] and len(run_starts(values)) <= ORDERED_RUNS_MAX:
            data = _RLE.encode(values, self._type)
            return EncodedColumn(_RLE.number, Compression.UNCOMPRESSED, data)
        config = PcoConfig(self._level, delta=1, base=0.0)
        data = _PCO.encode_as(values, self._type, config)
        return EncodedColumn(_PCO.number, Compression.UNCOMPRESSED, data)

    def _encode_chosen(self, values: AnyArray) -> EncodedColumn:
        choice = self.choice
        if choice is None:
            choice = self._try(values)
        if choice.config is not None:
            data = _PCO.encode_as(values, self._type, choice.config)
        else:
            data = choice.encoding.encode(values, self._type)
        encoded = self._compressed(choice.encoding, data)
        self._blocks_since_trial += 1
        usual = choice.value_bytes * len(values)
        size = len(encoded.data)
        if (
            usual
            and not SHRINK_MAX * usual - FRAME_BYTES <= size <= GROWTH_MAX * usual + FRAME_BYTES
        ):
            # Tried again at the next block, unless it was tried a moment ago.
            self.choice = None if self._blocks_since_trial > TRIAL_BLOCKS_MIN else choice
        return encoded

    def _try(self, values: AnyArray) -> Choice:
        self._blocks_since_trial = 0
        if self._named is not None:
            self.choice = choose_pco(values, self._type, self._level)
        else:
            self.choice = choose(values, self._type, self._level)
        return self.choice

    def _compressed(self, encoding: Encoding, data: bytes) -> EncodedColumn:
        if self._compression in Compression.__members__:
            return EncodedColumn(encoding.number, *compress(data, Compression[self._compression]))
        if not encoding.compressible:
            return EncodedColumn(encoding.number, Compression.UNCOMPRESSED, data)
        return EncodedColumn(encoding.number, *compress(data))


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
