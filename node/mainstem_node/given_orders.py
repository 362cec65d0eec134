"""Orders that a statement gives to nodes below, and what became of them in its time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_sync.down.downward import Downward
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import Order, State

POLL_S = 0.05
ACK_S_MAX = 30.0
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Giver:
    """Gives orders in the name of this node. ``clock_ns`` wall clock."""

    node: str
    down: Downward
    clock_ns: Callable[[], int]

    def give(self, kind: str, to: str, body: dict[str, Any], by: str) -> Order:
        """An order that is durable here. Blocks; raises TimeoutError."""
        now_ms = self.clock_ns() // NS_PER_MS
        order = Order(uuid.uuid4().hex, kind, to, body, now_ms, self.node, by)
        self.down.give(order).wait(ACK_S_MAX)
        return order

    def ended(self, orders: Sequence[Order], deadline: float) -> list[Standing]:
        """How they stand when all have ended, or at ``deadline`` (monotonic s). Blocks."""
        while True:
            found = [each for order in orders if (each := self.down.orders.find(order.id))]
            if all(each.state.is_final for each in found) or time.monotonic() > deadline:
                return found
            time.sleep(POLL_S)


def warning(standing: Standing, not_done: str, not_yet: str) -> str | None:
    """What whoever asked should know of one node, such as that it ``did not delete``, or ``has not
    deleted yet``; None if it has done what was asked."""
    node, ident = standing.order.to, standing.order.id
    if standing.state is State.DONE:
        return None
    if standing.state.is_final:
        why = standing.word.error if standing.word is not None else "no reason is known"
        return f"{node} {not_done}: {why}"
    return f"{node} {not_yet}; it will when it is back (order {ident})"
