"""The newest row seen without reading rows is that of the last values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.newest import newest_row

DEVICE = np.zeros(1, np.uint32)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


def opened(path: Path) -> Engine:
    engine = Engine.open(path, EngineOptions(durability="os", background=False, block_rows=100))
    engine.sql(
        "CREATE STABLE m (ts TIMESTAMP, f DOUBLE, i INT64, t TEXT, b BOOLEAN) TAGS (loc TEXT)"
    )
    engine.device_ids("m", ["root.a.d0", "root.a.d1"], create=True)
    return engine


def write(engine: Engine, first: int, count: int = 1, device: int = 0, **columns: Any) -> None:
    times = np.arange(first, first + count, dtype=np.int64)
    given: dict[str, Any] = {"f": times * 0.5, "i": times, "t": "x", "b": True}
    given.update(columns)
    ids = np.full(count, device, np.uint32)
    engine.write("m", ids, times, {k: v for k, v in given.items() if v is not None}).wait()


def seen(engine: Engine) -> Any:
    return newest_row(engine._store.current("m")[1], DEVICE)


def same(engine: Engine) -> None:
    """What is seen, if anything, is what the last values say."""
    table, view = engine._store.current("m")
    found = newest_row(view, DEVICE)
    if found is None:
        return
    wanted = engine._last_values.last(table, DEVICE)
    assert found.time.tolist() == wanted.time.tolist()
    for key, column in wanted.columns.items():
        assert column.valid is None
        assert found.columns[key].values.tolist() == column.values.tolist()
        assert found.columns[key].values.dtype == column.values.dtype


def test_a_block_of_the_device_answers(engine: Engine) -> None:
    write(engine, 0, 2000)
    write(engine, 5000, 10, device=1)
    engine.flush()
    assert seen(engine).time.tolist() == [1999 * 1_000_000]
    same(engine)
    assert engine.last("m", "root.a.d0")["i"].to_pylist() == [1999]


def test_the_head_answers_when_it_is_newer(engine: Engine) -> None:
    write(engine, 0, 2000)
    engine.flush()
    write(engine, 1999, f=7.0)
    assert seen(engine) is None
    assert engine.last("m", "root.a.d0")["f"].to_pylist() == [7.0]
    write(engine, 2000)
    assert seen(engine).time.tolist() == [2000 * 1_000_000]
    same(engine)


def test_a_null_is_looked_up_elsewhere(engine: Engine) -> None:
    write(engine, 0, 2000)
    engine.flush()
    write(engine, 2000, t=None)
    assert seen(engine) is None
    assert engine.last("m", "root.a.d0")["t"].to_pylist() == ["x"]
    engine.flush()
    assert seen(engine) is None


def test_without_rows(engine: Engine) -> None:
    assert seen(engine) is None
    assert engine.last("m", "root.a.d0").num_rows == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["write", "late", "part", "flush", "compact", "delete", "other"]),
            st.integers(0, 1500),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_it_is_never_wrong(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    with opened(tmp_path_factory.mktemp("engine")) as engine:
        at = 0
        for step, number in [("write", 0), *steps]:
            if step == "write":
                write(engine, at, 1200, f=np.arange(1200.0) + number)
                at += 1200
            elif step == "late":
                write(engine, max(0, at - number), i=[number])
            elif step == "part":
                write(engine, max(0, at - number), f=None, t=None)
            elif step == "other":
                write(engine, number, 20, device=1)
            elif step == "delete":
                start = max(0, at - number)
                engine.delete("m", devices="root.a.d0", start=start, end=start + 50).ack.wait()
            elif step == "flush":
                engine.flush()
            else:
                engine.compact()
            same(engine)
