"""Count and digest of slices, from what is stored.

A block that cannot be read takes only its slices with it: the range is halved until what can be
read is told from what cannot. Such a slice counts as if nothing of it were stored, and is named.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.engine import Engine
from mainstem_engine.errors import CorruptionError
from mainstem_engine.model import DeviceIds
from mainstem_engine.slices import SliceDigests
from mainstem_sync.slices.manifest import Ints, Sums
from mainstem_sync.slices.slice_table import spans
from mainstem_sync.slices.unreadable import Unreadable

logger = logging.getLogger(__name__)

GAP_SLICES = 64
"""Slices further apart are scanned by separate passes; nearer ones share one."""

SCAN_SLICES_MAX = 20_000
"""Slices of one pass, so that a pass over history has bounded memory."""


@dataclass(frozen=True, slots=True)
class SliceScan:
    """How to scan: rows of one or some origins (by index, None: of any) and of ``devices``
    (None: all), with the owner's measurement ids. ``expired``: with rows that nobody sees any more.
    ``unreadable`` is told what cannot be read."""

    engine: Engine
    table: str
    slice_ns: int
    origin: int | tuple[int, ...] | None
    measurement_ids: Mapping[int, int] | None = None
    devices: DeviceIds | None = None
    expired: bool = False
    unreadable: Unreadable | None = None

    def between(self, first: int, end: int) -> tuple[SliceDigests, list[int]]:
        """(the slices of [first, end) that hold rows, those that cannot be read)."""
        found, broken, why = self._between(first, end)
        if broken:
            logger.error("%d slices of %s cannot be read: %s", len(broken), self.table, why)
            if self.unreadable is not None:
                self.unreadable.note(self.table, self.slice_ns, broken)
        return found, broken

    def _between(self, first: int, end: int) -> tuple[SliceDigests, list[int], str]:
        try:
            found = self.engine.slice_digests(
                self.table, self.origin, first * self.slice_ns, end * self.slice_ns, self.slice_ns,
                self.measurement_ids, self.devices, expired=self.expired,
            )  # fmt: skip
        except CorruptionError as exc:
            if end - first == 1:
                return _NOTHING, [first], str(exc)
            middle = (first + end) // 2
            left, broken, why = self._between(first, middle)
            right, more, other = self._between(middle, end)
            return _joined(left, right), broken + more, why or other
        return found, [], ""

    def of(self, keys: Ints) -> tuple[Ints, Sums, Sums, npt.NDArray[np.bool_]]:
        """(count, d1, d2, unreadable) of the slices ``keys`` (ascending)."""
        count = np.zeros(len(keys), np.int64)
        d1, d2 = np.zeros(len(keys), np.uint64), np.zeros(len(keys), np.uint64)
        unreadable: list[int] = []
        for begin, end in spans(keys, GAP_SLICES, SCAN_SLICES_MAX):
            found, broken = self.between(int(keys[begin]), int(keys[end - 1]) + 1)
            unreadable += broken
            wanted, there = keys[begin:end], found.start // self.slice_ns
            at = np.searchsorted(wanted, there)
            inside = at < len(wanted)
            at, keep = at[inside], inside.nonzero()[0]
            match = wanted[at] == there[keep]
            at, keep = at[match] + begin, keep[match]
            count[at], d1[at], d2[at] = found.count[keep], found.d1[keep], found.d2[keep]
        return count, d1, d2, np.isin(keys, unreadable)


_NOTHING = SliceDigests(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.uint64)
)


def _joined(left: SliceDigests, right: SliceDigests) -> SliceDigests:
    return SliceDigests(
        np.concatenate([left.start, right.start]), np.concatenate([left.count, right.count]),
        np.concatenate([left.d1, right.d1]), np.concatenate([left.d2, right.d2]),
    )  # fmt: skip
