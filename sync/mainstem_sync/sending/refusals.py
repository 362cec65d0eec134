"""What the parent does not take: tried again, looked into, and in the end parked.

1. A batch is counted by its first record. At its limit it is taken apart: its records go one by
   one, and what is still refused then is parked.
2. Parking is a record in the log (EVT), so that the counts survive a crash. A parked record counts
   as held: the stream and the release of the log go on. It is neither deleted nor sent again.

Guarded by the sender's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_sync.state.content import Content
from mainstem_sync.state.forward import PARK
from mainstem_sync.wire.ranges import RangeSet

logger = logging.getLogger(__name__)

LAST_TRIES = 3
"""Tries of a single record of a batch that was tried to its limit."""

SAY_EVERY = 25
"""A batch that is put off again and again is mentioned this often."""


class Refusals:
    """See the module."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tries: dict[int, int] = {}
        self._waited: dict[int, int] = {}
        self._alone: set[int] = set()

    def count(
        self, contents: Sequence[Content], limit: int, why: str, *, waits: bool = False
    ) -> int:
        """How often the batch of these records was not taken, this time included; at ``limit`` it
        is refused. ``waits``: for something else, which is counted apart: when it has come, the
        batch has all of its tries before it."""
        if not contents:
            return 0
        first = contents[0].lsn
        counted = self._waited if waits else self._tries
        tries = counted[first] = counted.get(first, 0) + 1
        if tries % SAY_EVERY == 0:
            logger.warning("the parent put LSN %d off %d times: %s", first, tries, why)
        if tries >= limit:
            self.refuse(contents, why, limit)
        return tries

    def refuse(self, contents: Sequence[Content], why: str, limit: int = 0) -> None:
        """The parent will not take this batch: find the record that is to blame, or park it."""
        if len(contents) == 1:
            self.park(contents, why)
            return
        for content in contents:
            self._alone.add(content.lsn)
            if limit:
                self._tries[content.lsn] = limit - LAST_TRIES

    def taken(self, contents: Sequence[Content]) -> None:
        """The parent holds these now."""
        if self._tries or self._alone or self._waited:
            for content in contents:
                self._tries.pop(content.lsn, None)
                self._waited.pop(content.lsn, None)
                self._alone.discard(content.lsn)

    def one_by_one(self, lsns: RangeSet) -> RangeSet:
        """What of ``lsns`` may be sent now: while a batch is looked into, its next record only."""
        if not self._alone:
            return lsns
        suspect = min((lsn for lsn in self._alone if lsn in lsns), default=None)
        return lsns if suspect is None else RangeSet([(suspect, suspect)])

    def park(self, contents: Sequence[Content], why: str) -> None:
        """Put records aside for good; returns when that is durable and counted."""
        rows: dict[str, int] = {}
        for content in contents:
            for table, count in content.sent.items():
                rows[table] = rows.get(table, 0) + count
        lsns = RangeSet((content.lsn, content.lsn) for content in contents)
        logger.error("the parent will not take LSNs %s: %s; parked", list(lsns), why)
        header = {
            "op": PARK,
            "lsns": lsns.to_wire(),
            "rows": rows,
            "bytes": sum(content.bytes for content in contents),
            "why": why,
        }
        self._engine.append(RecordKind.EVT, header).wait()
        self.taken(contents)
