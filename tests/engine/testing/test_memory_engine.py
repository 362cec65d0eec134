"""The engine in memory: the same answers as the real one, and a disk that forgets."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_engine.options import EngineOptions
from mainstem_engine.testing.memory_engine import MemoryDisk, MemoryEngine

NOW_NS = 1_800_000_000 * 10**9
PUMPS = Template("pumps", (Measurement(0, "flow", ColumnType.DOUBLE),))


def options(durability: str = "always") -> EngineOptions:
    return EngineOptions(
        durability=durability,
        background=False,
        clock=lambda: NOW_NS,
        monotonic=lambda: NOW_NS,
        node_name="edge",
    )


def opened(disk: MemoryDisk, durability: str = "always", seed: int = 1) -> MemoryEngine:
    return MemoryEngine.open_memory(disk, options(durability), rng=random.Random(seed))


def write(engine: Engine, second: int, value: float) -> None:
    ids = engine.device_ids("pumps", ["root.a.p1"], create=True)
    times = np.array([NOW_NS // 10**6 + second * 1000])
    engine.write("pumps", ids, times, {"flow": np.array([value])}).wait()


def flows(engine: Engine) -> list[float]:
    found: list[float] = engine.scan("pumps").read_all().column("flow").to_pylist()
    return found


def test_it_gives_the_answers_and_the_chain_of_a_real_one(tmp_path: Path) -> None:
    disk = MemoryDisk()
    twin = opened(disk)
    real = Engine.open(tmp_path, options())
    for engine in (twin, real):
        engine.create_template(PUMPS)
        for second in range(5):
            write(engine, second, second)
        write(engine, 2, 20.0)
        engine.flush()
        engine.delete("pumps", start=NOW_NS // 10**6, end=NOW_NS // 10**6 + 1000)
        write(engine, 7, 7.0)
        engine.flush()
        engine.compact()
    assert flows(twin) == flows(real) == [1, 20, 3, 4, 7]
    assert twin.store_accounting() == real.store_accounting()
    assert twin.log.appended_lsn == real.log.appended_lsn
    start, end, minute = NOW_NS, NOW_NS + 60 * 10**9, 60 * 10**9
    digests = [e.slice_digests("pumps", 0, start, end, minute) for e in (twin, real)]
    assert digests[0].d1.tolist() == digests[1].d1.tolist()
    real.close()


def test_what_was_committed_is_there_after_a_crash_and_what_was_queued_is_not() -> None:
    disk = MemoryDisk()
    engine = opened(disk)
    engine.create_template(PUMPS)
    write(engine, 1, 1.0)
    engine.flush()
    write(engine, 2, 2.0)
    ids = engine.device_ids("pumps", ["root.a.p1"])
    engine.write("pumps", ids, np.array([0]), {"flow": np.array([9.0])})
    engine.stop()
    assert flows(opened(disk)) == [1, 2]


def test_a_power_cut_takes_what_was_not_synced() -> None:
    disk = MemoryDisk()
    engine = opened(disk, "interval:100ms")
    engine.create_template(PUMPS)
    write(engine, 1, 1.0)
    engine.memory_log.sync()
    write(engine, 2, 2.0)
    assert engine.log.fsynced_lsn < engine.log.committed_lsn
    assert [r.lsn for r in engine.log.read(1)][-1] == engine.log.fsynced_lsn
    engine.stop()
    disk.power_cut()
    assert flows(opened(disk)) == [1]


def test_a_copy_of_a_disk_goes_its_own_way() -> None:
    disk = MemoryDisk()
    engine = opened(disk)
    engine.create_template(PUMPS)
    write(engine, 1, 1.0)
    backup = disk.copy()
    engine.flush()
    write(engine, 2, 2.0)
    other = opened(backup, seed=2)
    write(other, 3, 3.0)
    assert other.node_uuid == engine.node_uuid
    assert flows(engine) == [1, 2]
    assert flows(other) == [1, 3]
    common = engine.log.appended_lsn
    assert engine.log.chain_at(common) != other.log.chain_at(common)
    assert engine.log.chain_at(common - 1) == other.log.chain_at(common - 1)


@pytest.mark.parametrize("through", [0, 3])
def test_released_records_are_gone_and_their_end_is_known(through: int) -> None:
    disk = MemoryDisk()
    engine = opened(disk)
    engine.add_hold("test", lambda: through)
    engine.create_template(PUMPS)
    write(engine, 1, 1.0)
    engine.flush()
    write(engine, 2, 2.0)
    first = engine.log.first_lsn
    assert first == 1  # one segment is open, and of the other the hold wants something
    engine.add_hold("test", lambda: 1 << 40)
    engine.flush()
    assert engine.log.first_lsn > first
    assert engine.log.chain_at(engine.log.first_lsn - 1)
