"""RangeSet behaves like a set of integers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_sync.errors import RangeLimitError, WireError
from mainstem_sync.wire.ranges import RangeSet, lsns_of

SPANS = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=12,
)
OPERATIONS = st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(-1, 12)))


def model(spans: list[tuple[int, int]]) -> set[int]:
    return {lsn for first, last in spans for lsn in range(first, last + 1)}


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_adding_and_removing_match_a_set(operations: list[tuple[bool, int, int]]) -> None:
    ranges, expected = RangeSet(), set[int]()
    for adds, first, length in operations:
        last = first + length
        if adds:
            ranges.add(first, last)
            expected |= set(range(first, last + 1))
        else:
            ranges.remove(first, last)
            expected -= set(range(first, last + 1))
        pairs = list(ranges)
        assert all(a <= b for a, b in pairs)
        assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(pairs))
    assert set(lsns_of(ranges)) == expected
    assert ranges.count() == len(expected)
    assert ranges.last == max(expected, default=0)
    watermark = 0
    while watermark + 1 in expected:
        watermark += 1
    assert ranges.watermark == watermark


@settings(max_examples=150, deadline=None)
@given(SPANS, SPANS)
def test_algebra_matches_sets(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    a, b = RangeSet(left), RangeSet(right)
    sa, sb = model(left), model(right)
    assert set(lsns_of(a.difference(b))) == sa - sb
    assert set(lsns_of(a.intersection(b))) == sa & sb
    assert a.contains_all(b) == (sb <= sa)
    assert set(lsns_of(list(a.gaps(5, 40)))) == set(range(5, 41)) - sa
    probe = np.arange(0, 80, dtype=np.uint64)
    assert a.mask(probe).tolist() == [lsn in sa for lsn in range(80)]
    joined = a.copy()
    joined.update(b)
    assert set(lsns_of(joined)) == sa | sb
    assert RangeSet.from_wire(joined.to_wire()) == joined
    assert a == RangeSet(left)


def test_a_limit_refuses_new_holes_but_not_their_filling() -> None:
    ranges = RangeSet([(1, 1), (3, 3)], limit=2)
    with pytest.raises(RangeLimitError):
        ranges.add(5)
    assert list(ranges) == [(1, 1), (3, 3)]
    ranges.add(2)
    assert list(ranges) == [(1, 3)]


@pytest.mark.parametrize(
    "flat",
    [None, [1], [2, 1], [0, 1], [1, 2, 3, 4], [1.0, 2], [True, 2], [5, 6, 1, 2], [1, 1 << 63]],
)
def test_a_set_that_is_not_in_normal_form_is_refused(flat: object) -> None:
    with pytest.raises(WireError):
        RangeSet.from_wire(flat)


def test_membership_and_emptiness() -> None:
    ranges = RangeSet([(2, 3)])
    assert 2 in ranges
    assert "2" not in ranges
    assert bool(ranges)
    assert not RangeSet()
    assert ranges.watermark == 0
    assert repr(ranges) == "RangeSet([(2, 3)])"
    assert ranges != 3
    assert not RangeSet().mask(np.array([1], dtype=np.uint64)).any()
