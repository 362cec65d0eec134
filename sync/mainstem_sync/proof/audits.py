"""What is looked at again by itself, and when.

1. Every table's last full day is compared once, after it is over; after a start with all that came
   since. What differed before is not in the log, and a disk that stopped may have lost something.
2. Of everything older a hundredth a day, by the hour and at random: each step takes the hour of one
   table whose turn it is, so that the work is spread over the day.

What is due follows from the clock alone; after a restart a day may be compared twice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from mainstem_sync.slices.rolled import DAY_NS, HOUR_NS
from mainstem_sync.slices.watch import TableWatch

SHARE_PER_DAY = 0.01
STEP_NS_MIN = 10 * 1_000_000_000
"""However much there is: a step reads an hour of one table."""

T = TypeVar("T")


class Audits:
    """Chooses stretches of slices. Not thread-safe."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._days: dict[str, int] = {}
        self._next_ns: int | None = None

    def next(
        self, watched: Sequence[tuple[str, TableWatch, T]], now_ns: int
    ) -> tuple[T, int, int] | None:
        """(subject, first slice, end) to compare now, or None. ``watched``: (name, watch, subject)
        of all tables."""
        for name, watch, subject in watched:
            day = now_ns // DAY_NS - 1
            if watch.closed and self._days.get(name, day - 1) < day:
                end_ns = (day + 1) * DAY_NS if name in self._days else now_ns
                self._days[name] = day
                found = _closed_part(watch, day * DAY_NS, end_ns)
                if found is not None:
                    return subject, *found
        hours = [_hours(watch) for _, watch, _ in watched]
        total = sum(hours)
        if not total:
            return None
        pause_ns = max(STEP_NS_MIN, int(DAY_NS / (total * SHARE_PER_DAY)))
        if self._next_ns is None or self._next_ns - now_ns > 2 * pause_ns:
            self._next_ns = now_ns + int(pause_ns * self._rng.random())
        if now_ns < self._next_ns:
            return None
        self._next_ns = now_ns + int(pause_ns * self._rng.uniform(0.5, 1.5))
        (chosen,) = self._rng.choices(range(len(watched)), hours)
        _, watch, subject = watched[chosen]
        first = next(iter(watch.closed))[0] * watch.slice_ns
        start = first + self._rng.randrange(hours[chosen]) * HOUR_NS
        found = _closed_part(watch, start, start + HOUR_NS)
        return None if found is None else (subject, *found)


def _hours(watch: TableWatch) -> int:
    """Hours between the first and the last closed slice."""
    if not watch.closed:
        return 0
    ranges = list(watch.closed)
    return max(1, (ranges[-1][1] + 1 - ranges[0][0]) * watch.slice_ns // HOUR_NS)


def _closed_part(watch: TableWatch, start_ns: int, end_ns: int) -> tuple[int, int] | None:
    """The longest closed stretch of [start, end) as slices, or None."""
    first, end = start_ns // watch.slice_ns, max(1, -(-end_ns // watch.slice_ns))
    parts = list(watch.closed.within(first, end - 1))
    if not parts:
        return None
    low, high = max(parts, key=lambda part: part[1] - part[0])
    return low, high + 1
