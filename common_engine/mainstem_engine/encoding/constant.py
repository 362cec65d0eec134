"""CONSTANT: one value that all rows share, written once as PLAIN. No values: no bytes."""

from __future__ import annotations

import numpy as np

from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

_PLAIN = Plain()


class Constant(Encoding):
    """See the module."""

    number = EncodingNumber.CONSTANT
    compressible = True

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        return _PLAIN.encode(values[:1], column_type)

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if len(out) == 0:
            if data.nbytes:
                raise EncodingError(f"{data.nbytes} bytes for no values")
            return
        one = np.empty(1, out.dtype)
        _PLAIN.decode(data, column_type, one)
        out[:] = one


def is_constant(values: AnyArray) -> bool:
    """True if all values have the same bits (which is not what == says of floats)."""
    if len(values) < 2:
        return True
    if values.dtype == object:
        first = values[0]
        return all(value == first for value in values.tolist())
    bits = values.view(f"u{values.dtype.itemsize}")
    # Most columns differ early; looking there first keeps the test nearly free.
    return bool(bits[0] == bits[-1] and bits[0] == bits[1] and (bits == bits[0]).all())
