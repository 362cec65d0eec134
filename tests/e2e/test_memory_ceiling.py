"""The ceiling that tests of limits put over a node: it holds, or says that there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import memory_ceiling
import pytest
from memory_ceiling import ENTER, WATCHED, ceiling

MIB = 1 << 20
GREEDY = f"""
import os
with open(os.environ["{ENTER}"], "w") as processes:
    processes.write(str(os.getpid()))
held = bytearray(os.urandom(1)) * ({128 * MIB})
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has control groups")


def test_what_is_beyond_it_is_ended_by_the_kernel_and_counted() -> None:
    with ceiling(32 * MIB) as memory:
        if memory.kind == WATCHED:
            pytest.skip("this user may not make control groups here")
        environment = {**os.environ, **memory.environment}
        with memory.watching(os.getpid()):
            found = subprocess.run([sys.executable, "-c", GREEDY], env=environment, check=False)
        assert found.returncode == -9
        assert memory.kills() == 1
        assert memory.highest_bytes <= 32 * MIB


def test_where_there_are_no_groups_a_process_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    for name in ("V1", "V2"):
        monkeypatch.setattr(
            memory_ceiling, name, replace(getattr(memory_ceiling, name), top=nowhere)
        )
    with ceiling(MIB) as memory:
        assert (memory.kind, memory.environment, memory.kills()) == (WATCHED, {}, 0)
        assert memory._own_bytes(os.getpid()) > 10 * MIB
