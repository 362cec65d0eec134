"""The budget of a link: hours, zones, silence, and that the mean is never above the rate."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_sync.sending.budget import (
    PACKET_OVERHEAD,
    REQUEST_OVERHEAD_BYTES,
    SAVED_S,
    LinkBudget,
    LinkWindow,
)
from mainstem_sync.testing.nodes import ManualClock

NS = 1_000_000_000
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
WORK = LinkWindow.parse("mon-fri", "08:00", "18:00", "Europe/Berlin", 256_000)


def at(text: str, zone: zoneinfo.ZoneInfo = BERLIN) -> ManualClock:
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=zone)
    return ManualClock(now_ns=int(moment.timestamp()) * NS)


def budget(clock: ManualClock, rate: float | None, *windows: LinkWindow) -> LinkBudget:
    return LinkBudget(rate, windows, clock_ns=clock.wall, monotonic=clock.monotonic)


@pytest.mark.parametrize(
    ("moment", "rate"),
    [
        ("2026-11-20 07:59", 125_000),  # a Friday
        ("2026-11-20 08:00", 32_000),
        ("2026-11-20 17:59", 32_000),
        ("2026-11-20 18:00", 125_000),
        ("2026-11-21 12:00", 125_000),  # a Saturday
        ("2026-07-20 08:00", 32_000),  # summer time: another hour in UTC
    ],
)
def test_hours_are_those_of_the_zone(moment: str, rate: float) -> None:
    assert budget(at(moment), 125_000, WORK).bytes_per_s() == rate


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    night = LinkWindow.parse("fri", "22:00", "06:00", "Europe/Berlin", 0)
    assert budget(at("2026-11-20 23:00"), None, night).bytes_per_s() == 0
    assert budget(at("2026-11-21 05:59"), None, night).bytes_per_s() == 0
    assert budget(at("2026-11-21 06:00"), None, night).bytes_per_s() is None
    assert budget(at("2026-11-20 05:00"), None, night).bytes_per_s() is None


def test_the_first_window_that_fits_counts() -> None:
    lunch = LinkWindow.parse("mon-sun", "12:00", "13:00", "Europe/Berlin", 8)
    assert budget(at("2026-11-20 12:30"), None, lunch, WORK).bytes_per_s() == 1
    assert budget(at("2026-11-20 12:30"), None, WORK, lunch).bytes_per_s() == 32_000


@given(
    days=st.sampled_from(["mon", "sat-mon", "mon-fri", "tue,thu", "mon-sun"]),
    start=st.integers(0, 1439),
    length=st.integers(1, 1440),
    minute=st.integers(0, 7 * 1440 - 1),
)
def test_windows_beside_a_list_of_all_minutes(
    days: str, start: int, length: int, minute: int
) -> None:
    """In UTC, where every week has the same minutes."""
    end = start + length
    window = LinkWindow.parse(days, _clock(start), _clock((end - 1) % 1440 + 1), "UTC", 0)
    inside = {(day * 1440 + at) % (7 * 1440) for day in window.days for at in range(start, end)}
    monday = dt.datetime(2026, 11, 16, tzinfo=dt.UTC)
    assert window.contains(monday + dt.timedelta(minutes=minute)) == (minute in inside)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def test_silence_says_when_it_begins_and_ends() -> None:
    clock = at("2026-11-20 21:30")
    quiet = budget(
        clock,
        None,
        LinkWindow.parse("fri", "22:00", "24:00", "Europe/Berlin", 0),
        LinkWindow.parse("sat", "00:00", "06:30", "Europe/Berlin", 0),
    )
    night = (at("2026-11-20 22:00").now_ns, at("2026-11-21 06:30").now_ns)
    assert quiet.wait_s() == 0
    assert quiet.next_silence_ns() == night
    clock.advance(3600)
    assert quiet.wait_s() == float("inf")
    assert quiet.next_silence_ns() == (clock.now_ns, night[1])
    clock.advance(8 * 3600)
    assert quiet.wait_s() == 0
    assert quiet.next_silence_ns() == tuple(time + 7 * 86_400 * NS for time in night)


def test_silence_that_never_ends_lasts_for_days() -> None:
    always = LinkWindow.parse("mon-sun", "00:00", "24:00", "UTC", 0)
    clock = at("2026-11-20 23:30")
    silence = budget(clock, None, always).next_silence_ns()
    assert silence is not None
    assert silence[0] == clock.now_ns < silence[1]
    assert budget(clock, 1000, WORK).next_silence_ns() is None


def test_the_end_of_a_silence_where_clocks_are_changed() -> None:
    """On 2026-10-25 the hour from 2 to 3 is there twice."""
    night = LinkWindow.parse("sun", "00:00", "04:00", "Europe/Berlin", 0)
    clock = at("2026-10-25 00:30")
    silence = budget(clock, None, night).next_silence_ns()
    assert silence is not None
    assert silence[1] - clock.now_ns == 4.5 * 3600 * NS


@given(
    rate=st.integers(1_000, 1_000_000),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 100_000)), max_size=50),
)
def test_the_mean_is_never_above_the_rate(rate: int, steps: list[tuple[float, int]]) -> None:
    clock = at("2026-11-21 12:00")
    limited = budget(clock, rate)
    begun, carried, largest = clock.monotonic(), 0.0, 0.0
    for pause, size in steps:
        clock.advance(pause)
        if limited.wait_s() == 0:
            limited.sent(size)
            cost = size * PACKET_OVERHEAD + REQUEST_OVERHEAD_BYTES
            carried, largest = carried + cost, max(largest, cost)
    allowed = rate * (clock.monotonic() - begun + SAVED_S) + largest
    assert carried <= allowed * (1 + 1e-9) + 1


def test_waiting_as_long_as_it_says_is_enough_and_no_longer() -> None:
    clock = at("2026-11-21 12:00")
    limited = budget(clock, 10_000)
    limited.sent(50_000)
    wait_s = limited.wait_s()
    assert wait_s == pytest.approx((50_000 * PACKET_OVERHEAD + REQUEST_OVERHEAD_BYTES) / 10_000)
    clock.advance(wait_s * 0.99)
    assert limited.wait_s() > 0
    clock.advance(wait_s * 0.011)
    assert limited.wait_s() == 0


def test_no_limit_never_waits() -> None:
    clock = at("2026-11-21 12:00")
    free = budget(clock, None)
    free.sent(10**9)
    assert free.wait_s() == 0


@pytest.mark.parametrize("days", ["", "monday", "mon-"])
def test_days_that_are_none(days: str) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        LinkWindow.parse(days, "08:00", "18:00", "UTC", 8)
