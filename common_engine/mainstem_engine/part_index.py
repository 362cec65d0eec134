"""The parts of one table, and which of them may hold rows of some devices and times.

The ranges of all parts lie side by side in arrays, made when they are first asked for: a question
looks at hundreds of parts in a few array operations, whatever it finds. Immutable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import DeviceIds
from mainstem_engine.part.manifest import PartMeta

FEW_PARTS = 4
"""So few are all handed out: looking at each costs no more than looking them up."""

AnyPart = TypeVar("AnyPart")


class PartIndex(tuple[AnyPart, ...], Generic[AnyPart]):
    """Parts, oldest first. Each has a ``meta``."""

    def near(self, devices: DeviceIds | None, start_ns: int, end_ns: int) -> Sequence[AnyPart]:
        """Those that may hold rows of ``devices`` (ascending, None: all) in [start, end), in their
        order; every part that does is among them."""
        if len(self) <= FEW_PARTS or (devices is not None and not len(devices)):
            return self
        device_min, device_max, time_min, time_max, vnode, vnodes = self._ranges
        near = (time_max >= start_ns) & (time_min < end_ns)
        if devices is not None:
            near &= (device_max >= int(devices[0])) & (device_min <= int(devices[-1]))
            if len(devices) == 1:
                near &= (vnodes == 1) | (int(devices[0]) % vnodes == vnode)
        return [self[number] for number in near.nonzero()[0].tolist()]

    @cached_property
    def _ranges(self) -> npt.NDArray[np.int64]:
        """int64[6, n]: least and greatest device and time, vnode and number of vnodes of each."""
        metas: Iterable[PartMeta] = (part.meta for part in self)  # type: ignore[attr-defined]
        ranges = [
            (m.device_min, m.device_max, m.time_min_ns, m.time_max_ns, m.vnode, m.vnodes)
            for m in metas
        ]
        return np.array(ranges, np.int64).reshape(-1, 6).T.copy()

    @cached_property
    def by_end(self) -> Sequence[AnyPart]:
        """In the order of their newest rows, latest first."""
        order = np.argsort(-self._ranges[3], kind="stable")
        return tuple(self[number] for number in order.tolist())


def near_parts(
    parts: Sequence[AnyPart], devices: DeviceIds | None, start_ns: int, end_ns: int
) -> Sequence[AnyPart]:
    """As PartIndex.near, of any parts: all of them where nobody made an index."""
    return parts.near(devices, start_ns, end_ns) if isinstance(parts, PartIndex) else parts


def newest_first(parts: Sequence[AnyPart]) -> Sequence[AnyPart]:
    """Parts in the order of their newest rows, latest first."""
    return (parts if isinstance(parts, PartIndex) else PartIndex(parts)).by_end
