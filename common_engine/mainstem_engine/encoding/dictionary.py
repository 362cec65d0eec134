"""DICTIONARY: distinct values once, then a code per row. For TEXT and BLOB.

Bytes: ``distinct u32 | codes | distinct values as PLAIN``; a code has 1, 2 or 4 bytes, the fewest
that can name every distinct value. Codes are given in order of first appearance.
"""

from __future__ import annotations

import struct

import numpy as np

from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.plain import join_strings, split_strings
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

_COUNT = struct.Struct("<I")


class Dictionary(Encoding):
    """See the module."""

    number = EncodingNumber.DICTIONARY
    compressible = True

    def supports(self, column_type: ColumnType) -> bool:
        return column_type.is_variable

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        items = values.tolist()
        distinct = list(dict.fromkeys(items))
        codes = {value: code for code, value in enumerate(distinct)}
        packed = np.fromiter(map(codes.__getitem__, items), _code_dtype(len(distinct)), len(items))
        return _COUNT.pack(len(distinct)) + packed.tobytes() + join_strings(distinct, column_type)

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if data.nbytes < _COUNT.size:
            raise EncodingError("a dictionary without a count")
        (count,) = _COUNT.unpack_from(data)
        dtype = _code_dtype(count)
        end = _COUNT.size + len(out) * dtype.itemsize
        if count > len(out) or data.nbytes < end:
            raise EncodingError(f"a dictionary of {count} values for {len(out)} rows")
        codes = np.frombuffer(data[_COUNT.size : end], dtype)
        distinct = split_strings(data[end:], column_type, count)
        if len(codes) and int(codes.max()) >= count:
            raise EncodingError(f"code {int(codes.max())} in a dictionary of {count} values")
        out[:] = distinct[codes]


def _code_dtype(count: int) -> np.dtype[np.unsignedinteger]:
    if count <= 1 << 8:
        return np.dtype("u1")
    return np.dtype("<u2") if count <= 1 << 16 else np.dtype("<u4")
