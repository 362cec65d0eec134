"""Size of recordings as part files after compaction, against raw (time, value) points of 16 bytes.

1. Files of one folder become one table, each file one device; every numeric column is DOUBLE. Rows
   are written in the order of the file, flushed, and compacted.
2. A point is a stored value that is not null. What counts are the whole part files: with times,
   versions, statistics, index and checksums.
3. What comes back is compared bit by bit before anything is printed.

A file is CSV with a header; the time comes first. Columns of text, and columns that annotate
(``anomaly``, ``changepoint``), are left out. Without files, recordings of the same character are
made: a pump with six significant digits, a power meter with two decimals.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import Report

from mainstem_engine import (
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    Template,
    directory_statistics,
)
from mainstem_engine.model import AnyArray, TimesNs
from mainstem_engine.statistics import TableStatistics
from mainstem_engine.storage import SYSTEM_NAMES

RAW_BYTES = 16
ANNOTATIONS = frozenset({"anomaly", "changepoint"})
BATCH_ROWS = 10_000
MADE_ROWS, MADE_ROWS_QUICK = 9_000, 600
SEED = 20_260_102


@dataclass(frozen=True, slots=True)
class Recording:
    """Rows of one device: ``times`` int64[n] ns, columns float64[n] by name."""

    table: str
    device: str
    times: TimesNs
    columns: dict[str, AnyArray]


def read_recording(path: Path) -> Recording:
    """A CSV file; see the module."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        names, *lines = csv.reader(file, delimiter=max(";,\t", key=head.count))
    columns: dict[str, AnyArray] = {}
    for number, name in enumerate(names[1:], 1):
        if name in ANNOTATIONS:
            continue
        try:
            values = np.array([line[number] for line in lines], np.float64)
        except ValueError:
            continue
        columns[identifier(name)] = values
    times = parse_times([line[0] for line in lines])
    return Recording(identifier(path.parent.name), identifier(path.stem), times, columns)


def identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower()


def parse_times(texts: Sequence[str]) -> TimesNs:
    """ISO times, or day/month/year."""
    if "/" in texts[0]:
        texts = [f"{text[6:10]}-{text[3:5]}-{text[:2]}T{text[11:]}" for text in texts]
    return np.array(texts, "datetime64[ns]").astype(np.int64)


def made_recordings(rows: int) -> Iterator[Recording]:
    """Two tables that look like the recordings of a pump and of a power meter."""
    rng = np.random.default_rng(SEED)
    start = 1_580_000_000_000_000_000
    for number in range(3):
        count = rows // (1 + 4 * number)
        steps = np.where(rng.random(count) < 0.06, 2, 1)
        pump: dict[str, AnyArray] = {
            "vibration": significant(0.2 + 0.002 * rng.normal(size=count)),
            "current": significant(2.3 + 0.3 * rng.normal(size=count)),
            "pressure": rng.choice([0.382638, 0.054711, -0.273216], count, p=[0.3, 0.4, 0.3]),
            "temperature": significant(90 + np.cumsum(0.05 * rng.normal(size=count)) / 10),
            "flow": np.round(122 + rng.normal(size=count).round()) + 0.338,
        }
        times = start + np.cumsum(steps) * 1_000_000_000
        yield Recording("pump", f"run_{number}", times, pump)
    shift = (np.arange(4 * rows) % 96 > 32) & (np.arange(4 * rows) % 96 < 80)
    load = np.where(shift, 55 + 20 * rng.normal(size=4 * rows), 3.3 + 0.3 * rng.random(4 * rows))
    meter: dict[str, AnyArray] = {
        "usage_kwh": np.round(np.abs(load), 2),
        "reactive_kvarh": np.round(np.where(shift, np.abs(load) / 3, 0), 2),
        "co2_t": np.round(np.abs(load) / 2000, 2),
        "seconds": (np.arange(4 * rows) % 96) * 900.0,
    }
    times = start + np.arange(4 * rows) * 900_000_000_000
    yield Recording("meter", "plant", times, meter)


