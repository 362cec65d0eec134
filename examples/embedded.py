"""The engine as a library: a CSV file in, Arrow, SQL, pandas and Polars out. No server.

    python examples/embedded.py [FILE.csv] [--data DIR] [--device root.example.machine]

1. The file's delimiter, decimal sign, header and time column are found; without a file one is
   made. ``embed`` below is all that has to do with the engine.
2. pandas and Polars are used where they are installed: ``pip install pandas polars``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import re
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from mainstem_engine import Engine, EngineOptions

ROWS_PER_WRITE = 100_000
"""One call carries many rows: that is what the engine is fast at."""
SAMPLE_LINES = 200
"""Enough to see what a file looks like."""

SQL_TYPES = {"bool": "BOOLEAN", "int64": "BIGINT", "double": "DOUBLE", "string": "TEXT"}

TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y",
)  # fmt: skip
"""Tried in this order on the whole column. Where 03/04 can be both, the day comes first."""


def embed(directory: Path, device: str, source: str, rows: pa.Table, types: dict[str, str]) -> None:
    """Everything that the engine is asked: a template, writes, a scan, last values, SQL."""
    columns = ", ".join(f"`{name}` {kind}" for name, kind in types.items())
    with Engine.open(directory, EngineOptions(memory_limit_bytes=256 << 20)) as engine:
        engine.sql(f"CREATE STABLE readings (time TIMESTAMP, {columns}) TAGS (source TEXT)")
        ids = engine.device_ids("readings", [device], tags={"source": [source]}, create=True)
        for batch in rows.to_batches(max_chunksize=ROWS_PER_WRITE):
            values = {name: batch[name] for name in types}
            ack = engine.write("readings", device, batch["time"], values)
        ack.wait()  # on disk: no crash and no power cut takes it back
        engine.flush()
        table = engine.scan("readings", devices=ids).read_all()
        print(f"stored   {table.num_rows:,} rows of {rows.num_rows:,} (one time, one row)")
        print(f"last     {engine.last('readings', devices=ids).to_pylist()[0]}")
        name = next((n for n, kind in types.items() if kind in ("DOUBLE", "BIGINT")), None)
        if name is not None:
            query = f"SELECT count(`{name}`), avg(`{name}`), max(`{name}`) FROM readings"
            print(f"sql      {query}\n         {engine.sql(query).rows()[0]}")
        statistics = engine.statistics().tables["readings"]
        points = sum(rows.num_rows - rows[each].null_count for each in types)
        print(f"size     {statistics.part_bytes / points:.2f} bytes a point")
        show_frames(table)


def show_frames(table: pa.Table) -> None:
    """The same rows as a pandas and as a Polars frame, where these are installed."""
    if find_spec("pandas"):
        print(f"pandas   {table.to_pandas().shape}")
    else:
        print("pandas   is not installed: pip install pandas")
    if find_spec("polars"):
        import polars

        print(f"polars   {polars.DataFrame(polars.from_arrow(table)).shape}")
    else:
        print("polars   is not installed: pip install polars")


def read_csv(path: Path) -> tuple[pa.Table, dict[str, str]]:
    """(rows with ``time`` in ms and identifiers as names, SQL type of each other column).

    Raises ValueError when no column holds times.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        sample = list(itertools.islice(file, SAMPLE_LINES))
    delimiter = find_delimiter(sample)
    lines = list(csv.reader(sample, delimiter=delimiter))
    decimal = find_decimal(lines, delimiter)
    table = arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(autogenerate_column_names=not has_header(lines)),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
        convert_options=arrow_csv.ConvertOptions(decimal_point=decimal, strings_can_be_null=True),
    )
    return typed(table)


def find_delimiter(sample: Sequence[str]) -> str:
    """The character that cuts most lines into the same number (above one) of cells."""
    best = (0, 0, ",")
    for delimiter in ";\t|,":
        widths = [len(row) for row in csv.reader(sample, delimiter=delimiter)]
        width = max(set(widths), key=widths.count, default=1)
        if width > 1:
            best = max(best, (widths.count(width), width, delimiter))
    return best[2]


