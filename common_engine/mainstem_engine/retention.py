"""Retention: which rows are too old to be seen, to be accepted, and to be kept.

A *retention class* is the set of devices of one table that share a rule: those of one database
below one path with a TTL of its own. A table without TTLs in one database has one class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import TIME_MIN_NS
from mainstem_engine.model import BoolMask, DeviceIds, Rows, TimesNs, VersionedRows

NOTHING_NS = TIME_MIN_NS
"""The cutoff that cuts nothing off: before every time."""

ClassIndexes = npt.NDArray[np.uint16]


class Cutoff:
    """Where the visible rows of one table begin, at one instant: a row with time < cutoff of its
    device is expired. Immutable.

    ``by_class``: int64[c] ns by retention class. ``class_of``: uint16 by device id; None when all
    devices are of class 0. A device beyond it is of no class yet and has the least cutoff.
    """

    __slots__ = ("_by_class", "_class_of", "greatest_ns", "least_ns")

    def __init__(self, by_class: TimesNs, class_of: ClassIndexes | None = None) -> None:
        self._by_class = by_class
        self._class_of = class_of
        self.least_ns = int(by_class.min())
        """Rows before it are expired whatever their device: a lower bound for every scan."""
        self.greatest_ns = int(by_class.max())
        """Rows from here on are visible whatever their device."""

    def of(self, devices: DeviceIds) -> TimesNs:
        """int64[n] ns: the cutoff of each device."""
        if self._class_of is None or self.least_ns == self.greatest_ns:
            return np.full(len(devices), self.least_ns, np.int64)
        known = devices < len(self._class_of)
        classes = self._class_of[np.where(known, devices, 0)]
        return np.where(known, self._by_class[classes], self.least_ns)

    def keeps(self, rows: Rows | VersionedRows) -> BoolMask | None:
        """bool[n]: which rows are visible; None when all are."""
        if not len(rows) or int(rows.time.min()) >= self.greatest_ns:
            return None
        mask: BoolMask = rows.time >= self.of(rows.device)
        return None if mask.all() else mask
