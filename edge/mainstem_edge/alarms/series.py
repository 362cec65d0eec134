"""What a batch says of one measurement, computed once for all rules that watch it: the exact way,
for measurements that are not settled with the others (sweep.py).

1. Rows of a batch are sorted by device and time, once.
2. A row that is not newer than what was seen of its device and measurement is late, and left out.
3. The largest and smallest value, the steepest change and the longest time without one are found
   for the whole batch: where they are within a rule's limits, the rule has nothing to look at.

Kept are 8 bytes a device and measurement, and 24 where a rule needs the value before. Not
thread-safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mainstem_engine.merge import new_runs
from mainstem_engine.model import AnyArray, BoolMask, Column, DeviceIds, TimesNs

NEVER = np.iinfo(np.int64).min
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
DEVICES_16_BIT = np.iinfo(np.uint16).max
"""Numbers up to this are sorted without comparing."""


@dataclass(frozen=True, slots=True)
class Motion:
    """How values move. ``known``: there was one before, and both are numbers; ``slope``: change
    per second, 0 where not known; ``held_ns``: since when the value is the same; ``changed``."""

    known: BoolMask
    slope: Floats
    changed: BoolMask
    held_ns: TimesNs
    slope_max: float
    held_max_ns: int


class Series:
    """n >= 1 fresh rows by device and time. ``rows``: their places in the batch as it came;
    ``motion`` where the track follows it."""

    def __init__(self, devices: DeviceIds, times: TimesNs, values: Floats, rows: Places) -> None:
        self.devices = devices
        self.times = times
        self.values = values
        self.rows = rows
        self.first = new_runs(devices)
        """bool[n]: the first row of each device."""
        self.motion: Motion | None = None

    @cached_property
    def high(self) -> float:
        """The largest value; NaN when there is no number."""
        return float(np.fmax.reduce(self.values))

    @cached_property
    def low(self) -> float:
        return float(np.fmin.reduce(self.values))

    def take(self, keep: BoolMask) -> Series:
        """Some of the rows."""
        return Series(self.devices[keep], self.times[keep], self.values[keep], self.rows[keep])


class Batch:
    """n >= 1 rows in any order, sorted by device and time. ``rows``: where each came; ``starts``,
    ``ends``: the first and the last row of each device, ``owners`` the devices; ``steps_ns[n]``:
    since the row before, where that is of the same device."""

    def __init__(self, devices: DeviceIds, times: TimesNs, rows: Places) -> None:
        """Of devices and times that are sorted."""
        self.devices, self.times, self.rows = devices, times, rows
        self.count = count = len(rows)
        self.steps_ns: TimesNs = np.zeros(count, np.int64)
        np.subtract(self.times[1:], self.times[:-1], self.steps_ns[1:])
        self.starts = new_runs(self.devices).nonzero()[0]
        self.ends = np.empty_like(self.starts)
        np.subtract(self.starts[1:], 1, self.ends[:-1])
        self.ends[-1] = count - 1
        self.owners = self.devices[self.starts]

    @classmethod
    def of(cls, devices: DeviceIds, times: TimesNs) -> Batch:
        """Most batches are in the order of time within each device: sorting by device is enough."""
        few = np.maximum.reduce(devices) <= DEVICES_16_BIT
        rows = (devices.astype(np.uint16) if few else devices).argsort(kind="stable")
        found = cls(devices[rows], times[rows], rows)
        back = found.steps_ns < 0
        back[found.starts] = False
        if np.logical_or.reduce(back):
            rows = np.lexsort((times, devices))
            found = cls(devices[rows], times[rows], rows)
        return found

    def only(self, keep: BoolMask | None) -> Batch | None:
        """The rows of ``keep``, which is in the order that they came in; None without any."""
        if keep is None or np.logical_and.reduce(keep):
            return self
        kept = keep[self.rows]
        rows = self.rows[kept]
        return Batch(self.devices[kept], self.times[kept], rows) if len(rows) else None

    def series(self, column: Column) -> Series | None:
        """Rows that have a value; late ones are still there. None without any."""
        part = self.only(column.valid)
        if part is None:
            return None
        values = column.values[part.rows].astype(np.float64)
        return Series(part.devices, part.times, values, part.rows)


class Seen:
    """What is kept of each measurement that is watched, by device id: ``newest[k, devices]``, what
    is not newer is late; of the first ``moving`` measurements also their newest ``value`` and since
    when it is the same, ``begin``."""

    def __init__(self, newest: TimesNs, measurements: int = 1, moving: int = 0) -> None:
        self.newest: TimesNs = np.tile(newest, (measurements, 1))
        self.value: Floats = np.full((moving, len(newest)), np.nan)
        self.begin: TimesNs = np.zeros((moving, len(newest)), np.int64)

    def grow(self, count: int) -> None:
        """Makes room for so many devices."""
        have = self.newest.shape[1]
        if count <= have:
            return
        more = max(count, 2 * have) - have
        self.newest = _wider(self.newest, more, NEVER)
        self.value = _wider(self.value, more, np.nan)
        self.begin = _wider(self.begin, more, 0)


def _wider(array: AnyArray, more: int, fill: float) -> AnyArray:
    added = np.full((len(array), more), fill, array.dtype)
    return np.concatenate([array, added], axis=1)


class Track:
    """What was seen of one measurement: the line ``place`` of ``seen``."""

    def __init__(self, seen: Seen, place: int = 0) -> None:
        self._seen = seen
        self._place = place
        self._moves = place < len(seen.value)

    def fresh(self, batch: Batch, column: Column) -> Series | None:
        """What is new in a batch; None when nothing is."""
        series = batch.series(column)
        if series is None:
            return None
        devices, times, first = series.devices, series.times, series.first
        self._seen.grow(int(devices[-1]) + 1)
        newest = self._seen.newest[self._place]
        new = times > newest[devices]
        new[1:] &= first[1:] | (times[1:] != times[:-1])
        if not new.all():
            if not new.any():
                return None
            series = series.take(new)
            devices, times, first = series.devices, series.times, series.first
        last = np.append(first[1:], True)
        if self._moves:
            series.motion = self._motion(series, last)
        newest[devices[last]] = times[last]
        return series

    def _motion(self, series: Series, last: BoolMask) -> Motion:
        devices, times, values, first = series.devices, series.times, series.values, series.first
        seen, place = self._seen, self._place
        before, earlier = np.roll(values, 1), np.roll(times, 1)
        before[first] = seen.value[place, devices[first]]
        earlier[first] = seen.newest[place, devices[first]]
        with np.errstate(invalid="ignore", over="ignore"):
            moved = np.abs(values - before)
            known = (earlier != NEVER) & ~np.isnan(before) & ~np.isnan(values)
            seconds = np.where(known, times - np.where(known, earlier, 0), 1) / 1e9
            slope = np.where(known, moved / seconds, 0.0)
        changed = known & (values != before)
        begins = changed | ~known
        begin = np.where(begins, times, 0)
        carried = first & ~begins
        begin[carried] = seen.begin[place, devices[carried]]
        # The newest beginning at or before each row; every device has one in its first row.
        begin = begin[np.maximum.accumulate(np.where(begins | first, np.arange(len(times)), 0))]
        seen.begin[place, devices[last]] = begin[last]
        seen.value[place, devices[last]] = values[last]
        held = times - begin
        # Infinity less infinity is no number: it is a change of which nothing is known.
        steepest = float(np.fmax.reduce(slope))
        return Motion(known, slope, changed, held, steepest, int(held.max()))
