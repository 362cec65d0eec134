"""The orders that tell nodes of devices which were moved to or from them.

1. Told are all nodes that have or had a device, by an order each with its whole history; told by
   the node that gave the device's newest move.
2. An order is given anew when the history has grown, and when the log of a node forked or the node
   was replaced: it may have forgotten. What has been given is read from the log's own orders, so a
   stop in between does no harm.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_sync.down.downward import Downward
from mainstem_sync.down.orders import OrdersFullError, Standing
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.moves import HANDOVER, Move
from mainstem_sync.state.patience import ACK_TIMEOUT_S
from mainstem_sync.wire.order import Order, State

logger = logging.getLogger(__name__)

NS_PER_MS = 1_000_000

Line = tuple[str, int]
"""Uuid and epoch of a node's log."""

Given = Mapping[tuple[str, str], Standing]
"""The newest order of each slot and node."""


class MoveOrders:
    """See the module. ``route``: the child that leads to a node; ``clock_ns`` wall clock."""

    def __init__(
        self,
        node: str,
        follower: Follower,
        down: Downward,
        *,
        engine: Callable[[], Engine],
        route: Callable[[str], str | None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._follower = follower
        self._moves = follower.moves
        self._down = down
        self._engine = engine
        self._route = route
        self._clock_ns = clock_ns
        self._telling = threading.Lock()
        self._told: object = None

    def given(self) -> Given:
        """What was given here or handed on."""
        return {
            (each.order.slot, each.order.to): each
            for each in self._down.orders.all()
            if each.order.kind == HANDOVER
        }

    def progress(self, move: Move, name: str, given: Given) -> dict[str, Any]:
        """How far a node is with a move: UNKNOWN at a tier that did not give it."""
        standing = given.get((_slot(move.device), name))
        found: dict[str, Any] = {"node": name, "order": None, "rows": 0, "error": None}
        if name == self._node:
            return {**found, "state": str(State.DONE)}
        if standing is None or move.to_wire() not in standing.order.body.get("moves", ()):
            mine = move.issuer == self._node
            return {**found, "state": str(State.QUEUED if mine else State.UNKNOWN)}
        word = standing.word
        found |= {"state": str(standing.state), "order": standing.order.id}
        if word is not None:
            found |= {"rows": word.result.get("rows", 0), "error": word.error or None}
        return found

    def tell(self, *, again: bool = False) -> None:
        """Give the orders that are missing. ``again``: also those that failed."""
        lines = self._lines()
        below = {node for node in self._moves.nodes() if self._route(node) is not None}
        seen = (self._moves.revision, lines, below)
        with self._telling:
            if seen == self._told and not again:
                return
            given = self.given()
            try:
                for device in self._moves.devices():
                    self._tell(device, lines, given, again=again)
            except (OrdersFullError, TimeoutError) as error:
                logger.warning("%s tells of moves later: %s", self._node, error)
                return
            self._told = seen

    def _tell(self, device: str, lines: Mapping[str, Line], given: Given, *, again: bool) -> None:
        history = self._moves.history(device)
        newest = max(history, key=lambda move: (move.at_ms, move.id))
        if newest.issuer != self._node:
            return
        plain = [move.to_wire() for move in history]
        for name in dict.fromkeys(self._moves.owners(device)):
            if name == self._node or self._route(name) is None:
                continue
            line = list(lines.get(name, ("", 0)))
            known = given.get((_slot(device), name))
            if known is not None and not (again and known.state is State.FAILED):
                body = known.order.body
                if body.get("moves") == plain and body.get("line") == line:
                    continue
            body = {"moves": plain, "line": line, **self._about(device)}
            order = Order(
                uuid.uuid4().hex, HANDOVER, name, body, self._clock_ns() // NS_PER_MS, self._node,
                newest.by, slot=_slot(device),
            )  # fmt: skip
            self._down.give(order).wait(ACK_TIMEOUT_S)

    def _about(self, device: str) -> dict[str, Any]:
        devices = self._engine().catalog.devices
        number = devices.id_of(device)
        if number is None:
            return {}
        return {"template": devices.family_name(number), "tags": devices.tags(number)}

    def _lines(self) -> dict[str, Line]:
        """The log of each node that has or had a moved device, as it is now."""
        with self._follower.lock:
            origins = self._follower.origins
            states = [s for s in origins.lines() if self._moves.devices_of(s.key.name)]
            return {
                state.key.name: (state.key.uuid, state.key.epoch)
                for state in states
                if origins.successor(state) is None
            }


def _slot(device: str) -> str:
    """Of the orders about one device, only the newest counts."""
    return "own:" + hashlib.blake2b(device.encode(), digest_size=14).hexdigest()
