"""What cannot be read here any more: said, given up, and had again from its owner.

1. A scan that meets a damaged block names the slices that it takes with it (slice_scan.py).
2. The parts that hold them are looked through. An alarm in the log says which time is damaged; once
   it is applied, live or at replay, nothing of that time is proven any more.
3. When that is durable, what cannot be read is given up, of parts without rows of this node. The
   next scan finds rows missing, and they are asked for like any that differ.
4. A part with rows of this node is left alone: nobody could give them back, and without them this
   node would state less than it had. Nothing is stated of such slices; the alarm is said once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from mainstem_engine.engine import Engine
from mainstem_engine.errors import EngineError
from mainstem_engine.log.records import RecordKind
from mainstem_engine.set_aside import DamagedPart
from mainstem_sync.slices.unreadable import Unreadable
from mainstem_sync.state.line_following import ALARM, DAMAGED

logger = logging.getLogger(__name__)

WAIT_S = 10.0
"""For the alarm to be on disk; later the same is found again."""

NS_PER_MS = 1_000_000


class Healing:
    """One caller at a time."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._told: set[str] = set()

    def look(self, engine: Engine, found: Iterable[Unreadable], at_ms: int) -> int:
        """See to what scans could not read; returns how many rows were given up."""
        return sum(
            self._table(engine, table, *stretch, at_ms)
            for unreadable in found
            for table, stretch in unreadable.take().items()
        )

    def _table(self, engine: Engine, table: str, start_ns: int, end_ns: int, at_ms: int) -> int:
        damaged = engine.damaged_parts(table, start_ns, end_ns)
        names = []
        for part in damaged:
            if not part.own:
                names.append(part.name)
            elif part.name in self._told:
                continue
            self._told.add(part.name)
            engine.append(RecordKind.EVT, self._alarm(part, at_ms)).wait(WAIT_S)
        if not names:
            return 0
        try:
            return engine.set_aside(table, names)
        except (OSError, EngineError) as error:
            # A full disk, or one that fails: the next scan finds it again.
            logger.error("%s: damaged parts of %s stay as they are: %s", self._node, table, error)
            return 0

    def _alarm(self, part: DamagedPart, at_ms: int) -> dict[str, object]:
        spans = [[start, end] for start, end in part.spans]
        first, last = spans[0][0] // NS_PER_MS, spans[-1][1] // NS_PER_MS
        what = (
            "it holds rows of this node: run `mainstem db check`, then `mainstem db repair`"
            if part.own
            else "its rows are asked for again"
        )
        text = f"part {part.name} of {part.table} is damaged between {first} and {last} ms: {what}"
        return {
            "op": ALARM, "code": DAMAGED, "node": self._node, "text": text, "at": at_ms,
            "t": part.table, "spans": spans,
        }  # fmt: skip
