"""Engine.delete: what it means, what it refuses, and that it stays true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mainstem_engine import (
    AppliedRows,
    Engine,
    NotFoundError,
    Origin,
    OverloadedError,
    Rows,
    RowSink,
    SchemaError,
    Template,
)
from mainstem_engine import deletion as deletion_module
from mainstem_engine.consumers import AppliedDelete
from mainstem_engine.erasures import ENTRIES_MAX, Erasure, decode_erasure
from mainstem_engine.errors import NotOwnerError
from mainstem_engine.log.records import Record, RecordKind

CHILD = Origin("0" * 31 + "1", "press")
PATHS = [f"root.a.d{n}" for n in range(4)]


class Child:
    """A consumer that applies what tests call a child's records."""

    name = "child"
    kinds = frozenset({RecordKind.RCV})

    def __init__(self) -> None:
        self.deleted: list[AppliedDelete] = []
        self.found: dict[int, Any] = {}

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        if decoded is None:
            decoded = self.found[record.lsn]
        self.found[record.lsn] = decoded
        if isinstance(decoded, Erasure):
            sink.delete(CHILD, decoded)
        else:
            rows, lsn = decoded
            sink.add("meters", CHILD, rows, lsn)

    def rows_applied(self, batch: AppliedRows) -> None:
        pass

    def rows_deleted(self, deleted: AppliedDelete) -> None:
        self.deleted.append(deleted)

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        pass


@pytest.fixture
def engine(open_engine: Any, meters: Template) -> Engine:
    found: Engine = open_engine(durability="always")
    found.create_template(meters)
    found.device_ids("meters", PATHS, create=True)
    return found


def write(engine: Engine, device: str, times: list[int], **columns: Any) -> None:
    engine.write("meters", device, times, columns or {"voltage": times}).wait()


def keys(engine: Engine, **selection: Any) -> list[tuple[str, int]]:
    found = engine.scan("meters", **selection).read_all().to_pydict()
    return list(zip(found["device"], found["time"], strict=True))


def balance(engine: Engine, visible: int | None = None) -> Any:
    counts = engine.store_accounting()["meters"]
    assert counts.balanced
    assert min(counts.live, counts.unresolved, counts.overwritten, counts.deleted) >= 0
    if visible is not None:
        assert (counts.live, counts.unresolved) == (visible, 0)
    return counts


@pytest.mark.parametrize("flush", ["never", "before", "after", "both"])
def test_a_range_of_devices_goes(engine: Engine, flush: str) -> None:
    for path in PATHS[:3]:
        write(engine, path, [1, 2, 3, 4])
    if flush in ("before", "both"):
        engine.flush()
    found = engine.delete("meters", devices=PATHS[:2], start=2, end=4)
    assert found.rows == 4
    found.ack.wait()
    if flush in ("after", "both"):
        engine.flush()
    left = [(p, t) for p in PATHS[:3] for t in (1, 2, 3, 4) if p == PATHS[2] or t in (1, 4)]
    assert keys(engine) == left
    assert keys(engine, columns=["voltage"], start=2, end=4) == [(PATHS[2], 2), (PATHS[2], 3)]
    counts = balance(engine, visible=8)
    assert (counts.logged, counts.deleted) == (12, 4)


def test_what_is_written_later_stands(engine: Engine) -> None:
    write(engine, PATHS[0], [1, 2])
    engine.delete("meters").ack.wait()
    write(engine, PATHS[0], [2], voltage=[7])
    assert keys(engine) == [(PATHS[0], 2)]
    engine.flush()
    balance(engine, visible=1)
    assert engine.last_rows("meters", PATHS[0])[0]["voltage"] == 7


def test_a_delete_waits_for_what_its_caller_wrote(engine: Engine) -> None:
    for time in range(50):
        engine.write("meters", PATHS[0], [time], {"voltage": 1})
    assert engine.delete("meters").rows == 50


def test_tags_choose_devices(engine: Engine) -> None:
    engine.device_ids("meters", ["root.a.x"], {"location": ["hall"]}, create=True)
    write(engine, "root.a.x", [1])
    write(engine, PATHS[0], [1])
    found = engine.delete("meters", tags={"location": "hall"})
    assert found.rows == 1
    found.ack.wait()
    assert keys(engine) == [(PATHS[0], 1)]


