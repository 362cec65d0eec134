"""How many children a parent greets a second, when all of them come at once.

1. ``RATE`` a second are greeted, and ``BURST`` more at once. The others are told when to come
   again: later, the more were told so before. They add some of their own choice to it, as after
   every such refusal, so that those who were refused together come apart.
2. Who is refused never takes the place of another: as long as children come, ``RATE`` are greeted.
3. Whoever was asked something and answers it is let through: its greeting has begun.

A HELLO costs milliseconds of a core and perhaps a record of the log, a refusal a tenth of that. A
child that was greeted sends its backlog at once, beside live rows of those that are here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

RATE = 150.0
"""A second. A thousand children are back within ten, and take less than half of a core for it."""

BURST = 50.0
"""The children of a site that come back together are not put off."""

PAUSE_MIN_S = 1.0
PUT_OFF_MAX = 8_000.0
"""A parent has no more children; the longest pause is less than a minute."""


class HelloGate:
    """One per node. Thread-safe. ``monotonic`` in s."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._greeted = 0.0
        self._put_off = 0.0
        """Both run empty at ``RATE`` a second."""
        self._at = monotonic()

    def pause_s(self, *, begun: bool = False) -> float:
        """0 if this HELLO is answered now, else after how many seconds it should come again.
        ``begun``: it answers a question of this node."""
        with self._lock:
            now = self._monotonic()
            drained = RATE * max(0.0, now - self._at)
            self._at = now
            self._greeted = max(0.0, self._greeted - drained)
            self._put_off = max(0.0, self._put_off - drained)
            if begun:
                return 0.0
            if self._greeted < BURST:
                self._greeted += 1
                return 0.0
            self._put_off = min(self._put_off + 1, PUT_OFF_MAX)
            return PAUSE_MIN_S + self._put_off / RATE
