"""The states of one alarm: normal, pending, active, clearing.

1. The condition holds: normal becomes pending; once it has held for the delay, active (raised).
2. It is over: active becomes clearing; once it was over for the clear delay, normal (cleared).
3. A value that says neither, or the opposite, ends a pending or clearing state where it began.

Time is event time: it goes on with the values only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mainstem_edge.alarms.rule import Signal


class Phase(enum.Enum):
    NORMAL = "normal"
    PENDING = "pending"
    ACTIVE = "active"
    CLEARING = "clearing"


@dataclass(slots=True)
class AlarmState:
    """``since_ns``: when a pending or clearing phase began."""

    phase: Phase = Phase.NORMAL
    since_ns: int = 0

    def step(self, signal: Signal, time_ns: int, delay_ns: int, clear_delay_ns: int) -> bool | None:
        """One value, later than the last. True: raised, False: cleared, None: neither."""
        raised = self.phase in (Phase.ACTIVE, Phase.CLEARING)
        wanted = Signal.CALM if raised else Signal.HOT
        if signal != wanted:
            self.phase = Phase.ACTIVE if raised else Phase.NORMAL
            return None
        if self.phase in (Phase.NORMAL, Phase.ACTIVE):
            self.phase = Phase.CLEARING if raised else Phase.PENDING
            self.since_ns = time_ns
        if time_ns - self.since_ns < (clear_delay_ns if raised else delay_ns):
            return None
        self.phase = Phase.NORMAL if raised else Phase.ACTIVE
        return not raised
