"""Where two blocks of a part meet: what a part says of them is what its rows say."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.deletes import NONE
from mainstem_engine.model import VersionedRows
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import write_part
from mainstem_engine.sources import PartBlocks, follow_strictly
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

keys = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=80)


def part_of(directory: Path, rows: list[tuple[int, int]]) -> Part:
    device, time = np.array(sorted(rows), np.int64).T
    sorted_rows = VersionedRows(
        device.astype(np.uint32),
        time.copy(),
        np.zeros(len(time), np.uint16),
        np.arange(1, len(time) + 1, dtype=np.uint64),
        {},
    )
    fs = FaultyFilesystem(directory)
    meta = write_part(
        fs, directory, "p", table="t", partition_start_ns=0, rows=sorted_rows, measurements={},
        block_rows=8,
    )  # fmt: skip
    return Part.open(fs, directory, meta)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(keys)
def test_neighbours(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]]) -> None:
    part = part_of(tmp_path_factory.mktemp("seams"), rows)
    numbers = np.arange(len(part.blocks))
    blocks = [part.read([number], []) for number in numbers.tolist()]
    wanted = [True] + [
        bool(left.device[-1] != right.device[0] or left.time[-1] < right.time[0])
        for left, right in itertools.pairwise(blocks)
    ]
    assert part.follows(numbers[::2]).tolist() == wanted[::2]
    for _ in range(2):
        assert part.follows(numbers).tolist() == wanted
    assert follow_strictly(PartBlocks(part, numbers, NONE)) == all(wanted)


def test_a_row_that_two_blocks_share(tmp_path: Path) -> None:
    part = part_of(tmp_path, [(0, t) for t in range(4)] + [(1, 3)] * 5 + [(2, 1), (2, 5)])
    numbers = np.arange(len(part.blocks))
    assert part.follows(numbers).tolist() == [True, False]
    assert not follow_strictly(PartBlocks(part, numbers, NONE))
