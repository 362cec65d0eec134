"""What is proven about received rows: scanning them, and saying so.

1. ``verify`` scans slices whose manifest is there and whose rows may have changed. It holds the
   federation's lock only to choose and to note what it found, never while it scans.
2. ``completeness`` judges this node's own tables, those received, and those that a child holds and
   does not send up, as the child last said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_sync.children import Children
from mainstem_sync.completeness import Window, judge_own, judge_watch, list_slices, not_held
from mainstem_sync.follower import Follower
from mainstem_sync.manifests import scan_slices
from mainstem_sync.origins import OriginState
from mainstem_sync.watch import Candidates, TableWatch

UNSTORED_ORIGIN = 0xFFFF
"""An origin index that no row has: a scan for it finds nothing."""

NS_PER_MS = 1_000_000


class Proof:
    """See the module. ``lateness_ns``: of an own table. Thread-safe."""

    def __init__(
        self,
        node: str,
        follower: Follower,
        children: Children,
        *,
        lateness_ns: Callable[[str], int],
    ) -> None:
        self._node = node
        self._follower = follower
        self._children = children
        self._lateness_ns = lateness_ns
        self._lock = follower.lock

    def verify(self, engine: Engine) -> int:
        """Compare manifests with the stored rows; returns how many slices were scanned."""
        with self._lock:
            watches = [
                (state, table, watch)
                for state in self._follower.origins
                for table, watch in state.watches.items()
            ]
        return sum(self._scan(engine, *item) for item in watches)

    def _scan(self, engine: Engine, state: OriginState, table: str, watch: TableWatch) -> int:
        with self._lock:
            chosen = watch.candidates(state.received)
            mapped = state.local_table(table)
            watch.prune(state.received.watermark)
        if not len(chosen.keys) or mapped is None:
            return 0
        expired = chosen.keys * watch.slice_ns < engine.visible_from_ns(table)
        if expired.any():
            with self._lock:
                watch.expired(chosen.keys[expired])
            kept = ~expired
            chosen = Candidates(chosen.keys[kept], chosen.row_lsn[kept], chosen.man_lsn[kept])
        index = engine.origin_index(state.origin)
        count, d1, d2 = scan_slices(
            engine,
            table,
            UNSTORED_ORIGIN if index is None else index,
            chosen.keys,
            watch.slice_ns,
            mapped.foreign_ids,
        )
        with self._lock:
            watch.judged(chosen, count, d1, d2)
        return len(expired)

    def completeness(
        self, tables: Sequence[str] | None, window: Window, now_ns: int
    ) -> list[dict[str, Any]]:
        """One object per node and table; see completeness.py."""
        wanted = None if tables is None else {table.casefold() for table in tables}

        def chosen(table: str) -> bool:
            return wanted is None or table.casefold() in wanted

        found: list[dict[str, Any]] = []
        with self._lock:
            for table, closed in self._follower.manifests.closed().items():
                if chosen(table):
                    lateness_ns = self._lateness_ns(table)
                    found.append(judge_own(self._node, table, closed, lateness_ns, window, now_ns))
            held = {(self._node, table.casefold()) for table in self._follower.manifests.closed()}
            for state in self._follower.origins:
                for table, watch in state.watches.items():
                    held.add((state.key.name, table.casefold()))
                    if chosen(table):
                        found.append(judge_watch(state.key.name, table, watch, window, now_ns))
        for child, item in self._announced():
            key = (str(item.get("node")), str(item.get("table")).casefold())
            if key not in held:
                held.add(key)
                if chosen(key[1]):
                    found.append(not_held(item, child, now_ns))
        return found

    def _announced(self) -> list[tuple[str, dict[str, Any]]]:
        """(child, object) of everything that the children say of themselves and those below."""
        found = []
        for child, status in self._children.statuses().items():
            announced = status.get("completeness")
            if isinstance(announced, list):
                found += [(child, item) for item in announced if isinstance(item, dict)]
        return found

    def list_unverified(self, window: Window, now_ns: int) -> dict[str, Any]:
        """``{"from","to","judged","verified","slices"}`` over the received slices that are due."""
        judged, bad = 0, 0
        slices: list[dict[str, Any]] = []
        with self._lock:
            for state in self._follower.origins:
                watermark = state.received.watermark
                for table, watch in state.watches.items():
                    due, unproven, listed = list_slices(
                        state.key.name, table, watch, watermark, window, now_ns
                    )
                    judged, bad = judged + due, bad + unproven
                    slices += listed
        start_ns, end_ns = window.start_ns, window.end_ns
        return {
            "from": None if start_ns is None else start_ns // NS_PER_MS,
            "to": (now_ns if end_ns is None else end_ns) // NS_PER_MS,
            "judged": judged,
            "verified": judged - bad,
            "slices": slices,
        }
