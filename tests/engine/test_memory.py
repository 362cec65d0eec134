"""The memory budget: shares, bounded waits, and what a process really takes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import ColumnType, Engine, Measurement, OverloadedError, Template
from mainstem_engine import memory as memory_module
from mainstem_engine.memory import SHARES, UNCOUNTED_BYTES, MemoryBudget, counted_bytes

MIB = 1 << 20
T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE),))


def nothing() -> None:
    """Nobody makes room."""


LIMIT = 1280
"""Of which 800 are shared: 100 for a scan, a flush, a compaction and the log."""


def test_the_shares_leave_room_for_what_is_not_counted() -> None:
    for limit, counted in ((1 << 30, (1 << 30) - UNCOUNTED_BYTES), (8 << 20, 5 << 20)):
        assert counted_bytes(limit) == counted
        budget = MemoryBudget(limit)
        assert sum(budget.limit_of(share) for share in SHARES) == counted * 7 // 8


def test_what_fits_does_not_wait() -> None:
    budget = MemoryBudget(LIMIT)
    with budget.reserve("scan", 60), budget.reserve("scan", 40):
        assert budget.used_by("scan") == 100
        with budget.reserve("flush", 100):
            pass
    found = budget.statistics()
    assert (found.used["scan"], found.peak["scan"], found.waits["scan"]) == (0, 100, 0)
    assert found.peak["flush"] == 100


def test_one_larger_than_its_share_is_admitted_alone() -> None:
    budget = MemoryBudget(LIMIT)
    with budget.reserve("scan", 10_000):
        assert budget.used_by("scan") == 10_000


def test_who_does_not_fit_waits_for_who_is_there() -> None:
    budget = MemoryBudget(LIMIT)
    order: list[str] = []
    waiting = threading.Event()

    class Room(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            return super().wait(timeout)

    budget._room = Room()

    def second() -> None:
        with budget.reserve("scan", 60):
            order.append("second")

    thread = threading.Thread(target=second)
    with budget.reserve("scan", 60):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert budget.statistics().waits["scan"] == 1


def test_a_wait_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "_LOOK_AGAIN_S", 0.0)
    now = iter(range(0, 1000, 10))
    budget = MemoryBudget(LIMIT, monotonic=lambda: float(next(now)))
    with budget.reserve("scan", 60):
        with pytest.raises(OverloadedError, match="memory for scan"), budget.reserve("scan", 60):
            pass
        assert budget.used_by("scan") == 60
    budget.take("head", 301)
    asked: list[int] = []
    with pytest.raises(OverloadedError, match="memory for head"):
        budget.admit("head", 0, lambda: asked.append(1))
    assert len(asked) == 3
    budget.give_back("head", 1)
    budget.admit("head", 0, nothing)
    assert budget.used_by("head") == 300


def test_whoever_asks_may_make_the_room_itself() -> None:
    budget = MemoryBudget(LIMIT)
    budget.take("head", 500)
    waited: list[bool] = []

    def make_room() -> None:
        waited.append(budget.is_waited_for("head"))
        budget.give_back("head", 500)

    budget.admit("head", 1000, make_room)
    assert budget.statistics().waits["head"] == 1
    assert waited == [True]
    assert not budget.is_waited_for("head")
    assert budget.used_by("head") == 1000, "alone it may be larger than its share"


def test_a_share_that_bounds_itself_is_shown() -> None:
    budget = MemoryBudget(LIMIT)
    used = [70, 20]
    budget.watch("log", lambda: used.pop(0))
    assert budget.statistics().used["log"] == 70
    found = budget.statistics()
    assert (found.used["log"], found.peak["log"]) == (20, 70)


def test_heads_are_counted_until_they_are_parts(open_engine: Any) -> None:
    engine: Engine = open_engine(vnodes=2)
    engine.create_template(T)
    memory = engine._store.memory
    for device in range(4):
        times = np.arange(20_000)
        engine.write("t", f"root.a.d{device}", times, {"x": times / 2}).wait()
        for time in range(3):
            engine.write("t", f"root.a.d{device}", [30_000 + time], {"x": [0.5]}).wait()
    assert memory.used_by("head") == engine.statistics().head_bytes > 4 * 20_000 * 8
    engine.flush()
    found = memory.statistics()
    assert found.used["head"] == found.used["flush"] == 0
    assert 0 < found.peak["flush"] <= found.limits["flush"]


def test_replayed_rows_are_counted_too(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.write("t", "root.a.d", np.arange(100), {"x": np.zeros(100)}).wait()
    engine.abandon()
    again: Engine = open_engine()
    assert again._store.memory.used_by("head") == again.statistics().head_bytes > 0


def test_a_small_limit_is_kept_by_the_counts(open_engine: Any) -> None:
    """Many times the limit goes through; no share was over its bound by more than a batch."""
    limit = 8 * MIB
    engine: Engine = open_engine(memory_limit_bytes=limit, vnodes=2)
    engine.create_template(T)
    batch = 20_000
    for number in range(60):
        times = np.arange(number * batch, (number + 1) * batch)
        engine.write("t", f"root.a.d{number % 3}", times, {"x": times / 2}).wait()
    found = engine._store.memory.statistics()
    assert found.waits["head"] > 0
    slack = batch * 30
    for share, peak in found.peak.items():
        assert peak <= found.limits[share] + slack, share
    assert engine.scan("t", columns=["x"]).read_all().num_rows == 60 * batch


def test_scans_take_their_turn(open_engine: Any) -> None:
    engine: Engine = open_engine(memory_limit_bytes=8 * MIB, block_rows=1000)
    engine.create_template(T)
    for device in range(4):
        times = np.arange(60_000)
        engine.write("t", f"root.a.d{device}", times, {"x": times / 2}).wait()
    engine.flush()
    found: list[int] = []

    def scan() -> None:
        found.append(engine.scan("t", columns=["x"]).read_all().num_rows)

    threads = [threading.Thread(target=scan) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [240_000] * 6
    memory = engine._store.memory.statistics()
    assert 0 < memory.peak["scan"] <= memory.limits["scan"]
    assert memory.used["scan"] == 0


CHILD = """
import sys
import numpy as np
from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))

limit = int(sys.argv[2])
engine = Engine.open(sys.argv[1], EngineOptions(memory_limit_bytes=limit, flush_bytes=limit))
engine.create_template(Template("t", tuple(
    Measurement(0, f"m{n}", ColumnType.DOUBLE) for n in range(10))))
ids = engine.device_ids("t", [f"root.a.d{n}" for n in range(1000)], create=True)
rng = np.random.default_rng(1)
walk = np.round(np.cumsum(rng.normal(0, 1, (100_000, 10)), axis=0), 2)
columns = {f"m{n}": walk[:, n].copy() for n in range(10)}
device = np.tile(ids, 100)
def batch(number):
    times = np.repeat(np.arange(number * 100, number * 100 + 100), 1000) * 1000
    engine.write("t", device, times, columns).wait()
batch(0)
engine.flush()
before = peak = anonymous()
for number in range(1, 60):
    batch(number)
    peak = max(peak, anonymous())
engine.flush()
peak = max(peak, anonymous())
engine.close()
print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_stays_below_its_limit(tmp_path: Path) -> None:
    """RssAnon above that after the first batch, while 480 MiB of rows go through 128 MiB."""
    limit = 128 * MIB
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "data"), str(limit)],
        capture_output=True, text=True, check=True, env=environment, timeout=300,
    )  # fmt: skip
    assert int(done.stdout) < limit, f"{int(done.stdout) / MIB:.0f} MiB"
