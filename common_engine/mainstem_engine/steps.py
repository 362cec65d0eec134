"""How a large answer is cut: into steps of about so many rows, in order of device, then time.

Cuts are guessed from the row counts of blocks and chunks; they decide memory, never the answer.
Devices are cut into ranges, and a device with very many rows into windows of time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.head import Chunk
from mainstem_engine.model import DeviceIds
from mainstem_engine.sources import PartBlocks

_DEVICE_MAX = 0xFFFFFFFF
TEXT_OBJECT_BYTES = 56
"""Of a text beside its characters, as Python keeps it."""
_LOOKED_AT = 32
"""Blocks of a part whose texts are measured: a page each."""
_FEW_DEVICES = 64
"""For so many, the rows of a chunk are looked up; for more, all of its rows are counted."""

_Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Extent:
    """What is cut: rows of ``devices`` (ascending, None: all) in [start, end) that lie in blocks
    ``found`` and in ``chunks``."""

    found: Sequence[PartBlocks]
    chunks: Sequence[Chunk]
    devices: DeviceIds | None
    start_ns: int
    end_ns: int

    def rows_at_most(self, enough: int) -> int:
        """A bound of the rows, not counted further than beyond ``enough``."""
        rows = sum(item.rows for item in self.found)
        for chunk in self.chunks:
            if rows > enough:
                break
            rows += chunk.length if self.devices is None else len(self._in_chunk(chunk)[0])
        return rows

    def _in_chunk(self, chunk: Chunk) -> _Counts:
        """(device, time) of the rows of a chunk."""
        some = chunk.select(self.devices, self.start_ns, self.end_ns, [])
        if some is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return some.device.astype(np.int64), some.time

    def weights(self) -> _Counts:
        """(device, rows): where the rows are, roughly; a device may come several times."""
        pairs: list[_Counts] = []
        for item in self.found:
            index, numbers = item.part.blocks, item.numbers
            pairs.append(
                (index.device_min[numbers].astype(np.int64), index.rows[numbers].astype(np.int64))
            )
        is_short = self.devices is not None and len(self.devices) <= _FEW_DEVICES
        for chunk in self.chunks:
            device = self._in_chunk(chunk)[0] if is_short else chunk.device[: chunk.length]
            present, counts = np.unique(device, return_counts=True)
            pairs.append((present.astype(np.int64), counts.astype(np.int64)))
        device, rows = _joined(pairs)
        if self.devices is not None and len(device):
            if len(self.devices) == 0:
                return device[:0], rows[:0]
            # A mixed block may begin with a device that is not selected: its rows count for the
            # next that is.
            place = np.minimum(self.devices.searchsorted(device), len(self.devices) - 1)
            device = self.devices[place].astype(np.int64)
        return device, rows

    def time_cuts(self, device: int, step_rows: int) -> list[int]:
        """Times at which about ``step_rows`` more rows of the device have begun."""
        one = np.array([device], np.uint32)
        pairs: list[_Counts] = []
        for item in self.found:
            index = item.part.blocks
            numbers = np.intersect1d(
                item.part.prune(one, self.start_ns, self.end_ns), item.numbers, assume_unique=True
            )
            pairs.append((index.time_min_ns[numbers], index.rows[numbers].astype(np.int64)))
        for chunk in self.chunks:
            rows = chunk.select(one, self.start_ns, self.end_ns, [])
            if rows is not None:
                pairs.append((rows.time, np.ones(len(rows), np.int64)))
        time, weight = _joined(pairs)
        order = np.argsort(time, kind="stable")
        time, weight = time[order], weight[order]
        bucket = (np.cumsum(weight) - weight) // step_rows
        cuts = np.unique(time[1:][bucket[1:] != bucket[:-1]])
        return [int(cut) for cut in cuts if self.start_ns < cut < self.end_ns]


def text_row_bytes(found: Sequence[PartBlocks], keys: Iterable[int]) -> int:
    """Bytes of the texts of one row, on average; guessed from some blocks of each part.

    Texts of the head are there already: rows only point to them.
    """
    held = rows = 0
    keys = list(keys)
    for item in found:
        part = item.part
        texts = [key for key in keys if key in part.types and part.types[key].is_variable]
        if not texts:
            rows += item.rows
            continue
        some = item.numbers[:: max(1, len(item.numbers) // _LOOKED_AT)]
        count = int(part.blocks.rows[some].sum(dtype=np.int64))
        size = sum(part.text_bytes(key, number) for number in some.tolist() for key in texts)
        held += (size // max(count, 1) + TEXT_OBJECT_BYTES * len(texts)) * item.rows
        rows += item.rows
    return held // max(rows, 1)


@dataclass(frozen=True, slots=True)
class Step:
    """Devices in [low, high] and times in [start, end)."""

    low: int
    high: int
    start_ns: int
    end_ns: int


def cut(extent: Extent, step_rows: int) -> list[Step]:
    """Steps of about ``step_rows`` rows that together hold all rows; none when there are none."""
    device, rows = extent.weights()
    if len(device) == 0:
        return []
    order = np.argsort(device, kind="stable")
    device, rows = device[order], rows[order]
    starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
    keys, weights = device[starts], np.add.reduceat(rows, starts)
    bucket = (np.cumsum(weights) - weights) // step_rows
    firsts = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    lasts = np.append(firsts[1:], len(keys)) - 1
    steps: list[Step] = []
    low = 0
    for first, last in zip(firsts, lasts, strict=True):
        high = _DEVICE_MAX if last == len(keys) - 1 else int(keys[last + 1]) - 1
        if first == last and weights[first] > 2 * step_rows:
            steps.extend(_heavy(extent, int(keys[first]), low, high, step_rows))
        else:
            steps.append(Step(low, high, extent.start_ns, extent.end_ns))
        low = high + 1
    return steps


def _heavy(extent: Extent, device: int, low: int, high: int, step_rows: int) -> Iterator[Step]:
    """``device`` in windows of time, between steps for what else lies in [low, high]."""
    start, end = extent.start_ns, extent.end_ns
    if low < device:
        yield Step(low, device - 1, start, end)
    edges = [start, *extent.time_cuts(device, step_rows), end]
    for first, last in itertools.pairwise(edges):
        yield Step(device, device, first, last)
    if device < high:
        yield Step(device + 1, high, start, end)


def _joined(pairs: Sequence[_Counts]) -> _Counts:
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])
