"""The keys of an alarm rule."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.kinds import DevicePath, DurationNs, Name, Text

ALARMS = "alarms"
"""The template of the alarms of rules: each edge with rules makes it."""


class RuleConfig(Struct, frozen=True, kw_only=True):
    """An alarm on one measurement of all devices of a template: `above` and `below`, or `rate`, or
    `stuck`."""

    name: Name
    template: Name
    measurement: Name
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
    delay: DurationNs = 0
    """The condition must have held for so long before the alarm is raised."""
    clear_delay: DurationNs = 0
    severity: Literal["info", "warning", "critical"] = "warning"
    message: Text = "{rule}: {measurement} of {device} is {value}"
    """With {device}, {rule}, {measurement}, {value} and {severity}."""
