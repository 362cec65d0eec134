"""A simulator: devices that send made-up values, to try things out without equipment."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.kinds import DurationNs, Name, Text

SECOND_NS = 1_000_000_000


class SignalConfig(Struct, frozen=True, kw_only=True):
    """One made-up signal: `mean` +- `amplitude` in one `period`, with Gaussian `noise`."""

    shape: Literal["sine", "square", "saw", "walk", "constant", "counter"] = "sine"
    """counter: rises by `amplitude` a step. walk: each step is up to `amplitude` away."""
    mean: float = 0.0
    amplitude: float = 1.0
    period: DurationNs = 600 * SECOND_NS
    noise: float = 0.0


class SimulatorCollectorConfig(Struct, frozen=True, kw_only=True):
    """Devices that send rows by themselves, every so often, as equipment would."""

    type: Literal["simulator"]
    template: Name
    device: Text
    """The devices' path; `{n}` counts them from 1."""
    devices: int = 1
    every: DurationNs = SECOND_NS
    signals: dict[Name, SignalConfig] = {}
    """By measurement; without any: all numbers and booleans of the template."""
    seed: int = 0

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings."""
        return (self.template,)
