"""What every row must have before it may be stored: a time the clock allows, a device, a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainstem_edge.device_book import Entry
from mainstem_edge.reading import Reading
from mainstem_engine.model import BoolMask
from mainstem_node import reasons


@dataclass(frozen=True, slots=True)
class ClockBounds:
    """Times before ``past_ns`` or more than ``future_ns`` ahead of now are put aside."""

    past_ns: int
    future_ns: int


def check_clock(reading: Reading, clock: ClockBounds, now_ns: int) -> None:
    """Puts aside rows whose time the clock does not allow."""
    past = reading.time_ns < clock.past_ns
    future = reading.time_ns > now_ns + clock.future_ns
    for mask, reason in ((past, reasons.TIME_PAST), (future, reasons.TIME_FUTURE)):
        for row in _rows(mask & reading.good):
            reading.put_aside(row, reason)


def check_rows(reading: Reading) -> None:
    """Puts aside rows without a device or a value."""
    impossible = reading.rows_of(_is_permanent) & reading.good
    for row in _rows(impossible):
        reading.put_aside(row, reading.entry(row).reason)
    without = reading.good & ~reading.prepared.has_value
    if without.any():
        with_rejects = {reject.row for reject in reading.prepared.rejects}
        for row in _rows(without):
            reading.put_aside(row, reasons.NO_VALUES)
            if row in with_rejects:  # its values are put aside one by one already
                del reading.row_rejects[row]


def _is_permanent(entry: Entry) -> bool:
    return entry.permanent


def _rows(mask: BoolMask) -> list[int]:
    return [int(row) for row in np.flatnonzero(mask)]
