"""Export rules that let more go up than before: history of the tables that are new to the parent.

1. The rules in force are in the log, as an EXP record. When a node starts with others, what they
   let go up besides is owed as slices: of this node's rows, and of those that it hands on.
2. Rows that were counted as not exported are pending from then on. Of a table that went up in part,
   and goes up in a larger part now, those that are stored of it are.
3. Narrower rules owe nothing; what went up stays where it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.model import SELF_ORIGIN
from mainstem_sync.slices.owed import Owed, OwedTable
from mainstem_sync.state.exports import is_below
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.forward import Forward
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

_EVER_NS = 1 << 62
"""Beyond every time that a row can have: a scan of everything."""


class Widening:
    """See the module. ``old``: the rules before, as ExportPolicy.fingerprint says them."""

    def __init__(
        self, engine: Engine, follower: Follower, forward: Forward, old: Sequence[Sequence[str]]
    ) -> None:
        self._engine = engine
        self._follower = follower
        self._forward = forward
        self._policy = forward.classifier.policy
        self._old: dict[str, list[str]] = {}
        for table, under in old:
            self._old.setdefault(table, []).append(under)

    def owed(self) -> list[Owed]:
        """What is owed now, the record of this node's own rows first; it is there in any case, for
        it says the rules. Reads versions and times of every row of the tables."""
        own = Owed(None, RangeSet(), self._engine.log.appended_lsn)
        own.policy = self._policy.fingerprint
        counted: set[str] = set()
        for name, closed in self._follower.manifests.closed().items():
            size = self._follower.slice_ns(name)
            if not self._is_wider(name):
                continue
            slices = self._stored(name, SELF_ORIGIN, size)
            own.tables.append(OwedTable(name, size, slices))
            self._count(own, name, counted)
            if closed is not None and closed.from_ns < closed.through_ns:
                run = (closed.from_ns // size, closed.through_ns // size - 1)
                own.said.append(OwedTable(name, size, RangeSet([run])))
        found = [own]
        for state in self._follower.origins:
            index = self._engine.origin_index(state.origin)
            theirs = Owed(state.key, RangeSet(), 0, policy=own.policy)
            for mapped in list(state.maps.tables.values()):
                if index is not None and self._is_wider(mapped.name):
                    slices = self._stored(mapped.local, index, mapped.slice_ns)
                    watch = state.watches.get(mapped.local)
                    if watch is not None:
                        slices.update(watch.closed)
                    theirs.tables.append(OwedTable(mapped.name, mapped.slice_ns, slices))
                    self._count(theirs, mapped.local, counted)
            if theirs.tables:
                found.append(theirs)
        return found

    def _is_wider(self, table: str) -> bool:
        if not self._policy.sends(table):
            return False
        old = self._old.get(table.casefold(), [])
        if "" in old:
            return False
        now = self._policy.prefixes(table)
        return now is None or not all(is_below(prefix, old) for prefix in now)

    def _stored(self, table: str, origin: int, slice_ns: int) -> RangeSet:
        keys = self._engine.stored_slices(table, origin, slice_ns, 1, LSN_MAX)
        return RangeSet((key, key) for key in keys.tolist())

    def _count(self, owed: Owed, table: str, counted: set[str]) -> None:
        """Rows of a local table that are pending by this record, once for all origins."""
        if table in counted or table not in self._forward.tables:
            return
        counted.add(table)
        rows = self._forward.tables[table].not_exported
        if self._policy.prefixes(table) is not None or table.casefold() in self._old:
            rows = min(rows, self._stored_rows(table))
        owed.rows[table] = rows

    def _stored_rows(self, table: str) -> int:
        """Rows that are stored of the devices that go up now and did not before."""
        devices = self._engine.catalog.devices
        ids = devices.of_family(self._engine.catalog.table(table).family)
        mask = self._forward.classifier.scope.mask(table, ids.astype(np.int64))
        chosen = ids if mask is None else ids[mask]
        old = self._old.get(table.casefold(), [])
        if old:
            before = [is_below(path, old) for path in devices.paths(chosen)]
            chosen = chosen[~np.array(before, np.bool_)]
        if not len(chosen):
            return 0
        found = self._engine.slice_digests(
            table, None, -_EVER_NS, _EVER_NS, 86_400 * 10**9, {}, chosen
        )
        return int(found.count.sum())