def significant(values: AnyArray) -> AnyArray:
    """Six significant digits, as the logger of a test bench writes them."""
    return np.array([float(f"{value:.6g}") for value in values.tolist()])


def store(directory: Path, recordings: Sequence[Recording]) -> None:
    """Writes, flushes and compacts; then compares what comes back. Raises ValueError."""
    with Engine.open(directory, EngineOptions(durability="os", background=False)) as engine:
        engine.create_database("root.bench", precision="ns")
        for table in dict.fromkeys(each.table for each in recordings):
            names = dict.fromkeys(
                name for each in recordings if each.table == table for name in each.columns
            )
            measurements = [Measurement(i, n, ColumnType.DOUBLE) for i, n in enumerate(names)]
            engine.create_template(Template(table, tuple(measurements)))
        for each in recordings:
            for first in range(0, len(each.times), BATCH_ROWS):
                some = slice(first, first + BATCH_ROWS)
                columns = {name: values[some] for name, values in each.columns.items()}
                path = f"root.bench.{each.table}.{each.device}"
                engine.write(each.table, path, each.times[some], columns).wait()
        engine.flush()
        engine.compact()
        for each in recordings:
            compare(engine, each)


def compare(engine: Engine, recording: Recording) -> None:
    """Raises ValueError if one bit of a recording is not what was written."""
    path = f"root.bench.{recording.table}.{recording.device}"
    ids = engine.device_ids(recording.table, [path])
    found = engine.scan(recording.table, devices=ids).read_all()
    # Of rows with one time, the last one holds.
    order = np.argsort(recording.times, kind="stable")
    last = np.append(np.diff(recording.times[order]) != 0, True)
    for name, values in recording.columns.items():
        stored = found[name].to_numpy()
        if stored.tobytes() != values[order][last].tobytes():
            raise ValueError(f"{name} of {path} did not come back bit for bit")


def add_table(report: Report, name: str, table: TableStatistics) -> None:
    """Figures of each measurement and encoding, and of the whole."""
    how = "in part files after compaction"
    for column in table.columns:
        label = f"{name}, {column.column}, {column.encoding}"
        if column.column in SYSTEM_NAMES.values():
            report.add(label, column.bytes / (table.part_values or 1), "bytes/point", how)
        elif column.values:
            report.add(label, column.bytes / column.values, "bytes/point", how)
    inside = sum(column.bytes for column in table.columns)
    rest = (table.part_bytes - inside) / (table.part_values or 1)
    report.add(f"{name}, index and statistics", rest, "bytes/point", how)
    add_total(report, name, table.part_values or 0, table.part_bytes)


def add_total(report: Report, name: str, points: int, size: int) -> None:
    report.add(f"{name}, points", points, "points", "values that are not null")
    report.add(f"{name}, size", size / max(points, 1), "bytes/point", "whole part files")
    ratio = RAW_BYTES * points / max(size, 1)
    report.add(f"{name}, raw points to part files", ratio, "times", "16 bytes a raw point")


def main() -> None:
    parser = argparse.ArgumentParser(description="Part files against raw points.")
    parser.add_argument("files", nargs="*", type=Path, help="CSV files; made ones without")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = MADE_ROWS_QUICK if arguments.quick else MADE_ROWS
    recordings = [read_recording(path) for path in arguments.files] or list(made_recordings(rows))
    report = Report("size", arguments.quick)
    with tempfile.TemporaryDirectory(prefix="mainstem-size-") as directory:
        store(Path(directory), recordings)
        tables = directory_statistics(directory).tables
        for name, table in tables.items():
            add_table(report, name, table)
        if len(tables) > 1:
            points = sum(table.part_values or 0 for table in tables.values())
            add_total(report, "all", points, sum(table.part_bytes for table in tables.values()))
    report.print(arguments.json)


if __name__ == "__main__":
    main()
