"""Paths in memory: place to path and back, also when hashes collide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.catalog import path_index
from mainstem_engine.catalog.path_index import ABSENT, PathIndex

PATHS = st.lists(st.text("abé.`", min_size=1, max_size=6), unique=True, max_size=40)


@given(st.lists(PATHS, max_size=6), st.integers(1, 1 << 32))
@settings(deadline=None)
def test_it_is_a_dictionary(batches: list[list[str]], buckets: int) -> None:
    index = PathIndex()
    model: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        # Few buckets: long runs of paths that want the same slot.
        patch.setattr(path_index, "hash", lambda path: hash(path) % buckets, raising=False)
        for batch in batches:
            new = [path for path in batch if path not in model]
            index.add(new)
            model.update((path, len(model)) for path in new)
        assert len(index) == len(model)
        asked = [*model, "no such path", "x"]
        expected = [model.get(path, ABSENT) for path in asked]
        assert index.find_many(asked).tolist() == expected
        assert [index.find(path) for path in asked] == expected
    assert [index.path(place) for place in range(len(model))] == list(model)
    assert index.paths(np.arange(len(model))) == list(model)
    middle = min(1, len(model))
    assert index.text(middle, len(model)) == [path.encode() for path in list(model)[middle:]]


def test_it_grows_and_says_what_it_takes() -> None:
    index = PathIndex()
    paths = [f"root.a.d{number}" for number in range(5000)]
    for start in range(0, 5000, 1700):
        index.add(paths[start : start + 1700])
    assert index.find_many(paths).tolist() == list(range(5000))
    assert index.find("root.a.d5000") == ABSENT
    assert 5000 * 25 < index.nbytes < 5000 * 60
    for wrong in (-1, 5000):
        with pytest.raises(IndexError):
            index.path(wrong)


def test_an_empty_index() -> None:
    index = PathIndex()
    assert index.find("a") == ABSENT
    assert index.find_many(["a"]).tolist() == [ABSENT]
    assert index.text(0, 0) == []
