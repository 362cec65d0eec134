"""What is proven about one received table of one origin.

Per slice: the newest manifest, the greatest LSN of a row that was applied here, and whether the
last scan of the stored rows equalled the manifest. A slice is *proven* when it did and nothing has
touched it since.

1. A manifest counts only if the LSN of its record is above that of the one known.
2. A row, a delete or an image that is applied makes its slice unproven until it is scanned again;
   so does a manifest.
3. Slices inside a closed interval that no manifest lists and no row touched are empty, and proven.
4. A slice is scanned when a manifest is there, something changed, and the manifest's max_lsn has
   been received or an image has spoken of it (*floor*). Equality proves it, whatever else is
   missing. Inequality proves nothing while older records are still to come, nor where an image
   speaks of younger ones than the statement can know of: their owner states it anew, or is asked.
5. Rows put aside here (``parked``) are counted apart: equal with them is QUARANTINED. So are rows
   that their owner declared lost: equal with them is LOST. So is a slice with rows that their owner
   delivered and lost to damage (``kept``): equal without them.
6. A slice that began before what this tier keeps cannot be compared any more: it is EXPIRED, unless
   it was proven before and nothing has touched it since. One that is FORKED or DELETED_HERE is
   never compared again.
7. Proven slices of long ago are summed to hours and days (rolled.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_sync.slices.loss import EXPIRED
from mainstem_sync.slices.manifest import Ints, Manifest, Sums
from mainstem_sync.slices.slice_states import (
    DELETED_HERE_,
    EXPIRED_,
    FORKED_,
    IS_STICKY,
    LOST_,
    QUARANTINED_,
    UNEQUAL,
    UNPROVEN,
    VERIFIED_,
)
from mainstem_sync.slices.slice_table import (
    PENDING_TOUCHES_MAX,
    greatest_by_key,
    touched_by,
    touched_slices,
)
from mainstem_sync.slices.watched_slices import WatchedSlices, is_kept
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

PROVEN_SLICES_KEPT = 1_500
"""Proven slices that keep their manifest: a day of minutes, 150 kB a table in memory and in every
checkpoint. Older ones are summed; what is asked of one of their minutes its owner states again."""

DAYS_AFTER_SLICES = 31 * 1_440
"""Hours this many slices behind the newest closed one become days."""

SCAN_MAX = 20_000
"""Slices judged in one pass: bounds memory, and keeps a pass below a second or two."""

CLOSINGS_KEPT = 512
"""Closed intervals that are remembered with their LSN: what a fork takes back is of the last
minutes before it, and a manifest closes a minute or more."""

LOSS_REASONS_MAX = 255

EMPTY_STATED = 1
"""``man_lsn`` of a slice that no manifest lists inside a closed interval: below every real one."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Slices to scan, with what was known of them when they were chosen."""

    keys: Ints
    row_lsn: Sums
    man_lsn: Sums


