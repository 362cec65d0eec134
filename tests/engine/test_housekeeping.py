"""The thread that flushes and compacts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine import ColumnType, Engine, Measurement, Template
from mainstem_engine import background as background_module
from mainstem_engine import housekeeping as housekeeping_module
from mainstem_engine.background import Background
from mainstem_engine.compaction import Policy
from mainstem_engine.errors import CorruptionError
from mainstem_engine.log.records import RecordKind
from mainstem_engine.part_join import join_parts

T = Template("t", (Measurement(0, "x", ColumnType.INT64),))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.005)


def test_a_full_head_is_flushed_by_itself(open_engine: Any) -> None:
    engine: Engine = open_engine(background=True, flush_bytes=10_000)
    engine.create_template(T)
    times = np.arange(1000)
    engine.write("t", "root.a.d", times, {"x": times}).wait()
    wait_until(lambda: engine.statistics().parts == 1)
    wait_until(lambda: engine.statistics().head_rows == 0)


def test_rows_are_flushed_after_a_while(open_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "TICK_S", 0.01)
    engine: Engine = open_engine(background=True, flush_every_ns=1_000_000)
    engine.create_template(T)
    engine.write("t", "root.a.d", [1], {"x": [1]}).wait()
    wait_until(lambda: engine.statistics().parts == 1)


def test_what_is_due(open_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping_module, "RECORDS_BEHIND_MAX", 5)
    engine: Engine = open_engine(flush_every_ns=0)
    engine.create_template(T)
    housekeeping = engine._housekeeping
    housekeeping.work()
    assert engine.statistics().housekeeping.flushes == 0
    for _ in range(6):
        engine.append(RecordKind.MAN, {}).wait()
    housekeeping.work()
    assert engine.statistics().housekeeping.flushes == 1
    engine.write("t", "root.a.d", [1], {"x": [1]}).wait()
    housekeeping.work()
    assert engine.statistics().housekeeping.flushes == 1


def test_a_failed_last_flush_loses_nothing(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.write("t", "root.a.d", [1], {"x": [1]}).wait()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("mainstem_engine.table_flush.PartWriter", full)
        engine.close()
    assert "the last flush" in caplog.text
    again: Engine = open_engine()
    assert again.scan("t").read_all().num_rows == 1


def test_failures_are_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background_module, "TICK_S", 0.001)
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("the disk is full")

    background = Background(work, "test")
    background.start()
    wait_until(lambda: len(calls) > 3)
    background.stop()
    background.stop()
    assert len(caplog.records) == 2
    count = len(calls)
    background.wake()
    assert len(calls) == count


class Compacted(threading.Event):
    """Notes how long somebody wants to wait for it, and how many flushes there were by then."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.waits: list[tuple[float | None, int]] = []
        self._engine = engine

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append((timeout, self._engine.statistics().housekeeping.flushes))
        return True


def test_a_flush_gives_compactions_time_when_parts_pile_up(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping_module, "PARTS_WAITING_MAX", 3)
    engine: Engine = open_engine(flush_every_ns=0, flush_bytes=1)
    engine.create_template(T)
    housekeeping = engine._housekeeping
    housekeeping._compacted = compacted = Compacted(engine)

    def write_and_work(time: int) -> None:
        engine.write("t", "root.a.d", [time], {"x": [time]}).wait()
        housekeeping.work()

    for number in range(3):
        write_and_work(number)
    assert compacted.waits == [], "few parts"
    write_and_work(3)
    assert compacted.waits == [(housekeeping_module.WAIT_FOR_COMPACTION_S, 3)]
    housekeeping.work()
    assert len(compacted.waits) == 1, "nothing to flush"
    housekeeping._compaction_error = "a full disk"
    write_and_work(4)
    assert len(compacted.waits) == 1, "compactions fail: waiting helps nobody"
    housekeeping._compaction_error = None
    compacted.set()
    write_and_work(5)
    assert len(compacted.waits) == 1, "no compaction is under way"


