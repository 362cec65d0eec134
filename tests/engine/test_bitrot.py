"""Damage to any file of a directory: it is noticed, or does not matter; a repair leaves a directory
that is whole and shows nothing that was not stored.

Damages are drawn with a seed: a bit, a byte, a zeroed sector, a swapped pair of sectors, a cut.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions, MainstemError, Template
from mainstem_engine.check import check_directory
from mainstem_engine.filesystem import SECTOR_BYTES
from mainstem_engine.repair import repair_directory

T0 = 1_790_000_000_000
DEVICES = 6
Found = set[tuple[int, int]]


@pytest.fixture
def data(open_engine: Any, meters: Template, tmp_path: Path) -> Path:
    """Vnodes, a catalog with a base, deletes, a compaction, and records above the checkpoint."""
    engine: Engine = open_engine(vnodes=2, log_segment_bytes=4096)
    engine.create_template(meters)
    for number in range(3):
        for device in range(DEVICES):
            write(engine, device, number * 50, 60)
        engine._store.catalog_files.merge_next = number == 1
        engine.flush()
        if number == 1:
            engine.compact()
    engine.delete("meters", devices="root.a.d0", start=T0, end=T0 + 5).ack.wait()
    engine.flush()
    for device in range(DEVICES):
        write(engine, device, 200, 20)
    engine.abandon()
    return tmp_path / "data"


def write(engine: Engine, device: int, first: int, count: int) -> None:
    """Every value says of which device and time it is."""
    numbers = np.arange(first, first + count)
    columns = {"voltage": device * 10_000 + numbers}
    tags = {"location": [f"hall {device}"]}
    ids = engine.device_ids("meters", [f"root.a.d{device}"], tags, create=True)
    engine.write("meters", int(ids[0]), T0 + numbers, columns).wait()


def shown(data: Path) -> Found:
    """(time, value) of all rows that have one, whatever their device is called by now."""
    with Engine.open(data, EngineOptions(background=False, durability="os")) as engine:
        tables = [t.name for t in engine.catalog.templates.all()]
        assert all(counts.balanced for counts in engine.store_accounting().values())
        if "meters" not in tables:
            return set()
        table = engine.scan("meters").read_all()
    name = "voltage" if "voltage" in table.column_names else "m1"
    if name not in table.column_names:
        return set()
    times, values = table["time"].cast("int64").to_pylist(), table[name].to_pylist()
    return {pair for pair in zip(times, values, strict=True) if pair[1] is not None}


def stored() -> Found:
    """Everything that was ever written."""
    numbers = {*range(160), *range(200, 220)}
    return {(T0 + n, device * 10_000 + n) for device in range(DEVICES) for n in numbers}


def spoil(path: Path, random: Random) -> str:
    """One damage; says which."""
    content = bytearray(path.read_bytes())
    kind = random.choice(["bit", "byte", "zeros", "swap", "cut"])
    place = random.randrange(len(content))
    if kind == "bit":
        content[place] ^= 1 << random.randrange(8)
    elif kind == "byte":
        content[place] ^= random.randrange(1, 256)
    elif kind == "cut":
        del content[place:]
    else:
        start = place - place % SECTOR_BYTES
        sector = bytes(content[start : start + SECTOR_BYTES])
        if kind == "zeros":
            content[start : start + SECTOR_BYTES] = bytes(len(sector))
        else:
            content[: len(sector)], content[start : start + len(sector)] = (
                sector,
                bytes(content[: len(sector)]),
            )
    path.write_bytes(content)
    return f"{kind} at {place} of {path}"


@pytest.mark.parametrize("count", [20, pytest.param(2000, marks=pytest.mark.nightly)])
def test_damage_to_any_file(data: Path, tmp_path: Path, count: int) -> None:
    shutil.copytree(data, tmp_path / "first")
    before = shown(tmp_path / "first")
    assert before < stored()
    files = sorted(
        path.relative_to(data) for path in data.rglob("*") if path.is_file() and path.name != "LOCK"
    )
    assert len({path.parts[0] for path in files}) == 6, "every kind of file is there"
    noticed = 0
    for seed in range(count):
        random = Random(seed)
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(data, copy)
        label = f"seed {seed}: {spoil(copy / files[seed % len(files)], random)}"
        report = check_directory(copy)
        if report.whole:
            # The end of the log may look torn; nothing else may change what is seen.
            found = shown(copy)
            assert found <= before, label
            assert found == before or report.remarks, label
            continue
        noticed += 1
        shutil.rmtree(tmp_path / "opened", ignore_errors=True)
        shutil.copytree(copy, tmp_path / "opened")
        # Without a repair: refused, or answered with nothing that was not stored.
        with contextlib.suppress(MainstemError):
            assert shown(tmp_path / "opened") <= before, label
        repaired = repair_directory(copy)
        assert repaired.after.whole, (label, repaired.after.damages)
        try:
            found = shown(copy)
        except MainstemError as error:
            raise AssertionError(label) from error
        assert found <= (stored() if repaired.unknown else before), label
        assert check_directory(copy).whole, label
    assert noticed > count // 2
