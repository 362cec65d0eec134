"""Generated telemetry: what many equal machines report each second, in the order of arrival.

1. DEVICES devices of SENSORS sensors; one row a second and device. Values move as those of real
   sensors do: random walks with two decimals or one, set points that hardly change, a constant, a
   thermometer in whole hundredths, two counters.
2. One row in a hundred is late, by up to five minutes. Rows stand in the order of arrival.
3. Columns are files that every contestant maps, so that neither making the data nor holding it is
   part of what is measured. A fixed seed: the same call makes the same data.
4. Data is made some seconds at a time and appended to the files: memory is bounded whatever the
   number of devices and points. A row that is late waits until its arrival has been reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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
CHUNK_ROWS = 1_000_000
"""Rows made at once: about 200 MB with all that is in passing."""


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
        arrays = {name: self.column(name) for name in column_names()}
        end = self.rows if last is None else min(last, self.rows)
        for start in range(first, end, batch_rows):
            some = slice(start, min(start + batch_rows, end))
            columns = {name: np.array(arrays[name][some]) for name in sensor_names()}
            yield Batch(np.array(arrays["device"][some]), np.array(arrays["time"][some]), columns)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A whole column, mapped."""
        column: npt.NDArray[Any] = np.load(self.place / f"{name}.npy", mmap_mode="r")
        return column


def sensor_names() -> tuple[str, ...]:
    return tuple(f"m{number}" for number in range(SENSORS))


def column_names() -> tuple[str, ...]:
    """Every column of a row."""
    return ("device", "time", *sensor_names())


def column_dtype(name: str) -> np.dtype[Any]:
    if name == "device":
        return np.dtype(np.uint32)
    return np.dtype(np.int64 if name == "time" or name in COUNTERS else np.float64)


