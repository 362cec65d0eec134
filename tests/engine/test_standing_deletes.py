"""Tombstones and floors of a store: what arrives, what is kept, what goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mainstem_engine.deletes import NONE, Tombstone
from mainstem_engine.model import Column, Rows
from mainstem_engine.standing_deletes import StandingDeletes


def tombstone(lsn: int, as_of: int, origin: int = 1, **more: Any) -> Tombstone:
    return Tombstone(lsn, origin, as_of, more.pop("applied_before", None), None, 0, 10, **more)


def rows(*times: int) -> Rows:
    count = len(times)
    values = {0: Column(np.arange(count, dtype=np.int32))}
    return Rows(np.zeros(count, np.uint32), np.array(times, np.int64), values)


def test_what_arrives_too_late_is_left_out() -> None:
    standing = StandingDeletes()
    batch = rows(1, 2, 30)
    untouched = standing.arriving("t", 1, batch, 5)
    assert untouched.rows is batch
    assert untouched.lsn == 5
    standing.add("t", tombstone(9, 5))
    standing.add("t", tombstone(9, 9, applied_before=9))  # an image replaces nothing later
    lsns = np.array([5, 6, 5], np.uint64)
    found = standing.arriving("t", 1, batch, lsns)
    assert (found.rows.time.tolist(), found.superseded, found.deleted) == ([2, 30], 0, 1)
    assert standing.arriving("t", 2, batch, lsns).rows.time.tolist() == [1, 2, 30]
    standing.raise_floor("t", 1, 20, 40, 5)
    found = standing.arriving("t", 1, batch, lsns)
    assert (found.rows.time.tolist(), found.superseded, found.deleted) == ([2], 1, 1)
    assert isinstance(found.lsn, np.ndarray)
    assert found.lsn.tolist() == [6]


def test_values_that_were_deleted_arrive_as_nulls() -> None:
    standing = StandingDeletes()
    standing.add("t", tombstone(9, 5, measurements=(0,)))
    batch = rows(1, 2)
    batch.columns[1] = Column(np.array([7, 0]), np.array([True, False]))
    found = standing.arriving("t", 1, batch, 3)
    assert (found.rows.time.tolist(), found.deleted) == ([1], 1)
    valid = found.rows.columns[0].valid
    assert valid is not None
    assert valid.tolist() == [False]


def test_a_checkpoint_has_what_stood() -> None:
    standing = StandingDeletes()
    assert standing.freeze(3) == ({}, {})
    standing.add("t", tombstone(9, 5))
    standing.raise_floor("u", 2, 0, 10, 7)
    frozen, sections = standing.freeze(9)
    standing.add("t", tombstone(12, 11))  # the frozen one is not folded into it
    assert len(standing.of("t")) == 2
    assert len(frozen["t"]) == 1
    again = StandingDeletes()
    again.restore(sections, 9)
    assert [item.lsn for item in again.of("t")] == [9]
    assert again.floors("u").of(2, 0, 10) == 7
    assert again.origins() == {1, 2}
    assert again.of("other") is NONE
    old = StandingDeletes()
    old.restore({}, 9)
    assert old.tombstones == {}
