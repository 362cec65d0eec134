"""What is counted for heads is what they hold, whatever failed on the way."""

from __future__ import annotations

import errno
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import (
    ColumnType,
    Engine,
    EngineOptions,
    LogFailedError,
    Measurement,
    Template,
)
from mainstem_engine.errors import EngineError
from mainstem_engine.log.writer import LogWriter
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE), Measurement(0, "y", ColumnType.TEXT)))
STEPS = ["rows", "row", "large", "texts", "wrong", "delete", "widen", "flush", "full disk"]
FOR_EVER = 1 << 30


def opened(path: Path) -> tuple[Engine, FaultyFilesystem]:
    fs = FaultyFilesystem(path)
    engine = Engine.open(path, EngineOptions(background=False), fs=fs)
    engine.create_template(T)
    return engine, fs


def check(engine: Engine) -> None:
    store = engine._store
    assert store.memory.used_by("head") == store.head_bytes()


def do(engine: Engine, fs: FaultyFilesystem, step: str, number: int) -> None:
    start = number * 100_000
    if step == "rows":
        engine.write("t", "root.a", start + np.arange(50), {"x": 1.5}).wait()
    elif step == "row":
        engine.write("t", "root.b", [start], {"x": [2.5]}).wait()
    elif step == "large":
        engine.write("t", "root.c", start + np.arange(20_000), {"x": 0.5, "y": "many"}).wait()
    elif step == "texts":
        engine.write("t", "root.a", [start, start - 1], {"y": ["a" * 1000, None]}).wait()
    elif step == "wrong":
        with pytest.raises(EngineError):
            engine.write("t", "root.a", [start, start], {"nothing": [1, 2]})
    elif step == "delete":
        engine.delete("t", devices="root.c", start=0, end=start).ack.wait()
    elif step == "widen":
        engine.alter_template("t", add=[Measurement(0, f"z{number}", ColumnType.INT8)])
        engine.write("t", "root.a", [start], {f"z{number}": [7]}).wait()
    elif step == "flush":
        engine.flush()
        assert engine._store.memory.used_by("head") == 0
    else:
        fs.fail("create", path_part="parts", error=errno.ENOSPC)
        if engine._store.head_rows():
            with pytest.raises(OSError, match="injected"):
                engine.flush()
        fs.heal()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=8), st.booleans())
def test_the_count_is_that_of_the_heads(steps: list[str], log_fails: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        engine, fs = opened(Path(directory) / "data")
        for device in "abc":
            engine.device_ids("t", [f"root.{device}"], create=True)
        for number, step in enumerate(steps):
            do(engine, fs, step, number + 1)
            check(engine)
        if log_fails:
            fs.fail("sync", path_part=".log", times=FOR_EVER)
            for value in (1.0, 2.0):
                with pytest.raises(LogFailedError):
                    engine.write("t", "root.a", np.arange(300), {"x": value}).wait()
        check(engine)
        engine.abandon()


def test_a_failed_log_lets_go_of_all_that_was_queued(tmp_path: Path) -> None:
    """Also of what no batch has taken yet."""
    engine, fs = opened(tmp_path / "data")
    engine.device_ids("t", ["root.a"], create=True)
    reached, gate = threading.Event(), threading.Event()

    def stand_still(path: Path) -> None:
        if path.suffix == ".log":
            reached.set()
            gate.wait(30)

    fs.during_sync = stand_still
    acks = [engine.write("t", "root.a", np.arange(300), {"x": 0.5})]
    assert reached.wait(30)
    acks += [engine.write("t", "root.a", np.arange(300), {"x": float(n)}) for n in range(5)]
    assert engine._store.memory.used_by("head") > engine._store.head_bytes()
    fs.fail("sync", path_part=".log", times=FOR_EVER)
    fs.fail("write", path_part=".log", times=FOR_EVER)
    gate.set()
    with pytest.raises(LogFailedError):
        acks[-1].wait(30)
    check(engine)
    engine.abandon()


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_what_no_engine_error_is_lets_go_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    engine, _ = opened(tmp_path / "data")
    ids = engine.device_ids("t", ["root.a"], create=True)

    def refuse(*_: object) -> int:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LogWriter, "append", refuse)
        with pytest.raises(error):
            engine.write("t", np.repeat(ids, 9), np.arange(9), {"x": 1.0})
    check(engine)
    assert engine._store.memory.used_by("head") == 0
    engine.close()
