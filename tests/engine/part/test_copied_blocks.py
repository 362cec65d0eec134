"""Blocks that are copied from part to part read the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.errors import ClosedError, CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.part.footer_builder import PIECES_MAX
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import PartWriter, write_part
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

fs = Filesystem()
MEASUREMENTS = {
    1: Measurement(1, "speed", ColumnType.DOUBLE),
    2: Measurement(2, "state", ColumnType.TEXT),
    5: Measurement(5, "count", ColumnType.INT32),
}


def rows_of(
    device: int, start: int, count: int, keys: tuple[int, ...] = (1, 2, 5)
) -> VersionedRows:
    rng = np.random.default_rng(device + start)
    columns = {
        1: Column(np.round(rng.normal(size=count), 2)),
        2: Column(np.array(["on", "off"], object)[rng.integers(0, 2, count)]),
        5: Column(rng.integers(0, 9, count).astype(np.int32), rng.random(count) < 0.7),
    }
    return VersionedRows(
        np.full(count, device, np.uint32),
        np.arange(start, start + count, dtype=np.int64) * 1000,
        np.full(count, device % 3, np.uint16),
        rng.integers(1, 99, count).astype(np.uint64),
        {key: columns[key] for key in keys},
    )


def new_writer(directory: Path, name: str) -> PartWriter:
    return PartWriter(
        FaultyFilesystem(directory), directory, name, table="t", partition_start_ns=0,
        measurements=MEASUREMENTS, block_rows=1000,
    )  # fmt: skip


def part_of(directory: Path, name: str, batches: list[VersionedRows]) -> Part:
    with new_writer(directory, name) as writer:
        for batch in batches:
            writer.add(batch)
        meta = writer.finish()
    return Part.open(fs, directory, meta)


def assert_holds(directory: Path, meta: PartMeta, batches: list[VersionedRows]) -> Part:
    part = Part.open(fs, directory, meta)
    found = part.read(range(len(part.blocks)), part.types)
    first = 0
    for batch in batches:
        some = found.take(slice(first, first + len(batch)))
        first += len(batch)
        for one, two in (
            (some.device, batch.device), (some.time, batch.time), (some.origin, batch.origin),
            (some.lsn, batch.lsn),
        ):  # fmt: skip
            assert one.tolist() == two.tolist()
        for key, column in some.columns.items():
            valid = np.ones(len(some), np.bool_) if column.valid is None else column.valid
            if key not in batch.columns:
                assert not valid.any()
                continue
            other = batch.columns[key]
            expected = np.ones(len(some), np.bool_) if other.valid is None else other.valid
            assert valid.tolist() == expected.tolist()
            assert column.values[valid].tolist() == other.values[valid].tolist()
    assert first == len(found) == meta.rows
    return part


def test_copies_among_rows(tmp_path: Path) -> None:
    whole = [rows_of(3, 0, 1000), rows_of(3, 5000, 1000), rows_of(9, 0, 1000, (1,))]
    source = part_of(tmp_path, "source", whole)
    assert len(source.blocks) == 3
    between = [rows_of(1, 0, 40), rows_of(3, 2000, 700), rows_of(7, 0, 1500), rows_of(11, 0, 5)]
    with new_writer(tmp_path, "new") as writer:
        writer.add(between[0])
        writer.add_block(source, 0)
        writer.add(between[1])
        writer.add_block(source, 1)
        writer.add(between[2])
        writer.add_block(source, 2)
        writer.add(between[3])
        meta = writer.finish()
    expected = [
        between[0], whole[0], between[1], whole[1], between[2], whole[2], between[3],
    ]  # fmt: skip
    part = assert_holds(tmp_path, meta, expected)
    assert meta.lsn.keys() == {0, 1, 2}
    places = {int(time): n for n, time in enumerate(part.blocks.time_min_ns.tolist())}
    assert part.block_bytes(places[5_000_000]) == source.block_bytes(1)
    statistics, before = part.statistics(1), source.statistics(1)
    assert statistics is not None
    assert before is not None
    assert statistics.minimum[places[5_000_000]] == before.minimum[1]
    assert part.blocks.distinct.all()
    part.close()
    with pytest.raises(ClosedError):
        part.block_bytes(0)
    source.close()


def test_a_part_of_nothing_but_copies(tmp_path: Path) -> None:
    batches = [rows_of(device, 0, 1000, (1,)) for device in range(2 * PIECES_MAX + 3)]
    batches.append(rows_of(500, 0, 1000, (2, 5)))
    source = part_of(tmp_path, "source", batches)
    with new_writer(tmp_path, "new") as writer:
        for number in range(len(source.blocks)):
            writer.add_block(source, number)
        meta = writer.finish()
    assert_holds(tmp_path, meta, batches).close()
    copied = (tmp_path / "new.part").read_bytes()
    assert copied == (tmp_path / "source.part").read_bytes()
    source.close()


def test_what_cannot_be_copied(tmp_path: Path) -> None:
    source = part_of(tmp_path, "source", [rows_of(3, 0, 1000)])
    with new_writer(tmp_path, "new") as writer:
        writer.add(rows_of(4, 0, 10))
        with pytest.raises(ValueError, match="sorted by device"):
            writer.add_block(source, 0)
    wide = {**MEASUREMENTS, 5: Measurement(5, "count", ColumnType.INT64)}
    with (
        PartWriter(
            fs, tmp_path, "new", table="t", partition_start_ns=0, measurements=wide
        ) as writer,
        pytest.raises(ValueError, match="other types"),
    ):
        writer.add_block(source, 0)
    source.close()


def test_damage_is_not_copied(tmp_path: Path) -> None:
    rows = rows_of(3, 0, 1000)
    meta = write_part(
        fs, tmp_path, "source", table="t", partition_start_ns=0, rows=rows,
        measurements=MEASUREMENTS,
    )  # fmt: skip
    path = tmp_path / "source.part"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    source = Part.open(fs, tmp_path, meta)
    with new_writer(tmp_path, "new") as writer, pytest.raises(CorruptionError, match="checksum"):
        writer.add_block(source, 0)
    source.close()
    assert [path.name for path in tmp_path.iterdir()] == ["source.part"]
