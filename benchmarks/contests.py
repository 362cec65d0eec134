"""What each contestant is asked to do, as functions that run in a process of their own.

A fresh process each time: no side inherits memory, caches or threads of another. What a function
returns are plain numbers, or arrays of them.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
from peers import Mainstem, Store
from peers.store import answer_columns
from telemetry import START_MS, STEP_MS, DataSet

MIB = 1 << 20
SMALL_ROWS = 1_000
HOUR_MS = 3_600_000
SAMPLE_S = 0.005
"""How often memory is looked at: a flush takes many times longer."""
REPLAY_MEMORY_BYTES = 4096 * MIB
"""So much that nothing is flushed before the crash, and all of it is read from the log."""

Kind = type[Store]


class Room:
    """A process of its own, in which functions run one after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context)

    def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        return self._pool.submit(function, *arguments).result()

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """``function(*arguments)`` in a process of its own."""
    with Room() as room:
        return room.run(function, *arguments)


# Writing


def ingest(kind: Kind, data: DataSet, place: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Everything durable and in data files: seconds, seconds until the last batch was acknowledged,
    and the peak of memory. ``options`` go to the store. The batches are made before the clock runs:
    reading them takes longer than some stores do."""
    kind.import_modules()
    batches = list(data.batches(kind.batch_rows))
    store = kind(place, data.devices, new=True, **options)
    with peak_memory() as peak:
        started = time.perf_counter()
        store.load(batches)
        acknowledged = time.perf_counter()
        store.close()
        ended = time.perf_counter()
    return {"s": ended - started, "acknowledged_s": acknowledged - started, "bytes": peak[0]}


def small_commits(kind: Kind, data: DataSet, place: Path, commits: int) -> float:
    """Seconds of ``commits`` durable batches of SMALL_ROWS, one after the other."""
    kind.import_modules()
    batches = list(data.batches(SMALL_ROWS, 0, commits * SMALL_ROWS))
    store = kind(place, data.devices, new=True)
    started = time.perf_counter()
    store.load_in_turn(batches)
    seconds = time.perf_counter() - started
    store.close()
    return seconds


def row_calls(kind: Kind, data: DataSet, place: Path, count: int) -> float:
    """Rows a second, one row per call, each durable at the end."""
    kind.import_modules()
    store = kind(place, data.devices, new=True)
    rows = store.rows_of(next(data.batches(max(1, int(count * kind.row_share)))))
    started = time.perf_counter()
    store.insert_rows(rows)
    rate = len(rows) / (time.perf_counter() - started)
    store.close()
    return rate


def crash(data: DataSet, place: Path, rows: int) -> None:
    """Writes the first ``rows`` rows of ours, and ends at once when the last is acknowledged."""
    store = Mainstem(
        place, data.devices, new=True,
        memory_limit_bytes=REPLAY_MEMORY_BYTES, flush_bytes=REPLAY_MEMORY_BYTES, flush_every_ns=0,
    )  # fmt: skip
    store.load(data.batches(Mainstem.batch_rows, 0, rows))
    os._exit(0)


def replay(place: Path, devices: int, rows: int) -> float:
    """Seconds of opening after crash(). Raises SystemExit when a row is missing."""
    Mainstem.import_modules()
    started = time.perf_counter()
    store = Mainstem(place, devices, memory_limit_bytes=REPLAY_MEMORY_BYTES)
    seconds = time.perf_counter() - started
    found = sum(store.groups().column(1).to_pylist())
    store.close()
    if found != rows:
        raise SystemExit(f"benchmark: of {rows:,} acknowledged rows {found:,} came back")
    return seconds


# Sizes


def settle(kind: Kind, place: Path, devices: int) -> int:
    """What a product does once when rows have been loaded. Bytes of its smallest form."""
    kind.import_modules()
    store = kind(place, devices, kind.forms[0])
    store.settle()
    store.close()
    sizes = []
    for form in kind.general_forms():
        store = kind(place, devices, form)
        sizes.append(store.data_bytes())
        store.close()
    return min(sizes)


# Reading


class Asked:
    """What is open in this process, for ask() and answer()."""

    store: Store | None = None


def span(data: DataSet) -> tuple[int, int]:
    """[start, end) of the hour that is asked for: the last but one, or what there is."""
    start = max(START_MS, data.end_ms - 2 * HOUR_MS)
    return start, min(start + HOUR_MS, data.end_ms) - STEP_MS


def open_here(kind: Kind, place: Path, devices: int, form: str) -> None:
    kind.import_modules()
    Asked.store = kind(place, devices, form)


def ask(question: str, arguments: Sequence[tuple[Any, ...]]) -> list[float]:
    """Seconds of each call of what was opened here; not the first one of a process."""
    method = getattr(Asked.store, question)
    method(*arguments[0])
    gc.collect()
    times = []
    for each in arguments:
        started = time.perf_counter()
        method(*each)
        times.append(time.perf_counter() - started)
    return times


def answer(
    question: str, arguments: tuple[Any, ...], keys: Sequence[str]
) -> list[npt.NDArray[Any]]:
    """The answer to one call, as sorted columns of numbers."""
    return answer_columns(getattr(Asked.store, question)(*arguments), keys)


def close_here() -> None:
    if Asked.store is not None:
        Asked.store.close()


def opening(kind: Kind, place: Path, data: DataSet, form: str) -> float:
    """Seconds from nothing open to the first answer, an hour of one sensor. Modules are loaded."""
    kind.import_modules()
    devices = max(1, int(data.devices * kind.device_share))
    start, end = span(data)
    started = time.perf_counter()
    store = kind(place, devices, form)
    store.first_answer(devices // 2, start, end, "m3")
    seconds = time.perf_counter() - started
    store.close()
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
