"""Deletes: what one record of the log erases, and the tombstones of a table.

1. A *tombstone* covers stored fragments of one origin whose version is not newer than ``as_of``:
   of some devices (None: all) in a range of time, or exactly named (device, time) ranges. It erases
   whole rows, or the values of some measurements; a covered row without any value left goes.
2. Nothing is changed where it is stored. Every reader of a part or chunk drops what is erased
   *before* fragments are merged; a flush and a compaction do the same, and from then on the part
   says so (``PartMeta.erased_through``).
3. Which fragments a tombstone covers is decided by versions, never by the order of arrival. Only a
   slice image replaces what arrived before it: then ``applied_before`` says which local records.
4. Erasing is idempotent, and the order of tombstones does not matter.
5. A slice image says what its origin holds: tombstones that are not newer end in its range. Who
   lost a delete has rows again that it covered elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.head import is_member
from mainstem_engine.merge import (
    Index,
    concat_ranges,
    key_order,
    lower_bounds,
    new_runs,
    stable_device_order,
)
from mainstem_engine.model import AnyArray, BoolMask, Column, DeviceIds, TimesNs, VersionedRows
from mainstem_engine.part.manifest import PartMeta

TOMBSTONES_MAX = 4096
"""Tombstones of one table. A scan looks at each that overlaps one of its steps: at a few
microseconds each, so many cost a query some milliseconds."""
TOMBSTONE_BYTES_MAX = 32 << 20
"""Devices and times of one table's tombstones in memory: about 1.6 million single rows."""
_FIXED_BYTES = 200
"""A tombstone without its arrays."""


@dataclass(frozen=True, slots=True, eq=False)
class Tombstone:
    """What one delete erases. See the rules above.

    ``lsn``: the local record that brought it. ``devices``: ascending uint32, None for all.
    ``times``: int64 ns parallel to ``devices`` (which then may repeat, sorted by both): only the
    ranges [times[i], ends[i]) of devices[i], single times where ``ends`` is None;
    [``start_ns``, ``end_ns``) spans them. ``measurements``: ids, None for whole rows.
    ``rows``: visible rows that it erased, None while that is not known.
    """

    lsn: int
    origin: int
    as_of: int
    applied_before: int | None
    devices: DeviceIds | None
    start_ns: int
    end_ns: int
    times: TimesNs | None = None
    measurements: tuple[int, ...] | None = None
    ends: TimesNs | None = None
    rows: int | None = None

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        arrays = (self.devices, self.times, self.ends)
        return _FIXED_BYTES + sum(a.nbytes for a in arrays if a is not None)

    @property
    def device_bounds(self) -> tuple[int, int]:
        """(least, greatest) device that it may cover."""
        if self.devices is None:
            return 0, int(np.iinfo(np.uint32).max)
        return int(self.devices[0]), int(self.devices[-1])

    def touches(self, devices: DeviceIds | None, start_ns: int, end_ns: int) -> bool:
        """True when it may cover a row of ``devices`` (ascending, None: all) in [start, end)."""
        if self.start_ns >= end_ns or self.end_ns <= start_ns:
            return False
        if devices is None or self.devices is None:
            return True
        few, many = sorted((devices, self.devices), key=len)
        return bool(is_member(few, many).any())

    def touches_range(self, device_min: int, device_max: int, start_ns: int, end_ns: int) -> bool:
        """True when it may cover a row of a device in [min, max] with time in [start, end)."""
        if self.start_ns >= end_ns or self.end_ns <= start_ns:
            return False
        if self.devices is None:
            return True
        low, high = self.devices.searchsorted([device_min, device_max + 1])
        return bool(low < high)

    def subsumes(self, other: Tombstone) -> bool:
        """True when it erases everything that ``other`` does."""
        return (
            self.times is None
            and self.origin == other.origin
            and self.as_of >= other.as_of
            and self.applied_before is None
            and self.start_ns <= other.start_ns
            and self.end_ns >= other.end_ns
            and (self.measurements is None or self.measurements == other.measurements)
            and _includes(self.devices, other.devices)
        )


