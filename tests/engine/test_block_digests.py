"""Digests read block by block equal those of what a query reads, and stored bytes decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    AppliedRows,
    Column,
    ColumnType,
    Engine,
    Measurement,
    Origin,
    Rows,
    RowSink,
    Template,
    block_digests,
)
from mainstem_engine.errors import CorruptionError
from mainstem_engine.known_blocks import ENTRY_BYTES, KnownBlocks
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.part.reader import Part
from mainstem_engine.slices import SliceDigests

MS = 1_000_000
MINUTE = 60_000 * MS
PATHS = [f"root.x.d{number}" for number in range(6)]
OTHER = Origin("0" * 32, "other")
T = Template(
    "t",
    (
        Measurement(0, "a", ColumnType.DOUBLE),
        Measurement(0, "b", ColumnType.INT32),
        Measurement(0, "c", ColumnType.FLOAT),
        Measurement(0, "s", ColumnType.TEXT),
    ),
)


class Relay:
    """Applies rows of another node."""

    name = "relay"
    kinds = frozenset({RecordKind.RCV})

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        sink.add("t", OTHER, decoded, record.lsn)

    def rows_applied(self, batch: AppliedRows) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        pass


@pytest.fixture
def engine(open_engine: Any) -> Engine:
    found: Engine = open_engine(consumers=[Relay()], block_rows=64)
    found.create_template(T)
    found.device_ids("t", PATHS, create=True)
    return found


@pytest.fixture(autouse=True)
def always_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_digests, "SINGLE_ROWS_MIN", 0)
    monkeypatch.setattr(block_digests, "PIECE_ROWS", 150)
    monkeypatch.setattr(block_digests, "TEXT_BYTES_MAX", 6000)


def fill(engine: Engine, rng: np.random.Generator, devices: list[int], times: Any) -> Rows:
    """Rows of some devices at ``times`` (ms), some of them null."""
    ids = engine.device_ids("t", PATHS)[devices]
    device, time = np.repeat(ids, len(times)), np.tile(times, len(ids)) * MS
    count = len(time)
    valid = rng.random(count) < 0.9
    columns = {
        0: Column(rng.normal(size=count)),
        1: Column(rng.integers(-5, 5, count).astype(np.int32), valid),
        2: Column(rng.normal(size=count).astype(np.float32), valid[::-1].copy()),
        3: Column(np.array(["x" * (n % 9) for n in range(count)], object)),
    }
    return Rows(device, time, columns)


def write(engine: Engine, rng: np.random.Generator, devices: list[int], times: Any) -> None:
    rows = fill(engine, rng, devices, times)
    columns = {}
    for key, name in enumerate("abcs"):
        column = rows.columns[key]
        columns[name] = column.values if column.valid is None else (column.values, ~column.valid)
    engine.write("t", rows.device, rows.time // MS, columns).wait()


def scanned(engine: Engine, how: dict[str, Any]) -> list[tuple[int, ...]]:
    found = engine.slice_digests("t", **{"origin": None, "slice_ns": MINUTE, **how})
    return listed(found)


def listed(found: SliceDigests) -> list[tuple[int, ...]]:
    columns = (found.start, found.count, found.d1, found.d2)
    return list(zip(*(each.tolist() for each in columns), strict=True))


def expected(engine: Engine, how: dict[str, Any]) -> list[tuple[int, ...]]:
    """Of the rows that a query reads."""
    slice_ns = how.get("slice_ns", MINUTE)
    rows = engine.scan_rows(
        "t", devices=how.get("devices"), origin=how.get("origin"),
        start_ns=how["start_ns"], end_ns=how["end_ns"],
    )  # fmt: skip
    return listed(engine.digests_of("t", rows, slice_ns))


def make_history(engine: Engine, rng: np.random.Generator) -> None:
    """Parts that meet, late and repeated rows, rows of another origin, deletes, a head."""
    for _ in range(int(rng.integers(2, 6))):
        first = int(rng.integers(-400_000, 600_000))
        is_other = rng.random() < 0.3
        devices = sorted(set(rng.integers(2 if is_other else 0, len(PATHS), 4).tolist()))
        times = first + np.cumsum(rng.integers(1, 4_000, int(rng.integers(1, 300))))
        if is_other:
            engine.append(RecordKind.RCV, {}, decoded=fill(engine, rng, devices, times)).wait()
        else:
            write(engine, rng, devices, times)
        if rng.random() < 0.7:
            engine.flush()
        if rng.random() < 0.3:
            engine.delete("t", devices=PATHS[:2], start=first, end=first + 50_000).ack.wait()


@pytest.mark.parametrize("seed", range(10))
def test_blocks_say_what_a_query_reads(engine: Engine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    make_history(engine, rng)
    ids = engine.device_ids("t", PATHS)
    for _ in range(8):
        start, end = np.sort(rng.integers(-500_000, 1_500_000, 2) * MS).tolist()
        if rng.random() < 0.5:
            start, end = start // MINUTE * MINUTE, -(-end // MINUTE) * MINUTE
        how = {"start_ns": start, "end_ns": end}
        if rng.random() < 0.5:
            how["devices"] = np.sort(rng.choice(ids, int(rng.integers(1, 6)), replace=False))
        if rng.random() < 0.3:
            how["origin"] = int(rng.integers(0, 2))
        if rng.random() < 0.3:
            how["slice_ns"] = 7_000 * MS
        wanted = expected(engine, how)
        assert scanned(engine, how) == wanted
        assert scanned(engine, how) == wanted, "of blocks that are known"


EVER = {"start_ns": -(1 << 60) // MINUTE * MINUTE, "end_ns": (1 << 60) // MINUTE * MINUTE}


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks of which a column is decoded from now on."""
    seen: list[int] = []
    original = Part._decode

    def decode(self: Part, key: int, number: int, *rest: Any) -> None:
        if key >= 0:
            seen.append(number)
        original(self, key, number, *rest)

    monkeypatch.setattr(Part, "_decode", decode)
    return seen


