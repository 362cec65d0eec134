"""What is remembered of each device's values, to tell those that are worth storing.

Per value, in order of arrival (late and repeated rows are left out by the caller):

1. *Rate of change*: a value that is further from the last one taken than ``max_rate`` allows for
   the time between them is refused. The time grows meanwhile, so a true step is taken in the end.
2. *Increment* of a counter: how far it went since the value before it. A lower value is a rollover
   where the counter has one and lay in its upper half, else a reset to zero.
3. *Change* of a state: the value before it, where it differs.
4. *Deadband*, absolute or relative to the last value kept: within it the value is dropped.
5. *Swinging door*: dropped are values on a line between two kept ones, give or take the door's
   width. Which of them was the last on the line is known only when one has left it: that one is
   *restored*, as a row of its own.

The first value of a device is kept, and one per heartbeat, so that constancy differs from silence.

A decision depends on the one before it, so a batch is worked through in waves: wave k is the k-th
row of every device at once. Memory: 72 bytes a device and filtered measurement. Nothing of it
survives a restart but what is stored: a counter's last value is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, DeviceIds, TimesNs

EXACT_MAX = float(1 << 53)
"""Larger whole numbers are not exact as double: differences between them mean nothing."""
TEXTS_MAX = 100_000
"""Texts that are told apart by a number; beyond it they are numbered anew, and a device's next text
counts as its first."""
_NS_PER_S = 1e9

Floats = npt.NDArray[np.float64]
Cells = BoolMask
LastValues = Callable[[DeviceIds, int], tuple[Floats, TimesNs]]
"""(the newest stored value of a measurement, NaN where there is none, and its time) of devices."""


@dataclass(frozen=True, slots=True)
class ValueFilter:
    """What is done with the values of one measurement. Bands and doors are in its stored unit.

    ``band``: dropped within it of the last value kept; ``relative``: it is a share of that value.
    ``door``: the swinging door's half width. ``max_rate``: per second. ``increment``: the
    measurement that gets the increments, and its type; ``rollover`` of the counter. ``previous``:
    the measurement that gets the value before a change, and its type.
    """

    band: float | None = None
    relative: bool = False
    door: float | None = None
    max_rate: float | None = None
    increment: tuple[int, ColumnType] | None = None
    rollover: int | None = None
    previous: tuple[int, ColumnType] | None = None


@dataclass(slots=True)
class Restored:
    """Values that turned out to be worth storing: one cell each."""

    device: list[int] = field(default_factory=list)
    time_ns: list[int] = field(default_factory=list)
    measurement: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.device)


@dataclass(frozen=True, slots=True)
class Filtered:
    """``columns`` of all rows, dropped and refused values null, with those that were computed.
    ``refused``: measurement to the rows whose value was refused by its rate."""

    columns: dict[int, Column]
    refused: dict[int, npt.NDArray[np.intp]]


class ValueMemory:
    """The memory of one template's values. ``filters`` by measurement. Calls are serialised."""

    def __init__(
        self,
        filters: Mapping[int, ValueFilter],
        heartbeat_ns: int,
        last_values: LastValues | None = None,
    ) -> None:
        self._ids = tuple(filters)
        self._filters = tuple(filters.values())
        self._heartbeat_ns = heartbeat_ns
        self._last_values = last_values
        self._relative = np.array([f.relative for f in self._filters], np.bool_)
        self._band = _parameters([f.band for f in self._filters])
        self._door = _parameters([f.door for f in self._filters])
        self._has_door = ~np.isnan(self._door)
        self._max_rate = _parameters([f.max_rate for f in self._filters])
        self._rollover = _parameters([f.rollover for f in self._filters])
        self._computed = [
            at for at, f in enumerate(self._filters) if f.increment is not None or f.previous
        ]
        self._counters = [at for at, f in enumerate(self._filters) if f.increment is not None]
        self._textual = np.zeros(len(self._ids), np.bool_)
        self._texts: dict[object, float] = {}
        self._names: list[object] = []
        self.restored = Restored()
        """Taken, and replaced, by whoever stores it."""
        self.forget()

    def __bool__(self) -> bool:
        return bool(self._ids)

    def forget(self) -> None:
        """As after a restart: nothing is known of any device."""
        wide = (0, len(self._ids))
        self._kept, self._kept_at = np.zeros(wide), np.zeros(wide, np.int64)
        self._taken, self._taken_at = np.zeros(wide), np.zeros(wide, np.int64)
        self._held, self._held_at = np.zeros(wide), np.zeros(wide, np.int64)
        self._low, self._high = np.zeros(wide), np.zeros(wide)

    def forget_devices(self, devices: DeviceIds) -> None:
        """Nothing is known of these any more; what their doors hold is restored."""
        if not len(devices) or not self._ids:
            return
        self._restore(devices, ~np.isnan(self._held[devices]))
        for cells in (self._kept, self._taken, self._held, self._low, self._high):
            cells[devices] = np.nan

    def grow(self, capacity: int) -> None:
        """Room for devices below ``capacity``."""
        more = (capacity - len(self._kept), len(self._ids))
        for name in ("_kept", "_taken", "_held", "_low", "_high"):
            fresh = np.full(more, np.nan)
            setattr(self, name, np.append(getattr(self, name), fresh, axis=0))
        for name in ("_kept_at", "_taken_at", "_held_at"):
            setattr(self, name, np.append(getattr(self, name), np.zeros(more, np.int64), axis=0))

    def meet(self, devices: DeviceIds) -> None:
        """Devices that are seen for the first time: the last values of their counters are read."""
        if self._last_values is None:
            return
        for at in self._counters:
            values, times = self._last_values(devices, self._ids[at])
            self._taken[devices, at], self._taken_at[devices, at] = values, times

    def judge(
        self, device: DeviceIds, time: TimesNs, columns: Mapping[int, Column], judged: BoolMask
    ) -> Filtered:
        """Judges the rows of ``judged``, in order of arrival, and remembers them."""
        if len(self._names) > TEXTS_MAX:
            self._renumber_texts()
        rows = np.flatnonzero(judged)
        shape = (len(rows), len(self._ids))
        values, present = np.full(shape, np.nan), np.zeros(shape, np.bool_)
        for at, key in enumerate(self._ids):
            column = columns.get(key)
            if column is not None:
                self._textual[at] = column.values.dtype == object
                values[:, at] = self._numbers(column.values[rows])
                present[:, at] = True if column.valid is None else column.valid[rows]
        keep, refused, before = self._waves(device[rows], time[rows], values, present)
        found = dict(columns)
        count = len(device)
        for at, key in enumerate(self._ids):
            dropped = rows[present[:, at] & ~keep[:, at]]
            if len(dropped):
                found[key] = _without(found[key], dropped, count)
        for at in self._computed:
            self._compute(found, at, rows, values, present & ~refused, before, count)
        places = {key: rows[refused[:, at]] for at, key in enumerate(self._ids)}
        return Filtered(found, {key: some for key, some in places.items() if len(some)})

    def release(self) -> None:
        """Restores what every door holds: nothing more is expected."""
        held = ~np.isnan(self._held)
        self._restore(np.arange(len(held)), held)
        self._held[held] = np.nan

    # Waves

    def _waves(
        self, device: DeviceIds, time: TimesNs, values: Floats, present: Cells
    ) -> tuple[Cells, Cells, Floats]:
        """(which values are kept, which were refused, the value taken before each), all of the
        shape of ``values``."""
        keep = present.copy()
        refused = np.zeros_like(present)
        before = np.full_like(values, np.nan)
        if not present.any():
            return keep, refused, before
        for wave in rows_by_turn(device):
            devices, times, new = device[wave], time[wave][:, np.newaxis], values[wave]
            taken, since = self._taken[devices], self._taken_at[devices]
            # NaN, "no value yet", compares as false: nothing is too far from it.
            too_far = np.abs(new - taken) > self._max_rate * ((times - since) / _NS_PER_S)
            here = present[wave] & ~too_far
            refused[wave] = present[wave] & too_far
            before[wave] = taken
            self._taken[devices] = np.where(here, new, taken)
            self._taken_at[devices] = np.where(here, times, since)
            keep[wave] = self._worth_keeping(devices, times, new, here)
        return keep, refused, before

    def _worth_keeping(self, devices: DeviceIds, times: TimesNs, new: Floats, here: Cells) -> Cells:
        last, since = self._kept[devices], self._kept_at[devices]
        band = np.where(self._relative, self._band * np.abs(last), self._band)
        unchanged = np.abs(new - last) <= band
        if self._has_door.any():
            unchanged |= self._through_door(devices, times, new, here)
            last, since = self._kept[devices], self._kept_at[devices]
        unchanged &= times - since < self._heartbeat_ns
        kept = here & ~unchanged
        self._kept[devices] = np.where(kept, new, last)
        self._kept_at[devices] = np.where(kept, times, since)
        if self._has_door.any():
            opened = kept & self._has_door
            self._low[devices] = np.where(opened, np.nan, self._low[devices])
            self._high[devices] = np.where(opened, np.nan, self._high[devices])
            self._held[devices] = np.where(opened, np.nan, self._held[devices])
        return kept

    def _through_door(self, devices: DeviceIds, times: TimesNs, new: Floats, here: Cells) -> Cells:
        """Which values are held, not kept. Where one has left the line, the one held before it is
        restored, and the line goes on from there."""
        moves = here & self._has_door & ~np.isnan(self._kept[devices])
        moves &= times > self._kept_at[devices]
        low, high = self._lines(devices, times, new)
        left = moves & (low > high) & ~np.isnan(self._held[devices])
        if left.any():
            self._restore(devices, left)
            self._kept[devices] = np.where(left, self._held[devices], self._kept[devices])
            self._kept_at[devices] = np.where(left, self._held_at[devices], self._kept_at[devices])
            self._low[devices] = np.where(left, np.nan, self._low[devices])
            self._high[devices] = np.where(left, np.nan, self._high[devices])
            low, high = self._lines(devices, times, new)
        self._low[devices] = np.where(moves, low, self._low[devices])
        self._high[devices] = np.where(moves, high, self._high[devices])
        self._held[devices] = np.where(moves, new, self._held[devices])
        self._held_at[devices] = np.where(moves, times, self._held_at[devices])
        return moves

    def _lines(self, devices: DeviceIds, times: TimesNs, new: Floats) -> tuple[Floats, Floats]:
        """The bounds of the slopes from the last value kept that stay in the door of all since."""
        seconds = (times - self._kept_at[devices]) / _NS_PER_S
        with np.errstate(divide="ignore", invalid="ignore"):
            low = (new - self._door - self._kept[devices]) / seconds
            high = (new + self._door - self._kept[devices]) / seconds
        return np.fmax(self._low[devices], low), np.fmin(self._high[devices], high)

    def _restore(self, devices: AnyArray, cells: Cells) -> None:
        row, at = np.nonzero(cells)
        self.restored.device += devices[row].tolist()
        self.restored.time_ns += self._held_at[devices[row], at].tolist()
        self.restored.measurement += [self._ids[position] for position in at]
        self.restored.value += self._held[devices[row], at].tolist()

    # Values

    def _numbers(self, values: AnyArray) -> Floats:
        """As double; a text gets a number of its own."""
        if values.dtype == object:
            return np.array([self._number_of(value) for value in values], np.float64)
        numbers = values.astype(np.float64)
        if values.dtype.kind in "iu":
            numbers[np.abs(numbers) > EXACT_MAX] = np.nan
        return numbers

    def _number_of(self, value: object) -> float:
        number = self._texts.get(value)
        if number is None:
            number = self._texts[value] = float(len(self._names))
            self._names.append(value)
        return number

    def _renumber_texts(self) -> None:
        """Between two batches: the numbers of texts begin anew, and mean nothing before."""
        self._texts.clear()
        self._names.clear()
        self._taken[:, self._textual], self._kept[:, self._textual] = np.nan, np.nan

    def _compute(
        self,
        found: dict[int, Column],
        at: int,
        rows: npt.NDArray[np.intp],
        values: Floats,
        here: Cells,
        before: Floats,
        count: int,
    ) -> None:
        """Adds what is computed from one measurement to the columns."""
        rule = self._filters[at]
        new, old = values[:, at], before[:, at]
        known = here[:, at] & ~np.isnan(old) & ~np.isnan(new)
        if rule.increment is not None:
            key, kind = rule.increment
            found[key] = _column(
                _increments(new, old, self._rollover[at]), known, rows, count, kind
            )
        if rule.previous is not None:
            key, kind = rule.previous
            changed = known & (new != old)
            if kind.is_variable:
                texts = np.full(len(old), None, object)
                texts[changed] = [self._names[int(number)] for number in old[changed]]
                whole = np.full(count, None, object)
                whole[rows] = texts
                valid = np.zeros(count, np.bool_)
                valid[rows] = changed
                found[key] = Column(whole, valid)
            else:
                found[key] = _column(old, changed, rows, count, kind)


