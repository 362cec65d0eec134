"""Which rows retention may not remove yet: those that a tier above has not proven.

1. A hold is about exported tables only. ``durable@parent``: the log's own hold is enough.
   ``verified@parent``: the parent says that the slices are proven. ``verified@group``: the topmost
   tier does.
2. Rows of every origin of the table are asked for: this node's, and those it hands on.
3. A slice is proven for sure only if the teller had every record that touched it: what is not
   known is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mainstem_sync.errors import ExportError
from mainstem_sync.origins.origin_state import Origins
from mainstem_sync.proof.proven import Heard, Proven
from mainstem_sync.slices.manifests import Manifests
from mainstem_sync.state.exports import ExportPolicy
from mainstem_sync.wire.messages import OriginKey

DURABLE = "durable@parent"
VERIFIED = "verified@parent"
VERIFIED_TOP = "verified@group"
LEVELS = (DURABLE, VERIFIED, VERIFIED_TOP)


class Holding:
    """See the module. ``lock``: the federation's. ``own``: this node's stream, None before bind;
    ``parent``: name of the parent, None before its first answer."""

    def __init__(
        self,
        level: str,
        policy: ExportPolicy,
        manifests: Manifests,
        origins: Origins,
        heard: Heard,
        lock: threading.RLock,
        *,
        own: Callable[[], OriginKey | None],
        parent: Callable[[], str | None],
    ) -> None:
        if level not in LEVELS:
            raise ExportError(f"hold {level!r} is unknown", hint=f"use one of {', '.join(LEVELS)}")
        self.level = level
        self._policy = policy
        self._manifests = manifests
        self._origins = origins
        self._heard = heard
        self._lock = lock
        self._own = own
        self._parent = parent

    def holds(self, table: str, start_ns: int, end_ns: int) -> bool:
        """True while rows of [start, end) are still needed here; an engine's PartHold."""
        if self.level == DURABLE or not self._policy.sends(table):
            return False
        with self._lock:
            return self._own_held(table, start_ns, end_ns) or any(
                self._relayed_held(state.key, table, start_ns, end_ns) for state in self._origins
            )

    def _own_held(self, table: str, start_ns: int, end_ns: int) -> bool:
        touched = self._manifests.newest_touch(table, start_ns, end_ns)
        if touched is None:
            return False
        own = self._own()
        return own is None or not self._proven(own, table, start_ns, end_ns, touched)

    def _relayed_held(self, key: OriginKey, table: str, start_ns: int, end_ns: int) -> bool:
        state = self._origins.get(key)
        watch = None if state is None else state.watches.get(table)
        if state is None or watch is None:
            return False
        mapped = state.local_table(table)
        touched = watch.newest_touch(start_ns // watch.slice_ns, -(-end_ns // watch.slice_ns))
        name = table if mapped is None else mapped.name
        return touched is not None and not self._proven(key, name, start_ns, end_ns, touched)

    def _proven(
        self, origin: OriginKey, table: str, start_ns: int, end_ns: int, touched: int
    ) -> bool:
        wanted = table.casefold()
        for said in self._heard.of(origin):
            if not self._counts(said) or touched > said.through:
                continue
            for proven in said.tables:
                first, last = start_ns // proven.slice_ns, -(-end_ns // proven.slice_ns) - 1
                if proven.name.casefold() == wanted and proven.slices.covers(first, last):
                    return True
        return False

    def _counts(self, said: Proven) -> bool:
        return said.top if self.level == VERIFIED_TOP else said.teller == self._parent()
