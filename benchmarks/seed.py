"""A million cars of one template: created by data alone, read back, and what they take in memory.

1. ``create schema template car_template(...)`` with 30 measurements and ``set schema template
   car_template to root.beijing``. One row per car, 30 values, creates it.
2. The directory is opened by a new process: how long that takes, what it holds in memory, how long
   a path takes to be found. Rows of some cars are compared value by value; SQL counts all.
3. The same names without rows, and with three tags: creation, memory, and queries by tag.

Each step is a process of its own. Memory is compared with that of the same step on one car.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from report import Report

from mainstem_engine import Engine, EngineOptions

DEVICES, DEVICES_QUICK = 1_000_000, 20_000
MEASUREMENTS = 30
BATCH = 10_000
"""Rows of one call; with 30 values each they are 1.2 MB."""
NAMES_BATCH = 50_000
LOOKUPS = 20_000
READ_BACK = 1_000
START_MS = 1_767_225_600_000
LINES, MODELS = 50, 3_000
"""Distinct values of two of the tags; the third is different for every car."""
ROUNDS = 20
"""The fastest counts: whatever else the machine does can only add to it."""
SEED = 7


def statements(tags: bool) -> Sequence[str]:
    """As the seed writes them; a template with tags as the other peer's statement."""
    numbers = range(1, MEASUREMENTS + 1)
    if tags:
        declared = [f"s{number} {'INT' if number % 2 else 'FLOAT'}" for number in numbers]
        kinds = "line VARCHAR(16), model VARCHAR(16), vin VARCHAR(24)"
        columns = ", ".join(declared)
        return (f"create stable car_template (ts TIMESTAMP, {columns}) TAGS ({kinds})",)
    declared = [
        f"(s{number} INT32 encoding=Gorilla compression=SNAPPY)"
        if number % 2
        else f"(s{number} FLOAT encoding=RLE compression=SNAPPY)"
        for number in numbers
    ]
    return (
        f"create schema template car_template({', '.join(declared)},);",
        "set schema template car_template to root.beijing;",
    )


def paths(start: int, end: int) -> list[str]:
    return [f"root.beijing.car{number:07d}" for number in range(start, end)]


def values(devices: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """What each car reports, by measurement."""
    return {
        f"s{number}": (devices * 31 + number).astype(np.int32)
        if number % 2
        else ((devices % 1000) / 8 + number).astype(np.float32)
        for number in range(1, MEASUREMENTS + 1)
    }


def memory() -> dict[str, float]:
    """VmRSS and RssAnon of this process in MB."""
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "RssAnon", "VmHWM"):
            found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


# What the child processes do: each returns its figures


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


def create_names(place: Path, devices: int, tags: bool) -> dict[str, float]:
    """The cars without rows."""
    options = EngineOptions()
    with Engine.open(place, options) as engine:
        for statement in statements(tags):
            engine.sql(statement)
        taken_s, used_s = 0.0, 0.0
        for start in range(0, devices, NAMES_BATCH):
            end = min(start + NAMES_BATCH, devices)
            some, columns = paths(start, end), tag_values(start, end) if tags else None
            make = partial(engine.device_ids, "car_template", some, columns, create=True)
            used = time.process_time()
            taken_s += timed(make)
            used_s += time.process_time() - used
        peak = memory()["VmHWM"]
        engine.flush()
        one_more = timed(
            lambda: engine.device_ids("car_template", ["root.beijing.new"], create=True)
        )
        flush_s = timed(engine.flush)
    return {"s": taken_s, "cpu_s": used_s, "peak": peak, "one_more_s": one_more, "flush_s": flush_s}


def tag_values(start: int, end: int) -> dict[str, list[str]]:
    numbers = range(start, end)
    return {
        "line": [f"line {number % LINES}" for number in numbers],
        "model": [f"model {number % MODELS}" for number in numbers],
        "vin": [f"LSVAA{number:012d}" for number in numbers],
    }


def open_names(place: Path, devices: int, tags: bool) -> dict[str, float]:
    """Opens, looks names up, asks for tags; then says what is in memory."""
    started = time.perf_counter()
    engine = Engine.open(place, EngineOptions(background=False))
    found = {"open_s": time.perf_counter() - started}
    catalog = engine.catalog.devices
    rng = np.random.default_rng(SEED)
    numbers = rng.integers(0, devices, LOOKUPS).tolist()
    asked = [paths(number, number + 1)[0] for number in numbers]
    if [catalog.id_of(path) for path in asked] != numbers:
        raise SystemExit("a path leads to another car")
    again = (timed(lambda: [catalog.id_of(path) for path in asked]) for _ in range(ROUNDS))
    found["lookup_s"] = min(again) / len(numbers)
    if tags:
        found.update(ask_for_tags(engine, devices))
    found.update(memory())
    some = paths(0, min(devices, NAMES_BATCH))
    found["list_s"] = min(timed(lambda: catalog.lookup(some)) for _ in range(ROUNDS)) / len(some)
    found["below_s"] = timed(lambda: catalog.below("root.beijing"))
    engine.abandon()
    return found


