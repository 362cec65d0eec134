"""What is known of the slices of one received table, and what can be said of them.

The columns of ``slices`` are changed by watch.py, which says what they mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_sync.slices.loss import LOG_DAMAGED
from mainstem_sync.slices.manifest import Ints, Sums
from mainstem_sync.slices.rolled import DIFFERENT, WHOLE, Rolled
from mainstem_sync.slices.slice_states import (
    DECLARED,
    DELETED_HERE_,
    IS_DECLARED,
    IS_SETTLED,
    IS_STICKY,
    LOST_,
    QUARANTINED_,
    UNEQUAL,
    UNPROVEN,
    VERIFIED_,
    SliceState,
)
from mainstem_sync.slices.slice_table import SliceTable
from mainstem_sync.slices.word import Word
from mainstem_sync.wire.ranges import RangeSet

_COLUMNS: dict[str, npt.DTypeLike] = {
    "row_lsn": np.uint64,
    "man_lsn": np.uint64,
    "max_lsn": np.uint64,
    "floor": np.uint64,
    "count": np.int64,
    "d1": np.uint64,
    "d2": np.uint64,
    "seen": np.int64,
    "parked": np.int64,
    "parked_d1": np.uint64,
    "parked_d2": np.uint64,
    "parked_values": np.int64,
    "kept": np.int64,
    "kept_d1": np.uint64,
    "kept_d2": np.uint64,
    "state": np.uint8,
    "dirty": np.uint8,
}

_LOSS_COLUMNS: dict[str, npt.DTypeLike] = {
    "rows": np.int64, "d1": np.uint64, "d2": np.uint64, "reason": np.uint8, "exact": np.uint8,
    "newest": np.uint64,
}  # fmt: skip


WAITING_TOUCHES_MAX = 256
"""Touches of slices that nobody closed yet which may wait for the next statement: some kB a
table. With more of them they are merged by the next round."""


def is_kept(
    columns: Mapping[str, npt.NDArray[Any]], at: slice | npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    """Of which slices something is here that their owner has lost: rows, values, or both. A row
    whose values are all put aside adds nothing to the sums."""
    names = ("kept", "kept_d1", "kept_d2")
    found: npt.NDArray[np.bool_] = np.any([columns[name][at] != 0 for name in names], axis=0)
    return found


def _unheard() -> None:
    """Nobody waits for this watch to become due."""


class WatchedSlices:
    """See the module. Not thread-safe: the federation's lock serialises all calls."""

    def __init__(self, slice_ns: int) -> None:
        self.slice_ns = slice_ns
        self.slices = SliceTable(_COLUMNS)
        self.losses = SliceTable(_LOSS_COLUMNS)
        self.loss_reasons: list[str] = []
        self.rolled = Rolled(slice_ns)
        self.closed = RangeSet()
        """Closed slices, by index, as inclusive ranges."""
        self.closings: list[tuple[int, int, int]] = []
        """(LSN, first slice, last slice) of the newest records that closed something."""
        self.latest_lsn = 0
        self.lateness_ns = 0
        self.as_of_ns = 0
        self.missing_sources: tuple[str, ...] = ()
        self.collector_gaps: tuple[tuple[int, int], ...] = ()
        self.late = 0
        self.quarantined = 0
        self.clock_err_ms: int | None = None
        self.dropped_lsn = 0
        """The record by which its owner dropped the table; 0 while there is one."""
        self._is_due = True
        self._on_due: Callable[[], None] = _unheard
        self._top = 0
        """Of a quiet watch: above this slice nothing is closed or stated."""

    # Whether somebody has to look

    def heard_by(self, on_due: Callable[[], None]) -> None:
        """``on_due`` is called now, and whenever this watch becomes due."""
        self._on_due = on_due
        self.wake()

    def wake(self) -> None:
        """Something changed that a round has to look at."""
        self._is_due = True
        self._on_due()

    def rest(self) -> bool:
        """Be quiet, if there is nothing to scan, to repair or to ask for, until something happens;
        returns whether that is so. Rows of slices that nobody closed or stated change nothing."""
        self.merge()
        columns, keys = self.slices.columns, self.slices.keys
        stated = np.flatnonzero((columns["man_lsn"] > 0) | (columns["floor"] > 0))
        top = max(self.closed.last, int(keys[stated[-1]]) if len(stated) else 0)
        known = slice(0, int(np.searchsorted(keys, top, side="right")))
        is_open = ~IS_SETTLED[columns["state"][known]] | (columns["dirty"][known] == 1)
        if len(self.closed) > 1 or is_open.any() or (columns["state"] == UNEQUAL).any():
            return False
        if self.flawed_sums():
            return False
        self._is_due, self._top = False, top
        return True

    def _touched(self, oldest: int) -> None:
        """Rows came, the oldest of them in the slice ``oldest``."""
        if not self._is_due and (oldest <= self._top or self.slices.touches > WAITING_TOUCHES_MAX):
            self.wake()

    def merge(self) -> None:
        """Bring the remembered touches into the columns."""
        keys, lsns = self.slices.take_touches()
        if len(keys):
            at = self.slices.upsert(keys)
            row_lsn = self.slices["row_lsn"]
            row_lsn[at] = np.maximum(row_lsn[at], lsns)
            self._unprove(at)

    def unprove(self, at: npt.NDArray[np.intp]) -> None:
        self._unprove(at)
        self.wake()

    def _unprove(self, at: npt.NDArray[np.intp]) -> None:
        state, dirty = self.slices["state"], self.slices["dirty"]
        compared = at[~IS_STICKY[state[at]]]
        state[compared] = UNPROVEN
        dirty[compared] = 1
        self.rolled.touched(self.slices.keys[at])

    # Judging

    def proven(self, runs_max: int) -> RangeSet:
        """Closed slices that need nothing more, at most so many runs, the oldest first."""
        found = RangeSet()
        flawed = RangeSet((low, high - 1) for low, high in self.flawed_sums())
        for first, last in self.closed:
            bad = flawed.copy()
            for key in self.unproven(first, last + 1).tolist():
                bad.add(key)
            for low, high in bad.gaps(first, last):
                if len(found) >= runs_max:
                    return found
                found.add(low, high)
        return found

    def unsound(self, first: int, end: int) -> set[int]:
        """Slices in [first, end) that are not what their owner has: no answer is made of them. Of
        one that is FORKED the line may be whole."""
        self.merge()
        inside = self.slices.range(first, end)
        columns = self.slices.columns
        bad = np.isin(columns["state"][inside], (UNEQUAL, DELETED_HERE_))
        # What its owner lost and is here is not missing.
        kept = is_kept(columns, inside)
        bad |= (columns["state"][inside] == LOST_) & ~kept
        bad |= (columns["parked"][inside] > 0) | (columns["parked_values"][inside] > 0)
        found = set(self.slices.keys[inside][bad].tolist())
        for low, high in self.unequal_sums(first, end):
            found.update(range(max(low, first), min(high, end)))
        return found

    def word(self, first: int, end: int, as_of: int = 0) -> Word:
        """What the owner stated of those slices in [first, end) that are verified, or would be if
        they were scanned: all up to ``as_of``, an LSN, is here."""
        self.merge()
        inside = self.slices.range(first, end)
        column = {name: values[inside] for name, values in self.slices.columns.items()}
        at = column["state"] == VERIFIED_
        due = (column["state"] == UNPROVEN) & (column["man_lsn"] > 0)
        due &= (column["row_lsn"] <= column["max_lsn"]) & (column["max_lsn"] <= as_of)
        at |= due & ~self.is_outdated(np.arange(inside.start, inside.stop))
        at &= ~is_kept(column, slice(None))
        return Word(
            self.slices.keys[inside][at], column["count"][at], column["d1"][at], column["d2"][at],
            column["man_lsn"][at] + column["row_lsn"][at],
        )  # fmt: skip

    def differ(self, keys: Ints) -> None:
        """These slices (ascending), verified before, are not what their owner stated."""
        at = self.slices.upsert(keys)
        self.slices["state"][at] = UNEQUAL
        self.wake()

    def floor_of(self, key: int) -> int:
        """What the last image of a slice said everything up to; 0 without one."""
        place = self.slices.range(key, key + 1)
        return int(self.slices["floor"][place.start]) if place.start < place.stop else 0

    def newest_applied(self, first: int, end: int) -> int:
        """The greatest LSN of the origin whose rows, deletes or images touched the slices
        [first, end) here; 0 without any. Of those that were summed: or that a statement about them
        knew of. The engine forgets what an image was of once all before it has been received."""
        self.merge()
        inside = self.slices.range(first, end)
        newest = self.slices["row_lsn"][inside].tolist() + self.slices["floor"][inside].tolist()
        for level in self.rolled.levels:
            if len(level):
                sums = level.table.range(first // level.per, -(-end // level.per))
                newest += level.table["max_lsn"][sums].tolist()
        return int(max(newest, default=0))

    def newest_touch(self, first: int, end: int) -> int | None:
        """The greatest LSN of the origin that is known to have touched the slices [first, end);
        None when they hold nothing of it."""
        self.merge()
        inside = self.slices.range(first, end)
        newest = [
            int(column[inside].max())
            for column in (self.slices["row_lsn"], self.slices["max_lsn"])
            if inside.start < inside.stop
        ]
        for level in self.rolled.levels:
            if len(level):
                sums = level.table.range(first // level.per, -(-end // level.per))
                newest += level.table["max_lsn"][sums].tolist()
        return max(newest, default=None)

    def unproven(self, first: int, end: int) -> Ints:
        """Slices in [first, end) that are closed, or hold rows, and are not proven; ascending."""
        self.merge()
        inside = self.slices.range(first, end)
        state = self.slices["state"][inside]
        keys: Ints = self.slices.keys[inside][~IS_SETTLED[state]]
        return keys

    def differing(self, watermark: int, gone: RangeSet | None = None) -> Ints:
        """Slices (ascending) that are a MISMATCH: all of them has arrived, and it is not equal.
        ``watermark``: D of the origin; ``gone``: records that no statement can speak of."""
        if not (self.slices["state"] == UNEQUAL).any():
            return np.empty(0, np.int64)  # asked every second, of every table of every node below
        self.merge()
        columns = self.slices.columns
        arrived = np.maximum(columns["floor"], np.uint64(watermark))
        found = (columns["state"] == UNEQUAL) & (columns["max_lsn"] <= arrived)
        stated = columns["row_lsn"] <= columns["max_lsn"]
        found &= stated | gone.mask(columns["row_lsn"]) if gone else stated
        keys: Ints = self.slices.keys[found]
        return keys

    def is_outdated(self, at: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Of the slices at the positions ``at``: whether the last image is as of a later LSN than
        the newest statement, which may not know of what touched them in between."""
        columns = self.slices.columns
        known: Sums = np.maximum(columns["max_lsn"][at], columns["man_lsn"][at])
        return columns["floor"][at] > known

    def unstated(self, watermark: int) -> Ints:
        """Closed slices (ascending) with rows that no statement known here speaks of, although all
        of them has arrived. ``watermark``: D of the origin."""
        self.merge()
        columns = self.slices.columns
        found = (columns["row_lsn"] > columns["max_lsn"]) | (columns["man_lsn"] == 0)
        found |= self.is_outdated(np.arange(len(self.slices)))
        found &= (columns["row_lsn"] <= watermark) & ~IS_SETTLED[columns["state"]]
        keys: Ints = self.slices.keys[found]
        return keys[[self.closed.covers(key, key) for key in keys.tolist()]]

    def passed_over(self, most: int) -> list[int]:
        """Slices (ascending, the first ``most``) that nobody closed, between others that were. An
        owner closes one after the other: the statement about them was lost on its way."""
        if not self.closed:
            return []
        gaps = self.closed.gaps(next(iter(self.closed))[0], self.closed.last)
        keys = itertools.chain.from_iterable(range(a, b + 1) for a, b in gaps)
        return list(itertools.islice(keys, most))

    def kept(self, first: int, end: int) -> list[list[int]]:
        """``[slice, rows, d1, d2]`` of what is here of [first, end) beyond what its owner has."""
        inside = self.slices.range(first, end)
        columns = {name: self.slices[name][inside] for name in ("kept", "kept_d1", "kept_d2")}
        at = is_kept(columns, slice(None))
        found = zip(
            self.slices.keys[inside][at].tolist(), *(c[at].tolist() for c in columns.values()),
            strict=True,
        )  # fmt: skip
        return [list(item) for item in found]

    def is_whole(self, key: int) -> bool:
        """True if a slice is verified, with nothing of it put aside."""
        place = self.slices.range(key, key + 1)
        if place.start == place.stop:
            return self.closed.covers(key, key)
        columns = self.slices.columns
        aside = columns["parked"][place] + columns["parked_values"][place]
        return bool(columns["state"][place][0] == VERIFIED_ and not aside[0])

    @property
    def last_touched(self) -> int:
        """The newest slice that holds rows or was stated to; -1 if there is none."""
        self.merge()
        return int(self.slices.keys[-1]) if len(self.slices) else -1

    def is_lost(self, key: int) -> bool:
        """True if the owner declared rows of a slice lost."""
        place = self.losses.range(key, key + 1)
        return bool(place.start < place.stop)

    def unequal_sums(self, first: int, end: int) -> list[tuple[int, int]]:
        """[first, end) slices of hours and days that a scan found to be other than proven."""
        found: list[tuple[int, int]] = []
        for level in self.rolled.levels:
            if len(level):
                found += [(a, b) for a, b, state in level.flawed(first, end) if state == DIFFERENT]
        return found

    def flawed_sums(self) -> list[tuple[int, int]]:
        """[first, end) slices of hours and days that say nothing until they are stated anew."""
        found: list[tuple[int, int]] = []
        for level in self.rolled.levels:
            table = level.table
            if not len(table):
                continue
            at = table["state"] != WHOLE
            found += [(k * level.per, (k + 1) * level.per) for k in table.keys[at].tolist()]
        return found

    def declared(self, first: int, end: int) -> list[tuple[int, SliceState, int, str]]:
        """(slice, state, rows, reason) of those in [first, end) that count as closed and are not
        verified; ascending."""
        self.merge()
        inside = self.slices.range(first, end)
        columns = {name: column[inside] for name, column in self.slices.columns.items()}
        at = np.flatnonzero(IS_DECLARED[columns["state"]])
        found = []
        for index in at.tolist():
            key, code = int(self.slices.keys[inside][index]), int(columns["state"][index])
            rows, reason = int(columns["count"][index]), ""
            if code == QUARANTINED_:
                rows = max(int(columns["parked"][index]), int(columns["parked_values"][index]))
            elif code == LOST_:
                kept = int(columns["kept"][index])
                rows = kept if kept > 0 else max(0, rows - int(columns["seen"][index]))
                reason = self._loss_reason(key) or LOG_DAMAGED
            found.append((key, DECLARED[code], rows, reason))
        return found

    def _loss_reason(self, key: int) -> str:
        place = self.losses.range(key, key + 1)
        if place.start == place.stop or not self.loss_reasons:
            return ""
        number = int(self.losses["reason"][place.start])
        return self.loss_reasons[min(number, len(self.loss_reasons) - 1)]

    def state_of(self, key: int, watermark: int) -> tuple[SliceState, int, int]:
        """(state, rows stated, rows found by the last scan) of one slice. ``watermark``: D of the
        origin."""
        place = self.slices.range(key, key + 1)
        if place.start == place.stop:
            closed = self.closed.covers(key, key)
            return (SliceState.VERIFIED if closed else SliceState.OPEN), 0, 0
        columns = {name: int(column[place.start]) for name, column in self.slices.columns.items()}
        if columns["state"] in DECLARED:
            state = DECLARED[columns["state"]]
        elif columns["state"] == VERIFIED_:
            state = SliceState.VERIFIED
        elif not columns["man_lsn"]:
            closed = self.closed.covers(key, key)
            state = SliceState.REVISED if closed else SliceState.OPEN
        elif columns["row_lsn"] > columns["max_lsn"] or (
            columns["state"] == UNPROVEN
            and columns["floor"] > max(columns["max_lsn"], columns["man_lsn"])
        ):
            state = SliceState.REVISED
        elif columns["state"] == UNEQUAL and columns["max_lsn"] <= max(watermark, columns["floor"]):
            state = SliceState.MISMATCH
        else:
            state = SliceState.PENDING
        return state, columns["count"], columns["seen"]

    @property
    def complete_through(self) -> int | None:
        """Index of the first slice that is not proven, counted from the first closed one."""
        if not self.closed:
            return None
        first, last = next(iter(self.closed))
        bad = self.unproven(first, last + 1)
        starts = [int(bad[0])] if len(bad) else []
        starts += [max(first, a) for a, _ in self.unequal_sums(first, last + 1)]
        return min(starts, default=last + 1)
