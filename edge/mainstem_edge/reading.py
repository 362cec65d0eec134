"""Rows on their way from a reader to the store: typed, checked, and what was put aside of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mainstem_edge.decode.interface import Decoded
from mainstem_edge.device_book import Entry
from mainstem_edge.preprocess import Prepared
from mainstem_edge.rejects import Reject
from mainstem_engine.model import BoolMask, TimesNs

Index = npt.NDArray[np.intp]


@dataclass(slots=True)
class Reading:
    """n rows of some messages, all of one template.

    ``create``: devices that do not exist are made. ``devices`` and ``device_of``: the entry of row
    i is ``devices[device_of[i]]``. ``good`` bool[n]: rows that may be stored. ``row_rejects``: rows
    put aside, by row. ``failures``: messages or elements put aside, each counted as one row.
    ``newest_ns``: newest time of a good row, None when there is none.
    """

    template: str
    create: bool
    decoded: Decoded
    devices: list[Entry]
    device_of: Index
    time_ns: TimesNs
    prepared: Prepared
    good: BoolMask
    row_rejects: dict[int, Reject] = field(default_factory=dict)
    failures: list[Reject] = field(default_factory=list)

    @property
    def received(self) -> int:
        """Rows as the source sent them; what could not be read counts as one."""
        return len(self.decoded) + len(self.failures)

    @property
    def newest_ns(self) -> int | None:
        return int(self.time_ns[self.good].max()) if self.good.any() else None

    def entry(self, row: int) -> Entry:
        """The device of a row, as data names it."""
        return self.devices[int(self.device_of[row])]

    def rows_of(self, wanted: Callable[[Entry], bool]) -> BoolMask:
        """bool[n]: rows of the devices that are wanted."""
        mask = np.fromiter(map(wanted, self.devices), np.bool_, count=len(self.devices))
        found: BoolMask = mask[self.device_of]
        return found

    def put_aside(self, row: int, reason: str) -> None:
        """Takes a row out, with the reason."""
        self.good[row] = False
        entry = self.entry(row)
        self.row_rejects[row] = Reject(
            reason, self.decoded.row(row), entry.path, int(self.time_ns[row])
        )


def nothing_read(template: str) -> Reading:
    """No row of a template: what carries the counts of rows that are not stored again."""
    none = np.zeros(0, np.bool_)
    prepared = Prepared({}, none)
    return Reading(
        template,
        False,
        Decoded([], {}),
        [],
        np.zeros(0, np.intp),
        np.zeros(0, np.int64),
        prepared,
        none,
    )
