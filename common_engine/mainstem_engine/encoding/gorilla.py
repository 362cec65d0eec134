"""GORILLA: the bits in which a value differs from the one before (Pelkonen et al., VLDB 2015).

The exclusive or of neighbours has zeros in front and behind where numbers change little. What lies
between is kept in a *window* (trailing zeros, length) that neighbours share. The paper mixes
control bits and payload in one stream, which only a loop over the values can read; here each has
its own:

1. ``changed``: a bit for each value but the first: it differs from the one before.
2. ``fresh``: a bit for each that differs: it opens a new window.
3. ``trailing`` and ``length``: a byte each for every window.
4. The payload: for each that differs, the bits in its window.

So the window of a value is the cumulative sum of ``fresh``, its place the cumulative sum of
lengths, and the values are one ``bitwise_xor.accumulate``. A writer may open windows where it
likes; this one looks at GROUP differences at once, and opens one where the group needs another.

Bytes: ``values u32 | first value | changed | fresh | trailing u8[windows] | length u8[windows] |
payload``, the first value as wide as the type, bits lowest first. No values: no bytes.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from mainstem_engine.encoding.bits import (
    Bits,
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

GROUP = 16
"""Differences that a window is chosen for: at 2 bytes a window, a bit for each. Not on disk."""

_COUNT = struct.Struct("<I")


class Gorilla(Encoding):
    """See the module."""

    number = EncodingNumber.GORILLA
    compressible = True

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN and not column_type.is_variable

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if not len(values):
            return b""
        bits, dtype = bits_of(values), bits_dtype(column_type)
        xors = bits[1:] ^ bits[:-1]
        changed = xors != 0
        first = bits[:1].astype(dtype).tobytes()
        head = _COUNT.pack(len(bits)) + first + _pack(changed)
        some: Bits = xors[changed].astype(np.uint64)
        if not len(some):
            return head
        starts = np.arange(0, len(some), GROUP)
        together: Bits = np.bitwise_or.reduceat(some, starts)
        trailing = bit_length(together & (~together + np.uint64(1))) - 1
        length = bit_length(together) - trailing
        opens = np.r_[True, (np.diff(trailing) != 0) | (np.diff(length) != 0)]
        fresh = np.zeros(len(some), np.bool_)
        fresh[starts[opens]] = True
        windows = [part[opens].astype(np.uint8).tobytes() for part in (trailing, length)]
        shifts, widths = (np.repeat(part, GROUP)[: len(some)] for part in (trailing, length))
        payload = pack_bits(some >> shifts.astype(np.uint64), widths)
        return b"".join([head, _pack(fresh), *windows, payload])

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if not len(out):
            if data.nbytes:
                raise EncodingError(f"{data.nbytes} bytes for no values")
            return
        dtype = bits_dtype(column_type)
        start = _COUNT.size + dtype.itemsize
        if data.nbytes < start or _COUNT.unpack_from(data)[0] != len(out):
            raise EncodingError(f"{data.nbytes} bytes are not those of {len(out)} values")
        bits = np.zeros(len(out), dtype)
        bits[:1] = np.frombuffer(data[_COUNT.size : start], dtype)
        changed, rest = _unpack(data[start:], len(out) - 1)
        count = int(np.count_nonzero(changed))
        bits[1:][changed] = _differences(rest, count, 8 * dtype.itemsize)
        put_bits(np.bitwise_xor.accumulate(bits), column_type, out)


def _differences(data: memoryview, count: int, bits_max: int) -> Bits:
    """The ``count`` differences that are not zero."""
    fresh, data = _unpack(data, count)
    windows = int(np.count_nonzero(fresh))
    if data.nbytes < 2 * windows or (count and not fresh[0]):
        raise EncodingError(f"{data.nbytes} bytes for {windows} windows of {count} differences")
    trailing, length = np.frombuffer(data[: 2 * windows], np.uint8).astype(np.int64).reshape(2, -1)
    if windows and int((trailing + length).max()) > bits_max:
        raise EncodingError(f"a window beyond {bits_max} bits")
    of_value = np.cumsum(fresh) - 1
    payload = unpack_bits(data[2 * windows :], length[of_value])
    shifted: Bits = payload << trailing[of_value].astype(np.uint64)
    return shifted


def _pack(flags: npt.NDArray[np.bool_]) -> bytes:
    return np.packbits(flags, bitorder="little").tobytes()


def _unpack(data: memoryview, count: int) -> tuple[npt.NDArray[np.bool_], memoryview]:
    """``count`` flags from the front of ``data``, and what follows them."""
    end = -(-count // 8)
    if data.nbytes < end:
        raise EncodingError(f"{data.nbytes} bytes for {count} flags")
    packed: AnyArray = np.frombuffer(data[:end], np.uint8)
    return np.unpackbits(packed, count=count, bitorder="little").astype(np.bool_), data[end:]
