"""Sets of keys in tries: numbers, prefixes, order, across the bounds of shards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.catalog import key_shards
from mainstem_engine.catalog.key_shards import ABSENT, KeyShards, ShardBuilder

KEYS = st.lists(st.binary(min_size=1, max_size=4), unique=True, max_size=60)


def build(keys: list[bytes], piece: int) -> tuple[KeyShards, ShardBuilder]:
    builder = ShardBuilder(len(keys))
    meant = np.arange(100, 100 + len(keys), dtype=np.uint32)
    for start in range(0, len(keys), piece):
        builder.add(keys[start : start + piece], meant[start : start + piece])
    builder.finish()
    builder.finish()
    return KeyShards(builder.tries, builder.firsts, len(keys)), builder


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_shards, "SHARD_KEYS", 7)


@given(KEYS, st.integers(1, 20), st.binary(max_size=2))
@settings(deadline=None)
def test_a_set(keys: list[bytes], piece: int, prefix: bytes) -> None:
    keys = sorted(keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_shards, "SHARD_KEYS", 7)
        found, builder = build(keys, piece)
        numbers = found.find_many(keys)
        assert sorted(numbers.tolist()) == list(range(len(keys)))
        assert (builder.payload[numbers] == np.arange(100, 100 + len(keys))).all()
        assert [found.key(number) for number in numbers.tolist()] == keys
        wanted = {key for key in keys if key.startswith(prefix)}
        begun = found.starting_with(prefix).tolist()
        assert len(begun) == len(set(begun))
        assert {found.key(number) for number in begun} == wanted
        pieces = list(found.sorted_pieces())
        assert [key for some, _ in pieces for key in some] == keys
        assert [n for _, some in pieces for n in some.tolist()] == numbers.tolist()
        assert found.find(b"longer than all keys") == ABSENT


def test_numbers_that_are_not_there() -> None:
    found, _ = build([b"a", b"b"], 2)
    assert len(found) == 2
    for number in (-1, 2):
        with pytest.raises(KeyError):
            found.key(number)


def test_an_empty_set() -> None:
    found, _ = build([], 1)
    assert found.find(b"a") == ABSENT
    assert found.starting_with(b"").tolist() == []
