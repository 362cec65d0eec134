"""What a node counts for ``/metrics``: requests, and what held up the event loop.

Every label has few values: routes, not paths; never a device. Counting is a few additions on the
event loop; the text, and the library that writes it, are made at the scrape
(``metric_families.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

_REQUEST_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)
_LAG_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1)


class Distribution:
    """How often something was up to each of ``bounds``, or beyond the last of them."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def bound(self, share: float) -> float | None:
        """The least bound that at least ``share`` of all were up to; None beyond the last, and
        where there was none."""
        counts = list(accumulate(self.counts))
        if not counts[-1]:
            return None
        place = bisect_left(counts, share * counts[-1])
        return self.bounds[place] if place < len(self.bounds) else None


class NodeMetrics:
    """The counts of one node; written by its event loop, read by the thread that renders."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        """By method, route and status: all three are few."""
        self.request_seconds: dict[str, Distribution] = {}
        self.lag_seconds = Distribution(_LAG_SECONDS)
        self._snapshot: Callable[[], Mapping[str, Any]] | None = None

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request; ``route`` is the pattern, such as ``/api/v1/nodes/{id}``."""
        key = method, route, status
        self.requests[key] = self.requests.get(key, 0) + 1
        distribution = self.request_seconds.get(route)
        if distribution is None:
            distribution = self.request_seconds[route] = Distribution(_REQUEST_SECONDS)
        distribution.observe(seconds)

    def observe_lag(self, seconds: float) -> None:
        """The loop was held up this long."""
        self.lag_seconds.observe(seconds)

    def follow(self, snapshot: Callable[[], Mapping[str, Any]]) -> None:
        """Read everything else from ``snapshot()`` at every scrape."""
        self._snapshot = snapshot

    def render(self) -> bytes:
        """The text format. Calls the snapshot; may take milliseconds: use a thread."""
        from mainstem_node.metric_families import rendered

        return rendered(self, self._snapshot)
