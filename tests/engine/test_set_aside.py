"""Giving up what cannot be read of parts while the engine runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.errors import CorruptionError
from mainstem_engine.images import SliceImage
from mainstem_engine.model import Column, ColumnType, Measurement, Origin, Rows, Template

SECOND = 10**9
DEVICES, ROWS = 4, 5_000
OTHER = Origin("other", "0" * 32, 1)


def opened(path: Path, vnodes: int = 1) -> Engine:
    return Engine.open(path, EngineOptions(background=False, vnodes=vnodes))


def filled(path: Path, origin: Origin | None, vnodes: int = 1) -> Engine:
    """Rows of some devices, of this node or (as an image) of another, in parts."""
    engine = opened(path, vnodes)
    engine.create_template(Template("t", (Measurement(0, "a", ColumnType.DOUBLE),)))
    ids = engine.device_ids("t", [f"root.d{n}" for n in range(DEVICES)], create=True)
    values = np.random.default_rng(5).normal(size=DEVICES * ROWS)
    device, times = np.repeat(np.sort(ids), ROWS), np.tile(np.arange(ROWS), DEVICES)
    if origin is None:
        engine.write("t", device, times * 1000, {"a": values}).wait()
    else:
        (key,) = (m.id for m in engine.catalog.table("t").template.measurements)
        rows = Rows(device, times * SECOND, {key: Column(values)})
        lsn = np.ones(len(device), np.uint64)
        engine.apply_image(SliceImage("t", origin, 0, ROWS * SECOND, 1, rows, lsn)).wait()
    engine.flush()
    return engine


def damage(path: Path) -> Path:
    """One bit of the largest part."""
    part = max(path.rglob("*.part"), key=lambda each: each.stat().st_size)
    with part.open("r+b") as file:
        file.seek(part.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    return part


def count(engine: Engine) -> int:
    return int(engine.scan("t").read_all().num_rows)


@pytest.mark.parametrize("vnodes", [1, 3])
def test_what_can_be_read_stays_and_the_rest_is_counted(tmp_path: Path, vnodes: int) -> None:
    engine = filled(tmp_path, OTHER, vnodes)
    part = damage(tmp_path)
    with pytest.raises(CorruptionError):
        count(engine)
    (found,) = engine.damaged_parts("t", 0, 10**18)
    assert (found.name, found.own) == (part.stem, False)
    assert all(0 <= start < end <= ROWS * SECOND for start, end in found.spans)
    lost = engine.set_aside("t", [found.name])
    assert 0 < lost < DEVICES * ROWS
    assert count(engine) == DEVICES * ROWS - lost
    assert engine.store_accounting()["t"].lost_local == lost
    assert engine.store_accounting()["t"].balanced
    assert engine.damaged_parts("t", 0, 10**18) == []
    assert not part.exists()
    engine.close()
    engine = opened(tmp_path, vnodes)
    assert count(engine) == DEVICES * ROWS - lost
    assert engine.store_accounting()["t"].lost_local == lost
    engine.close()


def test_rows_of_this_node_stay(tmp_path: Path) -> None:
    engine = filled(tmp_path, None)
    part = damage(tmp_path)
    (found,) = engine.damaged_parts("t", 0, 10**18)
    assert found.own
    assert engine.set_aside("t", [found.name]) == 0
    assert part.exists()
    engine.close()


def test_other_times_are_not_looked_at(tmp_path: Path) -> None:
    engine = filled(tmp_path, OTHER)
    damage(tmp_path)
    assert engine.damaged_parts("t", ROWS * SECOND, 10**18) == []
    engine.close()


def test_what_is_compacted_meanwhile_is_left_alone(tmp_path: Path) -> None:
    engine = filled(tmp_path, OTHER)
    damage(tmp_path)
    assert engine.set_aside("t", ["000000009999"]) == 0
    engine.close()
