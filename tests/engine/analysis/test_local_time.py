"""Local times of arrays beside what zoneinfo says of each."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.local_time import (
    NS_PER_DAY,
    CalendarStep,
    Duration,
    LocalTime,
    add_saturated,
)

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Havana",
    "Africa/Casablanca",
)
YEARS = st.integers(946_684_800, 1_893_456_000)
"""Seconds from 2000 to 2030."""


@settings(max_examples=60)
@given(zone=st.sampled_from(ZONES), seconds=st.lists(YEARS, min_size=1, max_size=20))
def test_there_and_back_as_zoneinfo_says(zone: str, seconds: list[int]) -> None:
    local = zoneinfo.ZoneInfo(zone)
    moments = np.array(sorted(seconds), np.int64) * 10**9
    span = LocalTime(local, int(moments[0]), int(moments[-1]))
    expected = []
    back = []
    for second in sorted(seconds):
        wall = dt.datetime.fromtimestamp(second, dt.UTC).astimezone(local)
        read_as_utc = wall.replace(tzinfo=dt.UTC)
        expected.append((read_as_utc - EPOCH) // dt.timedelta(seconds=1) * 10**9)
        back.append(round(wall.replace(fold=0).timestamp()) * 10**9)
    assert span.of(moments).tolist() == expected
    wide = LocalTime(local, int(moments[0]) - NS_PER_DAY, int(moments[-1]) + NS_PER_DAY)
    assert wide.moment(np.array(expected, np.int64)).tolist() == back


def test_a_skipped_local_time_takes_the_offset_before() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    skipped = dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.UTC)
    around = round(skipped.timestamp()) * 10**9
    span = LocalTime(berlin, around - NS_PER_DAY, around + NS_PER_DAY)
    found = span.moment(np.array([around], np.int64))
    assert found[0] == round(skipped.replace(tzinfo=berlin).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("start", "months", "reached"),
    [
        ("2020-01-31", 1, "2020-02-29"),
        ("2021-01-31", 1, "2021-02-28"),
        ("2021-01-31", 2, "2021-03-31"),
        ("2021-05-31", -3, "2021-02-28"),
        ("1969-12-31", 2, "1970-02-28"),
        ("2021-12-15", 13, "2023-01-15"),
        ("2020-11-30", 1, "2020-12-31"),
        ("2020-11-29", 1, "2020-12-29"),
        ("2020-02-29", 12, "2021-02-28"),
        ("2021-01-30", 1, "2021-02-28"),
        ("2021-01-30", 2, "2021-03-30"),
    ],
)
def test_months_keep_the_day_where_there_is_one(start: str, months: int, reached: str) -> None:
    span = LocalTime(dt.UTC, 0, 0)
    moment = np.array([np.datetime64(start, "ns")]).astype(np.int64)
    found = span.add(moment, CalendarStep.of(Duration(months, 0)))
    assert str(found.astype("M8[ns]")[0])[:10] == reached


def test_whole_days_are_days_of_the_calendar_and_hours_are_not() -> None:
    assert CalendarStep.of(Duration(0, 2 * NS_PER_DAY)) == CalendarStep(0, 2, 0)
    assert CalendarStep.of(Duration(1, NS_PER_DAY // 2)) == CalendarStep(1, 0, NS_PER_DAY // 2)


def test_24_hours_are_no_day() -> None:
    assert CalendarStep.of(Duration(0, NS_PER_DAY, is_exact=True)) == CalendarStep(0, 0, NS_PER_DAY)
    assert not Duration(0, NS_PER_DAY, is_exact=True).is_local


def test_sums_are_held_at_the_ends() -> None:
    ends = np.array([-(2**63) + 1, 0, 2**63 - 2], np.int64)
    assert add_saturated(ends, 10).tolist() == [-(2**63) + 11, 10, 2**63 - 1]
    assert add_saturated(ends, -10).tolist() == [-(2**63), -10, 2**63 - 12]
