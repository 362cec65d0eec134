"""What was proven is looked at again: against a model that keeps every minute by itself."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_sync.proof.audits import Audits
from mainstem_sync.proof.rescan import compare, expect
from mainstem_sync.slices.manifest import SLICE_NS, Manifest
from mainstem_sync.slices.rolled import DAY_NS, HOUR_NS, Buckets
from mainstem_sync.slices.slice_states import SliceState
from mainstem_sync.slices.watch import PROVEN_SLICES_KEPT, TableWatch
from mainstem_sync.wire.ranges import RangeSet

FIRST = 27_000_000
"""A minute of 2021, on a full hour and day."""


def manifest(
    keys: np.ndarray, digest: np.ndarray, closed: tuple[int, int], whole: tuple[int, int] | None
) -> Manifest:
    lsn = np.full(len(keys), 5, np.uint64)
    said = None if whole is None else (whole[0] * SLICE_NS, whole[1] * SLICE_NS, 5)
    return Manifest(
        "t", SLICE_NS, closed[0] * SLICE_NS, closed[1] * SLICE_NS, 0, 0, keys * SLICE_NS,
        np.ones(len(keys), np.uint32), np.ones(len(keys), np.int64), digest, digest * 3, lsn,
        whole=said,
    )  # fmt: skip


class Stored:
    """Minutes with one row each, by slice."""

    def __init__(self, keys: list[int]) -> None:
        self.rows = {key: key * 7 + 1 for key in keys}

    def digests(self, first: int, end: int) -> tuple[np.ndarray, ...]:
        keys = np.array(sorted(k for k in self.rows if first <= k < end), np.int64)
        d1 = np.array([self.rows[k] for k in keys.tolist()], np.uint64)
        return keys, np.ones(len(keys), np.int64), d1, d1 * np.uint64(3)


def proven(stored: Stored, count: int) -> TableWatch:
    """A watch that has verified all of the stored minutes, and summed up the old ones."""
    watch = TableWatch(SLICE_NS)
    keys, _, d1, _ = stored.digests(FIRST, FIRST + count)
    watch.rows_applied(keys * SLICE_NS, 5)
    watch.manifest_applied(manifest(keys, d1, (FIRST, FIRST + count), None), 9)
    scan(watch, stored)
    watch.prune(9)
    return watch


def scan(watch: TableWatch, stored: Stored) -> None:
    chosen = watch.candidates(RangeSet([(1, 100)]))
    rows = [stored.rows.get(key) for key in chosen.keys.tolist()]
    d1 = np.array([row or 0 for row in rows], np.uint64)
    count = np.array([row is not None for row in rows], np.int64)
    watch.judged(chosen, count, d1, d1 * np.uint64(3))


def look(watch: TableWatch, stored: Stored, first: int, end: int) -> int:
    expected = expect(watch, first, end)
    return len(compare(watch, expected, *stored.digests(expected.first, expected.end)))


def flagged(watch: TableWatch, count: int) -> set[int]:
    """Minutes that are not proven any more, those of a flagged hour or day all of them."""
    found = set(watch.unproven(FIRST, FIRST + count).tolist())
    for low, high in watch.unequal_sums(FIRST, FIRST + count):
        found |= set(range(low, high))
    return found


COUNT = PROVEN_SLICES_KEPT + 3 * 1440


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, COUNT - 1),
    st.sampled_from(["deleted", "altered", "added"]),
    st.integers(1, 3),
    st.booleans(),
)
def test_any_minute_that_changed_is_found_and_no_other(
    minute: int, change: str, step: int, restored: bool
) -> None:
    stored = Stored(list(range(FIRST, FIRST + COUNT, step)))
    watch = proven(stored, COUNT)
    assert len(watch.rolled.hours) + len(watch.rolled.days) > 0
    if restored:
        watch = TableWatch.restore(watch.snapshot())
    assert look(watch, stored, FIRST, FIRST + COUNT) == 0
    key = FIRST + minute
    there = key in stored.rows
    if change == "added" and not there:
        stored.rows[key] = 1
    elif there and change == "deleted":
        del stored.rows[key]
    elif there and change == "altered":
        stored.rows[key] += 1
    else:
        return
    assert flagged(watch, COUNT) == set(), "nobody has looked"
    assert look(watch, stored, FIRST, FIRST + COUNT) == 1
    found = flagged(watch, COUNT)
    assert key in found
    assert len(found) in (1, 60), "the minute, or its hour"
    # Its owner states the hour anew: then it is the minute, and nothing else.
    hour = key // 60 * 60
    owner = Stored(list(range(FIRST, FIRST + COUNT, step)))
    keys, _, d1, _ = owner.digests(hour, hour + 60)
    watch.manifest_applied(manifest(keys, d1, (FIRST, FIRST), (hour, hour + 60)), 10)
    scan(watch, stored)
    look(watch, stored, hour, hour + 60)
    assert flagged(watch, COUNT) == {key}
    assert watch.state_of(key, 100)[0] is SliceState.MISMATCH
    assert watch.differing(100).tolist() == [key]
    stored.rows = owner.rows
    watch.image_applied(key * SLICE_NS, (key + 1) * SLICE_NS, 11)
    scan(watch, stored)
    assert flagged(watch, COUNT) == set()
    assert look(watch, stored, FIRST, FIRST + COUNT) == 0


def test_hours_become_days_and_say_so_when_they_are_touched() -> None:
    days = 40
    stored = Stored(list(range(FIRST, FIRST + days * 1440, 30)))
    watch = proven(stored, days * 1440)
    assert len(watch.rolled.days) >= 7
    assert look(watch, stored, FIRST, FIRST + days * 1440) == 0
    watch.rows_applied(np.array([(FIRST + 100) * SLICE_NS]), 20)
    assert watch.unproven(FIRST, FIRST + 1440).tolist() == [FIRST + 100]
    assert watch.flawed_sums() == [(FIRST, FIRST + 1440)]
    assert watch.unequal_sums(FIRST, FIRST + 1440) == [], "touched is not different"
    assert watch.newest_touch(FIRST + 90, FIRST + 110) == 20
    assert watch.newest_touch(FIRST + 20 * 1440, FIRST + 20 * 1440 + 1) == 5


def test_a_fork_takes_back_what_was_stated_beyond_it() -> None:
    watch = TableWatch(SLICE_NS)
    keys = np.arange(FIRST, FIRST + 4, dtype=np.int64)
    ones = np.ones(4, np.uint64)
    watch.rows_applied(keys * SLICE_NS, np.array([3, 3, 8, 3], np.uint64))
    watch.manifest_applied(manifest(keys[:2], ones[:2], (FIRST, FIRST + 2), None), 6)
    watch.manifest_applied(manifest(keys[2:], ones[2:], (FIRST + 2, FIRST + 4), None), 9)
    assert watch.fork(7).tolist() == [FIRST + 2]
    assert [watch.state_of(key, 7)[0] for key in keys.tolist()] == [
        SliceState.PENDING, SliceState.PENDING, SliceState.FORKED, SliceState.OPEN,
    ]  # fmt: skip
    assert list(watch.closed) == [(FIRST, FIRST + 1)]
    watch.rows_applied(keys[2:3] * SLICE_NS, 8)
    assert watch.state_of(FIRST + 2, 8)[0] is SliceState.FORKED


def test_lost_rows_are_told_from_missing_ones() -> None:
    watch = TableWatch(SLICE_NS)
    keys = np.arange(FIRST, FIRST + 3, dtype=np.int64)
    d1 = np.array([10, 20, 30], np.uint64)
    said = manifest(keys, d1, (FIRST, FIRST + 3), None)
    watch.manifest_applied(said, 9)
    one = np.ones(1, np.int64)
    watch.lost(keys[:1], one, d1[:1], d1[:1] * np.uint64(3), "disk_full")
    watch.lost(keys[1:2], one, None, None, "log_damaged")
    zeros = np.zeros(3, np.uint64)
    watch.judged(watch.candidates(RangeSet([(1, 9)])), zeros.astype(np.int64), zeros, zeros)
    states = [watch.state_of(key, 9)[0] for key in keys.tolist()]
    assert states == [SliceState.LOST, SliceState.LOST, SliceState.MISMATCH]
    listed = watch.declared(FIRST, FIRST + 3)
    assert [(rows, why) for _, _, rows, why in listed] == [(1, "disk_full"), (1, "log_damaged")]
    back = TableWatch.restore(watch.snapshot())
    assert back.declared(FIRST, FIRST + 3) == listed
    # The rows come after all.
    back.image_applied(FIRST * SLICE_NS, (FIRST + 3) * SLICE_NS, 9)
    back.judged(back.candidates(RangeSet([(1, 9)])), one.repeat(3), d1, d1 * np.uint64(3))
    assert back.unproven(FIRST, FIRST + 3).tolist() == []
    assert back.declared(FIRST, FIRST + 3) == []


def test_a_day_is_compared_once_and_a_hundredth_of_the_rest() -> None:
    stored = Stored(list(range(FIRST, FIRST + 30 * 1440, 10)))
    watch = proven(stored, 30 * 1440)
    audits = Audits(random.Random(1))
    start_ns = (FIRST + 30 * 1440) * SLICE_NS
    begun = audits.next([("t", watch, "it")], start_ns)
    assert begun is not None
    subject, first, end = begun
    assert (subject, end - first, end) == ("it", 1440, FIRST + 30 * 1440)
    chosen = 0
    days = 20
    for second in range(0, days * 86_400, 60):
        found = audits.next([("t", watch, "it")], start_ns + second * 10**9)
        if found is not None and found[2] - found[1] == 60:
            chosen += 1
            assert watch.closed.covers(found[1], found[2] - 1)
    assert 0.5 * 7.2 * days < chosen < 1.5 * 7.2 * days
    assert audits.next([], start_ns) is None


def test_after_a_start_all_since_the_last_day_began_is_compared_at_once() -> None:
    stored = Stored(list(range(FIRST, FIRST + 3 * 1440, 10)))
    watch = proven(stored, 3 * 1440)
    now_ns = (FIRST + 3 * 1440) * SLICE_NS + 7 * SLICE_NS - 3 * 3_600 * 10**9
    found = Audits(random.Random(1)).next([("t", watch, "it")], now_ns)
    assert found is not None
    _, first, end = found
    day = 86_400 * 10**9 // SLICE_NS
    assert (first, end) == (now_ns // SLICE_NS // day * day - day, -(-now_ns // SLICE_NS))


def test_what_differs_in_an_empty_slice_is_noted_whatever_else_is_known() -> None:
    for rows in range(1, 40):
        stored = Stored(list(range(FIRST, FIRST + rows)))
        watch = proven(stored, rows + 1)
        watch.damaged((FIRST + rows) * SLICE_NS, (FIRST + rows + 1) * SLICE_NS)
        assert watch.unproven(FIRST, FIRST + rows + 1).tolist() == [FIRST + rows]


def test_buckets_of_longer_slices_are_the_slices_themselves() -> None:
    assert Buckets(max(1, HOUR_NS // DAY_NS)).of(np.array([5, 6], np.int64)).tolist() == [5, 6]
    watch = TableWatch(DAY_NS)
    assert (watch.rolled.hours.per, watch.rolled.days.per) == (1, 1)
