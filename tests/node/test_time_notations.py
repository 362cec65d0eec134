"""Times of a column: one notation for all of it, and instants that agree with datetime's."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_node.time_notations import (
    NS_PER_S,
    TimeFormatError,
    TimeReader,
    TimeSurvey,
    reader_for,
    rfc3339,
    zone_named,
)

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moments(first: str, last: str) -> st.SearchStrategy[dt.datetime]:
    """Clock readings without a zone."""
    return st.datetimes(dt.datetime.fromisoformat(first), dt.datetime.fromisoformat(last))


def decided(cells: list[str]) -> str:
    survey = TimeSurvey()
    for cell in cells:
        survey.see(cell)
    return survey.decide().notation


def instant(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    ("cells", "notation"),
    [
        (["2024-02-08 13:30:47", "2024-02-08T13:30:48Z"], "iso"),
        (["2012/01/01"], "iso"),
        (["01/02/2018 00:15", "13/02/2018 00:15"], "dmy"),
        (["01/02/2018 00:15", "02/13/2018 00:15"], "mdy"),
        (["13.02.2018"], "dmy"),
        (["1700000000", "1700000001.5"], "s"),
        (["1700000000000"], "ms"),
        (["1700000000000000"], "us"),
        (["1700000000000000000"], "ns"),
        # No cell above 12: day-first runs on from hour to hour, month-first jumps back.
        (["11/01/2018 23:00", "12/01/2018 00:00", "01/02/2018 00:00"], "dmy"),
        (["01/11/2018 23:00", "01/12/2018 00:00", "02/01/2018 00:00"], "mdy"),
    ],
)
def test_the_whole_column_decides_the_notation(cells: list[str], notation: str) -> None:
    assert decided(cells) == notation


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([], "no times"),
        (["Weekday"], "'Weekday'"),
        (["2024-01-01", "1700000000"], "mixes"),
        (["13/01/2018", "01/13/2018"], "neither"),
        (["01/02/2018 00:15", "01/02/2018 00:30"], "no cell says"),
    ],
)
def test_an_undecidable_column_says_why(cells: list[str], reason: str) -> None:
    with pytest.raises(TimeFormatError, match=reason):
        decided(cells)


@given(moments("1900-01-01", "2200-01-01"))
@settings(max_examples=60)
def test_every_notation_gives_the_instant_that_datetime_gives(moment: dt.datetime) -> None:
    expected = instant(moment.replace(tzinfo=dt.UTC))
    assert TimeReader("iso").read(moment.isoformat()) == expected
    assert TimeReader("iso").read(moment.isoformat(" ") + "+00:00") == expected
    assert TimeReader("iso").read(rfc3339(expected)) == expected
    whole = expected - expected % NS_PER_S
    assert TimeReader("dmy").read(moment.strftime("%d/%m/%Y %H:%M:%S")) == whole
    assert TimeReader("mdy").read(moment.strftime("%m/%d/%Y %H:%M:%S")) == whole
    assert TimeReader("mdy").read(moment.strftime("%m/%d/%Y %I:%M:%S %p")) == whole
    assert TimeReader("%Y%m%d%H%M%S").read(moment.strftime("%Y%m%d%H%M%S")) == whole
    assert TimeReader("us").read(str(expected // 1000)) == expected
    assert TimeReader("ns").read(str(expected)) == expected


@given(
    moments("2000-01-01", "2030-01-01"),
    st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Asia/Seoul", "UTC"]),
)
@settings(max_examples=60)
def test_a_time_without_a_zone_is_read_in_the_zone_given(moment: dt.datetime, zone: str) -> None:
    expected = instant(moment.replace(tzinfo=ZoneInfo(zone)))
    assert TimeReader("iso", zone_named(zone)).read(moment.isoformat()) == expected


def test_a_zone_in_the_cell_wins_over_the_zone_given() -> None:
    berlin = zone_named("Europe/Berlin")
    assert TimeReader("iso", berlin).read("2024-07-01T12:00:00-03:30") == instant(
        dt.datetime(2024, 7, 1, 15, 30, tzinfo=dt.UTC)
    )


def test_the_end_of_a_day_may_be_written_as_24() -> None:
    reader = TimeReader("iso")
    assert reader.read("2024-02-28 24:00") == reader.read("2024-02-29 00:00")


@pytest.mark.parametrize(
    "cell",
    ["2024-02-30", "2024-13-01", "2024-01-01 24:01", "2024-01-01 12:61", "2024-01-01 13:00 pm",
     "2024/01-01", "", "now"],
)  # fmt: skip
def test_what_is_not_a_time_is_refused(cell: str) -> None:
    with pytest.raises(TimeFormatError):
        TimeReader("iso").read(cell)


def test_instants_are_written_with_no_more_digits_than_they_need() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_500_000_000) == "1970-01-01T00:00:01.5Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59.999999999Z"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TimeFormatError, match="nor a pattern"):
        reader_for("ymd")
    with pytest.raises(TimeFormatError, match="no time zone"):
        zone_named("Mars/Olympus")
