"""When each device is polled: at multiples of its period, so that nothing drifts.

A time that was missed is not made up for: the next poll is at the next multiple. Of two that are
due the one that has waited longer comes first, so no device starves another. A clock that was set
back starts the schedule anew instead of waiting for the old times.

Pure: times come in with every call.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from mainstem_edge.turns import turn_ns

BACK_NS = 1_000_000_000
"""A clock that is corrected by less is waited for."""


class Schedule:
    """``periods_ns``: of each device, by its number. ``missed``: polls that did not take place."""

    def __init__(self, periods_ns: Sequence[int], now_ns: int) -> None:
        self._periods = tuple(periods_ns)
        self._due: list[tuple[int, int]] = []
        self._last_ns = now_ns
        self.missed = 0
        self._begin(now_ns)

    def next(self, now_ns: int) -> tuple[int, int]:
        """(number, ns until it is due, 0 or less when it is)."""
        if now_ns < self._last_ns - BACK_NS:
            self._begin(now_ns)
        self._last_ns = max(self._last_ns, now_ns)
        due, number = self._due[0]
        return number, due - now_ns

    def polled(self, number: int, now_ns: int, hold_ns: int = 0) -> None:
        """The one that was due was polled; the next time is at least ``hold_ns`` ahead."""
        due, first = self._due[0]
        assert first == number
        period = self._periods[number]
        if not hold_ns:
            self.missed += max(0, (now_ns - due) // period)
        following = max(due + period, turn_ns(now_ns + max(hold_ns, 1), period))
        heapq.heapreplace(self._due, (following, number))

    def _begin(self, now_ns: int) -> None:
        self._last_ns = now_ns
        self._due = [(turn_ns(now_ns, each), n) for n, each in enumerate(self._periods)]
        heapq.heapify(self._due)
