"""Shares and sizes of requests."""

from __future__ import annotations

from mainstem_sync.scheduler import RAW_BYTES_MAX, RAW_BYTES_MIN, Scheduler


def test_history_is_guaranteed_a_quarter_and_gets_all_when_alone() -> None:
    scheduler = Scheduler()
    size = scheduler.request_bytes
    assert scheduler.shares(live=True, history=True) == (size - size // 4, size // 4)
    assert scheduler.shares(live=True, history=False) == (size, 0)
    assert scheduler.shares(live=False, history=True) == (0, size)
    assert scheduler.shares(live=False, history=False) == (0, 0)


def test_the_size_follows_the_link() -> None:
    scheduler = Scheduler()
    for _ in range(20):
        scheduler.replied(0.01, scheduler.request_bytes)
    assert scheduler.request_bytes == RAW_BYTES_MAX
    scheduler.replied(1.0, RAW_BYTES_MAX)
    assert scheduler.request_bytes == RAW_BYTES_MAX
    for _ in range(20):
        scheduler.replied(10.0, scheduler.request_bytes)
    assert scheduler.request_bytes == RAW_BYTES_MIN
    scheduler.replied(0.01, 100)
    assert scheduler.request_bytes == RAW_BYTES_MIN, "a small request says nothing about large ones"
