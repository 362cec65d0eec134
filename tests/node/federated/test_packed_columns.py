"""Groups on their way between two nodes: back as they were, and refused when they are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_node.federated.packed_columns import pack_pieces, unpack_pieces
from mainstem_sync.errors import WireError

PUMP = Template(
    "pump",
    (
        Measurement(0, "flow", ColumnType.FLOAT),
        Measurement(0, "count", ColumnType.INT64),
        Measurement(0, "running", ColumnType.BOOLEAN),
        Measurement(0, "note", ColumnType.TEXT),
    ),
)
NUMBERS = ("count", "min", "max", "sum", "first", "last")
FUNCTIONS = {
    "flow": NUMBERS, "count": NUMBERS, "running": NUMBERS,
    "note": ("count", "first", "last"), "*": ("count",),
}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(tmp_path) as engine:
        engine.create_template(PUMP)
        ids = engine.device_ids("pump", ["root.a.x", "root.a.y"], create=True)
        rng = np.random.default_rng(3)
        columns = {
            "flow": rng.normal(0, 1, 60).astype(np.float32),
            "count": rng.integers(-(2**62), 2**62, 60),
            "running": rng.random(60) < 0.5,
            "note": np.array([f"n{n}" for n in range(60)], object),
        }
        engine.write("pump", np.repeat(ids, 30), np.tile(np.arange(30) * 1000, 2), columns).wait()
        yield engine


def pieces_of(engine: Engine, *, by_device: bool) -> Any:
    found, _ = engine.aggregate_pieces(
        "pump", FUNCTIONS, None, TIME_MIN_NS, TIME_MAX_NS + 1,
        every_ns=10**10, by_device=by_device, row_times=True,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("by_device", [True, False])
def test_groups_come_back_bit_by_bit(engine: Engine, by_device: bool) -> None:
    table, devices = engine.catalog.table("pump"), engine.catalog.devices
    pieces = pieces_of(engine, by_device=by_device)
    raw = pack_pieces(table, devices, pieces, paths=by_device)
    found, unknown = unpack_pieces(table, devices, raw, FUNCTIONS)
    assert found is not None
    assert unknown == 0
    if by_device:
        assert np.array_equal(found.device, pieces.device)
    for name in ("window", "rows", "begin_ns", "end_ns"):
        assert np.array_equal(getattr(found, name), getattr(pieces, name)), name
    assert found.values.keys() == pieces.values.keys()
    for key, values in pieces.values.items():
        for one, other in zip(values.arrays(), found.values[key].arrays(), strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert one.dtype == other.dtype
                assert one.tolist() == other.tolist()


def test_groups_of_devices_that_are_not_known_are_counted(engine: Engine, tmp_path: Path) -> None:
    raw = pack_pieces(
        engine.catalog.table("pump"),
        engine.catalog.devices,
        pieces_of(engine, by_device=True),
        paths=True,
    )
    with Engine.open(tmp_path / "other") as other:
        other.create_template(PUMP)
        other.device_ids("pump", ["root.a.y"], create=True)
        table = other.catalog.table("pump")
        found, unknown = unpack_pieces(table, other.catalog.devices, raw, FUNCTIONS)
    assert found is not None
    assert (len(found), unknown) == (3, 3)


def changes() -> list[Any]:
    return [
        {"n": 7},
        {"n": -1},
        {"n": 1 << 40},
        {"window": None},
        {"rows": ["f8", b""]},
        {"codes": ["u4", b"\xff\xff\xff\xff" * 6]},
        {"paths": [1]},
        {"values": []},
        {"values": {}},
        {"values": {"flow": [None] * 7}},
        {"values": {"flow": [["O", [1] * 6]] * 8}},
    ]


@pytest.mark.parametrize("change", changes(), ids=str)
def test_groups_that_are_none_are_refused(engine: Engine, change: dict[str, Any]) -> None:
    table, devices = engine.catalog.table("pump"), engine.catalog.devices
    raw = pack_pieces(table, devices, pieces_of(engine, by_device=True), paths=True)
    with pytest.raises(WireError):
        unpack_pieces(table, devices, msgpack.packb({**msgpack.unpackb(raw), **change}), FUNCTIONS)
    with pytest.raises(WireError):
        unpack_pieces(table, devices, raw[:-5], FUNCTIONS)
