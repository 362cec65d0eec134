"""Slices that differ from their owner's statement for a day: an alarm, once for each table.

Repair takes seconds to minutes. What a day of asking did not mend needs somebody who looks.
"""

from __future__ import annotations

from collections.abc import Iterable

from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_sync.proof.prover import DamagedSlice
from mainstem_sync.state.line_following import ALARM
from mainstem_sync.wire.messages import OriginKey

ALARM_AFTER_S = 86_400.0
CODE = "MISMATCH"


class MismatchAlarms:
    """Remembers since when each table has such slices; after a start the day begins anew. One
    caller at a time. ``monotonic`` in s, ``at_ms`` wall clock."""

    def __init__(self) -> None:
        self._since: dict[tuple[OriginKey, str], float] = {}
        self._told: set[tuple[OriginKey, str]] = set()

    def look(
        self, engine: Engine, damaged: Iterable[DamagedSlice], monotonic: float, at_ms: int
    ) -> int:
        """Raise the alarms that are due; returns how many."""
        count: dict[tuple[OriginKey, str], int] = {}
        for item in damaged:
            key = (item.origin, item.table)
            count[key] = count.get(key, 0) + 1
        self._since = {key: self._since.get(key, monotonic) for key in count}
        self._told &= count.keys()
        raised = 0
        for key, since in self._since.items():
            if monotonic - since < ALARM_AFTER_S or key in self._told:
                continue
            self._told.add(key)
            origin, table = key
            text = f"{count[key]} slices of {table} of {origin.name} differ for a day"
            header = {"op": ALARM, "code": CODE, "node": origin.name, "text": text, "at": at_ms}
            engine.append(RecordKind.EVT, header)
            raised += 1
        return raised
