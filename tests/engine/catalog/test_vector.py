"""Growing arrays, and such that lie on an immutable one."""

from __future__ import annotations

import numpy as np
import pytest

from mainstem_engine.catalog.vector import LayeredColumn, Vector


def layered() -> LayeredColumn:
    column = LayeredColumn(np.array([5, 6, 7], np.uint8), Vector(np.uint32))
    column.extend([1000, 2000])
    return column


def test_a_layered_column_is_one_array() -> None:
    column = layered()
    everything = [5, 6, 7, 1000, 2000]
    assert len(column) == 5
    assert [column[index] for index in range(5)] == everything
    for wrong in (-1, 5):
        with pytest.raises(IndexError):
            column[wrong]
    for start in range(6):
        for stop in range(start, 6):
            assert column.slice(start, stop).tolist() == everything[start:stop]
    for index in ([], [0], [4, 0, 2, 3], [1, 1], [3, 4]):
        assert column.take(np.array(index, np.uint32)).tolist() == [everything[i] for i in index]


def test_what_was_frozen_stays() -> None:
    column = layered()
    frozen = column.frozen()
    column.extend(range(100))
    assert frozen.joined().tolist() == [5, 6, 7, 1000, 2000]
    assert frozen.joined().dtype == np.uint32
    assert LayeredColumn.empty(np.uint16).frozen().joined().tolist() == []
    alone = LayeredColumn(np.array([1], np.uint16), Vector(np.uint16))
    assert alone.frozen().joined().tolist() == [1]
    assert alone.take(np.array([0])).dtype == np.uint16


def test_a_vector_knows_its_size() -> None:
    vector = Vector(np.uint64, np.arange(3, dtype=np.uint64))
    assert vector.nbytes == 24
    assert vector.dtype == np.uint64
