"""What is known of the time slices of one table, as sorted columns.

1. A slice is named by its index: ``start_ns // slice_ns``. ``keys`` is int64, ascending, unique;
   every other column has one value per key.
2. Touches (slice, LSN) are collected in a short list and merged in one vectorised step, when
   somebody looks or when the list is full: a replay of history touches a slice per row.
3. Every change is a join (maximum of LSNs), so that the order of touches does not matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_sync.errors import WireError

Keys = npt.NDArray[np.int64]
Lsns = npt.NDArray[np.uint64]
AnyArray = npt.NDArray[Any]

PENDING_TOUCHES_MAX = 16_384
"""Merging so many touches costs about a millisecond; fewer would merge too often."""


NOTHING = (np.empty(0, np.int64), np.empty(0, np.uint64))
"""Keys and LSNs of no touches."""

SPAN_SLICES_MAX = 1 << 20
"""Slices that a span of time touches by itself: two years of minutes, 16 MB. Of longer ones only
the slices that are known are touched."""


class SliceTable:
    """Sorted columns by slice; a new slice has zeros. ``columns``: name to dtype. No locking."""

    def __init__(self, columns: Mapping[str, npt.DTypeLike]) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        self.columns: dict[str, AnyArray] = {
            name: np.empty(0, dtype) for name, dtype in columns.items()
        }
        self._touched_keys: list[Keys] = []
        self._touched_lsns: list[Lsns] = []
        self._single: dict[int, int] = {}
        self._touches = 0

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, name: str) -> AnyArray:
        return self.columns[name]

    @property
    def touches(self) -> int:
        """How many touches wait to be merged."""
        return self._touches + len(self._single)

    def note_one(self, key: int, lsn: int) -> None:
        """As ``note`` for one slice: most records touch one, and most touch the same again."""
        if lsn > self._single.get(key, 0):
            self._single[key] = lsn

    def note(self, keys: Keys, lsns: int | Lsns) -> None:
        """Remember touches; ``lsns`` is one for all, or one per key. Cheap."""
        if isinstance(lsns, np.ndarray):
            stamped: Lsns = lsns.astype(np.uint64, copy=False)
        else:
            stamped = np.full(len(keys), lsns, np.uint64)
        self._touched_keys.append(keys)
        self._touched_lsns.append(stamped)
        self._touches += len(keys)

    def take_touches(self) -> tuple[Keys, Lsns]:
        """The remembered touches as (unique ascending keys, greatest LSN of each); forgets them."""
        if self._single:
            keys = np.fromiter(self._single.keys(), np.int64, count=len(self._single))
            self.note(keys, np.fromiter(self._single.values(), np.uint64, count=len(keys)))
            self._single = {}
        if not self._touches:
            return NOTHING
        keys = np.concatenate(self._touched_keys)
        lsns = np.concatenate(self._touched_lsns)
        self._touched_keys, self._touched_lsns, self._touches = [], [], 0
        return greatest_by_key(keys, lsns)

    def upsert(self, keys: Keys) -> npt.NDArray[np.intp]:
        """Positions of ``keys`` (unique, ascending), added where they are new."""
        at = self.keys.searchsorted(keys)
        known = np.zeros(len(keys), np.bool_)
        if len(self.keys):
            # A key beyond the last one is not equal to it.
            np.equal(self.keys.take(at, mode="clip"), keys, out=known)
        if not known.all():
            fresh = ~known
            grown = np.insert(self.keys, at[fresh], keys[fresh])
            before = np.searchsorted(grown, self.keys)
            for name, column in self.columns.items():
                self.columns[name] = np.zeros(len(grown), column.dtype)
                self.columns[name][before] = column
            self.keys = grown
            at = np.searchsorted(self.keys, keys)
        return at

    def range(self, first_key: int, end_key: int) -> slice:
        """Positions of the slices in [first_key, end_key)."""
        low, high = self.keys.searchsorted((first_key, end_key)).tolist()
        return slice(low, high)

    def remove(self, gone: npt.NDArray[np.bool_]) -> None:
        """Forget the slices where ``gone`` is true."""
        if gone.any():
            stays = ~gone
            self.keys = self.keys[stays]
            self.columns = {name: column[stays] for name, column in self.columns.items()}

    def snapshot(self) -> dict[str, Any]:
        """For the checkpoint. Waiting touches must have been merged."""
        return {
            "keys": self.keys.tobytes(),
            "columns": {name: column.tobytes() for name, column in self.columns.items()},
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """The inverse of snapshot. Columns that the snapshot lacks are zeros."""
        self.keys = np.frombuffer(data["keys"], np.int64).copy()
        for name, column in self.columns.items():
            raw = data["columns"].get(name)
            self.columns[name] = (
                np.zeros(len(self.keys), column.dtype)
                if raw is None
                else np.frombuffer(raw, column.dtype).copy()
            )
            if len(self.columns[name]) != len(self.keys):
                raise WireError(f"slice column {name} of a checkpoint has another length")


def greatest_by_key(keys: Keys, lsns: Lsns) -> tuple[Keys, Lsns]:
    """(unique ascending keys, greatest LSN of each)."""
    if len(keys) < 2 or bool((keys[1:] > keys[:-1]).all()):
        return keys, lsns
    order = np.argsort(keys, kind="stable")
    keys, lsns = keys[order], lsns[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    greatest: Lsns = np.maximum.reduceat(lsns, first)
    return keys[first], greatest


def touched_slices(times: npt.NDArray[np.int64], slice_ns: int) -> int | Keys:
    """The one slice that all rows lie in, or the slices of all of them (unique, ascending).
    ``times`` int64 ns, not empty."""
    if len(times) == 1:
        return int(times[0]) // slice_ns
    low, high = int(times.min()) // slice_ns, int(times.max()) // slice_ns
    return low if low == high else np.unique(times // slice_ns)


def touched_by(spans: npt.NDArray[np.int64], slice_ns: int, known: Keys) -> Keys:
    """Slices (ascending) that the spans [start, end) int64[k, 2] in ns lie in."""
    first, last = spans[:, 0] // slice_ns, (spans[:, 1] - 1) // slice_ns
    counts = last - first + 1
    if int(counts.sum()) <= SPAN_SLICES_MAX:
        # All integers of all [first, last]: steps of one, but for the jumps between spans.
        offsets = np.repeat(first - np.append(0, np.cumsum(counts)[:-1]), counts)
        return np.unique(np.arange(int(counts.sum())) + offsets)
    place = np.searchsorted(first, known, side="right") - 1
    inside = (place >= 0) & (known <= np.maximum.accumulate(last)[np.maximum(place, 0)])
    return known[inside]


def spans(keys: Keys, gap: int, count_max: int) -> list[tuple[int, int]]:
    """Cut ascending keys into [begin, end) index ranges: neighbours at most ``gap`` slices apart,
    at most ``count_max`` keys each. One range is then scanned in one pass."""
    if not len(keys):
        return []
    breaks = np.flatnonzero(np.diff(keys) > gap) + 1
    edges = [0, *breaks.tolist(), len(keys)]
    pieces = []
    for begin, end in itertools.pairwise(edges):
        pieces += [(at, min(at + count_max, end)) for at in range(begin, end, count_max)]
    return pieces
