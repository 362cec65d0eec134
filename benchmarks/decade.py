"""Ten years of hourly rollups, made directly as rollup rows, and the daily ones merged from them.

1. One measurement, ``power`` of table ``plant``: an hour's mean follows the day and the season,
   with noise; values have two decimals, sums and squares are what they are.
2. Hours of one device at a time become rows of ``plant_1h``. Their days are a rollup that is new
   to all this history: the engine's keeper of rollups computes them.
3. DuckDB gets tables of its own with the columns that the questions ask for, in the order of device
   and time, of the same arrays.
"""

from __future__ import annotations

import time as clocks
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine import (
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    RollupDefinition,
    Rollups,
    Template,
)
from mainstem_engine.model import Column, Rows

TABLE = "plant"
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
START_NS = 1_451_606_400 * 10**9
"""2016-01-01."""
HOURS_PER_YEAR = 8_766
SAMPLES = 3_600
"""Of an hour: one a second."""
SEED = 20_160_101
IN_FLIGHT = 4
MIB = 1 << 20
LIMIT_BYTES = 512 * MIB
ASKED = ("count", "sum", "min", "max")
"""Columns of the questions."""

AnyArray = npt.NDArray[Any]

PLANT = Template(TABLE, (Measurement(0, "power", ColumnType.DOUBLE),))


def device_path(number: int) -> str:
    return f"root.decade.d{number}"


HOURLY, DAILY = RollupDefinition(TABLE, HOUR_NS, "1h"), RollupDefinition(TABLE, DAY_NS, "1d")


def hours_of(devices: int, years: int) -> Iterator[tuple[AnyArray, dict[str, AnyArray]]]:
    """(times in ns, values by suffix) of one device after the other."""
    rng = np.random.default_rng(SEED)
    number = np.arange(years * HOURS_PER_YEAR)
    time = START_NS + number * HOUR_NS
    turn = 2 * np.pi / 24
    shape = 50 + 20 * np.sin(number * turn) + 8 * np.cos(number * turn / 365.25)
    for _ in range(devices):
        mean = np.round(shape + rng.normal(0, 2, len(number)), 2)
        spread = np.round(np.abs(rng.normal(0, 1, len(number))), 2)
        total = mean * SAMPLES
        yield (
            time,
            {
                "count": np.full(len(number), SAMPLES, np.int64),
                "sum": total,
                "sumsq": total * mean,
                "min": mean - spread,
                "max": mean + spread,
                "first": np.round(mean - 0.1, 2),
                "first_time": time,
                "last": np.round(mean + 0.1, 2),
                "last_time": time + (SAMPLES - 1) * 10**9,
            },
        )


def open_decade(place: Path) -> Engine:
    """The store with its keeper, for questions."""
    return open_kept(place, (HOURLY, DAILY), background=False)[0]


def open_kept(
    place: Path, definitions: Sequence[RollupDefinition], *, background: bool = True
) -> tuple[Engine, Rollups]:
    """The store, and the keeper of some rollups."""
    keeper = Rollups(definitions)
    options = EngineOptions(memory_limit_bytes=LIMIT_BYTES, background=background)
    engine = Engine.open(place, options, consumers=[keeper])
    engine.create_template(PLANT, if_not_exists=True)
    keeper.bind(engine)
    return engine, keeper


def make_hours(place: Path, devices: int, years: int, partition_days: int) -> int:
    """The hourly rollup in parts; its rows. Partitions of so many days."""
    engine, _ = open_kept(place, (HOURLY,))
    with engine:
        engine.sql(f"CREATE DATABASE root.decade WITH (duration='{partition_days}d')")
        ids = engine.device_ids(TABLE, [device_path(n) for n in range(devices)], create=True)
        engine.create_rollup(TABLE, HOURLY.name, HOUR_NS)
        hourly = engine.catalog.table(HOURLY.target)
        columns = {m.name: m.id for m in hourly.template.measurements}
        waiting: list[Any] = []
        for device, (time, values) in zip(ids, hours_of(devices, years), strict=True):
            of = {columns[f"power_{suffix}"]: Column(each) for suffix, each in values.items()}
            rows = Rows(np.full(len(time), device, np.uint32), time, of)
            waiting.append(engine.write_rows(hourly, rows, derived=True))
            while len(waiting) > IN_FLIGHT:
                waiting.pop(0).wait()
        for ack in waiting:
            ack.wait()
        engine.flush()
        engine.compact()
        return engine.statistics().tables[hourly.name].part_rows


def make_days(place: Path) -> tuple[int, float]:
    """The daily rollup of all hours that are there: its rows, and seconds of the processor."""
    engine, keeper = open_kept(place, (HOURLY, DAILY))
    with engine:
        started = clocks.process_time()
        keeper.run(1 << 62)
        seconds = clocks.process_time() - started
        engine.flush()
        engine.compact()
        return engine.statistics().tables[DAILY.target].part_rows, seconds


def make_duckdb(path: Path, devices: int, years: int) -> None:
    """The same in a file of DuckDB, by device and time."""
    import duckdb
    import pyarrow as pa

    with duckdb.connect(str(path)) as connection:
        columns = "device UINTEGER, time TIMESTAMP, n BIGINT, s DOUBLE, low DOUBLE, high DOUBLE"
        connection.execute(f"CREATE TABLE hours ({columns})")
        for device, (time, values) in enumerate(hours_of(devices, years)):
            arrays = [np.full(len(time), device, np.uint32), time.view("M8[ns]").astype("M8[us]")]
            arrays += [values[suffix] for suffix in ASKED]
            batch = pa.table([pa.array(a) for a in arrays],
                             names=["device", "time", "n", "s", "low", "high"])  # fmt: skip
            connection.register("batch", batch)
            connection.execute("INSERT INTO hours SELECT * FROM batch")
            connection.unregister("batch")
        connection.execute(
            "CREATE TABLE days AS SELECT device, date_trunc('day', time) AS time,"
            " sum(n)::BIGINT AS n, sum(s) AS s, min(low) AS low, max(high) AS high"
            " FROM hours GROUP BY 1, 2 ORDER BY 1, 2"
        )
        connection.execute("CHECKPOINT")
