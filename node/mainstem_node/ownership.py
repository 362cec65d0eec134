"""Which node owns a device: the one with the longest path above it.

A device that lies under nobody's paths belongs to the node where it is written, and stays there.
"""

from __future__ import annotations

from collections.abc import Iterable

from mainstem_engine.catalog.names import is_below
from mainstem_node.errors import ForbiddenError

NOT_OWNER = "NOT_OWNER"


class Ownership:
    """What one node knows about paths: its own, and those of the other nodes it has heard of."""

    def __init__(self, node_id: str, paths: Iterable[str]) -> None:
        self.node_id = node_id
        self._paths = tuple(paths)
        self._owners = dict.fromkeys(self._paths, node_id)

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

    def owner(self, device: str) -> str | None:
        """The owner of a device, or None when nobody claims a path above it."""
        best, found = -1, None
        for path, node_id in self._owners.items():
            if len(path) > best and is_below(device, path):
                best, found = len(path), node_id
        return found

    def require_own(self, devices: Iterable[str]) -> None:
        """Raises ForbiddenError (NOT_OWNER), naming the owner, for a device of another node."""
        for device in devices:
            owner = self.owner(device)
            if owner is not None and owner != self.node_id:
                raise ForbiddenError(
                    f"{device} belongs to node {owner}",
                    code=NOT_OWNER,
                    field="device",
                    hint=f"write it there; {self.node_id} receives it from {owner}",
                )
