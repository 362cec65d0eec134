"""Keys in memory: place to key and back, also when hashes collide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.catalog import key_index
from mainstem_engine.catalog.key_index import ABSENT, KeyIndex

KEYS = st.lists(st.binary(min_size=1, max_size=3), unique=True, max_size=40)


@given(st.lists(KEYS, max_size=6), st.integers(1, 1 << 32))
@settings(deadline=None)
def test_it_is_a_dictionary(batches: list[list[bytes]], buckets: int) -> None:
    index = KeyIndex()
    model: dict[bytes, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        # Few buckets: long runs of keys that want the same slot.
        patch.setattr(key_index, "hash", lambda key: hash(key) % buckets, raising=False)
        for batch in batches:
            new = [key for key in batch if key not in model]
            index.add(new)
            model.update((key, len(model)) for key in new)
        assert len(index) == len(model)
        asked = [*model, b"no such key", b"x"]
        expected = [model.get(key, ABSENT) for key in asked]
        assert index.find_many(asked).tolist() == expected
        assert [index.find(key) for key in asked] == expected
    assert [index.key(place) for place in range(len(model))] == list(model)
    assert index.keys(np.arange(len(model))) == list(model)
    middle = min(1, len(model))
    assert index.between(middle, len(model)) == list(model)[middle:]


def test_it_grows_and_says_what_it_takes() -> None:
    index = KeyIndex()
    paths = [f"root.a.d{number}".encode() for number in range(5000)]
    for start in range(0, 5000, 1700):
        index.add(paths[start : start + 1700])
    assert index.find_many(paths).tolist() == list(range(5000))
    assert index.find(b"root.a.d5000") == ABSENT
    assert 5000 * 25 < index.nbytes < 5000 * 60
    for wrong in (-1, 5000):
        with pytest.raises(IndexError):
            index.key(wrong)


def test_an_empty_index() -> None:
    index = KeyIndex()
    assert index.find(b"a") == ABSENT
    assert index.find_many([b"a"]).tolist() == [ABSENT]
    assert index.between(0, 0) == []


def test_a_key_that_is_found_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers take no lock: they may look at any moment of an addition."""
    index = KeyIndex()
    insert, seen = key_index._insert, []

    def looking(slots: Any, hashes: Any, first: int) -> None:
        insert(slots, hashes, first)
        found = index.find_many([b"k%d" % n for n in range(200)])
        seen.append(bool((found < len(index)).all()))

    monkeypatch.setattr(key_index, "_insert", looking)
    for n in range(200):
        index.add([b"k%d" % n])
    assert all(seen)
