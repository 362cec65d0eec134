"""Groups made of blocks are those made of merged rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions, aggregates, block_groups
from mainstem_engine.aggregates import aggregate
from mainstem_engine.aggregation import Aggregation
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.model import ColumnType
from mainstem_engine.part.reader import Part
from mainstem_engine.scan import Selection, read_rows
from mainstem_engine.value_filter import ValueFilter, kept_rows
from mainstem_engine.windows import FUNCTIONS, Pieces, Wanted, merged, pieces_of_rows

MS = 1_000_000
ROWS = 13_000
KEYS = {0: ColumnType.DOUBLE, 1: ColumnType.INT64}
WANTED = {key: Wanted(kind, frozenset(FUNCTIONS)) for key, kind in KEYS.items()}
FILTERS: dict[str, tuple[ValueFilter, ...]] = {
    "none": (),
    "some": (ValueFilter(0, ColumnType.DOUBLE, ">", 0.5),),
    "two": (
        ValueFilter(0, ColumnType.DOUBLE, "<=", 1.0),
        ValueFilter(1, ColumnType.INT64, ">=", 3_000),
    ),
    "all": (ValueFilter(1, ColumnType.INT64, "<", 1 << 40),),
    "nothing": (ValueFilter(1, ColumnType.INT64, ">", 1 << 40),),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Regular times, irregular ones, sparse values, late rows, a delete, and rows in the head."""
    options = EngineOptions(durability="os", background=False, block_rows=1000)
    with Engine.open(tmp_path_factory.mktemp("groups"), options) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE, n INT64)")
        rng = np.random.default_rng(4)
        regular = np.arange(ROWS, dtype=np.int64) * 500
        jitter = regular + rng.integers(0, 400, ROWS)
        for device, time in (("a", regular), ("b", jitter), ("c", regular - 3_000_000)):
            v = rng.normal(size=ROWS).round(2)
            v[rng.random(ROWS) < 0.001] = np.nan
            there = rng.random(ROWS) < (0.02 if device == "b" else 1.0)
            columns = {"v": (v, ~there), "n": np.arange(ROWS)}
            engine.write("m", f"root.x.{device}", time, columns).wait()
        engine.write("m", "root.x.few", [5, 700_000], {"v": [1.0, None], "n": [1, 4_000]}).wait()
        engine.flush()
        engine.write("m", "root.x.a", [777_250, 1_000_000], {"v": [0.25, 9.0]}).wait()
        engine.flush()
        engine.delete("m", devices="root.x.c", start=-2_000_000, end=-1_990_000).ack.wait()
        engine.write("m", "root.x.b", [2_000_001], {"v": [0.75]}).wait()
        yield engine


def check(engine: Engine, selection: Selection, aggregation: Aggregation) -> None:
    view = engine._store.current("m")[1]
    found, _ = aggregate(view, selection, aggregation)
    rows = read_rows(view, Selection(selection.devices, selection.start_ns, selection.end_ns,
                                     tuple(KEYS), versions=True))  # fmt: skip
    rows = kept_rows(rows, aggregation.filters)
    if not len(rows):
        assert found is None
        return
    wanted = merged([pieces_of_rows(rows, aggregation.every_ns, WANTED)],
                    by_device=aggregation.by_device)  # fmt: skip
    assert found is not None
    same(found, wanted, aggregation)


