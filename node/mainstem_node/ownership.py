"""Which node owns a device: the one with the longest path above it, until it is moved.

1. A device that lies under nobody's paths belongs to the node where it is written, and stays there.
2. Of a device that was moved each row is of the owner of its event time. Every node that has or had
   it may write it; what is of another one's time is put aside. What is said of the device itself
   (its tags, that it is dropped) is said by the last owner.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mainstem_engine.catalog.devices import Devices
from mainstem_engine.catalog.names import is_below
from mainstem_engine.model import NO_DEVICE, BoolMask, DeviceIds, TimesNs
from mainstem_node.errors import ForbiddenError
from mainstem_sync.state.boundaries import Boundaries
from mainstem_sync.state.moves import Moves

NOT_OWNER = "NOT_OWNER"


class Ownership:
    """What one node knows about paths: its own, and those of the other nodes it has heard of; and
    about moves, once it follows them."""

    def __init__(self, node_id: str, paths: Iterable[str]) -> None:
        self.node_id = node_id
        self._paths = tuple(paths)
        self._owners = dict.fromkeys(self._paths, node_id)
        self._moves = Moves()
        self._boundaries: Boundaries | None = None

    def begin_anew(self, others: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Forgets what was learned of other nodes, and learns this."""
        owners = dict.fromkeys(self._paths, self.node_id)
        for node_id, paths in others:
            for path in paths:
                owners.setdefault(path, node_id)
        self._owners = owners

    def learn(self, node_id: str, paths: Iterable[str]) -> None:
        """Another node owns ``paths``; one's own claim to the same path stands."""
        for path in paths:
            self._owners.setdefault(path, node_id)

    def follow(self, moves: Moves, devices: Devices) -> None:
        """From now on devices may move. ``devices``: of this node's catalog."""
        self._moves = moves
        self._boundaries = Boundaries(moves, self.node_id, devices)

    def owner(self, device: str) -> str | None:
        """The last owner of a device, or None when nobody claims a path above it."""
        if moved := self._moves.owners(device):
            return moved[-1]
        best, found = -1, None
        for path, node_id in self._owners.items():
            if len(path) > best and is_below(device, path):
                best, found = len(path), node_id
        return found

    def writer(self, device: str) -> str | None:
        """As ``owner``; this node, if it has or had the device."""
        if self.node_id in self._moves.owners(device):
            return self.node_id
        return self.owner(device)

    def require_own(self, devices: Iterable[str]) -> None:
        """Raises ForbiddenError (NOT_OWNER), naming the owner, for a device of another node."""
        for device in devices:
            self._require(device, self.owner(device))

    def require_writer(self, devices: Iterable[str]) -> None:
        """The same, but for devices that were this node's at other times."""
        for device in devices:
            self._require(device, self.writer(device))

    def outside(self, devices: DeviceIds, time_ns: TimesNs) -> BoolMask | None:
        """bool[n], True for rows that are of another node at their time; None if none is.
        ``devices`` uint32[n], this node's ids; ``time_ns`` int64[n]."""
        return None if self._boundaries is None else self._boundaries.outside(devices, time_ns)

    def require_inside(self, devices: Devices, ids: DeviceIds, time_ns: TimesNs) -> None:
        """Raises ForbiddenError (NOT_OWNER) for a row that is of another node at its time."""
        outside = self.outside(ids, time_ns)
        if outside is None:
            return
        at = int(np.argmax(outside))
        device, moment = devices.path(int(ids[at])), int(time_ns[at])
        owner = self._moves.owner_at(device, moment)
        raise ForbiddenError(
            f"{device} belongs to node {owner} at {moment // 1_000_000} (ms)",
            code=NOT_OWNER,
            field="time",
            hint=f"write it there; {self.node_id} has or had the device at other times",
        )

    def elsewhere(self, devices: Devices, at_ns: int) -> DeviceIds:
        """uint32: devices that this node has at some times, and not at this one."""
        moved = [
            device
            for device in self._moves.devices_of(self.node_id)
            if self._moves.owner_at(device, at_ns) != self.node_id
        ]
        ids = devices.lookup_all(moved)
        found: DeviceIds = ids[ids != NO_DEVICE]
        return found

    def _require(self, device: str, owner: str | None) -> None:
        if owner is not None and owner != self.node_id:
            raise ForbiddenError(
                f"{device} belongs to node {owner}",
                code=NOT_OWNER,
                field="device",
                hint=f"write it there; {self.node_id} receives it from {owner}",
            )
