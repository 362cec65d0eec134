"""How it scales: ingest with up to a million devices, answers and opening with up to 5e8 points.

1. *Devices*: the same number of points from 1e3 to 1e6 devices, in batches of 100,000 rows as they
   arrive. The clock runs until everything is in parts and closed. Each in a fresh process.
2. *Points*: one store of 1,000 devices grows from 1e7 to 1e8 to 5e8 points, day after day. At each
   size it is compacted as in operation (what is due, not everything), then fresh processes open it:
   until the first answer, and then an hour of one device and last rows, again and again, while
   nothing is written or compacted.
3. Points are made as they are written and never held (telemetry_stream.py); making them is not
   part of a rate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from contests import HOUR_MS, apart
from curves import Panel, curves
from loading import (
    BATCH_ROWS,
    MIB,
    TABLE,
    create_table,
    device_ids,
    device_path,
    parts_of,
    stored_bytes,
    write,
)
from report import Report
from telemetry import Batch
from telemetry_stream import TelemetryStream

from mainstem_engine import Engine, EngineOptions

DEVICES = (1_000, 10_000, 100_000, 1_000_000)
DEVICES_QUICK = (1_000, 20_000)
POINTS, POINTS_QUICK = 20_000_000, 1_000_000
SIZES = (10_000_000, 100_000_000, 500_000_000)
SIZES_QUICK = (500_000, 2_000_000)
SIZE_DEVICES = 1_000
OPENINGS, OPENINGS_QUICK = 9, 3
CALLS, CALLS_QUICK = 400, 40
LIMIT_BYTES = 512 * MIB
SEED = 11
STEP_POINTS = 5_000_000
"""After each the parts are counted."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """One number of devices. Seconds without the making of the points."""

    devices: int
    points: int
    s: float
    acknowledged_s: float
    cpu_s: float
    flushed_bytes: int
    compacted_bytes: int
    parts: int

    @property
    def rate(self) -> float:
        return self.points / self.s / 1e6


@dataclass(frozen=True, slots=True)
class Size:
    """One size of the store. ``parts`` and ``blocks`` are what opening may depend on."""

    points: int
    bytes: int
    parts: int
    written_bytes: int
    parts_max: int
    open_s: float
    open_cpu_s: float
    hour_s: tuple[float, float]
    last_s: tuple[float, float]


class Clock:
    """Wall and processor seconds, without the making of batches."""

    def __init__(self) -> None:
        self._wall, self._used = time.perf_counter(), time.process_time()

    def without(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the making of each does not count."""
        while True:
            wall, used = time.perf_counter(), time.thread_time()
            batch = next(batches, None)
            self._wall += time.perf_counter() - wall
            self._used += time.thread_time() - used
            if batch is None:
                return
            yield batch

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._used


# What runs in processes of its own


def ingest(place: Path, devices: int, points: int) -> Ingest:
    """Everything durable, in parts, closed; then compacted, to see its size."""
    options = EngineOptions(memory_limit_bytes=LIMIT_BYTES)
    engine = Engine.open(place, options)
    create_table(engine)
    ids = device_ids(engine, devices)
    engine.flush()
    stream = TelemetryStream(devices)
    clock = Clock()
    written = write(engine, ids, clock.without(stream.batches(points, BATCH_ROWS)))
    acknowledged_s, _ = clock.read()
    engine.close()
    taken_s, cpu_s = clock.read()
    flushed = stored_bytes(place)
    with Engine.open(place, options) as engine:
        engine.compact()
        parts = parts_of(engine)
    return Ingest(
        devices, written, taken_s, acknowledged_s, cpu_s, flushed, stored_bytes(place), parts
    )


