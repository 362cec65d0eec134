"""Joining parts: reading afterwards equals reading before, whatever lay where."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstem_engine import part_join
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import conform_rows
from mainstem_engine.compaction import Compaction
from mainstem_engine.deletes import NONE, Tombstone, Tombstones
from mainstem_engine.inventory import Inventory
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.merge import concat_rows, key_order, merge_versions
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import PartWriter, write_part
from mainstem_engine.part_join import JoinAborted, JoinContext, join_parts
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.residence import resident_bytes

TYPES = {0: ColumnType.DOUBLE, 1: ColumnType.TEXT, 2: ColumnType.INT64}
MEASUREMENTS = {key: Measurement(key, f"m{key}", kind) for key, kind in TYPES.items()}
OLD = {**MEASUREMENTS, 2: Measurement(2, "m2", ColumnType.INT16)}
"""Before measurement 2 was widened."""
BLOCK_ROWS = 8


class FakeTable:
    """What a join asks of a table."""

    types = TYPES
    replaces_rows = False

    class template:
        measurements = tuple(MEASUREMENTS.values())


TABLE: Table = FakeTable()  # type: ignore[assignment]


class Place:
    """An inventory in a directory, with parts."""

    def __init__(self, directory: Path) -> None:
        self.fs = FaultyFilesystem(directory)
        self.inventory = Inventory.open(self.fs, directory)
        self.parts: list[Part] = []

    def add(
        self, rows: VersionedRows, measurements: Mapping[int, Measurement], applied: int
    ) -> None:
        meta = write_part(
            self.fs, self.inventory.directory, self.inventory.next_name(), table="t",
            partition_start_ns=0, rows=rows, measurements=measurements, block_rows=BLOCK_ROWS,
            applied=(applied, applied),
        )  # fmt: skip
        self.open(meta)

    def open(self, meta: PartMeta) -> None:
        (part,) = self.inventory.open_parts([meta])
        assert isinstance(part, Part)
        self.parts.append(part)

    def join(self, tombstones: Tombstones = NONE, settled: int = 0, steps: int = 1 << 30) -> Any:
        left = [steps]

        def go_on() -> bool:
            left[0] -= 1
            return left[0] >= 0

        context = JoinContext(
            self.fs, self.inventory, MemoryBudget(1 << 20), lambda origin: settled, go_on,
            BLOCK_ROWS, Database("root.a"),
        )  # fmt: skip
        return join_parts(Compaction("t", 0, tuple(self.parts)), TABLE, tombstones, context)

    def close(self) -> None:
        for part in self.parts:
            part.close()
        self.inventory.close()


def stored(parts: list[Part], tombstones: Tombstones) -> list[VersionedRows]:
    return [
        tombstones.of_part(part.meta).erase(
            part.read(range(len(part.blocks)), part.types), part.meta.applied
        )
        for part in parts
    ]


def content(parts: list[Part], tombstones: Tombstones) -> list[tuple[Any, ...]]:
    """What a query sees."""
    batches = [conform_rows(rows, TYPES) for rows in stored(parts, tombstones)]
    rows = merge_versions(concat_rows(batches), np.zeros(4, np.uint32), whole_rows=False)
    found = []
    for at in range(len(rows)):
        values = []
        for key in TYPES:
            column = rows.columns.get(key)
            missing = column is None or (column.valid is not None and not column.valid[at])
            values.append(None if missing or column is None else column.values[at])
        found.append((int(rows.device[at]), int(rows.time[at]), *values))
    return found


@st.composite
def batches(draw: st.DrawFn) -> tuple[VersionedRows, bool]:
    """Rows of one part in part order, and whether it is of the time before the widening."""
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    count = draw(st.integers(1, 120))
    device = rng.integers(0, draw(st.integers(1, 6)), count).astype(np.uint32)
    low = draw(st.integers(0, 100))
    time = rng.integers(low, low + draw(st.integers(1, 200)), count)
    origin = rng.integers(0, draw(st.integers(1, 2)), count).astype(np.uint16)
    lsn = (np.arange(count) + draw(st.integers(1, 300))).astype(np.uint64)
    old = draw(st.booleans())
    columns = {
        0: Column(np.round(rng.normal(size=count), 1), rng.random(count) < 0.8),
        1: Column(np.array(["a", "b", "ä"], object)[rng.integers(0, 3, count)]),
        2: Column(rng.integers(-9, 9, count).astype(np.int16 if old else np.int64)),
    }
    columns.pop(draw(st.sampled_from([0, 1, 2, 99])), None)
    order = key_order(device, time, origin, lsn)
    rows = VersionedRows(device, time, origin, lsn, columns).take(order)
    return rows, old


@st.composite
def tombstones(draw: st.DrawFn) -> Tombstones:
    items = []
    for lsn in range(1001, 1001 + draw(st.integers(0, 3))):
        start = draw(st.integers(0, 200))
        devices = draw(st.one_of(st.none(), st.sets(st.integers(0, 5), min_size=1)))
        items.append(
            Tombstone(
                lsn,
                draw(st.integers(0, 1)),
                draw(st.integers(1, 400)),
                None,
                None if devices is None else np.array(sorted(devices), np.uint32),
                start,
                start + draw(st.integers(1, 150)),
                measurements=draw(st.sampled_from([None, (0,), (0, 1, 2)])),
            )
        )
    return Tombstones(items)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(batches(), min_size=1, max_size=4),
    tombstones(),
    st.integers(0, 400),
    st.sampled_from([1, 7, 40, 1000]),
)
def test_reading_after_a_join_equals_reading_before(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    found: list[tuple[VersionedRows, bool]],
    erased: Tombstones,
    settled: int,
    step_rows: int,
) -> None:
    monkeypatch.setattr(part_join, "STEP_ROWS_MIN", 1)
    monkeypatch.setattr(part_join, "STEP_ROWS_MAX", step_rows)
    monkeypatch.setattr(part_join, "BLOCK_GROWTH", 1)
    place = Place(tmp_path_factory.mktemp("join"))
    for number, (rows, old) in enumerate(found):
        place.add(rows, OLD if old else MEASUREMENTS, number + 1)
    before = content(place.parts, erased)
    inputs = list(place.parts)
    meta = place.join(erased, settled)
    if not before:
        assert meta is None
    else:
        assert (meta.applied, meta.erased_through) == ((1, len(found)), erased.newest_lsn)
        place.open(meta)
        joined = place.parts[len(inputs) :]
        assert content(joined, erased) == before
        assert content(joined, NONE) == before, "what was erased is gone"
        assert_order_and_versions(joined[0], stored(inputs, erased), settled)
    place.close()


def assert_order_and_versions(part: Part, inputs: list[VersionedRows], settled: int) -> None:
    """Part order; every fragment that is not settled is still there by itself."""
    rows = part.read(range(len(part.blocks)), part.types)
    order = key_order(rows.device, rows.time, rows.origin, rows.lsn)
    assert order.tolist() == list(range(len(rows)))
    left = set(versions_of(rows))
    for some in inputs:
        assert all(key in left or key[3] <= settled for key in versions_of(some))


def versions_of(rows: VersionedRows) -> list[tuple[int, ...]]:
    keys = (rows.device, rows.time, rows.origin, rows.lsn)
    return list(zip(*(key.tolist() for key in keys), strict=True))


def dense(device: int, start: int, count: int, lsn: int) -> VersionedRows:
    time = np.arange(start, start + count, dtype=np.int64)
    return VersionedRows(
        np.full(count, device, np.uint32),
        time,
        np.zeros(count, np.uint16),
        np.full(count, lsn, np.uint64),
        {0: Column(time / 8 + lsn)},
    )


def test_whole_blocks_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_join, "BLOCK_GROWTH", 1)
    copied: list[tuple[str, int]] = []
    real = PartWriter.add_block

    def add_block(self: Any, part: Part, number: int) -> None:
        copied.append((part.meta.name, number))
        real(self, part, number)

    monkeypatch.setattr(PartWriter, "add_block", add_block)
    place = Place(tmp_path)
    place.add(concat_rows([dense(1, 0, 16, 1), dense(2, 0, 8, 1)]), MEASUREMENTS, 1)
    place.add(concat_rows([dense(1, 100, 8, 2), dense(2, 3, 8, 2)]), MEASUREMENTS, 2)
    before = content(place.parts, NONE)
    meta = place.join()
    # Blocks of device 2 meet; those of device 1 do not.
    assert copied == [("000000000001", 0), ("000000000001", 1), ("000000000002", 0)]
    place.open(meta)
    assert content(place.parts[2:], NONE) == before
    place.parts.pop().close()
    copied.clear()
    place.join(Tombstones([Tombstone(9, 0, 99, None, None, 500, 600)]))
    assert copied, "a delete of other rows is no reason to decode"
    copied.clear()
    place.join(Tombstones([Tombstone(9, 0, 99, None, None, 0, 600)]))
    assert not copied
    place.close()


def test_nothing_but_whole_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_join, "BLOCK_GROWTH", 1)
    place = Place(tmp_path)
    place.add(concat_rows([dense(1, 0, 16, 1), dense(2, 0, 8, 1)]), MEASUREMENTS, 1)
    place.add(dense(1, 16, 8, 2), MEASUREMENTS, 2)
    before = content(place.parts, NONE)
    place.open(place.join())
    assert content(place.parts[2:], NONE) == before
    assert place.parts[2].blocks.rows.tolist() == [8, 8, 8, 8]
    place.close()


def test_crumbs_of_a_device_are_not_left_beside_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_join, "BLOCK_GROWTH", 1)
    place = Place(tmp_path)
    place.add(dense(1, 0, 8, 1), MEASUREMENTS, 1)
    place.add(dense(1, 100, 3, 2), MEASUREMENTS, 2)
    meta = place.join()
    place.open(meta)
    assert place.parts[2].blocks.rows.tolist() == [5, 6]
    place.close()


def test_a_join_can_be_given_up_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_join, "STEP_ROWS_MIN", 1)
    monkeypatch.setattr(part_join, "STEP_ROWS_MAX", 10)
    place = Place(tmp_path)
    place.add(concat_rows([dense(device, 0, 20, 1) for device in range(5)]), MEASUREMENTS, 1)
    place.add(concat_rows([dense(device, 5, 20, 2) for device in range(5)]), MEASUREMENTS, 2)
    files = sorted(path.name for path in place.inventory.directory.iterdir())
    for steps in range(3):
        with pytest.raises(JoinAborted):
            place.join(steps=steps)
    assert sorted(path.name for path in place.inventory.directory.iterdir()) == files
    place.close()


def test_nothing_is_left_when_everything_is_deleted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.add(dense(1, 0, 20, 1), MEASUREMENTS, 1)
    assert place.join(Tombstones([Tombstone(9, 0, 99, None, None, 0, 600)])) is None
    assert [path.name for path in place.inventory.directory.iterdir()] == ["000000000001.part"]
    place.close()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what the process has")
def test_a_join_does_not_hold_what_it_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it meanwhile, but for what was read since it last let go."""
    monkeypatch.setattr(part_join, "LET_GO_BYTES", 1 << 16)
    monkeypatch.setattr(part_join, "STEP_ROWS_MAX", 1 << 13)
    monkeypatch.setattr(sys.modules[__name__], "BLOCK_ROWS", 1 << 10)
    place = Place(tmp_path)
    rng = np.random.default_rng(4)
    count, parts = 1 << 16, 4
    for number in range(parts):
        rows = VersionedRows(
            np.full(count, 1, np.uint32),
            np.arange(count) * parts + number,
            np.zeros(count, np.uint16),
            np.arange(count, dtype=np.uint64) + number * count + 1,
            {0: Column(rng.random(count))},
        )
        place.add(rows, MEASUREMENTS, number + 1)
    paths = [place.inventory.directory / f"{p.meta.name}.part" for p in place.parts]
    held: list[int] = []
    add = PartWriter.add

    def watched(writer: PartWriter, rows: VersionedRows) -> None:
        held.append(sum(map(resident_bytes, paths)))
        add(writer, rows)

    monkeypatch.setattr(PartWriter, "add", watched)
    assert place.join().rows == parts * count
    size = sum(part.meta.bytes for part in place.parts)
    assert len(held) >= 16
    assert max(held) < size * 3 / 4
    assert sum(map(resident_bytes, paths)) == 0
    place.close()
