"""The range at an edge of time holds the rows asked for, and few blocks more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.edges import narrow_to_edge
from mainstem_engine.scan import Selection, read_rows
from mainstem_engine.scan_extent import extent_of
from mainstem_engine.view import TableView

MS = 1_000_000
ROWS = 4_000


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TableView]:
    """Overlapping parts, fragments of rows, deletes at both ends, rows in the head."""
    options = EngineOptions(durability="os", background=False, block_rows=100, vnodes=1)
    with Engine.open(tmp_path_factory.mktemp("edges"), options) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE, n INT64)")
        rng = np.random.default_rng(3)
        for device, first in (("a", 0), ("b", 1_500_000)):
            times = first + np.arange(ROWS) * 500
            engine.write("m", f"root.x.{device}", times, {"v": np.arange(ROWS) * 1.0}).wait()
            engine.flush()
            late = np.unique(rng.integers(0, ROWS, 300)) * 500 + first
            engine.write("m", f"root.x.{device}", late, {"n": late}).wait()
            engine.flush()
        engine.write("m", "root.x.few", [5, 6, 4_000_000], {"v": [1.0, 2.0, 3.0]}).wait()
        engine.delete("m", devices="root.x.a", start=1_900_000, end=1_990_000).ack.wait()
        engine.delete("m", devices="root.x.b", start=1_500_000, end=1_600_000).ack.wait()
        yield engine._store.current("m")[1]


def check(view: TableView, selection: Selection, rows: int, *, newest: bool) -> Selection:
    narrowed = narrow_to_edge(view, selection, rows, newest=newest)
    whole = np.sort(read_rows(view, selection).time)
    found = np.sort(read_rows(view, narrowed).time)
    wanted = whole[-rows:] if newest else whole[:rows]
    if rows and len(wanted):
        assert np.array_equal(found[-len(wanted) :] if newest else found[: len(wanted)], wanted)
    return narrowed


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 9_000) | st.integers(1, 30),
    newest=st.booleans(),
    devices=st.sampled_from([None, [0], [1], [2], [0, 2]]),
    bounds=st.tuples(st.integers(-10, 4_100_000), st.integers(-10, 4_100_000)) | st.none(),
)
def test_the_rows_of_the_edge_are_there(
    view: TableView,
    rows: int,
    newest: bool,
    devices: list[int] | None,
    bounds: tuple[int, int] | None,
) -> None:
    start, end = sorted(bounds) if bounds else (TIME_MIN_NS // MS, TIME_MAX_NS // MS)
    ids = None if devices is None else np.array(devices, np.uint32)
    check(view, Selection(ids, start * MS, end * MS), rows, newest=newest)


def test_few_blocks_are_read(view: TableView) -> None:
    one = Selection(np.array([1], np.uint32))
    for newest in (True, False):
        narrowed = check(view, one, 10, newest=newest)
        # Of the deleted end, and of fragments, some more are needed.
        assert extent_of(view, narrowed).blocks <= 12
        assert extent_of(view, one).blocks > 40
    assert check(view, replace(one, start_ns=0), 10**6, newest=True).start_ns == 0


def test_nothing_is_narrowed_to_nothing(view: TableView) -> None:
    none = Selection(np.array([7], np.uint32))
    assert narrow_to_edge(view, none, 5, newest=True).end_ns == none.end_ns
    past = Selection(None, 10, 5)
    assert narrow_to_edge(view, past, 5, newest=True) == past
