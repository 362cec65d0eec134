"""Bytes of a part. Little-endian.

Head:     magic 8 | version u32 | zeros u32
Body:     for each block, for each column: validity bitmap, then values; nothing in between
Footer:   zstd of a msgpack map, see PartFooter
Trailer:  stored length of the footer u32 | raw length u32 | version u32 |
          crc32c u32 of footer and the 12 bytes before | magic 8

Columns are DEVICE, TIME, ORIGIN, LSN and then the measurements. The DEVICE column of a block of one
device is not written (0 bytes): the block index has it. A column of a block that is all null has
0 bytes; one without nulls has no bitmap. The bitmap is packed lowest bit first, 1 = there is a
value. Values are those that are not null, by the encoding and compression that the footer names.
The crc32c of a column of a block covers bitmap and values.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import google_crc32c
import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.encoding.compression import Compression, compress, decompress
from mainstem_engine.errors import CorruptionError, EncodingError
from mainstem_engine.model import ColumnType

MAGIC = b"MSTMPRT\n"
VERSION = 1
PART_SUFFIX = ".part"

HEAD = struct.Struct("<8sII")
TRAILER = struct.Struct("<IIII8s")
_TRAILER_CHECKED_BYTES = 12

DEVICE_COLUMN = -1
TIME_COLUMN = -2
ORIGIN_COLUMN = -3
LSN_COLUMN = -4
SYSTEM_COLUMNS = {
    DEVICE_COLUMN: ColumnType.UINT32,
    TIME_COLUMN: ColumnType.INT64,
    ORIGIN_COLUMN: ColumnType.UINT16,
    LSN_COLUMN: ColumnType.UINT64,
}
"""Every block has these; measurement ids are not negative."""

BLOCK_ROWS_MIN = 8
"""Below this a block's entry in the footer is larger than its rows."""

BLOCK_ROWS_MAX = 1 << 20
"""Bound for what a damaged row count may make a reader allocate."""

DENSE_ROWS_MIN = 1000
"""A device with this many rows gets blocks of its own; below, pcodec stops paying."""

EXTREMES_USABLE = 1
"""Statistics flag: min and max are those of all values (there is one, and no NaN)."""
SUM_USABLE = 2
"""Statistics flag: the sum is that of all values (no NaN, no infinity, no overflow)."""

_BLOCK_FIELDS: dict[str, str] = {
    "rows": "<u4",
    "device_min": "<u4",
    "device_max": "<u4",
    "time_min_ns": "<i8",
    "time_max_ns": "<i8",
    "distinct": "u1",
}
_LATER_FIELDS = frozenset({"distinct"})
"""Zero in parts that were written before there was such a field."""

_COLUMN_FIELDS: dict[str, str] = {
    "bytes": "<u4",
    "valid_bytes": "<u4",
    "crc": "<u4",
    "nulls": "<u4",
    "encoding": "u1",
    "compression": "u1",
}


