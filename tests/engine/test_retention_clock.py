"""The clock of retention under jumps, drift and restarts."""

from __future__ import annotations

from mainstem_engine.retention_clock import SECOND_NS, RetentionClock
from mainstem_engine.testing.clock import FakeClock

HOUR_NS = 3600 * SECOND_NS
YEAR_NS = 365 * 24 * HOUR_NS
START_NS = 1_790_000_000 * SECOND_NS


class Clocks:
    """A wall clock and a monotonic clock that usually go together."""

    def __init__(self) -> None:
        self.wall = FakeClock(START_NS)
        self.monotonic = FakeClock(0)

    def open(self) -> RetentionClock:
        return RetentionClock(self.wall, self.monotonic)

    def elapse(self, ns: int) -> None:
        self.wall.advance(ns)
        self.monotonic.advance(ns)


def test_time_that_passes_on_both_clocks_counts() -> None:
    clocks = Clocks()
    clock = clocks.open()
    clocks.elapse(YEAR_NS)
    assert clock.now_ns() == START_NS + YEAR_NS
    assert not clock.statistics().paused


def test_a_forward_step_pauses_until_it_is_confirmed() -> None:
    clocks = Clocks()
    clock = clocks.open()
    clocks.wall.advance(YEAR_NS)
    assert clock.now_ns() == START_NS
    clocks.elapse(HOUR_NS)
    assert clock.now_ns() == START_NS
    statistics = clock.statistics()
    assert statistics.paused
    assert statistics.ahead_ns == YEAR_NS
    clock.confirm()
    assert clock.now_ns() == START_NS + YEAR_NS + HOUR_NS
    assert not clock.statistics().paused


def test_a_step_that_is_taken_back_ends_the_pause() -> None:
    clocks = Clocks()
    clock = clocks.open()
    clocks.wall.advance(YEAR_NS)
    assert clock.now_ns() == START_NS
    clocks.elapse(HOUR_NS)
    clocks.wall.advance(-YEAR_NS)
    assert clock.now_ns() == START_NS + HOUR_NS
    assert not clock.statistics().paused


def test_1970_expires_nothing_and_the_return_is_no_step() -> None:
    clocks = Clocks()
    clock = clocks.open()
    clocks.wall.advance(-START_NS)
    assert clock.now_ns() == 0
    clocks.elapse(HOUR_NS)
    assert clock.now_ns() == HOUR_NS
    clocks.wall.advance(START_NS)
    assert clock.now_ns() == START_NS + HOUR_NS
    assert not clock.statistics().paused


def test_a_wrong_first_time_protects_nothing_later() -> None:
    clocks = Clocks()
    clocks.wall.advance(12 * YEAR_NS)
    clock = clocks.open()
    clocks.wall.advance(-12 * YEAR_NS)
    assert clock.now_ns() == START_NS
    clocks.wall.advance(11 * YEAR_NS)
    assert clock.now_ns() == START_NS
    assert clock.statistics().paused


def test_small_steps_add_up_to_a_large_one() -> None:
    clocks = Clocks()
    clock = clocks.open()
    clocks.wall.advance(50 * SECOND_NS)
    assert clock.now_ns() == START_NS
    assert not clock.statistics().paused
    clocks.wall.advance(50 * SECOND_NS)
    assert clock.now_ns() == START_NS
    assert clock.statistics().paused


def test_drift_is_followed() -> None:
    clocks = Clocks()
    clock = clocks.open()
    for _ in range(1000):
        clocks.elapse(HOUR_NS)
        clocks.wall.advance(SECOND_NS)
        clock.now_ns()
    assert clock.now_ns() >= clocks.wall() - 2 * SECOND_NS
    assert not clock.statistics().paused


def test_a_restart_within_one_boot_goes_on() -> None:
    clocks = Clocks()
    section = clocks.open().snapshot()
    clocks.elapse(7 * 24 * HOUR_NS)
    clock = clocks.open()
    clock.restore(section)
    assert clock.now_ns() == START_NS + 7 * 24 * HOUR_NS
    assert not clock.statistics().paused


def test_a_restart_after_a_reboot_waits_for_somebody_who_knows() -> None:
    clocks = Clocks()
    clocks.elapse(HOUR_NS)
    section = clocks.open().snapshot()
    clocks.wall.advance(12 * YEAR_NS)
    clocks.monotonic.now_ns = 0
    clock = clocks.open()
    clock.restore(section)
    assert clock.now_ns() == START_NS + HOUR_NS
    assert clock.statistics().paused
    clock.confirm(START_NS + 2 * HOUR_NS)
    assert clock.now_ns() == START_NS + 2 * HOUR_NS
    assert clock.statistics().paused
    clock.confirm()
    assert clock.now_ns() == START_NS + HOUR_NS + 12 * YEAR_NS


def test_a_quick_reboot_agrees_by_itself() -> None:
    clocks = Clocks()
    clocks.elapse(HOUR_NS)
    section = clocks.open().snapshot()
    clocks.wall.advance(40 * SECOND_NS)
    clocks.monotonic.now_ns = 0
    clock = clocks.open()
    clock.restore(section)
    assert not clock.statistics().paused
