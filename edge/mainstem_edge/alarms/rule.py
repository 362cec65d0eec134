"""An alarm rule, and the change of an alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mainstem_node.expressions import Expression

MESSAGE = "{rule}: {measurement} of {device} is {value}"
UNUSUAL = "{rule}: {measurement} of {device} is {value}, which is unusual"
SILENT = "{rule}: {device} has been silent for {value} s"
EXPRESSED = "{rule}: {device}, by its {measurement}"


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """``measurement``: its id, None for a rule of whole rows; ``delay_ns``, ``clear_delay_ns`` and
    ``stuck_ns`` in event time, ``missing_ns`` since the last arrival.

    One kind a rule: ``above`` and ``below`` (either or both), ``rate`` per second, ``stuck_ns``,
    ``missing_ns``, ``deviation`` in standard deviations (deviation.py says what the next three
    are), or ``expression``, which is over when ``clear`` is true (None: when it is false itself).
    """

    name: str
    measurement: int | None
    measurement_name: str
    above: float | None = None
    below: float | None = None
    hysteresis: float = 0.0
    rate: float | None = None
    stuck_ns: int | None = None
    missing_ns: int | None = None
    deviation: float | None = None
    memory_ns: int = 0
    every_ns: int = 1
    noise: float = 0.0
    expression: Expression | None = None
    clear: Expression | None = None
    delay_ns: int = 0
    clear_delay_ns: int = 0
    under: str | None = None
    severity: str = "warning"
    message: str = MESSAGE
    logs: bool = True
    """Its changes are lines in the log of the edge."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The measurements it looks at."""
        if self.measurement is not None:
            return (self.measurement_name,)
        both = (self.expression, self.clear)
        return tuple(dict.fromkeys(n for each in both if each is not None for n in each.names))


@dataclass(frozen=True, slots=True)
class Transition:
    """An alarm of ``device`` was raised or cleared at ``time_ns``. ``value``: what did it; NaN of
    an expression, seconds of a silence."""

    rule: AlarmRule
    device: int
    time_ns: int
    raised: bool
    value: float


def value(change: Transition) -> float | None:
    return None if math.isnan(change.value) else change.value


def message(change: Transition, device: str) -> str:
    """The text of the rule, filled in."""
    rule, found = change.rule, value(change)
    words = {
        "device": device, "rule": rule.name, "measurement": ", ".join(rule.reads),
        "value": "" if found is None else f"{found:g}", "severity": rule.severity,
    }  # fmt: skip
    text = rule.message
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text
