"""Times and durations in text."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import SqlError, SqlSyntaxError
from mainstem_engine.sql.times import (
    engine_zone,
    format_time,
    parse_duration_ns,
    parse_time_ns,
    parse_zone,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01 00:00:01.5", 1_500_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("1970-01-01T08:00:00+08:00", 0),
        ("1970-01-01T05:30:00+0530", 0),
        ("1970/1/1 1:02", 3_720_000_000_000),
        ("2026-10-03T06:00:00Z", 1_791_007_200_000_000_000),
    ],
)
def test_a_literal_is_read_to_the_nanosecond(text: str, expected: int) -> None:
    assert parse_time_ns(text, dt.UTC) == expected


def test_a_literal_without_zone_is_read_in_the_zone_of_the_request() -> None:
    berlin = parse_zone("Europe/Berlin")
    assert parse_time_ns("1970-01-01 01:00", berlin) == 0
    assert parse_time_ns("1970-01-01T01:00:00Z", berlin) == 3600 * 10**9


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-02-30", "12:00", "1e3"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(SqlSyntaxError, match="not a time"):
        parse_time_ns(text, dt.UTC)


@given(st.integers(TIME_MIN_NS, TIME_MAX_NS), st.sampled_from(["UTC", "Asia/Kolkata", "+08:00"]))
def test_what_is_written_can_be_read(value_ns: int, zone_name: str) -> None:
    zone = parse_zone(zone_name)
    assert parse_time_ns(format_time(value_ns, zone, 1), dt.UTC) == value_ns


def test_digits_follow_the_precision() -> None:
    assert format_time(1_500_000_001, dt.UTC, 10**6) == "1970-01-01T00:00:01.500Z"
    assert format_time(-1, dt.UTC, 1) == "1969-12-31T23:59:59.999999999Z"
    assert format_time(0, parse_zone("-03:00"), 10**3) == "1969-12-31T21:00:00.000000-03:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90 * 10**9), ("20ms", 20 * 10**6), ("1d", 86_400 * 10**9), ("3u", 3_000), ("7", 7)],
)
def test_durations_have_the_units_of_both_peers(text: str, expected: int) -> None:
    assert parse_duration_ns(text, bare_unit="ns") == expected


@pytest.mark.parametrize("text", ["", "s", "1.5h", "1 fortnight", "5"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(SqlSyntaxError, match="duration"):
        parse_duration_ns(text)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "+25:00", "../../etc/passwd", "/etc/passwd"])
def test_unknown_zones_are_refused(name: str) -> None:
    with pytest.raises(SqlError, match="time zone"):
        parse_zone(name)


def test_offsets_have_a_name_for_the_executing_database() -> None:
    assert engine_zone("+08:00") == "Etc/GMT-8"
    assert engine_zone("-0300") == "Etc/GMT+3"
    assert engine_zone("z") == "UTC"
    with pytest.raises(SqlError, match="whole hours"):
        engine_zone("+05:30")
