"""The clock of retention: a wall clock that jumps never makes data expire.

The *line* is the last confirmed time, carried on by the monotonic clock. Retention's time is the
smaller of wall clock and line.

1. The wall clock is at most STEP_NS_MAX ahead of the line: the two agree. What they differ by is
   drift, and the line follows it at DRIFT_SHARE of the elapsed time at most, so that many small
   steps add up to a large one.
2. It is further ahead: retention's time stands still (*paused*) until somebody confirms the time
   or the wall clock agrees again.
3. It is behind: it is the smaller, so it counts, and the line goes with it. If that was more than
   STEP_NS_MAX, the line from before is remembered, and a wall clock that returns to it agrees.
4. The line is in every checkpoint. A start goes on from it: a machine that boots in 2038 is paused,
   one that boots in 1970 expires nothing, and one that was off for a week is paused until its
   parent or an operator confirms the time. Within one boot the monotonic clock bridges the gap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

SECOND_NS = 1_000_000_000
STEP_NS_MAX = 60 * SECOND_NS
"""A step that no drift and no leap second explains (docs of the federation protocol, clock)."""
DRIFT_SHARE = 1 / 1000
"""Time daemons slew a clock by at most half of this."""


def monotonic_ns() -> int:
    """Nanoseconds that never step, counting time asleep where the system knows it, so that a
    laptop that was closed for a night is not taken for a clock that jumped."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if boot is None else time.clock_gettime_ns(boot)


@dataclass(frozen=True, slots=True)
class ClockStatistics:
    """``now_ns``: retention's time. ``paused``: nothing expires until the time is confirmed or
    the wall clock, ``ahead_ns`` ahead of the last confirmed time, agrees again."""

    now_ns: int
    paused: bool
    ahead_ns: int


class RetentionClock:
    """See the module. Thread-safe; ``wall`` and ``monotonic`` return ns."""

    def __init__(
        self, wall: Callable[[], int], monotonic: Callable[[], int] = monotonic_ns
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._line_ns = wall()
        self._line_at_ns = monotonic()
        self._before_ns: int | None = None
        self._now_ns = self._line_ns
        self._paused = False

    def now_ns(self) -> int:
        """Retention's time."""
        with self._lock:
            return self._observe()

    def trusted_ns(self) -> int:
        """The smaller of wall clock and line. Unlike retention's time it goes on while paused."""
        with self._lock:
            self._observe()
            return min(self._wall(), self._line_ns)

    def confirm(self, now_ns: int | None = None) -> None:
        """The time is ``now_ns``, by default what the wall clock says: somebody vouches for it."""
        with self._lock:
            self._line_ns = self._wall() if now_ns is None else now_ns
            self._line_at_ns = self._monotonic()
            self._before_ns = None
            self._paused = False
            self._now_ns = self._line_ns
            self._observe()

    def statistics(self) -> ClockStatistics:
        with self._lock:
            now_ns = self._observe()
            return ClockStatistics(now_ns, self._paused, self._wall() - self._line_ns)

    def snapshot(self) -> bytes:
        """The checkpoint section."""
        with self._lock:
            self._observe()
            packed: bytes = msgpack.packb(
                {"line": self._line_ns, "at": self._line_at_ns, "before": self._before_ns}
            )
            return packed

    def restore(self, data: bytes) -> None:
        """From a checkpoint section. A monotonic clock below the stored one has begun anew: then
        the time in between is not known."""
        fields: dict[str, Any] = msgpack.unpackb(data)
        with self._lock:
            self._line_ns = int(fields["line"])
            monotonic = self._monotonic()
            at_ns = int(fields["at"])
            self._line_at_ns = at_ns if at_ns <= monotonic else monotonic
            self._before_ns = fields["before"]
            self._now_ns = self._line_ns
            self._observe()

    def _observe(self) -> int:
        wall, monotonic = self._wall(), self._monotonic()
        elapsed = max(0, monotonic - self._line_at_ns)
        line = self._line_ns + elapsed
        self._line_at_ns = monotonic
        if self._before_ns is not None:
            self._before_ns += elapsed
            if abs(wall - self._before_ns) <= STEP_NS_MAX:
                line, self._before_ns = self._before_ns, None
        ahead = wall - line
        self._paused = ahead > STEP_NS_MAX
        if ahead < -STEP_NS_MAX and self._before_ns is None:
            self._before_ns = line
        if not self._paused:
            self._now_ns = min(wall, line)
            line += min(ahead, int(elapsed * DRIFT_SHARE))
        self._line_ns = line
        return self._now_ns
