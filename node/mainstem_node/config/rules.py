"""The keys of an alarm rule."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.kinds import DevicePath, DurationNs, Name, Text
from mainstem_node.config.notify import LOG
from mainstem_node.config.units import duration_name

ALARMS = "alarms"
"""The template of the alarms of rules: each edge with rules makes it."""


SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS


class RuleConfig(Struct, frozen=True, kw_only=True):
    """An alarm on all devices of a template: on one measurement by `above` and `below`, `rate`,
    `stuck` or `deviation`; on rows by `expression`; on silence by `missing`."""

    name: Name
    template: Name
    measurement: Name | None = None
    """Of all kinds but `expression` and `missing`."""
    under: DevicePath | None = None
    """Only devices below this path; default: all."""
    above: float | None = None
    below: float | None = None
    hysteresis: float = 0.0
    """So far back inside the limit a value must come before the alarm is over."""
    rate: float | None = None
    """Change per second, up or down."""
    stuck: DurationNs | None = None
    """The value has not changed for so long, while rows came."""
    deviation: float | None = None
    """So many standard deviations from the running mean of the device; extra `statistics`."""
    memory: DurationNs = HOUR_NS
    """Of `deviation`: what is older counts for less than a third; before so much there is none."""
    every: DurationNs = SECOND_NS
    """Of `deviation`: one value in so long is learned."""
    noise: float = 0.0
    """Of `deviation`: the standard deviation is at least that."""
    missing: DurationNs | None = None
    """No row of a device has arrived for so long."""
    expression: Text | None = None
    """A condition over the measurements of a row, as in `derive`."""
    clear: Text | None = None
    """A condition by which the alarm of an expression is over; default: when it is false."""
    delay: DurationNs = 0
    """The condition must have held for so long before the alarm is raised."""
    clear_delay: DurationNs = 0
    severity: Literal["info", "warning", "critical"] = "warning"
    actions: tuple[Text, ...] = (LOG,)
    """`log`, and names of `notify`."""
    message: Text | None = None
    """With {device}, {rule}, {measurement}, {value} and {severity}."""


def condition_text(rule: RuleConfig) -> str:
    """What it watches for, in a line."""
    if rule.missing is not None:
        return f"missing {duration_name(rule.missing)}"
    if rule.expression is not None:
        return rule.expression + (f", clear {rule.clear}" if rule.clear is not None else "")
    if rule.rate is not None:
        return f"{rule.measurement} rate {rule.rate:g}/s"
    if rule.stuck is not None:
        return f"{rule.measurement} stuck {duration_name(rule.stuck)}"
    if rule.deviation is not None:
        return f"{rule.measurement} deviation {rule.deviation:g}"
    limits = [
        f"{key} {limit:g}"
        for key, limit in (("above", rule.above), ("below", rule.below))
        if limit is not None
    ]
    return f"{rule.measurement} {' or '.join(limits)}"
