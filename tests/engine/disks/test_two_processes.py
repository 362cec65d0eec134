"""One directory, one owner: the others are told who it is, and a kill leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainstem_engine.engine import LOCK_NAME
from mainstem_engine.filesystem import Filesystem

from .engine_process import EngineProcess, Refused

pytestmark = [pytest.mark.slow, pytest.mark.crash]


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    """``mainstem`` from the source tree."""
    return subprocess.run(
        [sys.executable, "-c", "from mainstem_node.cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def test_the_second_process_is_refused_and_a_kill_frees_the_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EngineProcess(data) as first, EngineProcess(data) as second:
        first.ask("open")
        first.write(0)
        before = sorted(data.rglob("*"))
        for command in ("open", "check"):
            with pytest.raises(Refused) as caught:
                second.ask(command)
            assert caught.value.kind == "LockedError"
            assert f"is in use by process {first.pid}" in caught.value.message
            assert "stop it first" in caught.value.message
        assert sorted(data.rglob("*")) == before
        # Whoever was refused did no harm.
        first.write(1)
        first.kill()
        second.tried, second.acknowledged = first.tried, first.acknowledged
        second.ask("open")
        second.assert_right(second.ask("rows"))
        second.write(2)
        second.ask("close")
        assert second.ask("check") == []


def test_a_tool_that_only_reads_keeps_owners_out_and_lets_readers_in(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EngineProcess(data) as engine:
        engine.ask("open")
        engine.write(0)
        engine.ask("close")
        reader = Filesystem().lock_shared(data / LOCK_NAME)
        assert reader is not None
        assert engine.ask("check") == []
        with pytest.raises(Refused, match="LockedError"):
            engine.ask("open")
        reader.close()
        engine.ask("open")
        engine.assert_right(engine.ask("rows"))
        engine.ask("close")


def test_the_command_line_says_who_owns_a_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EngineProcess(data) as engine:
        engine.ask("open")
        engine.write(0)
        found = cli("db", "check", str(data))
        assert found.returncode not in (0, 3)
        assert f"in use by process {engine.pid}" in found.stderr
        assert "Traceback" not in found.stderr
        engine.kill()
    found = cli("db", "check", str(data))
    assert found.returncode == 0, found.stderr + found.stdout
