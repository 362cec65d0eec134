"""A disk that stands still for a while: writers wait, then are told; nothing piles up meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    Ack,
    ColumnType,
    Engine,
    EngineOptions,
    Measurement,
    OverloadedError,
    Template,
)
from mainstem_engine import memory as memory_module
from mainstem_engine.filesystem import AppendFile, Filesystem
from mainstem_engine.log import writer as writer_module

MIB = 1 << 20
T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE), Measurement(0, "y", ColumnType.TEXT)))
ROWS = 10_000
BATCH_BYTES = ROWS * (22 + 8)
"""What a batch of x takes in the head."""
BATCHES_MAX = 100
"""Many times what the limit lets through while nothing moves."""
GATE_S = 30.0
"""A test that forgets the gate fails instead of hanging."""


class StandingDisk(Filesystem):
    """Files that ``concerns(path)`` names cannot be synced while the gate is closed."""

    def __init__(self, concerns: Callable[[Path], bool]) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self._concerns = concerns

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        file = super().create(path, mode=mode)
        return _GatedFile(file, self) if self._concerns(path) else file

    def open_append(self, path: Path) -> AppendFile:
        file = super().open_append(path)
        return _GatedFile(file, self) if self._concerns(path) else file


class _GatedFile(AppendFile):
    def __init__(self, file: AppendFile, disk: StandingDisk) -> None:
        super().__init__(file.path, file._fd)
        self._disk = disk

    def sync(self) -> None:
        if not self._disk.gate.is_set():
            self._disk.reached.set()
            assert self._disk.gate.wait(GATE_S), "the gate stayed closed"
        super().sync()


def of_parts(path: Path) -> bool:
    return ".part" in path.name


def of_log(path: Path) -> bool:
    return path.parent.name == "log"


def batches() -> Iterator[tuple[np.ndarray[Any, Any], dict[str, Any]]]:
    for number in range(BATCHES_MAX):
        yield np.arange(number * ROWS, (number + 1) * ROWS), {"x": np.full(ROWS, float(number))}


@pytest.fixture
def opened() -> Iterator[Callable[..., Engine]]:
    """Opens an engine with threads of its own; the gate is open again when it is closed."""
    engines: list[tuple[Engine, StandingDisk]] = []

    def open_one(path: Path, disk: StandingDisk, **options: Any) -> Engine:
        chosen = EngineOptions(**{"flush_every_ns": 0, "memory_limit_bytes": 8 * MIB, **options})
        engine = Engine.open(path / "data", chosen, fs=disk)
        engine.create_template(T)
        engine.device_ids("t", ["root.a.d"], create=True)
        engine.write("t", "root.a.d", [-1], {"x": [0.0]}).wait()
        engines.append((engine, disk))
        return engine

    yield open_one
    for engine, disk in engines:
        disk.gate.set()
        engine.close()


def write_until_refused(engine: Engine) -> list[Ack]:
    """The acknowledgements to come of what was accepted."""
    acks: list[Ack] = []
    for times, columns in batches():
        try:
            acks.append(engine.write("t", "root.a.d", times, columns))
        except OverloadedError:
            return acks
    raise AssertionError("nothing was refused")


def test_a_flush_that_stands_still_stops_writers_at_the_bound(
    tmp_path: Path, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StandingDisk(of_parts)
    engine = opened(tmp_path, disk)
    memory = engine._store.memory
    disk.gate.clear()
    monkeypatch.setattr(memory_module, "WAIT_S_MAX", -1.0)
    acks = write_until_refused(engine)
    for ack in acks:
        ack.wait(GATE_S)
    limit = memory.limit_of("head")
    assert limit - BATCH_BYTES < memory.used_by("head") <= limit
    assert memory.used_by("head") == engine.statistics().head_bytes
    assert memory.statistics().peak["head"] <= limit + BATCH_BYTES
    rows = engine.statistics().head_rows
    with pytest.raises(OverloadedError):
        engine.write("t", "root.a.d", np.arange(ROWS), {"x": np.zeros(ROWS)})
    assert engine.statistics().head_rows == rows
    assert disk.reached.wait(GATE_S)
    disk.gate.set()
    monkeypatch.setattr(memory_module, "WAIT_S_MAX", GATE_S)
    engine.write("t", "root.a.d", np.arange(ROWS) + 10**9, {"x": np.zeros(ROWS)}).wait()
    assert engine.scan("t").read_all().num_rows == (len(acks) + 1) * ROWS + 1
    engine.flush()
    assert memory.used_by("head") == 0


def test_a_writer_waits_and_goes_on_when_the_disk_does(
    tmp_path: Path, opened: Callable[..., Engine]
) -> None:
    disk = StandingDisk(of_parts)
    engine = opened(tmp_path, disk)
    waiting = threading.Event()

    class Room(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            return super().wait(timeout)

    engine._store.memory._room = Room()
    disk.gate.clear()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for times, columns in batches():
                ack = engine.write("t", "root.a.d", times, columns)
            ack.wait(GATE_S)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert waiting.wait(GATE_S)
    assert engine.statistics().head_bytes <= engine._store.memory.limit_of("head")
    disk.gate.set()
    thread.join()
    assert not failures
    assert engine.scan("t", columns=["x"]).read_all().num_rows == BATCHES_MAX * ROWS + 1


def test_a_log_that_stands_still_holds_no_more_than_its_queue(
    tmp_path: Path, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StandingDisk(of_log)
    engine = opened(tmp_path, disk)
    memory = engine._store.memory
    monkeypatch.setattr(writer_module, "QUEUE_WAIT_S_MAX", 0.0)
    disk.gate.clear()
    acks = write_until_refused(engine)
    found = memory.statistics()
    assert 0 < found.used["log"] <= memory.limit_of("log") + BATCH_BYTES
    assert memory.used_by("head") - engine.statistics().head_bytes == len(acks) * BATCH_BYTES
    assert not any(ack.done() for ack in acks)
    disk.gate.set()
    for ack in acks:
        ack.wait(GATE_S)
    monkeypatch.setattr(writer_module, "QUEUE_WAIT_S_MAX", GATE_S)
    engine.write("t", "root.a.d", [10**9], {"x": [1.0]}).wait()
    assert engine.scan("t").read_all().num_rows == len(acks) * ROWS + 2, "refused: not stored"
    assert memory.used_by("head") == engine.statistics().head_bytes


def test_long_texts_count_with_what_they_hold(
    tmp_path: Path, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StandingDisk(of_parts)
    engine = opened(tmp_path, disk)
    disk.gate.clear()
    monkeypatch.setattr(memory_module, "WAIT_S_MAX", -1.0)
    text = "x" * 10_000
    rows_max = engine._store.memory.limit_of("head") // len(text)
    for time in range(rows_max - 5):
        engine.write("t", "root.a.d", [time] * 1, {"y": [text]}).wait()
    batch = np.arange(rows_max)
    with pytest.raises(OverloadedError):
        engine.write("t", "root.a.d", batch, {"y": [text] * rows_max})
