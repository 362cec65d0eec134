"""PLAIN: the values as they are. Fits every type; the fallback where nothing cleverer pays.

Fixed width: little-endian values. BOOLEAN: one bit a value, lowest first.
TEXT and BLOB: n lengths (u32), then the bytes; TEXT in UTF-8.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.encoding.interface import Encoding, EncodingNumber, disk_dtype
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType


class Plain(Encoding):
    """See the module."""

    number = EncodingNumber.PLAIN
    compressible = True

    def supports(self, column_type: ColumnType) -> bool:
        return column_type != ColumnType.UNKNOWN

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if column_type.is_variable:
            return join_strings(values.tolist(), column_type)
        if column_type == ColumnType.BOOLEAN:
            return np.packbits(values, bitorder="little").tobytes()
        return values.astype(disk_dtype(column_type), copy=False).tobytes()

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if column_type.is_variable:
            out[:] = split_strings(data, column_type, len(out))
            return
        if column_type == ColumnType.BOOLEAN:
            _expect(data, -(-len(out) // 8))
            packed = np.frombuffer(data, np.uint8)
            out[:] = np.unpackbits(packed, count=len(out), bitorder="little")
            return
        dtype = disk_dtype(column_type)
        _expect(data, len(out) * dtype.itemsize)
        out[:] = np.frombuffer(data, dtype)


def join_strings(values: list[str] | list[bytes], column_type: ColumnType) -> bytes:
    """Lengths, then bytes, of TEXT (str) or BLOB (bytes) values."""
    if column_type == ColumnType.TEXT:
        # Strings from outside may hold lone surrogates; they must come back as they went in.
        pieces = [value.encode("utf-8", "surrogatepass") for value in values]  # type: ignore[union-attr]
    else:
        pieces = [bytes(value) for value in values]  # type: ignore[arg-type]
    lengths = np.fromiter(map(len, pieces), "<u4", len(pieces))
    return lengths.tobytes() + b"".join(pieces)


def split_strings(data: memoryview, column_type: ColumnType, count: int) -> AnyArray:
    """The ``count`` values that join_strings wrote, as an object array."""
    if data.nbytes < 4 * count:
        raise EncodingError(f"{data.nbytes} bytes cannot hold {count} lengths")
    lengths = np.frombuffer(data[: 4 * count], "<u4")
    ends = np.cumsum(lengths, dtype=np.int64) + 4 * count
    if (int(ends[-1]) if count else 0) != data.nbytes:
        raise EncodingError(f"lengths of {count} values do not add up to {data.nbytes} bytes")
    raw = bytes(data)
    slices = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    out = np.empty(count, object)
    if column_type == ColumnType.BLOB:
        out[:] = [raw[start:end] for start, end in slices]
        return out
    try:
        out[:] = [raw[start:end].decode("utf-8", "surrogatepass") for start, end in slices]
    except UnicodeDecodeError as exc:
        raise EncodingError(f"text is not UTF-8: {exc}") from exc
    return out


def _expect(data: memoryview, length: int) -> None:
    if data.nbytes != length:
        raise EncodingError(f"{length} bytes expected, {data.nbytes} found")