@dataclass(frozen=True, slots=True)
class BlockIndex:
    """One entry per block, in file order, which is the order of (device, time).

    ``rows`` uint32, ``device_min``/``device_max`` uint32, ``time_min_ns``/``time_max_ns`` int64,
    ends included. ``distinct`` uint8: 1 when no two rows share device and time, so that the
    statistics are those of merged rows; 0 says nothing.
    """

    rows: npt.NDArray[np.uint32]
    device_min: npt.NDArray[np.uint32]
    device_max: npt.NDArray[np.uint32]
    time_min_ns: npt.NDArray[np.int64]
    time_max_ns: npt.NDArray[np.int64]
    distinct: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class ColumnIndex:
    """Where and how each block of one column is stored; one entry per block."""

    bytes: npt.NDArray[np.uint32]
    valid_bytes: npt.NDArray[np.uint32]
    crc: npt.NDArray[np.uint32]
    nulls: npt.NDArray[np.uint32]
    encoding: npt.NDArray[np.uint8]
    compression: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """What a block's column holds, without reading it; one entry per block.

    ``minimum``, ``maximum``, ``first``, ``last`` have the dtype of the column; ``total`` is float64
    for floats and int64 or uint64 for integers. ``first`` and ``last`` are those of the first and
    last row with a value. ``flags``: EXTREMES_USABLE, SUM_USABLE; where one is not set, the field
    means nothing.
    """

    minimum: npt.NDArray[Any]
    maximum: npt.NDArray[Any]
    total: npt.NDArray[Any]
    first: npt.NDArray[Any]
    last: npt.NDArray[Any]
    flags: npt.NDArray[np.uint8]

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All fields, in the order in which they are stored."""
        return self.minimum, self.maximum, self.first, self.last, self.total, self.flags


Entries = TypeVar("Entries", BlockIndex, ColumnIndex, ColumnStatistics)
"""Parallel arrays with one entry per block."""


@dataclass(frozen=True, slots=True)
class PartFooter:
    """Everything a reader knows before it reads a block."""

    table: str
    partition_start_ns: int
    blocks: BlockIndex
    types: dict[int, ColumnType]
    columns: dict[int, ColumnIndex]
    statistics: dict[int, ColumnStatistics] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Footer and trailer."""
        raw = msgpack.packb(
            {
                "table": self.table,
                "partition": self.partition_start_ns,
                "blocks": _pack_arrays(self.blocks),
                "columns": [
                    [key, int(self.types[key]), _pack_arrays(index), _pack_statistics(self, key)]
                    for key, index in self.columns.items()
                ],
            }
        )
        compression, stored = compress(raw)
        # A raw length of 0 says: stored as it is.
        raw_length = 0 if compression == Compression.UNCOMPRESSED else len(raw)
        tail = struct.pack("<III", len(stored), raw_length, VERSION)
        crc = google_crc32c.extend(google_crc32c.value(stored), tail)
        return stored + tail + struct.pack("<I8s", crc, MAGIC)


@dataclass(frozen=True, slots=True)
class EncodedBlocks:
    """Some blocks of one column: per block its bytes (bitmap and values), and what is noted."""

    data: list[bytes]
    index: ColumnIndex
    statistics: ColumnStatistics | None


def joined(pieces: Sequence[Entries]) -> Entries:
    """The entries of each piece, one after the other."""
    kind = type(pieces[0])
    return kind(
        **{
            each.name: np.concatenate([getattr(piece, each.name) for piece in pieces])
            for each in fields(kind)
        }
    )


def sliced(entries: Entries, some: slice) -> Entries:
    """Some of the entries."""
    return type(entries)(
        **{each.name: getattr(entries, each.name)[some] for each in fields(entries)}
    )


def statistics_dtypes(column_type: ColumnType) -> tuple[np.dtype[Any], np.dtype[Any]] | None:
    """(dtype of values, dtype of the sum) of a type that has statistics, else None."""
    if column_type.is_float:
        return column_type.dtype, np.dtype(np.float64)
    if column_type.is_integer or column_type == ColumnType.TIMESTAMP:
        dtype = column_type.dtype
        return dtype, np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
    return None


def unpack_footer(path: Path, view: memoryview) -> PartFooter:
    """The footer of a part whose whole content is ``view``. CorruptionError if it is damaged."""
    raw = _footer_bytes(path, view)
    offset = view.nbytes - TRAILER.size
    try:
        content = msgpack.unpackb(raw)
        blocks = BlockIndex(**_unpack_arrays(content["blocks"], _BLOCK_FIELDS))
        footer = PartFooter(content["table"], content["partition"], blocks, {}, {})
        for key, code, arrays, statistics in content["columns"]:
            footer.types[key] = ColumnType(code)
            footer.columns[key] = ColumnIndex(**_unpack_arrays(arrays, _COLUMN_FIELDS))
            if statistics:
                footer.statistics[key] = _unpack_statistics(statistics, ColumnType(code))
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as exc:
        raise CorruptionError(path, offset, f"the footer is not understood ({exc})") from exc
    _check_footer(path, view, footer)
    return footer


def check_ends(path: Path, view: memoryview) -> None:
    """Raises CorruptionError unless head, trailer and the checksum of the footer are right."""
    _stored_footer(path, view)


