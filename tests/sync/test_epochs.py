"""Epoch tables against a plain list of which epoch each LSN is of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_sync.errors import WireError
from mainstem_sync.lines.epochs import EpochTable, Segment
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

TOP = 40
"""LSNs that are looked at."""

forks = st.lists(st.integers(0, TOP - 1), max_size=6)


def table_of(lsns: list[int]) -> tuple[EpochTable, list[int]]:
    """A table, and the epoch of each LSN from 1 on."""
    table, plain = EpochTable(), [0] * TOP
    for number, fork in enumerate(lsns, 1):
        table = table.with_fork(2 * number, fork)
        plain[fork:] = [2 * number] * (TOP - fork)
    return table, plain


@given(forks)
@settings(max_examples=200, deadline=None)
def test_every_lsn_has_the_epoch_of_the_last_fork_below_it(lsns: list[int]) -> None:
    table, plain = table_of(lsns)
    assert [table.epoch_of(lsn) for lsn in range(1, TOP + 1)] == plain
    assert table.epochs_of(np.arange(1, TOP + 1, dtype=np.uint64)).tolist() == plain
    line = table.line()
    assert line[0].first == 1
    assert line[-1].last == LSN_MAX
    assert [s.last + 1 for s in line[:-1]] == [s.first for s in line[1:]]
    for epoch in table.epochs:
        on_line = [lsn for lsn, found in enumerate(plain, 1) if found == epoch]
        for lsn in on_line:
            assert table.begin_of(epoch) < lsn <= table.end_of(epoch)
    assert EpochTable.from_wire(table.to_wire()) == table


@given(forks, forks, st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_two_tables_have_in_common_what_is_of_the_same_epochs(
    first: list[int], second: list[int], shared: int
) -> None:
    mine, here = table_of(first)
    theirs, there = table_of(first[:shared] + second)
    differing = [lsn for lsn in range(1, TOP + 1) if here[lsn - 1] != there[lsn - 1]]
    common = mine.common(theirs)
    assert common == theirs.common(mine)
    if differing:
        assert common == differing[0] - 1
    else:
        assert common >= TOP - 1 or mine.line() != theirs.line()


def test_lsns_are_cut_at_the_forks() -> None:
    table = EpochTable().with_fork(1, 60).with_fork(4, 40)
    assert table.line() == [Segment(0, 1, 40), Segment(4, 41, LSN_MAX)]
    parts = dict(table.split(RangeSet([(10, 12), (30, 50)])))
    assert parts == {0: RangeSet([(10, 12), (30, 40)]), 4: RangeSet([(41, 50)])}
    assert (table.end_of(0), table.end_of(1), table.end_of(4)) == (40, 40, LSN_MAX)


def test_epochs_only_grow() -> None:
    table = EpochTable().with_fork(3, 10)
    assert table.extends(EpochTable())
    assert not EpochTable().extends(table)
    for epoch in (0, 3, 2, 1 << 32):
        with pytest.raises(ValueError, match="cannot follow"):
            table.with_fork(epoch, 5)


@pytest.mark.parametrize("wire", [None, [[1]], [[2, 1], [1, 1]], [[0, 5]], [[1, -1]], [["a", 1]]])
def test_a_table_from_elsewhere_is_checked(wire: object) -> None:
    with pytest.raises(WireError):
        EpochTable.from_wire(wire)
