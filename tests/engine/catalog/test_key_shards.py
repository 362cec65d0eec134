"""Sets of keys in tries: numbers, prefixes, order, across the bounds of shards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.catalog import key_shards
from mainstem_engine.catalog.key_shards import ABSENT, KeyShards, ShardBuilder

KEYS = st.lists(st.binary(min_size=1, max_size=4), unique=True, max_size=60)


def build(keys: list[bytes], first: int = 100) -> tuple[KeyShards, ShardBuilder]:
    meant = np.arange(first, first + len(keys), dtype=np.uint32)
    builder = KeyShards([], [], []).with_keys(keys, meant, meant.take)
    return KeyShards(builder.tries, builder.firsts, builder.counts), builder


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_shards, "SHARD_KEYS", 7)


@given(KEYS, st.lists(st.integers(0, 3), min_size=60, max_size=60), st.binary(max_size=2))
@settings(deadline=None)
def test_a_set_that_grows(keys: list[bytes], turns: list[int], prefix: bytes) -> None:
    """In up to four turns: the same keys, numbers and prefixes as of a dictionary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_shards, "SHARD_KEYS", 7)
        found, meant = KeyShards([], [], []), np.empty(0, np.uint32)
        model: dict[bytes, int] = {}
        for turn in range(4):
            new = sorted(key for key, when in zip(keys, turns, strict=False) if when == turn)
            ids = np.arange(len(model), len(model) + len(new), dtype=np.uint32)
            model.update(zip(new, ids.tolist(), strict=True))
            builder = found.with_keys(new, ids, meant.take)
            found = KeyShards(builder.tries, builder.firsts, builder.counts)
            meant = builder.payload
            assert sorted(builder.firsts) == builder.firsts
            assert all(0 < count <= 7 for count in builder.counts)
        numbers = found.find_many(sorted(model))
        assert sorted(numbers.tolist()) == list(range(len(model)))
        assert {key: meant[found.find(key)] for key in model} == model
        assert [found.key(number) for number in numbers.tolist()] == sorted(model)
        wanted = {key for key in model if key.startswith(prefix)}
        begun = found.starting_with(prefix).tolist()
        assert len(begun) == len(set(begun))
        assert {found.key(number) for number in begun} == wanted
        pieces = list(found.sorted_pieces())
        assert [key for some, _ in pieces for key in some] == sorted(model)
        assert [n for _, some in pieces for n in some.tolist()] == numbers.tolist()
        others = [b"longer than all keys", b"", *sorted(model, reverse=True)]
        assert found.find_many(others).tolist() == [found.find(key) for key in others]
        assert found.find(b"longer than all keys") == ABSENT


def test_shards_without_new_keys_are_kept_as_they_are() -> None:
    keys = [b"k%03d" % number for number in range(0, 84, 2)]
    found, before = build(keys)
    assert before.counts == [7] * 6
    after = found.with_keys([b"k037"], np.array([1], np.uint32), before.payload.take)
    assert after.counts == [7, 7, 4, 4, 7, 7, 7]
    assert after.tries[:2] + after.tries[4:] == before.tries[:2] + before.tries[3:]
    assert all(one is other for one, other in zip(after.tries, before.tries[:2], strict=False))


def test_names_that_go_on_counting_fill_their_shards() -> None:
    found, builder = build([b"k%03d" % number for number in range(10)])
    more = [b"k%03d" % number for number in range(10, 30)]
    after = found.with_keys(more, np.arange(10, 30, dtype=np.uint32), builder.payload.take)
    assert after.counts == [7, 7, 7, 7, 2]


def test_numbers_that_are_not_there() -> None:
    found, _ = build([b"a", b"b"])
    assert len(found) == 2
    for number in (-1, 2):
        with pytest.raises(KeyError):
            found.key(number)


def test_an_empty_set() -> None:
    found, _ = build([])
    assert found.find(b"a") == ABSENT
    assert found.starting_with(b"").tolist() == []
