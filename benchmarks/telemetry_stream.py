"""Telemetry without end: batches that are made as they are asked for, and never held.

1. The sensors are those of telemetry.py: random walks with two decimals or one, set points, a
   constant, counters. One row a round and device; rows stand in the order of arrival.
2. One row in a hundred is late: it comes with the batch after its own.
3. A batch costs little, for whoever measures writing must not measure this: random numbers are
   drawn once, and every batch adds up another stretch of them from where each device stood.
4. What is held is one state per device and sensor, whatever the number of points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from telemetry import COUNTERS, LATE_SHARE, SENSORS, START_MS, STEP_MS, Batch, sensor_names

SEED = 20_260_401
DRAWN = 1 << 20
"""Random numbers that are drawn: a batch starts anywhere among them, so none repeats another."""
SCALES = (0.05, 0.1, 0.15, 0.2, 0.2, 0.0, 0.0, 0.01)
"""How far a value of each sensor moves in a round."""
DECIMALS = (2, 2, 2, 2, 1, 1, 1, 2)
LABELS = ("running", "idle", "set-up", "fault E17", "cleaning")
LABEL_ROUNDS = 50
"""A device keeps its state about so long."""

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Of columns beside the ten sensors: ``nulls`` in a fifth of two of them, two of TEXT."""

    nulls: bool = False
    text: bool = False


class TelemetryStream:
    """``devices`` machines that report one row each in every round, for as long as is asked."""

    def __init__(self, devices: int, kinds: Kinds | None = None) -> None:
        rng = np.random.default_rng(SEED)
        self.devices = devices
        self.kinds = kinds or Kinds()
        self._normal = rng.normal(0, 1, DRAWN).astype(np.float32)
        self._uniform = rng.random(DRAWN, np.float32)
        base = rng.uniform(10, 90, devices)
        self._state: dict[str, AnyArray] = {
            name: rng.integers(0, 10_000, devices) if name in COUNTERS else np.round(base + n, 1)
            for n, name in enumerate(sensor_names())
        }
        self._rng = rng
        self._round = 0
        self._first = 0
        self._held: Batch | None = None

    @property
    def now_ms(self) -> int:
        """Time of the round that comes next."""
        return START_MS + self._round * STEP_MS

    def batches(self, points: int, batch_rows: int) -> Iterator[Batch]:
        """At least ``points`` values of the ten sensors in batches of about ``batch_rows`` rows."""
        rows = 0
        while rows * SENSORS < points:
            batch = self._with_late(self._next(min(batch_rows, points // SENSORS - rows or 1)))
            rows += len(batch)
            yield batch

    def _next(self, batch_rows: int) -> Batch:
        """Whole rounds of all devices, or one round of some of them where there are more."""
        count = min(self.devices - self._first, batch_rows)
        rounds = max(1, batch_rows // self.devices) if count == self.devices else 1
        some = slice(self._first, self._first + count)
        shape = (rounds, count)
        device = np.arange(some.start, some.stop, dtype=np.uint32)
        times = self.now_ms + np.arange(rounds, dtype=np.int64) * STEP_MS
        columns = {
            name: self._sensor(number, name, some, shape)
            for number, name in enumerate(sensor_names())
        }
        self._first = (self._first + count) % self.devices
        if not self._first:
            self._round += rounds
        return Batch(np.tile(device, rounds), np.repeat(times, count), columns)

    def _sensor(self, number: int, name: str, some: slice, shape: tuple[int, int]) -> AnyArray:
        state = self._state[name]
        moved: AnyArray
        if name in COUNTERS:
            step = self._drawn(self._uniform, shape) * (5 if name == COUNTERS[0] else 1.3)
            moved = state[some] + np.cumsum(step.astype(np.int64), axis=0)
        elif number == 5:
            changes = self._drawn(self._normal, shape)
            changes = np.where(np.abs(changes) > 3, changes, 0)
            moved = np.round(state[some] + np.cumsum(changes, axis=0), 1)
        elif number == 6:
            moved = np.broadcast_to(state[some], shape)
        else:
            steps = self._drawn(self._normal, shape)
            if number == 7:
                steps = np.rint(steps * 0.6)
            walk = np.cumsum(steps, axis=0, dtype=np.float64)
            walk *= SCALES[number]
            walk += state[some]
            moved = np.round(walk, DECIMALS[number])
        state[some] = moved[-1]
        return moved.reshape(-1)

    def _drawn(self, numbers: AnyArray, shape: tuple[int, int]) -> AnyArray:
        count = shape[0] * shape[1]
        start = int(self._rng.integers(0, DRAWN))
        if start + count <= DRAWN:
            return numbers[start : start + count].reshape(shape)
        return np.resize(np.roll(numbers, -start), shape)

    def _with_late(self, batch: Batch) -> Batch:
        """Without the rows that will come later, with those that waited."""
        late = self._drawn(self._uniform, (1, len(batch)))[0] < LATE_SHARE
        now, later = _rows(batch, ~late), _rows(batch, late)
        waited, self._held = self._held, later
        return now if waited is None else _joined(waited, now)

    def beside(self, batch: Batch) -> dict[str, Any]:
        """The columns of a batch as a client hands them over, with those of ``kinds``."""
        columns: dict[str, Any] = dict(batch.columns)
        if self.kinds.nulls:
            for name in ("m2", "m8"):
                mask = self._drawn(self._uniform, (1, len(batch)))[0] < 0.2
                columns[name] = (columns[name], mask)
        if self.kinds.text:
            state = (batch.time // (STEP_MS * LABEL_ROUNDS) + batch.device) % len(LABELS)
            columns["t0"] = [LABELS[number] for number in state.tolist()]
            columns["t1"] = [f"order {number}" for number in (batch.time // STEP_MS).tolist()]
        return columns


def _rows(batch: Batch, keep: AnyArray) -> Batch:
    columns = {name: values[keep] for name, values in batch.columns.items()}
    return Batch(batch.device[keep], batch.time[keep], columns)


def _joined(first: Batch, second: Batch) -> Batch:
    return Batch(
        np.concatenate([first.device, second.device]),
        np.concatenate([first.time, second.time]),
        {
            name: np.concatenate([values, second.columns[name]])
            for name, values in first.columns.items()
        },
    )
