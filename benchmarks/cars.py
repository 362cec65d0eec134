"""Cars of one template with 30 measurements: their names, tags and steps that benchmarks share.

Each step runs in a process of its own, so that its memory is its own; it prints figures as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mainstem_engine import Engine, EngineOptions

DEVICES, DEVICES_QUICK = 1_000_000, 20_000
MEASUREMENTS = 30
NAMES_BATCH = 50_000
LOOKUPS = 20_000
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


Step = Callable[[Path, int], dict[str, float]]


def child(step: str, place: Path, devices: int, program: str) -> dict[str, float]:
    """Runs a step of a benchmark in a process of its own."""
    command = [sys.executable, program, "--step", step, "--place", str(place)]
    ended = subprocess.run(
        [*command, "--devices", str(devices)], stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"step {step} failed")
    figures: dict[str, float] = json.loads(ended.stdout)
    return figures
