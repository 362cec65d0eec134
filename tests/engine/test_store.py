"""The life of a write: order, durability, back-pressure, consumers, holds."""

from __future__ import annotations

import ast
import errno
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    Ack,
    AppliedRows,
    ClosedError,
    Column,
    ColumnType,
    Engine,
    LockedError,
    LogFailedError,
    Measurement,
    Origin,
    OverloadedError,
    Rows,
    RowSink,
    SchemaError,
    Template,
)
from mainstem_engine import memory as memory_module
from mainstem_engine import origins as origins_module
from mainstem_engine import store as store_module
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.origins import Origins
from mainstem_engine.points import Points
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

T = Template("t", (Measurement(0, "x", ColumnType.INT64),))
CHILD = Origin("c" * 32, "child", 2)


class Journal:
    """A consumer that writes down everything it is told."""

    name = "journal"
    kinds = frozenset({RecordKind.PTS, RecordKind.RCV, RecordKind.SCH, RecordKind.DEV})

    def __init__(self) -> None:
        self.records: list[tuple[int, str]] = []
        self.rows: list[tuple[str, int, int, int]] = []
        self.decoded: list[object] = []

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        self.records.append((record.lsn, record.kind.name))
        self.decoded.append(decoded)
        if record.kind == RecordKind.PTS:
            assert isinstance(decoded, Points)
        if record.kind == RecordKind.RCV:
            header, (times,) = decode_payload(record.payload)
            moments = np.frombuffer(times, np.int64)
            rows = Rows(np.zeros(len(moments), np.uint32), moments)
            sink.add(header["t"], CHILD, rows, header["lsn"])

    def rows_applied(self, batch: AppliedRows) -> None:
        lsn = batch.lsn if isinstance(batch.lsn, int) else int(batch.lsn[0])
        self.rows.append((batch.table, batch.origin, lsn, batch.local_lsn))

    def snapshot(self) -> bytes:
        return repr((self.records, self.rows)).encode()

    def restore(self, data: bytes) -> None:
        self.records, self.rows = ast.literal_eval(data.decode())


def filled(engine: Engine) -> None:
    engine.create_template(T)
    engine.write("t", "root.a.d", [1], {"x": [1]}).wait()
    header = {"t": "t", "lsn": 70}
    engine.append(RecordKind.RCV, header, [np.array([5, 6])], decoded="given").wait()
    engine.append(RecordKind.MAN, {"not": "of interest"}).wait()


@pytest.mark.parametrize("flush_after", [None, 0, 1, 2])
def test_a_consumer_comes_to_the_same_state_after_a_crash(
    open_engine: Any, flush_after: int | None
) -> None:
    journal = Journal()
    engine: Engine = open_engine(consumers=[journal])
    filled(engine)
    for i in range(3):
        engine.write("t", "root.b.d", [10 + i], {"x": [i]}).wait()
        if flush_after == i:
            engine.flush()
    before = journal.snapshot()
    assert [kind for _, kind in journal.records] == ["SCH", "SCH", "DEV", "PTS", "RCV"] + [
        "SCH",
        "DEV",
    ] + ["PTS"] * 3
    assert journal.rows[1] == ("t", 1, 70, 6)
    assert "given" in journal.decoded
    engine.abandon()
    again = Journal()
    engine = open_engine(consumers=[again])
    assert again.snapshot() == before
    assert "given" not in again.decoded
    assert engine.origins[1] == CHILD
    assert engine.origin_index(CHILD) == 1
    assert engine.origin_index(Origin("0" * 32, "nobody")) is None


