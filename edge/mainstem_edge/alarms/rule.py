"""An alarm rule, and how values look to it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Signal(enum.IntEnum):
    """What one value says: the condition holds, it is over, or neither (inside the hysteresis)."""

    CALM = 0
    BETWEEN = 1
    HOT = 2


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """``measurement``: its id; ``delay_ns``, ``clear_delay_ns`` and ``stuck_ns`` in event time.

    One kind a rule: ``above`` and ``below`` (either or both), ``rate`` per second, or ``stuck_ns``.
    """

    name: str
    measurement: int
    measurement_name: str
    above: float | None = None
    below: float | None = None
    hysteresis: float = 0.0
    rate: float | None = None
    stuck_ns: int | None = None
    delay_ns: int = 0
    clear_delay_ns: int = 0
    under: str | None = None
    severity: str = "warning"
    message: str = "{rule}: {measurement} of {device} is {value}"
