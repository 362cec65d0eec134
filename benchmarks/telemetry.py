"""Generated telemetry: what many equal machines report each second, in the order of arrival.

1. DEVICES devices of SENSORS sensors; one row a second and device. Values move as those of real
   sensors do: random walks with two decimals or one, set points that hardly change, a constant, a
   full-precision vibration, two counters.
2. One row in a hundred is late, by up to five minutes. Rows stand in the order of arrival.
3. Columns are files that every contestant maps, so that neither making the data nor holding it is
   part of what is measured. A fixed seed: the same call makes the same data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SEED = 20_260_101
DEVICES = 1_000
SENSORS = 10
START_MS = 1_792_540_800_000
STEP_MS = 1_000
LATE_SHARE = 0.01
LATE_S_MAX = 300
COUNTERS = ("m8", "m9")
"""INT64; the other sensors are DOUBLE."""


@dataclass(frozen=True, slots=True)
class Batch:
    """n rows: ``device`` uint32[n] from 0, ``time`` int64[n] in ms, one array per sensor."""

    device: npt.NDArray[np.uint32]
    time: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class DataSet:
    """Columns in files below ``place``."""

    place: Path
    devices: int
    seconds: int

    @property
    def rows(self) -> int:
        return self.devices * self.seconds

    @property
    def points(self) -> int:
        return self.rows * SENSORS

    @property
    def end_ms(self) -> int:
        return START_MS + self.seconds * STEP_MS

    def batches(self, batch_rows: int, first: int = 0, last: int | None = None) -> Iterator[Batch]:
        """Rows [first, last) in the order of arrival; copies, as a client would hand them over."""
        arrays = {name: self._column(name) for name in ("device", "time", *sensor_names())}
        end = self.rows if last is None else min(last, self.rows)
        for start in range(first, end, batch_rows):
            some = slice(start, min(start + batch_rows, end))
            columns = {name: np.array(arrays[name][some]) for name in sensor_names()}
            yield Batch(np.array(arrays["device"][some]), np.array(arrays["time"][some]), columns)

    def _column(self, name: str) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = np.load(self.place / f"{name}.npy", mmap_mode="r")
        return column


def sensor_names() -> tuple[str, ...]:
    return tuple(f"m{number}" for number in range(SENSORS))


def make_dataset(place: Path, points: int, devices: int = DEVICES) -> DataSet:
    """Writes the columns of about ``points`` points."""
    place.mkdir(parents=True)
    data = DataSet(place, devices, max(1, points // (devices * SENSORS)))
    rng = np.random.default_rng(SEED)
    second = np.repeat(np.arange(data.seconds, dtype=np.int64), devices)
    late = rng.random(data.rows) < LATE_SHARE
    arrival = second + np.where(late, rng.integers(1, LATE_S_MAX + 1, data.rows), 0)
    order = np.argsort(arrival, kind="stable")
    np.save(place / "time.npy", (START_MS + second * STEP_MS)[order])
    device = np.tile(np.arange(devices, dtype=np.uint32), data.seconds)
    np.save(place / "device.npy", device[order])
    for number, name in enumerate(sensor_names()):
        values = _sensor(rng, number, data.seconds, devices)
        np.save(place / f"{name}.npy", values.reshape(-1)[order])
    return data


def _sensor(rng: np.random.Generator, number: int, seconds: int, devices: int) -> npt.NDArray[Any]:
    """[seconds, devices] values of one sensor of every device."""
    shape = (seconds, devices)
    base = rng.uniform(10, 90, devices)
    values: npt.NDArray[Any]
    if number < 4:
        values = np.round(base + np.cumsum(rng.normal(0, 0.05 * (number + 1), shape), axis=0), 2)
    elif number == 4:
        values = np.round(base + np.cumsum(rng.normal(0, 0.2, shape), axis=0), 1)
    elif number == 5:
        # A set point is changed every ten minutes or so.
        changes = np.where(rng.random(shape) < 1 / 600, rng.normal(0, 5, shape), 0.0)
        values = np.round(base + np.cumsum(changes, axis=0), 1)
    elif number == 6:
        values = np.broadcast_to(np.round(base, 1), shape)
    elif number == 7:
        # A thermometer that moves by whole hundredths now and then.
        moves = rng.integers(-1, 2, shape) * (rng.random(shape) < 0.2)
        values = np.round(base + np.cumsum(moves, axis=0) * 0.01, 2)
    else:
        step = rng.integers(0, 5, shape) if number == 8 else rng.random(shape) < 0.3
        values = np.cumsum(step, axis=0, dtype=np.int64) + rng.integers(0, 10_000, devices)
    return values
