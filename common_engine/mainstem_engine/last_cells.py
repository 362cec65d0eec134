"""What is held of the newest values of one table: slots by device, rows of cells by measurement.

1. A cell has the newest value of one measurement of one device and the version that wrote it.
   Taking over a value is a join: the order in which values are seen does not matter.
2. Slots are given once and re-used when a device is forgotten, so that loading a few devices never
   moves the others.
3. Up to CELLS_MAX cells are in memory. Beyond, they lie in a scratch file that is mapped, up to
   MAPPED_CELLS_MAX; the kernel keeps what is asked for. Tables with strings stay in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.accounting import NEVER_NS
from mainstem_engine.head import is_member
from mainstem_engine.merge import Index, merge_versions, version_sorted
from mainstem_engine.model import AnyArray, BoolMask, ColumnType, DeviceIds, TimesNs, VersionedRows

CELLS_MAX = 500_000
"""Cells of a table in memory: about 15 MB of numbers (50,000 devices with ten measurements)."""
MAPPED_CELLS_MAX = 32_000_000
"""Cells of a table in a scratch file: 1 GB of disk (a million devices with thirty measurements)."""
_SLOTS_MIN = 64

Scratch = Callable[[int], Any]
"""A zeroed buffer of so many bytes that lies in a file."""


class LastCells:
    """Loaded devices of one table. Not thread-safe."""

    def __init__(self, types: Mapping[int, ColumnType], scratch: Scratch | None = None) -> None:
        self.types = types
        self.devices: DeviceIds = np.empty(0, np.uint32)
        """Loaded, ascending."""
        self.positions: dict[int, tuple[int, int]] = {}
        """Per vnode, (sequence, rows) of the chunk up to which the head has been taken over."""
        self.erased_through = 0
        """Local LSN of the newest tombstone that has been taken over."""
        self._scratch = scratch
        self._may_map = scratch is not None and not any(t.is_variable for t in types.values())
        self._slot: Index = np.empty(0, np.intp)
        self._free: Index = np.empty(0, np.intp)
        self._count = len(types)
        self._capacity = 0
        # The last row of times is that of the newest row, whatever has a value in it.
        self._time = np.empty((self._count + 1, 0), np.int64)
        self._lsn = np.empty((self._count, 0), np.uint64)
        self._epoch = np.empty((self._count, 0), np.uint32)
        self._origin = np.empty((self._count, 0), np.uint16)
        self._values: list[AnyArray] = [np.empty(0, kind.dtype) for kind in types.values()]

    @property
    def room(self) -> int:
        """Devices that fit, those loaded included."""
        limit = MAPPED_CELLS_MAX if self._may_map else CELLS_MAX
        return max(1, limit // (self._count + 1))

    # Which devices

    def missing(self, devices: DeviceIds) -> DeviceIds:
        """Those of ``devices`` (ascending) that are not loaded."""
        known = is_member(devices, self.devices)
        return devices[:0] if known.all() else devices[~known]

    def slots(self, devices: DeviceIds) -> Index:
        """Slots of devices, all of which are loaded."""
        found: Index = self._slot[self.devices.searchsorted(devices)]
        return found

    def add(self, devices: DeviceIds, newest: TimesNs | None) -> None:
        """Makes empty slots for devices (ascending) that are not loaded. ``newest``: time of the
        newest row of each where that is known."""
        if len(self._free) < len(devices):
            self._grow(len(devices) - len(self._free))
        slots, self._free = self._free[: len(devices)], self._free[len(devices) :]
        self._time[:, slots] = NEVER_NS
        if newest is not None:
            self._time[-1, slots] = newest
        place = self.devices.searchsorted(devices)
        self.devices = np.insert(self.devices, place, devices)
        self._slot = np.insert(self._slot, place, slots)

    def remove(self, devices: DeviceIds) -> None:
        """Forgets devices."""
        gone = is_member(self.devices, devices)
        self._free = np.concatenate([self._free, self._slot[gone]])
        self.devices, self._slot = self.devices[~gone], self._slot[~gone]

    def _grow(self, more: int) -> None:
        old = self._capacity
        self._capacity = max(old + more, min(2 * old, self.room), _SLOTS_MIN)
        self._time = self._resized(self._time)
        self._lsn = self._resized(self._lsn)
        self._epoch = self._resized(self._epoch)
        self._origin = self._resized(self._origin)
        self._values = [self._resized(values) for values in self._values]
        self._free = np.concatenate([self._free, np.arange(old, self._capacity)])

    def _resized(self, array: Any) -> Any:
        shape = (*array.shape[:-1], self._capacity)
        count = int(np.prod(shape))
        mapped = self._capacity * (self._count + 1) > CELLS_MAX and array.dtype != object
        if self._scratch is not None and mapped:
            buffer = self._scratch(count * array.dtype.itemsize)
            grown = np.frombuffer(buffer, array.dtype, count).reshape(shape)
        else:
            grown = np.zeros(shape, array.dtype)
        grown[..., : array.shape[-1]] = array
        return grown

    # What is known of them

    def newest(self, devices: DeviceIds) -> TimesNs:
        """Time of the newest row of each, NEVER_NS where there is none."""
        found: TimesNs = self._time[-1, self.slots(devices)]
        return found

    def read(self, devices: DeviceIds) -> tuple[TimesNs, list[AnyArray]]:
        """(times int64[m + 1, n], the last row those of the newest rows; values by measurement)."""
        slots = self.slots(devices)
        return self._time[:, slots], [values[slots] for values in self._values]

    def may_be_older(self, devices: DeviceIds, time_ns: int) -> tuple[list[int], bool]:
        """(measurements, rows): what might have something newer among rows up to ``time_ns``."""
        least: TimesNs = np.asarray(self._time[:, self.slots(devices)].min(axis=1))
        older = (least <= time_ns).tolist()
        return [key for key, wanted in zip(self.types, older, strict=False) if wanted], older[-1]

    def between(self, devices: DeviceIds | None, start_ns: int, end_ns: int) -> DeviceIds:
        """Loaded devices (of ``devices``, ascending, or all) that have a cell in [start, end)."""
        some = self.devices
        if devices is not None:
            some = some[is_member(some, devices)]
        if not len(some):
            return some
        time = self._time[:, self.slots(some)]
        return some[((time >= start_ns) & (time < end_ns)).any(axis=0)]

    # Taking over

    def join(
        self, rows: VersionedRows, epochs: npt.NDArray[np.uint32], *, whole_rows: bool
    ) -> None:
        """Takes over rows in any order; those of devices that are not loaded are ignored."""
        mask = is_member(rows.device, self.devices)
        if not mask.all():
            rows = rows.take(mask)
        if not len(rows):
            return
        if whole_rows:
            rows = merge_versions(rows, epochs, whole_rows=True)
        else:
            rows = version_sorted(rows, epochs)
        starts = np.flatnonzero(np.append(True, rows.device[1:] != rows.device[:-1]))
        ends = np.append(starts[1:], len(rows)) - 1
        slots = self.slots(rows.device[starts])
        self._time[-1, slots] = np.maximum(self._time[-1, slots], rows.time[ends])
        for row, key in enumerate(self.types):
            column = rows.columns.get(key)
            if column is None:
                continue
            newest, chosen = ends, slots
            if column.valid is not None:
                place = np.where(column.valid, np.arange(len(rows)), -1)
                newest = np.maximum.reduceat(place, starts)
                found = newest >= 0
                newest, chosen = newest[found], slots[found]
            self._take(row, chosen, rows, newest, column.values, epochs)

    def _take(
        self,
        row: int,
        slots: Index,
        rows: VersionedRows,
        index: Index,
        values: AnyArray,
        epochs: npt.NDArray[np.uint32],
    ) -> None:
        """Takes over the value at ``index`` of ``rows`` for each slot where it is newer."""
        time, lsn, origin = rows.time[index], rows.lsn[index], rows.origin[index]
        epoch = epochs[origin]
        newer: BoolMask = np.zeros(len(slots), np.bool_)
        equal: BoolMask = np.ones(len(slots), np.bool_)
        pairs: tuple[tuple[AnyArray, AnyArray], ...] = (
            (time, self._time[row, slots]),
            (epoch, self._epoch[row, slots]),
            (origin, self._origin[row, slots]),
            (lsn, self._lsn[row, slots]),
        )
        for new, old in pairs:
            newer |= equal & (new > old)
            equal &= new == old
        chosen = slots[newer]
        self._values[row][chosen] = values[index][newer]
        self._time[row, chosen] = time[newer]
        self._epoch[row, chosen] = epoch[newer]
        self._lsn[row, chosen] = lsn[newer]
        self._origin[row, chosen] = origin[newer]
