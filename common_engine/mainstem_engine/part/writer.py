"""Writing a part.

1. Rows come sorted by (device, time, origin, LSN). They are cut into blocks: a device with at least
   DENSE_ROWS_MIN rows has blocks of its own, of nearly equal size; the rows of neighbouring devices
   with fewer share blocks.
2. Every column of a block is encoded for itself, as its measurement names or as a trial says, and
   checksummed; statistics of all blocks are computed at once.
3. The file is written under a temporary name, synced, renamed, and its directory synced. It counts
   only when the part list names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from mainstem_engine.encoding.registry import AUTO, encode_column
from mainstem_engine.filesystem import TEMPORARY_SUFFIX, AppendFile, Buffer, Filesystem
from mainstem_engine.model import (
    AnyArray,
    Column,
    ColumnType,
    Measurement,
    VersionedRows,
)
from mainstem_engine.part.layout import (
    BLOCK_ROWS_MAX,
    BLOCK_ROWS_MIN,
    DENSE_ROWS_MIN,
    DEVICE_COLUMN,
    EXTREMES_USABLE,
    HEAD,
    LSN_COLUMN,
    MAGIC,
    ORIGIN_COLUMN,
    PART_SUFFIX,
    SUM_USABLE,
    SYSTEM_COLUMNS,
    TIME_COLUMN,
    VERSION,
    BlockIndex,
    ColumnIndex,
    ColumnStatistics,
    PartFooter,
    statistics_dtypes,
)
from mainstem_engine.part.manifest import PartMeta

BLOCK_BYTES = 32 << 20
"""TEXT and BLOB of a block stay near this size, an eighth of what one column may have."""

WRITE_BYTES = 1 << 20
"""Encoded columns are gathered to this size before they are written."""

_ORDERED_COLUMNS = (TIME_COLUMN, LSN_COLUMN)

Starts = npt.NDArray[np.int64]


def write_part(
    fs: Filesystem,
    directory: Path,
    name: str,
    *,
    table: str,
    partition_start_ns: int,
    rows: VersionedRows,
    measurements: Mapping[int, Measurement],
    block_rows: int = 4096,
) -> PartMeta:
    """Write ``rows`` durably as ``directory/<name>.part`` and describe the result.

    ``rows``: at least one, sorted by (device, time, origin, LSN). ``measurements``: by id, at least
    those that ``rows`` has columns for. ``block_rows``: rows of a block, at most (8 to 2**20).
    Raises OSError; ValueError for rows that are not sorted.
    """
    if not len(rows):
        raise ValueError("a part needs at least one row")
    columns = {key: rows.columns[key] for key in sorted(rows.columns)}
    types = {**SYSTEM_COLUMNS, **{key: measurements[key].type for key in columns}}
    starts = block_starts(rows.device, _rows_that_fit(columns, types, len(rows), block_rows))
    blocks = _block_index(rows, starts)
    path = directory / f"{name}{PART_SUFFIX}"
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with fs.create_temporary(temporary) as file:
        body = _BodyWriter(file, list(types), measurements)
        body.write([HEAD.pack(MAGIC, VERSION, 0)])
        for number, start in enumerate(starts.tolist()):
            block = slice(start, start + int(blocks.rows[number]))
            body.write_block(rows, columns, types, block)
        statistics = {
            key: _statistics(column, types[key], starts)
            for key, column in columns.items()
            if statistics_dtypes(types[key]) is not None
        }
        footer = PartFooter(table, partition_start_ns, blocks, types, body.index(), statistics)
        body.write([footer.pack()])
        body.flush()
        file.sync()
    fs.rename(temporary, path)
    fs.sync_directory(directory)
    return PartMeta(
        name=name,
        table=table,
        partition_start_ns=partition_start_ns,
        rows=len(rows),
        bytes=body.bytes,
        time_min_ns=int(rows.time.min()),
        time_max_ns=int(rows.time.max()),
        device_min=int(rows.device[0]),
        device_max=int(rows.device[-1]),
        lsn=_lsn_ranges(rows),
    )


def _rows_that_fit(
    columns: Mapping[int, Column], types: Mapping[int, ColumnType], count: int, block_rows: int
) -> int:
    """``block_rows`` within its bounds, and fewer if TEXT or BLOB values are large."""
    for key, column in columns.items():
        if types[key].is_variable:
            values = column.values if column.valid is None else column.values[column.valid]
            size = sum(map(len, values.tolist()))
            block_rows = min(block_rows, BLOCK_BYTES * count // max(size, 1))
    return min(max(block_rows, BLOCK_ROWS_MIN), BLOCK_ROWS_MAX)


def block_starts(device: npt.NDArray[np.uint32], block_rows: int) -> Starts:
    """First row of every block, for rows sorted by ``device``."""
    if (device[1:] < device[:-1]).any():
        raise ValueError("the rows of a part must be sorted by device")
    device_starts = np.flatnonzero(np.r_[True, device[1:] != device[:-1]])
    lengths = np.diff(np.r_[device_starts, len(device)])
    dense = lengths >= min(DENSE_ROWS_MIN, block_rows)
    # A run begins at every dense device, and where sparse ones follow a dense one.
    begins = dense | np.r_[True, dense[:-1]]
    run_starts = device_starts[begins]
    run_lengths = np.diff(np.r_[run_starts, len(device)])
    counts = -(-run_lengths // block_rows)
    # Block k of c in a run of n rows starts at k * n // c: sizes differ by at most one row.
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = number * np.repeat(run_lengths, counts) // np.repeat(counts, counts)
    return np.asarray(np.repeat(run_starts, counts) + offsets, np.int64)


class _BodyWriter:
    """Encodes the columns of one block after the other and remembers where they are."""

    def __init__(
        self, file: AppendFile, keys: list[int], measurements: Mapping[int, Measurement]
    ) -> None:
        self._file = file
        self._named = {key: (m.encoding, m.compression) for key, m in measurements.items()}
        self._pending: list[Buffer] = []
        self._pending_bytes = 0
        self._entries: dict[int, list[tuple[int, int, int, int, int, int]]] = {k: [] for k in keys}
        self.bytes = 0

    def write(self, pieces: list[bytes]) -> None:
        """Append bytes; they reach the file in pieces of about WRITE_BYTES."""
        self._pending.extend(pieces)
        size = sum(map(len, pieces))
        self._pending_bytes += size
        self.bytes += size
        if self._pending_bytes >= WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the file."""
        self._file.write([b"".join(self._pending)])  # type: ignore[arg-type]
        self._pending.clear()
        self._pending_bytes = 0

    def write_block(
        self,
        rows: VersionedRows,
        columns: Mapping[int, Column],
        types: Mapping[int, ColumnType],
        block: slice,
    ) -> None:
        """Encode rows ``block`` of every column."""
        device = rows.device[block]
        if device[0] == device[-1]:
            self._note(DEVICE_COLUMN, b"", b"", 0, 0, 0)
        else:
            self._write_column(DEVICE_COLUMN, Column(device), types[DEVICE_COLUMN])
        self._write_column(TIME_COLUMN, Column(rows.time[block]), types[TIME_COLUMN])
        self._write_column(ORIGIN_COLUMN, Column(rows.origin[block]), types[ORIGIN_COLUMN])
        self._write_column(LSN_COLUMN, Column(rows.lsn[block]), types[LSN_COLUMN])
        for key, column in columns.items():
            self._write_column(key, column.take(block), types[key])

    def _write_column(self, key: int, column: Column, column_type: ColumnType) -> None:
        values, bitmap, nulls = column.values, b"", 0
        if column.valid is not None:
            nulls = len(values) - int(np.count_nonzero(column.valid))
        if nulls == len(values):
            self._note(key, b"", b"", nulls, 0, 0)
            return
        if nulls and column.valid is not None:
            bitmap = np.packbits(column.valid, bitorder="little").tobytes()
            values = values[column.valid]
        encoding, compression = self._named.get(key, (AUTO, AUTO))
        encoded = encode_column(
            values,
            column_type,
            ordered=key in _ORDERED_COLUMNS,
            encoding=encoding,
            compression=compression,
        )
        self._note(key, bitmap, encoded.data, nulls, encoded.encoding, encoded.compression)

    def _note(
        self, key: int, bitmap: bytes, data: bytes, nulls: int, encoding: int, compression: int
    ) -> None:
        crc = google_crc32c.extend(google_crc32c.value(bitmap), data)
        self._entries[key].append((len(data), len(bitmap), crc, nulls, encoding, compression))
        self.write([bitmap, data])

    def index(self) -> dict[int, ColumnIndex]:
        """Where everything is, by column."""
        dtypes = (np.uint32, np.uint32, np.uint32, np.uint32, np.uint8, np.uint8)
        result = {}
        for key, entries in self._entries.items():
            fields = zip(*entries, strict=True)
            arrays: list[AnyArray] = [
                np.array(values, dtype) for values, dtype in zip(fields, dtypes, strict=True)
            ]
            result[key] = ColumnIndex(*arrays)
        return result


