"""Readings that are not finite, replaced along straight lines over time.

1. Between two finite readings of the window: the line that joins them.
2. Before the first and after the last: the line through the two nearest finite ones goes on, or
   (``level``) the nearest one is repeated.
3. A window with one finite reading is level; one with none stays as it is.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import Readings
from mainstem_engine.analysis.rows import Mask, Positions


def filled_along_lines(readings: Readings, *, level: bool = False) -> Floats:
    """The values, float64[m], with those that are not finite replaced."""
    finite = np.flatnonzero(np.isfinite(readings.values))
    values = readings.values.copy()
    holes = np.flatnonzero(~np.isfinite(values))
    if len(holes) == 0 or len(finite) == 0:
        return values
    window, last = readings.window, len(finite) - 1

    def same(place: Positions) -> Mask:
        """Whether the finite reading of that number is of the hole's window."""
        inside = (place >= 0) & (place <= last)
        found: Mask = inside & (window[finite[np.clip(place, 0, last)]] == window[holes])
        return found

    after = np.searchsorted(finite, holes)
    has_before, has_after = same(after - 1), same(after)
    left = np.where(has_before, after - 1, after)
    right = np.where(has_after, after, after - 1)
    if not level:
        right = np.where(~has_before & same(after + 1), after + 1, right)
        left = np.where(~has_after & same(after - 2), after - 2, left)
    fillable = has_before | has_after
    holes, left, right = holes[fillable], finite[left[fillable]], finite[right[fillable]]
    spans = (readings.times[right] - readings.times[left]).astype(np.float64)
    since = (readings.times[holes] - readings.times[left]).astype(np.float64)
    # Two devices of one partition may have one time: there is no line then.
    share = np.divide(since, spans, out=np.zeros(len(holes)), where=spans != 0)
    low, high = values[left], values[right]
    with np.errstate(over="ignore"):
        values[holes] = low + share * (high - low)
    return values
