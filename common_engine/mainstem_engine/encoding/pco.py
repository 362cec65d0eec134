"""PCO: numbers by pcodec, the default. Bit-exact for floats, NaN payloads and -0.0 included.

pcodec finds the mode (multiples, quantised floats, plain), the delta order and an entropy code per
block, unless a PcoConfig names mode and delta (pco_search.py): half of its time goes into that
search. It pays from some tens of values on; its frame costs about 25 bytes. BOOLEAN goes as 0 and 1
of 8 bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, standalone

from mainstem_engine.encoding.bits import bits_of, put_bits
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

LEVEL_FAST = 4
"""2 % larger than the highest level on most sensor data, at half to a fifth of its time."""
LEVEL_SMALL = 8
"""What the highest levels give, at two thirds of their time; for what is encoded once and stays."""

AUTO_DELTA = -1
LOOKBACK_DELTA = -2


class PcoConfig(NamedTuple):
    """How pcodec is called. ``delta``: the order of differences, AUTO_DELTA or LOOKBACK_DELTA.

    ``base``: the values are multiples of it (almost); 0: the bits as they are; None: pcodec looks.
    """

    level: int = LEVEL_FAST
    delta: int = AUTO_DELTA
    base: float | None = None


class Pco(Encoding):
    """See the module."""

    number = EncodingNumber.PCO
    compressible = False

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN and not column_type.is_variable

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        return self.encode_as(values, column_type, PcoConfig())

    def encode_as(self, values: AnyArray, column_type: ColumnType, config: PcoConfig) -> bytes:
        """The same format, written as ``config`` says. It never changes what is read."""
        if column_type == ColumnType.BOOLEAN:
            values = bits_of(values)
        packed: bytes = standalone.simple_compress(np.ascontiguousarray(values), _chunk(config))
        return packed

    def coder(self, config: PcoConfig) -> Callable[[AnyArray], bytes]:
        """``encode_as`` for many blocks of numbers, contiguous and not BOOLEAN."""
        return functools.partial(_compress, chunk=_chunk(config))

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if column_type == ColumnType.BOOLEAN:
            bits: AnyArray = np.empty(len(out), np.uint8)
            self._decompress(data, bits)
            put_bits(bits, column_type, out)
        else:
            self._decompress(data, out)

    def _decompress(self, data: memoryview, out: AnyArray) -> None:
        try:
            # Into a buffer of the right length: the length that the bytes declare is not used.
            progress = standalone.simple_decompress_into(bytes(data), out)
        except (RuntimeError, TypeError) as exc:
            raise EncodingError(f"pcodec: {exc}") from exc
        if progress.n_processed != len(out) or not progress.finished:
            raise EncodingError(f"{len(out)} values expected, {progress.n_processed} found")


def _compress(values: AnyArray, chunk: ChunkConfig) -> bytes:
    packed: bytes = standalone.simple_compress(values, chunk)
    return packed


@functools.lru_cache(maxsize=256)
def _chunk(config: PcoConfig) -> ChunkConfig:
    if config.delta == AUTO_DELTA:
        delta = DeltaSpec.auto()
    elif config.delta == LOOKBACK_DELTA:
        delta = DeltaSpec.try_lookback()
    else:
        delta = DeltaSpec.try_consecutive(config.delta) if config.delta else DeltaSpec.no_op()
    mode = ModeSpec.auto()
    if config.base is not None:
        mode = ModeSpec.try_float_mult(config.base) if config.base else ModeSpec.classic()
    return ChunkConfig(
        compression_level=config.level, delta_spec=delta, mode_spec=mode, enable_8_bit=True
    )
