"""A table waits for a device that is late, and not for ever."""

from __future__ import annotations

import numpy as np

from mainstem_edge.frontier import SECOND_NS, TIMEOUT_NS
from mainstem_edge.sources import held_frontier_ns, silent

NOW = 10_000 * SECOND_NS
EVERY = 10 * SECOND_NS


def held(*ages_s: float) -> float | None:
    """How far behind now the table is held, in s, by devices whose newest rows are so old."""
    newest = NOW - (np.array(ages_s) * SECOND_NS).astype(np.int64)
    found = held_frontier_ns(NOW, newest, EVERY)
    return None if found is None else (NOW - found) / SECOND_NS


def test_devices_that_keep_up_hold_nothing() -> None:
    assert held() is None
    assert held(0, 3, 10) is None
    assert held(-86_400 * 365, 1) is None, "one in the future is no reason to wait"


def test_the_least_far_is_waited_for_until_the_time_is_over() -> None:
    assert held(0, 25, 100) == 90
    timeout = TIMEOUT_NS / SECOND_NS
    assert held(0, timeout + 10) == timeout
    assert held(0, timeout + 11) is None
    assert held(50, timeout + 11, 86_400) == 40


def test_who_is_silent() -> None:
    newest = np.array([NOW, NOW - 11 * SECOND_NS, NOW - 10 * SECOND_NS], np.int64)
    assert silent(newest, NOW, EVERY).tolist() == [1]