def find_decimal(lines: Sequence[Sequence[str]], delimiter: str) -> str:
    """ "," where cells look like 3,5 and the comma does not cut them."""
    cells = itertools.chain.from_iterable(lines)
    written = delimiter != "," and any(re.fullmatch(r"-?\d+,\d+", cell) for cell in cells)
    return "," if written else "."


def has_header(lines: Sequence[Sequence[str]]) -> bool:
    """True when no cell of the first line is a number or begins like a date."""
    return not any(re.match(r"\s*-?[\d.,]+(\D\d+)*", cell) for cell in lines[0])


def typed(table: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """Times found and brought to ms, names made identifiers, every other column given a type."""
    time_name, times = find_times(table)
    names, arrays, types = ["time"], [times], {}
    for number, name in enumerate(table.column_names):
        column = table[name]
        if name == time_name or pa.types.is_null(column.type):
            continue
        if str(column.type) not in SQL_TYPES:
            column = column.cast(pa.string())
        identifier = re.sub(r"\W+", "_", name.lstrip("﻿")).strip("_").lower()
        identifier = identifier or f"column_{number}"
        while identifier in names:
            identifier += "_"
        names.append(identifier)
        arrays.append(column)
        types[identifier] = SQL_TYPES[str(column.type)]
    rows = pa.table(arrays, names=names)
    rows = rows.filter(pc.is_valid(rows["time"]))
    if not rows.num_rows or not types:
        raise ValueError("the file has no rows with a time and a value")
    return rows, types


def find_times(table: pa.Table) -> tuple[str, pa.ChunkedArray]:
    """(name, int64 ms since the epoch) of the first column that holds times. Without a zone they
    are taken as UTC. Raises ValueError when there is none."""
    for name in table.column_names:
        column = table[name]
        if pa.types.is_string(column.type):
            column = parsed(column)
        if column is not None and (
            pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)
        ):
            instants = column.cast(pa.timestamp("ms", getattr(column.type, "tz", None)))
            return name, instants.cast(pa.int64())
    for name in table.column_names:
        if pa.types.is_integer(table[name].type) and re.match(r"(?i)time|date|ts\b|epoch", name):
            return name, in_ms(table[name])
    raise ValueError(f"no column holds times; there are {', '.join(table.column_names)}")


def parsed(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Text as timestamps in the first format that fits every value, None when none does."""
    for pattern in TIME_FORMATS:
        try:
            return pc.strptime(column, format=pattern, unit="s")
        except pa.ArrowInvalid:
            continue
    return None


def in_ms(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Integers since the epoch in s, ms, us or ns, told apart by their size."""
    digits = len(str(abs(pc.max(column).as_py() or 0)))
    if digits <= 11:
        return pc.multiply(column, 1000)
    per_ms = 1 if digits <= 14 else 1_000 if digits <= 17 else 1_000_000
    return pc.divide(column, per_ms)


def made_csv(path: Path) -> Path:
    """An hour of a pump, one row a second, with an empty cell now and then."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "pressure (bar)", "speed", "state"])
        for second in range(3600):
            pressure = round(4 + math.sin(second / 60), 3)
            state = "" if second % 100 == 7 else ("run" if second % 900 < 800 else "idle")
            stamp = f"2026-10-03 {6 + second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            writer.writerow([stamp, pressure, 1450 + second % 7, state])
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and runs the example."""
    parser = argparse.ArgumentParser(description="The engine as a library, on a CSV file.")
    parser.add_argument("file", nargs="?", type=Path, help="a CSV file; made if none is given")
    parser.add_argument("--data", type=Path, help="keep the data directory here")
    parser.add_argument("--device", default="root.example.machine", help="path of the device")
    options: Any = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        file = options.file or made_csv(Path(scratch) / "pump.csv")
        rows, types = read_csv(file)
        print(f"file     {file.name}: {rows.num_rows:,} rows, {len(types)} columns")
        directory = options.data or Path(scratch) / "data"
        embed(directory, options.device, file.name, rows, types)


if __name__ == "__main__":
    main()
