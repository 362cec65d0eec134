"""Proven slices of long ago, summed: one digest per hour, later one per day.

1. Digests are additive, so the sum of the minutes of an hour is the hour's. Where no entry is, and
   the time is closed, the owner stated that there are no rows.
2. A bucket whose slices are touched again is *broken*: its sum says nothing any more, until its
   owner has stated every slice of it anew. Then it goes, and its slices stand for themselves.
3. A bucket that a scan found different is *unequal*, until the same has happened.

A bucket is named by its index: slice index divided by the slices of a bucket. Slices longer than
an hour are a bucket each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_sync.slices.manifest import Ints, Sums
from mainstem_sync.slices.slice_table import Keys, SliceTable

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS

WHOLE, BROKEN, DIFFERENT = 0, 1, 2
"""Values of the column ``state``; they are in checkpoints."""

_COLUMNS: dict[str, npt.DTypeLike] = {
    "count": np.int64, "d1": np.uint64, "d2": np.uint64, "max_lsn": np.uint64,
    "state": np.uint8,
}  # fmt: skip


class Buckets:
    """The sums of one length. ``per``: slices of a bucket."""

    def __init__(self, per: int) -> None:
        self.per = per
        self.table = SliceTable(_COLUMNS)

    def __len__(self) -> int:
        return len(self.table)

    def of(self, keys: Keys) -> Keys:
        """Bucket of each slice."""
        buckets: Keys = keys // self.per
        return buckets

    def add(self, keys: Keys, count: Ints, d1: Sums, d2: Sums, max_lsn: Sums) -> None:
        """Sum up slices (ascending) into buckets that are not there yet."""
        buckets, first = np.unique(self.of(keys), return_index=True)
        at = self.table.upsert(buckets)
        self.table["count"][at] = np.add.reduceat(count, first)
        self.table["d1"][at] = np.add.reduceat(d1, first)
        self.table["d2"][at] = np.add.reduceat(d2, first)
        self.table["max_lsn"][at] = np.maximum.reduceat(max_lsn, first)
        self.table["state"][at] = WHOLE

    def has(self, buckets: Keys) -> npt.NDArray[np.bool_]:
        """Which of these buckets there are."""
        return np.isin(buckets, self.table.keys)

    def mark(self, buckets: Keys, state: int) -> None:
        """Set the state of those of ``buckets`` that there are."""
        if len(self.table) and len(buckets):
            self.table["state"][np.isin(self.table.keys, buckets)] = state

    def forget(self, first_key: int, end_key: int) -> None:
        """Drop the buckets that lie wholly in the slices [first_key, end_key)."""
        keys = self.table.keys
        self.table.remove((keys * self.per >= first_key) & ((keys + 1) * self.per <= end_key))

    def flawed(self, first_key: int, end_key: int) -> list[tuple[int, int, int]]:
        """(first slice, end slice, state) of buckets with a slice in [first_key, end_key) that are
        not whole."""
        keys, state = self.table.keys, self.table["state"]
        hit = (state != WHOLE) & (keys * self.per < end_key) & ((keys + 1) * self.per > first_key)
        return [
            (key * self.per, (key + 1) * self.per, int(found))
            for key, found in zip(keys[hit].tolist(), state[hit].tolist(), strict=True)
        ]


class Rolled:
    """The hours and days of one table. See the module; not thread-safe."""

    def __init__(self, slice_ns: int) -> None:
        self.hours = Buckets(max(1, HOUR_NS // slice_ns))
        self.days = Buckets(max(1, DAY_NS // slice_ns))

    @property
    def levels(self) -> tuple[Buckets, Buckets]:
        return self.hours, self.days

    def covers(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which slices are part of a sum."""
        found = np.zeros(len(keys), np.bool_)
        for level in self.levels:
            if len(level):
                found |= level.has(level.of(keys))
        return found

    def proves(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which slices are part of a sum that is whole."""
        found = np.zeros(len(keys), np.bool_)
        for level in self.levels:
            if len(level):
                whole = level.table.keys[level.table["state"] == WHOLE]
                found |= np.isin(level.of(keys), whole)
        return found

    def touched(self, keys: Keys) -> None:
        """Rows or statements came for these slices."""
        for level in self.levels:
            if len(level):
                level.mark(np.unique(level.of(keys)), BROKEN)

    def damaged(self, first_key: int, end_key: int) -> None:
        """Rows of the slices [first_key, end_key) may be gone."""
        for level in self.levels:
            inside = level.table.range(first_key // level.per, -(-end_key // level.per))
            state = level.table["state"][inside]
            state[state == WHOLE] = BROKEN

    def restated(self, first_key: int, end_key: int) -> None:
        """The owner stated every slice of [first_key, end_key) anew."""
        for level in self.levels:
            level.forget(first_key, end_key)

    def fork(self, fork_lsn: int) -> Keys:
        """Slices (ascending) of the sums that are about rows beyond a fork; the sums go."""
        found = []
        for level in self.levels:
            beyond = level.table["max_lsn"] > np.uint64(fork_lsn)
            first = level.table.keys[beyond] * level.per
            found.append((first[:, None] + np.arange(level.per)).ravel())
            level.table.remove(beyond)
        return np.unique(np.concatenate(found))

    def let_go(self, keys: Keys) -> Keys:
        """The sums that these slices are part of go; returns all slices (ascending) of them."""
        found = [np.empty(0, np.int64)]
        for level in self.levels:
            hit = np.isin(level.table.keys, np.unique(level.of(keys)))
            first = level.table.keys[hit] * level.per
            found.append((first[:, None] + np.arange(level.per)).ravel())
            level.table.remove(hit)
        return np.unique(np.concatenate(found))

    def to_days(self, before_key: int, alone: Keys) -> None:
        """Sum up the hours of days that end at or before ``before_key`` and of which no slice is in
        ``alone``, those that stand for themselves."""
        table = self.hours.table
        if self.days.per <= self.hours.per or not len(table):
            return
        day = (table.keys * self.hours.per) // self.days.per
        ready = (day + 1) * self.days.per <= before_key
        ready &= ~np.isin(day, np.unique(day[table["state"] != WHOLE]))
        ready &= ~np.isin(day, np.unique(self.days.of(alone)))
        ready &= ~self.days.has(day)
        if ready.any():
            first_slices = table.keys[ready] * self.hours.per
            columns = (table[name][ready] for name in ("count", "d1", "d2", "max_lsn"))
            self.days.add(first_slices, *columns)
            table.remove(ready)

    def snapshot(self) -> list[Any]:
        return [level.table.snapshot() for level in self.levels]

    def restore(self, data: list[Mapping[str, Any]]) -> None:
        for level, table in zip(self.levels, data, strict=True):
            level.table.restore(table)
