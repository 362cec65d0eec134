"""Digests of slices by scanning: what a query would read, without making its answer.

1. Rows count in any order. So single blocks (single_blocks.py) are decoded some at a time, column
   after column, in memory that the cache holds, hashed (slices.py), and forgotten.
2. Blocks whose stored bytes were decoded before are not decoded again (known_blocks.py).
3. All other rows are merged first, as a query does it. They share no device and time with those of
   single blocks.
4. Of stored types nothing is widened: that changes no digest.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from mainstem_engine.head import is_member
from mainstem_engine.known_blocks import KnownBlocks
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.model import BoolMask, DeviceIds, Rows
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.scan import Selection, iterate_found, iterate_rows, visible
from mainstem_engine.single_blocks import chosen, single_blocks
from mainstem_engine.slices import (
    PIECE_ROWS,
    DeviceKeys,
    PieceDigest,
    SliceDigests,
    SliceSums,
    Sums,
    added,
    digest_rows,
)
from mainstem_engine.sources import PartBlocks, find_blocks
from mainstem_engine.steps import TEXT_OBJECT_BYTES
from mainstem_engine.view import TableView

TEXT_BYTES_MAX = 8 << 20
"""Texts that are decoded together, unless one block has more."""
SINGLE_ROWS_MIN = 1 << 13
"""Of fewer rows it takes as long to find out which blocks are single as to merge them."""


def slice_digests(
    view: TableView,
    keys: DeviceKeys,
    known: KnownBlocks,
    selection: Selection,
    slice_ns: int,
    measurement_ids: Mapping[int, int],
) -> SliceDigests:
    """The slices that hold selected rows. ``measurement_ids``: id in the digest by stored id; no
    others count. Raises CorruptionError, OverloadedError."""
    selection = visible(view, selection)
    sums = SliceSums()
    if selection.start_ns >= selection.end_ns:
        return sums.total()
    found = find_blocks(view, selection.devices, selection.start_ns, selection.end_ns)
    if sum(item.rows for item in found) < SINGLE_ROWS_MIN:
        merged = iterate_rows(view, selection)
    else:
        blocks = _Blocks(selection, keys, known, slice_ns, measurement_ids, view.memory)
        rest = []
        single = single_blocks(view, found, selection, exactly=True)
        for item, mask in zip(found, single, strict=True):
            mask &= blocks.takes(item)
            for piece in blocks.digests(chosen(item, mask)):
                sums.add(piece)
            if not mask.all():
                rest.append(chosen(item, ~mask))
        if not rest and not view.chunks:
            return sums.total()
        merged = iterate_found(view, selection, rest, view.chunks)
    for rows in merged:
        sums.add(digest_rows(rows, keys, slice_ns, measurement_ids))
    return sums.total()


@dataclass(slots=True)
class _Blocks:
    """Digests of single blocks; arguments as of slice_digests()."""

    selection: Selection
    keys: DeviceKeys
    known: KnownBlocks
    slice_ns: int
    measurement_ids: Mapping[int, int]
    memory: MemoryBudget | None
    piece: PieceDigest = field(default_factory=PieceDigest)

    def takes(self, found: PartBlocks) -> BoolMask:
        """bool[n]. Of a block all slices are summed up, so one that is cut must be cut between
        slices."""
        part, numbers, wanted = found.part, found.numbers, self.selection
        takes = np.ones(len(numbers), np.bool_)
        if wanted.start_ns % self.slice_ns:
            takes &= part.blocks.time_min_ns[numbers] >= wanted.start_ns
        if wanted.end_ns % self.slice_ns:
            takes &= part.blocks.time_max_ns[numbers] < wanted.end_ns
        return takes

    def digests(self, found: PartBlocks) -> Iterator[Sums]:
        """Of some blocks at a time. Raises CorruptionError."""
        part, fresh = found.part, []
        names: dict[int, Hashable] = {}
        how = (self.slice_ns, self.selection.origin, *self.measurement_ids.items())
        hashes = part.fingerprints(found.numbers, self.known.seed)
        for number, stored in zip(found.numbers.tolist(), hashes, strict=True):
            names[number] = (stored, self._devices_of(part, number), how)
            sums = self.known.get(names[number])
            if sums is None:
                fresh.append(number)
            else:
                yield self._inside(sums)
        for numbers, text_bytes in self._pieces(part, fresh):
            with self._room(text_bytes):
                digests = self._digest(part, numbers)
            for number, sums in zip(numbers.tolist(), digests, strict=True):
                self.known.note(names[number], sums)
                yield self._inside(sums)

    def _devices_of(self, part: Part, number: int) -> bytes | None:
        """Which devices count, of a block of several; None for all of it."""
        low, high = part.blocks.device_min.item(number), part.blocks.device_max.item(number)
        devices = self.selection.devices
        if low == high or devices is None:
            return None
        return devices[devices.searchsorted(low) : devices.searchsorted(high, "right")].tobytes()

    def _inside(self, sums: Sums) -> Sums:
        """Of the slices that are asked for."""
        start = sums[0]
        inside = (start > self.selection.start_ns - self.slice_ns) & (start < self.selection.end_ns)
        if inside.all():
            return sums
        _, count, d1, d2 = sums
        return start[inside], count[inside], d1[inside], d2[inside]

    def _digest(self, part: Part, numbers: BlockNumbers) -> list[Sums]:
        """Of each block."""
        device, time = part.read_devices(numbers), part.read_times(numbers)
        ends = np.cumsum(part.blocks.rows[numbers], dtype=np.int64)
        keep = self._kept(part, numbers, device)
        if keep is not None:
            device, time = device[keep], time[keep]
            ends = np.append(0, np.cumsum(keep))[ends]
        if not len(time):
            return [added([])] * len(ends)
        columns = (
            (key, column if keep is None else column.take(keep))
            for key, column in part.iterate_columns(numbers, self.measurement_ids)
        )
        if len(time) > PIECE_ROWS:  # one large block
            rows = Rows(device, time, dict(columns))
            return [digest_rows(rows, self.keys, self.slice_ns, self.measurement_ids)]
        self.piece.begin(device, time, self.keys)
        for key, column in columns:
            self.piece.add(column, self.measurement_ids[key])
        return self.piece.end(self.slice_ns, ends)

    def _kept(self, part: Part, numbers: BlockNumbers, device: DeviceIds) -> BoolMask | None:
        """Which rows are of the devices and origins that are asked for; None for all."""
        index, wanted = part.blocks, self.selection
        keep = np.ones(len(device), np.bool_)
        # A block of one device was found because that device is selected.
        mixed = (index.device_min[numbers] != index.device_max[numbers]).any()
        if wanted.devices is not None and mixed:
            keep &= is_member(device, wanted.devices)
        if wanted.origin is not None:
            keep &= np.isin(part.read_origins(numbers), np.array(wanted.origin, np.uint16))
        return None if keep.all() else keep

    def _pieces(self, part: Part, numbers: Sequence[int]) -> Iterator[tuple[BlockNumbers, int]]:
        """(blocks, bytes of their texts): of up to so many rows and bytes together, but at least
        one."""
        texts = [key for key in self.measurement_ids if _is_text(part, key)]
        some: list[int] = []
        rows = held = 0
        for number in numbers:
            more = part.blocks.rows.item(number)
            size = sum(part.text_bytes(key, number) + TEXT_OBJECT_BYTES * more for key in texts)
            if some and (rows + more > PIECE_ROWS or held + size > TEXT_BYTES_MAX):
                yield np.array(some, np.intp), held
                some, rows, held = [], 0, 0
            some.append(number)
            rows, held = rows + more, held + size
        if some:
            yield np.array(some, np.intp), held

    def _room(self, text_bytes: int) -> AbstractContextManager[None]:
        """Of what has no texts there is little."""
        if self.memory is None or not text_bytes:
            return nullcontext()
        return self.memory.reserve("scan", text_bytes)


def _is_text(part: Part, key: int) -> bool:
    return key in part.types and part.types[key].is_variable
