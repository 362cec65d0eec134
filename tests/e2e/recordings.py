"""Recordings for replay tests: files as plants deliver them, and what must come out.

Each recording is made here, with the defects that real ones have: a clock that was set back,
midnights stamped a day early, irregular steps, text columns, a byte-order mark, a decimal column
with integers in it. ``MAINSTEM_DATA_DIR`` may name a folder of real recordings to try as well.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

UTC = dt.UTC


@dataclass(frozen=True)
class Recording:
    """One file and how to publish it; ``stamp`` parses its time column."""

    name: str
    path: Path
    delimiter: str
    time_column: str
    stamp: Callable[[str], dt.datetime]
    columns: dict[str, str]
    """Column of the file to measurement."""

    types: dict[str, str]

    @property
    def device(self) -> str:
        return f"root.works.line.{self.name}"

    def rows(self) -> list[dict[str, str]]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, delimiter=self.delimiter))

    def expected(self) -> dict[int, dict[str, float | str]]:
        """What every tier must hold: by time in ms, the later row of a time wins."""
        held: dict[int, dict[str, float | str]] = {}
        for row in self.rows():
            time_ms = round(self.stamp(row[self.time_column]).timestamp() * 1000)
            held.setdefault(time_ms, {}).update(
                {
                    measurement: row[column] if self.types[measurement] == "TEXT"
                    else float(row[column])
                    for column, measurement in self.columns.items()
                    if row[column] != ""
                }
            )  # fmt: skip
        return held

    def count_behind(self) -> int:
        """Rows older than the newest before them: what the edge counts as late."""
        newest, count = dt.datetime.min.replace(tzinfo=UTC), 0
        for row in self.rows():
            stamp = self.stamp(row[self.time_column])
            count += stamp < newest
            newest = max(newest, stamp)
        return count


def iso(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC)


def day_first(text: str) -> dt.datetime:
    return dt.datetime.strptime(text, "%d/%m/%Y %H:%M").replace(tzinfo=UTC)


def made(folder: Path) -> list[Recording]:
    """Three made recordings in ``folder``: a pump, an energy meter, a machine's temperature."""
    rng = random.Random(7)
    return [pump(folder, rng), energy(folder, rng), machine(folder, rng)]


def write(path: Path, header: list[str], rows: list[list[str]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def pump(folder: Path, rng: random.Random) -> Recording:
    """A second apart, sometimes two; semicolons; a column name with spaces."""
    rows, at = [], iso("2024-02-08 13:30:47")
    for _ in range(2000):
        flow = 122 + rng.gauss(0, 0.6)
        rows.append([at.strftime("%Y-%m-%d %H:%M:%S"), f"{rng.gauss(0.2, 0.01):.6g}", f"{flow}"])
        at += dt.timedelta(seconds=2 if rng.random() < 0.06 else 1)
    path = folder / "pump.csv"
    write(path, ["datetime", "Vibration1", "Volume Flow Rate"], rows, ";")
    columns = {"Vibration1": "vibration", "Volume Flow Rate": "flow"}
    return Recording(
        "pump", path, ";", "datetime", iso, columns, {"vibration": "DOUBLE", "flow": "DOUBLE"}
    )


def energy(folder: Path, rng: random.Random) -> Recording:
    """A quarter of an hour apart, day first, a byte-order mark, midnights stamped a day early."""
    rows = []
    for step in range(1, 96 * 30 + 1):
        at = iso("2024-01-01") + dt.timedelta(minutes=15 * step)
        stamped = at - dt.timedelta(days=1) if (at.hour, at.minute) == (0, 0) else at
        used = rng.choice(["0", "3.17", f"{rng.uniform(2, 150):.2f}"])
        load = "Light_Load" if at.hour < 6 else "Maximum_Load"
        rows.append([stamped.strftime("%d/%m/%Y %H:%M"), used, str(rng.randint(0, 100)), load])
    path = folder / "energy.csv"
    write(path, ["\ufeffdate", "Usage_kWh", "CO2(tCO2)", "Load_Type"], rows)
    columns = {"Usage_kWh": "usage", "CO2(tCO2)": "co2", "Load_Type": "load"}
    types = {"usage": "DOUBLE", "co2": "DOUBLE", "load": "TEXT"}
    return Recording("energy", path, ",", "date", day_first, columns, types)


def machine(folder: Path, rng: random.Random) -> Recording:
    """Five minutes apart; once the clock is set back by 55 minutes, so 12 stamps come twice."""
    rows, at = [], iso("2024-12-02 21:15:00")
    for number in range(3000):
        if number == 1500:
            at -= dt.timedelta(minutes=60)
        value = 85 + 10 * math.sin(number / 50) + rng.gauss(0, 1)
        rows.append([at.strftime("%Y-%m-%d %H:%M:%S"), repr(value)])
        at += dt.timedelta(minutes=5)
    path = folder / "machine.csv"
    write(path, ["timestamp", "value"], rows)
    return Recording(
        "machine", path, ",", "timestamp", iso, {"value": "value"}, {"value": "DOUBLE"}
    )


def real() -> list[Recording]:
    """The recordings in ``MAINSTEM_DATA_DIR``, or none."""
    folder = os.environ.get("MAINSTEM_DATA_DIR")
    if not folder:
        return []
    place = Path(folder)
    bench = {
        "Accelerometer1RMS": "accelerometer1", "Accelerometer2RMS": "accelerometer2",
        "Current": "current", "Pressure": "pressure", "Temperature": "temperature",
        "Thermocouple": "thermocouple", "Voltage": "voltage", "Volume Flow RateRMS": "flow",
    }  # fmt: skip
    steel = {
        "Usage_kWh": "usage", "Lagging_Current_Reactive_Power_kVarh": "lagging_kvarh",
        "Leading_Current_Reactive_Power_kVarh": "leading_kvarh", "CO2(tCO2)": "co2",
        "Lagging_Current_Power_Factor": "lagging_pf", "Leading_Current_Power_Factor": "leading_pf",
        "NSM": "nsm", "WeekStatus": "week_status", "Day_of_week": "day", "Load_Type": "load",
    }  # fmt: skip
    texts = {"week_status", "day", "load"}

    def types(columns: dict[str, str]) -> dict[str, str]:
        return {name: "TEXT" if name in texts else "DOUBLE" for name in columns.values()}

    value = {"value": "value"}
    skab, meter = place / "skab/anomaly-free.csv", place / "steel/steel_industry_energy.csv"
    nab = place / "nab/machine_temperature_system_failure.csv"
    return [
        Recording("skab", skab, ";", "datetime", iso, bench, types(bench)),
        Recording("steel", meter, ",", "date", day_first, steel, types(steel)),
        Recording("nab", nab, ",", "timestamp", iso, value, types(value)),
    ]
