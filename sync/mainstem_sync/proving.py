"""What tiers prove to one another: told to children, heard from the parent, asked by retention."""

from __future__ import annotations

from collections.abc import Callable

from mainstem_sync.proof.holding import Holding
from mainstem_sync.proof.proven import Heard, Proven, Teller
from mainstem_sync.sending.sender import Sender
from mainstem_sync.state.children import Children
from mainstem_sync.state.follower import Follower
from mainstem_sync.wire.frames import Frame


class Proving:
    """Both sides of PROVEN frames at one node. ``sender``: None without a parent, and before the
    node is bound. ``hold``: a level of holding.py. Thread-safe."""

    def __init__(
        self,
        node: str,
        follower: Follower,
        children: Children,
        *,
        has_parent: bool,
        hold: str,
        sender: Callable[[], Sender | None],
        monotonic: Callable[[], float],
    ) -> None:
        self._follower = follower
        self._lock = follower.lock
        self._sender = sender
        self.heard = Heard()
        self._teller = Teller(
            node,
            follower.origins,
            top=not has_parent,
            heard=self.heard.of,
            lease=children.lease_of,
            monotonic=monotonic,
        )
        self.holding = Holding(
            hold,
            follower.policy,
            follower.manifests,
            follower.origins,
            self.heard,
            self._lock,
            own=lambda: None if (found := sender()) is None else found.own,
            parent=lambda: None if (found := sender()) is None else found.parent,
        )

    def tell(self, child: str) -> bytes:
        """Frames for a reply to a child."""
        with self._lock:
            return self._teller.frames(child)

    def told(self, frame: Frame) -> None:
        """A PROVEN frame of the parent, about this node's rows or about those it handed on."""
        said = Proven.from_frame(frame)
        sender = self._sender()
        with self._lock:
            self.heard.hear(said)
            if sender is None or said.origin != sender.own:
                return
            for asked in said.restate:
                if asked.slice_ns == self._follower.slice_ns(asked.table):
                    self._follower.manifests.restate(asked.table, asked.first, asked.end)
