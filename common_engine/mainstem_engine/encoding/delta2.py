"""TS_2DIFF: differences, and what is left of them above their minimum. For what grows evenly.

1. Differences of neighbours are taken of the bits, modulo the width of the type: floats keep every
   bit, integers wrap around.
2. Each 128 differences are a group: their minimum is taken off (the second difference of the name),
   and what remains takes as many bits as the largest of the group needs.

Bytes: ``values u32 | first value | width u8[groups] | minimum[groups] | remainders as bits``, first
value and minimum as wide as the type. No values: no bytes. Equal steps take no bits at all.
"""

from __future__ import annotations

import struct

import numpy as np

from mainstem_engine.encoding.bits import (
    bit_length,
    bits_dtype,
    bits_of,
    pack_bits,
    put_bits,
    unpack_bits,
)
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

GROUP = 128
"""Differences that share a minimum and a width: on disk. 9 bytes for 128 values of 8 bytes."""

_COUNT = struct.Struct("<I")


class Delta2(Encoding):
    """See the module."""

    number = EncodingNumber.TS_2DIFF
    compressible = True

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN and not column_type.is_variable

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if not len(values):
            return b""
        bits, dtype = bits_of(values), bits_dtype(column_type)
        first = _COUNT.pack(len(bits)) + bits[:1].astype(dtype).tobytes()
        deltas = bits[1:] - bits[:-1]
        if not len(deltas):
            return first
        starts = np.arange(0, len(deltas), GROUP)
        # Signed, so that small steps down are not the largest steps up.
        low = np.minimum.reduceat(deltas.view(f"i{dtype.itemsize}"), starts).view(deltas.dtype)
        rest = (deltas - _spread(low, len(deltas))).astype(np.uint64)
        widths = bit_length(np.maximum.reduceat(rest, starts))
        head = first + widths.astype(np.uint8).tobytes() + low.astype(dtype).tobytes()
        return head + pack_bits(rest, _spread(widths, len(deltas)))

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if not len(out):
            if data.nbytes:
                raise EncodingError(f"{data.nbytes} bytes for no values")
            return
        dtype = bits_dtype(column_type)
        count = len(out) - 1
        groups = -(-count // GROUP)
        start = _COUNT.size + dtype.itemsize
        middle = start + groups
        end = middle + groups * dtype.itemsize
        if data.nbytes < end or _COUNT.unpack_from(data)[0] != len(out):
            raise EncodingError(f"{data.nbytes} bytes are not those of {len(out)} values")
        widths = np.frombuffer(data[start:middle], np.uint8).astype(np.int64)
        if count and int(widths.max()) > 8 * dtype.itemsize:
            raise EncodingError(f"differences of {int(widths.max())} bits")
        low = np.frombuffer(data[middle:end], dtype)
        rest = unpack_bits(data[end:], _spread(widths, count))
        bits = np.empty(len(out), dtype)
        bits[:1] = np.frombuffer(data[_COUNT.size : start], dtype)
        bits[1:] = rest.astype(dtype) + _spread(low, count)
        put_bits(np.cumsum(bits, dtype=dtype), column_type, out)


def _spread(of_group: AnyArray, count: int) -> AnyArray:
    """The value of its group for each of ``count`` differences."""
    return np.repeat(of_group, GROUP)[:count]
