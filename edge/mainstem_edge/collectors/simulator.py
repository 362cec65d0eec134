"""A simulator: devices that send made-up rows at fixed times, as equipment would.

The value of a signal is a function of device, time and seed, but for a walk, which has a memory. A
row is due every ``every_s``, at multiples of it. What cannot be handed on in time is not made up
later: a machine that was not asked has no values either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.reader import Reader
from mainstem_edge.turns import turn_ns

TOPIC = "simulator"
NS_PER_S = 1_000_000_000
ROWS_PER_MESSAGE = 1000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Signal:
    """``shape``: sine, square, saw, walk, constant or counter. ``whole``: an integer is sent."""

    shape: str
    mean: float
    amplitude: float
    period_s: float
    noise: float = 0.0
    whole: bool = False
    boolean: bool = False


class SimulatorCollector(SupervisedCollector):
    """``paths``: the devices. ``signals``: by the name that the rows have for them."""

    kind: ClassVar[str] = "simulator"
    source_holds: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        paths: Sequence[str],
        signals: Mapping[str, Signal],
        every_s: float,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self._paths = list(paths)
        self._every_ns = round(every_s * NS_PER_S)
        self._values = Values(len(paths), signals, seed)
        self._encode = msgspec.msgpack.Encoder().encode

    def session(self) -> None:
        self.health.connected()
        due_ns = turn_ns(self.clock_ns(), self._every_ns)
        while not self.wait((due_ns - self.clock_ns()) / NS_PER_S):
            if not self.step(due_ns):
                return
            late_ns = self.clock_ns() - due_ns
            due_ns += max(1, late_ns // self._every_ns) * self._every_ns

    def step(self, time_ns: int) -> bool:
        """Hands on a row of every device. False if nobody takes it any more."""
        columns = self._values.at(time_ns)
        names = ("device", "time", *columns)
        times = [time_ns] * len(self._paths)
        rows = [
            dict(zip(names, row, strict=True))
            for row in zip(self._paths, times, *columns.values(), strict=True)
        ]
        return self.deliver(
            [
                self.message(TOPIC, self._encode(rows[start : start + ROWS_PER_MESSAGE]))
                for start in range(0, len(rows), ROWS_PER_MESSAGE)
            ]
        )

    def details(self) -> dict[str, Any]:
        return {"devices": len(self._paths), "every_ms": self._every_ns // 1_000_000}


class Values:
    """The made-up values of ``count`` devices."""

    def __init__(self, count: int, signals: Mapping[str, Signal], seed: int) -> None:
        self._signals = dict(signals)
        self._rng = np.random.default_rng(seed)
        self._count = count
        self._phases = {name: self._rng.random(count) for name in signals}
        """Of each device, in periods: equal machines do not move alike."""
        self._walks = {name: np.zeros(count) for name in signals}

    def at(self, time_ns: int) -> dict[str, list[Any]]:
        """Values of all devices, by signal."""
        return {name: self._at(name, signal, time_ns) for name, signal in self._signals.items()}

    def _at(self, name: str, signal: Signal, time_ns: int) -> list[Any]:
        phase = (self._phases[name] + time_ns / NS_PER_S / signal.period_s) % 1.0
        moved = self._moved(name, signal.shape, phase)
        values = signal.mean + signal.amplitude * moved
        if signal.noise:
            values = values + self._rng.normal(0.0, signal.noise, self._count)
        if signal.boolean:
            return list((values >= 0.5).tolist())
        return list(np.rint(values).astype(np.int64).tolist() if signal.whole else values.tolist())

    def _moved(self, name: str, shape: str, phase: Floats) -> Floats:
        """-1..1, but for a walk and a counter, which go on from where they were."""
        if shape == "sine":
            return np.sin(2 * math.pi * phase)
        if shape == "square":
            return np.where(phase < 0.5, 1.0, -1.0)
        if shape == "saw":
            return 2.0 * phase - 1.0
        if shape == "constant":
            return np.zeros(self._count)
        walk = self._walks[name]
        walk += 1.0 if shape == "counter" else self._rng.uniform(-1.0, 1.0, self._count)
        return walk