def _block_index(rows: VersionedRows, starts: Starts) -> BlockIndex:
    ends = np.r_[starts[1:], len(rows)]
    return BlockIndex(
        rows=(ends - starts).astype(np.uint32),
        device_min=rows.device[starts],
        device_max=rows.device[ends - 1],
        time_min_ns=np.minimum.reduceat(rows.time, starts),
        time_max_ns=np.maximum.reduceat(rows.time, starts),
    )


def _statistics(column: Column, column_type: ColumnType, starts: Starts) -> ColumnStatistics:
    """Statistics of every block of one numeric column, in a few passes over the whole column."""
    dtypes = statistics_dtypes(column_type)
    assert dtypes is not None
    values, valid, blocks = column.values, column.valid, starts
    count = np.diff(np.r_[starts, len(values)])
    if valid is not None:
        # Leave the nulls out; blocks without a value take part as none.
        count = np.add.reduceat(valid.astype(np.int64), starts)
        values = values[valid]
        blocks = np.r_[0, np.cumsum(count)[:-1]]
    some = count > 0
    begin = blocks[some]
    result = {
        name: np.zeros(len(starts), dtype)
        for name, dtype in zip(("min", "max", "first", "last"), (dtypes[0],) * 4, strict=True)
    }
    total = np.zeros(len(starts), dtypes[1])
    flags = np.zeros(len(starts), np.uint8)
    if len(begin):
        # A NaN anywhere makes the extremes NaN; an infinity of each sign makes the sum NaN.
        with np.errstate(invalid="ignore", over="ignore"):
            result["min"][some] = np.minimum.reduceat(values, begin)
            result["max"][some] = np.maximum.reduceat(values, begin)
            total[some] = np.add.reduceat(values, begin, dtype=dtypes[1])
            result["first"][some] = values[begin]
            result["last"][some] = values[begin + count[some] - 1]
            flags[some] = _usable(
                result["min"][some], result["max"][some], total[some], count[some]
            )
    return ColumnStatistics(
        result["min"], result["max"], total, result["first"], result["last"], flags
    )


def _usable(
    low: AnyArray, high: AnyArray, total: AnyArray, count: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Which statistics of blocks with values can be trusted."""
    if low.dtype.kind == "f":
        extremes = np.where(np.isnan(low) | np.isnan(high), 0, EXTREMES_USABLE)
        return np.asarray(extremes | np.where(np.isfinite(total), SUM_USABLE, 0), np.uint8)
    # count * greatest magnitude bounds every partial sum; float64 is exact enough for a bound.
    bound = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64))) * count
    limit = 2.0**64 if low.dtype.kind == "u" else 2.0**63
    summable = np.where(bound < limit * 0.99, SUM_USABLE, 0)
    return np.asarray(summable | EXTREMES_USABLE, np.uint8)


def _lsn_ranges(rows: VersionedRows) -> dict[int, tuple[int, int]]:
    """Lowest and highest LSN of each origin."""
    ranges: dict[int, tuple[int, int]] = {}
    for origin in np.unique(rows.origin).tolist():
        lsn: npt.NDArray[Any] = rows.lsn[rows.origin == origin]
        ranges[origin] = int(lsn.min()), int(lsn.max())
    return ranges
