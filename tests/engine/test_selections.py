"""How callers name devices and times, and what they are told when it is neither."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mainstem_engine import Engine, NotFoundError, SchemaError, Template
from mainstem_engine.selections import named_devices

PATHS = ["root.a.d0", "root.a.d1"]


@pytest.fixture
def engine(open_engine: Any, meters: Template) -> Engine:
    found: Engine = open_engine()
    found.create_template(meters)
    found.device_ids("meters", PATHS, create=True)
    found.write("meters", PATHS, [1, 2], {"current": [1.0, 2.0]}).wait()
    return found


def times(engine: Engine, **asked: Any) -> list[int]:
    found: list[int] = engine.scan("meters", **asked).read_all()["time"].to_pylist()
    return found


@pytest.mark.parametrize(
    "devices",
    [
        [1],
        (1,),
        1,
        np.uint32(1),
        np.array([1]),
        np.array(1),
        pa.array([1], pa.uint32()),
        "root.a.d1",
        ["root.a.d1"],
        np.array(["root.a.d1"]),
        pa.array(["root.a.d1"]),
    ],
)
def test_one_device_in_every_spelling(engine: Engine, devices: Any) -> None:
    assert times(engine, devices=devices) == [2]
    engine.write("meters", devices, [3], {"current": [3.0]}).wait()
    assert times(engine, devices="root.a.d1") == [2, 3]
    assert engine.last("meters", devices=devices)["time"].to_pylist() == [3]


def test_one_id_is_for_all_rows(engine: Engine) -> None:
    engine.write("meters", 1, [4, 5], {"current": [0.0, 0.0]}).wait()
    assert times(engine, devices="root.a.d1") == [2, 4, 5]
    one: Any = [1]
    with pytest.raises(SchemaError, match="1 devices for 2 rows"):
        engine.write("meters", one, [4, 5], {"current": [0.0, 0.0]})


def test_no_devices_are_none() -> None:
    assert len(named_devices([])) == 0
    assert len(named_devices(np.array([], np.uint32))) == 0


@pytest.mark.parametrize("devices", [None, 1.5, [1.5], [None, "root.a.d1"], [True], ["x", 1]])
def test_what_names_no_device_is_refused(engine: Engine, devices: Any) -> None:
    with pytest.raises(SchemaError, match="is no device") as caught:
        engine.write("meters", devices, [1, 2], {"current": [0.0, 0.0]})
    assert caught.value.field == "devices"
    if devices is not None:
        with pytest.raises(SchemaError, match="is no device"):
            engine.scan("meters", devices=devices)


@pytest.mark.parametrize("ident", [-1, 2**32, 2**32 + 1])
def test_an_id_never_wraps_around(engine: Engine, ident: int) -> None:
    spelled: list[Any] = [ident, [ident], np.array([ident])]
    for devices in spelled:
        with pytest.raises(NotFoundError, match=f"no device with id {ident}"):
            engine.scan("meters", devices=devices)
        with pytest.raises(NotFoundError, match=f"no device with id {ident}"):
            engine.write("meters", devices, [1], {"current": [0.0]})


@pytest.mark.parametrize("bound", ["2026", 1.5, datetime(2026, 1, 1, tzinfo=UTC)])
def test_bounds_are_integers(engine: Engine, bound: Any) -> None:
    for name in ("start", "end"):
        with pytest.raises(SchemaError, match="no bound of times"):
            engine.scan("meters", **{name: bound})
        with pytest.raises(SchemaError, match="no bound of times"):
            engine.delete("meters", **{name: bound})
    assert times(engine, start=np.int64(2), end=2**70) == [2]


def test_device_ids_take_one_path_and_only_paths(engine: Engine) -> None:
    assert engine.device_ids("meters", "root.a.d1").tolist() == [1]
    with pytest.raises(SchemaError, match="5 is no path"):
        engine.device_ids("meters", ["root.a.d1", 5])  # type: ignore[list-item]


def test_tags_that_are_not_declared_are_refused_of_old_devices_too(engine: Engine) -> None:
    with pytest.raises(NotFoundError, match="no tag 'colour'"):
        engine.device_ids("meters", PATHS, tags={"colour": ["r", "g"]}, create=True)
    with pytest.raises(SchemaError, match="expected 2 values"):
        engine.device_ids("meters", PATHS, tags={"location": 5}, create=True)  # type: ignore[dict-item]


def test_a_value_that_is_no_column_is_refused(engine: Engine) -> None:
    with pytest.raises(SchemaError, match="no column of values"):
        engine.write("meters", PATHS, [1, 2], {"current": object()})