@pytest.mark.parametrize("flush", [False, True])
def test_a_predicate_deletes_exactly_what_it_sees(engine: Engine, flush: bool) -> None:
    write(engine, PATHS[0], list(range(10)), voltage=[0, 9, 9, 9, 0, 9, 0, 0, 9, 9])
    write(engine, PATHS[1], [3], voltage=[(None)])
    if flush:
        engine.flush()
    write(engine, PATHS[0], [2], voltage=[0])  # no longer meant
    found = engine.delete("meters", where=lambda batch: np.asarray(batch["voltage"]) == 9)
    assert found.rows == 5
    found.ack.wait()
    write(engine, PATHS[0], [1], voltage=[9])
    assert [t for p, t in keys(engine) if p == PATHS[0]] == [0, 1, 2, 4, 6, 7]
    (item,) = engine._store.tombstones["meters"]
    assert item.times is not None
    assert item.ends is not None
    assert (item.times // 1_000_000).tolist() == [1, 3, 5, 8]
    engine.flush()
    balance(engine, visible=7)


def test_arrow_predicates_and_their_nulls(engine: Engine) -> None:
    import pyarrow.compute as pc

    write(engine, PATHS[0], [1, 2, 3], voltage=[5, None, 1])
    assert engine.delete("meters", where=lambda b: pc.greater(b["voltage"], 2)).rows == 1
    with pytest.raises(SchemaError, match="expected bool"):
        engine.delete("meters", where=lambda batch: np.zeros(len(batch)))
    with pytest.raises(SchemaError, match="expected bool"):
        engine.delete("meters", where=lambda batch: np.zeros(1, np.bool_))


@pytest.mark.parametrize("flush", [False, True])
def test_values_of_one_measurement(engine: Engine, flush: bool) -> None:
    write(engine, PATHS[0], [1, 2], voltage=[1, 2], current=[1.0, None])
    write(engine, PATHS[0], [3], current=[3.0])
    if flush:
        engine.flush()
    found = engine.delete("meters", measurements=["Voltage"], end=3)
    assert found.rows == 2
    found.ack.wait()
    table = engine.scan("meters").read_all()
    assert table["time"].to_pylist() == [1, 3]
    assert table["voltage"].to_pylist() == [None, None]
    assert keys(engine, columns=["note"]) == [(PATHS[0], 1), (PATHS[0], 3)]
    engine.flush()
    assert balance(engine, visible=2).deleted == 1
    with pytest.raises(NotFoundError, match="no measurement 'x'"):
        engine.delete("meters", measurements=["x"])
    with pytest.raises(SchemaError, match="no measurement is named"):
        engine.delete("meters", measurements=[])


def test_nothing_found_is_nothing_logged(engine: Engine) -> None:
    write(engine, PATHS[0], [1])
    before = engine.log.appended_lsn
    found = engine.delete("meters", start=5)
    assert (found.rows, found.ack.done(), found.ack.exception()) == (0, True, None)
    assert engine.log.appended_lsn == before
    assert engine.delete("meters", devices="root.a.unknown").rows == 0


def test_a_rollup_follows_its_source(engine: Engine) -> None:
    engine.create_rollup("meters", "1m", 60_000_000_000)
    with pytest.raises(SchemaError, match="delete from meters"):
        engine.delete("meters_1m")


def test_the_record_says_what_was_found(engine: Engine) -> None:
    minute = 60_000
    write(engine, PATHS[0], [5, 6, minute * 3, minute * 9 + 7])
    write(engine, PATHS[2], [minute * 3 + 1])
    engine.delete("meters", end=minute * 9).ack.wait()
    record = next(iter(engine.log.read(engine.log.fsynced_lsn, engine.log.fsynced_lsn)))
    found = decode_erasure(record.payload)
    ms = 1_000_000
    ids = engine.device_ids("meters", [PATHS[0], PATHS[2]]).tolist()
    assert found.devices is not None
    assert found.devices.tolist() == sorted(ids)
    assert (found.start_ns, found.end_ns, found.rows) == (5 * ms, (minute * 3 + 1) * ms + 1, 4)
    spans = [5 * ms, minute * ms, 3 * minute * ms, found.end_ns]
    assert found.header["sp"] == spans


def test_many_devices_are_not_listed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in PATHS:
        write(engine, path, [1])
    monkeypatch.setattr(deletion_module, "LISTED_DEVICES_MAX", 3)
    engine.delete("meters").ack.wait()
    (item,) = engine._store.tombstones["meters"]
    assert item.devices is None
    assert keys(engine) == []


def test_a_huge_delete_is_several_records(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from mainstem_engine import erasures

    monkeypatch.setattr(erasures, "ENTRIES_MAX", 3)
    write(engine, PATHS[0], list(range(20)), voltage=[n % 2 for n in range(20)])
    before = engine.log.appended_lsn
    found = engine.delete("meters", where=lambda b: np.asarray(b["voltage"]) == 1)
    assert (found.rows, engine.log.appended_lsn - before) == (10, 4)
    found.ack.wait()
    assert [t for _, t in keys(engine)] == list(range(0, 20, 2))
    for path in PATHS[1:]:
        write(engine, path, [1, 2])
    write(engine, "root.a.d9", [1])
    engine.delete("meters", end=2).ack.wait()
    engine.flush()
    balance(engine, visible=12)
    assert ENTRIES_MAX > 3


def test_deletes_that_nothing_applies_are_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(engine, PATHS[0], list(range(8)))
    engine.flush()
    monkeypatch.setattr(deletion_module, "TOMBSTONES_MAX", 2)
    for time in (0, 2):
        engine.delete("meters", start=time, end=time + 1).ack.wait()
    with pytest.raises(OverloadedError, match="2 deletes of meters wait for compaction"):
        engine.delete("meters", start=4, end=5)
    assert len(keys(engine)) == 6
    write(engine, PATHS[0], [100])
    engine.flush()
    engine.compact()
    assert engine._store.tombstones == {}
    engine.delete("meters", start=4, end=5).ack.wait()
    engine.flush()
    balance(engine, visible=6)
    monkeypatch.setattr(deletion_module, "RANGES_MAX", 1)
    with pytest.raises(OverloadedError, match="separate stretches"):
        engine.delete("meters", where=lambda b: np.asarray(b["voltage"]) % 2 == 1)


def test_tombstones_survive_a_crash_and_go_when_applied(
    open_engine: Any, meters: Template, tmp_path: Path
) -> None:
    engine = open_engine()
    engine.create_template(meters)
    write(engine, PATHS[0], [1, 2, 3])
    engine.flush()
    engine.delete("meters", start=2, end=3).ack.wait()
    engine.abandon()
    engine = open_engine()
    assert [t for _, t in keys(engine)] == [1, 3]
    balance(engine, visible=2)
    write(engine, PATHS[0], [4])
    engine.flush()
    assert len(engine._store.tombstones["meters"]) == 1  # the first part still has the row
    engine.abandon()
    engine = open_engine()
    assert [t for _, t in keys(engine)] == [1, 3, 4]
    engine.compact()
    assert engine._store.tombstones == {}
    assert sum(part.meta.rows for part in engine._store.inventory.all()) == 3
    engine.abandon()
    engine = open_engine()
    assert [t for _, t in keys(engine)] == [1, 3, 4]
    balance(engine, visible=3)


def test_late_rows_and_deletes_in_one_flush(engine: Engine) -> None:
    write(engine, PATHS[0], [1, 5, 9])
    engine.flush()
    write(engine, PATHS[0], [5])  # late: overwrites
    write(engine, PATHS[0], [3])  # late: new
    engine.delete("meters", start=2, end=6).ack.wait()
    balance(engine)
    write(engine, PATHS[0], [5])  # lives again
    engine.delete("meters", start=1, end=2).ack.wait()
    assert [t for _, t in keys(engine)] == [5, 9]
    engine.flush()
    assert balance(engine, visible=2).deleted == 3
    write(engine, PATHS[0], [1, 3])
    engine.flush()
    balance(engine, visible=4)


def received(engine: Engine, device: str, times: list[int], lsn: int) -> None:
    ids = engine.device_ids("meters", [device])
    stamps = np.array(times, np.int64) * 1_000_000
    rows = Rows(np.full(len(times), ids[0], np.uint32), stamps)
    engine.append(RecordKind.RCV, {}, decoded=(rows, lsn)).wait()


def deleted_by_child(engine: Engine, as_of: int, start: int, end: int) -> None:
    erasure = Erasure("meters", as_of, start * 1_000_000, end * 1_000_000)
    engine.append(RecordKind.RCV, {}, decoded=erasure).wait()


def test_rows_of_others_are_refused(open_engine: Any, meters: Template) -> None:
    engine = open_engine(consumers=[Child()])
    engine.create_template(meters)
    engine.device_ids("meters", PATHS, create=True)
    received(engine, PATHS[0], [1, 2], 1)
    write(engine, PATHS[1], [1, 2])
    with pytest.raises(NotOwnerError, match=r"root\.a\.d0 in meters came from node press") as info:
        engine.delete("meters", end=2)
    assert (info.value.node, info.value.device) == ("press", PATHS[0])
    assert len(keys(engine)) == 4
    assert engine.delete("meters", end=2, devices=PATHS[1]).rows == 1
    assert engine.delete("meters", start=3).rows == 0


@pytest.mark.parametrize("flush", ["never", "before", "after"])
def test_rows_of_a_node_that_is_gone_are_deleted_here(
    open_engine: Any, meters: Template, flush: str
) -> None:
    child = Child()
    engine = open_engine(consumers=[child])
    engine.create_template(meters)
    engine.device_ids("meters", PATHS, create=True)
    engine.settled = lambda origin: 0
    engine.deletable = lambda origin: origin == CHILD
    received(engine, PATHS[0], [1, 2, 3], 5)
    received(engine, PATHS[0], [4], 9)
    write(engine, PATHS[1], [1, 2, 3])
    if flush == "before":
        engine.flush()
    assert engine.delete("meters", start=2, end=4).rows == 4
    low = engine.delete(
        "meters", end=3, where=lambda rows: rows["time"].cast("int64").to_numpy() < 2
    )
    low.ack.wait()
    assert low.rows == 2
    if flush == "after":
        engine.flush()
    assert keys(engine) == [(PATHS[0], 4)]
    # By versions: what the owner wrote before is covered, whenever it comes; what it wrote later
    # than all that was found is not.
    received(engine, PATHS[0], [2], 4)
    received(engine, PATHS[0], [3], 6)
    assert keys(engine) == [(PATHS[0], 3), (PATHS[0], 4)]
    assert {d.tombstone.origin for d in child.deleted} == {0, 1}
    assert {d.tombstone.as_of for d in child.deleted if d.tombstone.origin} == {5}
    engine.abandon()
    engine = open_engine(consumers=[child])
    assert keys(engine) == [(PATHS[0], 3), (PATHS[0], 4)]
    engine.settled = lambda origin: 9
    engine.flush()
    engine.compact()
    assert keys(engine) == [(PATHS[0], 3), (PATHS[0], 4)]
    assert balance(engine, visible=2).deleted == 7  # with the one that came late


def test_a_childs_delete_covers_what_arrives_late(open_engine: Any, meters: Template) -> None:
    child = Child()
    engine = open_engine(consumers=[child])
    engine.create_template(meters)
    engine.device_ids("meters", PATHS, create=True)
    engine.settled = lambda origin: 0
    received(engine, PATHS[0], [1, 2, 3], 5)
    deleted_by_child(engine, 6, 2, 4)
    received(engine, PATHS[0], [2, 4], 4)  # older than the delete
    received(engine, PATHS[0], [3], 8)
    assert [t for _, t in keys(engine)] == [1, 3, 4]
    balance(engine)
    engine.flush()
    counts = balance(engine, visible=3)
    assert counts.deleted == 2
    engine.compact()
    received(engine, PATHS[0], [2], 6)
    assert [t for _, t in keys(engine)] == [1, 3, 4]
    engine.settled = lambda origin: 8
    write(engine, PATHS[1], [1])
    engine.flush()
    engine.compact()
    assert engine._store.tombstones == {}
    balance(engine, visible=4)
    assert [d.tombstone.as_of for d in child.deleted] == [6]


def test_keys_of_a_rollup_are_deleted_by_its_owner(engine: Engine) -> None:
    engine.create_rollup("meters", "1m", 60_000_000_000)
    table = engine.catalog.table("meters_1m")
    ids = engine.device_ids("meters", PATHS[:2])
    minute = 60_000_000_000
    times = np.array([0, minute, 2 * minute], np.int64)
    rows = Rows(np.full(3, ids[0], np.uint32), times)
    engine.write_rows(table, rows, derived=True).wait()
    gone = engine.delete_rows(
        table, ids[[1, 0, 0]], np.array([0, 0, minute], np.int64), header={"asof": 7}
    )
    assert gone.rows == 2
    gone.ack.wait()
    assert engine.scan_rows("meters_1m").time.tolist() == [2 * minute]
    record = next(iter(engine.log.read(gone.ack.lsn, gone.ack.lsn)))
    assert decode_erasure(record.payload).header["asof"] == 7


def test_rows_that_come_during_a_search_are_judged_too(engine: Engine) -> None:
    """No row of the range lies between ``as_of`` and the record, however often one comes."""
    write(engine, PATHS[0], [1, 2], voltage=[1, 1])
    searches: list[int] = []

    def where(rows: pa.RecordBatch) -> Any:
        searches.append(rows.num_rows)
        if len(searches) <= deletion_module.SEARCHES_MAX:
            write(engine, PATHS[0], [10 + len(searches)], voltage=[1])
            write(engine, PATHS[0], [1], current=[1.0])
        return np.asarray(rows["voltage"]) == 1

    found = engine.delete("meters", where=where)
    found.ack.wait()
    assert searches == [2, 3, 4]
    assert found.rows == 4
    assert keys(engine) == []
    record = next(engine.log.read(found.ack.lsn))
    assert decode_erasure(record.payload).as_of == found.ack.lsn - 1
    engine.flush()
    balance(engine, visible=0)


def test_rows_elsewhere_do_not_repeat_a_search(engine: Engine) -> None:
    write(engine, PATHS[0], [1, 2])
    searches: list[int] = []

    def where(rows: pa.RecordBatch) -> Any:
        searches.append(rows.num_rows)
        write(engine, PATHS[0], [50])
        write(engine, PATHS[1], [1])
        return np.ones(rows.num_rows, np.bool_)

    found = engine.delete("meters", devices=PATHS[0], start=0, end=10, where=where)
    found.ack.wait()
    assert searches == [2]
    assert keys(engine) == [(PATHS[0], 50), (PATHS[1], 1)]
