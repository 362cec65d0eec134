"""The store's sums."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.accounting import (
    NEVER_NS,
    Resolution,
    StoreAccounting,
    StoreCounts,
    TableAccount,
    resolved_snapshot,
)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(-3, 9)), max_size=8), max_size=6)
)
def test_a_row_is_late_unless_it_is_newer_than_all_before(
    batches: list[list[tuple[int, int]]],
) -> None:
    account = TableAccount()
    newest: dict[int, int] = {}
    logged = late_total = 0
    for batch in batches:
        late = account.note(
            np.array([d for d, _ in batch], np.uint32), np.array([t for _, t in batch], np.int64)
        )
        # Within a batch rows count in order of (device, time), whatever order they came in.
        expected = {}
        for index in sorted(range(len(batch)), key=lambda i: batch[i]):
            device, time = batch[index]
            expected[index] = time <= newest.get(device, NEVER_NS)
            newest[device] = max(time, newest.get(device, NEVER_NS))
        marks = [False] * len(batch) if late is None else late.tolist()
        assert marks == [expected[i] for i in range(len(batch))]
        logged += len(batch)
        late_total += sum(marks)
        counts = account.counts()
        assert counts.balanced
        assert (counts.logged, counts.unresolved) == (logged, late_total)
    devices = np.arange(50, dtype=np.uint32)
    assert account.newest_of(devices).tolist() == [newest.get(d, NEVER_NS) for d in range(50)]


def test_resolving_keeps_the_sum() -> None:
    account = TableAccount()
    account.note(np.zeros(3, np.uint32), np.array([1, 1, 1], np.int64))
    assert account.counts() == StoreCounts(logged=3, live=1, unresolved=2)
    account.resolve(Resolution(late=2, live=1))
    assert account.counts() == StoreCounts(logged=3, live=2, overwritten=1)
    assert not StoreCounts(logged=1).balanced


def test_deletes_keep_the_sum() -> None:
    account = TableAccount()
    account.note(np.zeros(2, np.uint32), np.array([5, 6], np.int64))
    account.note(np.zeros(1, np.uint32), np.array([1], np.int64))
    account.erase(3)  # the late row was visible too
    assert account.counts() == StoreCounts(logged=3, deleted=3)
    account.resolve(Resolution(late=1, live=1))
    assert account.counts() == StoreCounts(logged=3, deleted=3)
    account.leave_out(2, 1)
    assert account.counts() == StoreCounts(logged=6, overwritten=2, deleted=4)
    account.note(np.ones(2, np.uint32), np.array([5, 6], np.int64))
    account.resolve(Resolution(live=-2, deleted=2))
    assert account.counts() == StoreCounts(logged=8, overwritten=2, deleted=6)
    assert account.counts().balanced


def test_a_snapshot_is_resolved_when_written() -> None:
    accounting = StoreAccounting()
    accounting.account("t").note(np.zeros(2, np.uint32), np.array([5, 5], np.int64))
    snapshot = accounting.snapshot()
    accounting.account("t").note(np.zeros(1, np.uint32), np.array([9], np.int64))
    found = {"t": Resolution(late=1)}
    for _ in range(2):  # a flush that failed is tried again
        restored = StoreAccounting.restore(resolved_snapshot(snapshot, found))
    assert restored.counts() == {"t": StoreCounts(logged=2, live=1, overwritten=1)}
    assert restored.account("t").newest_of(np.zeros(1, np.uint32)).tolist() == [5]
