"""Streams of bits against the definition: numbers of given widths in one long integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.encoding.bits import bit_length, pack_bits, put_bits, unpack_bits
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import ColumnType


def by_definition(pairs: list[tuple[int, int]]) -> bytes:
    joined = place = 0
    for value, width in pairs:
        joined |= value << place
        place += width
    return joined.to_bytes(-(-place // 8), "little")


PAIRS = st.integers(0, 64).flatmap(lambda w: st.tuples(st.integers(0, (1 << w) - 1), st.just(w)))


@given(st.lists(PAIRS, max_size=80))
def test_pack_and_unpack(pairs: list[tuple[int, int]]) -> None:
    values = np.array([value for value, _ in pairs], np.uint64)
    widths = np.array([width for _, width in pairs], np.int64)
    packed = pack_bits(values, widths)
    assert packed == by_definition(pairs)
    assert unpack_bits(memoryview(packed), widths).tolist() == values.tolist()
    with pytest.raises(EncodingError):
        unpack_bits(memoryview(packed + b"\0"), widths)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_bit_length(values: list[int]) -> None:
    values += [0, 1, 2**63, 2**64 - 1, 2**53 + 1]
    expected = [value.bit_length() for value in values]
    assert bit_length(np.array(values, np.uint64)).tolist() == expected


def test_a_boolean_is_0_or_1() -> None:
    out = np.zeros(3, np.bool_)
    put_bits(np.array([0, 1, 1], np.uint8), ColumnType.BOOLEAN, out)
    assert out.tolist() == [False, True, True]
    with pytest.raises(EncodingError):
        put_bits(np.array([0, 2, 1], np.uint8), ColumnType.BOOLEAN, out)
