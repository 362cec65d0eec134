"""Arrow arrays over numpy's memory, made of buffers.

``pyarrow.array`` would do it too, but it imports pandas when that is installed, to look whether the
values are of its kinds: a second before the first answer. Numbers are shared, not copied.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.model import AnyArray, BoolMask

if TYPE_CHECKING:
    import pyarrow as pa

_PAIR = struct.Struct("<ii")


def number_array(values: AnyArray, kind: pa.DataType, missing: BoolMask | None = None) -> Any:
    """An array of the Arrow type ``kind`` (of fixed width, or bool) over ``values`` [n], which has
    its dtype and must not change afterwards; null where ``missing``."""
    import pyarrow as pa

    count = len(values)
    is_bool = values.dtype == np.bool_
    data = np.packbits(values, bitorder="little") if is_bool else np.ascontiguousarray(values)
    validity, nulls = None, 0
    if missing is not None:
        nulls = int(np.count_nonzero(missing))
        if nulls:
            validity = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(kind, count, [validity, pa.py_buffer(data)], nulls)


def text_array(values: Sequence[str]) -> Any:
    """A string array of a few values, none of them None: names, not measurements."""
    import pyarrow as pa

    if len(values) == 1:
        data = values[0].encode()
        ends = pa.py_buffer(_PAIR.pack(0, len(data)))
        return pa.StringArray.from_buffers(1, ends, pa.py_buffer(data))
    data = "".join(values).encode()
    sizes = list(map(len, values))
    if len(data) != sum(sizes):
        sizes = [len(value.encode()) for value in values]
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data))
