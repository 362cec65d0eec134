"""What a flush costs: processor time per point of each of its stages, alone and together.

1. The generated telemetry becomes the chunks of a head, as writing it does. Every stage then runs
   by itself, on one thread, over the pieces that a flush makes; the least of several rounds counts,
   for whatever else the machine does can only add to it.
2. Stages: *order* (pieces, their keys, their order), *gather* (every column into that order),
   *encode* (blocks of every column, what suits them being known), *statistics*, *checksum*.
3. Last, the same rows in an engine: the processor time of a whole flush, all threads together, and
   the bytes of a point in its parts.

The figures do not depend on how many cores there are; how much of it overlaps does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from report import Report
from telemetry import COUNTERS, SENSORS, DataSet, make_dataset, sensor_names

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.deletes import NONE
from mainstem_engine.encoding.column_encoder import ColumnEncoder
from mainstem_engine.head import Chunk, Head
from mainstem_engine.merge import merge_call, part_order
from mainstem_engine.model import Column, ColumnType, Rows, VersionedRows
from mainstem_engine.part.block_statistics import block_statistics
from mainstem_engine.part.blocks import block_starts
from mainstem_engine.pieces import pieces_of

POINTS, POINTS_QUICK = 10_000_000, 200_000
"""As many rows as one flush takes at a memory limit of 512 MiB."""
ROUNDS, ROUNDS_QUICK = 5, 1
BATCH_ROWS = 20_000
"""Rows of one record of the log."""
BLOCK_ROWS = 4096
NS = 1e9
MIB = 1 << 20
TABLE = "machines"
TYPES = {
    number: ColumnType.INT64 if name in COUNTERS else ColumnType.DOUBLE
    for number, name in enumerate(sensor_names())
}

Blocks = list[tuple[VersionedRows, Any]]


def chunks_of(data: DataSet) -> list[Chunk]:
    """The rows as chunks of a head, one for each batch."""
    head = Head()
    for lsn, batch in enumerate(data.batches(BATCH_ROWS), 1):
        columns = {
            number: Column(batch.columns[name]) for number, name in enumerate(sensor_names())
        }
        rows = merge_call(Rows(batch.device, batch.time * 1_000_000, columns))
        head.append(TABLE, rows, 0, lsn, None, lsn)
    head.tables[TABLE].seal()
    return head.tables[TABLE].chunks


def cpu_s(stage: Callable[[Any], object], rounds: int, given: Callable[[], Any]) -> float:
    """The least processor time of this thread in one round, what is given being made before."""
    found = []
    for _ in range(rounds):
        what = given()
        started = time.thread_time()
        stage(what)
        found.append(time.thread_time() - started)
    return min(found)


def order(chunks: list[Chunk]) -> None:
    """Steps before any value is touched."""
    for chunk in chunks:
        chunk.by_device = None
    for piece in pieces_of(chunks):
        part_order(piece.keys())


def deferred(chunks: list[Chunk]) -> list[VersionedRows]:
    """The rows of every piece, keys in order and columns not yet made."""
    return [piece.sorted_rows(NONE, TYPES) for piece in pieces_of(chunks)]


def gather(pieces: list[VersionedRows]) -> None:
    """Every column of every piece."""
    for rows in pieces:
        for column in rows.columns.values():
            _ = column.values


def blocks_of(chunks: list[Chunk]) -> Blocks:
    """(rows of a piece, where its blocks begin and the last ends)."""
    return [
        (rows, np.append(block_starts(rows.device, BLOCK_ROWS), len(rows)))
        for rows in deferred(chunks)
    ]


def encode(blocks: Blocks, key: int, encoder: ColumnEncoder) -> list[bytes]:
    """The bytes of all blocks of a column."""
    data: list[bytes] = []
    for rows, edges in blocks:
        data += [each.data for each in encoder.encode_blocks(rows.columns[key].values, edges)]
    return data


def statistics(blocks: Blocks) -> None:
    """Those of every column of every block."""
    for rows, edges in blocks:
        for key, kind in TYPES.items():
            block_statistics(rows.columns[key].values, edges, kind)


def stages(report: Report, data: DataSet, rounds: int) -> None:
    """Figures of each stage by itself."""
    chunks = chunks_of(data)
    how = "processor time of one thread, per point"

    def add(
        name: str,
        stage: Callable[[Any], object],
        points: int,
        given: Callable[[], Any] = list[Any],
    ) -> float:
        figure = cpu_s(stage, rounds, given) * NS / points
        report.add(name, figure, "ns/point", how)
        return figure

    add("order", order, data.points, lambda: chunks)
    add("gather", gather, data.points, lambda: deferred(chunks))
    blocks = blocks_of(chunks)
    stored: list[bytes] = []
    spent = 0.0
    for key, name in enumerate(sensor_names()):
        encoder = ColumnEncoder(TYPES[key])
        stored += encode(blocks, key, encoder)
        spent += add(
            f"encode, {name}", partial(encode, key=key, encoder=encoder), data.rows, lambda: blocks
        )
    report.add("encode, all", spent / SENSORS, "ns/point", how)
    add("statistics", statistics, data.points, lambda: blocks)
    add(
        "checksum",
        lambda data: [google_crc32c.value(each) for each in data],
        data.points,
        lambda: stored,
    )
    report.add("values", sum(map(len, stored)) / data.points, "bytes/point", "encoded blocks")


def whole(report: Report, data: DataSet, directory: Path, rounds: int) -> None:
    """A flush as the engine does it."""
    found = []
    for number in range(rounds):
        path = directory / str(number)
        options = EngineOptions(
            memory_limit_bytes=4096 * MIB, flush_bytes=2048 * MIB, background=False, durability="os"
        )
        with Engine.open(path, options) as engine:
            columns = ", ".join(
                f"{name} {TYPES[number].name}" for number, name in enumerate(sensor_names())
            )
            engine.sql(f"CREATE SCHEMA TEMPLATE {TABLE} ({columns})")
            paths = [f"root.bench.d{device}" for device in range(data.devices)]
            ids = engine.device_ids(TABLE, paths, create=True)
            for batch in data.batches(BATCH_ROWS):
                engine.write(TABLE, ids[batch.device], batch.time, batch.columns).wait()
            started = time.process_time()
            engine.flush()
            found.append(time.process_time() - started)
        size = sum(part.stat().st_size for part in path.rglob("*.part"))
    how = "processor time of all threads, per point"
    report.add("a whole flush", min(found) * NS / data.points, "ns/point", how)
    report.add("parts", size / data.points, "bytes/point", "whole files, before any compaction")


def main() -> None:
    parser = argparse.ArgumentParser(description="What a flush costs, stage by stage.")
    parser.add_argument("--points", type=int, help=f"{POINTS:,} without")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    points = arguments.points or (POINTS_QUICK if arguments.quick else POINTS)
    rounds = ROUNDS_QUICK if arguments.quick else ROUNDS
    report = Report("flush", arguments.quick)
    with tempfile.TemporaryDirectory(prefix="mainstem-flush-") as directory:
        data = make_dataset(Path(directory) / "data", points)
        stages(report, data, rounds)
        whole(report, data, Path(directory), rounds)
    report.print(arguments.json)


if __name__ == "__main__":
    main()
