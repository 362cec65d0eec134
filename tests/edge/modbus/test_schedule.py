"""When devices are polled, and when a silent unit is asked again."""

from __future__ import annotations

from mainstem_edge.modbus.schedule import Schedule
from mainstem_edge.modbus.unit import BACKOFF_S_MAX, Unit

SECOND = 10**9
NOW = 1_792_540_800 * SECOND


def test_polls_are_at_multiples_and_nothing_drifts() -> None:
    schedule = Schedule([2 * SECOND], NOW + 1)
    times = []
    now = NOW + 1
    for late in (0, 5, 900_000_000, 1):
        number, rest = schedule.next(now)
        now += rest + late
        times.append(now - late - NOW)
        schedule.polled(number, now)
    assert times == [each * SECOND for each in (2, 4, 6, 8)]
    assert schedule.missed == 0


def test_what_was_missed_is_not_made_up_for() -> None:
    schedule = Schedule([SECOND], NOW)
    number, rest = schedule.next(NOW)
    assert rest == 0
    schedule.polled(number, NOW + 3 * SECOND + 1)
    assert schedule.missed == 3
    assert schedule.next(NOW + 3 * SECOND + 1) == (0, SECOND - 1)


def test_who_has_waited_longest_is_next() -> None:
    """A line that cannot keep up polls all of its devices, less often."""
    schedule = Schedule([SECOND, SECOND, SECOND], NOW)
    now, polled = NOW, []
    for _ in range(9):
        number, rest = schedule.next(now)
        now += max(rest, 0)
        polled.append(number)
        now += 900_000_000  # a poll takes that long
        schedule.polled(number, now)
    assert sorted(polled[:3]) == sorted(polled[3:6]) == sorted(polled[6:9]) == [0, 1, 2]


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    schedule = Schedule([3600 * SECOND, SECOND], NOW + 1)
    earlier = NOW - 3300 * SECOND
    assert schedule.next(earlier)[1] <= SECOND


def test_a_unit_that_is_silent_is_held_back() -> None:
    schedule = Schedule([SECOND, SECOND], NOW)
    schedule.polled(schedule.next(NOW)[0], NOW, 8 * SECOND)
    assert schedule.next(NOW) == (1, 0)
    schedule.polled(1, NOW)
    assert schedule.next(NOW + SECOND) == (1, 0)
    assert schedule.missed == 0


def test_the_pauses_of_a_silent_unit_grow_to_a_bound() -> None:
    unit = Unit(1)
    assert unit.hold_s(0.0) == 0.0
    pauses = []
    for _ in range(20):
        unit.failed(0.0)
        pauses.append(unit.hold_s(0.0))
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == BACKOFF_S_MAX
    assert unit.hold_s(BACKOFF_S_MAX + 1) == 0.0
    unit.answered()
    assert unit.is_alive
    assert unit.hold_s(0.0) == 0.0
