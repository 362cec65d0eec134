"""Replay: how fast a start takes over what a killed process had in its log and in no part.

1. A process writes points in batches of BATCH_ROWS rows, waits until all are durable, and is killed
   with SIGKILL before anything is flushed.
2. Another one opens the directory. The clock runs until Engine.open returns: the log is checked and
   read, and every row is in memory and can be queried; how many there are is asked afterwards.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import signal
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from report import Report
from telemetry import COUNTERS, DEVICES, DataSet, make_dataset, sensor_names

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template

TABLE = "machines"
BATCH_ROWS = 100_000
POINTS, POINTS_QUICK = 20_000_000, 400_000
ROUNDS, ROUNDS_QUICK = 3, 1
GOAL = 20
"""Million points a second."""
MEMORY_BYTES = 16 << 30
"""So much that nothing is flushed before the end."""
CHILD_S_MAX = 600.0


def options() -> EngineOptions:
    return EngineOptions(memory_limit_bytes=MEMORY_BYTES, flush_bytes=MEMORY_BYTES)


def write(data: DataSet, path: Path, ready: Connection) -> None:
    """The process that is killed: says when everything is durable, and waits for its end."""
    engine = Engine.open(path, options())
    engine.create_template(Template(TABLE, tuple(
        Measurement(0, name, ColumnType.INT64 if name in COUNTERS else ColumnType.DOUBLE)
        for name in sensor_names()
    )))  # fmt: skip
    paths = [f"root.bench.d{number}" for number in range(data.devices)]
    ids = engine.device_ids(TABLE, paths, create=True)
    for batch in data.batches(BATCH_ROWS):
        engine.write(TABLE, ids[batch.device], batch.time, batch.columns).wait()
    if engine.statistics().head_rows != data.rows:
        raise SystemExit("benchmark: something was flushed")
    ready.send("durable")
    time.sleep(CHILD_S_MAX)


def killed(data: DataSet, path: Path) -> None:
    """Leaves in ``path`` what a killed process leaves."""
    context = multiprocessing.get_context("spawn")
    ready, theirs = context.Pipe()
    child = context.Process(target=write, args=(data, path, theirs), daemon=True)
    child.start()
    theirs.close()
    if not ready.poll(CHILD_S_MAX):
        raise SystemExit("benchmark: the child did not come to its end")
    ready.recv()
    child.kill()
    child.join()
    if child.exitcode != -signal.SIGKILL:
        raise SystemExit(f"benchmark: the child ended by itself with {child.exitcode}")


def reopen(data: DataSet, path: Path) -> tuple[float, float]:
    """(seconds, CPU seconds) of opening ``path``. SystemExit when rows are missing."""
    started, cpu = time.perf_counter(), time.process_time()
    engine = Engine.open(path, options())
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if engine.statistics().head_rows != data.rows:
        raise SystemExit(f"benchmark: {engine.statistics().head_rows} rows of {data.rows}")
    engine.abandon()
    return seconds, cpu


def replay(data: DataSet, place: Path, rounds: int = ROUNDS) -> list[tuple[float, float]]:
    """By round (seconds, CPU seconds) of opening what a killed process wrote, each in a process of
    its own. ``place``: a scratch directory for one store."""
    found = []
    for _ in range(rounds):
        path = place / "killed"
        shutil.rmtree(path, ignore_errors=True)
        killed(data, path)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found.append(pool.submit(reopen, data, path).result())
        shutil.rmtree(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Replay of the log after a kill.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--points", type=int, default=0)
    arguments = parser.parse_args()
    quick = bool(arguments.quick)
    points = arguments.points or (POINTS_QUICK if quick else POINTS)
    place = Path(tempfile.mkdtemp(prefix="mainstem-bench-"))
    report = Report("replay", quick)
    try:
        data = make_dataset(place / "data", points, DEVICES)
        found = replay(data, place, ROUNDS_QUICK if quick else ROUNDS)
    finally:
        shutil.rmtree(place)
    millions = data.points / 1e6
    how = f"{data.points:,} points in batches of {BATCH_ROWS:,} rows, none in a part, kill -9"
    report.add("log replay after a kill", statistics.median(millions / s for s, _ in found),
               "M points/s", how, f">= {GOAL}")  # fmt: skip
    report.add("the same by CPU time", statistics.median(millions / cpu for _, cpu in found),
               "M points/s", "all threads of the process that opens")  # fmt: skip
    report.print(as_json=arguments.json)


if __name__ == "__main__":
    main()
