"""Where rows lie: blocks that need no merging, and readers that keep what they saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.part.reader import Part
from mainstem_engine.scan import Selection, iterate_rows, read_rows
from mainstem_engine.sources import Extents, are_all_plain, find_blocks, lone

MS = 1_000_000
NOW_MS = 1_792_540_800_000
FAR_NS = 2**62


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    options = EngineOptions(
        durability="os", background=False, block_rows=100, clock=lambda: NOW_MS * MS
    )
    with Engine.open(tmp_path, options) as engine:
        engine.sql("CREATE STABLE m (ts TIMESTAMP, a DOUBLE, b BIGINT) TAGS (loc TEXT)")
        engine.device_ids("m", [f"root.a.d{n}" for n in range(4)], create=True)
        yield engine


def write(engine: Engine, device: int, first: int, count: int, **columns: Any) -> None:
    times = NOW_MS + np.arange(first, first + count, dtype=np.int64)
    given: dict[str, Any] = columns or {"a": times * 0.5, "b": times}
    engine.write("m", np.full(count, device, np.uint32), times, given).wait()


def is_plain(engine: Engine, devices: list[int] | None = None) -> bool:
    view = engine._store.current("m")[1]
    wanted = None if devices is None else np.array(devices, np.uint32)
    found = find_blocks(view, wanted, -FAR_NS, FAR_NS)
    return not any(chunk.length for chunk in view.chunks) and are_all_plain(found)


def test_what_is_plain(engine: Engine) -> None:
    write(engine, 0, 0, 2000)
    engine.flush()
    assert is_plain(engine)
    write(engine, 1, 0, 2000)
    engine.flush()
    assert is_plain(engine), "two parts that share no device"
    write(engine, 0, 2000, 2000)
    engine.flush()
    assert is_plain(engine), "two parts of one device, one after the other"
    write(engine, 0, 5, 1)
    engine.flush()
    assert not is_plain(engine)
    assert is_plain(engine, [1])
    engine.compact()
    assert is_plain(engine)
    engine.delete("m", devices="root.a.d0", start=NOW_MS, end=NOW_MS + 10).ack.wait()
    assert not is_plain(engine)
    assert is_plain(engine, [1])


def test_plain_blocks_are_read_without_versions_and_in_order(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in (0, 2000):
        for device in (1, 0):
            write(engine, device, first, 2000)
            engine.flush()
    asked: list[tuple[bool, bool]] = []
    read = Part.read

    def noted(self: Part, *arguments: Any, versions: bool = True, times: bool = True) -> Any:
        asked.append((versions, times))
        return read(self, *arguments, versions=versions, times=times)

    monkeypatch.setattr(Part, "read", noted)
    view = engine._store.current("m")[1]
    rows = read_rows(view, Selection())
    assert set(asked) == {(False, True)}
    assert rows.device.tolist() == [0] * 4000 + [1] * 4000
    assert (np.diff(rows.time[:4000]) == MS).all()
    asked.clear()
    rows = read_rows(view, Selection(times=False, measurement_ids=(1,)))
    assert set(asked) == {(False, False)}
    assert rows.columns[1].values.tolist() == [*range(NOW_MS, NOW_MS + 4000)] * 2
    asked.clear()
    start = (NOW_MS + 50) * MS
    assert len(read_rows(view, Selection(start_ns=start, times=False))) == 2 * 3950
    assert set(asked) == {(False, True)}
    asked.clear()
    rows = read_rows(view, Selection(np.zeros(1, np.uint32), versions=True))
    assert set(asked) == {(True, True)}
    assert rows.lsn.min() > 0


extents = st.tuples(
    st.integers(0, 3), st.integers(0, 2), st.integers(-5, 5), st.integers(0, 4)
).map(lambda e: (e[0], e[0] + e[1], e[2], e[2] + e[3]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(extents, min_size=1, max_size=8))
def test_lone_extents_meet_no_other(found: list[tuple[int, int, int, int]]) -> None:
    columns = list(zip(*found, strict=True))
    piece = Extents(
        np.array(columns[0], np.uint32), np.array(columns[1], np.uint32),
        np.array(columns[2], np.int64), np.array(columns[3], np.int64),
    )  # fmt: skip
    alone = lone([piece]).tolist()

    def meets(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
        devices = a[0] <= b[1] and b[0] <= a[1]
        single = a[0] == a[1] and b[0] == b[1]
        return devices and (not single or (a[2] <= b[3] and b[2] <= a[3]))

    for at, extent in enumerate(found):
        others = [other for number, other in enumerate(found) if number != at]
        assert alone[at] == (not any(meets(extent, other) for other in others))


def test_a_long_scan_keeps_what_it_saw(engine: Engine) -> None:
    for device in range(3):
        write(engine, device, -3000, 1500)
    engine.flush()
    for device in range(3):
        write(engine, device, -2000, 1000, b=np.arange(1000))
    expected = engine.scan("m").read_all()
    view = engine._store.current("m")[1]
    steps = iterate_rows(view, Selection(), step_rows=200)
    reader = engine.scan("m")
    rows = [next(steps)]

    engine.flush()
    rows.append(next(steps))
    engine.delete("m", devices="root.a.d1").ack.wait()
    rows.append(next(steps))
    engine.compact()
    write(engine, 2, -200, 100, b=np.zeros(100, np.int64))
    engine.set_keep("m", 10 * MS)
    engine.expire()
    engine.compact()
    rows += steps

    seen = np.concatenate([some.device for some in rows])
    time = np.concatenate([some.time for some in rows]) // MS
    b = np.concatenate([some.columns[1].values for some in rows])
    paths = [f"root.a.d{number}" for number in seen]
    assert paths == expected["device"].to_pylist()
    assert time.tolist() == expected["time"].to_pylist()
    assert b.tolist() == expected["b"].to_pylist()
    assert reader.read_all().equals(expected)
    assert engine.scan("m").read_all().num_rows == 0


def test_a_scan_that_is_given_up_leaves_nothing_running(engine: Engine) -> None:
    for device in range(3):
        write(engine, device, 0, 1500)
    engine.flush()
    steps: Any = iterate_rows(engine._store.current("m")[1], Selection(), step_rows=100)
    next(steps)
    steps.close()
    assert engine.scan("m").read_all().num_rows == 4500


def test_statistics_count_what_answered(engine: Engine) -> None:
    write(engine, 0, 0, 2000)
    engine.flush()
    engine.aggregate("m", {"a": ["mean"]})
    counted = engine.statistics().aggregates
    assert (counted.aggregates, counted.rows_from_statistics) == (1, 2000)
    assert counted.blocks == counted.blocks_from_statistics > 0


def test_expired_rows_are_in_no_answer(engine: Engine) -> None:
    for device in range(2):
        write(engine, device, -3010, 2900)
    engine.flush()
    write(engine, 0, -110, 100)
    engine.set_keep("m", 1500 * MS)
    rows = engine.scan("m").read_all().to_pylist()
    assert rows[0]["time"] == NOW_MS - 1500
    found = engine.aggregate("m", {"*": ["count"], "b": ["min", "max", "sum"]}, by="device")
    for answer in found.to_pylist():
        mine = [row["b"] for row in rows if row["device"] == answer["device"]]
        assert answer["count"] == len(mine)
        assert (answer["b_min"], answer["b_max"]) == (min(mine), max(mine))
        assert answer["b_sum"] == pytest.approx(sum(mine), rel=1e-12)
    counted = engine.statistics().aggregates
    assert 0 < counted.blocks_from_statistics < counted.blocks
    engine.set_keep("m", 50 * MS)
    assert engine.last("m", "root.a.d0").num_rows == 1
    assert engine.last("m", "root.a.d1").num_rows == 0
    assert engine.aggregate("m", {"*": ["count"]}, by="device")["count"].to_pylist() == [40]