def _footer_bytes(path: Path, view: memoryview) -> memoryview:
    stored, raw_bytes = _stored_footer(path, view)
    try:
        return decompress(Compression.ZSTD if raw_bytes else Compression.UNCOMPRESSED, stored)
    except EncodingError as exc:
        start = view.nbytes - TRAILER.size - stored.nbytes
        raise CorruptionError(path, start, str(exc)) from exc


def _stored_footer(path: Path, view: memoryview) -> tuple[memoryview, int]:
    """(the footer as it is stored, its raw length; 0: it is not compressed), checked."""
    if view.nbytes < HEAD.size + TRAILER.size:
        raise CorruptionError(path, 0, f"{view.nbytes} bytes are too few for a part")
    magic, version, zeros = HEAD.unpack_from(view)
    offset = view.nbytes - TRAILER.size
    stored_bytes, raw_bytes, end_version, crc, end_magic = TRAILER.unpack_from(view, offset)
    if magic != MAGIC or end_magic != MAGIC:
        raise CorruptionError(path, 0 if magic != MAGIC else offset, "this is not a part")
    if version != VERSION or end_version != VERSION or zeros:
        raise CorruptionError(path, 8, f"version {version} is not known")
    start = offset - stored_bytes
    if start < HEAD.size:
        raise CorruptionError(path, offset, f"declares a footer of {stored_bytes} bytes")
    checked = np.frombuffer(view[start : offset + _TRAILER_CHECKED_BYTES], np.uint8)
    if google_crc32c.value(checked) != crc:
        raise CorruptionError(path, start, "the footer has a wrong checksum")
    return view[start:offset], raw_bytes


def _check_footer(path: Path, view: memoryview, footer: PartFooter) -> None:
    """Lengths and counts that readers rely on without looking again."""
    offset = view.nbytes - TRAILER.size
    count = len(footer.blocks)
    if any(key not in footer.columns for key in SYSTEM_COLUMNS):
        raise CorruptionError(path, offset, "the footer lacks a column that every part has")
    if any(len(index.bytes) != count for index in footer.columns.values()):
        raise CorruptionError(path, offset, "the footer has columns of different lengths")
    if any(len(part) != count for s in footer.statistics.values() for part in s.arrays()):
        raise CorruptionError(path, offset, "the footer has statistics of different lengths")
    if count and int(footer.blocks.rows.max()) > BLOCK_ROWS_MAX:
        raise CorruptionError(path, offset, "the footer declares a block that is too large")
    used = HEAD.size
    for index in footer.columns.values():
        used += int(index.bytes.sum(dtype=np.int64)) + int(index.valid_bytes.sum(dtype=np.int64))
    (stored_bytes,) = struct.unpack_from("<I", view, offset)
    if used != offset - stored_bytes:
        raise CorruptionError(path, offset, f"blocks of {used} bytes are declared")


def _pack_arrays(index: BlockIndex | ColumnIndex) -> dict[str, bytes]:
    fields = _BLOCK_FIELDS if isinstance(index, BlockIndex) else _COLUMN_FIELDS
    return {name: getattr(index, name).astype(dtype).tobytes() for name, dtype in fields.items()}


def _unpack_arrays(packed: dict[str, bytes], fields: dict[str, str]) -> dict[str, Any]:
    arrays = {
        name: np.frombuffer(packed[name], dtype)
        for name, dtype in fields.items()
        if name in packed or name not in _LATER_FIELDS
    }
    count = len(next(iter(arrays.values())))
    arrays.update({name: np.zeros(count, fields[name]) for name in fields if name not in arrays})
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError("arrays of different lengths")
    return arrays


def _pack_statistics(footer: PartFooter, key: int) -> list[bytes]:
    statistics = footer.statistics.get(key)
    return [] if statistics is None else [array.tobytes() for array in statistics.arrays()]


def _unpack_statistics(packed: list[bytes], column_type: ColumnType) -> ColumnStatistics:
    dtypes = statistics_dtypes(column_type)
    if dtypes is None:
        raise ValueError(f"statistics of a {column_type.name}")
    minimum, maximum, first, last = (np.frombuffer(data, dtypes[0]) for data in packed[:4])
    total, flags = np.frombuffer(packed[4], dtypes[1]), np.frombuffer(packed[5], np.uint8)
    return ColumnStatistics(minimum, maximum, total, first, last, flags)
