"""LINEAR: a first value and a step, for 64-bit integers in equal steps. Times of regular sampling.

Bytes: ``first | step``, 8 bytes each, the step modulo 2^64. No values: no bytes. Made and read by
one pass of additions, it is many times faster than any search for a pattern.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

_TYPES = (ColumnType.INT64, ColumnType.UINT64, ColumnType.TIMESTAMP)


class Linear(Encoding):
    """See the module. ``encode`` takes only values that ``is_linear`` says yes to."""

    number = EncodingNumber.LINEAR
    compressible = False

    def supports(self, column_type: ColumnType) -> bool:
        return column_type in _TYPES

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if not is_linear(values):
            raise EncodingError("LINEAR for values that are not in equal steps")
        return self.encode_step(values)

    def encode_step(self, values: AnyArray) -> bytes:
        """``values`` that are known to be in equal steps."""
        bits = bits_of(values)
        step = bits[1:2] - bits[:1] if len(bits) > 1 else bits[:1] * 0
        return np.concatenate([bits[:1], step]).astype("<u8").tobytes()

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if data.nbytes != (16 if len(out) else 0):
            raise EncodingError(f"{data.nbytes} bytes for a first value and a step")
        if not len(out):
            return
        first_and_step = np.frombuffer(data, "<u8")
        bits = out.view(np.uint64)
        np.multiply(np.arange(len(out), dtype=np.uint64), first_and_step[1], out=bits)
        bits += first_and_step[0]


def is_linear(values: AnyArray) -> bool:
    """True if each value differs from the one before by the same, modulo 2^64."""
    bits = bits_of(values)
    if len(bits) < 3:
        return True
    # Most columns that are not linear show it at the first steps.
    first: AnyArray = bits[1:3] - bits[:2]
    if first[0] != first[1]:
        return False
    steps = bits[1:] - bits[:-1]
    return bool((steps == steps[0]).all())