class _Batch:
    """Rows, and ways to find those that a tombstone covers, made when they are first needed."""

    def __init__(self, rows: VersionedRows) -> None:
        self.rows = rows
        self._order: Index | None = None
        device = rows.device
        if bool((device[1:] < device[:-1]).any()):
            self._order = stable_device_order(device)
            device = device[self._order]
        self._starts = new_runs(device).nonzero()[0]
        self._devices = device[self._starts]
        self._lsn_max = int(rows.lsn.max())
        origin = int(rows.origin[0])
        self._origin = origin if bool((rows.origin == origin).all()) else None

    def covered(self, tombstone: Tombstone) -> Index:
        """Row numbers that the tombstone covers."""
        if self._origin not in (None, tombstone.origin):
            return np.empty(0, np.intp)
        rows = self.rows
        if tombstone.times is None:
            index = self._of_devices(tombstone.devices)
            time = rows.time[index]
            index = index[(time >= tombstone.start_ns) & (time < tombstone.end_ns)]
        else:
            index = self._in_ranges(tombstone)
        if self._lsn_max > tombstone.as_of:
            index = index[rows.lsn[index] <= np.uint64(tombstone.as_of)]
        if self._origin is None:
            index = index[rows.origin[index] == tombstone.origin]
        return index

    def _of_devices(self, devices: DeviceIds | None) -> Index:
        """Rows of ``devices`` (ascending, None: all)."""
        count = len(self.rows)
        if devices is None:
            return np.arange(count)
        ends = np.empty_like(self._starts)
        ends[:-1], ends[-1] = self._starts[1:], count
        chosen = is_member(self._devices, devices)
        place = concat_ranges(self._starts[chosen], ends[chosen])
        return place if self._order is None else self._order[place]

    def _in_ranges(self, tombstone: Tombstone) -> Index:
        """Rows in the ranges of the tombstone."""
        assert tombstone.devices is not None
        assert tombstone.times is not None
        low, high = tombstone.devices.searchsorted([self._devices[0], self._devices[-1] + 1])
        device, start = tombstone.devices[low:high], tombstone.times[low:high]
        end = start + 1 if tombstone.ends is None else tombstone.ends[low:high]
        order = self._key_order
        ordered_device, ordered_time = self.rows.device, self.rows.time
        if order is not None:
            ordered_device, ordered_time = ordered_device[order], ordered_time[order]
        first = lower_bounds(ordered_device, ordered_time, device, start)
        last = lower_bounds(ordered_device, ordered_time, device, end)
        place = concat_ranges(first, last)
        return place if order is None else order[place]

    @cached_property
    def _key_order(self) -> Index | None:
        """The rows by device and time; None when they are so."""
        device, time = self.rows.device, self.rows.time
        if self._order is None:
            wrong = (device[1:] == device[:-1]) & (time[1:] < time[:-1])
            if not wrong.any():
                return None
        return key_order(device, time)


