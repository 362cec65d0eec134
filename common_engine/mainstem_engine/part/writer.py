"""Writing a part.

1. Rows come sorted by (device, time, origin, LSN), in any number of pieces. They are cut into
   blocks (blocks.py); what the next piece could still change is held back.
2. Finished blocks are encoded in groups of about GROUP_ROWS rows, one column of a group at a time,
   on the threads of the process (encoder.py, workers.py). Groups are written in order, and at most
   GROUPS_UNDER_WAY wait: memory is bounded by them, however large the part becomes.
3. The file is written under a temporary name, synced piece by piece so that the log need not wait
   behind it (pace.py), renamed, and its directory synced. It counts only when the part list names
   it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.deferred import join_deferred
from mainstem_engine.encoding.auto import Choice
from mainstem_engine.encoding.interface import EncodingNumber
from mainstem_engine.encoding.pco import LEVEL_FAST
from mainstem_engine.filesystem import TEMPORARY_SUFFIX, Filesystem
from mainstem_engine.model import Column, Measurement, VersionedRows
from mainstem_engine.pace import PacedFile
from mainstem_engine.part.blocks import Starts, block_starts, finished_blocks
from mainstem_engine.part.encoder import ColumnPlan, encode_blocks
from mainstem_engine.part.footer_builder import FooterBuilder
from mainstem_engine.part.layout import (
    BLOCK_ROWS_MAX,
    BLOCK_ROWS_MIN,
    DEVICE_COLUMN,
    HEAD,
    LSN_COLUMN,
    MAGIC,
    ORIGIN_COLUMN,
    PART_SUFFIX,
    SYSTEM_COLUMNS,
    TIME_COLUMN,
    VERSION,
    BlockIndex,
    EncodedBlocks,
    PartFooter,
)
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part.workers import done, submit

BLOCK_BYTES = 32 << 20
"""TEXT and BLOB of a block stay near this size, an eighth of what one column may have."""

GROUP_ROWS = 3 << 15
"""Rows that are encoded together: the cost of handing tasks over is spread over many blocks. A
piece of a flush and what was held back before it make one group."""
GROUP_BYTES = 12 << 20
"""A group of wide rows is smaller: this is what its values may take."""
GROUPS_UNDER_WAY = 2
"""One is encoded while the one before is written."""
INLINE_VALUES_MAX = 1 << 14
"""A group of fewer values is encoded at once: handing it over would cost more."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring blocks that are being encoded."""

    blocks: BlockIndex
    columns: dict[int, Future[tuple[EncodedBlocks, Choice | None]]]


