"""What time it is at the parent, and how sure that is: from four stamps of each exchange.

1. A request leaves and its answer arrives by this node's monotonic clock; the answer says when the
   parent got the one and gave the other. The parent's clock was then at the middle of both, give
   or take half of what the ways took; what the parent itself took does not count.
2. Of the last exchanges the surest counts. It becomes less sure with time, as quartz drifts.
3. An exchange that cannot be true together with the ones before it says that the parent's clock was
   set: those before it are forgotten. A step of this node's own wall clock changes nothing here.

Guarded by the sender's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

EXCHANGES = 8

DRIFT = 1e-4
"""Of the time that passed: twice what a bad quartz does."""

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Exchange:
    """``at``: monotonic s of its end. ``base_ns``: the parent's clock minus the monotonic one."""

    at: float
    base_ns: int
    bound_ns: int

    def bound_at(self, now: float) -> float:
        return self.bound_ns + (now - self.at) * DRIFT * NS_PER_S


class ParentClock:
    """See the module. ``clock_ns``: this node's wall clock; ``monotonic``: s."""

    def __init__(self, clock_ns: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._exchanges: deque[_Exchange] = deque(maxlen=EXCHANGES)

    def exchanged(self, sent_at: float, got_ns: int, gave_ns: int) -> None:
        """An answer just arrived. ``sent_at``: when its request left, monotonic s; the others: when
        the parent got it and gave its answer, by its wall clock."""
        now = self._monotonic()
        ways_ns = max(0, int((now - sent_at) * NS_PER_S) - max(0, gave_ns - got_ns))
        middle_ns = (int(sent_at * NS_PER_S) + int(now * NS_PER_S)) // 2
        new = _Exchange(now, (got_ns + gave_ns) // 2 - middle_ns, ways_ns // 2 + 1)
        if any(self._contradict(new, old) for old in self._exchanges):
            self._exchanges.clear()
        self._exchanges.append(new)

    def _contradict(self, new: _Exchange, old: _Exchange) -> bool:
        return abs(new.base_ns - old.base_ns) > new.bound_ns + old.bound_at(new.at) + NS_PER_MS

    def _best(self) -> _Exchange | None:
        now = self._monotonic()
        return min(self._exchanges, key=lambda each: each.bound_at(now), default=None)

    def now_ns(self) -> int | None:
        """The parent's wall clock now; None before the first exchange."""
        best = self._best()
        return None if best is None else best.base_ns + int(self._monotonic() * NS_PER_S)

    @property
    def offset_ms(self) -> int | None:
        """The parent's clock minus this node's."""
        now_ns = self.now_ns()
        return None if now_ns is None else round((now_ns - self._clock_ns()) / NS_PER_MS)

    @property
    def bound_ms(self) -> int | None:
        """What ``offset_ms`` may be wrong by, that it is rounded included."""
        best = self._best()
        return None if best is None else int(best.bound_at(self._monotonic()) / NS_PER_MS) + 2
