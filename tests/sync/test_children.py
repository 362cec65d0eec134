"""What a parent shows of its children: leases apart, their state and how it ages."""

from __future__ import annotations

import itertools

from mainstem_sync.children import Children, Delivery


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def children(clock: Clock) -> Children:
    tokens = itertools.count(1)
    return Children(
        monotonic=clock.monotonic,
        clock_ns=lambda: int(clock.now_s * 1e9),
        token=lambda: f"lease{next(tokens)}",
    )


def test_an_unheard_child_ages_and_so_does_all_below_it() -> None:
    clock = Clock()
    known = children(clock)
    known.admit("plant", "u" * 32, "i1")
    below = {"node": "edge", "state": "live", "lag_ms": 7, "children": []}
    known.said("plant", {"node": "plant", "state": "live", "lag_ms": 3, "children": [below]})
    (fresh,) = known.show({"plant": Delivery(5, 5)})
    assert (fresh["state"], fresh["lag_ms"]) == ("live", 3)
    assert (fresh["children"][0]["state"], fresh["children"][0]["lag_ms"]) == ("live", 7)
    clock.now_s += 25
    (stale,) = known.show({"plant": Delivery(5, 5)})
    assert (stale["state"], stale["lag_ms"]) == ("stale", 25_003)
    assert (stale["children"][0]["state"], stale["children"][0]["lag_ms"]) == ("stale", 25_007)
    # What the child said is untouched: once it is heard again, the tree is as it says.
    known.said("plant", {"node": "plant", "state": "live", "lag_ms": 1, "children": [below]})
    assert below == {"node": "edge", "state": "live", "lag_ms": 7, "children": []}