class PartWriter:
    """Writes one part from rows that come in pieces; see the module. For one thread at a time.

    ``measurements``: by id, at least those that the rows have columns for. ``block_rows``: rows of
    a block, at most (8 to 2**20). ``vnode``, ``vnodes``, ``applied``, ``erased_through``: see
    PartMeta. ``level``: of pcodec. ``choices``: what suited the columns of an earlier part of the
    same kind, by id. As a context manager it aborts what was not finished.
    """

    def __init__(
        self,
        fs: Filesystem,
        directory: Path,
        name: str,
        *,
        table: str,
        partition_start_ns: int,
        measurements: Mapping[int, Measurement],
        block_rows: int = 4096,
        vnode: int = 0,
        vnodes: int = 1,
        applied: tuple[int, int] = (0, 0),
        erased_through: int = 0,
        level: int = LEVEL_FAST,
        choices: Mapping[int, Choice] | None = None,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._name = name
        self._table = table
        self._partition_start_ns = partition_start_ns
        self._measurements = measurements
        self._block_rows = min(max(block_rows, BLOCK_ROWS_MIN), BLOCK_ROWS_MAX)
        self._identity = (vnode, vnodes, applied, erased_through)
        self._path = directory / f"{name}{PART_SUFFIX}"
        self._temporary = self._path.with_name(self._path.name + TEMPORARY_SUFFIX)
        self._level = level
        self._choices = choices or {}
        self._plans = {
            key: ColumnPlan(key, kind, level=level) for key, kind in SYSTEM_COLUMNS.items()
        }
        self._held: list[VersionedRows] = []
        self._held_rows = 0
        self._last_device = 0
        self._groups: deque[_Group] = deque()
        self._noted = FooterBuilder()
        self._lsn: dict[int, tuple[int, int]] = {}
        self.rows = 0
        """Rows that were added."""
        self.bytes = 0
        """Bytes that were handed to the file."""
        fs.unlink(self._temporary)
        self._file: PacedFile | None = PacedFile(fs.create(self._temporary))
        try:
            self._write([HEAD.pack(MAGIC, VERSION, 0)])
        except BaseException:
            self.abort()
            raise

    @property
    def choices(self) -> dict[int, Choice]:
        """What suited the columns last, for the next part. Only DECIMAL, which says by itself when
        it fits no more; what was taken for a block of odd values is tried anew."""
        plans = self._plans.items()
        found = {key: plan.choice for key, plan in plans if plan.choice is not None}
        return {
            key: choice
            for key, choice in found.items()
            if choice.encoding.number == EncodingNumber.DECIMAL
        }

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.abort()

    def add(self, rows: VersionedRows) -> None:
        """Appends rows that follow all before. ``rows``: sorted by (device, time, origin, LSN).

        Returns before they are written; the arrays must not change until finish(). Raises OSError;
        ValueError for rows that are not sorted by device.
        """
        if not len(rows):
            return
        if rows.device[0] < self._last_device:
            raise ValueError("the rows of a part must be sorted by device")
        self._last_device = int(rows.device[-1])
        self._held.append(rows)
        self._held_rows += len(rows)
        self.rows += len(rows)
        _widen_lsn_ranges(self._lsn, rows)
        if self._held_rows >= 4 * self._block_rows:
            held = join_deferred(self._held)
            starts, cut = finished_blocks(held.device, self._rows_that_fit(held))
            self._encode(held, starts, cut)
            rest = held.take(slice(cut, None))
            self._held, self._held_rows = [rest], len(rest)

    def add_block(self, part: Part, number: int) -> None:
        """Appends a block of another part as it is; it follows all rows before.

        The types of its columns must be those of ``measurements``. What was held back becomes
        blocks first, which then may be small. Raises OSError, CorruptionError, ValueError.
        """
        self._encode_held()
        self._drain(0)
        blocks, columns = part.encoded_block(number)
        if any(self._plan(key).type != kind for key, kind in part.types.items()):
            raise ValueError("a block of other types")
        if blocks.device_min[0] < self._last_device:
            raise ValueError("the blocks of a part must be sorted by device")
        self._last_device = int(blocks.device_max[0])
        self.rows += int(blocks.rows[0])
        _widen_lsn_ranges(self._lsn, part.read([number], (), times=False))
        self._write_blocks(blocks, columns)

    def finish(self) -> PartMeta:
        """Writes what is left, and the file durably under its name. Raises OSError; ValueError
        without a row."""
        if self._file is None or not self.rows:
            self.abort()
            raise ValueError("a part needs at least one row")
        try:
            self._encode_held()
            self._drain(0)
            footer = self._footer()
            self._write([footer.pack()])
            self._file.sync()
            self._file.close()
            self._file = None
            self._fs.rename(self._temporary, self._path)
        except BaseException:
            self.abort()
            raise
        self._fs.sync_directory(self._directory)
        return self._meta(footer.blocks)

    def abort(self) -> None:
        """Removes the unfinished file. Does nothing after finish()."""
        self._groups.clear()
        self._held = []
        file, self._file = self._file, None
        if file is not None:
            file.close()
            # A start removes it otherwise; what failed before is what the caller must see.
            with contextlib.suppress(OSError):
                self._fs.unlink(self._temporary)

    def _encode_held(self) -> None:
        held = join_deferred(self._held)
        self._held, self._held_rows = [], 0
        if len(held):
            self._encode(held, block_starts(held.device, self._rows_that_fit(held)), len(held))

    def _rows_that_fit(self, rows: VersionedRows) -> int:
        """Rows of a block: fewer if TEXT or BLOB values are large."""
        found = self._block_rows
        for key, column in rows.columns.items():
            if self._plan(key).type.is_variable:
                values = column.values if column.valid is None else column.values[column.valid]
                size = sum(map(len, values.tolist()))
                found = min(found, BLOCK_BYTES * len(rows) // max(size, 1))
        return max(found, BLOCK_ROWS_MIN)

    def _plan(self, key: int) -> ColumnPlan:
        plan = self._plans.get(key)
        if plan is None:
            named = self._measurements[key]
            plan = ColumnPlan(
                key,
                named.type,
                named.encoding,
                named.compression,
                self._level,
                self._choices.get(key),
            )
            self._plans[key] = plan
        return plan

    def _encode(self, rows: VersionedRows, starts: Starts, end: int) -> None:
        """Hands the blocks that begin at ``starts`` and end at ``end`` over, group by group."""
        row_bytes = 22 + sum(self._plan(key).type.dtype.itemsize for key in rows.columns)
        group_rows = min(GROUP_ROWS, GROUP_BYTES // row_bytes)
        edges = np.append(starts, end)
        first = 0
        while first < len(starts):
            beyond = int(edges.searchsorted(edges[first] + group_rows, "right")) - 1
            last = max(beyond, first + 1)
            self._drain(GROUPS_UNDER_WAY - 1)
            block = rows.take(slice(int(edges[first]), int(edges[last])))
            self._groups.append(self._group(block, starts[first:last] - edges[first]))
            first = last

    def _group(self, rows: VersionedRows, starts: Starts) -> _Group:
        columns = {
            DEVICE_COLUMN: Column(rows.device),
            TIME_COLUMN: Column(rows.time),
            ORIGIN_COLUMN: Column(rows.origin),
            LSN_COLUMN: Column(rows.lsn),
            **rows.columns,
        }
        hand_over = submit if len(rows) * len(columns) > INLINE_VALUES_MAX else done
        return _Group(
            _block_index(rows, starts),
            {
                key: hand_over(encode_blocks, self._plan(key), column, starts)
                for key, column in columns.items()
            },
        )

    def _drain(self, groups: int) -> None:
        """Writes the oldest groups until no more than ``groups`` are under way."""
        while len(self._groups) > groups:
            group = self._groups.popleft()
            columns: dict[int, EncodedBlocks] = {}
            for key, future in group.columns.items():
                columns[key], choice = future.result()
                # What suited these blocks is where those that follow begin.
                self._plans[key] = replace(self._plans[key], choice=choice)
            self._write_blocks(group.blocks, columns)

    def _write_blocks(self, blocks: BlockIndex, columns: Mapping[int, EncodedBlocks]) -> None:
        ordered = [columns[key].data for key in sorted(columns, key=_file_order)]
        self._write([data for block in zip(*ordered, strict=True) for data in block])
        self._noted.note(blocks, columns, {key: plan.type for key, plan in self._plans.items()})

    def _write(self, pieces: Sequence[bytes]) -> None:
        assert self._file is not None
        data = b"".join(pieces)
        self._file.write(data)
        self.bytes += len(data)

    def _footer(self) -> PartFooter:
        keys = sorted(self._noted.types, key=_file_order)
        return self._noted.footer(self._table, self._partition_start_ns, keys)

    def _meta(self, blocks: BlockIndex) -> PartMeta:
        return PartMeta(
            self._name,
            self._table,
            self._partition_start_ns,
            self.rows,
            self.bytes,
            int(blocks.time_min_ns.min()),
            int(blocks.time_max_ns.max()),
            int(blocks.device_min[0]),
            int(blocks.device_max[-1]),
            self._lsn,
            *self._identity,
        )


def write_part(
    fs: Filesystem,
    directory: Path,
    name: str,
    *,
    table: str,
    partition_start_ns: int,
    rows: VersionedRows,
    measurements: Mapping[int, Measurement],
    **options: Any,
) -> PartMeta:
    """Write ``rows`` durably as ``directory/<name>.part`` and describe the result.

    ``rows``: at least one, sorted by (device, time, origin, LSN). ``options``: further ones of
    PartWriter. Raises OSError; ValueError for rows that are not sorted by device.
    """
    if not len(rows):
        raise ValueError("a part needs at least one row")
    with PartWriter(
        fs,
        directory,
        name,
        table=table,
        partition_start_ns=partition_start_ns,
        measurements=measurements,
        **options,
    ) as writer:
        writer.add(rows)
        return writer.finish()


def _file_order(key: int) -> tuple[bool, int]:
    """DEVICE, TIME, ORIGIN, LSN, then measurements by id."""
    return key >= 0, abs(key)


def _block_index(rows: VersionedRows, starts: Starts) -> BlockIndex:
    ends = np.r_[starts[1:], len(rows)]
    repeated = (rows.device[1:] == rows.device[:-1]) & (rows.time[1:] == rows.time[:-1])
    # Where a repetition is: a block holds one if the count grew between its first and last row.
    before = np.concatenate([[0], np.cumsum(repeated)])
    return BlockIndex(
        rows=(ends - starts).astype(np.uint32),
        device_min=rows.device[starts],
        device_max=rows.device[ends - 1],
        time_min_ns=np.minimum.reduceat(rows.time, starts),
        time_max_ns=np.maximum.reduceat(rows.time, starts),
        distinct=(before[ends - 1] == before[starts]).astype(np.uint8),
    )


def _widen_lsn_ranges(ranges: dict[int, tuple[int, int]], rows: VersionedRows) -> None:
    """Takes the lowest and highest LSN of each origin of ``rows`` in."""
    origin, lsn = rows.origin, rows.lsn
    one = bool((origin == origin[0]).all())
    for number in [int(origin[0])] if one else np.unique(origin).tolist():
        mine: npt.NDArray[np.uint64] = lsn if one else lsn[origin == number]
        low, high = int(mine.min()), int(mine.max())
        before = ranges.get(number, (low, high))
        ranges[number] = min(low, before[0]), max(high, before[1])
