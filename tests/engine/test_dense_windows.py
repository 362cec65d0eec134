"""Pieces merged by the number of their window are those merged by sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.dense_windows import PIECES_PER_WINDOW_MIN, merge_dense
from mainstem_engine.model import ColumnType
from mainstem_engine.windows import Pieces, Values, Wanted, merged, no_values

EVERY = 1_000
WANTED = {
    0: Wanted(ColumnType.DOUBLE, frozenset({"min", "max", "sum"})),
    1: Wanted(ColumnType.INT64, frozenset({"min", "max", "sum"})),
    2: Wanted(ColumnType.BOOLEAN, frozenset({"min", "max"})),
    3: Wanted(ColumnType.FLOAT, frozenset({"count"})),
}


def pieces_of(devices: int, windows: int, seed: int, missing: float) -> Pieces:
    """A piece for each device and most windows; some have no value, some NaN or an infinity."""
    rng = np.random.default_rng(seed)
    window = np.tile((np.arange(windows) - windows // 2) * EVERY, devices)
    device = np.repeat(np.arange(devices, dtype=np.uint32), windows)
    keep = rng.random(len(window)) >= missing
    window, device = window[keep], device[keep]
    count = len(window)
    begin = window + rng.integers(0, 400, count)
    pieces = Pieces(device, window, rng.integers(1, 9, count), begin, begin + 500)
    for key, want in WANTED.items():
        values: Values = no_values(want, count)
        values.count = rng.integers(0, 3, count) if missing else np.ones(count, np.int64)
        if want.type == ColumnType.DOUBLE:
            some = rng.normal(size=count)
            some[rng.random(count) < 0.05] = np.nan
            some[rng.random(count) < 0.02] = np.inf
            values.low, values.high, values.total = some, some + 1, some * 2
        elif want.type == ColumnType.INT64:
            low = rng.integers(-(2**62), 2**62, count)
            values.low, values.high = low, low + 5
            values.total = rng.integers(-(2**40), 2**40, (count, 2))
        elif want.type == ColumnType.BOOLEAN:
            values.low = values.high = rng.random(count) < 0.5
        pieces.values[key] = values
    return pieces


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    devices=st.integers(PIECES_PER_WINDOW_MIN, 12),
    windows=st.integers(1, 40),
    seed=st.integers(0, 1 << 30),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_they_say_what_sorted_pieces_say(
    devices: int, windows: int, seed: int, missing: float
) -> None:
    pieces = pieces_of(devices + 3, windows, seed, missing)
    if not len(pieces):
        return
    found = merge_dense(pieces, EVERY, row_times=True)
    wanted = merged([pieces], by_device=False)
    assert len(found) == len(wanted)
    for name in ("window", "rows", "begin_ns", "end_ns"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    for key in WANTED:
        left, right = found.values[key], wanted.values[key]
        assert np.array_equal(left.count, right.count)
        there = right.count > 0
        for name in ("low", "high"):
            one, other = getattr(left, name), getattr(right, name)
            assert (one is None) == (other is None)
            if one is not None:
                assert np.array_equal(one[there], other[there], equal_nan=one.dtype.kind == "f")
        if right.total is not None:
            assert left.total is not None
            with np.errstate(invalid="ignore"):
                assert np.allclose(left.total[there], right.total[there], 1e-12, equal_nan=True)


def test_few_pieces_far_windows_and_ends_are_left_alone() -> None:
    few = pieces_of(PIECES_PER_WINDOW_MIN - 1, 10, 1, 0.0)
    assert merge_dense(few, EVERY, row_times=False) is few
    far = pieces_of(8, 10, 1, 0.0)
    far.window[-1] = 10**15
    assert merge_dense(far, EVERY, row_times=False) is far
    ends = pieces_of(8, 10, 1, 0.0)
    ends.values[3] = no_values(Wanted(ColumnType.FLOAT, frozenset({"last"})), len(ends))
    assert merge_dense(ends, EVERY, row_times=False) is ends


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing(count: int) -> None:
    pieces = pieces_of(1, count, 1, 0.0)
    assert merge_dense(pieces, EVERY, row_times=True) is pieces
