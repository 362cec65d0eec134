"""Who is below this node: children and theirs, the way to each, and who owns which device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.model import DeviceIds
from mainstem_sync.state.children import Children, Delivery, owner_in
from mainstem_sync.state.follower import Follower


class Below:
    """See the module. Thread-safe. ``paths``: what this node owns itself; ``engine``: once it is
    bound."""

    def __init__(
        self,
        node: str,
        paths: Sequence[str],
        follower: Follower,
        children: Children,
        engine: Callable[[], Engine],
        clock_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._paths = tuple(paths)
        self._origins = follower.origins
        self._lock = follower.lock
        self._children = children
        self._engine = engine
        self._moves = follower.moves
        self._clock_ns = clock_ns

    def children(self) -> list[dict[str, Any]]:
        """The children's status objects (theirs inside), with state and delivery as seen here."""
        with self._lock:
            deliveries = {
                state.via: Delivery(state.received.watermark, state.acked)
                for state in self._origins.lines()
                if state.key.name == state.via
            }
        return self._children.show(deliveries)

    def route(self, node: str) -> str | None:
        """The child that leads to a node below, or is it; None if it is not known."""
        found = self._children.via(node)
        if found is None:
            with self._lock:
                known = self._origins.lines()
                found = next((s.via for s in known if s.key.name == node), None)
        return found

    def nodes(self) -> set[str]:
        """The names of all nodes below that were ever heard of."""
        return self.origins() | self._children.names_behind()

    def origins(self) -> set[str]:
        """The nodes below whose records have come here."""
        with self._lock:
            return {state.key.name for state in self._origins.lines()}

    def senders_of(self, table: str) -> set[str]:
        """The nodes below that have defined a table which is this one here."""
        wanted = table.casefold()
        with self._lock:
            return {
                state.key.name
                for state in self._origins.lines()
                if any(t.local.casefold() == wanted for t in state.maps.tables.values())
            }

    def owner_of(self, device: str) -> str | None:
        """The node that rows of a device come from now: the one that it was moved to, else the one
        with the longest path above it of this node and those below, else the origin that defined
        it; None if nobody is known."""
        if (moved := self._moves.owner_at(device, self._clock_ns())) is not None:
            return moved
        here = {"node": self._node, "paths": list(self._paths), "children": self.children()}
        found = owner_in(here, device)
        if found is None:
            number = self._engine().catalog.devices.id_of(device)
            with self._lock:
                lines = self._origins.lines()
                known = (s.key.name for s in lines if number in s.maps.devices)
                found = None if number is None else next(known, None)
        return found

    def devices_of(self, node: str, at_ns: int | None = None) -> DeviceIds:
        """uint32, ascending: the devices that a node below has defined, by their ids here.
        ``at_ns``: without those whose rows of that time are of another node."""
        with self._lock:
            lines = [s for s in self._origins.lines() if s.key.name == node]
            known = [state.maps.devices.copy() for state in lines]
        found = np.concatenate(known) if known else np.empty(0, np.int64)
        ids = np.unique(found[found >= 0]).astype(np.uint32)
        if at_ns is None or not (moved := self._moves.devices_of(node)):
            return ids
        others = [path for path in moved if self._moves.owner_at(path, at_ns) != node]
        return np.setdiff1d(ids, self._engine().catalog.devices.lookup_all(others))
