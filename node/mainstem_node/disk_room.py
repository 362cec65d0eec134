"""Keeping within ``disk.limit``: what gives way, in which order, and when new rows are refused.

1. Above GIVE_WAY of the limit, with ``when_full: degrade``, the oldest parts go, whatever their
   keep: the table whose oldest part ends first gives it. What a hold protects (rows that the parent
   has not proven yet) stays, with all that is later in its table; so do rollups while any other
   table has something to give.
2. Where that is not enough, and more than GIVE_WAY_OWED is used, what is held goes, too, oldest
   first, rollups never: the federation declares its slices lost, and every tier above shows it.
3. Above REFUSE new rows are refused: at the sources, who keep them, and at children, who wait.
   Rollups, deletes, definitions and the federation's own records have the rest of the limit.
   They are taken again below TAKE_AGAIN.
4. ``when_full: reject`` does only the third.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_engine.expiry import StoredSpan

logger = logging.getLogger(__name__)

GIVE_WAY = 0.90
GIVE_WAY_TO = 0.85
"""Parts go until so much is used: not one at every look."""
GIVE_WAY_OWED = 0.95
GIVE_WAY_OWED_TO = 0.93
"""What the parent lacks goes piece by piece: the link may be back any moment."""
REFUSE = 0.98
TAKE_AGAIN = 0.95

ROUNDS_MAX = 100
"""Parts of one look: a flush waits while one is removed."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The oldest part of a table."""

    table: str
    is_rollup: bool
    span: StoredSpan

    def order(self) -> tuple[bool, int, int]:
        return self.is_rollup, self.span.end_ns, -self.span.bytes


class DiskRoom:
    """See the module. ``limit_bytes``: None is no limit; ``more_bytes``: what the node has on disk
    beside the engine's parts and log. Called by one thread."""

    def __init__(
        self,
        engine: Engine,
        limit_bytes: int | None,
        *,
        rejects: bool,
        more_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._engine = engine
        self._limit = limit_bytes
        self._rejects = rejects
        self._more_bytes = more_bytes
        self.given_rows = 0
        """Rows that went before their time, since the start."""
        self.given_bytes = 0
        self.refuses = False

    def used_bytes(self) -> int:
        """On disk now."""
        statistics = self._engine.statistics()
        return statistics.part_bytes + statistics.log.bytes + self._more_bytes()

    def look(self) -> None:
        """Makes room if there is little, and says whether rows are taken. Raises OSError,
        EngineError."""
        if self._limit is None:
            return
        if not self._rejects and self.used_bytes() > self._limit * GIVE_WAY:
            self._give_way(self._limit * GIVE_WAY_TO, held=False)
            if self.used_bytes() > self._limit * GIVE_WAY_OWED:
                self._give_way(self._limit * GIVE_WAY_OWED_TO, held=True)
        used = self.used_bytes()
        if self.refuses and used < self._limit * TAKE_AGAIN:
            self.refuses = False
            self._engine.refuse_rows(None)
            logger.warning("there is room on the disk again: rows are taken")
        elif not self.refuses and used > self._limit * REFUSE:
            self.refuses = True
            self._engine.refuse_rows(
                f"disk.limit is reached: {used:,} of {self._limit:,} bytes are used"
            )
            logger.error("disk.limit is reached: new rows are refused until there is room")

    def to_status(self) -> dict[str, Any]:
        """For the status object."""
        return {
            "limit_bytes": self._limit,
            "refuses": self.refuses,
            "given_way_rows": self.given_rows,
            "given_way_bytes": self.given_bytes,
        }

    def _give_way(self, wanted_bytes: float, *, held: bool) -> None:
        spared = self._rollups() if held else set()
        for _ in range(ROUNDS_MAX):
            if self.used_bytes() <= wanted_bytes:
                return
            chosen = min(self._candidates(spared), key=_Candidate.order, default=None)
            if chosen is None:
                return
            result = self._engine.give_way(chosen.table, chosen.span.end_ns, held=held)
            if not result.parts:
                spared.add(chosen.table)
                continue
            self.given_rows += result.rows
            self.given_bytes += result.bytes
            logger.warning(
                "disk.limit: the oldest %d rows of %s gave way%s", result.rows, chosen.table,
                ", and the parent lacks some of them" if held else "",
            )  # fmt: skip

    def _rollups(self) -> set[str]:
        tables = self._engine.catalog.templates.all()
        return {table.name for table in tables if table.replaces_rows}

    def _candidates(self, spared: set[str]) -> list[_Candidate]:
        found = []
        for table in self._engine.catalog.templates.all():
            spans = [] if table.name in spared else self._engine.stored_spans(table.name)
            # The newest part of a table is what people look at: it stays.
            if len(spans) > 1:
                found.append(_Candidate(table.name, table.replaces_rows, spans[0]))
        return found