def same(found: Pieces, wanted: Pieces, aggregation: Aggregation) -> None:
    assert found.window.tolist() == wanted.window.tolist()
    assert found.rows.tolist() == wanted.rows.tolist()
    if aggregation.by_device:
        assert found.device.tolist() == wanted.device.tolist()
    if aggregation.row_times:
        assert found.begin_ns.tolist() == wanted.begin_ns.tolist()
        assert found.end_ns.tolist() == wanted.end_ns.tolist()
    for key in KEYS:
        left, right = found.values[key], wanted.values[key]
        assert left.count.tolist() == right.count.tolist()
        there = left.count > 0
        for name in ("low", "high", "first", "first_ns", "last", "last_ns"):
            one, two = getattr(left, name)[there], getattr(right, name)[there]
            np.testing.assert_array_equal(one, two, err_msg=name)
        assert left.total is not None
        assert right.total is not None
        np.testing.assert_allclose(left.total[there], right.total[there], rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("filters", list(FILTERS))
@pytest.mark.parametrize("every_ms", [None, 100, 500, 7_001, 60_000, 86_400_000])
@pytest.mark.parametrize("span_rows", [2_500, 1 << 16])
def test_groups_of_all_devices(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    filters: str,
    every_ms: int | None,
    span_rows: int,
) -> None:
    monkeypatch.setattr(block_groups, "SPAN_ROWS", span_rows)
    monkeypatch.setattr(block_groups, "SPAN_ROWS_MIN", 100)
    every = None if every_ms is None else every_ms * MS
    for by_device, row_times in ((True, True), (False, False)):
        aggregation = Aggregation(WANTED, every, by_device, FILTERS[filters], row_times=row_times)
        check(engine, Selection(), aggregation)
    aggregation = Aggregation(WANTED, every, True, FILTERS[filters])
    check(engine, Selection(None, 123_456 * MS, 4_000_123 * MS), aggregation)


@pytest.mark.parametrize("device", ["a", "b", "c", "few"])
def test_groups_of_one_device(engine: Engine, device: str) -> None:
    ids = engine.device_ids("m", [f"root.x.{device}"])
    whole = TIME_MIN_NS, TIME_MAX_NS + 1
    one_block = 0, 500_000 * MS
    part_of_it = 61_234 * MS, 299_999 * MS
    for start, end in (whole, one_block, part_of_it, (-1_999 * MS, 700_250 * MS), (3, 4)):
        for filters in FILTERS.values():
            aggregation = Aggregation(WANTED, 60_000 * MS, True, filters)
            check(engine, Selection(ids, start, end), aggregation)


@pytest.mark.parametrize("every_ms", [None, 100, 500, 1_700, 60_000, 86_400_000])
def test_windows_of_one_block_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_ms: int | None
) -> None:
    options = EngineOptions(durability="os", background=False, block_rows=1000)
    made: list[bool] = []
    quick = block_groups.pieces_of_block

    def watched(*args: Any) -> Pieces | None:
        found = quick(*args)
        made.append(found is not None)
        return found

    monkeypatch.setattr(aggregates, "pieces_of_block", watched)
    with Engine.open(tmp_path, options) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE, n INT64)")
        count = np.arange(1000)
        v, there = np.sin(count), count % 5 > 0
        steps, others = 1_000_250 + 500 * count, 1_000_000 + 500 * count + count % 3
        for device, time in (("a", steps), ("b", others), ("c", steps)):
            columns = {"v": (v, ~there), "n": count - 500}
            engine.write("m", f"root.x.{device}", time, columns).wait()
        engine.write("m", "root.x.one", [1_000_400], {"n": [7]}).wait()
        engine.flush()
        every = None if every_ms is None else every_ms * MS
        whole = TIME_MIN_NS, TIME_MAX_NS + 1
        for device in ("a", "b", "c", "one"):
            ids = engine.device_ids("m", [f"root.x.{device}"])
            for start, end in (whole, (1_000_250 * MS, 1_499_751 * MS), (1_200_000 * MS, 2**62)):
                for filters in FILTERS.values():
                    check(
                        engine,
                        Selection(ids, start, end),
                        Aggregation(WANTED, every, True, filters),
                    )
        assert any(made) == (every_ms in (500, 1_700, 60_000))
        engine.delete("m", devices="root.x.a", start=1_200_000, end=1_200_600).ack.wait()
        engine.write("m", "root.x.c", [1_000_250], {"n": [1]}).wait()
        made.clear()
        for device in ("a", "c"):
            ids = engine.device_ids("m", [f"root.x.{device}"])
            check(engine, Selection(ids, *whole), Aggregation(WANTED, every, True))
        assert not made


def test_memory_is_reserved_and_given_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = engine._store.memory
    limit = memory.limit_of("scan")
    held: list[int] = []
    read = Part.read_columns

    def watched(*args: object, **kwargs: object) -> object:
        held.append(memory.used_by("scan"))
        return read(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Part, "read_columns", watched)
    check(engine, Selection(), Aggregation(WANTED, 60_000 * MS, True))
    assert 0 < max(held) <= limit
    assert memory.used_by("scan") == 0

    def broken(*args: object, **kwargs: object) -> object:
        raise OSError("a disk that fails")

    monkeypatch.setattr(Part, "read_columns", broken)
    with pytest.raises(OSError, match="a disk that fails"):
        aggregate(engine._store.current("m")[1], Selection(), Aggregation(WANTED, 60_000 * MS))
    assert memory.used_by("scan") == 0
