"""RLE: a value and how often it comes, for numbers that stay the same for a while.

Bytes: ``runs u32 | width u8 | lengths | the value of each run as PLAIN``; a length has 1, 2 or 4
bytes (``width``), the fewest that the longest run needs. No values: no bytes. Values are the same
if their bits are.
"""

from __future__ import annotations

import struct

import numpy as np

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

_HEAD = struct.Struct("<IB")
_WIDTHS = (1, 2, 4)
_PLAIN = Plain()


class RunLength(Encoding):
    """See the module."""

    number = EncodingNumber.RLE
    compressible = True

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN and not column_type.is_variable

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if not len(values):
            return b""
        return self.encode_runs(values, run_starts(values), column_type)

    def encode_runs(self, values: AnyArray, starts: AnyArray, column_type: ColumnType) -> bytes:
        """``values`` whose runs begin at the rows ``starts``, which are known already."""
        lengths = np.empty(len(starts), np.int64)
        np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
        lengths[-1] = len(values) - starts[-1]
        longest = int(lengths.max())
        width = next(width for width in _WIDTHS if longest < 1 << (8 * width))
        head = _HEAD.pack(len(starts), width) + lengths.astype(f"<u{width}").tobytes()
        return head + _PLAIN.encode(values[starts], column_type)

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if not len(out):
            if data.nbytes:
                raise EncodingError(f"{data.nbytes} bytes for no values")
            return
        if data.nbytes < _HEAD.size:
            raise EncodingError("runs without a count")
        count, width = _HEAD.unpack_from(data)
        end = _HEAD.size + count * width
        if count > len(out) or width not in _WIDTHS or data.nbytes < end:
            raise EncodingError(f"{count} runs of {width}-byte lengths for {len(out)} rows")
        lengths = np.frombuffer(data[_HEAD.size : end], f"<u{width}")
        # Before they are used: the sum bounds what the next step allocates.
        if int(lengths.sum(dtype=np.uint64)) != len(out):
            raise EncodingError(f"the runs do not add up to {len(out)} rows")
        values: AnyArray = np.empty(count, column_type.dtype)
        _PLAIN.decode(data[end:], column_type, values)
        out[:] = np.repeat(values, lengths)


def run_starts(values: AnyArray) -> AnyArray:
    """Where a value differs from the one before it, and 0: int64[runs] for n >= 1 values."""
    bits = bits_of(values)
    return np.flatnonzero(np.r_[True, bits[1:] != bits[:-1]])
