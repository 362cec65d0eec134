"""Damage to any file of a directory: it is noticed, or does not matter; it costs only its block; a
repair leaves a directory that is whole and shows nothing that was not stored.

Damages are drawn with a seed: a bit, a byte, a zeroed sector, a swapped pair of sectors or of
blocks, a cut. Files take turns, so that each kind gets its share.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from mainstem_engine import Engine, MainstemError, Template
from mainstem_engine.errors import CorruptionError
from mainstem_engine.restore import restore

from .rotting.rot import Rot, copied
from .rotting.specimen import (
    DEVICES,
    files_of,
    matters,
    options,
    rows_of,
    shown,
    specimen,
    spoiled,
    spoiled_in_place,
    stored,
)

DAMAGES, DAMAGES_NIGHTLY = 20, 2000
SEED = int(os.environ.get("MAINSTEM_SEED", "0")) * 10_000
"""Every night has damages of its own."""
Property = Callable[[str, object], None]


@pytest.fixture
def data(meters: Template, tmp_path: Path) -> Path:
    return specimen(tmp_path, meters)


@pytest.mark.parametrize(
    "count", [DAMAGES, pytest.param(DAMAGES_NIGHTLY, marks=pytest.mark.nightly)]
)
def test_damage_to_any_file(
    data: Path, tmp_path: Path, count: int, record_property: Property
) -> None:
    rot = Rot(data, tmp_path)
    assert rot.before < stored()
    files = files_of(data)
    kinds = {path.parts[0] for path in files}
    assert kinds == {"log", "parts", "part-list", "checkpoint", "catalog", "identity.json"}
    for number in range(count):
        rot.try_one(files[number % len(files)], SEED + number)
    record_property("count:damages", count)
    print(dict(rot.seen))
    assert rot.seen["noticed"] > count // 2


@pytest.mark.parametrize("count", [6, pytest.param(300, marks=pytest.mark.nightly)])
def test_damage_to_a_backup(
    data: Path, tmp_path: Path, count: int, record_property: Property
) -> None:
    """A restore refuses, or restores exactly what was saved."""
    backup = tmp_path / "backup"
    restore(backup, tmp_path / "first")
    before = shown(tmp_path / "first")
    files = files_of(backup)
    assert len({path.parts[0] for path in files}) > 5
    refused = 0
    for seed in range(SEED, SEED + count):
        copy = copied(backup, tmp_path / "copy")
        name = files[seed * 5 % len(files)]
        content = (copy / name).read_bytes()
        kind, after = spoiled(content, Random(seed))
        (copy / name).write_bytes(after)
        label = f"seed {seed}: {kind} of {name}"
        shutil.rmtree(tmp_path / "restored", ignore_errors=True)
        try:
            restore(copy, tmp_path / "restored")
        except MainstemError:
            refused += 1
            continue
        assert shown(tmp_path / "restored") == before, label
        assert not matters(name, content, after), label
    assert refused > count // 2
    record_property("count:damages", count)


@pytest.mark.parametrize("count", [8, pytest.param(400, marks=pytest.mark.nightly)])
def test_damage_under_a_running_engine(
    data: Path, tmp_path: Path, count: int, record_property: Property
) -> None:
    """What is mapped changes under its readers: they say so, or answer as before."""
    files = [path for path in files_of(data) if path.suffix in (".part", ".log")]
    refused = missing = 0
    for seed in range(SEED, SEED + count):
        copy = copied(data, tmp_path / "copy")
        name = files[seed % len(files)]
        with Engine.open(copy, options()) as engine:
            before = rows_of(engine)
            records = {r.lsn: bytes(r.payload) for r in engine.log.read(1)}
            kind = spoiled_in_place(copy / name, Random(seed))
            label = f"seed {seed}: {kind} of {name}"
            for device in range(DEVICES):
                path = f"root.a.d{device}"
                wanted = frozenset(row for row in before if row[0] == path)
                try:
                    assert rows_of(engine, devices=[path]) == wanted, label
                except CorruptionError:
                    refused += 1
                    assert name.suffix == ".part", label
            found = {r.lsn: bytes(r.payload) for r in engine.log.read(1)}
            assert found.items() <= records.items(), label
            lost = engine.statistics().log.lost_records
            assert lost == len(records) - len(found), label
            missing += lost
            engine.abandon()
    assert refused > 0
    assert missing > 0
    record_property("count:damages", count)