def test_parts_that_are_left_alone_are_not_waited_for(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compaction that cannot work leaves its parts alone until the next start. Compactions of
    other tables go on, and must not be waited for because of those parts."""
    monkeypatch.setattr(housekeeping_module, "PARTS_WAITING_MAX", 3)
    engine: Engine = open_engine(flush_every_ns=0, flush_bytes=1)
    engine.create_template(T)
    housekeeping = engine._housekeeping
    for number in range(5):
        engine.write("t", "root.a.d", [number], {"x": [number]}).wait()
        engine.flush()

    def refuse(*_: Any) -> Any:
        raise CorruptionError(engine.path / "parts", 0, "spoiled")

    with monkeypatch.context() as patch:
        patch.setattr(housekeeping_module, "join_parts", refuse)
        engine.compact()
    assert len(housekeeping._avoid) == 5
    housekeeping._compaction_error = None  # another table was compacted since
    housekeeping._compacted = compacted = Compacted(engine)
    engine.write("t", "root.a.d", [7], {"x": [7]}).wait()
    housekeeping.work()
    assert compacted.waits == []


def test_a_delete_makes_a_flush_due_by_the_timer(open_engine: Any) -> None:
    engine: Engine = open_engine(flush_every_ns=1)
    engine.create_template(T)
    engine.write("t", "root.a.d", [1, 2], {"x": [1, 2]}).wait()
    engine.flush()
    engine._housekeeping.work()
    assert engine.statistics().housekeeping.flushes == 1
    engine.delete("t").ack.wait()
    engine._housekeeping.work()
    assert engine.statistics().housekeeping.flushes == 2
    engine._housekeeping.compact_due()
    assert engine.statistics().part_bytes == 0
    engine._housekeeping.work()
    assert engine.statistics().housekeeping.flushes == 2


def test_a_compaction_is_waited_for_while_it_runs(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    for time_ in range(2):
        engine.write("t", "root.a.d", [time_], {"x": [time_]}).wait()
        engine.flush()
    housekeeping = engine._housekeeping
    seen: list[bool] = []

    def joined(*arguments: Any) -> Any:
        seen.append(housekeeping._compacted.is_set())
        return join_parts(*arguments)

    monkeypatch.setattr(housekeeping_module, "join_parts", joined)
    assert housekeeping._compacted.is_set()
    engine.compact()
    assert seen == [False]
    assert housekeeping._compacted.is_set()


def test_stopping_what_never_ran() -> None:
    Background(lambda: None, "test").stop()


def test_flushes_compactions_and_deletes_beside_one_another(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All threads at work: every row that was not deleted is there, once, in its last version."""
    monkeypatch.setattr(
        housekeeping_module, "DUE", Policy(parts_min=2, growth_max=float("inf"), deleted_share=0)
    )
    engine: Engine = open_engine(background=True, flush_bytes=20_000)
    engine.create_template(T)
    expected: dict[int, int] = {}
    rng = np.random.default_rng(7)
    for number in range(150):
        times = np.unique(rng.integers(0, 30_000, 300))
        ack = engine.write("t", "root.a.d", times, {"x": times + number})
        expected.update({time: time + number for time in times.tolist()})
        if number % 10 == 9:
            start = int(rng.integers(0, 30_000))
            engine.delete("t", start=start, end=start + 500).ack.wait()
            expected = {t: x for t, x in expected.items() if not start <= t < start + 500}
        if number % 25 == 24:
            ack.wait()
            # Not before the other threads have had something to do.
            wait_until(lambda: engine.statistics().housekeeping.flushes > 0)
            found = engine.scan("t").read_all()
            stored = found["time"].cast("int64").to_pylist()
            assert dict(zip(stored, found["x"].to_pylist(), strict=True)) == expected
    wait_until(lambda: engine.statistics().housekeeping.compactions > 0)
    statistics = engine.statistics().housekeeping
    assert (statistics.flush_failures, statistics.compaction_failures) == (0, 0)
    engine.flush()
    engine.compact()
    assert engine.scan("t").read_all().num_rows == len(expected)
    assert engine._store.counts()["t"].live == len(expected)
