"""What is proven about received rows: scanning them, and saying so.

1. ``verify`` scans slices whose manifest is there and whose rows may have changed. It holds the
   federation's lock only to choose and to note what it found, never while it scans. It looks at
   what is due only (origins/due.py): a round costs as much as has changed.
2. What is scanned is what a query would read of the owner's devices, whoever is said to have
   written it: a row under a wrong origin is a difference like any other.
3. ``rescan`` looks again at what was proven before; ``audit`` does so by itself, a little a day.
4. ``completeness`` judges this node's own tables, those received, and those that a child holds and
   does not send up, as the child last said.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_sync.origins.origin_state import OriginMaps, OriginState, TableMap
from mainstem_sync.proof.audits import Audits
from mainstem_sync.proof.completeness import (
    Ending,
    Window,
    judge_own,
    judge_watch,
    judged_slices,
    list_slices,
    not_held,
)
from mainstem_sync.proof.fork_losses import list_lost
from mainstem_sync.proof.rescan import compare, expect
from mainstem_sync.slices.slice_scan import SliceScan
from mainstem_sync.slices.unreadable import Unreadable
from mainstem_sync.slices.watch import PROVEN_SLICES_KEPT, Candidates, TableWatch
from mainstem_sync.state.children import Children
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.line_following import DOUBT
from mainstem_sync.wire.messages import OriginKey

logger = logging.getLogger(__name__)

UNSTORED_ORIGIN = 0xFFFF
"""An origin index that no row has: a scan for it finds nothing."""

NS_PER_MS = 1_000_000

RESCAN_SLICES = 1_440
"""Slices of one step of a rescan: a day of minutes, and seconds of work at the most."""

AUDIT_EVERY_NS = 5_000_000_000
"""A parent of a thousand nodes has thousands of tables to choose from: not every second."""

DOUBT_TIMEOUT_S = 10.0
"""A log that cannot commit for this long has failed, or is about to say so."""

DAMAGED_MAX = 1_000
"""Damaged stretches that are handed out at a time: more are asked for when these are whole."""


@dataclass(frozen=True, slots=True)
class DamagedSlice:
    """A stretch [start, end) of event time in which stored rows differ from their owner's
    statement. ``table``: as it is called here; ``max_lsn``: the statement is about records up to
    it. ``summed``: an hour or a day, of which the owner has to state the slices anew first."""

    origin: OriginKey
    via: str
    table: str
    owner_table: str
    start_ns: int
    end_ns: int
    max_lsn: int = 0
    summed: bool = False


@dataclass(frozen=True, slots=True)
class _Watched:
    state: OriginState
    table: str
    watch: TableWatch


class Proof:
    """See the module. ``lateness_ns``: of an own table; ``retired``: from when on a node sends
    nothing any more, None for one that does. Thread-safe."""

    def __init__(
        self,
        node: str,
        follower: Follower,
        children: Children,
        *,
        lateness_ns: Callable[[str], int],
        rng: random.Random,
        retired: Callable[[str], int | None] = lambda node: None,
    ) -> None:
        self._node = node
        self._follower = follower
        self._children = children
        self._lateness_ns = lateness_ns
        self._retired = retired
        self._lock = follower.lock
        self._audits = Audits(rng)
        self.unreadable = Unreadable()
        self._audited_ns = 0

    # Scanning

    def verify(self, engine: Engine) -> int:
        """Compare manifests with the stored rows; returns how many slices were scanned."""
        return sum(self._scan(engine, each) for each in self._due())

    def rescan(self, engine: Engine, window: Window, now_ns: int, seconds: float) -> bool:
        """Compare again what was proven, the newest first, for about so many seconds of processor
        time; returns True when all of the window was looked at."""
        started = time.thread_time()
        steps = []
        for each in self._watched():
            with self._lock:
                for first, end in _steps(each, window, now_ns):
                    each.watch.doubt(first, end)
                    steps.append((first, end, each))
        self.verify(engine)
        steps.sort(key=lambda step: -step[1] * step[2].watch.slice_ns)
        for first, end, each in steps:
            if time.thread_time() - started > seconds:
                return False
            self._rescan(engine, each, first, end)
        return True

    def audit(self, engine: Engine, now_ns: int) -> int:
        """One step of looking again at old slices, if one is due; returns the slices compared."""
        if abs(now_ns - self._audited_ns) < AUDIT_EVERY_NS:
            return 0
        self._audited_ns = now_ns
        with self._lock:
            chosen = self._audits.next(
                [
                    (f"{each.state.key.uuid}/{each.table}", each.watch, each)
                    for each in self._watched()
                ],
                now_ns,
            )
        if chosen is None:
            return 0
        each, first, end = chosen
        self._rescan(engine, each, first, end)
        return end - first

    def _watched(self) -> list[_Watched]:
        with self._lock:
            return [
                _Watched(state, table, watch)
                for state in self._follower.origins
                for table, watch in state.watches.items()
            ]

    def _due(self) -> list[_Watched]:
        """What something happened to, or is open of: of what is quiet there is nothing to do."""
        with self._lock:
            return [_Watched(*found) for found in self._follower.origins.due_watches()]

    def _rescan(self, engine: Engine, each: _Watched, first: int, end: int) -> None:
        watch, size = each.watch, each.watch.slice_ns
        with self._lock:
            expected = expect(watch, first, end)
            maps = self._maps(each.state)
        mapped = maps.stored_as(each.table)
        if mapped is None:
            return
        # What has begun to expire cannot be compared any more.
        start_ns = max(expected.first * size, -(-engine.visible_from_ns(each.table) // size) * size)
        if start_ns > expected.first * size:
            with self._lock:
                expected = expect(watch, start_ns // size, expected.end)
            if expected.first * size < start_ns:
                return
        scan = self._scan_of(engine, each, maps, mapped)
        found, _ = scan.between(expected.first, expected.end)
        with self._lock:
            differing = compare(
                watch, expected, found.start // size, found.count, found.d1, found.d2
            )
        if differing:
            # What was proven once is proven again after a crash, unless the log says otherwise.
            spans = [[first * size, end * size] for first, end in differing]
            header = {"op": DOUBT, "t": each.table, "spans": spans}
            engine.append(RecordKind.EVT, header).wait(DOUBT_TIMEOUT_S)
            logger.error(
                "%s: %d slices of %s of %s are not what was proven", self._node, len(differing),
                each.table, each.state.key.name,
            )  # fmt: skip

    def _scan(self, engine: Engine, each: _Watched) -> int:
        state, table, watch = each.state, each.table, each.watch
        with self._lock:
            chosen = watch.candidates(state.received)
            maps = self._maps(state)
            mapped = maps.stored_as(table)
            watch.prune(state.received.watermark)
            # Of what has holes more may be summed up when they are filled, and nobody says so.
            is_pruned = len(state.received) <= 1 or len(watch.slices) <= PROVEN_SLICES_KEPT
            if is_pruned and not len(chosen.keys) and watch.rest():
                self._follower.origins.due.quiet(state.key, table)
        if not len(chosen.keys) or mapped is None:
            return 0
        expired = chosen.keys * watch.slice_ns < engine.visible_from_ns(table)
        if expired.any():
            with self._lock:
                watch.expired(chosen.keys[expired])
            kept = ~expired
            chosen = Candidates(chosen.keys[kept], chosen.row_lsn[kept], chosen.man_lsn[kept])
        count, d1, d2, _ = self._scan_of(engine, each, maps, mapped).of(chosen.keys)
        with self._lock:
            watch.judged(chosen, count, d1, d2)
        return len(expired)

    def _maps(self, state: OriginState) -> OriginMaps:
        """How the rows of a node's line are mapped. The caller holds the lock."""
        if not state.older:
            return state.maps
        return state.line_maps(self._follower.lines.table(state.key.uuid))

    def _scan_of(
        self, engine: Engine, each: _Watched, maps: OriginMaps, mapped: TableMap
    ) -> SliceScan:
        """How to scan for what a node owns of a table."""
        state, table, size = each.state, each.table, each.watch.slice_ns
        known = engine.catalog.table(table)
        if known.replaces_rows and table in self._follower.manifests.closed():
            # Computed here too, for devices of a child: the child's rows are told by their origin.
            index = engine.origin_index(state.origin)
            origin = UNSTORED_ORIGIN if index is None else index
            return SliceScan(
                engine, table, size, origin, mapped.foreign_ids, unreadable=self.unreadable
            )
        with self._lock:
            local = maps.devices[maps.devices >= 0]
            # The devices of a node that was replaced are those of its successor: there only the
            # origin tells whose row is whose.
            epochs = (*state.older, state) if self._follower.origins.has_namesakes(state) else ()
        mine = np.intersect1d(engine.catalog.devices.of_family(known.family), local)
        devices = mine.astype(np.uint32)
        origins: tuple[int, ...] | None = None
        if epochs:
            found = (engine.origin_index(each.origin) for each in epochs)
            origins = tuple(index for index in found if index is not None)
        elif others := self._follower.moves.sharing(state.key.name):
            # Rows of another owner of a device that was moved count for that one.
            names = [self._node, *(origin.node for origin in engine.origins[1:])]
            origins = tuple(index for index, name in enumerate(names) if name not in others)
        return SliceScan(
            engine, table, size, origins, mapped.foreign_ids, devices, unreadable=self.unreadable
        )

    # Saying so

    def damaged_slices(self) -> list[DamagedSlice]:
        """What has to be repaired: everything of it has arrived, and it is not equal."""
        found: list[DamagedSlice] = []
        for each in self._due():
            state, watch, size = each.state, each.watch, each.watch.slice_ns
            with self._lock:
                mapped = self._maps(state).stored_as(each.table)
                if mapped is None or watch.dropped_lsn or self._is_silent(state):
                    continue
                where = (state.key, state.via, each.table, mapped.name)
                for key in watch.differing(state.received.watermark, state.gone.lsns).tolist():
                    max_lsn = int(watch.slices["max_lsn"][watch.slices.range(key, key + 1)][0])
                    found.append(DamagedSlice(*where, key * size, (key + 1) * size, max_lsn))
                found += [
                    DamagedSlice(*where, a * size, b * size, summed=True)
                    for a, b in watch.flawed_sums()
                ]
            if len(found) >= DAMAGED_MAX:
                break
        return found[:DAMAGED_MAX]

    def _is_silent(self, state: OriginState) -> bool:
        """True if nobody is left who could be asked: the node was a child, and was replaced."""
        if state.key.name != state.via:
            return False
        return self._follower.origins.successor(state) is not None

    def completeness(
        self, tables: Sequence[str] | None, window: Window, now_ns: int
    ) -> list[dict[str, Any]]:
        """One object per node and table; see completeness.py."""
        wanted = None if tables is None else {table.casefold() for table in tables}

        def chosen(table: str) -> bool:
            return wanted is None or table.casefold() in wanted

        found: list[dict[str, Any]] = []
        with self._lock:
            own = self._follower.manifests.closed()
            for table, closed in own.items():
                if chosen(table):
                    lateness_ns = self._lateness_ns(table)
                    found.append(judge_own(self._node, table, closed, lateness_ns, window, now_ns))
            held = {(self._node, table.casefold()) for table in own}
            for each in self._watched():
                node = each.state.key.name
                held.add((node, each.table.casefold()))
                if chosen(each.table):
                    ending = self._ending(each)
                    found.append(judge_watch(node, each.table, each.watch, window, now_ns, ending))
        for child, item in self._announced():
            key = (str(item.get("node")), str(item.get("table")).casefold())
            if key not in held:
                held.add(key)
                if chosen(key[1]):
                    found.append(not_held(item, child, now_ns))
        return found

    def _ending(self, each: _Watched) -> Ending | None:
        """When a node's table ended, if it did. The caller holds the lock."""
        successor = self._follower.origins.successor(each.state)
        if successor is not None:
            after = successor.watches.get(each.table)
            first = None if after is None or not after.closed else next(iter(after.closed))[0]
            if first is not None:
                first = max(first, each.watch.last_touched + 1)
            return Ending(each.watch.closed.last + 1, final=True, until=first)
        if each.watch.dropped_lsn:
            first = each.watch.closed.last + 1
            return Ending(first, final=True, until=first)
        retired_ns = self._retired(each.state.key.name)
        return None if retired_ns is None else Ending(retired_ns // each.watch.slice_ns)

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
            for each in self._watched():
                state = each.state
                due, unproven, listed = list_slices(
                    state.key.name, each.table, each.watch, state.received.watermark, window,
                    now_ns, self._ending(each),
                )  # fmt: skip
                judged, bad = judged + due, bad + unproven
                slices += listed
            slices += list_lost(self._follower.lines, self._follower.origins, window, now_ns)
        start_ns, end_ns = window.start_ns, window.end_ns
        return {
            "from": None if start_ns is None else start_ns // NS_PER_MS,
            "to": (now_ns if end_ns is None else end_ns) // NS_PER_MS,
            "judged": judged,
            "verified": judged - bad,
            "slices": slices,
        }


def _steps(each: _Watched, window: Window, now_ns: int) -> list[tuple[int, int]]:
    """[first, end) pieces of what is closed in the window; the caller holds the lock."""
    watch = each.watch
    if not watch.closed:
        return []
    low, high = judged_slices(watch, window, now_ns)
    pieces = []
    for first, last in watch.closed.within(low, high - 1):
        pieces += [
            (at, min(at + RESCAN_SLICES, last + 1)) for at in range(first, last + 1, RESCAN_SLICES)
        ]
    return pieces
