"""Blocks: every row is in one, sizes are even, and pieces change nothing that was cut."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.part.blocks import block_starts, finished_blocks


def blocks_of(lengths: list[int], block_rows: int = 4096) -> list[int]:
    device = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
    starts = block_starts(device, block_rows)
    return [int(size) for size in np.diff(np.r_[starts, len(device)])]


def test_dense_devices_have_blocks_of_their_own() -> None:
    assert blocks_of([1]) == [1]
    assert blocks_of([4096]) == [4096]
    assert blocks_of([4097]) == [2048, 2049]
    assert blocks_of([1000, 1000]) == [1000, 1000]
    assert blocks_of([10_000, 2000]) == [3333, 3333, 3334, 2000]


def test_sparse_devices_share_blocks() -> None:
    assert blocks_of([999, 999, 999]) == [2997]
    assert blocks_of([10] * 1000) == [3333, 3333, 3334]
    assert blocks_of([5, 5, 2000, 5, 5, 5, 1500]) == [10, 2000, 15, 1500]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(8, 200))
def test_blocks_cover_all_rows_once(lengths: list[int], block_rows: int) -> None:
    sizes = blocks_of(lengths, block_rows)
    assert sum(sizes) == sum(lengths)
    assert 0 < min(sizes) <= max(sizes) <= block_rows


def test_a_million_sparse_devices_are_cut_without_a_loop() -> None:
    starts = block_starts(np.arange(1_000_000, dtype=np.uint32), 4096)
    assert len(starts) == -(-1_000_000 // 4096)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=40),
    st.integers(8, 200),
    st.lists(st.integers(1, 2000), min_size=1, max_size=12),
)
def test_pieces_are_cut_as_far_as_they_are_final(
    lengths: list[int], block_rows: int, pieces: list[int]
) -> None:
    device = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
    held = device[:0]
    sizes: list[int] = []
    firsts: list[int] = []
    for piece in np.split(device, np.cumsum(pieces)):
        held = np.concatenate([held, piece])
        starts, cut = finished_blocks(held, block_rows)
        sizes += np.diff(np.append(starts, cut)).tolist()
        firsts += held[starts].tolist()
        last = np.count_nonzero(held == held[-1]) if len(held) else 0
        held = held[cut:]
        assert len(held) < 2 * block_rows + last
    starts = block_starts(held, block_rows)
    sizes += np.diff(np.append(starts, len(held))).tolist()
    assert sum(sizes) == len(device)
    assert 0 < min(sizes) <= max(sizes) <= block_rows
    # A device that has blocks of its own shares none of them.
    edges = np.cumsum([0, *sizes])
    for first, end in itertools.pairwise(edges.tolist()):
        if lengths[int(device[first])] >= block_rows:
            assert device[first] == device[end - 1]


def test_a_long_device_is_cut_while_it_comes() -> None:
    device = np.full(10_000, 7, np.uint32)
    starts, cut = finished_blocks(device, 1000)
    assert (starts.tolist(), cut) == (list(range(0, 9000, 1000)), 9000)


def test_the_last_device_and_sparse_ones_before_it_wait() -> None:
    device = np.repeat(np.arange(300, dtype=np.uint32), 10)
    starts, cut = finished_blocks(device, 500)
    assert (starts.tolist(), cut) == ([0, 500, 1000, 1500], 2000)
    assert finished_blocks(device[:100], 500)[1] == 0
