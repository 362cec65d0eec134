"""Groups of blocks that several devices share are those made of merged rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine, EngineOptions, block_groups
from mainstem_engine.aggregates import _sorted, aggregate
from mainstem_engine.aggregation import Aggregation
from mainstem_engine.model import ColumnType, DeviceIds
from mainstem_engine.part.reader import Part
from mainstem_engine.scan import Selection, iterate_rows, read_rows
from mainstem_engine.sources import are_all_plain, find_blocks
from mainstem_engine.value_filter import ValueFilter, kept_rows
from mainstem_engine.windows import FUNCTIONS, Wanted, merged, pieces_of_rows

MS = 1_000_000
KEYS = {0: ColumnType.DOUBLE, 1: ColumnType.INT64}
WANTED = {key: Wanted(kind, frozenset(FUNCTIONS)) for key, kind in KEYS.items()}
FILTER = (ValueFilter(1, ColumnType.INT64, ">=", 40),)
DEVICES = 12


def opened(path: Path, devices: int = DEVICES, block_rows: int = 16) -> Engine:
    options = EngineOptions(durability="os", background=False, block_rows=block_rows)
    engine = Engine.open(path, options)
    engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE, n INT64)")
    engine.device_ids("m", [f"root.x.d{n}" for n in range(devices)], create=True)
    return engine


def write(engine: Engine, device: DeviceIds, time: object) -> None:
    count = len(device)
    v = np.arange(count) * 0.25
    columns = {"v": (v, np.arange(count) % 7 == 3), "n": np.arange(count)}
    engine.write("m", device, time, columns).wait()


def check(engine: Engine, selection: Selection) -> None:
    """Every kind of group, and the rows themselves, against a merge of all rows."""
    view = engine._store.current("m")[1]
    merged_rows = read_rows(view, Selection(selection.devices, selection.start_ns,
                                            selection.end_ns, versions=True))  # fmt: skip
    for filters in ((), FILTER):
        rows = kept_rows(merged_rows, filters)
        for every in (None, 7 * MS):
            for by_device in (True, False):
                aggregation = Aggregation(WANTED, every, by_device, filters)
                found, _ = aggregate(view, selection, aggregation)
                if not len(rows):
                    assert found is None
                    continue
                wanted = merged([pieces_of_rows(rows, every, WANTED)], by_device=by_device)
                assert found is not None
                assert found.window.tolist() == wanted.window.tolist()
                assert found.rows.tolist() == wanted.rows.tolist()
                assert found.begin_ns.tolist() == wanted.begin_ns.tolist()
                assert found.end_ns.tolist() == wanted.end_ns.tolist()
                if by_device:
                    assert found.device.tolist() == wanted.device.tolist()
                for key in KEYS:
                    left, right = found.values[key], wanted.values[key]
                    assert left.count.tolist() == right.count.tolist()
                    there = left.count > 0
                    for one, two in zip(left.arrays()[1:], right.arrays()[1:], strict=True):
                        assert one is not None
                        assert two is not None
                        np.testing.assert_allclose(one[there], two[there], rtol=1e-12)
    scanned = [rows.time for rows in iterate_rows(view, selection)]
    times = np.concatenate(scanned) if scanned else np.empty(0, np.int64)
    assert times.tolist() == merged_rows.time.tolist()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Engine]:
    """Many devices of few rows in one part, every other block begun by the device before."""
    with opened(tmp_path, 40) as engine:
        sizes = np.random.default_rng(2).integers(1, 30, 40)
        device = np.repeat(np.arange(40, dtype=np.uint32), sizes)
        row = np.arange(len(device)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        write(engine, device, row * 30 + device % 5)
        engine.flush()
        yield engine


def test_no_row_of_mixed_blocks_is_merged(fleet: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    view = fleet._store.current("m")[1]
    found = _sorted(view, Selection(), Aggregation(WANTED, None, True))
    (part,) = view.parts
    assert isinstance(part, Part)
    index = part.blocks
    assert bool((index.device_min != index.device_max).any())
    assert bool((index.device_max[:-1] == index.device_min[1:]).any())
    assert not found.rest
    assert are_all_plain(find_blocks(view, None, -(2**62), 2**62))
    for span_rows in (8, 100, 1 << 16):
        monkeypatch.setattr(block_groups, "SPAN_ROWS", span_rows)
        monkeypatch.setattr(block_groups, "SPAN_ROWS_MIN", 1)
        monkeypatch.setattr(block_groups, "THREADED_ROWS_MIN", 1)
        check(fleet, Selection())
        check(fleet, Selection(None, 61 * MS, 777 * MS))
        for devices in ([7], [0, 39], list(range(3, 30, 4)), [100]):
            check(fleet, Selection(np.array(devices, np.uint32)))
            check(fleet, Selection(np.array(devices, np.uint32), 0, 400 * MS))


def test_late_rows_are_merged_where_they_meet(fleet: Engine) -> None:
    write(fleet, np.full(3, 5, np.uint32), [0, 31, 1_000])
    check(fleet, Selection())
    fleet.flush()
    check(fleet, Selection())
    fleet.delete("m", devices="root.x.d20", start=100).ack.wait()
    check(fleet, Selection())
    fleet.flush()
    fleet.compact()
    check(fleet, Selection())


def test_seams_are_read_once(fleet: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    (part,) = fleet._store.current("m")[1].parts
    assert isinstance(part, Part)
    assert part.follows(np.arange(len(part.blocks))).all()

    def refused(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(Part, "_times_of_block", refused)
    assert part.follows(np.arange(len(part.blocks))).all()


batches = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.integers(0, DEVICES - 1), st.integers(-20, 20)), min_size=1, max_size=60
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(batches, st.sets(st.integers(0, DEVICES), max_size=4), st.integers(-25, 20))
def test_groups_of_any_rows(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[list[tuple[int, int]], bool]],
    chosen: set[int],
    start: int,
) -> None:
    with opened(tmp_path_factory.mktemp("any"), block_rows=8) as engine:
        for rows, is_flushed in batches:
            write(engine, np.array([d for d, _ in rows], np.uint32), [t for _, t in rows])
            if is_flushed:
                engine.flush()
        check(engine, Selection())
        check(engine, Selection(np.array(sorted(chosen), np.uint32), start * MS))