class Grown:
    """The store that grows; each step is appended to what is there."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.points = 0
        self.written_bytes = 0
        self.parts_max = 0
        self.stream = TelemetryStream(SIZE_DEVICES)

    def to(self, points: int) -> int:
        """Grows to ``points``; returns the number of parts once what is due has been compacted."""
        options = EngineOptions(memory_limit_bytes=LIMIT_BYTES)
        with Engine.open(self.place, options) as engine:
            if not self.points:
                create_table(engine)
            ids = device_ids(engine, SIZE_DEVICES)
            while self.points < points:
                step = min(points - self.points, STEP_POINTS)
                self.points += write(engine, ids, self.stream.batches(step, BATCH_ROWS))
                self.parts_max = max(self.parts_max, parts_of(engine))
            engine.flush()
            statistics = engine.statistics()
            self.written_bytes += statistics.log.written_bytes
            self.written_bytes += statistics.housekeeping.compaction_bytes
        return self._settle()

    def _settle(self) -> int:
        """Compacts what is due, as the background would with some time; returns the parts left."""
        options = EngineOptions(memory_limit_bytes=LIMIT_BYTES, background=False)
        with Engine.open(self.place, options) as engine:
            engine._housekeeping.compact_due()  # noqa: SLF001 - compact() would join everything
            self.written_bytes += engine.statistics().housekeeping.compaction_bytes
            return parts_of(engine)


def opening(place: Path, now_ms: int) -> tuple[float, float]:
    """(wall, processor) seconds from nothing open to the first answer: an hour of one sensor.
    Imports are done."""
    import pyarrow  # noqa: F401 - to be loaded before the clock runs

    started, used = time.perf_counter(), time.process_time()
    engine = Engine.open(place)
    device = device_path(SIZE_DEVICES // 2)
    engine.scan(TABLE, device, start=now_ms - HOUR_MS, end=now_ms, columns=["m3"]).read_all()
    found = time.perf_counter() - started, time.process_time() - used
    engine.close()
    return found


def asking(place: Path, start_ms: int, now_ms: int, calls: int) -> tuple[list[float], list[float]]:
    """Seconds of each call: an hour of a sensor somewhere in the data, and a last row."""
    options = EngineOptions(memory_limit_bytes=LIMIT_BYTES, background=False)
    engine = Engine.open(place, options)
    ids = device_ids(engine, SIZE_DEVICES)
    rng = np.random.default_rng(SEED)
    devices = rng.integers(0, SIZE_DEVICES, calls).tolist()
    moments = rng.integers(start_ms, max(start_ms + 1, now_ms - HOUR_MS), calls).tolist()
    hours, lasts = [], []
    for device, moment in zip(devices, moments, strict=True):
        one, end = ids[device : device + 1], moment + HOUR_MS
        started = time.perf_counter()
        engine.scan(TABLE, one, start=moment, end=end, columns=["m3"]).read_all()
        hours.append(time.perf_counter() - started)
        started = time.perf_counter()
        engine.last(TABLE, one)
        lasts.append(time.perf_counter() - started)
    engine.close()
    return hours, lasts


# The runs


def by_devices(report: Report, place: Path, counts: Sequence[int], points: int) -> list[Ingest]:
    """The first half. Rates are of one machine in one run: the ratio counts."""
    found: list[Ingest] = []
    for devices in counts:
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            found.append(apart(ingest, Path(scratch) / "data", devices, points))
        run, first = found[-1], found[0]
        goal = ">= 0.3 of that of 1,000" if devices == counts[-1] and len(counts) > 2 else None
        name = f"{devices:,} devices"
        report.add(f"{name}: ingest", run.rate, "M points/s",
                   f"{run.points:,} points until in parts and closed; {run.rate / first.rate:.2f} "
                   f"of that of {counts[0]:,}; {run.points / run.acknowledged_s / 1e6:.3g} until "
                   "acknowledged", goal)  # fmt: skip
        report.add(f"{name}: processor time", run.cpu_s / run.points * 1e6, "s per M points",
                   "all threads, without making the points")  # fmt: skip
        report.add(f"{name}: size as flushed", run.flushed_bytes / run.points, "bytes/point",
                   "part files; what was due was compacted meanwhile")  # fmt: skip
        report.add(f"{name}: size compacted", run.compacted_bytes / run.points, "bytes/point",
                   f"{run.parts} parts")  # fmt: skip
    return found


def by_points(report: Report, place: Path, sizes: Sequence[int], quick: bool) -> list[Size]:
    """The second half."""
    grown = Grown(place / "grown")
    start_ms = grown.stream.now_ms
    found: list[Size] = []
    for points in sizes:
        parts = grown.to(points)
        now_ms = grown.stream.now_ms
        openings = OPENINGS_QUICK if quick else OPENINGS
        opened = [apart(opening, grown.place, now_ms) for _ in range(openings)]
        calls = CALLS_QUICK if quick else CALLS
        hours, lasts = apart(asking, grown.place, start_ms, now_ms, calls)
        found.append(
            Size(
                grown.points,
                stored_bytes(grown.place),
                parts,
                grown.written_bytes,
                grown.parts_max,
                float(np.median([wall for wall, _ in opened])),
                float(np.median([used for _, used in opened])),
                quantiles(hours),
                quantiles(lasts),
            )
        )
        add_size(report, found[-1], [wall for wall, _ in opened])
    return found


def add_size(report: Report, size: Size, opened: Sequence[float]) -> None:
    name = f"{size.points:,} points"
    goal = "<= 20 ms at 50 M, growing with the parts only"
    report.add(f"{name}: open and first answer", size.open_s * 1e3, "ms",
               f"fresh processes, median of {len(opened)}, {min(opened) * 1e3:.1f} to "
               f"{max(opened) * 1e3:.1f}; processor time {size.open_cpu_s * 1e3:.1f} ms; "
        f"{size.parts} parts", goal)  # fmt: skip
    for label, (median, high) in (
        ("an hour of one sensor", size.hour_s), ("last row of a device", size.last_s)
    ):  # fmt: skip
        report.add(f"{name}: {label}", median * 1e3, "ms",
                   f"median; 99th percentile {high * 1e3:.3g} ms; another device each time",
                   "as at 1e7")  # fmt: skip
    report.add(f"{name}: size", size.bytes / size.points, "bytes/point",
               f"{size.bytes / MIB:,.0f} MiB; at most {size.parts_max} parts while it grew; "
               f"{size.written_bytes / size.points:.3g} bytes written per point, log and "
               "compactions")  # fmt: skip


def panels(runs: Sequence[Ingest], sizes: Sequence[Size]) -> list[Panel]:
    """What is drawn of a run."""
    found = []
    if runs:
        rates = [(run.devices, run.rate) for run in runs]
        per_point = [(run.devices, run.compacted_bytes / run.points) for run in runs]
        found += [
            Panel("Durable ingest", "M points/s", "devices", rates),
            Panel("Size, compacted", "bytes/point", "devices", per_point),
        ]
    if sizes:
        hours = [(size.points, size.hour_s[0] * 1e3) for size in sizes]
        opened = [(size.points, size.open_s * 1e3) for size in sizes]
        found += [
            Panel("An hour of one sensor", "ms", "points on disk", hours),
            Panel("Open and first answer", "ms", "points on disk", opened),
        ]
    return found


def quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return float(np.median(seconds)), float(np.quantile(seconds, 0.99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points and devices")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--points", type=int, default=0, help="of each number of devices")
    parser.add_argument("--only", choices=("devices", "points"), help="one half")
    parser.add_argument("--sizes", type=int, nargs="+", help="sizes of the store that grows")
    parser.add_argument("--svg", type=Path, help="where to draw the curves")
    arguments = parser.parse_args()
    quick = bool(arguments.quick)
    report = Report("scale", quick)
    runs: list[Ingest] = []
    sizes: list[Size] = []
    with tempfile.TemporaryDirectory(prefix="mainstem-scale-") as scratch:
        if arguments.only != "points":
            counts = DEVICES_QUICK if quick else DEVICES
            points = arguments.points or (POINTS_QUICK if quick else POINTS)
            runs = by_devices(report, Path(scratch), counts, points)
        if arguments.only != "devices":
            wanted = arguments.sizes or (SIZES_QUICK if quick else SIZES)
            sizes = by_points(report, Path(scratch), wanted, quick)
    report.extra = {
        "devices": [asdict(run) for run in runs],
        "sizes": [asdict(size) for size in sizes],
    }
    report.print(arguments.json)
    if arguments.svg is not None:
        arguments.svg.write_text(curves("How the engine scales", panels(runs, sizes)), "utf-8")


if __name__ == "__main__":
    main()