class Tombstones:
    """The tombstones of one table: immutable, ordered by LSN, bounded by those who add."""

    __slots__ = ("__dict__", "_items")

    def __init__(self, items: Iterable[Tombstone] = ()) -> None:
        self._items = tuple(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Tombstone]:
        return iter(self._items)

    @cached_property
    def nbytes(self) -> int:
        """What they take in memory."""
        return sum(item.nbytes for item in self._items)

    @cached_property
    def partial(self) -> bool:
        """True when one erases single measurements: whether a row is left can then only be said
        by who reads all of its measurements."""
        return any(item.measurements is not None for item in self._items)

    @property
    def full(self) -> bool:
        """True when no further delete should be accepted."""
        return len(self) >= TOMBSTONES_MAX or self.nbytes >= TOMBSTONE_BYTES_MAX

    @property
    def newest_lsn(self) -> int:
        """Local LSN of the newest, 0 without any."""
        return self._items[-1].lsn if self._items else 0

    # Parts of it

    def overlapping(self, devices: DeviceIds | None, start_ns: int, end_ns: int) -> Tombstones:
        """Those that may cover rows of ``devices`` (ascending, None: all) in [start, end)."""
        if not self._items:
            return self
        low, high = 0, int(_ALL_DEVICES)
        if devices is not None:
            if not len(devices):
                return NONE
            low, high = int(devices[0]), int(devices[-1])
        near = self._near(low, high, start_ns, end_ns)
        return self._some([t for t in near if t.touches(devices, start_ns, end_ns)])

    def after(self, lsn: int) -> Tombstones:
        """Those of later local records: what a part that was erased through ``lsn`` still needs."""
        return self._some([t for t in self._items if t.lsn > lsn])

    def through(self, lsn: int) -> Tombstones:
        """Those of local records up to ``lsn``."""
        return self._some([t for t in self._items if t.lsn <= lsn])

    def of_part(self, meta: PartMeta) -> Tombstones:
        """Those that may still cover rows of a part."""
        if not self._items or self.newest_lsn <= meta.erased_through:
            return NONE
        near = self._near(meta.device_min, meta.device_max, meta.time_min_ns, meta.time_max_ns + 1)
        return self._some([t for t in near if _may_cover(t, meta)])

    def covers_block(
        self, device_min: int, device_max: int, time_min_ns: int, time_max_ns: int
    ) -> bool:
        """True when rows of a block of that extent may be erased: its statistics say nothing."""
        near = self._near(device_min, device_max, time_min_ns, time_max_ns + 1)
        return any(
            t.touches_range(device_min, device_max, time_min_ns, time_max_ns + 1) for t in near
        )

    def _some(self, items: Sequence[Tombstone]) -> Tombstones:
        if len(items) == len(self._items):
            return self
        return Tombstones(items) if items else NONE

    @cached_property
    def _extents(self) -> npt.NDArray[np.int64]:
        """int64[4, n]: least and greatest device, start and end of each."""
        return np.array(
            [(*t.device_bounds, t.start_ns, t.end_ns) for t in self._items], np.int64
        ).T.copy()

    def _near(self, low: int, high: int, start_ns: int, end_ns: int) -> Sequence[Tombstone]:
        if len(self._items) <= 1:
            return self._items
        device_min, device_max, start, end = self._extents
        near = (device_min <= high) & (device_max >= low) & (start < end_ns) & (end > start_ns)
        return [self._items[at] for at in near.nonzero()[0].tolist()]

    # What it does

    def erase(self, rows: VersionedRows, applied: tuple[int, int] = (0, 0)) -> VersionedRows:
        """``rows`` of one part or chunk, in any order, without what is erased.

        ``applied``: first and last local LSN of the records that brought them. With ``partial``,
        ``rows`` must have all their measurements.
        """
        if not self._items or not len(rows):
            return rows
        near = self._near(
            int(rows.device.min()),
            int(rows.device.max()),
            int(rows.time.min()),
            int(rows.time.max()) + 1,
        )
        near = [t for t in near if t.applied_before is None or applied[1] < t.applied_before]
        if not near:
            return rows
        batch = _Batch(rows)
        gone: BoolMask | None = None
        bare: BoolMask | None = None
        nulled: dict[int, BoolMask] = {}
        for tombstone in near:
            index = batch.covered(tombstone)
            if not len(index):
                continue
            if tombstone.measurements is None:
                gone = np.zeros(len(rows), np.bool_) if gone is None else gone
                gone[index] = True
                continue
            bare = np.zeros(len(rows), np.bool_) if bare is None else bare
            bare[index] = True
            for key in tombstone.measurements:
                if key in rows.columns:
                    mask = nulled.setdefault(key, np.zeros(len(rows), np.bool_))
                    mask[index] = True
        if bare is not None:
            rows, left = _without_values(rows, nulled)
            bare &= ~left
            gone = bare if gone is None else gone | bare
        return rows if gone is None or not gone.any() else rows.take(~gone)

    # What becomes of it

    def adding(self, new: Tombstone, *, fold_above: int) -> Tombstones:
        """With one more. Those of records above ``fold_above`` that it makes superfluous go, and a
        piece of the same delete is joined to it; older ones are in a checkpoint by themselves. One
        of which it is known what it erased stays beside one of which the flush has to count it."""
        kept: list[Tombstone] = []
        for item in self._items:
            alike = (item.rows is None) == (new.rows is None)
            if alike and item.lsn > fold_above and new.subsumes(item):
                new = replace(new, rows=_sum(new.rows, item.rows))
            else:
                kept.append(item)
        joined = _joined(kept[-1], new) if kept and kept[-1].lsn > fold_above else None
        if joined is not None:
            kept[-1] = joined
        else:
            kept.append(new)
        return Tombstones(kept)

    def ending(self, origin: int, start_ns: int, end_ns: int, as_of: int, lsn: int) -> Tombstones:
        """Of ``origin``, those up to its LSN ``as_of`` say nothing in [start, end) of what comes
        with the local record ``lsn``, or after it."""
        kept: list[Tombstone] = []
        for item in self._items:
            apart = item.origin != origin or item.as_of > as_of or item.applied_before is not None
            if apart or item.end_ns <= start_ns or item.start_ns >= end_ns:
                kept.append(item)
                continue
            kept += _between(item, item.start_ns, start_ns)
            inside = _between(item, max(item.start_ns, start_ns), min(item.end_ns, end_ns))
            kept += [replace(piece, applied_before=lsn) for piece in inside]
            kept += _between(item, end_ns, item.end_ns)
        return Tombstones(kept)

    def needed(
        self, metas: Iterable[PartMeta], checkpoint_lsn: int, settled: Callable[[int], int]
    ) -> Tombstones:
        """Without those that nothing needs any more.

        A tombstone may go when the head holds only later rows (its record is in the checkpoint),
        every part that could hold covered rows was written after it, and none can arrive: all of
        its origin up to ``as_of`` is here. Rows older than a slice image are kept out by the floor.
        """
        metas = list(metas)

        def is_needed(item: Tombstone) -> bool:
            if item.lsn > checkpoint_lsn:
                return True
            if item.applied_before is None and settled(item.origin) < item.as_of:
                return True
            return any(m.erased_through < item.lsn and _may_cover(item, m) for m in metas)

        return self._some([item for item in self._items if is_needed(item)])


