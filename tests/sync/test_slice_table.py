"""SliceTable behaves like a dict of greatest LSNs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_sync.errors import WireError
from mainstem_sync.slices.slice_table import SliceTable, spans, touched_slices

TOUCHES = st.lists(
    st.tuples(st.lists(st.integers(-5, 20), min_size=1, max_size=6), st.integers(1, 99)),
    max_size=10,
)


@settings(max_examples=150, deadline=None)
@given(TOUCHES, st.integers(0, 10))
def test_touches_join_to_the_greatest_lsn(touches: list[tuple[list[int], int]], cut: int) -> None:
    table = SliceTable({"lsn": np.uint64, "rev": np.uint32})
    model: dict[int, int] = {}
    for step, (keys, lsn) in enumerate(touches):
        if len(keys) == 1:
            table.note_one(keys[0], lsn)
        else:
            table.note(np.array(keys, dtype=np.int64), lsn)
        for key in keys:
            model[key] = max(model.get(key, 0), lsn)
        if step % 3 == 2:
            merge(table)
    merge(table)
    assert table.keys.tolist() == sorted(model)
    assert dict(zip(table.keys.tolist(), table["lsn"].tolist(), strict=True)) == model
    copy = SliceTable({"lsn": np.uint64, "rev": np.uint32, "new": np.int64})
    copy.restore(table.snapshot())
    assert copy.keys.tolist() == table.keys.tolist()
    assert copy["new"].tolist() == [0] * len(table)
    low = table.range(0, cut)
    assert table.keys[low].tolist() == [key for key in sorted(model) if 0 <= key < cut]
    table.remove(table.keys < cut)
    assert table.keys.tolist() == [key for key in sorted(model) if key >= cut]


def merge(table: SliceTable) -> None:
    keys, lsns = table.take_touches()
    at = table.upsert(keys)
    table["lsn"][at] = np.maximum(table["lsn"][at], lsns)
    assert table.touches == 0


def test_rows_touch_their_slices() -> None:
    assert touched_slices(np.array([-1], dtype=np.int64), 60) == -1
    assert touched_slices(np.array([61, 119], dtype=np.int64), 60) == 1
    several = touched_slices(np.array([180, -1, 59, 61], dtype=np.int64), 60)
    assert isinstance(several, np.ndarray)
    assert several.tolist() == [-1, 0, 1, 3]


def test_spans_cut_at_gaps_and_at_the_bound() -> None:
    keys = np.array([1, 2, 3, 50, 51, 52, 53], dtype=np.int64)
    assert spans(keys, 10, 100) == [(0, 3), (3, 7)]
    assert spans(keys, 10, 2) == [(0, 2), (2, 3), (3, 5), (5, 7)]
    assert spans(keys[:0], 10, 2) == []


def test_a_snapshot_of_other_lengths_is_refused() -> None:
    table = SliceTable({"lsn": np.uint64})
    with pytest.raises(WireError):
        table.restore({"keys": bytes(16), "columns": {"lsn": bytes(8)}})
