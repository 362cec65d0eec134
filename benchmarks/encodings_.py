"""Every encoding on columns as sensors write them: bytes a value, and values a second each way.

1. A column is cut into blocks of 4,096 values, as a part has them. Each is encoded with what a
   template can name, AUTO last, under the compression that AUTO means: zstd after all but PCO. As
   in a part, what a trial found for one block is used for those that follow.
2. Encoding and decoding are one thread on all blocks, several times; the fastest time counts, for
   whatever else the machine does can only add to it.
3. What comes back is compared bit by bit before anything is printed.

The columns are made by a fixed seed. Last, the compressions on one column as PLAIN.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from report import Figure, Report, machine, versions

from mainstem_engine.encoding.column_encoder import ColumnEncoder, EncodedColumn
from mainstem_engine.encoding.interface import Compression
from mainstem_engine.encoding.registry import AUTO, NAMED, decode_column
from mainstem_engine.model import AnyArray, ColumnType

BLOCK_VALUES = 4096
BLOCKS, BLOCKS_QUICK = 64, 2
ROUNDS, ROUNDS_QUICK = 5, 1
SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Sample:
    """One column and what it stands for."""

    name: str
    type: ColumnType
    values: AnyArray


@dataclass(frozen=True, slots=True)
class Measured:
    """Sizes and rates of one encoding of one column."""

    bytes_per_value: float
    encoded_per_s: float
    decoded_per_s: float
    chosen: str


def samples(count: int) -> Iterator[Sample]:
    """Columns of ``count`` values each."""
    rng = np.random.default_rng(SEED)
    walk = 20 + np.cumsum(rng.normal(0, 0.05, count))
    yield Sample("temperature, 2 decimals", ColumnType.DOUBLE, np.round(walk, 2))
    yield Sample("vibration, full precision", ColumnType.DOUBLE, rng.normal(size=count))
    single = (50 + np.cumsum(rng.normal(0, 0.02, count))).astype(np.float32)
    yield Sample("pressure, FLOAT", ColumnType.FLOAT, single)
    levels = np.repeat(np.round(rng.normal(60, 5, count // 50 + 1), 1), 50)[:count]
    yield Sample("set point, 50 rows each", ColumnType.DOUBLE, levels)
    counter = np.cumsum(rng.integers(0, 5, count))
    yield Sample("counter", ColumnType.INT64, counter)
    yield Sample("state of six", ColumnType.INT32, rng.integers(0, 6, count).astype(np.int32))
    switch = np.repeat(rng.random(count // 200 + 1) < 0.5, 200)[:count]
    yield Sample("switch", ColumnType.BOOLEAN, switch)
    jitter = rng.integers(-2, 3, count) * 1_000_000
    start, step = 1_767_225_600_000_000_000, 1_000_000_000
    times = start + np.arange(count) * step + jitter
    yield Sample("time, 1 s with jitter", ColumnType.TIMESTAMP, times)
    words = np.array(["idle", "running", "fault 17", "maintenance"], object)
    yield Sample("mode, TEXT", ColumnType.TEXT, words[rng.integers(0, len(words), count)])


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of ``rounds`` calls."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def measure(sample: Sample, encoding: str, compression: str, rounds: int) -> Measured:
    """One column by one encoding. SystemExit if a bit changes."""
    count = len(sample.values)
    blocks = [sample.values[at : at + BLOCK_VALUES] for at in range(0, count, BLOCK_VALUES)]
    outs: list[AnyArray] = [np.empty(len(block), sample.type.dtype) for block in blocks]

    def encode() -> list[EncodedColumn]:
        encoder = ColumnEncoder(sample.type, encoding=encoding, compression=compression)
        return [encoder.encode(block) for block in blocks]

    columns = encode()

    def decode() -> None:
        for column, out in zip(columns, outs, strict=True):
            view = memoryview(column.data)
            decode_column(column.encoding, column.compression, view, sample.type, out)

    decode()
    back = np.concatenate(outs)
    exact = (
        back.tolist() == sample.values.tolist()
        if sample.type.is_variable
        else back.tobytes() == sample.values.tobytes()
    )
    if not exact:
        raise SystemExit(f"benchmark: {encoding} changed the values of {sample.name}")
    size = sum(len(column.data) for column in columns)
    names = "+".join(sorted({column.encoding.name for column in columns}))
    return Measured(
        size / count, count / fastest(encode, rounds), count / fastest(decode, rounds), names
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    sample: str
    how: str
    measured: Measured


def measured_rows(quick: bool) -> list[Row]:
    """Every encoding on every column that it can hold, then the compressions."""
    rounds = ROUNDS_QUICK if quick else ROUNDS
    count = BLOCK_VALUES * (BLOCKS_QUICK if quick else BLOCKS)
    rows: list[Row] = []
    for sample in samples(count):
        # A run takes half a minute: say where it is.
        print(sample.name, file=sys.stderr, flush=True)
        rows.extend(
            Row(sample.name, name, measure(sample, name, AUTO, rounds))
            for name in [*NAMED, AUTO]
            if name == AUTO or NAMED[name].supports(sample.type)
        )
    compressed = next(samples(count))
    for each in Compression:
        found = measure(compressed, "PLAIN", each.name, rounds)
        rows.append(Row(f"{compressed.name}, PLAIN", each.name, found))
    return rows


def add_figures(report: Report, rows: list[Row]) -> None:
    """Three figures a line."""
    for row in rows:
        how = f"blocks of {BLOCK_VALUES:,} values, written by {row.measured.chosen}"
        for what, value, unit in (
            ("size", row.measured.bytes_per_value, "bytes/value"),
            ("encode", row.measured.encoded_per_s / 1e6, "M values/s"),
            ("decode", row.measured.decoded_per_s / 1e6, "M values/s"),
        ):
            name = f"{row.sample}, {row.how}, {what}"
            report.figures.append(Figure(name, value, unit, how))


def print_table(rows: list[Row]) -> None:
    """The lines for people."""
    wide = max(len(row.sample) for row in rows)
    print(f"{'':<{wide}}  {'':<12}  bytes/value  encode M/s  decode M/s")
    before = ""
    for row in rows:
        found = row.measured
        label = "" if row.sample == before else row.sample
        before = row.sample
        print(
            f"{label:<{wide}}  {row.how:<12}  {found.bytes_per_value:>11.3f}"
            f"  {found.encoded_per_s / 1e6:>10.1f}  {found.decoded_per_s / 1e6:>10.1f}"
            f"{'  ' + found.chosen if row.how == AUTO else ''}"
        )
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(", ".join(f"{key} {value}" for key, value in versions().items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Size and speed of every encoding.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = measured_rows(arguments.quick)
    if arguments.json:
        report = Report("encodings", arguments.quick)
        add_figures(report, rows)
        report.print(as_json=True)
        return
    print_table(rows)
    if arguments.quick:
        print("a quick run: the figures show only that it works")


if __name__ == "__main__":
    main()