class TableWatch(WatchedSlices):
    """See the module. Not thread-safe: the federation's lock serialises all calls."""

    # What happens

    def rows_applied(self, times: npt.NDArray[np.int64], lsns: int | Sums) -> None:
        """Rows of this origin entered the head; ``lsns`` are the origin's."""
        if isinstance(lsns, np.ndarray):
            keys, newest = greatest_by_key(times // self.slice_ns, lsns)
            self.slices.note(keys, newest)
            oldest = int(keys[0]) if len(keys) else LSN_MAX
        else:
            touched = touched_slices(times, self.slice_ns)
            if isinstance(touched, int):
                self.slices.note_one(touched, lsns)
                oldest = touched
            else:
                self.slices.note(touched, lsns)
                oldest = int(touched[0])
        self._touched(oldest)
        if self.slices.touches > PENDING_TOUCHES_MAX:
            self.merge()

    def rows_deleted(self, spans: Ints, lsn: int) -> None:
        """Rows of this origin in ``spans`` (int64[k, 2] ns) were deleted by its record ``lsn``."""
        self.merge()
        self.slices.note(touched_by(spans, self.slice_ns, self.slices.keys), lsn)
        self.wake()

    def image_applied(self, start_ns: int, end_ns: int, as_of: int) -> None:
        """An image of [start, end) replaced what was stored: what was put aside of it is part of
        the image, or gone."""
        self.merge()
        first, end = start_ns // self.slice_ns, -(-end_ns // self.slice_ns)
        at = self.slices.upsert(np.arange(first, end, dtype=np.int64))
        columns = self.slices.columns
        # Of a slice of which a piece came the rest may still be as it was.
        keys = self.slices.keys[at]
        whole = at[(keys * self.slice_ns >= start_ns) & ((keys + 1) * self.slice_ns <= end_ns)]
        columns["floor"][whole] = np.maximum(columns["floor"][whole], np.uint64(as_of))
        for name in ("parked", "parked_d1", "parked_d2", "parked_values"):
            columns[name][at] = 0
        # What is kept is said with the first piece of a slice, and added to by the others.
        begun = at[keys * self.slice_ns >= start_ns]
        for name in ("kept", "kept_d1", "kept_d2"):
            columns[name][begun] = 0
        self.unprove(at)

    def keeps(self, found: Iterable[Sequence[int]]) -> None:
        """``[slice, rows, d1, d2]``: with the image that was just applied so much was stored beyond
        what its owner has."""
        for key, rows, d1, d2 in found:
            at = self.slices.upsert(np.array([key], np.int64))
            self.slices["kept"][at] += rows
            self.slices["kept_d1"][at] += np.uint64(d1)
            self.slices["kept_d2"][at] += np.uint64(d2)
        self.wake()

    def manifest_applied(self, manifest: Manifest, lsn: int) -> None:
        """A manifest of this origin became durable here."""
        if manifest.slice_ns != self.slice_ns:
            return  # of a table that changed its window: nothing of it can be compared
        self.merge()
        at = self.slices.upsert(manifest.keys)
        newer = self.slices["man_lsn"][at] < lsn
        at = at[newer]
        self.slices["man_lsn"][at] = lsn
        self.slices["max_lsn"][at] = manifest.max_lsn[newer]
        self.slices["count"][at] = manifest.count[newer]
        self.slices["d1"][at] = manifest.d1[newer]
        self.slices["d2"][at] = manifest.d2[newer]
        self.unprove(at)
        if manifest.whole is not None:
            self._restated(*manifest.whole, lsn)
            # What is stated as a whole is closed: the record that closed it may be lost.
            self._close(manifest.whole[0], manifest.whole[1], lsn)
        self._close(manifest.closed_from_ns, manifest.closed_through_ns, lsn)
        if self.dropped_lsn and lsn > self.dropped_lsn and manifest.count.any():
            self.dropped_lsn = 0  # there is one of that name again
        if lsn > self.latest_lsn:
            self.latest_lsn = lsn
            self.lateness_ns = manifest.lateness_ns
            self.as_of_ns = manifest.as_of_ns
            self.missing_sources = manifest.missing_sources
            self.collector_gaps = manifest.collector_gaps
            self.late = manifest.late
            self.quarantined = manifest.quarantined
            self.clock_err_ms = manifest.clock_err_ms

    def _close(self, from_ns: int, through_ns: int, lsn: int) -> None:
        first, last = from_ns // self.slice_ns, through_ns // self.slice_ns - 1
        if first > last:
            return
        if lsn >= self.latest_lsn:
            # What was closed before stays so when a fork takes this back.
            new = list(self.closed.gaps(first, last))
        elif any(at <= lsn and low <= first and last <= high for at, low, high in self.closings):
            new = []  # said again: it must not drive others out of the list
        else:
            new = [(first, last)]  # an older record that is late
        if new:
            self.closed.add(first, last)
            added = [(lsn, low, high) for low, high in new]
            self.closings = [*self.closings, *added][-CLOSINGS_KEPT:]

    def closings_within(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """(LSN, first slice, last slice) of all that closed slices of [first, last]. What was
        closed so long ago that its record is forgotten comes first, with EMPTY_STATED."""
        dated = [
            (lsn, max(low, first), min(high, last))
            for lsn, low, high in sorted(self.closings)
            if lsn > EMPTY_STATED and low <= last and high >= first
        ]
        undated = RangeSet(self.closed.within(first, last))
        for _, low, high in dated:
            undated.remove(low, high)
        return [*((EMPTY_STATED, low, high) for low, high in undated), *dated]

    def _restated(self, from_ns: int, through_ns: int, max_lsn: int, lsn: int) -> None:
        """Every slice of [from, through) is stated by the record ``lsn``: those that it does not
        list hold no rows."""
        first, end = from_ns // self.slice_ns, through_ns // self.slice_ns
        # Of an hour or day that begins before everything closed, or ends after it, the rest is not.
        closed = list(self.closed)
        low = -LSN_MAX if closed and first <= closed[0][0] else first
        high = LSN_MAX if closed and end > closed[-1][1] else end
        self.rolled.restated(low, high)
        inside = self.slices.range(first, end)
        columns = {name: column[inside] for name, column in self.slices.columns.items()}
        older = columns["man_lsn"] < lsn
        columns["man_lsn"][older] = lsn
        columns["max_lsn"][older] = max_lsn
        for name in ("count", "d1", "d2"):
            columns[name][older] = 0
        self.unprove(np.flatnonzero(older) + inside.start)

    def parked(self, keys: Ints, count: Ints, d1: Sums, d2: Sums, values: Ints) -> None:
        """Rows (``count``) and values of this origin were put aside; digests as in manifests."""
        self.merge()
        at = self.slices.upsert(keys)
        self.slices["parked"][at] += count
        self.slices["parked_d1"][at] += d1
        self.slices["parked_d2"][at] += d2
        self.slices["parked_values"][at] += values
        self.unprove(at)

    def lost_up_to(self, keys: Ints, lsns: Ints) -> None:
        """These slices (ascending), declared lost, were touched by records up to these LSNs: to
        equal a statement that does not know of them is not enough."""
        at = self.losses.upsert(keys)
        known = self.losses["newest"]
        known[at] = np.maximum(known[at], lsns.astype(np.uint64))
        self.unprove(self.slices.upsert(keys))

    def lost(self, keys: Ints, rows: Ints, d1: Sums | None, d2: Sums | None, reason: str) -> None:
        """Their owner declared rows of these slices (unique, ascending) lost. Without digests it
        does not know which; then whatever is missing is taken for what was lost."""
        self.merge()
        if reason not in self.loss_reasons and len(self.loss_reasons) < LOSS_REASONS_MAX:
            self.loss_reasons.append(reason)
        at = self.losses.upsert(keys)
        known = self.losses["exact"][at] == (self.losses["rows"][at] > 0)
        self.losses["rows"][at] += rows
        if d1 is not None and d2 is not None:
            self.losses["d1"][at] += d1
            self.losses["d2"][at] += d2
            self.losses["exact"][at] = known
        else:
            self.losses["exact"][at] = 0
        self.losses["reason"][at] = min(
            self.loss_reasons.index(reason) if reason in self.loss_reasons else 0, 254
        )
        self.unprove(self.slices.upsert(keys))

    @property
    def _expired_reason(self) -> int:
        """Number of the reason of what its owner has only a rest of; one that none has without."""
        reasons = self.loss_reasons
        return reasons.index(EXPIRED) if EXPIRED in reasons else LOSS_REASONS_MAX

    def gone(self, keys: Ints, rows: Ints) -> None:
        """Nothing more will come of these slices (unique, ascending), and so many rows are lost. Of
        one that was never stated this is the statement: its owner cannot make another."""
        self.merge()
        at = self.slices.upsert(keys)
        unstated = self.slices["man_lsn"][at] == 0
        at = at[unstated]
        self.slices["man_lsn"][at] = EMPTY_STATED
        self.slices["max_lsn"][at] = EMPTY_STATED
        self.slices["count"][at] = rows[unstated]
        self.unprove(at)
        for key in keys.tolist():
            self.closed.add(key)

    def damaged(self, start_ns: int, end_ns: int) -> None:
        """What is stored of [start, end) cannot be read, may be gone, or differs: nothing of it is
        proven until it is scanned again. What is known to be unequal stays so."""
        self.merge()
        first, end = start_ns // self.slice_ns, -(-end_ns // self.slice_ns)
        inside = self.slices.range(first, end)
        if end - first == 1 and inside.start == inside.stop and self.closed.covers(first, first):
            # Its owner said that it is empty. If it is part of a sum, that is broken below.
            key = np.array([first], np.int64)
            if not self.rolled.covers(key).any():
                at = self.slices.upsert(key)  # before its columns are looked up: they may grow
                self.slices["man_lsn"][at] = EMPTY_STATED
                inside = self.slices.range(first, end)
        equal = np.flatnonzero(self.slices["state"][inside] != UNEQUAL)
        self.unprove(equal + inside.start)
        self.rolled.damaged(first, end)

    def deleted_here(self, keys: Ints) -> None:
        """Rows of these slices (unique, ascending) were deleted here, not by their owner. Of an
        hour or day that was summed all slices are: none can be compared by itself any more."""
        self._declare(np.union1d(keys, self.rolled.let_go(keys)), DELETED_HERE_)

    def gone_here(self, first: int, end: int) -> Ints:
        """Slices (ascending) in [first, end) of which rows were deleted here."""
        inside = self.slices.range(first, end)
        found: Ints = self.slices.keys[inside][self.slices["state"][inside] == DELETED_HERE_]
        return found

    def dropped(self, lsn: int, *, gone: bool) -> None:
        """The owner's record ``lsn`` dropped the table, or took that back."""
        if lsn > self.dropped_lsn:
            self.dropped_lsn = lsn if gone else 0
            self.wake()

    def forked(self, keys: Ints) -> None:
        """These slices (unique, ascending) hold rows from beyond a fork of their owner's log."""
        self._declare(keys, FORKED_)

    def fork(self, fork_lsn: int) -> Ints:
        """The owner's log forked after ``fork_lsn``: what rows beyond it touched is FORKED, and
        what was stated beyond it is void. Returns the slices touched. From now on LSNs are those of
        the new epoch, which goes on above the fork."""
        self.merge()
        columns = self.slices.columns
        limit = np.uint64(fork_lsn)
        # A void manifest still tells of rows that its owner had, and may not have any more.
        touched = (columns["row_lsn"] > limit) | (columns["max_lsn"] > limit)
        # An image from beyond may lack what a delete from there took.
        touched |= columns["floor"] > limit
        void = (columns["man_lsn"] > limit) & ~touched
        at = np.flatnonzero(void)
        for name in ("man_lsn", "max_lsn", "count", "d1", "d2"):
            columns[name][at] = 0
        self.unprove(at)
        for name in ("row_lsn", "man_lsn", "max_lsn", "floor"):
            columns[name][:] = np.minimum(columns[name], limit)
        self.losses["newest"][self.losses["newest"] > limit] = 0
        keys: Ints = np.union1d(self.slices.keys[touched], self.rolled.fork(fork_lsn))
        self.forked(keys)
        for lsn, first, last in self.closings:
            if lsn > fork_lsn:
                self.closed.remove(first, last)
        self.closings = [item for item in self.closings if item[0] <= fork_lsn]
        for _, first, last in self.closings:
            self.closed.add(first, last)
        self.latest_lsn = min(self.latest_lsn, fork_lsn)
        return keys

    def touched_from(self, lsn: int) -> Ints:
        """Slices (ascending) that the record ``lsn`` or a later one touched, also those of which
        nothing is left. Those that are summed are closed."""
        self.merge()
        columns = self.slices.columns
        newest = np.maximum(columns["row_lsn"], columns["floor"])
        found: Ints = self.slices.keys[np.maximum(newest, columns["max_lsn"]) >= np.uint64(lsn)]
        return found

    def _declare(self, keys: Ints, state: int) -> None:
        self.merge()
        at = self.slices.upsert(keys)
        self.slices["state"][at] = state
        self.slices["dirty"][at] = 0
        self.wake()

    # Scanning

    def candidates(self, received: RangeSet) -> Candidates:
        """Slices that changed and whose manifest's last record has been received."""
        self.merge()
        columns = self.slices.columns
        wanted = (columns["dirty"] == 1) & (columns["man_lsn"] > 0)
        # Of a closed slice that no manifest lists an image came: it has to be as empty as was said.
        unlisted = (columns["dirty"] == 1) & (columns["man_lsn"] == 0) & (columns["floor"] > 0)
        unlisted &= columns["row_lsn"] == 0
        unlisted[unlisted] = [self.closed.covers(k, k) for k in self.slices.keys[unlisted].tolist()]
        wanted |= unlisted
        max_lsn = columns["max_lsn"][wanted]
        wanted[wanted] = received.mask(max_lsn) | (columns["floor"][wanted] >= max_lsn)
        at = np.flatnonzero(wanted)[:SCAN_MAX]
        return Candidates(self.slices.keys[at], columns["row_lsn"][at], columns["man_lsn"][at])

    def doubt(self, first: int, end: int) -> None:
        """What was unequal in [first, end) is scanned again: rows may have come back to light."""
        inside = self.slices.range(first, end)
        self.slices["dirty"][inside][self.slices["state"][inside] == UNEQUAL] = 1
        self.wake()

    def judged(self, chosen: Candidates, count: Ints, d1: Sums, d2: Sums) -> int:
        """What the scan found; slices that changed meanwhile stay due. Returns how many match."""
        self.merge()
        at = self.slices.upsert(chosen.keys)
        columns = self.slices.columns
        same = (columns["row_lsn"][at] == chosen.row_lsn) & (
            columns["man_lsn"][at] == chosen.man_lsn
        )
        same &= ~IS_STICKY[columns["state"][at]]
        at = at[same]
        state = self.compared(at, count[same], d1[same], d2[same])
        equal = int(np.count_nonzero(state != UNEQUAL))
        # What a younger record deleted an image shows as little as its LSN. What was found to
        # differ after it had been proven differs.
        unknown = (state == UNEQUAL) & (columns["state"][at] != UNEQUAL)
        state[unknown & self.is_outdated(at)] = UNPROVEN
        columns["state"][at] = state
        columns["dirty"][at] = 0
        self.wake()  # what is proven now may be more than is kept
        return equal

    def compared(
        self, at: npt.NDArray[np.intp], count: Ints, d1: Sums, d2: Sums
    ) -> npt.NDArray[np.uint8]:
        """The state (a number of slice_states.py) of the slices at the positions ``at`` when this
        is what is stored of them; remembers how many rows were seen."""
        columns = self.slices.columns
        stated, s1, s2 = columns["count"][at], columns["d1"][at], columns["d2"][at]
        columns["seen"][at] = count
        equal = (stated == count) & (s1 == d1) & (s2 == d2)
        kept = is_kept(columns, at)
        count = count - columns["kept"][at]
        d1, d2 = d1 - columns["kept_d1"][at], d2 - columns["kept_d2"][at]
        state = np.full(len(at), UNEQUAL, np.uint8)
        parked = (columns["parked"][at] > 0) | (columns["parked_values"][at] > 0)
        with_parked = parked & (stated == count + columns["parked"][at])
        with_parked &= s1 == d1 + columns["parked_d1"][at]
        with_parked &= s2 == d2 + columns["parked_d2"][at]
        if len(self.losses):
            state[self._as_lost(at, count, d1, d2)] = LOST_
            equal &= self._lost_up_to(at) <= columns["max_lsn"][at]
        state[kept & (stated == count) & (s1 == d1) & (s2 == d2)] = LOST_
        state[with_parked] = QUARANTINED_
        # That nothing is here of what was lost before it was stated proves nothing.
        unsaid = (state == LOST_) & (columns["man_lsn"][at] <= EMPTY_STATED)
        state[equal & ~unsaid] = VERIFIED_
        return state

    def _lost_up_to(self, at: npt.NDArray[np.intp]) -> Sums:
        """What touched those of the slices at these positions that are lost; 0 for others."""
        keys = self.slices.keys[at]
        place = np.minimum(np.searchsorted(self.losses.keys, keys), len(self.losses) - 1)
        found: Sums = np.where(self.losses.keys[place] == keys, self.losses["newest"][place], 0)
        return found.astype(np.uint64)

    def _as_lost(
        self, at: npt.NDArray[np.intp], count: Ints, d1: Sums, d2: Sums
    ) -> npt.NDArray[np.bool_]:
        """Which slices differ by what their owner declared lost."""
        keys = self.slices.keys[at]
        place = np.minimum(np.searchsorted(self.losses.keys, keys), len(self.losses) - 1)
        declared = self.losses.keys[place] == keys
        gone = {name: column[place] for name, column in self.losses.columns.items()}
        columns = self.slices.columns
        missing = columns["count"][at] - count - columns["parked"][at]
        equal = missing == gone["rows"]
        equal &= columns["d1"][at] == d1 + columns["parked_d1"][at] + gone["d1"]
        equal &= columns["d2"][at] == d2 + columns["parked_d2"][at] + gone["d2"]
        unknown = (gone["exact"] == 0) & (missing >= 0)
        # Its owner has only a rest of it, and says nothing more: what is here may be more than was
        # stated last, and all of it.
        unknown |= gone["reason"] == self._expired_reason
        found: npt.NDArray[np.bool_] = declared & (equal | unknown)
        return found

    def expired(self, keys: Ints) -> None:
        """These slices are older than what is kept here."""
        self._declare(keys, EXPIRED_)

    def prune(self, watermark: int) -> None:
        """Sum up the oldest proven slices beyond a bound. Only where no older manifest can still
        arrive, and by whole hours."""
        excess = len(self.slices) - PROVEN_SLICES_KEPT
        if excess <= 0:
            return
        columns, keys = self.slices.columns, self.slices.keys
        proven = (columns["state"] == VERIFIED_) & (columns["man_lsn"] <= watermark)
        gone = proven | (columns["state"] == EXPIRED_)
        gone[excess:] = False
        gone[gone] = [self.closed.covers(k, k) for k in keys[gone].tolist()]
        hour = self.rolled.hours.of(keys)
        stays = np.unique(hour[~gone])
        gone &= ~np.isin(hour, stays)
        summed = gone & (columns["count"] > 0) & (columns["state"] == VERIFIED_)
        summed &= ~np.isin(hour, np.unique(hour[columns["state"] == EXPIRED_]))
        summed &= ~self.rolled.covers(keys)
        if summed.any():
            names = ("count", "d1", "d2", "max_lsn")
            self.rolled.hours.add(keys[summed], *(columns[name][summed] for name in names))
        self.slices.remove(gone)
        newest = max((last for _, last in self.closed), default=0)
        self.rolled.to_days(newest - DAYS_AFTER_SLICES, self.slices.keys)

    # Checkpoint

    def snapshot(self) -> dict[str, Any]:
        self.merge()
        return {
            "slice_ns": self.slice_ns,
            "slices": self.slices.snapshot(),
            "losses": self.losses.snapshot(),
            "loss_reasons": self.loss_reasons,
            "rolled": self.rolled.snapshot(),
            "closed": [list(pair) for pair in self.closed],
            "closings": [list(item) for item in self.closings],
            "clock_err": self.clock_err_ms,
            "dropped": self.dropped_lsn,
            "meta": [
                self.latest_lsn, self.lateness_ns, self.as_of_ns, list(self.missing_sources),
                [list(gap) for gap in self.collector_gaps], self.late, self.quarantined,
            ],
        }  # fmt: skip

    @classmethod
    def restore(cls, data: Mapping[str, Any]) -> TableWatch:
        """The inverse of snapshot. What an older checkpoint lacks is empty."""
        watch = cls(data["slice_ns"])
        watch.slices.restore(data["slices"])
        watch.closed = RangeSet((first, last) for first, last in data["closed"])
        (
            watch.latest_lsn, watch.lateness_ns, watch.as_of_ns, missing, gaps, watch.late,
            watch.quarantined,
        ) = data["meta"]  # fmt: skip
        watch.missing_sources = tuple(missing)
        watch.collector_gaps = tuple((first, end) for first, end in gaps)
        if "rolled" in data:
            watch.losses.restore(data["losses"])
            watch.loss_reasons = list(data["loss_reasons"])
            watch.rolled.restore(data["rolled"])
            watch.closings = [(lsn, first, last) for lsn, first, last in data["closings"]]
            watch.clock_err_ms = data["clock_err"]
        watch.dropped_lsn = data.get("dropped", 0)
        return watch