_ALL_DEVICES = np.uint32(0xFFFFFFFF)
NONE = Tombstones()
"""No tombstones: of every table that has none."""


def _between(item: Tombstone, start_ns: int, end_ns: int) -> list[Tombstone]:
    """What of a tombstone lies in [start, end). How many rows that erased is not known."""
    if start_ns >= end_ns:
        return []
    if item.times is None or item.devices is None:
        return [replace(item, start_ns=start_ns, end_ns=end_ns, rows=None)]
    times = item.times
    ends = times + 1 if item.ends is None else item.ends
    inside = (times < end_ns) & (ends > start_ns)
    if not inside.any():
        return []
    times, ends = np.maximum(times[inside], start_ns), np.minimum(ends[inside], end_ns)
    return [
        replace(
            item, devices=item.devices[inside], times=times,
            ends=None if item.ends is None else ends,
            start_ns=int(times.min()), end_ns=int(ends.max()), rows=None,
        )
    ]  # fmt: skip


def _may_cover(item: Tombstone, meta: PartMeta) -> bool:
    return item.lsn > meta.erased_through and item.touches_range(
        meta.device_min, meta.device_max, meta.time_min_ns, meta.time_max_ns + 1
    )


def _without_values(
    rows: VersionedRows, nulled: dict[int, BoolMask]
) -> tuple[VersionedRows, BoolMask]:
    """(rows with the masked values null, which of the rows have a value)."""
    columns = dict(rows.columns)
    for key, mask in nulled.items():
        valid = columns[key].valid
        columns[key] = Column(columns[key].values, ~mask if valid is None else valid & ~mask)
    left = np.zeros(len(rows), np.bool_)
    for column in columns.values():
        left |= True if column.valid is None else column.valid
    return VersionedRows(rows.device, rows.time, rows.origin, rows.lsn, columns), left


def _joined(item: Tombstone, new: Tombstone) -> Tombstone | None:
    """Both as one, where they are pieces of one delete: same versions, range and measurements."""
    same = (
        item.origin == new.origin
        and item.as_of == new.as_of
        and item.applied_before == new.applied_before
        and item.measurements == new.measurements
        and (item.rows is None) == (new.rows is None)
    )
    if not same or item.devices is None or new.devices is None:
        return None
    if item.times is not None or new.times is not None:
        return None
    if (item.start_ns, item.end_ns) != (new.start_ns, new.end_ns):
        return None
    return replace(
        new, devices=np.union1d(item.devices, new.devices), rows=_sum(item.rows, new.rows)
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _includes(devices: DeviceIds | None, others: DeviceIds | None) -> bool:
    if devices is None:
        return True
    if others is None or others[0] < devices[0] or others[-1] > devices[-1]:
        return False
    return bool(is_member(others, devices).all())


# In the checkpoint


def encode_tombstones(tables: Mapping[str, Tombstones]) -> bytes:
    """The checkpoint section: a map of table to a list of tombstones, see docs/file-format.md."""
    packed: bytes = msgpack.packb(
        {name: [_pack(item) for item in found] for name, found in tables.items() if found}
    )
    return packed


def decode_tombstones(data: bytes) -> dict[str, Tombstones]:
    """The inverse of ``encode_tombstones``."""
    return {
        name: Tombstones(_unpack(item) for item in items)
        for name, items in msgpack.unpackb(data).items()
    }


def _pack(item: Tombstone) -> list[Any]:
    measurements = None if item.measurements is None else list(item.measurements)
    return [
        item.lsn, item.origin, item.as_of, item.applied_before, _bytes(item.devices, "<u4"),
        item.start_ns, item.end_ns, _bytes(item.times, "<i8"), measurements,
        _bytes(item.ends, "<i8"), item.rows,
    ]  # fmt: skip


def _unpack(values: Sequence[Any]) -> Tombstone:
    lsn, origin, as_of, before, devices, start_ns, end_ns, times, keys, ends, rows = values[:11]
    return Tombstone(
        lsn, origin, as_of, before, _array(devices, "<u4"), start_ns, end_ns, _array(times, "<i8"),
        None if keys is None else tuple(keys), _array(ends, "<i8"), rows,
    )  # fmt: skip


def _bytes(array: AnyArray | None, kind: str) -> bytes | None:
    return None if array is None else array.astype(kind, copy=False).tobytes()


def _array(data: bytes | None, kind: str) -> Any:
    return None if data is None else np.frombuffer(data, kind)
