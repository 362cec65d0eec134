"""Group commit on a slow disk: what a sync of 5 ms costs many writers, beside one of 0.05 ms.

1. A file system whose syncs do nothing but wait: how long is the figure that is varied, and nothing
   else of a disk gets into it. What is written goes to real files.
2. WRITERS threads write batches of ROWS rows, each a durable commit of its own. A writer that waits
   for each before it writes the next has at most one commit a sync, and in turns with the others
   one in two; so the rate is taken with IN_FLIGHT commits on their way from each as well, as
   clients have them that are faster than a disk.
3. Both delays in turns, some rounds; a ratio is of two figures of the same round.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import Report
from telemetry import COUNTERS, SENSORS, Batch, make_dataset, sensor_names

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template
from mainstem_engine.filesystem import AppendFile, Buffer, Filesystem

WRITERS = 20
ROWS = 1_000
FAST_S, SLOW_S = 0.05e-3, 5e-3
IN_FLIGHT = 4
COMMITS, COMMITS_QUICK = 60, 5
"""Of each writer."""
ROUNDS, ROUNDS_QUICK = 5, 1
DEVICES = 1_000
GOAL = 0.8
MEMORY_BYTES = 512 << 20
TABLE = "machines"


class SlowFile(AppendFile):
    """Another file, but a sync takes a given time, and only that."""

    __slots__ = ("_delay_s", "_file")

    def __init__(self, file: AppendFile, delay_s: float) -> None:
        self._file = file
        self._delay_s = delay_s
        self.path = file.path

    def write(self, buffers: Sequence[Buffer]) -> int:
        return self._file.write(buffers)

    def sync(self) -> None:
        time.sleep(self._delay_s)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()


class SlowFilesystem(Filesystem):
    """Every sync takes ``delay_s``; there is no other disk."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        return SlowFile(super().create(path, mode=mode), self._delay_s)

    def open_append(self, path: Path) -> AppendFile:
        return SlowFile(super().open_append(path), self._delay_s)

    def sync_directory(self, path: Path) -> None:
        time.sleep(self._delay_s)


def commits_per_second(
    place: Path, delay_s: float, batches: Sequence[Sequence[Batch]], in_flight: int
) -> tuple[float, float]:
    """(commits a second, commits per sync) of one thread for each list of batches."""
    options = EngineOptions(memory_limit_bytes=MEMORY_BYTES)
    engine = Engine.open(place, options, fs=SlowFilesystem(delay_s))
    engine.create_template(Template(TABLE, tuple(
        Measurement(0, name, ColumnType.INT64 if name in COUNTERS else ColumnType.DOUBLE)
        for name in sensor_names()
    )))  # fmt: skip
    paths = [f"root.bench.d{number}" for number in range(DEVICES)]
    ids = engine.device_ids(TABLE, paths, create=True)
    failures: list[BaseException] = []

    def write(mine: Sequence[Batch]) -> None:
        waiting: list[Any] = []
        try:
            for batch in mine:
                if len(waiting) >= in_flight:
                    waiting.pop(0).wait()
                waiting.append(engine.write(TABLE, ids[batch.device], batch.time, batch.columns))
            waiting[-1].wait()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(mine,)) for mine in batches]
    before = engine.log.statistics()
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    after = engine.log.statistics()
    engine.abandon()
    if failures:
        raise failures[0]
    commits = sum(len(mine) for mine in batches)
    return commits / seconds, commits / max(1, after.syncs - before.syncs)


def slow_disk(
    place: Path, commits: int = COMMITS, rounds: int = ROUNDS, in_flight: int = IN_FLIGHT
) -> list[dict[float, tuple[float, float]]]:
    """By round and seconds of a sync (FAST_S, SLOW_S): (commits a second, commits per sync).

    ``commits``: of each writer. ``place``: an empty scratch directory.
    """
    data = make_dataset(place / "data", WRITERS * commits * ROWS * SENSORS, DEVICES)
    every = list(data.batches(ROWS))
    batches = [every[number::WRITERS] for number in range(WRITERS)]
    found = []
    for _ in range(rounds):
        rates = {}
        for delay_s in (FAST_S, SLOW_S):
            path = place / "engine"
            rates[delay_s] = commits_per_second(path, delay_s, batches, in_flight)
            shutil.rmtree(path)
        found.append(rates)
    shutil.rmtree(place / "data")
    return found


def add_figures(report: Report, place: Path, commits: int, rounds: int) -> None:
    """The rates and their ratio, with one commit of each writer on its way and with more."""
    million = ROWS * SENSORS / 1e6
    for in_flight, goal in ((1, None), (IN_FLIGHT, f">= {GOAL}")):
        found = slow_disk(place, commits, rounds, in_flight)
        how = f"{WRITERS} writers, commits of {ROWS:,} rows, {in_flight} of each on the way"
        for delay_s in (FAST_S, SLOW_S):
            rate = statistics.median(run[delay_s][0] for run in found)
            grouped = statistics.median(run[delay_s][1] for run in found)
            report.add(f"sync of {delay_s * 1e3:g} ms, {in_flight} on the way", rate * million,
                       "M points/s", f"{how}; {grouped:.1f} commits a sync")  # fmt: skip
        ratios = [run[SLOW_S][0] / run[FAST_S][0] for run in found]
        report.add(f"ratio, {in_flight} on the way", statistics.median(ratios), "",
                   f"{min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds", goal)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Group commit on a slow disk.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    quick = bool(arguments.quick)
    place = Path(tempfile.mkdtemp(prefix="mainstem-bench-"))
    report = Report("slow_disk", quick)
    try:
        add_figures(
            report, place, COMMITS_QUICK if quick else COMMITS, ROUNDS_QUICK if quick else ROUNDS
        )
    finally:
        shutil.rmtree(place)
    report.print(as_json=arguments.json)


if __name__ == "__main__":
    main()
