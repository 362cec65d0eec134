"""A disk that takes its time: acknowledgements wait for it, and what waits is bounded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mainstem_engine.memory import MemoryBudget
from mainstem_engine.options import MIB

from .capabilities import require, strace
from .engine_process import EngineProcess
from .injection import Tracing

pytestmark = [pytest.mark.slow, pytest.mark.crash]
SYNC_S = 0.1
MEMORY = 16 * MIB
BATCHES = 150
THREADS = 24


def slowed(engine: EngineProcess, output: Path) -> Tracing:
    """Every sync of the process waits."""
    delay_us = int(SYNC_S * 1e6)
    return Tracing(
        engine.pid, output,
        "-e", "trace=fdatasync,fsync",
        "-e", f"inject=fdatasync,fsync:delay_enter={delay_us}",
    )  # fmt: skip


def test_acknowledgements_wait_for_a_slow_disk(tmp_path: Path) -> None:
    require(strace)
    with EngineProcess(tmp_path / "data") as engine:
        engine.ask("open")
        tracing = slowed(engine, tmp_path / "strace")
        started = time.monotonic()
        for batch in range(3):
            engine.write(batch)
        # No sync can end earlier; one that nobody waited for would have.
        assert time.monotonic() - started >= 3 * SYNC_S
        engine.kill()
        tracing.text()
        tried, acknowledged = engine.tried, engine.acknowledged
    with EngineProcess(tmp_path / "data") as engine:
        engine.tried, engine.acknowledged = tried, acknowledged
        engine.ask("open")
        engine.assert_right(engine.ask("rows"))
        engine.ask("close")


def test_what_waits_for_a_slow_disk_is_bounded(tmp_path: Path) -> None:
    require(strace)
    with EngineProcess(tmp_path / "data") as engine:
        engine.ask("open", memory_limit_bytes=MEMORY)
        tracing = slowed(engine, tmp_path / "strace")
        engine.tried.update(range(BATCHES))
        found = engine.ask("write_many", 0, BATCHES, THREADS)
        engine.acknowledged.update(range(BATCHES))
        assert 0 < found["queue_bytes"] <= MemoryBudget(MEMORY).limit_of("log")
        engine.assert_right(engine.ask("rows"))
        engine.kill()
        text = tracing.text()
        # All writers share a sync: far fewer than batches.
        assert text.count("fdatasync(") < BATCHES / 3
        tried, acknowledged = engine.tried, engine.acknowledged
    with EngineProcess(tmp_path / "data") as engine:
        engine.tried, engine.acknowledged = tried, acknowledged
        engine.ask("open")
        engine.assert_right(engine.ask("rows"))
        engine.ask("close")
