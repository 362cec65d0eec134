"""Power cuts while bases are written and put in place: what was promised is there, or comes back.

A whole engine runs on a file system that keeps a journal; each crash state is opened anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Tag, Template
from mainstem_engine.catalog import key_shards, tags, value_table
from mainstem_engine.catalog.base_file import base_files
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.testing.clock import FakeClock
from mainstem_engine.testing.crash_states import crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

TEMPLATE = Template("t", (Measurement(0, "x", ColumnType.DOUBLE),), (Tag("line"), Tag("vin")))
ROUNDS, DEVICES = 3, 6
SAMPLED = 29
"""One crash state of so many is opened, so that the test takes seconds. All of them pass too."""


def options() -> EngineOptions:
    return EngineOptions(background=False, clock=FakeClock())


def vin_of(device: int) -> str:
    """Different for each device, but that every ninth has the one of the device before it."""
    return f"vin {device - (device % 9 == 8)}"


def create(engine: Engine, start: int, end: int) -> None:
    paths = [f"root.a.d{number:03d}" for number in range(start, end)]
    lines = [f"line {number % 5}" for number in range(start, end)]
    vins = [vin_of(number) for number in range(start, end)]
    ids = engine.device_ids("t", paths, {"line": lines, "vin": vins}, create=True)
    assert ids.tolist() == list(range(start, end))


def check(engine: Engine, promised: int) -> int:
    """At least the promised devices, dense, each with its own name and tag."""
    devices = engine.catalog.devices
    count = len(devices)
    assert promised <= count
    assert devices.paths(range(count)) == [f"root.a.d{number:03d}" for number in range(count)]
    for device, path in enumerate(devices.paths(range(count))):
        assert devices.id_of(path) == device
        assert devices.tags(device) == {"line": f"line {device % 5}", "vin": vin_of(device)}
        alike = [other for other in range(count) if vin_of(other) == vin_of(device)]
        assert devices.matching("t", {"vin": vin_of(device)}).tolist() == alike
    wanted = [device for device in range(count) if device % 5 == 3]
    assert devices.matching("t", {"line": "line 3"}).tolist() == wanted
    return count


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_shards, "SHARD_KEYS", 8)
    monkeypatch.setattr(value_table, "VALUES_PER_SHARD", 8)
    monkeypatch.setattr(tags, "INDEXED_VALUES_MAX", 8)
    monkeypatch.setattr("mainstem_engine.catalog.sections.MERGE_DEVICES_MIN", DEVICES)


def test_every_crash_state_has_what_was_promised(tmp_path: Path) -> None:
    fs = FaultyFilesystem(tmp_path / "before")
    promises: list[tuple[int, int]] = []
    engine = Engine.open(fs.root, options(), fs=fs)
    engine.create_template(TEMPLATE)
    for turn in range(ROUNDS):
        # Each round is large enough for a merge; the next one has a base below it.
        count = turn * (DEVICES + 4)
        create(engine, count, count + DEVICES + 4)
        engine.write("t", "root.a.d000", [turn], {"x": [1.0]}).wait()
        promises.append((len(fs.journal), count + DEVICES + 4))
        engine.flush()
        promises.append((len(fs.journal), count + DEVICES + 4))
    engine.close()
    assert engine.catalog.devices.base is not None
    root, states, merged = tmp_path / "after", 0, 0
    # The journal begins with an empty directory; before the first promise there is no template.
    for state in crash_states(fs.journal, {}, promise=lambda n: _promised(promises, n)):
        promised = _promised(promises, state.operations)
        states += 1
        if states % SAMPLED or not promised:
            continue
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        state.write(root)
        with Engine.open(root, options()) as again:
            count = check(again, promised)
            base = again.catalog.devices.base
            merged += base is not None
            kept = [] if base is None else [base.name.name]
            assert base_files(Filesystem(), root / "catalog") == kept, state.label
            create(again, count, count + DEVICES + 4)
        with Engine.open(root, options()) as third:
            check(third, count + DEVICES + 4)
    assert states > 300
    assert merged > 5


def _promised(promises: list[tuple[int, int]], operations: int) -> int:
    return max((value for count, value in promises if count <= operations), default=0)


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_directory"])
def test_a_base_that_cannot_be_written_is_tried_again(tmp_path: Path, kind: str) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    engine = Engine.open(fs.root, options(), fs=fs)
    engine.create_template(TEMPLATE)
    create(engine, 0, 20)
    fs.fail(kind, path_part="catalog")
    with pytest.raises(OSError, match="injected"):
        engine.flush()
    assert check(engine, 20) == 20
    assert engine.catalog.devices.base is None
    create(engine, 20, 30)
    engine.flush()
    assert engine.catalog.devices.base is not None
    engine.close()
    with Engine.open(fs.root, options()) as again:
        assert check(again, 30) == 30
        assert len(base_files(fs, fs.root / "catalog")) == 1


def test_a_checkpoint_that_fails_after_the_merge_uses_the_base_again(tmp_path: Path) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    engine = Engine.open(fs.root, options(), fs=fs)
    engine.create_template(TEMPLATE)
    create(engine, 0, 20)
    fs.fail("write", path_part=".ckpt")
    with pytest.raises(OSError, match="injected"):
        engine.flush()
    assert base_files(fs, fs.root / "catalog") == ["000000000001.base"]
    engine.flush()
    assert base_files(fs, fs.root / "catalog") == ["000000000001.base"]
    assert check(engine, 20) == 20
    engine.close()
    with Engine.open(fs.root, options()) as again:
        assert check(again, 20) == 20
