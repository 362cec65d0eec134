"""PCO: numbers by pcodec, the default. Bit-exact for floats, NaN payloads and -0.0 included.

pcodec finds the mode (multiples, quantised floats, plain), the delta order and an entropy code per
block. It pays from some tens of values on; its frame costs about 25 bytes.

Times and LSNs (``ordered``) are always coded as first differences, which pcodec's own search also
finds for them, at two thirds of the time. Dividing times by their common unit first was measured:
19 bytes less in a block of 4,096 and nothing more, so it is not done. BOOLEAN goes as 0 and 1 of
8 bits.
"""

from __future__ import annotations

import numpy as np
from pcodec import ChunkConfig, DeltaSpec, standalone

from mainstem_engine.encoding.bits import bits_of, put_bits
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

LEVEL = 4
"""2 % larger than the highest level on sensor data, at half to a fifth of its time."""

_SEARCH = ChunkConfig(compression_level=LEVEL, enable_8_bit=True)
_ORDERED = ChunkConfig(compression_level=LEVEL, delta_spec=DeltaSpec.try_consecutive(1))


class Pco(Encoding):
    """See the module."""

    number = EncodingNumber.PCO
    compressible = False

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN and not column_type.is_variable

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if column_type == ColumnType.BOOLEAN:
            values = bits_of(values)
        return self._compress(values, _SEARCH)

    def encode_ordered(self, values: AnyArray) -> bytes:
        """The same format, for 64-bit integers that mostly grow."""
        return self._compress(values, _ORDERED)

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

    def _compress(self, values: AnyArray, config: ChunkConfig) -> bytes:
        packed: bytes = standalone.simple_compress(np.ascontiguousarray(values), config)
        return packed
