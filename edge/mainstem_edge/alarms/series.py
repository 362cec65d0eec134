"""What a batch says of one measurement, computed once for all rules that watch it.

1. Rows of a batch are sorted by device and time, once.
2. A row that is not newer than what was seen of its device and measurement is late, and left out.
3. The largest and smallest value, the steepest change and the longest time without one are found
   for the whole batch: where they are within a rule's limits, the rule has nothing to look at.

A track holds 8 bytes a device, and 24 where a rule needs the value before. Not thread-safe.
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
    """n >= 1 rows as they came, in any order."""

    def __init__(self, devices: DeviceIds, times: TimesNs) -> None:
        self.count = len(devices)
        self._order: Places | None = None
        if self.count > 1:
            ordered = devices[1:] > devices[:-1]
            ordered |= (devices[1:] == devices[:-1]) & (times[1:] >= times[:-1])
            if not ordered.all():
                self._order = np.lexsort((times, devices))
        self._devices = devices if self._order is None else devices[self._order]
        self._times = times if self._order is None else times[self._order]

    def series(self, values: AnyArray, keep: BoolMask | None) -> Series | None:
        """Rows of ``keep`` (as they came), sorted; late ones are still there. None without any."""
        order = np.arange(self.count) if self._order is None else self._order
        devices, times = self._devices, self._times
        if keep is not None and not keep.all():
            kept = keep[order]
            devices, times, order = devices[kept], times[kept], order[kept]
            if not len(order):
                return None
        return Series(devices, times, values[order].astype(np.float64), order)


class Track:
    """What was seen of one measurement. ``newest``: times by device id; what is not newer is late
    from the beginning. ``moves``: whether a rule needs the value before."""

    def __init__(self, newest: TimesNs, *, moves: bool = False) -> None:
        self._newest: TimesNs = newest.copy()
        self._moves = moves
        count = len(newest) if moves else 0
        self._value: Floats = np.full(count, np.nan)
        self._begin: TimesNs = np.zeros(count, np.int64)

    def fresh(self, batch: Batch, column: Column) -> Series | None:
        """What is new in a batch; None when nothing is."""
        series = batch.series(column.values, column.valid)
        if series is None:
            return None
        devices, times, first = series.devices, series.times, series.first
        if (count := int(devices[-1]) + 1) > len(self._newest):
            self._grow(count)
        new = times > self._newest[devices]
        new[1:] &= first[1:] | (times[1:] != times[:-1])
        if not new.all():
            if not new.any():
                return None
            series = series.take(new)
            devices, times, first = series.devices, series.times, series.first
        last = np.append(first[1:], True)
        if self._moves:
            series.motion = self._motion(series, last)
        self._newest[devices[last]] = times[last]
        return series

    def _motion(self, series: Series, last: BoolMask) -> Motion:
        devices, times, values, first = series.devices, series.times, series.values, series.first
        before, earlier = np.roll(values, 1), np.roll(times, 1)
        before[first], earlier[first] = self._value[devices[first]], self._newest[devices[first]]
        with np.errstate(invalid="ignore", over="ignore"):
            moved = np.abs(values - before)
            known = (earlier != NEVER) & ~np.isnan(before) & ~np.isnan(values)
            seconds = np.where(known, times - np.where(known, earlier, 0), 1) / 1e9
            slope = np.where(known, moved / seconds, 0.0)
        changed = known & (values != before)
        begins = changed | ~known
        begin = np.where(begins, times, 0)
        carried = first & ~begins
        begin[carried] = self._begin[devices[carried]]
        # The newest beginning at or before each row; every device has one in its first row.
        begin = begin[np.maximum.accumulate(np.where(begins | first, np.arange(len(times)), 0))]
        self._begin[devices[last]] = begin[last]
        self._value[devices[last]] = values[last]
        held = times - begin
        # Infinity less infinity is no number: it is a change of which nothing is known.
        steepest = float(np.fmax.reduce(slope))
        return Motion(known, slope, changed, held, steepest, int(held.max()))

    def _grow(self, count: int) -> None:
        more = max(count, 2 * len(self._newest)) - len(self._newest)
        self._newest = np.concatenate([self._newest, np.full(more, NEVER)])
        if self._moves:
            self._value = np.concatenate([self._value, np.full(more, np.nan)])
            self._begin = np.concatenate([self._begin, np.zeros(more, np.int64)])