def make_dataset(place: Path, points: int, devices: int = DEVICES) -> DataSet:
    """Writes the columns of about ``points`` points, at least one row of each device."""
    data = DataSet(place, devices, max(1, points // (devices * SENSORS)))
    arrivals = _Arrivals(devices)
    sensors = [_sensor(number, devices) for number in range(SENSORS)]
    step = max(1, CHUNK_ROWS // devices)
    with _ColumnFiles(place, data.rows) as files:
        for first in range(0, data.seconds, step):
            seconds = min(step, data.seconds - first)
            rows = _Rows(
                np.repeat(np.arange(first, first + seconds, dtype=np.int64), devices),
                np.tile(np.arange(devices, dtype=np.uint32), seconds),
                [make(seconds).reshape(-1) for make in sensors],
            )
            files.append(arrivals.due(rows, first + seconds))
        files.append(arrivals.rest())
    return data


def sort_dataset(data: DataSet, place: Path) -> DataSet:
    """A second data set with the same rows by device and time: for what cannot take late rows."""
    order = np.lexsort((data.column("time"), data.column("device")))
    with _ColumnFiles(place, data.rows) as files:
        for name in column_names():
            values = data.column(name)
            for start in range(0, data.rows, CHUNK_ROWS):
                files.write(name, values[order[start : start + CHUNK_ROWS]])
    return DataSet(place, data.devices, data.seconds)


def first_devices(data: DataSet, place: Path, devices: int) -> DataSet:
    """A second data set with the rows of the first ``devices``, in the order of arrival."""
    other = DataSet(place, devices, data.seconds)
    with _ColumnFiles(place, other.rows) as files:
        for start in range(0, data.rows, CHUNK_ROWS):
            some = slice(start, start + CHUNK_ROWS)
            wanted = data.column("device")[some] < devices
            for name in column_names():
                files.write(name, data.column(name)[some][wanted])
    return other


@dataclass(frozen=True, slots=True)
class _Rows:
    """n rows in one order: ``second`` int64[n] since the start, ``device`` uint32[n], sensors."""

    second: npt.NDArray[np.int64]
    device: npt.NDArray[np.uint32]
    sensors: list[npt.NDArray[Any]]

    def __getitem__(self, some: npt.NDArray[Any]) -> _Rows:
        return _Rows(self.second[some], self.device[some], [each[some] for each in self.sensors])

    def __add__(self, other: _Rows) -> _Rows:
        pairs = zip(self.sensors, other.sensors, strict=True)
        return _Rows(
            np.concatenate((self.second, other.second)),
            np.concatenate((self.device, other.device)),
            [np.concatenate(pair) for pair in pairs],
        )


class _Arrivals:
    """Puts rows in the order of arrival; holds those that are late, about three a device at most:
    LATE_SHARE of LATE_S_MAX seconds."""

    def __init__(self, devices: int) -> None:
        self._rng = np.random.default_rng((SEED, SENSORS))
        self._waiting: _Rows | None = None
        self._at = np.empty(0, np.int64)

    def due(self, rows: _Rows, second: int) -> _Rows:
        """Of ``rows`` and what waits, those that arrive before ``second``, in that order."""
        count = len(rows.second)
        late = self._rng.random(count) < LATE_SHARE
        delay = np.where(late, self._rng.integers(1, LATE_S_MAX + 1, count), 0)
        at = np.concatenate((self._at, rows.second + delay))
        every = rows if self._waiting is None else self._waiting + rows
        # Stable, and what waits comes first: rows of one moment stand as they were measured.
        order = np.argsort(at, kind="stable")
        split = int(np.searchsorted(at[order], second))
        # In the order of measuring, so that the next sort is stable in the same sense.
        kept = np.sort(order[split:])
        self._waiting, self._at = every[kept], at[kept]
        return every[order[:split]]

    def rest(self) -> _Rows:
        """What still waits when measuring has ended."""
        assert self._waiting is not None
        return self._waiting[np.argsort(self._at, kind="stable")]


class _ColumnFiles:
    """One .npy file per column, written from the front."""

    def __init__(self, place: Path, rows: int) -> None:
        place.mkdir(parents=True)
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        for name in column_names():
            file = self._stack.enter_context((place / f"{name}.npy").open("wb"))
            header = {"descr": column_dtype(name).str, "fortran_order": False, "shape": (rows,)}
            np.lib.format.write_array_header_1_0(file, header)
            self._files[name] = file

    def append(self, rows: _Rows) -> None:
        self.write("time", START_MS + rows.second * STEP_MS)
        self.write("device", rows.device)
        for name, values in zip(sensor_names(), rows.sensors, strict=True):
            self.write(name, values)

    def write(self, name: str, values: npt.NDArray[Any]) -> None:
        np.ascontiguousarray(values, column_dtype(name)).tofile(self._files[name])

    def __enter__(self) -> _ColumnFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _sensor(number: int, devices: int) -> Callable[[int], npt.NDArray[Any]]:
    """A sensor of every device: gives the values [seconds, devices] of the next seconds."""
    rng = np.random.default_rng((SEED, number))
    base = rng.uniform(10, 90, devices)
    dtype = column_dtype(f"m{number}")
    now = rng.integers(0, 10_000, devices) if dtype == np.int64 else base

    def moves(shape: tuple[int, int]) -> npt.NDArray[Any]:
        """What each second adds."""
        if number < 4:
            return rng.normal(0, 0.05 * (number + 1), shape)
        if number == 4:
            return rng.normal(0, 0.2, shape)
        if number == 5:
            # A set point is changed every ten minutes or so.
            return np.where(rng.random(shape) < 1 / 600, rng.normal(0, 5, shape), 0.0)
        if number == 6:
            return np.zeros(shape)
        if number == 7:
            # A thermometer that moves by whole hundredths now and then.
            return rng.integers(-1, 2, shape) * (rng.random(shape) < 0.2) * 0.01
        return rng.integers(0, 5, shape) if number == 8 else rng.random(shape) < 0.3

    def values(seconds: int) -> npt.NDArray[Any]:
        nonlocal now
        walk: npt.NDArray[Any] = now + np.cumsum(moves((seconds, devices)), axis=0, dtype=dtype)
        now = walk[-1]
        # Counters are whole as they are.
        return np.round(walk, 1 if number in (4, 5, 6) else 2)

    return values
