"""The head: chunks that grow, and views that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainstem_engine import head as head_module
from mainstem_engine.head import Chunk, Head, is_member
from mainstem_engine.merge import concat_rows
from mainstem_engine.model import Column, Rows, VersionedRows

ALL = (-(2**62), 2**62)


def rows(devices: list[int], times: list[int], **columns: list[Any]) -> Rows:
    found = Rows(np.array(devices, np.uint32), np.array(times, np.int64))
    for key, cells in columns.items():
        valid = np.array([c is not None for c in cells], np.bool_)
        values = np.array([c or 0 for c in cells], np.int32)
        found.columns[int(key[1:])] = Column(values, None if valid.all() else valid)
    return found


def content(chunks: list[Chunk]) -> list[tuple[Any, ...]]:
    every = concat_rows([chunk.all_rows() for chunk in chunks])
    found = []
    for i in range(len(every)):
        cells = []
        for key in (0, 1):
            column = every.columns.get(key)
            there = column is not None and (column.valid is None or column.valid[i])
            cells.append(int(column.values[i]) if column is not None and there else None)
        found.append((int(every.device[i]), int(every.time[i]), int(every.lsn[i]), *cells))
    return found


def test_columns_may_come_and_go() -> None:
    head = Head()
    head.append("t", rows([1], [1], c0=[5]), 0, 1, None, 1)
    head.append("t", rows([1], [2], c1=[6]), 0, 2, None, 2)
    head.append(
        "t", rows([1, 1], [3, 4], c0=[None, 7], c1=[8, 9]), 0, np.array([3, 4], np.uint64), None, 3
    )
    head.append("t", rows([1], [5]), 0, 5, None, 5)
    head.append("t", rows([1], [6], c0=[1], c1=[2]), 0, 6, None, 6)
    assert content(head.tables["t"].view()) == [
        (1, 1, 1, 5, None),
        (1, 2, 2, None, 6),
        (1, 3, 3, None, 8),
        (1, 4, 4, 7, 9),
        (1, 5, 5, None, None),
        (1, 6, 6, 1, 2),
    ]
    assert (head.rows, head.tables["t"].rows) == (6, 6)
    assert head.bytes == head.tables["t"].bytes > 0


def test_a_view_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "CHUNK_ROWS", 500)
    head = Head()
    seen = []
    for i in range(1200):
        head.append("t", rows([i % 7], [i], c0=[i if i % 3 else None]), 0, i, None, i)
        if i % 100 == 0:
            seen.append((i, head.tables["t"].view()))
    for i, chunks in seen:
        expected = [(j % 7, j, j, j if j % 3 else None, None) for j in range(i + 1)]
        assert content(chunks) == expected
    chunks = head.tables["t"].view()
    assert [chunk.sequence for chunk in chunks] == [0, 1, 2]
    assert [chunk.sealed for chunk in chunks] == [True, True, False]
    assert [chunk.length for chunk in chunks] == [500, 500, 200]


def test_a_large_batch_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "LARGE_BATCH_ROWS", 4)
    head = Head()
    head.append("t", rows([1], [1], c0=[1]), 0, 1, None, 1)
    large = rows([1, 2, 3, 4], [1, 2, 3, 4], c0=[1, 2, 3, 4])
    head.append("t", large, 1, 2, None, 2)
    head.append("t", rows([1], [9], c0=[1]), 0, 3, None, 3)
    chunks = head.tables["t"].view()
    assert [chunk.length for chunk in chunks] == [1, 4, 1]
    assert chunks[1].device is large.device
    assert chunks[1].origin.tolist() == [1, 1, 1, 1]


def test_the_next_head_goes_on_counting() -> None:
    head = Head()
    head.append("t", rows([1], [1]), 0, 1, None, 1)
    after = head.successor()
    assert after.rows == after.bytes == 0
    again = after.successor()
    again.append("t", rows([1], [2]), 0, 2, None, 2)
    assert again.tables["t"].view()[0].sequence == 1
    assert head.tables["t"].view()[0].sealed


def test_late_rows_are_remembered_by_key() -> None:
    head = Head()
    late = np.array([False, True])
    head.append("t", rows([1, 2], [5, 6]), 0, 1, late, 1)
    ((device, time),) = head.tables["t"].late
    assert (device.tolist(), time.tolist()) == ([2], [6])


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "devices", [[3], [1, 3], list(range(20)), [1, *range(3, 40)], [50], [], None]
)
@pytest.mark.parametrize("window", [ALL, (10, 60), (500, 600), (-5, 0)])
def test_a_selection_is_what_a_filter_finds(
    sealed: bool, devices: list[int] | None, window: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    head = Head()
    head.append("t", rows(rng.integers(0, 30, 200).tolist(), list(range(200))), 0, 1, None, 1)
    if sealed:
        head.tables["t"].seal()
    (chunk,) = head.tables["t"].view()
    wanted = None if devices is None else np.array(devices, np.uint32)
    for _ in range(2):
        found = chunk.select(wanted, *window)
        expected = {
            int(t)
            for d, t in zip(chunk.device[:200], chunk.time[:200], strict=True)
            if (devices is None or d in devices) and window[0] <= t < window[1]
        }
        assert (set() if found is None else set(found.time.tolist())) == expected
        assert (found is None) == (not expected) or isinstance(found, VersionedRows)


def test_an_empty_chunk_selects_nothing() -> None:
    head = Head()
    head.append("t", rows([1], [1]), 0, 1, None, 1)
    (chunk,) = head.tables["t"].view()
    chunk.length = 0
    assert chunk.select(None, *ALL) is None


def test_membership() -> None:
    devices = np.array([2, 5], np.uint32)
    assert is_member(np.array([1, 2, 5, 9], np.uint32), devices).tolist() == [
        False,
        True,
        True,
        False,
    ]
    assert is_member(devices, devices[:0]).tolist() == [False, False]
    assert is_member(devices, devices[:1]).tolist() == [True, False]