def _parameters(values: Sequence[float | None]) -> Floats:
    """NaN where there is none: it compares as false."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _increments(new: Floats, old: Floats, rollover: float) -> Floats:
    rolled = ~np.isnan(rollover) & (old - new > rollover / 2)
    below: Floats = np.where(rolled, new + rollover - old, new)
    return np.where(new >= old, new - old, below)


def _column(
    values: Floats, known: BoolMask, rows: npt.NDArray[np.intp], count: int, kind: ColumnType
) -> Column:
    whole = np.zeros(count, kind.dtype)
    valid = np.zeros(count, np.bool_)
    fits = known & np.isfinite(values)
    whole[rows[fits]] = values[fits].astype(kind.dtype)
    valid[rows] = fits
    return Column(whole, valid)


def _without(column: Column, rows: npt.NDArray[np.intp], count: int) -> Column:
    valid = np.ones(count, np.bool_) if column.valid is None else column.valid.copy()
    valid[rows] = False
    return Column(column.values, valid)


def rows_by_turn(device: DeviceIds) -> list[AnyArray]:
    """Row numbers in waves: the first rows of all devices, then the second ones, and so on."""
    order = np.argsort(device, kind="stable")
    ordered = device[order]
    first = np.ones(len(device), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    turn = np.arange(len(device)) - starts[np.cumsum(first) - 1]
    by_turn = order[np.argsort(turn, kind="stable")]
    return np.split(by_turn, np.cumsum(np.bincount(turn))[:-1])
