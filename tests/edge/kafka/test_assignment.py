"""What may be committed: the first record that is not durable, and never one behind it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.kafka.assignment import Assignment
from mainstem_edge.kafka.offset_book import Noted

P = ("t", 0)


@given(st.permutations(range(12)), st.integers(0, 12))
def test_a_gap_is_never_passed(order: list[int], done: int) -> None:
    assigned = Assignment()
    progress = assigned.add(P, 100)
    ids = [assigned.hand_on(progress, 100 + 2 * n, n) for n in range(12)]  # every second offset
    for each in order[:done]:
        assigned.acknowledge([ids[each]])
    missing = min((n for n in range(12) if n not in order[:done]), default=12)
    expected = {P: Noted(100 + 2 * (missing - 1) + 1, missing - 1)} if missing else {}
    assert assigned.durable() == expected
    assert assigned.unsettled() == 12 - missing


def test_what_is_acknowledged_after_its_partition_went_is_dropped() -> None:
    assigned = Assignment()
    old = assigned.hand_on(assigned.add(P, 5), 5, None)
    assigned.remove([P])
    progress = assigned.add(P, 5)
    assigned.acknowledge([old])
    assert assigned.durable() == {}
    assigned.acknowledge([assigned.hand_on(progress, 5, None)])
    assert assigned.durable() == {P: Noted(6)}
    assert assigned.wait_settled([P, ("gone", 1)], 0)
