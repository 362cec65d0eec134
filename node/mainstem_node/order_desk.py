"""Orders for this node, given to those who carry them out, by kind.

An order of a kind that nobody here knows has FAILED, and says so: a newer parent must not wait for
an older child.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mainstem_node.logs import fields
from mainstem_sync.down.downward import Downward
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import Order, State

log = logging.getLogger("mainstem.orders")


class OrderTaker(Protocol):
    """Carries out the orders of one kind, on threads of its own."""

    def take(self, order: Order) -> None:
        """An order that is durable and said to be DELIVERED. Must not block."""

    def resume(self, standing: Standing) -> None:
        """An order that was not finished when the process ended."""


class OneAtATime:
    """An OrderTaker of orders that may be carried out twice: one after the other, on a thread of
    its own. What is left at the stop is taken up at the next start."""

    def __init__(self, name: str, carry_out: Callable[[Order], None]) -> None:
        self._carry_out = carry_out
        self._stopping = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)

    def take(self, order: Order) -> None:
        if not self._stopping.is_set():
            self._worker.submit(self._carry_out, order)

    def resume(self, standing: Standing) -> None:
        self.take(standing.order)

    def stop(self) -> None:
        """What is under way is finished. Blocks."""
        self._stopping.set()
        self._worker.shutdown(wait=True, cancel_futures=True)


class OrderDesk:
    """See the module. ``takers`` by kind."""

    def __init__(self, down: Downward, takers: Mapping[str, OrderTaker]) -> None:
        self._down = down
        self._takers = dict(takers)

    def open(self) -> None:
        """Hands out what was left at the last stop, and from now on what comes."""
        for standing in self._down.unfinished():
            taker = self._taker(standing.order)
            if taker is not None:
                taker.resume(standing)
        self._down.on_order = self._take

    def _take(self, order: Order) -> None:
        taker = self._taker(order)
        if taker is not None:
            taker.take(order)

    def _taker(self, order: Order) -> OrderTaker | None:
        found = self._takers.get(order.kind)
        if found is None:
            why = f"{self._down.node} knows no orders of the kind {order.kind!r}: upgrade it"
            log.warning("order %s: %s", order.id, why, extra=fields(order=order.id))
            self._down.say(order.id, State.FAILED, error=why)
        return found
