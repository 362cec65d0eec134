"""Virtual time: what happens next, in an order that only a seed decides.

Events of one moment happen in the order in which they were put down. Nothing waits: time jumps from
one event to the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

START_NS = 1_800_000_000 * 1_000_000_000
"""A moment in 2027, on a full minute: slices and their manifests line up in every run."""

EVENTS_MAX = 200_000
"""Of one run: far more than half an hour holds; a loop without end is a fault to be told."""


@dataclass(slots=True)
class Agenda:
    """Seconds since the start, true for everybody; clocks of nodes may differ from it."""

    now_s: float = 0.0
    happened: int = 0
    events_max: int = EVENTS_MAX
    _next: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0

    @property
    def now_ns(self) -> int:
        """The true time."""
        return START_NS + int(self.now_s * 1e9)

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        """Calls ``function`` so much later."""
        self._number += 1
        heapq.heappush(self._next, (self.now_s + seconds, self._number, function))

    def run_until(self, end_s: float) -> None:
        """Everything that is due by then. Raises TimeoutError when it never ends."""
        while self._next and self._next[0][0] <= end_s:
            self.now_s, _, function = heapq.heappop(self._next)
            self.happened += 1
            if self.happened > self.events_max:
                raise TimeoutError(f"more than {self.events_max} events by second {self.now_s:.0f}")
            function()
        self.now_s = max(self.now_s, end_s)
