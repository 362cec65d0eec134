"""Tables of values: numbers that stay, hashes that collide, shards that are damaged."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.catalog import value_table
from mainstem_engine.catalog.key_shards import ABSENT
from mainstem_engine.catalog.value_table import (
    NO_VALUES,
    StoredValues,
    ValueTable,
    keys_between,
    shard_of,
    shard_parts,
    stored_values,
)

TURNS = st.lists(st.lists(st.binary(max_size=5), max_size=12), max_size=5)


@given(TURNS, st.lists(st.binary(max_size=5), max_size=10), st.integers(1, 7), st.integers(1, 30))
@settings(deadline=None)
def test_a_table_that_grows(
    turns: list[list[bytes]], others: list[bytes], shard: int, size: int
) -> None:
    """The same numbers as a dictionary that counts, however it is cut; the empty value is one."""
    model: dict[bytes, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_table, "VALUES_PER_SHARD", shard)
        patch.setattr(value_table, "SHARD_BYTES_MAX", size)
        stored = NO_VALUES
        for turn in turns:
            new = [key for key in dict.fromkeys(turn) if key not in model]
            stored = ValueTable(stored).with_keys(new)
            model.update((key, len(model)) for key in new)
        table = ValueTable(stored)
        assert all(0 < count <= shard for count in stored.counts)
        assert len(table) == stored.count == len(model)
        assert list(table.keys()) == list(model)
        assert [table.key(number) for number in range(len(model))] == list(model)
        asked = [*others, *model, *reversed(model)]
        wanted = [model.get(key, ABSENT) for key in asked]
        assert [table.find(key) for key in asked] == wanted
        assert table.find_many(asked).tolist() == wanted
        assert (np.diff(stored.hashes.astype(np.int64)) >= 0).all()
        assert stored.hashes.tolist() == [crc32(table.key(n)) for n in stored.numbers.tolist()]


def test_full_shards_are_kept_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_table, "VALUES_PER_SHARD", 4)
    before = stored_values([b"%d" % number for number in range(10)])
    after = ValueTable(before).with_keys([b"a", b"b", b"c"])
    assert (before.counts, after.counts) == ([4, 4, 2], [4, 4, 4, 1])
    assert all(a is b for a, b in zip(after.shards, before.shards[:2], strict=False))


COLLIDING = (b"plumless", b"buckeroo")
"""Two words of one crc32."""


def test_values_of_one_hash() -> None:
    one, other = COLLIDING
    assert crc32(one) == crc32(other)
    for keys in ([one, b"x", other], [other, one], [one]):
        table = ValueTable(stored_values(keys))
        wanted = [keys.index(key) if key in keys else ABSENT for key in COLLIDING]
        assert [table.find(key) for key in COLLIDING] == wanted
        assert table.find_many(COLLIDING).tolist() == wanted
    again = ValueTable(stored_values([one])).with_keys([other])
    assert ValueTable(again).find_many(COLLIDING).tolist() == [0, 1]


def test_numbers_that_are_not_there() -> None:
    table = ValueTable(stored_values([b"a", b"b"]))
    for number in (-1, 2):
        with pytest.raises(KeyError):
            table.key(number)
    assert ValueTable(NO_VALUES).find(b"a") == ABSENT


def test_a_shard_is_its_ends_and_its_values() -> None:
    shard = shard_of([b"ab", b"", b"c"])
    assert shard == bytes([2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]) + b"abc"
    assert keys_between(*shard_parts(shard, 3)) == [b"ab", b"", b"c"]


def test_parts_that_do_not_fit_together() -> None:
    good = stored_values([b"a", b"bc"])
    for shards, hashes in (
        (good.shards, good.hashes[:1]),
        ([bytes(good.shards[0]) + b"x"], good.hashes),
    ):
        with pytest.raises(ValueError, match="values"):
            ValueTable(StoredValues(list(shards), good.counts, hashes, good.numbers))
