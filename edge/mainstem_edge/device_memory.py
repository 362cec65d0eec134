"""What is remembered of each device, to tell late, repeated and unchanged rows.

Rows are judged in the order in which they arrived, device by device:

1. *Late*: older than the newest row of its device before it. Only counted; it is stored.
2. *Repeat*: same time and same values as the row of its device just before it. Filtered.
3. Of a row that is neither, each value is judged by the filters of its measurement
   (value_memory.py); a row that has no value left is filtered. A late row is kept whole: what lay
   around it is not known here any more.

Memory: 32 bytes a device, and that of the filters. Nothing of it survives a restart; the first row
of each device is then kept whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mainstem_edge.value_memory import ValueMemory
from mainstem_engine.columns import TIME_MIN_NS
from mainstem_engine.model import AnyArray, BoolMask, Column, DeviceIds, TimesNs
from mainstem_node.posted_rules import rows_with_values

NEVER_NS = TIME_MIN_NS - 1
"""Before every time: nothing was seen of this device."""

_FIRST_CAPACITY = 64
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SPREAD = 0x9E3779B97F4A7C15
_U64 = (1 << 64) - 1

Hashes = npt.NDArray[np.uint64]
NewestTimes = Callable[[DeviceIds], TimesNs]


@dataclass(frozen=True, slots=True)
class Judgement:
    """``keep`` bool[n]: rows to store; ``columns`` of all n rows, dropped values null; ``late``
    bool[n]; ``repeated``: rows that were exact repeats; ``refused``: by measurement, rows whose
    value is to be put aside."""

    keep: BoolMask
    columns: dict[int, Column]
    late: BoolMask
    repeated: int
    refused: Mapping[int, npt.NDArray[np.intp]] = field(default_factory=dict)


class DeviceMemory:
    """The memory of one template's devices. Calls are serialised by the caller.

    ``values``: the filters. ``newest``: the newest stored time of devices (ns, NEVER_NS where there
    is none), asked once for each device.
    """

    def __init__(self, values: ValueMemory, newest: NewestTimes | None = None) -> None:
        self.values = values
        self._newest_stored = newest
        self.forget()

    def forget(self) -> None:
        """As after a restart: nothing is known of any device."""
        self._known = np.zeros(0, np.bool_)
        self._newest = np.zeros(0, np.int64)
        self._row_time = np.zeros(0, np.int64)
        self._row_hash = np.zeros(0, np.uint64)
        self.values.forget()

    def forget_devices(self, devices: DeviceIds) -> None:
        """Rows of these came by another way: what is remembered of them may not be the last that
        was stored. What filters hold of them is restored."""
        known = np.unique(devices[devices < len(self._known)])
        known = known[self._known[known]]
        self._known[known] = False
        self._newest[known] = self._row_time[known] = NEVER_NS
        self.values.forget_devices(known)

    def judge(self, device: DeviceIds, time: TimesNs, columns: Mapping[int, Column]) -> Judgement:
        """Judges n rows in order of arrival and remembers them. n >= 0."""
        count = len(device)
        if count == 0:
            none = np.zeros(0, np.bool_)
            return Judgement(none, dict(columns), none, 0)
        order = None if _is_ascending(device) else np.argsort(device, kind="stable")
        run = _Runs(device if order is None else device[order])
        times = time if order is None else time[order]
        self._meet(run.devices)
        late = self._late(run, times)
        repeat = self._repeats(run, times, row_hashes(columns, count), order)
        if order is not None:
            late, repeat = _unsort(late, order), _unsort(repeat, order)
        kept_columns, refused = dict(columns), {}
        if self.values:
            filtered = self.values.judge(device, time, columns, ~(late | repeat))
            kept_columns, refused = filtered.columns, filtered.refused
        keep = rows_with_values(kept_columns, count) & ~repeat
        return Judgement(keep, kept_columns, late, int(np.count_nonzero(repeat)), refused)

    def _meet(self, devices: DeviceIds) -> None:
        """Makes room for these devices (ascending) and asks what is stored of new ones."""
        needed = int(devices[-1]) + 1
        if needed > len(self._known):
            self._grow(max(needed, 2 * len(self._known), _FIRST_CAPACITY))
        fresh = devices[~self._known[devices]]
        if len(fresh):
            self._known[fresh] = True
            if self._newest_stored is not None:
                self._newest[fresh] = self._newest_stored(fresh)
            self.values.meet(fresh)

    def _grow(self, capacity: int) -> None:
        more = capacity - len(self._known)
        self._known = np.append(self._known, np.zeros(more, np.bool_))
        self._newest = np.append(self._newest, np.full(more, NEVER_NS, np.int64))
        self._row_time = np.append(self._row_time, np.full(more, NEVER_NS, np.int64))
        self._row_hash = np.append(self._row_hash, np.zeros(more, np.uint64))
        self.values.grow(capacity)

    def _late(self, run: _Runs, times: TimesNs) -> BoolMask:
        """Older than the newest of the run before it, or than what was known before the run."""
        late: BoolMask = times < self._newest[run.devices][run.number]
        if not ((times[1:] >= times[:-1]) | run.first[1:]).all():
            # The rank of a time below the run's number: a running maximum that starts anew in each
            # run, because every key of a later run is greater than all of an earlier one.
            distinct, rank = np.unique(times, return_inverse=True)
            key = run.number * len(distinct) + rank
            late |= key < np.maximum.accumulate(key)
        newest = np.maximum.reduceat(times, run.starts)
        self._newest[run.devices] = np.maximum(self._newest[run.devices], newest)
        return late

    def _repeats(
        self, run: _Runs, times: TimesNs, hashes: Hashes, order: AnyArray | None
    ) -> BoolMask:
        if order is not None:
            hashes = hashes[order]
        time_before, hash_before = np.empty_like(times), np.empty_like(hashes)
        time_before[1:], hash_before[1:] = times[:-1], hashes[:-1]
        time_before[run.starts] = self._row_time[run.devices]
        hash_before[run.starts] = self._row_hash[run.devices]
        self._row_time[run.devices] = times[run.ends]
        self._row_hash[run.devices] = hashes[run.ends]
        repeat: BoolMask = (times == time_before) & (hashes == hash_before)
        return repeat


class _Runs:
    """Runs of equal devices in an ascending array: ``first`` bool[n], ``number`` [n] of the run
    each row is in, and per run ``starts``, ``ends`` (its last row) and ``devices``."""

    __slots__ = ("devices", "ends", "first", "number", "starts")

    def __init__(self, device: DeviceIds) -> None:
        self.first: BoolMask = np.ones(len(device), np.bool_)
        self.first[1:] = device[1:] != device[:-1]
        self.starts = np.flatnonzero(self.first)
        self.ends = np.append(self.starts[1:] - 1, len(device) - 1)
        self.number = np.cumsum(self.first) - 1
        self.devices: DeviceIds = device[self.starts]


def row_hashes(columns: Mapping[int, Column], count: int) -> Hashes:
    """uint64[count]: equal for rows of equal values; a null counts as if it were absent."""
    total = np.zeros(count, np.uint64)
    for key, column in columns.items():
        mixed = _bits(column.values) ^ np.uint64((key + 1) * _SPREAD & _U64)
        mixed *= _MIX_1
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX_2
        mixed ^= mixed >> np.uint64(32)
        total += mixed if column.valid is None else np.where(column.valid, mixed, np.uint64(0))
    return total


def _bits(values: AnyArray) -> Hashes:
    if values.dtype == object:
        return np.fromiter((hash(v) & _U64 for v in values), np.uint64, count=len(values))
    if values.dtype.kind == "f":
        return values.astype(np.float64).view(np.uint64)
    if values.dtype.kind == "u":
        return values.astype(np.uint64)
    return values.astype(np.int64).view(np.uint64)


def _is_ascending(device: DeviceIds) -> bool:
    return bool((device[1:] >= device[:-1]).all())


def _unsort(sorted_values: BoolMask, order: AnyArray) -> BoolMask:
    values = np.empty_like(sorted_values)
    values[order] = sorted_values
    return values
