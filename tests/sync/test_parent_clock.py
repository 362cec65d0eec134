"""What time it is at the parent, from exchanges of every kind."""

from __future__ import annotations

import random

import pytest

from mainstem_sync.sending.parent_clock import ParentClock
from mainstem_sync.testing.nodes import ManualClock
from mainstem_sync.testing.tiers import Tiers

SECOND = 1_000_000_000


class Pair:
    """A child's clock, and a parent's that is ahead by ``ahead_ns``."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.clock = ManualClock()
        self.ahead_ns = int(ahead_s * SECOND)
        self.seen = ParentClock(lambda: self.clock.now_ns, self.clock.monotonic)

    def exchange(self, up_s: float, work_s: float, down_s: float) -> None:
        sent_at = self.clock.monotonic()
        self.clock.advance(up_s)
        got = self.clock.now_ns + self.ahead_ns
        self.clock.advance(work_s)
        gave = self.clock.now_ns + self.ahead_ns
        self.clock.advance(down_s)
        self.seen.exchanged(sent_at, got, gave)

    @property
    def error_ms(self) -> float:
        assert self.seen.offset_ms is not None
        return abs(self.seen.offset_ms - self.ahead_ns / 1e6)


def test_before_the_first_exchange_nothing_is_known() -> None:
    assert (Pair().seen.offset_ms, Pair().seen.bound_ms, Pair().seen.now_ns()) == (None,) * 3


@pytest.mark.parametrize("seed", range(20))
def test_the_offset_is_within_its_bound_on_uneven_ways(seed: int) -> None:
    rng = random.Random(seed)
    pair = Pair(rng.uniform(-1e5, 1e5))
    for _ in range(30):
        pair.exchange(rng.random() ** 4, rng.random(), rng.random() ** 4)
        pair.clock.advance(rng.uniform(0, 5))
        assert pair.seen.bound_ms is not None
        assert pair.error_ms <= pair.seen.bound_ms


def test_the_surest_exchange_counts_until_it_is_old() -> None:
    pair = Pair(3.0)
    pair.exchange(0.001, 5.0, 0.001)
    pair.exchange(2.0, 0.0, 0.0)
    assert pair.error_ms <= 2
    assert pair.seen.bound_ms is not None
    assert pair.seen.bound_ms <= 4
    for _ in range(10):
        pair.exchange(0.2, 0.0, 0.2)
    assert pair.seen.bound_ms > 100


def test_a_parent_whose_clock_is_set_right_is_followed_at_once() -> None:
    pair = Pair(3600.0)
    for _ in range(8):
        pair.exchange(0.01, 0.0, 0.01)
    pair.ahead_ns = 0
    pair.exchange(0.02, 0.0, 0.02)
    assert pair.error_ms <= 20


def test_a_step_of_the_own_clock_shows_in_the_offset() -> None:
    pair = Pair()
    pair.exchange(0.01, 0.0, 0.01)
    pair.clock.now_ns += 60 * SECOND
    assert pair.seen.offset_ms == -60_000


def test_each_reply_corrects_what_the_hello_said(tiers: Tiers) -> None:
    """The parent greets with a wrong clock, which somebody sets right while it runs."""
    wrong = 3 * 3600 * SECOND
    receiver = tiers.plant.federation.receiver
    right = receiver._clock_ns
    for part in (receiver, receiver._greeting):
        part._clock_ns = lambda: right() - wrong
    tiers.write(rows=1)
    tiers.run(1)
    sender = tiers.edge.federation.sender
    assert sender is not None
    assert sender.clock_offset_ms == pytest.approx(-wrong / 1e6, abs=5)
    assert tiers.edge.engine.trusted_now_ns() < tiers.clock.now_ns - wrong // 2
    for part in (receiver, receiver._greeting):
        part._clock_ns = right
    tiers.run(5)
    assert sender.clock_offset_ms == pytest.approx(0, abs=5)
    assert tiers.edge.engine.trusted_now_ns() == pytest.approx(tiers.clock.now_ns, abs=SECOND)
    assert sender.clock_error_ms is not None
    assert sender.clock_error_ms < 200
