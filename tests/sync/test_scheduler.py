"""Shares and sizes of requests, and how many are under way, over links of every kind."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mainstem_sync.sending.scheduler import (
    FRAME_BYTES_MIN,
    IN_FLIGHT_MAX,
    LIVE_EVERY_S,
    LIVE_EVERY_S_MAX,
    RAW_BYTES_MAX,
    REQUEST_S,
    Scheduler,
)
from mainstem_sync.wire.messages import Queue


@dataclass
class Pipe:
    """A link that carries ``rate`` bytes a second over a way of ``trip_s`` there and back."""

    rate: float
    trip_s: float
    now: float = 0.0
    free_at: float = 0.0
    under_way: list[tuple[float, float, int, int]] = field(default_factory=list)
    delivered: int = 0
    waits: list[float] = field(default_factory=list)

    def drive(self, scheduler: Scheduler, seconds: float, *, history: bool = False) -> None:
        """Send full requests for so long, whenever the scheduler lets."""
        may_send = scheduler.may_send_history if history else scheduler.may_send
        end = self.now + seconds
        while self.now < end:
            flying = sum(size for _, _, size, _ in self.under_way)
            if may_send(len(self.under_way), flying):
                size = scheduler.frame_bytes
                self.free_at = max(self.now, self.free_at) + size / self.rate
                self.waits.append(self.free_at - self.now)
                self.under_way.append((self.free_at + self.trip_s, self.now, size, flying))
                continue
            at, sent_at, size, flying = self.under_way.pop(0)
            self.now = at
            self.delivered += size
            scheduler.replied(at, sent_at, size, flying, live_only=False)


@pytest.mark.parametrize(
    ("rate", "trip_s"),
    [(8e3, 0.5), (8e3, 2.0), (125e3, 0.3), (125e3, 0.005), (12.5e6, 0.02), (60e6, 0.001)],
)
def test_any_link_is_filled_and_little_is_queued_before_live_data(
    rate: float, trip_s: float
) -> None:
    scheduler, pipe = Scheduler(), Pipe(rate, trip_s)
    scheduler.connected(trip_s + 0.001)
    pipe.drive(scheduler, 40.0)
    pipe.delivered, pipe.waits, began = 0, [], pipe.now
    pipe.drive(scheduler, 30.0)
    assert pipe.delivered > 0.8 * rate * (pipe.now - began)
    smallest = FRAME_BYTES_MIN / rate
    assert max(pipe.waits) < max(0.4, 3 * smallest)


@pytest.mark.parametrize("trip_s", [0.001, 0.02, 0.04, 0.125, 0.2, 0.26, 0.3, 0.6, 1.0])
def test_history_alone_fills_a_link_with_no_more_than_a_request_before_the_next_one(
    trip_s: float,
) -> None:
    rate = 125e3
    scheduler, pipe = Scheduler(), Pipe(rate, trip_s)
    scheduler.connected(trip_s)
    pipe.drive(scheduler, 20.0, history=True)
    pipe.delivered, pipe.waits, began = 0, [], pipe.now
    pipe.drive(scheduler, 20.0, history=True)
    assert pipe.delivered > 0.8 * rate * (pipe.now - began)
    # The request itself, and one that is on the link.
    assert max(pipe.waits) < 2 * REQUEST_S * 1.05


def test_on_a_short_way_one_request_of_history_is_under_way() -> None:
    scheduler, pipe = Scheduler(), Pipe(10e6, 0.004)
    scheduler.connected(0.004)
    pipe.drive(scheduler, 5.0, history=True)
    assert not scheduler.may_send_history(1, scheduler.frame_bytes)
    # Requests may be small beside what the link takes: the work for the parent is bounded.
    assert not scheduler.may_send_history(1, scheduler.frame_bytes // 8)


def test_a_link_that_becomes_thin_is_noticed_at_the_first_reply() -> None:
    scheduler, pipe = Scheduler(), Pipe(10e6, 0.01)
    scheduler.connected(0.01)
    pipe.drive(scheduler, 5.0)
    pipe.rate = 20e3
    before = scheduler.frame_bytes
    pipe.drive(scheduler, before / pipe.rate + 1.0)
    assert scheduler.frame_bytes < before / 20


def test_a_way_that_seemed_long_at_the_hello_is_learnt_again() -> None:
    scheduler, pipe = Scheduler(), Pipe(1e6, 0.01)
    scheduler.connected(3.0)
    pipe.drive(scheduler, 20.0)
    assert scheduler.trip_s < 0.3
    assert scheduler.frame_bytes < 2 * 1e6 * REQUEST_S


def test_small_requests_say_nothing_of_large_ones_but_how_long_the_way_is() -> None:
    scheduler = Scheduler()
    scheduler.connected(0.01)
    size = scheduler.frame_bytes
    for second in range(50):
        scheduler.replied(second + 0.5, second, 100, 0, live_only=True)
    assert scheduler.frame_bytes == size
    assert scheduler.trip_s > 0.4


def test_history_is_guaranteed_a_quarter_and_gets_what_live_leaves() -> None:
    scheduler = Scheduler()
    whole = scheduler.raw_bytes(Queue.HISTORY)
    assert scheduler.history_share(0) == whole
    assert scheduler.history_share(100) > 0.99 * whole
    much = scheduler.raw_bytes(Queue.LIVE)
    assert scheduler.history_share(100 * much) == pytest.approx(whole / 4, rel=0.01)
    assert scheduler.live_share(history=False) == much
    assert scheduler.live_share(history=True) == pytest.approx(much * 3 / 4, rel=0.01)


def test_one_request_is_never_more_work_than_its_bound() -> None:
    scheduler = Scheduler()
    scheduler.connected(0.001)
    for second in range(10):
        scheduler.encoded(Queue.HISTORY, 10**9, 10)
        scheduler.replied(second + 0.002, second, 4 << 20, 0, live_only=False)
    assert scheduler.raw_bytes(Queue.HISTORY) == RAW_BYTES_MAX
    live = scheduler.live_share(history=True)
    assert live + scheduler.history_share(live) <= RAW_BYTES_MAX + 1


def test_bytes_of_the_log_follow_what_they_become_on_the_link() -> None:
    scheduler = Scheduler()
    for _ in range(30):
        scheduler.encoded(Queue.HISTORY, 12_000, 1000)
    assert scheduler.raw_bytes(Queue.HISTORY, 1000) == pytest.approx(12_000, rel=0.02)


def test_a_budget_bounds_the_request_while_it_holds() -> None:
    scheduler = Scheduler()
    before = scheduler.frame_bytes
    scheduler.bound(10e3)
    assert scheduler.frame_bytes == FRAME_BYTES_MIN
    scheduler.bound(None)
    assert scheduler.frame_bytes == before


def test_a_failure_halves_and_a_long_way_holds_a_bounded_number() -> None:
    scheduler = Scheduler()
    before = scheduler.frame_bytes
    scheduler.failed()
    assert scheduler.frame_bytes == before // 2
    for _ in range(40):
        scheduler.failed()
    assert scheduler.frame_bytes == FRAME_BYTES_MIN
    scheduler.connected(60.0)
    assert not scheduler.may_send(IN_FLIGHT_MAX, 0)


def test_live_data_is_gathered_longer_where_the_parent_takes_its_time() -> None:
    scheduler = Scheduler()
    scheduler.connected(0.2)
    for second in range(30):
        scheduler.replied(second + 0.21, second, 900, 0, live_only=True)
    assert scheduler.live_every_s == LIVE_EVERY_S
    scheduler.trip_s = 0.0
    for second in range(30, 60):
        scheduler.replied(second + 0.9, second, 9000, 9000, live_only=True)
        scheduler.trip_s = 0.0
    assert scheduler.live_every_s == LIVE_EVERY_S_MAX


def test_at_a_full_parent_one_live_request_waits_and_not_two() -> None:
    scheduler = Scheduler()
    scheduler.connected(0.01)
    for second in range(8):
        scheduler.replied(second + 5.0, float(second), 200, 0, live_only=True)
    assert scheduler.may_send(0, 0)
    assert not scheduler.may_send(1, 200)
    for second in range(20, 40):
        scheduler.replied(second + 0.02, float(second), 200, 0, live_only=True)
    assert scheduler.may_send(1, 200)
