"""Scans: ranges, steps, filters, Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mainstem_engine import ColumnType, Engine, Measurement, NotFoundError, Tag, Template
from mainstem_engine.scan import Selection, iterate_rows, read_rows

MS = 1_000_000
DEVICES = 12


@pytest.fixture
def engine(open_engine: Any) -> Engine:
    """Rows in two parts and the head: device 3 has many, the others few."""
    found: Engine = open_engine(block_rows=64)
    found.create_template(
        Template(
            "t", (Measurement(0, "x", ColumnType.INT64), Measurement(0, "y", ColumnType.FLOAT))
        )
    )
    paths = [f"root.a.d{i}" for i in range(DEVICES)]
    found.device_ids("t", paths, create=True)
    for batch in range(3):
        for i, path in enumerate(paths):
            count = 2000 if i == 3 else 5
            times = np.arange(count) * 3 + batch
            found.write("t", path, times, {"x": times * (i + 1)}).wait()
        if batch < 2:
            found.flush()
    return found


def expected(device: int) -> list[tuple[int, int]]:
    count = 2000 if device == 3 else 5
    return [(t, t * (device + 1)) for t in range(3 * count)]


@pytest.mark.parametrize("step_rows", [1, 7, 100, 10_000])
@pytest.mark.parametrize("devices", [None, [3], [0, 3, 11], [1, 2, 4]])
def test_steps_cut_the_same_rows_and_stay_small(
    engine: Engine, step_rows: int, devices: list[int] | None
) -> None:
    if step_rows == 1 and devices is None:
        devices = [0, 11]
    view = engine._store.view(engine.catalog.table("t"))
    wanted = None if devices is None else np.array(devices, np.uint32)
    selection = Selection(wanted, start_ns=3 * MS, end_ns=200 * MS)
    steps = list(iterate_rows(view, selection, step_rows=step_rows))
    found = [
        (int(d), int(t) // MS, int(x))
        for rows in steps
        for d, t, x in zip(rows.device, rows.time, rows.columns[0].values, strict=True)
    ]
    assert found == [
        (device, t, x)
        for device in (range(DEVICES) if devices is None else devices)
        for t, x in expected(device)
        if 3 <= t < 200
    ]
    # Cuts are guessed from whole blocks: a step may hold a few of them from each source.
    assert max(len(rows) for rows in steps) <= 2 * step_rows + 3 * 64
    whole = read_rows(view, selection)
    assert len(whole) == len(found)


def test_a_scan_of_nothing(engine: Engine) -> None:
    view = engine._store.view(engine.catalog.table("t"))
    assert list(iterate_rows(view, Selection(start_ns=5, end_ns=5))) == []
    assert list(iterate_rows(view, Selection(np.empty(0, np.uint32)))) == []
    assert list(iterate_rows(view, Selection(start_ns=1 << 60))) == []
    assert engine.scan("t", ["root.a.nothing"]).read_all().num_rows == 0
    assert engine.scan("t", start=10**30).read_all().num_rows == 0
    assert engine.scan("t", start=-(10**30), end=-(10**29)).read_all().num_rows == 0


def test_a_reader_sees_the_state_of_its_scan(engine: Engine) -> None:
    reader = engine.scan("t", columns=["x"])
    engine.write("t", "root.a.d0", [10**6], {"x": [1]}).wait()
    engine.flush()
    engine.compact()
    assert reader.read_all().num_rows == sum(len(expected(i)) for i in range(DEVICES))


def test_columns_and_their_types(open_engine: Any) -> None:
    engine: Engine = open_engine()
    types = [t for t in ColumnType if t != ColumnType.UNKNOWN]
    measurements = tuple(Measurement(0, t.name.lower(), t) for t in types)
    engine.create_template(Template("t", measurements, (Tag("line"), Tag("n", ColumnType.INT32))))
    engine.device_ids(
        "t", ["root.a.d1", "root.a.d2"], tags={"line": ["x", None], "n": [None, 3]}, create=True
    )
    values: dict[str, list[Any]] = {
        t.name.lower(): [b"\0" if t == ColumnType.BLOB else "é" if t == ColumnType.TEXT else 1]
        for t in types
    }
    engine.write("t", "root.a.d1", [5], values).wait()
    engine.write("t", "root.a.d2", [6], {}).wait()
    table = engine.scan("T").read_all()
    assert table.column_names[:4] == ["time", "device", "line", "n"]
    assert table.schema.field("time").type == pa.int64()
    assert table.schema.field("device").type == pa.dictionary(pa.int32(), pa.string())
    assert table.schema.field("n").type == pa.dictionary(pa.int32(), pa.int32())
    assert table.schema.field("uint64").type == pa.uint64()
    assert table.schema.field("timestamp").type == pa.int64()
    first, second = table.to_pylist()
    head = {"time": 5, "device": "root.a.d1", "line": "x", "n": None}
    assert first == {**head, **{name: cells[0] for name, cells in values.items()}}
    assert second == {
        "time": 6,
        "device": "root.a.d2",
        "line": None,
        "n": 3,
        **dict.fromkeys(values),
    }
    some = engine.scan("t", columns=["LINE", "int8", "time", "Int8"]).read_all()
    assert some.column_names == ["time", "device", "line", "int8"]


def test_tag_filters(open_engine: Any, meters: Template) -> None:
    engine: Engine = open_engine()
    engine.create_template(meters)
    engine.device_ids(
        "meters",
        ["root.a.d1", "root.a.d2", "root.a.d3"],
        tags={"location": ["x", "y", "x"], "group": [1, 1, 2]},
        create=True,
    )
    for i in (1, 2, 3):
        engine.write("meters", f"root.a.d{i}", [i], {"voltage": [i]}).wait()

    def found(**arguments: Any) -> list[int]:
        values: list[int] = engine.scan("meters", **arguments).read_all()["voltage"].to_pylist()
        return values

    assert found(tags={"location": "x"}) == [1, 3]
    assert found(tags={"location": ["x", "y"], "group": 1}) == [1, 2]
    assert found(tags={"location": "x"}, devices=["root.a.d2", "root.a.d3"]) == [3]
    assert found(tags={"location": "none"}) == []
    assert found(devices=np.array([2, 0, 2])) == [1, 3]
    assert found(devices="root.a.d2") == [2]
    with pytest.raises(NotFoundError, match="colour"):
        found(tags={"colour": "red"})


def test_unknown_names_say_what_there_is(engine: Engine) -> None:
    with pytest.raises(NotFoundError, match="it has time, device, x, y"):
        engine.scan("t", columns=["z"])
    with pytest.raises(NotFoundError, match="SHOW TEMPLATES"):
        engine.scan("nothing")


def test_the_time_column_answers_to_its_declared_name(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(Template("t", (Measurement(0, "x", ColumnType.INT64),), time_name="ts"))
    engine.write("t", "root.a.d", [1], {"x": [2]}).wait()
    assert engine.scan("t", columns=["TS", "x"]).read_all().to_pylist() == [
        {"time": 1, "device": "root.a.d", "x": 2}
    ]


def test_scan_rows_gives_arrays(engine: Engine) -> None:
    rows = engine.scan_rows("t", devices=np.array([4, 1, 4]), start_ns=0, end_ns=2 * MS)
    assert rows.device.tolist() == [1, 1, 4, 4]
    assert rows.columns[0].values.tolist() == [0, 2, 0, 5]
    assert list(engine.scan_rows("t", measurement_ids=[1]).columns) == []
