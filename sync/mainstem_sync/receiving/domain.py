"""What a child may bring beyond what lies below its paths, because of devices that were moved.

1. A device that was moved may be defined by every node that has or had it, whatever its paths.
2. Of such a device a node's rows count in its spans of event time; others are put aside.
3. A move is believed if the device lies below the child's paths, so that a node may give away what
   is its own, or if it is known here already. A record with another move goes no further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mainstem_engine.catalog.devices import Devices
from mainstem_engine.catalog.names import is_below
from mainstem_sync.origins.origin_state import OriginMaps, Origins
from mainstem_sync.origins.received import MappedPoints
from mainstem_sync.state.boundaries import Boundaries
from mainstem_sync.state.moves import Move, Moves


@dataclass(frozen=True, slots=True)
class Domain:
    """What one child may bring of one origin. ``paths``: None for everything. ``nodes``: whose
    devices the origin may define. ``moves`` None: nothing was ever moved."""

    paths: Sequence[str] | None = None
    moves: Moves | None = None
    nodes: frozenset[str] = frozenset()
    boundaries: Boundaries | None = None

    def holds(self, device: str) -> bool:
        """True if the child may write to a device."""
        if self.paths is None or any(is_below(device, path) for path in self.paths):
            return True
        return self.moves is not None and not self.nodes.isdisjoint(self.moves.owners(device))

    def believes(self, moves: Sequence[Move]) -> bool:
        """True if the child may state all of ``moves``."""
        return all(
            self.paths is None
            or any(is_below(move.device, path) for path in self.paths)
            or (self.moves is not None and self.moves.knows(move))
            for move in moves
        )

    def within(self, mapped: MappedPoints, maps: OriginMaps) -> MappedPoints:
        """The same rows, with those of other nodes among the denied ones."""
        if self.boundaries is None:
            return mapped
        rows = mapped.points.rows
        local = maps.local_devices(rows.device)
        outside = self.boundaries.outside(local, rows.time)
        if outside is None:
            return mapped
        if mapped.denied is not None:
            outside = outside | mapped.denied
        if mapped.refused:
            return replace(mapped, denied=outside)  # nothing of it is stored
        kept = ~outside if mapped.denied is None else ~outside[~mapped.denied]
        return replace(mapped, rows=mapped.rows.take(np.flatnonzero(kept)), denied=outside)


class Domains:
    """The domains of a node's children. Thread-safe."""

    def __init__(self, moves: Moves, origins: Origins, devices: Callable[[], Devices]) -> None:
        self.moves = moves
        self._origins = origins
        self._devices = devices
        self._boundaries: dict[str, Boundaries] = {}

    def of(self, child: str, paths: Sequence[str] | None, origin: str) -> Domain:
        """What ``child`` may bring of the node ``origin``, as of now."""
        if not len(self.moves):
            return Domain(paths)
        boundaries = self._boundaries.get(origin)
        if boundaries is None:
            boundaries = Boundaries(self.moves, origin, self._devices())
            self._boundaries[origin] = boundaries
        nodes = {origin}
        if origin == child:  # a relay computes rollups of the devices behind it
            nodes.update(state.key.name for state in self._origins.behind(child))
        return Domain(paths, self.moves, frozenset(nodes), boundaries)
