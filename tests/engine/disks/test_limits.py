"""A running engine whose process may not open, map or write as much as it would.

It says what is missing, keeps what it acknowledged, and goes on when the limit is lifted, at the
latest after the directory was opened again in the same process.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstem_engine.options import MIB

from .capabilities import on_linux, require
from .engine_process import EngineProcess, Refused

pytestmark = [pytest.mark.slow, pytest.mark.crash]
BATCHES = 60
"""Enough for a flush, and for a segment to be full."""
SPARE_ADDRESSES = 4 * MIB
"""A batch fits, what a flush or a thread needs does not."""
FILE_BYTES = 400_000
"""Less than a segment of the log here grows to."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    require(on_linux)
    with EngineProcess(tmp_path / "data") as one:
        one.ask("open", log_segment_bytes=MIB)
        for batch in range(BATCHES):
            one.write(batch)
        one.ask("rows")  # libraries that are loaded when they are needed are loaded
        yield one


@contextlib.contextmanager
def limited(engine: EngineProcess, kind: int, soft: int) -> Iterator[None]:
    """The process has a lower limit inside the block."""
    before = resource.prlimit(engine.pid, kind)
    resource.prlimit(engine.pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # why it is gone is said by the next command
            resource.prlimit(engine.pid, kind, before)


def status_of(engine: EngineProcess, name: str) -> int:
    """A number of bytes in /proc/<pid>/status."""
    for line in Path(f"/proc/{engine.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def attempts(engine: EngineProcess) -> list[Refused]:
    """What is refused of everything that the engine does."""
    refused = []
    for batch in range(BATCHES, 2 * BATCHES):
        try:
            engine.write(batch)
        except Refused as why:
            refused.append(why)
    for name in ("flush", "compact", "rows"):
        try:
            engine.ask(name)
        except Refused as why:
            refused.append(why)
    return refused


def goes_on(engine: EngineProcess) -> None:
    """After the limit: everything works, and everything is there."""
    if engine.ask("status")["log_error"] is not None:
        engine.ask("abandon")
        engine.ask("open")
    engine.assert_right(engine.ask("rows"))
    engine.write(3 * BATCHES)
    engine.ask("flush")
    engine.assert_right(engine.ask("rows"))
    engine.ask("close")
    assert engine.ask("check") == []


def test_no_descriptor_is_left(engine: EngineProcess) -> None:
    """A new segment of the log needs one, and has it; a flush waits for better times."""
    used = len(list(Path(f"/proc/{engine.pid}/fd").iterdir()))
    with limited(engine, resource.RLIMIT_NOFILE, used):
        for batch in range(BATCHES, 2 * BATCHES):
            engine.write(batch)
        with pytest.raises(Refused, match=r"OSError: .*Too many open files"):
            engine.ask("flush")
        assert "Too many open files" in engine.ask("status")["last_error"]
        engine.assert_right(engine.ask("rows"))
        engine.write(2 * BATCHES)
    assert engine.ask("status")["log_error"] is None
    engine.ask("flush")
    assert engine.ask("status")["last_error"] is None
    goes_on(engine)


def test_no_memory_is_left(engine: EngineProcess) -> None:
    size = status_of(engine, "VmSize")
    with limited(engine, resource.RLIMIT_AS, size + SPARE_ADDRESSES):
        refused = attempts(engine)
    kinds = {why.kind for why in refused}
    assert kinds <= {"MemoryError", "_ArrayMemoryError", "ArrowMemoryError", "OSError",
                     "RuntimeError", "LogFailedError"}  # fmt: skip
    goes_on(engine)


def test_a_file_may_not_grow(engine: EngineProcess) -> None:
    with limited(engine, resource.RLIMIT_FSIZE, FILE_BYTES):
        refused = attempts(engine)
    assert "File too large" in refused[0].message
    assert "re-open the data directory" in refused[0].message
    goes_on(engine)
