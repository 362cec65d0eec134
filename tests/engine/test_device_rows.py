"""The rows of one device by the short way are those of the long way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.device_rows import rows_of_device
from mainstem_engine.model import Column
from mainstem_engine.part.reader import Part
from mainstem_engine.scan import Selection, read_rows
from mainstem_engine.view import TableView

DAY_MS = 86_400_000
MS = 1_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    options = EngineOptions(durability="os", background=False, block_rows=16)
    with Engine.open(tmp_path, options) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE, n INT64, t TEXT)")
        yield engine


def write(engine: Engine, device: str, times: list[int], *, columns: str = "vnt") -> None:
    count = len(times)
    numbers = np.array(times, np.int64)
    values = {
        "v": (numbers / 3, numbers % 5 == 0),
        "n": numbers * 7,
        "t": np.array([f"x{time}" for time in times], object),
    }
    engine.write("m", device, numbers, {name: values[name] for name in columns}).wait()
    assert count == len(times)


def view_of(engine: Engine) -> TableView:
    return engine._store.current("m")[1]


def one(engine: Engine, device: str, start_ns: int, end_ns: int, **more: object) -> Selection:
    ids = engine.device_ids("m", [device], create=True)
    return replace(Selection(ids, start_ns, end_ns), **more)  # type: ignore[arg-type]


def same(left: Column | None, right: Column | None, count: int) -> bool:
    def cells(column: Column | None) -> list[object]:
        if column is None:
            return [None] * count
        valid = np.ones(count, np.bool_) if column.valid is None else column.valid
        return [v if ok else None for v, ok in zip(column.values.tolist(), valid, strict=True)]

    return cells(left) == cells(right)


def check(engine: Engine, selection: Selection, *, known: bool | None = None) -> None:
    """The short way says what the long way does, if it knows; ``known``: whether it has to."""
    view = view_of(engine)
    found = rows_of_device(view, selection)
    wanted = read_rows(view, selection)
    if known is not None:
        assert (found is not None) == known
    if found is None:
        return
    assert found.device.tolist() == wanted.device.tolist()
    assert found.time.tolist() == wanted.time.tolist()
    for key in set(found.columns) | set(wanted.columns):
        assert same(found.columns.get(key), wanted.columns.get(key), len(found))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["root.a.d0", "root.a.d1", "root.a.d2"]),
            st.sampled_from([0, 5, 40, DAY_MS * 8, DAY_MS * 20]),
            st.integers(1, 60),
            st.sampled_from([1, 7, 1000]),
            st.sampled_from(["write", "write", "write", "flush", "delete", "compact"]),
        ),
        min_size=1, max_size=12,
    ),
    span=st.tuples(st.integers(-5, 70), st.integers(-5, 70)),
    keys=st.sampled_from([None, (0,), (1, 2), ()]),
)  # fmt: skip
def test_as_the_long_way(
    tmp_path_factory: pytest.TempPathFactory,
    calls: list[tuple[str, int, int, int, str]],
    span: tuple[int, int],
    keys: tuple[int, ...] | None,
) -> None:
    options = EngineOptions(durability="os", background=False, block_rows=16)
    with Engine.open(tmp_path_factory.mktemp("rows"), options) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE, n INT64, t TEXT)")
        for device, first, count, step, kind in calls:
            if kind == "delete":
                engine.delete("m", devices=device, start=first, end=first + count).ack.wait()
                continue
            write(engine, device, [first + number * step for number in range(count)])
            if kind == "flush":
                engine.flush()
            elif kind == "compact":
                engine.flush()
                engine.compact()
        for final in ("head", "parts", "compacted"):
            if final == "parts":
                engine.flush()
            elif final == "compacted":
                engine.compact()
            for device in ("root.a.d0", "root.a.d2", "root.a.none"):
                low, high = span
                check(engine, one(engine, device, low * MS, high * MS, measurement_ids=keys))
                check(engine, one(engine, device, TIME_MIN_NS, TIME_MAX_NS + 1))
                check(engine, one(engine, device, 20 * MS, (DAY_MS * 20 + 9) * MS))


def test_what_is_known(engine: Engine) -> None:
    # Devices with as many rows as a block have blocks of their own, the others share some.
    write(engine, "root.a.d0", list(range(0, 400, 10)))
    write(engine, "root.a.d1", list(range(5)))
    write(engine, "root.a.d2", list(range(5)))
    engine.flush()
    whole = TIME_MIN_NS, TIME_MAX_NS + 1
    check(engine, one(engine, "root.a.d0", *whole), known=True)
    check(engine, one(engine, "root.a.d0", 95 * MS, 205 * MS), known=True)
    check(engine, one(engine, "root.a.d0", 500 * MS, 600 * MS), known=True)
    check(engine, one(engine, "root.a.d0", 205 * MS, 95 * MS), known=True)
    check(engine, one(engine, "root.a.d1", *whole), known=False)
    check(engine, one(engine, "root.a.d0", *whole, origin=0), known=False)
    check(engine, one(engine, "root.a.d0", *whole, versions=True), known=False)
    # Another part in another partition, then one whose rows are between those of the first.
    write(engine, "root.a.d0", [DAY_MS * 30 + number for number in range(40)])
    engine.flush()
    check(engine, one(engine, "root.a.d0", *whole), known=True)
    write(engine, "root.a.d0", [105, 115, 117])
    check(engine, one(engine, "root.a.d0", *whole), known=False)
    engine.flush()
    check(engine, one(engine, "root.a.d0", *whole), known=False)
    check(engine, one(engine, "root.a.d0", DAY_MS * 29 * MS, TIME_MAX_NS), known=True)
    engine.delete("m", devices="root.a.d0", start=10, end=11).ack.wait()
    check(engine, one(engine, "root.a.d0", DAY_MS * 29 * MS, TIME_MAX_NS), known=False)


def test_expired_rows_are_left_to_the_long_way(engine: Engine) -> None:
    now = engine.options.clock() // MS
    write(engine, "root.a.d0", [now - DAY_MS * 3 + number for number in range(40)])
    engine.flush()
    engine.set_keep("m", DAY_MS * 2 * MS)
    whole = one(engine, "root.a.d0", TIME_MIN_NS, TIME_MAX_NS + 1)
    check(engine, whole, known=False)
    assert len(read_rows(view_of(engine), whole)) == 0
    check(engine, one(engine, "root.a.d0", (now - DAY_MS) * MS, TIME_MAX_NS), known=True)


def test_a_scan_goes_the_short_way(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    write(engine, "root.a.d0", list(range(40)))
    engine.flush()
    monkeypatch.setattr(Part, "read", lambda *args, **kwargs: pytest.fail("the long way"))
    assert engine.scan("m", "root.a.d0").read_all().num_rows == 40
