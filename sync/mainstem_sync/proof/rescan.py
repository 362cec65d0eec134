"""Looking again at what was proven: do the stored rows still equal what their owner stated?

1. ``expect`` notes what a stretch of slices must hold: per slice, per hour or day, and nothing
   where its owner closed the time without a row.
2. The stretch is scanned, without any lock.
3. ``compare`` puts both side by side. What was touched meanwhile is left to the usual way. A slice
   that differs is no longer proven; of an hour or a day that does its owner is asked anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_sync.slices.manifest import Ints, Sums
from mainstem_sync.slices.rolled import DIFFERENT, WHOLE, Buckets
from mainstem_sync.slices.slice_states import LOST_, QUARANTINED_, UNEQUAL, VERIFIED_
from mainstem_sync.slices.watch import EMPTY_STATED, TableWatch
from mainstem_sync.wire.ranges import RangeSet

_COMPARED = (VERIFIED_, QUARANTINED_, LOST_)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the slices [first, end) of a watch must hold, as of one moment. ``known``: slices that
    stand for themselves; ``keys``: those of them to compare."""

    first: int
    end: int
    known: Ints
    keys: Ints
    row_lsn: Sums
    man_lsn: Sums
    closed: RangeSet


def expect(watch: TableWatch, first: int, end: int) -> Expectation:
    """What [first, end) must hold; widened to the days and hours that it cuts."""
    for level in watch.rolled.levels:
        if len(level):
            first, end = _widened(level, first, end)
    watch.merge()
    inside = watch.slices.range(first, end)
    known: Ints = watch.slices.keys[inside].copy()
    columns = {name: watch.slices[name][inside] for name in ("state", "row_lsn", "man_lsn")}
    steady = np.isin(columns["state"], _COMPARED)
    closed = RangeSet(watch.closed.within(first, end - 1))
    return Expectation(
        first, end, known, known[steady], columns["row_lsn"][steady], columns["man_lsn"][steady],
        closed,
    )  # fmt: skip


def compare(
    watch: TableWatch, expected: Expectation, keys: Ints, count: Ints, d1: Sums, d2: Sums
) -> list[tuple[int, int]]:
    """``keys`` (ascending) with what a scan of all of [first, end) found. Returns the slices, hours
    and days that were compared and differ, each as slices [first, end)."""
    watch.merge()
    watch.wake()
    found = _Found(keys, count, d1, d2)
    alone = [*_listed(watch, expected, found), *_unlisted(watch, expected, found)]
    differing = [(key, key + 1) for key in alone]
    for level in watch.rolled.levels:
        differing += [(k * level.per, (k + 1) * level.per) for k in _summed(level, expected, found)]
    return differing


@dataclass(frozen=True, slots=True)
class _Found:
    keys: Ints
    count: Ints
    d1: Sums
    d2: Sums

    def at(self, keys: Ints) -> tuple[Ints, Sums, Sums]:
        """Of these slices; zeros where nothing was found."""
        if not len(self.keys):
            none = np.zeros(len(keys), np.uint64)
            return none.astype(np.int64), none, none.copy()
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        there = self.keys[place] == keys
        return (
            np.where(there, self.count[place], 0),
            np.where(there, self.d1[place], np.uint64(0)),
            np.where(there, self.d2[place], np.uint64(0)),
        )


def _widened(level: Buckets, first: int, end: int) -> tuple[int, int]:
    low, high = first // level.per, -(-end // level.per)
    has = level.has(np.array([low, high - 1], np.int64))
    return (low * level.per if has[0] else first), (high * level.per if has[1] else end)


def _listed(watch: TableWatch, expected: Expectation, found: _Found) -> list[int]:
    """Slices that stand for themselves."""
    place = watch.slices.range(expected.first, expected.end)
    now = watch.slices.keys[place]
    at = np.searchsorted(now, expected.keys)
    inside = at < len(now)
    inside[inside] = now[at[inside]] == expected.keys[inside]
    at, keys = at[inside] + place.start, expected.keys[inside]
    columns = watch.slices.columns
    same = columns["row_lsn"][at] == expected.row_lsn[inside]
    same &= columns["man_lsn"][at] == expected.man_lsn[inside]
    same &= np.isin(columns["state"][at], _COMPARED)
    at = at[same]
    before = columns["state"][at].copy()
    state = watch.compared(at, *found.at(keys[same]))
    columns["state"][at] = state
    differing: list[int] = watch.slices.keys[at[(state == UNEQUAL) & (before != UNEQUAL)]].tolist()
    return differing


def _unlisted(watch: TableWatch, expected: Expectation, found: _Found) -> list[int]:
    """Rows in slices of which their owner said that there are none."""
    stray = ~np.isin(found.keys, expected.known) & ~np.isin(found.keys, watch.slices.keys)
    stray &= ~watch.rolled.covers(found.keys)
    stray[stray] = _covered(expected.closed, found.keys[stray])
    keys = found.keys[stray]
    if len(keys):
        at = watch.slices.upsert(keys)
        watch.slices["man_lsn"][at] = EMPTY_STATED
        watch.slices["seen"][at] = found.count[stray]
        watch.slices["state"][at] = UNEQUAL
    differing: list[int] = keys.tolist()
    return differing


def _covered(closed: RangeSet, keys: Ints) -> npt.NDArray[np.bool_]:
    return np.fromiter((closed.covers(k, k) for k in keys.tolist()), np.bool_, count=len(keys))


def _summed(level: Buckets, expected: Expectation, found: _Found) -> list[int]:
    """Hours or days, by index."""
    table = level.table
    low = -(-expected.first // level.per)
    inside = table.range(low, expected.end // level.per)
    buckets = table.keys[inside]
    if not len(buckets):
        return []
    bucket = level.of(found.keys)
    at = np.minimum(np.searchsorted(buckets, bucket), len(buckets) - 1)
    mine = buckets[at] == bucket
    sums = {}
    for name, values in (("count", found.count), ("d1", found.d1), ("d2", found.d2)):
        sums[name] = np.zeros(len(buckets), values.dtype)
        np.add.at(sums[name], at[mine], values[mine])
    differs = np.zeros(len(buckets), np.bool_)
    for name, total in sums.items():
        differs |= table[name][inside] != total
    differs &= table["state"][inside] == WHOLE
    table["state"][inside][differs] = DIFFERENT
    differing: list[int] = buckets[differs].tolist()
    return differing
