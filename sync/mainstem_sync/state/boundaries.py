"""Rows of moved devices that are not of the node that wrote them, found by numbers.

Kept per node as local device ids with the spans of event time that are the node's, and made anew
when a move or a device came. Where nothing was moved it costs nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.devices import Devices
from mainstem_engine.model import NO_DEVICE, BoolMask, TimesNs
from mainstem_sync.state.moves import Moves, Span


class Boundaries:
    """The moved devices of one node. Thread-safe: what is kept is replaced as one."""

    def __init__(self, moves: Moves, node: str, devices: Devices) -> None:
        self._moves = moves
        self._node = node
        self._devices = devices
        self._kept: tuple[tuple[int, int], npt.NDArray[np.int64], list[tuple[Span, ...]]] = (
            (-1, -1), np.empty(0, np.int64), [],
        )  # fmt: skip

    def outside(self, device: npt.NDArray[np.integer], time: TimesNs) -> BoolMask | None:
        """bool[n], True for rows of another node; None if there is none. ``device`` [n]: local ids,
        negative where there is none; ``time`` int64[n] in ns."""
        if not len(device) or not self._moves.devices_of(self._node):
            return None
        ids, spans = self._current()
        if not len(ids):
            return None
        place = np.minimum(np.searchsorted(ids, device), len(ids) - 1)
        moved: BoolMask = ids[place] == device
        if not moved.any():
            return None
        found = moved.copy()
        for at in np.unique(place[moved]).tolist():
            theirs = moved & (place == at)
            for start_ns, end_ns in spans[at]:
                found &= ~(theirs & (time >= start_ns) & (time < end_ns))
        return found if found.any() else None

    def _current(self) -> tuple[npt.NDArray[np.int64], list[tuple[Span, ...]]]:
        seen = (self._moves.revision, len(self._devices))
        if self._kept[0] != seen:
            paths = list(self._moves.devices_of(self._node))
            found = {
                device: self._moves.spans(path, self._node)
                for path, device in zip(
                    paths, self._devices.lookup_all(paths).tolist(), strict=True
                )
                if device != NO_DEVICE
            }
            ids = np.array(sorted(found), np.int64)
            self._kept = seen, ids, [found[device] for device in ids.tolist()]
        return self._kept[1], self._kept[2]