def test_an_ack_is_done_when_rows_are_visible(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def look(ack: Ack) -> None:
        seen.append((ack.lsn, engine.applied_lsn))
        done.set()

    ack = engine.write("t", "root.a.d", [1], {"x": [1]})
    ack.add_done_callback(look)
    ack.wait(10)
    assert ack.done()
    assert ack.exception() is None
    assert done.wait(10)
    ack.add_done_callback(look)
    assert seen == [(ack.lsn, ack.lsn)] * 2
    assert engine.committed_lsn >= ack.lsn
    assert engine.durable_lsn <= engine.committed_lsn


@pytest.mark.parametrize("order", [1, -1])
def test_arrays_of_a_call_may_be_changed_as_soon_as_it_returns(
    open_engine: Any, order: int
) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    (device,) = engine.device_ids("t", ["root.a.d"], create=True)
    count = 20_000  # large: written and kept without a copy of the whole
    times = np.arange(count)[::order].copy()
    values = np.arange(count)[::order].astype(np.int64)
    devices = np.full(count, device, np.uint32)
    with engine._store.state_lock:  # the committer is still at the first when the others change
        before = engine.log.statistics().written_bytes
        engine.write("t", ["root.a.d"], [count], {"x": [count]})
        while engine.log.statistics().written_bytes == before:
            threading.Event().wait(0.001)
        ack = engine.write("t", devices, times, {"x": values})
        for array in (times, values, devices):
            array[:] = 7
    ack.wait(10)
    engine.abandon()
    engine = open_engine()
    found = engine.scan("t").read_all()
    assert found.column("x").to_pylist() == list(range(count + 1))
    assert set(found.column("device").to_pylist()) == {"root.a.d"}


def test_a_callback_that_fails_harms_nobody(
    open_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.device_ids("t", ["root.a.d"], create=True)

    def broken(ack: Ack) -> None:
        raise RuntimeError("of the caller")

    with engine._store.state_lock:
        # The committer cannot apply rows, and so complete nothing, before the callback is there.
        ack = engine.write("t", "root.a.d", [1], {"x": [1]})
        ack.add_done_callback(broken)
    ack.wait(10)
    engine.write("t", "root.a.d", [2], {"x": [1]}).wait(10)
    assert "callback" in caplog.text


def test_waiting_gives_up_in_time(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.device_ids("t", ["root.a.d"], create=True)
    with engine._store.state_lock:
        ack = engine.write("t", "root.a.d", [1], {"x": [1]})
        with pytest.raises(TimeoutError, match="not durable"):
            ack.wait(0.01)
    ack.wait(10)


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_a_failed_log_acknowledges_nothing_more(
    open_engine: Any, tmp_path: Path, kind: str
) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    engine: Engine = open_engine(fs=fs, durability="always")
    engine.create_template(T)
    engine.write("t", "root.a.d", [1], {"x": [1]}).wait()
    fs.fail(kind, path_part=".log", error=errno.EIO)
    ack = engine.write("t", "root.a.d", [2], {"x": [2]})
    with pytest.raises(LogFailedError):
        ack.wait(10)
    assert isinstance(ack.exception(), LogFailedError)
    for action in (
        lambda: engine.write("t", "root.a.d", [3], {"x": [3]}),
        lambda: engine.append(RecordKind.MAN, {}),
        engine.flush,
    ):
        with pytest.raises(LogFailedError):
            action()
    assert engine.scan("t").read_all()["time"].to_pylist() == [1]
    assert engine.statistics().log.error is not None
    engine.close()
    again: Engine = open_engine()
    assert again.scan("t").read_all()["time"].to_pylist() == [1]
    again.write("t", "root.a.d", [4], {"x": [4]}).wait()


def test_a_closed_engine_says_so(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.close()
    engine.close()
    with pytest.raises(ClosedError):
        engine.write("t", "root.a.d", [1], {"x": [1]})
    with pytest.raises(ClosedError):
        engine.flush()


def test_a_directory_has_one_owner(open_engine: Any, tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "data", owner_url="http://127.0.0.1:8400")
    with pytest.raises(LockedError, match="8400"):
        open_engine()
    engine.close()
    open_engine()


def test_log_is_released_only_below_every_hold(open_engine: Any) -> None:
    engine: Engine = open_engine(log_segment_bytes=1)
    holds = {"a": 4, "b": 1 << 60}
    for name in holds:
        engine.add_hold(name, partial(holds.__getitem__, name))
    filled(engine)
    engine.flush()
    assert engine.log.first_lsn <= 5
    holds["a"] = 6
    engine._housekeeping.work()
    assert 5 < engine.log.first_lsn <= 7
    holds["a"] = 1 << 60
    engine._housekeeping.work()
    assert engine.log.first_lsn == engine._store.checkpoint_lsn + 1


def test_a_hold_that_fails_releases_nothing(
    open_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine: Engine = open_engine(log_segment_bytes=1)

    def broken() -> int:
        raise RuntimeError("lost")

    engine.add_hold("broken", broken)
    filled(engine)
    engine.flush()
    assert engine.log.first_lsn == 1
    assert "hold broken failed" in caplog.text


def test_writers_wait_for_memory_and_then_go_on(open_engine: Any) -> None:
    engine: Engine = open_engine(memory_limit_bytes=1 << 20)
    engine.create_template(T)
    times = np.arange(2000)
    for i in range(30):
        engine.write("t", "root.a.d", times + 2000 * i, {"x": times}).wait()
    statistics = engine.statistics()
    assert statistics.throttled > 0
    assert statistics.head_bytes < 1 << 20
    assert engine.scan("t", columns=["x"]).read_all().num_rows == 60_000


def test_a_flush_that_cannot_keep_up_is_said_to_the_writer(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "WAIT_S_MAX", -1.0)
    engine: Engine = open_engine(memory_limit_bytes=1 << 20)
    engine.create_template(T)
    engine._store.on_full = lambda: None
    times = np.arange(40_000)
    engine.write("t", "root.a.d", times, {"x": times}).wait()
    with pytest.raises(OverloadedError, match="retry after"):
        engine.write("t", "root.a.d", times, {"x": times})
    engine.flush()
    engine.write("t", "root.a.d", times, {"x": times}).wait()


def test_readers_and_writers_and_flushes_at_once(open_engine: Any) -> None:
    """Rows that were acknowledged before a scan are in it, whatever goes on meanwhile."""
    engine: Engine = open_engine(background=True, flush_bytes=20_000, memory_limit_bytes=1 << 20)
    engine.create_template(T)
    engine.device_ids("t", [f"root.a.d{i}" for i in range(3)], create=True)
    written = [0, 0, 0]
    failures: list[str] = []

    def write(device: int) -> None:
        for i in range(60):
            times = np.arange(20) + 20 * i
            engine.write("t", f"root.a.d{device}", times, {"x": times}).wait(30)
            written[device] = 20 * (i + 1)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        before = list(written)
        table = engine.scan("t").read_all()
        newest = {r["device"]: r["x"] for r in engine.last_rows("t")}
        for device in range(3):
            path = f"root.a.d{device}"
            count = table["device"].to_pylist().count(path)
            if count < before[device] or count % 20:
                failures.append(f"{path}: {count} rows of {before[device]}")
            if before[device] and newest[path] < before[device] - 1:
                failures.append(f"{path}: last {newest[path]} of {before[device]}")
    for thread in threads:
        thread.join()
    assert failures == []
    assert engine.store_accounting()["t"].logged == 3600


def test_origins_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins_module, "ORIGINS_MAX", 2)
    origins = Origins(Origin("a" * 32, "me"))
    assert origins.index(CHILD) == 1
    assert origins.index(CHILD) == 1
    with pytest.raises(SchemaError, match="origins"):
        origins.index(Origin("d" * 32, "one too many"))


def test_foreign_rows_with_an_lsn_each(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    ids = engine.device_ids("t", ["root.a.d"], create=True)
    rows = Rows(
        np.repeat(ids, 3), np.array([1, 1, 2]), {0: Column(np.array([10, 20, 30], np.int64))}
    )
    lsns = np.array([9, 8, 7], np.uint64)
    engine._store.application.add_foreign_rows("t", CHILD, rows, lsns, 1)
    assert engine.scan_rows("t").columns[0].values.tolist() == [10, 30]
    engine.flush()
    counts = engine.store_accounting()["t"]
    assert (counts.live, counts.overwritten, counts.unresolved) == (2, 1, 0)
    assert engine.scan_rows("t").columns[0].values.tolist() == [10, 30]


def test_a_large_write_becomes_records_that_a_parent_can_take(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "RECORD_BYTES_MAX", 4000)
    journal = Journal()
    engine: Engine = open_engine(consumers=[journal])
    engine.create_template(T)
    count = 1000
    before = engine.applied_lsn
    ack = engine.write("t", "root.a.d", list(range(count)), {"x": list(range(count))})
    ack.wait()
    assert ack.lsn == engine.applied_lsn
    written = [lsn for lsn, kind in journal.records if kind == "PTS"]
    assert len(written) > 5
    assert all(len(r.payload) <= 4000 for r in engine.log.read(before + 1) if r.lsn in written)
    found = engine.scan("t").read_all().column("x").to_pylist()
    assert found == list(range(count))
    assert engine.store_accounting()["t"].logged == count
