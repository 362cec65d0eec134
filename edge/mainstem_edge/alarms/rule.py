"""An alarm rule, and the change of an alarm."""

from __future__ import annotations

from dataclasses import dataclass

from mainstem_node.expressions import Expression

MESSAGE = "{rule}: {measurement} of {device} is {value}"
SILENT = "{rule}: {device} has been silent for {value} s"
EXPRESSED = "{rule}: {device}, by its {measurement}"


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """``measurement``: its id, None for a rule of whole rows; ``delay_ns``, ``clear_delay_ns`` and
    ``stuck_ns`` in event time, ``missing_ns`` since the last arrival.

    One kind a rule: ``above`` and ``below`` (either or both), ``rate`` per second, ``stuck_ns``,
    ``missing_ns``, or ``expression``, which is over when ``clear`` is true (None: when it is false
    itself).
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
    expression: Expression | None = None
    clear: Expression | None = None
    delay_ns: int = 0
    clear_delay_ns: int = 0
    under: str | None = None
    severity: str = "warning"
    message: str = MESSAGE


@dataclass(frozen=True, slots=True)
class Transition:
    """An alarm of ``device`` was raised or cleared at ``time_ns``. ``value``: what did it; NaN of
    an expression, seconds of a silence."""

    rule: AlarmRule
    device: int
    time_ns: int
    raised: bool
    value: float
