"""The part writer: pieces of any size make the part that one call makes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import PartWriter
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

fs = Filesystem()
MEASUREMENTS = {
    1: Measurement(1, "speed", ColumnType.DOUBLE),
    2: Measurement(2, "state", ColumnType.TEXT),
    3: Measurement(3, "count", ColumnType.INT32),
}


def rows_of(lengths: list[int], *, seed: int = 0) -> VersionedRows:
    rng = np.random.default_rng(seed)
    device = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
    count = len(device)
    return VersionedRows(
        device,
        np.arange(count, dtype=np.int64) * 1000,
        rng.integers(0, 2, count).astype(np.uint16),
        rng.integers(1, 99, count).astype(np.uint64),
        {
            1: Column(rng.normal(size=count)),
            2: Column(np.array(["on", "off"], object)[rng.integers(0, 2, count)]),
            3: Column(rng.integers(0, 9, count).astype(np.int32), rng.random(count) < 0.7),
        },
    )


def writer(directory: Path, name: str = "p", block_rows: int = 16) -> PartWriter:
    return PartWriter(
        FaultyFilesystem(directory),  # does not wait for the disk
        directory,
        name,
        table="t",
        partition_start_ns=0,
        measurements=MEASUREMENTS,
        block_rows=block_rows,
        vnode=1,
        vnodes=2,
        applied=(3, 9),
        erased_through=5,
    )


def assert_reads(part: Part, rows: VersionedRows) -> None:
    found = part.read(range(len(part.blocks)), part.types)
    assert found.device.tolist() == rows.device.tolist()
    assert found.time.tolist() == rows.time.tolist()
    assert found.origin.tolist() == rows.origin.tolist()
    assert found.lsn.tolist() == rows.lsn.tolist()
    for key, column in rows.columns.items():
        valid = np.ones(len(rows), np.bool_) if column.valid is None else column.valid
        stored = found.columns[key]
        stored_valid = np.ones(len(rows), np.bool_) if stored.valid is None else stored.valid
        assert valid.tolist() == stored_valid.tolist()
        assert column.values[valid].tolist() == stored.values[valid].tolist()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=12),
    st.lists(st.integers(1, 300), max_size=8),
)
def test_pieces_make_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], sizes: list[int]
) -> None:
    directory = tmp_path_factory.mktemp("part")
    rows = rows_of(lengths)
    edges = np.cumsum([0, *sizes, len(rows)]).tolist()
    with writer(directory) as part_writer:
        for first, last in itertools.pairwise(edges):
            part_writer.add(rows.take(slice(first, last)))
        meta = part_writer.finish()
    assert meta.rows == part_writer.rows == len(rows)
    assert meta.lsn == {
        int(origin): (
            int(rows.lsn[rows.origin == origin].min()),
            int(rows.lsn[rows.origin == origin].max()),
        )
        for origin in np.unique(rows.origin)
    }
    assert (meta.vnode, meta.vnodes, meta.applied, meta.erased_through) == (1, 2, (3, 9), 5)
    part = Part.open(fs, directory, meta)
    assert int(part.blocks.rows.max()) <= 16
    assert_reads(part, rows)
    part.close()


def test_a_column_that_comes_late_and_one_that_stays_away(tmp_path: Path) -> None:
    rows = rows_of([40, 40, 40])
    first, middle, last = (rows.take(slice(a, a + 40)) for a in (0, 40, 80))
    late = first.columns.pop(1)
    gone = last.columns.pop(2)
    with writer(tmp_path) as part_writer:
        for piece in (first, middle, last):
            part_writer.add(piece)
        meta = part_writer.finish()
    late.valid, gone.valid = np.zeros(40, np.bool_), np.zeros(40, np.bool_)
    rows.columns[1].valid = np.arange(120) >= 40
    rows.columns[2].valid = np.arange(120) < 80
    part = Part.open(fs, tmp_path, meta)
    assert_reads(part, rows)
    part.close()


def test_what_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with writer(tmp_path) as part_writer:
        part_writer.add(rows_of([500]))
        assert fs.list(tmp_path) == ["p.part.tmp"]
    assert fs.list(tmp_path) == []
    with writer(tmp_path) as part_writer, pytest.raises(ValueError, match="at least one row"):
        part_writer.finish()
    assert fs.list(tmp_path) == []


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    rows = rows_of([5, 5])
    with writer(tmp_path) as part_writer:
        part_writer.add(rows.take(slice(5, 10)))
        with pytest.raises(ValueError, match="sorted by device"):
            part_writer.add(rows.take(slice(0, 5)))
    assert fs.list(tmp_path) == []


def test_values_of_another_type_are_refused(tmp_path: Path) -> None:
    rows = rows_of([50])
    rows.columns[3] = Column(np.zeros(50, np.int64))
    with writer(tmp_path) as part_writer:
        part_writer.add(rows)
        with pytest.raises(ValueError, match="not INT32"):
            part_writer.finish()
    assert fs.list(tmp_path) == []


def test_a_part_begins_with_what_suited_the_one_before(tmp_path: Path) -> None:
    rows = rows_of([600, 600])
    rows.columns[1] = Column(np.round(rows.columns[1].values, 1))
    with writer(tmp_path, "a", 256) as first:
        first.add(rows)
        first.finish()
    assert {key: choice.decimals for key, choice in first.choices.items()} == {1: 1, 3: 0}
    odd = rows_of([600, 600], seed=1)
    with PartWriter(
        FaultyFilesystem(tmp_path), tmp_path, "b", table="t", partition_start_ns=0,
        measurements=MEASUREMENTS, block_rows=256, choices=first.choices,
    ) as second:  # fmt: skip
        second.add(odd)
        meta = second.finish()
    part = Part.open(fs, tmp_path, meta)
    assert_reads(part, odd)
    part.close()
