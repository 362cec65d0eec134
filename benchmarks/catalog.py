"""A million devices of 30 measurements with three tags: memory, creation, open, look-ups, changes.

1. Names alone, and names with three tags, one of which is different for each device: created in
   lists, then opened by a new process, which looks names up and asks for tags. Memory is what it
   has more than the same process with one device.
2. Changes of a full catalog: a thousand devices more; a merge, while a thread looks names up.
3. Beside it the naive design, as computed: an object per device, and without templates one per
   measurement of each device. And our own engine with a template for each device: some are
   measured, and scaled up.

Each step is a process of its own (cars.py).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cars import (
    DEVICES,
    DEVICES_QUICK,
    LINES,
    LOOKUPS,
    MEASUREMENTS,
    MODELS,
    NAMES_BATCH,
    Step,
    child,
    create_names,
    memory,
    open_names,
    paths,
    tag_values,
    timed,
)
from report import Report

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template
from mainstem_engine.catalog.sections import MERGE_DEVICES_MIN, MERGE_FRACTION

MORE = 1_000
TEMPLATES, TEMPLATES_QUICK = 10_000, 200
NAIVE_DEVICE_BYTES, NAIVE_MEASUREMENT_BYTES = 20, 300
"""What the naive design computes with: a node of a tree with a pointer to its template and a mark,
and an object for each measurement of each device. Nobody measured them."""
METADATA_BYTES = 1 << 30
"""Templates are limited to a quarter of the memory otherwise."""
TEMPLATE = "car_template"
SEED = 7


def changes(place: Path, devices: int) -> dict[str, float]:
    """A thousand devices more, their flush, and a merge beside a thread that looks names up."""
    found: dict[str, float] = {}
    with Engine.open(place, EngineOptions(background=False)) as engine:
        add, total = partial(_add, engine, devices), len(engine.catalog.devices) + merged(devices)
        found["more_s"] = timed(lambda: add(0, MORE))
        found["flush_s"] = timed(engine.flush)
        new = merged(devices)
        add(MORE, new)
        before = memory()["RssAnon"]
        merge = threading.Thread(target=engine.flush)
        numbers = random.Random(SEED).choices(range(devices), k=LOOKUPS)
        asked = [paths(number, number + 1)[0] for number in numbers]
        id_of, peak, gap = engine.catalog.devices.id_of, before, 0.0
        started = last = time.perf_counter()
        merge.start()
        count = 0
        while merge.is_alive():
            id_of(asked[count % LOOKUPS])
            count += 1
            now = time.perf_counter()
            gap, last = max(gap, now - last), now
            if count % 1000 == 0:
                peak = max(peak, memory()["RssAnon"])
                last = time.perf_counter()
        found["merge_s"] = time.perf_counter() - started
        found |= {"gap_s": gap, "merge_mb": peak - before, "asked": float(count)}
        last_path = paths(devices + new - 1, devices + new)[0]
        if len(engine.catalog.devices) != total or id_of(last_path) != total - 1:
            raise SystemExit("devices are missing after the merge")
    return found


def merged(devices: int) -> int:
    """New devices that the next flush merges."""
    return 1 + max(MERGE_DEVICES_MIN, devices // MERGE_FRACTION)


def _add(engine: Engine, devices: int, start: int, end: int) -> None:
    for first in range(devices + start, devices + end, NAMES_BATCH):
        stop = min(first + NAMES_BATCH, devices + end)
        tags = tag_values(first, stop)
        engine.device_ids(TEMPLATE, paths(first, stop), tags, create=True)


def create_templates(place: Path, devices: int) -> dict[str, float]:
    """Devices, each with a template of its own."""
    kinds = (ColumnType.FLOAT, ColumnType.INT32)
    with Engine.open(place, EngineOptions(metadata_bytes_max=METADATA_BYTES)) as engine:
        engine.create_database("root.beijing")
        taken_s = 0.0
        for number in range(devices):
            measurements = tuple(
                Measurement(place, f"s{place + 1}", kinds[place % 2])
                for place in range(MEASUREMENTS)
            )
            template = Template(f"car_template_{number}", measurements)
            started = time.perf_counter()
            engine.create_template(template)
            engine.device_ids(template.name, paths(number, number + 1), create=True)
            taken_s += time.perf_counter() - started
        engine.flush()
    return {"s": taken_s}


def open_templates(place: Path, devices: int) -> dict[str, float]:
    """Opens, looks names up."""
    options = EngineOptions(background=False, metadata_bytes_max=METADATA_BYTES)
    started = time.perf_counter()
    engine = Engine.open(place, options)
    found = {"open_s": time.perf_counter() - started}
    for number in range(devices):
        if engine.catalog.devices.id_of(paths(number, number + 1)[0]) is None:
            raise SystemExit("a device is missing")
    engine.abandon()
    return found | memory()


STEPS: Mapping[str, Step] = {
    "names": lambda place, devices: create_names(place, devices, False),
    "tagged": lambda place, devices: create_names(place, devices, True),
    "open-names": lambda place, devices: open_names(place, devices, False),
    "open-tagged": lambda place, devices: open_names(place, devices, True),
    "changes": changes,
    "templates": create_templates,
    "open-templates": open_templates,
}


def measure(report: Report, place: Path, devices: int, templates: int) -> None:
    """All steps, and their figures."""
    step = partial(child, program=__file__)
    for label, kind in (("names", "names"), ("names and three tags", "tagged")):
        made = step(kind, place / kind, devices)
        step(kind, place / f"{kind}-1", 1)
        few = step(f"open-{kind}", place / f"{kind}-1", 1)
        many = step(f"open-{kind}", place / kind, devices)
        _say_one(report, label, devices, made, few, many)
    _say_changes(report, devices, step("changes", place / "tagged", devices))
    step("templates", place / "templates-1", 1)
    few = step("open-templates", place / "templates-1", 1)
    made = step("templates", place / "templates", templates)
    _say_templates(
        report,
        devices,
        templates,
        made,
        few,
        step("open-templates", place / "templates", templates),
    )


def _say_one(
    report: Report,
    label: str,
    devices: int,
    made: Mapping[str, float],
    few: Mapping[str, float],
    many: Mapping[str, float],
) -> None:
    tags = "vin_s" in many
    for key, name, goal in (
        ("VmRSS", "RSS", None if tags else "10 MB"),
        ("RssAnon", "anonymous memory", "20 MB"),
    ):
        how = (
            f"after opening and {LOOKUPS:,} lookups, more than with one device ({few[key]:.1f} MB)"
        )
        report.add(f"{label}, {name}", max(many[key] - few[key], 0.001), "MB", how, goal)
    report.add(f"{label}, creation", made["s"], "s", f"lists of {NAMES_BATCH:,} paths", "5 s")
    how = "all threads, merges beside it included"
    report.add(f"{label}, processor time of creation", made["cpu_s"], "s", how)
    report.add(f"{label}, peak memory of creation", made["peak"], "MB", "VmHWM")
    report.add(f"{label}, open", many["open_s"] * 1e3, "ms", "a new process", "50 ms")
    how = f"a path to its id, {LOOKUPS:,} at random"
    report.add(f"{label}, lookup", many["lookup_s"] * 1e6, "us", how, "3 us")
    questions = (
        ("line", f"one of {LINES} values"),
        ("both", f"one of {LINES} and one of {MODELS:,} values"),
        ("vin", "a value that one device has"),
    )
    for key, what in questions if tags else ():
        name, how = f"devices by tag, {what}", f"of {devices:,} devices, a new process"
        report.add(f"{name}, first", many[f"{key}_first_s"] * 1e3, "ms", how, "50 ms")
        report.add(name, many[f"{key}_s"] * 1e3, "ms", "asked again", "50 ms")


def _say_changes(report: Report, devices: int, found: Mapping[str, float]) -> None:
    what = f"{MORE:,} devices more"
    report.add(what, found["more_s"] * 1e3, "ms", f"with tags, on top of {devices:,}, durable")
    report.add(f"{what}, flush", found["flush_s"] * 1e3, "ms", "checkpoint included")
    how = f"{merged(devices):,} new devices into {devices:,}, a thread looks names up meanwhile"
    report.add("merge", found["merge_s"] * 1e3, "ms", how)
    report.add(
        "merge, anonymous memory", max(found["merge_mb"], 0.001), "MB", "more than before it"
    )
    how = f"between two of {found['asked']:,.0f} lookups"
    report.add("merge, longest gap of a reader", found["gap_s"] * 1e3, "ms", how)


def _say_templates(
    report: Report,
    devices: int,
    templates: int,
    made: Mapping[str, float],
    few: Mapping[str, float],
    many: Mapping[str, float],
) -> None:
    """One template per device, and the naive design, beside what was measured."""
    held, scale = many["RssAnon"] - few["RssAnon"], devices / templates
    name = "a template per device"
    how = f"{templates:,} devices, each with a template of {MEASUREMENTS} measurements"
    report.add(f"{name}, anonymous memory", held, "MB", how)
    report.add(f"{name}, creation", made["s"], "s", f"{how}, each durable")
    report.add(f"{name}, open", many["open_s"] * 1e3, "ms", how)
    scaled = f"computed: {templates:,} measured, times {scale:,.0f}"
    report.add(f"{name}, {devices:,} devices, memory", held * scale, "MB", scaled)
    report.add(f"{name}, {devices:,} devices, creation", made["s"] * scale, "s", scaled)
    how = f"computed: {devices:,} nodes of {NAIVE_DEVICE_BYTES} bytes; names and tags not counted"
    naive = "naive design"
    report.add(f"{naive}, with templates, memory", devices * NAIVE_DEVICE_BYTES / 1e6, "MB", how)
    objects = devices * MEASUREMENTS
    how = f"computed: {objects:,} measurements of {NAIVE_MEASUREMENT_BYTES} bytes each"
    without = objects * NAIVE_MEASUREMENT_BYTES / 1e6
    report.add(f"{naive}, without templates, memory", without, "MB", how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{DEVICES_QUICK:,} devices")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--devices", type=int, default=None)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    devices = arguments.devices or (DEVICES_QUICK if arguments.quick else DEVICES)
    if arguments.step is not None:
        print(json.dumps(STEPS[arguments.step](arguments.place, devices)))
        return
    report = Report("catalog", arguments.quick)
    templates = min(devices, TEMPLATES_QUICK if arguments.quick else TEMPLATES)
    with tempfile.TemporaryDirectory(prefix="mainstem-catalog-") as place:
        measure(report, Path(place), devices, templates)
    report.print(arguments.json)


if __name__ == "__main__":
    main()
