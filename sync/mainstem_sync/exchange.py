"""The exchange of slices: what this node asks of its children, and answers to its parent.

One object per node, made with its follower and connected to the engine and the sender, so that the
federation has one thing to drive. ``look`` about once a second asks for what has to be repaired.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from mainstem_engine.engine import Engine
from mainstem_sync.follower import Follower
from mainstem_sync.forward import Forward
from mainstem_sync.imagery import Imagery
from mainstem_sync.origins import OriginState
from mainstem_sync.proof import DamagedSlice
from mainstem_sync.protocol import OriginKey
from mainstem_sync.ranges import RangeSet
from mainstem_sync.repair import Repair
from mainstem_sync.sender import Sender
from mainstem_sync.wants import Want, Wanted
from mainstem_sync.wire import Frame, FrameType


class SliceExchange:
    """See the module. Thread-safe."""

    def __init__(self, follower: Follower, monotonic: Callable[[], float]) -> None:
        self._follower = follower
        self._monotonic = monotonic
        self._lock: threading.RLock = follower.lock
        self.repair = Repair(follower.origins, follower.lock, monotonic)
        self.images: Imagery | None = None
        """None without a parent, and before bind()."""

    def bind(self, engine: Engine, sender: Sender, forward: Forward) -> None:
        """Answer the parent from this engine."""
        self.images = Imagery(
            engine,
            forward.classifier,
            own=lambda: sender.own,
            state_of=self._state_of,
            lock=self._lock,
            lose=self._lose,
            monotonic=self._monotonic,
        )
        sender.images = self.images
        sender.on_frame[FrameType.WANT] = self._wanted

    def look(self, damaged: Iterable[DamagedSlice]) -> int:
        """Ask the children for what differs; returns how many slices are newly asked for."""
        return self.repair.look(damaged)

    def _wanted(self, frame: Frame) -> None:
        wanted = Wanted.from_frame(frame)
        if self.images is not None:
            self.images.wanted(wanted)

    def _state_of(self, key: OriginKey) -> OriginState | None:
        with self._lock:
            return self._follower.origins.get(key)

    def _lose(self, want: Want, slices: RangeSet, why: str) -> None:
        del want, slices, why
