"""Reading a part through a memory map.

1. ``open`` checks head, footer and every declared length; no block is touched. A *lazy* reader
   checks the checksum of the footer, and unpacks it when it is first asked for.
2. ``prune`` names the blocks that may hold rows of some devices and times.
3. ``read`` checks the checksum of each column of a block before it is decoded, then decodes it into
   its place in the result. No value is cached: the page cache holds the bytes.
4. Times of one device in equal steps follow from the block index: for a caller that needs no
   versions they are computed, not read.

A Part may be read by many threads at once, and goes on working after its file was unlinked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import xxhash

from mainstem_engine.encoding.compression import RAW_BYTES_MAX
from mainstem_engine.encoding.interface import Compression, EncodingNumber
from mainstem_engine.encoding.registry import decode_column
from mainstem_engine.errors import ClosedError, CorruptionError, EncodingError
from mainstem_engine.filesystem import Filesystem, MappedFile
from mainstem_engine.model import (
    AnyArray,
    BoolMask,
    Column,
    ColumnType,
    DeviceIds,
    TimesNs,
    VersionedRows,
)
from mainstem_engine.part.layout import (
    DEVICE_COLUMN,
    HEAD,
    LSN_COLUMN,
    ORIGIN_COLUMN,
    PART_SUFFIX,
    TIME_COLUMN,
    BlockIndex,
    ColumnStatistics,
    EncodedBlocks,
    PartFooter,
    check_ends,
    sliced,
    unpack_footer,
)
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.workers import submit

BlockNumbers = npt.NDArray[np.intp]
_LINEAR = int(EncodingNumber.LINEAR)

THREADED_ROWS_MIN = 1 << 15
"""Columns of fewer rows are decoded in less time than it takes to hand them to threads."""

_UNKNOWN = -1
"""Of a block whose times were not yet compared with those of the block before it."""

FEW_BLOCKS = 64
"""Looking at each of so many blocks is cheaper than one look at all blocks of a large part."""


class Part:
    """One open part; see the module."""

    def __init__(self, meta: PartMeta, mapped: MappedFile) -> None:
        self.meta = meta
        self._mapped = mapped
        self._bytes: npt.NDArray[np.uint8] | None = np.frombuffer(mapped.view, np.uint8)
        self._unpacked: PartFooter | None = None
        self._types: dict[int, ColumnType] = {}
        self._offsets: dict[int, npt.NDArray[np.int64]] = {}
        self._seams: npt.NDArray[np.int8] | None = None

    @classmethod
    def open(cls, fs: Filesystem, directory: Path, meta: PartMeta, *, lazy: bool = False) -> Part:
        """Map ``directory/<meta.name>.part``. CorruptionError if it is not what was written;
        ``lazy``: what has the right checksum and is wrong all the same is found when it is used."""
        path = directory / f"{meta.name}{PART_SUFFIX}"
        mapped = fs.map(path)
        try:
            if mapped.view.nbytes != meta.bytes:
                raise CorruptionError(
                    path, mapped.view.nbytes, f"the part list says {meta.bytes} bytes"
                )
            check_ends(path, mapped.view)
            part = cls(meta, mapped)
            if not lazy:
                part._unpack()
        except CorruptionError:
            mapped.close()
            raise
        return part

    @property
    def blocks(self) -> BlockIndex:
        """Rows, devices and times of every block."""
        return self.footer.blocks

    @property
    def footer(self) -> PartFooter:
        """All that the part says of its blocks and columns. Raises CorruptionError, ClosedError."""
        return self._unpacked or self._unpack()

    def _unpack(self) -> PartFooter:
        """The footer; two threads that both need it first unpack the same."""
        if self._bytes is None:
            raise ClosedError(f"part {self.meta.name} is closed")
        path, view = self._mapped.path, self._mapped.view
        footer = unpack_footer(path, view)
        rows = int(footer.blocks.rows.sum(dtype=np.int64))
        if rows != self.meta.rows or footer.table != self.meta.table:
            raise CorruptionError(path, view.nbytes, "this is another part")
        self._types = {key: kind for key, kind in footer.types.items() if key >= 0}
        self._offsets = _offsets(footer)
        self._unpacked = footer  # last: another thread may be looking
        return footer

    @property
    def types(self) -> dict[int, ColumnType]:
        """Types of the measurements that this part has a column for."""
        if self._unpacked is None:
            self._unpack()
        return self._types

    def nulls(self, measurement_id: int) -> npt.NDArray[np.uint32]:
        """Nulls per block of a measurement of this part."""
        return self.footer.columns[measurement_id].nulls

    def statistics(self, measurement_id: int) -> ColumnStatistics | None:
        """Per block; None for a measurement without a column here or without numbers."""
        return self.footer.statistics.get(measurement_id)

    def prune(
        self, devices: npt.NDArray[np.uint32] | None, start_ns: int, end_ns: int
    ) -> BlockNumbers:
        """Numbers of blocks that may hold rows of ``devices`` (sorted; None: all) in [start, end).

        Every block that holds such a row is among them.
        """
        blocks = self.footer.blocks
        begin, end = 0, len(blocks)
        if devices is not None:
            if not len(devices):
                return np.zeros(0, np.intp)
            # Blocks are in the order of devices: most are ruled out by two binary searches.
            begin = int(blocks.device_max.searchsorted(devices[0], "left"))
            end = int(blocks.device_min.searchsorted(devices[-1], "right"))
        some = slice(begin, end)
        hit = (blocks.time_max_ns[some] >= start_ns) & (blocks.time_min_ns[some] < end_ns)
        if devices is not None and len(devices) > 1:
            # A block is hit if some device lies between its ends: if their ranks differ.
            low = devices.searchsorted(blocks.device_min[some], "left")
            hit &= low < devices.searchsorted(blocks.device_max[some], "right")
        return hit.nonzero()[0] + begin

    def read(
        self,
        blocks: Sequence[int] | BlockNumbers,
        measurement_ids: Collection[int],
        *,
        versions: bool = True,
        times: bool = True,
    ) -> VersionedRows:
        """All rows of ``blocks``, in the order given.

        Only columns that this part has are in the result. ``versions`` False: origins and LSNs are
        zeros, ``times`` False: times are; for a caller that knows that nothing has to be merged.
        Raises CorruptionError (the rest of the part stays readable), ClosedError.
        """
        numbers = np.asarray(blocks, np.intp)
        sizes = self.footer.blocks.rows[numbers].astype(np.int64)
        places = _places(numbers, sizes)
        total = places[-1][1].stop if places else 0
        keys = [key for key in measurement_ids if key in self.types]
        system = [ORIGIN_COLUMN, LSN_COLUMN] if versions else []
        if len(keys) < 2 or total < THREADED_ROWS_MIN:
            found = {key: self._read_column(key, places, total) for key in (*system, *keys)}
        else:
            columns = (*system, *keys)
            tasks = {key: submit(self._read_column, key, places, total) for key in columns}
            found = {key: task.result() for key, task in tasks.items()}
        return VersionedRows(
            device=self._read_devices(numbers, sizes, places),
            time=self._read_times(numbers, places, total, computed=not versions)
            if times
            else _zeros(total, np.int64),
            origin=found[ORIGIN_COLUMN].values if versions else _zeros(total, np.uint16),
            lsn=found[LSN_COLUMN].values if versions else _zeros(total, np.uint64),
            columns={key: found[key] for key in keys},
        )

    def read_times(self, numbers: BlockNumbers) -> TimesNs:
        """The times of all rows of some blocks, on this thread: not read where they are in equal
        steps. Raises as read()."""
        places = _places(numbers, self.footer.blocks.rows[numbers].astype(np.int64))
        total = places[-1][1].stop if places else 0
        return self._read_times(numbers, places, total, computed=True)

    def read_devices(self, numbers: BlockNumbers) -> DeviceIds:
        """The devices of all rows of some blocks, on this thread. Raises as read()."""
        sizes = self.footer.blocks.rows[numbers].astype(np.int64)
        return self._read_devices(numbers, sizes, _places(numbers, sizes))

    def read_origins(self, numbers: BlockNumbers) -> npt.NDArray[np.uint16]:
        """The origins of all rows of some blocks, on this thread. Raises as read()."""
        places = _places(numbers, self.footer.blocks.rows[numbers].astype(np.int64))
        total = places[-1][1].stop if places else 0
        return self._read_column(ORIGIN_COLUMN, places, total).values

    def follows(self, numbers: BlockNumbers) -> BoolMask:
        """bool[n]: the block shares no device and time with the block before it in the part.

        The index says it of most. Of others the times where they meet are read, and remembered: a
        byte for each block of the part. Raises as read().
        """
        blocks = self.footer.blocks
        before = np.maximum(numbers - 1, 0)
        known: BoolMask = blocks.device_max[before] != blocks.device_min[numbers]
        known |= (blocks.time_max_ns[before] < blocks.time_min_ns[numbers]) | (numbers == 0)
        if known.all():
            return known
        seams = self._seams
        if seams is None:
            seams = self._seams = np.full(len(blocks), _UNKNOWN, np.int8)
        left = np.empty(0, np.int64)
        at = -1
        for number in numbers[~known & (seams[numbers] == _UNKNOWN)].tolist():
            if at != number - 1:
                left = self._times_of_block(number - 1)
            right = self._times_of_block(number)
            # One device ends the left block and begins the right: its rows ascend through both.
            seams[number] = left.item(-1) < right.item(0)
            left, at = right, number
        known |= seams[numbers] == 1
        return known

    def _times_of_block(self, number: int) -> TimesNs:
        time: TimesNs = np.empty(self.footer.blocks.rows.item(number), np.int64)
        self._decode(TIME_COLUMN, number, time, None)
        return time

    def read_columns(
        self, numbers: BlockNumbers, measurement_ids: Collection[int]
    ) -> dict[int, Column]:
        """Columns of all rows of some blocks, as far as this part has them, on this thread. Raises
        as read()."""
        places = _places(numbers, self.footer.blocks.rows[numbers].astype(np.int64))
        total = places[-1][1].stop if places else 0
        types = self.types
        return {
            key: self._read_column(key, places, total) for key in measurement_ids if key in types
        }

    def iterate_columns(
        self, numbers: BlockNumbers, measurement_ids: Collection[int]
    ) -> Iterator[tuple[int, Column]]:
        """As read_columns(), one after the other; those that are null in all blocks are left out.
        Raises as read()."""
        sizes = self.footer.blocks.rows[numbers]
        places = _places(numbers, sizes.astype(np.int64))
        total = places[-1][1].stop if places else 0
        types = self.types
        for key in measurement_ids:
            if key in types and (self.nulls(key)[numbers] < sizes).any():
                yield key, self._read_column(key, places, total)

    def text_bytes(self, measurement_id: int, number: int) -> int:
        """Bytes that the texts of one column of a block have before they are compressed, as the
        block says itself: an estimate, nothing is checked. ClosedError."""
        data, index = self._bytes, self.footer.columns[measurement_id]
        if data is None:
            raise ClosedError(f"part {self.meta.name} is closed")
        stored = index.bytes.item(number)
        if index.compression.item(number) == Compression.UNCOMPRESSED:
            return int(stored)
        offset = self._offsets[measurement_id].item(number) + index.valid_bytes.item(number)
        declared = int.from_bytes(data[offset : offset + 4].tobytes(), "little")
        return min(declared, RAW_BYTES_MAX)

    def read_block(self, number: int, measurement_ids: Collection[int]) -> dict[int, Column]:
        """As read_columns(), of one block."""
        total = self.footer.blocks.rows.item(number)
        places = [(number, slice(0, total))]
        types = self.types
        return {
            key: self._read_column(key, places, total) for key in measurement_ids if key in types
        }

    def read_run(
        self, first: int, end: int, measurement_ids: Collection[int], start_ns: int, end_ns: int
    ) -> tuple[TimesNs, dict[int, Column]]:
        """(times, columns) of the rows in [start, end) ns of the blocks ``first`` up to ``end``.

        The caller vouches that these are of one device, with times that ascend strictly from block
        to block; few enough to be decoded on this thread. Raises as read().
        """
        places: list[tuple[int, slice]] = []
        total = 0
        for number, size in enumerate(self.footer.blocks.rows[first:end].tolist(), first):
            places.append((number, slice(total, total + size)))
            total += size
        time, low, high = self._times_of_run(places, total, start_ns, end_ns)
        types = self.types
        columns = {
            key: self._read_column(key, places, total) for key in measurement_ids if key in types
        }
        if high - low < total:
            inside = slice(low, high)
            columns = {key: column.take(inside) for key, column in columns.items()}
        return time, columns

    def _times_of_run(
        self, places: list[tuple[int, slice]], total: int, start_ns: int, end_ns: int
    ) -> tuple[TimesNs, int, int]:
        """(times in the range, first row, row after the last) of neighbouring blocks."""
        blocks = self.footer.blocks
        encoding = self.footer.columns[TIME_COLUMN].encoding
        pieces: list[TimesNs] = []
        for number, place in places:
            count = place.stop - place.start
            first, last = blocks.time_min_ns.item(number), blocks.time_max_ns.item(number)
            if encoding.item(number) == _LINEAR and count > 1 and first < last:
                pieces.append(in_steps(first, last, (last - first) // (count - 1)))
                if len(pieces[-1]) != count:
                    raise self._no_step()
            else:
                pieces.append(np.empty(count, np.int64))
                self._decode(TIME_COLUMN, number, pieces[-1], None)
        time = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        low, high = 0, total
        if total and (time.item(0) < start_ns or time.item(-1) >= end_ns):
            low, high = int(time.searchsorted(start_ns)), int(time.searchsorted(end_ns))
            time = time[low:high]
        return time, low, high

    def step_ns(self, number: int) -> int:
        """As steps_ns(), of one block."""
        blocks, rows = self.footer.blocks, self.footer.blocks.rows.item(number)
        if rows == 1:
            return 1
        linear = self.footer.columns[TIME_COLUMN].encoding.item(number) == _LINEAR
        if not linear or blocks.device_min.item(number) != blocks.device_max.item(number):
            return 0
        first, last = blocks.time_min_ns.item(number), blocks.time_max_ns.item(number)
        return int((last - first) // (rows - 1))

    def _no_step(self) -> CorruptionError:
        return CorruptionError(self._mapped.path, 0, "a block without a step for its times")

    def steps_ns(self, numbers: BlockNumbers) -> npt.NDArray[np.int64]:
        """int64[n]: by how much each time of a block is after the one before, where the block is of
        one device and the step is known; else 0. Of a single row it is 1."""
        blocks = self.footer.blocks
        if len(numbers) == 1:
            return np.array([self.step_ns(int(numbers[0]))], np.int64)
        rows = blocks.rows[numbers].astype(np.int64)
        known = self.footer.columns[TIME_COLUMN].encoding[numbers] == EncodingNumber.LINEAR
        known &= blocks.device_min[numbers] == blocks.device_max[numbers]
        steps = (blocks.time_max_ns[numbers] - blocks.time_min_ns[numbers]) // np.maximum(
            rows - 1, 1
        )
        steps[rows == 1] = 1
        return np.where(known | (rows == 1), steps, 0)

    def block_bytes(self, number: int) -> bytes:
        """A block as it lies in the file, its columns one after the other. ClosedError."""
        data = self._bytes
        if data is None:
            raise ClosedError(f"part {self.meta.name} is closed")
        first, *_, last = self.footer.columns
        index = self.footer.columns[last]
        start, end = int(self._offsets[first][number]), int(self._offsets[last][number])
        end += int(index.bytes[number]) + int(index.valid_bytes[number])
        return data[start:end].tobytes()

    def fingerprints(self, numbers: BlockNumbers, seed: int) -> list[bytes]:
        """16 bytes for each block: a hash of its bytes as they lie in the file, and of what the
        footer says of how they are read. ClosedError."""
        data = self._bytes
        if data is None:
            raise ClosedError(f"part {self.meta.name} is closed")
        columns, blocks = self.footer.columns, self.footer.blocks
        first, *_, last = columns
        starts = self._offsets[first][numbers]
        ends = self._offsets[last][numbers] + columns[last].bytes[numbers]
        ends += columns[last].valid_bytes[numbers]
        said: list[AnyArray] = [blocks.rows, blocks.device_min, blocks.device_max]
        for index in columns.values():
            said += [index.bytes, index.valid_bytes, index.nulls, index.encoding, index.compression]
        entries = np.stack([each[numbers].astype(np.uint32) for each in said], axis=1)
        times = np.stack([blocks.time_min_ns[numbers], blocks.time_max_ns[numbers]], axis=1)
        types = repr(self.footer.types).encode()
        found = []
        for start, end, entry, span in zip(
            starts.tolist(), ends.tolist(), entries, times, strict=True
        ):
            digest = xxhash.xxh3_128(data[start:end].data, seed)
            for more in (entry, span, types):
                digest.update(more)
            found.append(digest.digest())
        return found

    def encoded_block(self, number: int) -> tuple[BlockIndex, dict[int, EncodedBlocks]]:
        """A block as a writer may copy it: its entry in the index, and its columns by key.

        Raises CorruptionError if a checksum is wrong, ClosedError.
        """
        columns: dict[int, EncodedBlocks] = {}
        one = slice(number, number + 1)
        for key, index in self.footer.columns.items():
            stored = self._stored(key, number)
            statistics = self.footer.statistics.get(key)
            columns[key] = EncodedBlocks(
                [stored.tobytes()],
                sliced(index, one),
                None if statistics is None else sliced(statistics, one),
            )
        return sliced(self.footer.blocks, one), columns

    def let_go(self) -> None:
        """What was read counts for this process no longer; it may be read again at any time."""
        self._mapped.let_go()

    def close(self) -> None:
        """Unmap. Later reads raise ClosedError; those under way finish. May be called twice."""
        if self._bytes is not None:
            self._bytes = None
            self._mapped.close()

    def _read_devices(
        self,
        numbers: BlockNumbers,
        sizes: npt.NDArray[np.int64],
        places: list[tuple[int, slice]],
    ) -> npt.NDArray[np.uint32]:
        blocks = self.footer.blocks
        first = blocks.device_min[numbers]
        device = np.repeat(first, sizes)
        for at in (first != blocks.device_max[numbers]).nonzero()[0].tolist():
            number, place = places[at]
            self._decode(DEVICE_COLUMN, number, device[place], None)
        return device

    def _read_times(
        self,
        numbers: BlockNumbers,
        places: list[tuple[int, slice]],
        total: int,
        *,
        computed: bool,
    ) -> TimesNs:
        time: TimesNs = np.empty(total, np.int64)
        steps = self.steps_ns(numbers).tolist() if computed else [0] * len(places)
        first, last = self.blocks.time_min_ns, self.blocks.time_max_ns
        for (number, place), step in zip(places, steps, strict=True):
            if not step:
                self._decode(TIME_COLUMN, number, time[place], None)
                continue
            times = in_steps(first.item(number), last.item(number), step)
            if len(times) != place.stop - place.start:
                raise self._no_step()
            time[place] = times
        return time

    def _read_column(self, key: int, places: list[tuple[int, slice]], total: int) -> Column:
        nulls = self.footer.columns[key].nulls
        values: AnyArray = np.empty(total, self.footer.types[key].dtype)
        valid: BoolMask | None = None
        # Of few blocks each is asked, of many first all of the part at once.
        some = len(places) < FEW_BLOCKS or nulls.any()
        if some and any(nulls.item(number) for number, _ in places):
            valid = np.ones(total, np.bool_)
        for number, place in places:
            self._decode(key, number, values[place], None if valid is None else valid[place])
        return Column(values, valid)

    def _decode(self, key: int, number: int, out: AnyArray, valid: BoolMask | None) -> None:
        """Check and decode one column of one block into ``out`` and ``valid``."""
        index = self.footer.columns[key]
        kind = self.footer.types[key]
        data = self._stored(key, number)
        bitmap_bytes = index.valid_bytes.item(number)
        nulls = index.nulls.item(number)
        encoding, compression = index.encoding.item(number), index.compression.item(number)
        values = data[bitmap_bytes:].data
        try:
            if not nulls:
                decode_column(encoding, compression, values, kind, out)
                return
            if valid is None or nulls > len(out):
                raise EncodingError("nulls where none can be")
            _blank(out)
            if nulls == len(out):
                valid[:] = False
                return
            valid[:] = _bitmap(data[:bitmap_bytes], len(out), nulls)
            dense: AnyArray = np.empty(len(out) - nulls, out.dtype)
            decode_column(encoding, compression, values, kind, dense)
            out[valid] = dense
        except EncodingError as exc:
            offset = int(self._offsets[key][number])
            raise CorruptionError(self._mapped.path, offset, str(exc)) from exc

    def _stored(self, key: int, number: int) -> npt.NDArray[np.uint8]:
        """The bytes of one column of one block, checked."""
        data = self._bytes
        if data is None:
            raise ClosedError(f"part {self.meta.name} is closed")
        index = self.footer.columns[key]
        offset = self._offsets[key].item(number)
        found = data[offset : offset + index.valid_bytes.item(number) + index.bytes.item(number)]
        if google_crc32c.value(found) != index.crc.item(number):
            raise CorruptionError(self._mapped.path, offset, "a block has a wrong checksum")
        return found


def in_steps(first_ns: int, last_ns: int, step_ns: int) -> TimesNs:
    """Every ``step_ns`` from ``first_ns`` up to ``last_ns``, which is one of them if it fits.

    Counted in integers: a range of numpy divides floats, and drops the last of some hundred days.
    """
    times: TimesNs = np.arange((last_ns - first_ns) // step_ns + 1)
    times *= step_ns
    times += first_ns
    return times


def _places(numbers: BlockNumbers, sizes: npt.NDArray[np.int64]) -> list[tuple[int, slice]]:
    """(block, where its rows are in the result) of each."""
    ends = sizes.cumsum()
    return [
        (number, slice(end - size, end))
        for number, end, size in zip(numbers.tolist(), ends.tolist(), sizes.tolist(), strict=True)
    ]


def _offsets(footer: PartFooter) -> dict[int, npt.NDArray[np.int64]]:
    """Where each column of each block starts: blocks follow one another, columns inside them."""
    keys = list(footer.columns)
    sizes: npt.NDArray[Any] = np.array(
        [
            footer.columns[key].bytes.astype(np.int64) + footer.columns[key].valid_bytes
            for key in keys
        ]
    )
    flat = sizes.T.ravel()
    starts = (np.cumsum(flat) - flat + HEAD.size).reshape(-1, len(keys))
    return {key: np.ascontiguousarray(starts[:, column]) for column, key in enumerate(keys)}


def _zeros(count: int, dtype: type[np.generic]) -> AnyArray:
    """Zeros; many take no memory and are read only."""
    if count < THREADED_ROWS_MIN:
        return np.zeros(count, dtype)
    return np.broadcast_to(np.zeros(1, dtype), count)


def _blank(out: AnyArray) -> None:
    out[:] = None if out.dtype == object else 0


def _bitmap(packed: npt.NDArray[np.uint8], count: int, nulls: int) -> npt.NDArray[np.uint8]:
    if len(packed) != -(-count // 8):
        raise EncodingError(f"a bitmap of {len(packed)} bytes for {count} rows")
    bits = np.unpackbits(packed, count=count, bitorder="little")
    if int(np.count_nonzero(bits)) != count - nulls:
        raise EncodingError("a bitmap that does not fit the count of nulls")
    return bits
