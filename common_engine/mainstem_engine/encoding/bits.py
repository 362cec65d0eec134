"""Streams of bits: values of different widths one after the other, lowest bit first.

Value i takes ``widths[i]`` bits (0 to 64) behind those of value i - 1. Bytes are filled from their
lowest bit; what is left of the last one is zero. Packing and unpacking work on 64-bit words:

1. The cumulative sum of the widths is where each value ends, so its word and shift are known.
2. Packing joins the values of a word by one ``bitwise_or.reduceat``, and adds to each word what
   reaches into it from before, which is one value at most.
3. Unpacking takes each value from its word and the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

Bits = npt.NDArray[np.uint64]
Widths = npt.NDArray[np.int64]

_ONES = np.array([(1 << width) - 1 for width in range(65)], np.uint64)
"""The mask of each width."""


def pack_bits(values: Bits, widths: Widths) -> bytes:
    """``values`` uint64[n], each of which fits into its width: ``widths`` int64[n]."""
    if not len(values):
        return b""
    ends = np.cumsum(widths)
    total = int(ends[-1])
    starts = ends - widths
    words = np.zeros((total >> 6) + 2, "<u8")
    word, shift = starts >> 6, starts & 63
    # A value of no bits may share a word with those before it: it adds nothing.
    first = np.flatnonzero(np.diff(word, prepend=-1))
    words[word[first]] = np.bitwise_or.reduceat(values << shift.astype(np.uint64), first)
    across = np.flatnonzero(shift + widths > 64)
    words[word[across] + 1] |= values[across] >> (64 - shift[across]).astype(np.uint64)
    return words.tobytes()[: -(-total // 8)]


def unpack_bits(data: memoryview, widths: Widths) -> Bits:
    """The values that pack_bits wrote. EncodingError if ``data`` has another length."""
    ends = np.cumsum(widths)
    total = int(ends[-1]) if len(ends) else 0
    if data.nbytes != -(-total // 8):
        raise EncodingError(f"{total} bits expected in {data.nbytes} bytes")
    words = np.zeros((total >> 6) + 2, "<u8")
    words.view(np.uint8)[: data.nbytes] = np.frombuffer(data, np.uint8)
    starts = ends - widths
    word, shift = starts >> 6, (starts & 63).astype(np.uint64)
    # Shifted in two steps: a shift by all 64 bits is not defined.
    high = words[word + 1] << np.uint64(1) << (np.uint64(63) - shift)
    found: Bits = (words[word] >> shift | high) & _ONES[widths]
    return found


def bit_length(values: Bits) -> npt.NDArray[np.int64]:
    """How many bits each value needs, 0 to 64."""
    smeared = values.copy()
    for step in (1, 2, 4, 8, 16, 32):
        smeared |= smeared >> np.uint64(step)
    return np.bitwise_count(smeared).astype(np.int64)


def bits_dtype(column_type: ColumnType) -> np.dtype[Any]:
    """The little-endian unsigned integer as wide as values of the type."""
    return np.dtype(f"<u{column_type.dtype.itemsize}")


def bits_of(values: AnyArray) -> AnyArray:
    """The bits of values of fixed width, as unsigned integers of that width; not a copy."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def put_bits(bits: AnyArray, column_type: ColumnType, out: AnyArray) -> None:
    """Fill ``out`` with the values of these bits. EncodingError if a BOOLEAN is neither."""
    if column_type == ColumnType.BOOLEAN and len(bits) and int(bits.max()) > 1:
        raise EncodingError(f"{int(bits.max())} as a BOOLEAN")
    out.view(f"u{out.dtype.itemsize}")[:] = bits
