"""A million cars of one template, created by data alone, and read back.

1. ``create schema template car_template(...)`` with 30 measurements and ``set schema template
   car_template to root.beijing``. One row per car, 30 values, creates it.
2. The directory is opened by a new process: what it holds in memory. Rows of some cars are compared
   value by value; SQL counts all.

``mainstem bench catalog`` has names, tags, look-ups and changes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cars import (
    DEVICES,
    DEVICES_QUICK,
    MEASUREMENTS,
    SEED,
    Step,
    child,
    memory,
    paths,
    statements,
    timed,
)
from report import Report

from mainstem_engine import Engine, EngineOptions

BATCH = 10_000
"""Rows of one call; with 30 values each they are 1.2 MB."""
READ_BACK = 1_000
START_MS = 1_767_225_600_000


def values(devices: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """What each car reports, by measurement."""
    return {
        f"s{number}": (devices * 31 + number).astype(np.int32)
        if number % 2
        else ((devices % 1000) / 8 + number).astype(np.float32)
        for number in range(1, MEASUREMENTS + 1)
    }


def create_by_data(place: Path, devices: int) -> dict[str, float]:
    """One row per car; the rows create the cars."""
    with Engine.open(place, EngineOptions()) as engine:
        for statement in statements(False):
            engine.sql(statement)
        taken_s = 0.0
        for start in range(0, devices, BATCH):
            numbers = np.arange(start, min(start + BATCH, devices))
            some, columns = paths(start, start + len(numbers)), values(numbers)
            times = np.full(len(numbers), START_MS)
            called = time.perf_counter()
            ack = engine.write("car_template", some, times, columns)
            taken_s += time.perf_counter() - called
        taken_s += timed(ack.wait)
        held = memory()
        flush_s = timed(engine.flush)
    return {"s": taken_s, "flush_s": flush_s, "peak": held["VmHWM"]}


def read_back(place: Path, devices: int) -> dict[str, float]:
    """Rows of some cars, value by value; counts of all by SQL."""
    with Engine.open(place, EngineOptions(background=False)) as engine:
        held = memory()
        rng = np.random.default_rng(SEED)
        numbers = np.unique(rng.integers(0, devices, READ_BACK))
        expected = values(numbers)
        names = [paths(number, number + 1)[0] for number in numbers.tolist()]
        rows = engine.scan("car_template", devices=names).read_all()
        if rows["device"].to_pylist() != names:
            raise SystemExit("the cars read are not those asked for")
        for name, wanted in expected.items():
            if not np.array_equal(rows[name].to_numpy(), wanted):
                raise SystemExit(f"{name} is not what was written")
        counted = ", ".join(f"count(s{number})" for number in range(1, MEASUREMENTS + 1))
        started = time.perf_counter()
        (row,) = engine.sql(f"select count(*), {counted} from car_template").rows()
        taken_s = time.perf_counter() - started
        if set(row) != {devices}:
            raise SystemExit(f"SQL counts {sorted(set(row))} rows and values, not {devices}")
    return {"count_s": taken_s, "values": float(len(numbers) * MEASUREMENTS), **held}


STEPS: Mapping[str, Step] = {"create": create_by_data, "read": read_back}


def measure(report: Report, place: Path, devices: int) -> None:
    """Both steps, and their figures."""
    step, many = partial(child, program=__file__), f"{devices:,} cars"
    made = step("create", place / "rows", devices)
    points = devices * MEASUREMENTS
    report.add(
        "created by data",
        made["s"],
        "s",
        f"{many}, a row of {MEASUREMENTS} values each, batches of {BATCH:,}, durable",
    )
    report.add("created by data, cars", devices / made["s"], "cars/s", "the same")
    report.add("created by data, points", points / made["s"] / 1e6, "M points/s", "the same")
    report.add("created by data, peak memory", made["peak"], "MB", "VmHWM, memory_limit 256 MiB")
    read = step("read", place / "rows", devices)
    report.add(
        "with rows, anonymous memory after opening",
        read["RssAnon"],
        "MB",
        "names, and the time of the newest row of each car",
    )
    report.add("values compared", read["values"], "values", "of cars chosen at random; all equal")
    report.add(
        "SQL count of all",
        read["count_s"] * 1e3,
        "ms",
        f"count(*) and count of each of {MEASUREMENTS} measurements, in this process",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{DEVICES_QUICK:,} cars")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--devices", type=int, default=None)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    devices = arguments.devices or (DEVICES_QUICK if arguments.quick else DEVICES)
    if arguments.step is not None:
        print(json.dumps(STEPS[arguments.step](arguments.place, devices)))
        return
    report = Report("seed", arguments.quick)
    with tempfile.TemporaryDirectory(prefix="mainstem-seed-") as place:
        measure(report, Path(place), devices)
    report.print(arguments.json)


if __name__ == "__main__":
    main()
