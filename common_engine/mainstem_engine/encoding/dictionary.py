"""DICTIONARY: distinct values once, then a code per row. For every type; the default of TEXT, BLOB.

Bytes: ``distinct u32 | codes | distinct values as PLAIN``; a code has 1, 2 or 4 bytes, the fewest
that can name every distinct value. Codes of TEXT and BLOB are given in order of first appearance,
those of numbers in order of their bits; a reader does not rely on either.
"""

from __future__ import annotations

import struct

import numpy as np

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.plain import Plain, join_strings, split_strings
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

_COUNT = struct.Struct("<I")
_PLAIN = Plain()


class Dictionary(Encoding):
    """See the module."""

    number = EncodingNumber.DICTIONARY
    compressible = True

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if not column_type.is_variable:
            return _encode_numbers(values, column_type)
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
        distinct = _distinct(data[end:], column_type, count)
        if len(codes) and int(codes.max()) >= count:
            raise EncodingError(f"code {int(codes.max())} in a dictionary of {count} values")
        out[:] = distinct[codes]


def _encode_numbers(values: AnyArray, column_type: ColumnType) -> bytes:
    # By bits: -0.0 and 0.0 are two values, and so are NaNs of two payloads.
    distinct, codes = np.unique(bits_of(values), return_inverse=True)
    packed = codes.astype(_code_dtype(len(distinct))).tobytes()
    table = _PLAIN.encode(distinct.view(values.dtype), column_type)
    return _COUNT.pack(len(distinct)) + packed + table


def _distinct(data: memoryview, column_type: ColumnType, count: int) -> AnyArray:
    """The ``count`` values that the codes name."""
    if column_type.is_variable:
        return split_strings(data, column_type, count)
    values: AnyArray = np.empty(count, column_type.dtype)
    _PLAIN.decode(data, column_type, values)
    return values


def _code_dtype(count: int) -> np.dtype[np.unsignedinteger]:
    if count <= 1 << 8:
        return np.dtype("u1")
    return np.dtype("<u2") if count <= 1 << 16 else np.dtype("<u4")
