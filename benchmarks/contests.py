"""What each contestant is asked to do, as functions that run in a process of their own.

A fresh process each time: neither side inherits memory, caches or threads of the other. What a
function returns are plain numbers.
"""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from stores import TABLE, DuckDb, Mainstem, answers_agree, single_rows
from telemetry import START_MS, STEP_MS, DataSet

MIB = 1 << 20
BATCH_ROWS = 100_000
SMALL_ROWS = 1_000
HOUR_MS = 3_600_000
SAMPLE_S = 0.005
"""How often memory is looked at: a flush takes many times longer."""
THREADS = 8
UNACKNOWLEDGED_ROWS = 1_000
"""Rows that one thread has written and not yet seen acknowledged."""
SEED = 7
QUERY_MEMORY_BYTES = 512 * MIB


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """``function(*arguments)`` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


# Writing


def ingest_mainstem(data: DataSet, path: Path, memory_limit_bytes: int) -> dict[str, float]:
    """Everything durable and in parts: seconds, seconds until acknowledged, peak of memory."""
    store = Mainstem(path, memory_limit_bytes, data.devices)
    with peak_memory() as peak:
        started = time.perf_counter()
        store.load(data.batches(BATCH_ROWS))
        acknowledged = time.perf_counter()
        store.close()
        ended = time.perf_counter()
    return {"s": ended - started, "acknowledged_s": acknowledged - started, "bytes": peak[0]}


def ingest_duckdb(data: DataSet, path: Path) -> dict[str, float]:
    """The same into DuckDB, its last checkpoint included."""
    store = DuckDb(path)
    with peak_memory() as peak:
        started = time.perf_counter()
        store.load(data.batches(BATCH_ROWS))
        acknowledged = time.perf_counter()
        store.close()
        ended = time.perf_counter()
    return {"s": ended - started, "acknowledged_s": acknowledged - started, "bytes": peak[0]}


def small_commits(data: DataSet, place: Path, commits: int) -> tuple[float, float]:
    """(ours, DuckDB's) seconds of ``commits`` durable batches, one after the other."""
    batches = list(data.batches(SMALL_ROWS, 0, commits * SMALL_ROWS))
    ours = Mainstem(place / "small", QUERY_MEMORY_BYTES, data.devices)
    theirs = DuckDb(place / "small.duckdb")
    seconds = []
    for load in (partial(ours.load, batches, in_flight=1), partial(theirs.load, batches)):
        started = time.perf_counter()
        load()
        seconds.append(time.perf_counter() - started)
    ours.close()
    theirs.close()
    return seconds[0], seconds[1]


def row_calls(data: DataSet, place: Path, count: int) -> tuple[float, float]:
    """(ours, DuckDB's) rows a second, one row per call; ours from several threads."""
    batch = next(data.batches(count))
    rows = single_rows(batch)
    ours = Mainstem(place / "rows", QUERY_MEMORY_BYTES, data.devices)
    failures: list[BaseException] = []

    def write(some: list[tuple[int, int, dict[str, list[Any]]]]) -> None:
        try:
            waiting = []
            for device, moment, columns in some:
                waiting.append(ours.engine.write(TABLE, ours.ids[device], [moment], columns))
                if len(waiting) == UNACKNOWLEDGED_ROWS:
                    waiting[-1].wait()
                    waiting.clear()
            if waiting:
                waiting[-1].wait()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(rows[n::THREADS],)) for n in range(THREADS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mine = len(rows) / (time.perf_counter() - started)
    ours.close()
    if failures:
        raise failures[0]
    theirs = DuckDb(place / "rows.duckdb")
    # A transaction each takes DuckDB long: a hundredth of the rows says as much.
    few = [(device, moment, *(value[0] for value in columns.values()))
           for device, moment, columns in rows[: max(1, count // 100)]]  # fmt: skip
    started = time.perf_counter()
    for row in few:
        theirs.insert_row(row)
    their = len(few) / (time.perf_counter() - started)
    theirs.close()
    return mine, their


# Sizes


def settle_mainstem(path: Path, devices: int) -> tuple[float, float]:
    """(bytes, seconds of compaction)."""
    store = Mainstem(path, QUERY_MEMORY_BYTES, devices)
    started = time.perf_counter()
    store.compact()
    seconds = time.perf_counter() - started
    store.close()
    return store.data_bytes(), seconds


def settle_duckdb(path: Path, sorted_path: Path) -> tuple[float, float]:
    """Bytes of the file as loaded, and sorted."""
    store = DuckDb(path)
    store.sorted_into(sorted_path)
    store.close()
    return store.data_bytes(), sorted_path.stat().st_size


# Reading


def queries(
    data: DataSet, ours: Path, loaded: Path, ordered: Path, rounds: int, calls: int
) -> dict[str, list[tuple[float, float, float]]]:
    """Per question and round the median seconds of (ours, DuckDB as loaded, DuckDB sorted).

    Questions go to each in turn; each call asks for another device. Raises SystemExit when the
    answers differ.
    """
    mine = Mainstem(ours, QUERY_MEMORY_BYTES, data.devices)
    others = [DuckDb(loaded), DuckDb(ordered)]
    stores: list[Mainstem | DuckDb] = [mine, *others]
    if not answers_agree(mine.groups(), others[1].groups()):
        raise SystemExit("benchmark: the answers of both differ")
    rng = np.random.default_rng(SEED)
    start = max(START_MS, data.end_ms - 2 * HOUR_MS)
    end = min(start + HOUR_MS, data.end_ms) - STEP_MS
    asked: dict[str, tuple[Callable[[Any, int], Any], int]] = {
        "last": (lambda store, device: store.last(device), calls),
        "range": (lambda store, device: store.range(device, start, end, "m3"), calls),
        "windows": (lambda store, device: store.windows(device, "m0"), calls),
        "all windows": (lambda store, device: store.all_windows(), 3),
        "groups": (lambda store, device: store.groups(), 3),
        "filtered groups": (lambda store, device: store.filtered_groups(), 3),
    }
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name, (question, times) in asked.items():
        for store in stores:
            question(store, 0)
        found[name] = []
        for _ in range(rounds):
            devices = rng.integers(0, data.devices, times).tolist()
            medians = [_median_s(lambda d, s=store, q=question: q(s, d), devices)  # type: ignore[misc]
                       for store in stores]  # fmt: skip
            found[name].append((medians[0], medians[1], medians[2]))
    for store in stores:
        store.close()
    return found


def _median_s(question: Callable[[int], Any], devices: list[int]) -> float:
    times = []
    gc.collect()
    for device in devices:
        started = time.perf_counter()
        question(device)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def open_mainstem(path: Path, devices: int) -> float:
    """Seconds from nothing open to the first answer: an hour of one sensor. Imports are done."""
    import pyarrow  # noqa: F401 - to be loaded before the clock runs, as DuckDB's module is

    from mainstem_engine import Engine

    started = time.perf_counter()
    engine = Engine.open(path)
    engine.scan(TABLE, f"root.bench.d{devices // 2}", columns=["m3"]).read_all()
    seconds = time.perf_counter() - started
    engine.close()
    return seconds


def open_duckdb(path: Path, devices: int) -> float:
    """The same of DuckDB."""
    import duckdb
    import pyarrow  # noqa: F401 - as above

    started = time.perf_counter()
    connection = duckdb.connect(str(path), read_only=True)
    connection.sql(
        f"SELECT time, m3 FROM {TABLE} WHERE device = ? ORDER BY time", params=(devices // 2,)
    ).to_arrow_table()
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


# Memory


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """One number: the most anonymous memory above that of the beginning, while this is open."""
    peak = [0.0]
    before = anonymous_bytes()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLE_S):
            peak[0] = max(peak[0], anonymous_bytes() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def anonymous_bytes() -> int:
    """Resident memory of this process that is no file: mapped pages can be dropped at any time."""
    with Path("/proc/self/status").open(encoding="ascii") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0