def ask_for_tags(engine: Engine, devices: int) -> dict[str, float]:
    """First and repeated questions for one value, two tags, and a value that one car has."""
    questions: Mapping[str, tuple[Mapping[str, object], int]] = {
        "line": ({"line": "line 7"}, -(-max(0, devices - 7) // LINES)),
        "both": (
            {"line": "line 7", "model": "model 7"},
            -(-max(0, devices - 7) // MODELS),
        ),
        "vin": ({"vin": f"LSVAA{devices // 2:012d}"}, 1),
    }
    found = {}
    matching = engine.catalog.devices.matching
    for name, (question, expected) in questions.items():
        started = time.perf_counter()
        count = len(matching("car_template", question))
        found[f"{name}_first_s"] = time.perf_counter() - started
        if count != expected:
            raise SystemExit(f"{question}: {count} cars, not {expected}")
        again = partial(matching, "car_template", question)
        found[f"{name}_s"] = min(timed(again) for _ in range(ROUNDS))
    return found


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


STEPS: Mapping[str, Callable[[Path, int], dict[str, float]]] = {
    "create": create_by_data,
    "names": lambda place, devices: create_names(place, devices, False),
    "tagged": lambda place, devices: create_names(place, devices, True),
    "open": lambda place, devices: open_names(place, devices, False),
    "open-tagged": lambda place, devices: open_names(place, devices, True),
    "read": read_back,
}


def child(step: str, place: Path, devices: int, program: str = __file__) -> dict[str, float]:
    """Runs a step of a benchmark in a process of its own."""
    command = [sys.executable, program, "--step", step, "--place", str(place)]
    ended = subprocess.run(
        [*command, "--devices", str(devices)], stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"step {step} failed")
    figures: dict[str, float] = json.loads(ended.stdout)
    return figures


def measure(report: Report, place: Path, devices: int) -> None:
    """All steps, and their figures."""
    many = f"{devices:,} cars"
    made = child("create", place / "rows", devices)
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
    read = child("read", place / "rows", devices)
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
    names(report, place, devices, tags=False)
    names(report, place, devices, tags=True)


def names(report: Report, place: Path, devices: int, *, tags: bool) -> None:
    """Cars without rows: creation, opening, lookups, memory."""
    label = "names and three tags" if tags else "names"
    create, look = ("tagged", "open-tagged") if tags else ("names", "open")
    made = child(create, place / create, devices)
    child(create, place / f"{create}-1", 1)
    few = child(look, place / f"{create}-1", 1)
    many = child(look, place / create, devices)
    goals = not tags
    report.add(
        f"{label}, created",
        made["s"],
        "s",
        f"lists of {NAMES_BATCH:,} paths",
        "5 s" if goals else None,
    )
    report.add(
        f"{label}, processor time of creation",
        made["cpu_s"],
        "s",
        "all threads, merges in the background included",
    )
    report.add(f"{label}, one more", made["one_more_s"] * 1e6, "us", "one path, not there yet")
    report.add(f"{label}, peak memory of creation", made["peak"], "MB", "VmHWM")
    report.add(f"{label}, flush of one more", made["flush_s"] * 1e3, "ms", "checkpoint included")
    report.add(f"{label}, open", many["open_s"] * 1e3, "ms", "a new process", "50 ms")
    report.add(
        f"{label}, lookup",
        many["lookup_s"] * 1e6,
        "us",
        f"Devices.id_of, {LOOKUPS:,} at random",
        "3 us" if goals else None,
    )
    report.add(f"{label}, lookup in a list", many["list_s"] * 1e6, "us", "each of 50,000 paths")
    report.add(f"{label}, pattern", many["below_s"] * 1e3, "ms", "all devices below root.beijing")
    for key, name, goal in (
        ("VmRSS", "RSS", None if tags else "10 MB"),
        ("RssAnon", "anonymous memory", "20 MB" if tags else None),
    ):
        report.add(
            f"{label}, {name}",
            many[key],
            "MB",
            f"after opening, {LOOKUPS:,} lookups" + (" and queries by tag" if tags else ""),
        )
        report.add(
            f"{label}, {name}, more than one car",
            many[key] - few[key],
            "MB",
            f"one car: {few[key]:.1f} MB",
            goal,
        )
    for key in ("line", "both", "vin") if tags else ():
        what = {"line": f"one of {LINES} values", "both": "two tags", "vin": "a unique value"}[key]
        report.add(
            f"by tag, {what}, first",
            many[f"{key}_first_s"] * 1e3,
            "ms",
            f"{devices:,} cars",
            "50 ms",
        )
        report.add(f"by tag, {what}", many[f"{key}_s"] * 1e3, "ms", "asked again")


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
