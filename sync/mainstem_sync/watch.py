"""What is proven about one received table of one origin.

Per slice: the newest manifest, the greatest LSN of a row that was applied here, and whether the
last scan of the stored rows equalled the manifest. A slice is *proven* when it did and nothing has
touched it since.

1. A manifest counts only if the LSN of its record is above that of the one known.
2. A row or delete that is applied makes its slice unproven until it is scanned again; so does a
   manifest.
3. Slices inside a closed interval that no manifest lists and no row touched are empty, and proven.
4. A slice is scanned when a manifest is there, something changed, and the manifest's max_lsn has
   been received. Equality proves it, whatever else is missing. Inequality proves nothing while
   older records are still to come.
5. Rows put aside here (``parked``) are counted apart: equal with them is QUARANTINED.
6. A slice that began before what this tier keeps cannot be compared any more: it is EXPIRED, unless
   it was proven before and nothing has touched it since.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_sync.manifest import Ints, Manifest, Sums
from mainstem_sync.ranges import RangeSet
from mainstem_sync.slice_table import (
    PENDING_TOUCHES_MAX,
    SliceTable,
    greatest_by_key,
    touched_by,
    touched_slices,
)

PROVEN_SLICES_KEPT = 5_000
"""Proven slices that keep their manifest: half a megabyte a table, in memory and in every
checkpoint. Older ones are known by their closed interval alone."""

SCAN_MAX = 20_000
"""Slices judged in one pass: bounds memory, and keeps a pass below a second or two."""


class SliceState(enum.StrEnum):
    """What people are told about a slice."""

    OPEN = "OPEN"
    PENDING = "PENDING"
    VERIFIED = "VERIFIED"
    REVISED = "REVISED"
    MISMATCH = "MISMATCH"
    QUARANTINED = "QUARANTINED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"


_UNPROVEN, _VERIFIED, _QUARANTINED, _UNEQUAL, _EXPIRED = 0, 1, 2, 3, 4
"""Values of the column ``state``; they are in checkpoints: append only."""

_COLUMNS: dict[str, npt.DTypeLike] = {
    "row_lsn": np.uint64,
    "man_lsn": np.uint64,
    "max_lsn": np.uint64,
    "count": np.int64,
    "d1": np.uint64,
    "d2": np.uint64,
    "parked": np.int64,
    "parked_d1": np.uint64,
    "parked_d2": np.uint64,
    "parked_values": np.int64,
    "state": np.uint8,
    "dirty": np.uint8,
}


@dataclass(frozen=True, slots=True)
class Candidates:
    """Slices to scan, with what was known of them when they were chosen."""

    keys: Ints
    row_lsn: Sums
    man_lsn: Sums


class TableWatch:
    """See the module. Not thread-safe: the federation's lock serialises all calls."""

    def __init__(self, slice_ns: int) -> None:
        self.slice_ns = slice_ns
        self.slices = SliceTable(_COLUMNS)
        self.closed = RangeSet()
        """Closed slices, by index, as inclusive ranges."""
        self.latest_lsn = 0
        self.lateness_ns = 0
        self.as_of_ns = 0
        self.missing_sources: tuple[str, ...] = ()
        self.collector_gaps: tuple[tuple[int, int], ...] = ()
        self.late = 0
        self.quarantined = 0

    # What happens

    def rows_applied(self, times: npt.NDArray[np.int64], lsns: int | Sums) -> None:
        """Rows of this origin entered the head; ``lsns`` are the origin's."""
        if isinstance(lsns, np.ndarray):
            self.slices.note(*greatest_by_key(times // self.slice_ns, lsns))
        else:
            touched = touched_slices(times, self.slice_ns)
            if isinstance(touched, int):
                self.slices.note_one(touched, lsns)
            else:
                self.slices.note(touched, lsns)
        if self.slices.touches > PENDING_TOUCHES_MAX:
            self.merge()

    def rows_deleted(self, spans: Ints, lsn: int) -> None:
        """Rows of this origin in ``spans`` (int64[k, 2] ns) were deleted by its record ``lsn``."""
        self.merge()
        self.slices.note(touched_by(spans, self.slice_ns, self.slices.keys), lsn)

    def merge(self) -> None:
        """Bring the remembered touches into the columns."""
        keys, lsns = self.slices.take_touches()
        if len(keys):
            at = self.slices.upsert(keys)
            row_lsn = self.slices["row_lsn"]
            row_lsn[at] = np.maximum(row_lsn[at], lsns)
            self._unprove(at)

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
        self._unprove(at)
        first = manifest.closed_from_ns // self.slice_ns
        self.closed.add(first, manifest.closed_through_ns // self.slice_ns - 1)
        if lsn > self.latest_lsn:
            self.latest_lsn = lsn
            self.lateness_ns = manifest.lateness_ns
            self.as_of_ns = manifest.as_of_ns
            self.missing_sources = manifest.missing_sources
            self.collector_gaps = manifest.collector_gaps
            self.late = manifest.late
            self.quarantined = manifest.quarantined

    def parked(self, keys: Ints, count: Ints, d1: Sums, d2: Sums, values: Ints) -> None:
        """Rows (``count``) and values of this origin were put aside; digests as in manifests."""
        self.merge()
        at = self.slices.upsert(keys)
        self.slices["parked"][at] += count
        self.slices["parked_d1"][at] += d1
        self.slices["parked_d2"][at] += d2
        self.slices["parked_values"][at] += values
        self._unprove(at)

    def _unprove(self, at: npt.NDArray[np.intp]) -> None:
        self.slices["state"][at] = _UNPROVEN
        self.slices["dirty"][at] = 1

    # Scanning

    def candidates(self, received: RangeSet) -> Candidates:
        """Slices that changed and whose manifest's last record has been received."""
        self.merge()
        columns = self.slices.columns
        wanted = (columns["dirty"] == 1) & (columns["man_lsn"] > 0)
        wanted[wanted] = received.mask(columns["max_lsn"][wanted])
        at = np.flatnonzero(wanted)[:SCAN_MAX]
        return Candidates(self.slices.keys[at], columns["row_lsn"][at], columns["man_lsn"][at])

    def judged(self, chosen: Candidates, count: Ints, d1: Sums, d2: Sums) -> int:
        """What the scan found; slices that changed meanwhile stay due. Returns how many match."""
        self.merge()
        at = self.slices.upsert(chosen.keys)
        columns = self.slices.columns
        same = (columns["row_lsn"][at] == chosen.row_lsn) & (
            columns["man_lsn"][at] == chosen.man_lsn
        )
        at, count, d1, d2 = at[same], count[same], d1[same], d2[same]
        equal = (columns["count"][at] == count) & (columns["d1"][at] == d1)
        equal &= columns["d2"][at] == d2
        has_parked = (columns["parked"][at] > 0) | (columns["parked_values"][at] > 0)
        with_parked = has_parked & (columns["count"][at] == count + columns["parked"][at])
        with_parked &= columns["d1"][at] == d1 + columns["parked_d1"][at]
        with_parked &= columns["d2"][at] == d2 + columns["parked_d2"][at]
        state = np.full(len(at), _UNEQUAL, np.uint8)
        state[with_parked] = _QUARANTINED
        state[equal] = _VERIFIED
        columns["state"][at] = state
        columns["dirty"][at] = 0
        return int(np.count_nonzero(state != _UNEQUAL))

    def expired(self, keys: Ints) -> None:
        """These slices are older than what is kept here."""
        self.merge()
        at = self.slices.upsert(keys)
        self.slices["state"][at] = _EXPIRED
        self.slices["dirty"][at] = 0

    def prune(self, watermark: int) -> None:
        """Forget the oldest proven slices beyond a bound: inside a closed interval an unlisted
        slice counts as proven. Only where no older manifest can still arrive."""
        excess = len(self.slices) - PROVEN_SLICES_KEPT
        if excess > 0:
            columns = self.slices.columns
            gone = np.isin(columns["state"], (_VERIFIED, _EXPIRED))
            gone &= columns["man_lsn"] <= watermark
            gone[excess:] = False
            gone[gone] = [self.closed.covers(k, k) for k in self.slices.keys[gone].tolist()]
            self.slices.remove(gone)

    # Judging

    def unproven(self, first: int, end: int) -> Ints:
        """Slices in [first, end) that are closed, or hold rows, and are not proven; ascending."""
        self.merge()
        inside = self.slices.range(first, end)
        state = self.slices["state"][inside]
        settled = np.isin(state, (_VERIFIED, _QUARANTINED, _EXPIRED))
        keys: Ints = self.slices.keys[inside][~settled]
        return keys

    def expired_slices(self, first: int, end: int) -> tuple[Ints, Ints]:
        """(slices, rows stated) in [first, end) that are older than what is kept here."""
        inside = self.slices.range(first, end)
        found = self.slices["state"][inside] == _EXPIRED
        return self.slices.keys[inside][found], self.slices["count"][inside][found]

    def quarantined_slices(self, first: int, end: int) -> tuple[Ints, Ints]:
        """(slices, rows or values put aside) that are equal only with what was put aside."""
        inside = self.slices.range(first, end)
        found = self.slices["state"][inside] == _QUARANTINED
        rows = np.maximum(self.slices["parked"][inside], self.slices["parked_values"][inside])
        return self.slices.keys[inside][found], rows[found]

    def state_of(self, key: int, watermark: int) -> tuple[SliceState, int]:
        """(state, rows stated) of one slice. ``watermark``: D of the origin."""
        place = self.slices.range(key, key + 1)
        if place.start == place.stop:
            return (SliceState.VERIFIED if self.closed.covers(key, key) else SliceState.OPEN), 0
        columns = {name: int(column[place.start]) for name, column in self.slices.columns.items()}
        if columns["state"] == _VERIFIED:
            state = SliceState.VERIFIED
        elif columns["state"] == _QUARANTINED:
            state = SliceState.QUARANTINED
        elif columns["state"] == _EXPIRED:
            state = SliceState.EXPIRED
        elif not columns["man_lsn"]:
            closed = self.closed.covers(key, key)
            state = SliceState.REVISED if closed else SliceState.OPEN
        elif columns["row_lsn"] > columns["max_lsn"]:
            state = SliceState.REVISED
        elif columns["state"] == _UNEQUAL and watermark >= columns["max_lsn"]:
            state = SliceState.MISMATCH
        else:
            state = SliceState.PENDING
        return state, columns["count"]

    @property
    def complete_through(self) -> int | None:
        """Index of the first slice that is not proven, counted from the first closed one."""
        if not self.closed:
            return None
        first, last = next(iter(self.closed))
        bad = self.unproven(first, last + 1)
        return int(bad[0]) if len(bad) else last + 1

    # Checkpoint

    def snapshot(self) -> dict[str, Any]:
        self.merge()
        return {
            "slice_ns": self.slice_ns,
            "slices": self.slices.snapshot(),
            "closed": [list(pair) for pair in self.closed],
            "meta": [
                self.latest_lsn, self.lateness_ns, self.as_of_ns, list(self.missing_sources),
                [list(gap) for gap in self.collector_gaps], self.late, self.quarantined,
            ],
        }  # fmt: skip

    @classmethod
    def restore(cls, data: Mapping[str, Any]) -> TableWatch:
        watch = cls(data["slice_ns"])
        watch.slices.restore(data["slices"])
        watch.closed = RangeSet((first, last) for first, last in data["closed"])
        (
            watch.latest_lsn, watch.lateness_ns, watch.as_of_ns, missing, gaps, watch.late,
            watch.quarantined,
        ) = data["meta"]  # fmt: skip
        watch.missing_sources = tuple(missing)
        watch.collector_gaps = tuple((first, end) for first, end in gaps)
        return watch
