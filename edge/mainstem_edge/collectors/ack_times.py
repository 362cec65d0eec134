"""How long the messages of a broker waited for their acknowledgement.

Two distributions, each with one entry for a message: from its arrival, and from the moment that
the log had made its rows durable and they were visible, both until the connection had written the
PUBACK, as far as the socket took it. The second is what the way back costs; the first has the
queue, the decoding and the disk in it.

Written by the thread of the connection, read by others: counts only grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainstem_node.metrics import Distribution

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)
"""From a sync of a fast disk to what a device waits for before it sends again."""
QUANTILE = 0.99


class AckTimes:
    """Of one collector since its start, over all its connections."""

    def __init__(self) -> None:
        self.since_arrival = Distribution(BOUNDS_S)
        self.since_durable = Distribution(BOUNDS_S)

    def note(self, arrived_s: Sequence[float], durable_s: float, now_s: float) -> None:
        """The PUBACKs of messages that arrived at these times, and were durable at one, went out
        now; all by a monotonic clock, s."""
        for each in arrived_s:
            self.since_arrival.observe(now_s - each)
        self.since_durable.observe(now_s - durable_s, len(arrived_s))

    def to_status(self) -> dict[str, Any]:
        """Per distribution ``p99_ms`` (a bound that it was below, None without any or beyond the
        last), and what `/metrics` makes a histogram of."""
        found = {"since_arrival": self.since_arrival, "since_durable": self.since_durable}
        return {name: _shown(each) for name, each in found.items()}


def _shown(distribution: Distribution) -> dict[str, Any]:
    below_s = distribution.bound(QUANTILE)
    return {
        "p99_ms": None if below_s is None else round(below_s * 1000),
        "bounds_s": list(distribution.bounds),
        "counts": list(distribution.counts),
        "sum_s": round(distribution.sum, 6),
    }