def test_known_bytes_are_not_decoded_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    write(engine, np.random.default_rng(1), [0, 1, 2], np.arange(0, 600_000, 1_000))
    engine.flush()
    wanted = scanned(engine, EVER)
    seen = decoded(monkeypatch)
    assert scanned(engine, EVER) == wanted
    hour = {"start_ns": 2 * MINUTE, "end_ns": 5 * MINUTE}
    assert scanned(engine, hour) == wanted[2:5], "slices of blocks that are cut"
    assert not seen
    assert scanned(engine, {**EVER, "measurement_ids": {0: 7}}) != wanted
    assert seen, "what was noted of other ids says nothing"


def test_a_byte_that_changes_after_a_scan_is_met_by_the_next(engine: Engine) -> None:
    write(engine, np.random.default_rng(1), [0, 1, 2], np.arange(0, 600_000, 1_000))
    engine.flush()
    scanned(engine, EVER)
    (part,) = engine._store.inventory.of_table("t")
    assert isinstance(part, Part)
    place = part._mapped.path
    data = bytearray(place.read_bytes())
    data[len(data) // 3] ^= 1
    with place.open("r+b") as file:  # the same file: what is mapped is what changes
        file.write(data)
    with pytest.raises(CorruptionError):
        scanned(engine, EVER)


def test_blocks_that_meet_are_merged_only_where_a_key_is_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    write(engine, rng, [0, 1], np.arange(0, 600_000, 2_000))
    engine.flush()
    write(engine, rng, [0, 1], np.arange(300_001, 900_000, 2_000))
    engine.flush()

    def refused(*_: Any) -> Any:
        raise AssertionError("merged")

    with monkeypatch.context() as patch:
        patch.setattr(block_digests, "iterate_found", refused)
        meeting = scanned(engine, EVER)
    assert meeting == expected(engine, EVER)
    write(engine, rng, [0], [300_001])
    engine.flush()
    monkeypatch.setattr(block_digests, "iterate_found", refused)
    with pytest.raises(AssertionError, match="merged"):
        scanned(engine, EVER)


def test_what_is_noted_is_bounded_and_the_oldest_goes_first() -> None:
    known = KnownBlocks(3 * (ENTRY_BYTES + 32))
    ones = np.ones(1, np.uint64)
    sums = (np.array([-5]), np.ones(1, np.int64), ones, ones)
    for key in range(3):
        known.note(key, sums)
    assert known.get(0) is not None
    known.note(3, sums)
    assert [key for key in range(4) if known.get(key) is not None] == [0, 2, 3]
    found = known.get(0)
    assert found is not None
    assert found[0].tolist() == [-5]
