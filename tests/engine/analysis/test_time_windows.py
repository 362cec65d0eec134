"""Windows of time beside models that look at each row and each window by itself."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.local_time import NS_PER_DAY
from mainstem_engine.analysis.rows import Timeline, Windows
from mainstem_engine.analysis.time_windows import interval_windows, range_windows
from mainstem_engine.errors import SqlError, SqlLimitError

from .timelines import partitions_of, rows_of, timeline, timelines

MS = 1_000_000
HOUR = 3_600_000 * MS
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def ns(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp()) * 1_000_000_000


def days(windows: Windows) -> list[str]:
    return [str(np.datetime64(int(label), "ns"))[:10] for label in windows.label_ns]


def test_every_window_of_a_range_is_there() -> None:
    line = timeline([1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 150], tick=MS)
    windows = range_windows(line, 5 * MS, 160 * MS, (0, 20 * MS))
    assert (windows.label_ns // MS).tolist() == [5, 25, 45, 65, 85, 105, 125, 145]
    assert (windows.end - windows.begin).tolist() == [3, 2, 1, 0, 1, 0, 0, 1]
    assert windows.end_ns[-1] == 160 * MS
    assert windows.is_exclusive


def test_windows_closed_on_the_right_are_labelled_by_their_end() -> None:
    line = timeline([1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100], tick=MS)
    windows = range_windows(line, 0, 600 * MS, (0, 30 * MS), (0, 5 * MS), is_right_closed=True)
    assert (windows.label_ns // MS).tolist()[3:8] == [45, 50, 55, 60, 65]
    assert (windows.end - windows.begin).tolist()[3:8] == [3, 3, 3, 2, 2]
    assert not windows.is_exclusive


def test_months_are_reckoned_from_the_start() -> None:
    day = [ns("2020-10-31") + i * NS_PER_DAY for i in range(152)]
    line = timeline(day)
    windows = range_windows(line, ns("2021-01-30"), ns("2021-03-31"), (1, 0))
    assert days(windows) == ["2021-01-30", "2021-02-28", "2021-03-30"]
    assert (windows.end - windows.begin).tolist() == [29, 30, 1]
    stepped = range_windows(line, ns("2020-10-31"), ns("2021-03-01"), (0, 10 * NS_PER_DAY), (1, 0))
    assert days(stepped)[1:] == ["2020-11-30", "2020-12-31", "2021-01-31", "2021-02-28"]
    assert (stepped.end - stepped.begin).tolist() == [10, 10, 10, 10, 1]


@pytest.mark.parametrize(
    ("start", "end", "width", "step", "sizes"),
    [
        ("2020-10-31", "2021-03-01", (1, 0), (1, 0), [30, 31, 31, 28, 1]),
        ("2021-01-31", "2021-03-31", (1, 0), (1, 0), [28, 31]),
        ("2020-10-31", "2021-03-01", (2, 0), (1, 0), [61, 62, 59, 29, 1]),
        (
            *("2020-10-31", "2021-03-01", (1, 0), (0, 10 * NS_PER_DAY)),
            [30, 30, 30, 31, 31, 31, 31, 31, 31, 30, 21, 11, 1],
        ),
        ("2020-11-01", "2021-03-01", (0, 10 * NS_PER_DAY), (2, 0), [10, 10]),
        ("2020-11-01", "2022-11-01", (12, 0), (6, 0), [151, 0, 0, 0]),
    ],
)
def test_windows_of_months(
    start: str, end: str, width: tuple[int, int], step: tuple[int, int], sizes: list[int]
) -> None:
    line = timeline([ns("2020-10-31") + i * NS_PER_DAY for i in range(152)])
    windows = range_windows(line, ns(start), ns(end), width, step)
    assert (windows.end - windows.begin).tolist() == sizes


def test_a_day_of_the_clock_change_has_23_or_25_hours() -> None:
    hours = [ns("2026-03-28T00:00") + i * HOUR for i in range(72)]
    line = timeline(hours)
    windows = interval_windows(line, (0, NS_PER_DAY), zone=BERLIN)
    length = (windows.end_ns - windows.start_ns) // HOUR
    assert length.tolist() == [24, 23, 24, 24]
    assert windows.start_ns[1] == ns("2026-03-28T23:00")
    for exact in ((0, 12 * HOUR), (0, NS_PER_DAY, True)):
        windows = interval_windows(line, exact, zone=BERLIN)
        assert set((windows.end_ns - windows.start_ns).tolist()) == {exact[1]}
    autumn = range_windows(
        line, ns("2026-10-24T22:00"), ns("2026-10-26T23:00"), (0, NS_PER_DAY), zone=BERLIN
    )
    assert ((autumn.end_ns - autumn.start_ns) // HOUR).tolist() == [25, 24]


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
@pytest.mark.parametrize("minutes", [90, 130, 150, 170, 200])
def test_rows_beside_a_clock_change_are_between_the_edges(day: str, minutes: int) -> None:
    # The start of a day may be a local time that is skipped, or one that comes twice.
    line = timeline([ns(day) + i * HOUR // 6 for i in range(6 * 48)])
    offset = (0, minutes * 60_000 * MS)
    windows = interval_windows(line, (0, NS_PER_DAY), offset=offset, zone=BERLIN)
    rows, which = windows.rows(), windows.window_of_rows()
    assert rows.tolist() == list(range(len(line)))
    assert (windows.start_ns[which] <= line.times[rows]).all()
    assert (line.times[rows] < windows.end_ns[which]).all()


def test_months_of_an_interval_start_in_the_zone() -> None:
    line = timeline([ns("2026-02-28T23:30"), ns("2026-03-31T22:30")])
    in_berlin = interval_windows(line, (1, 0), zone=BERLIN)
    assert [int(start) for start in in_berlin.start_ns] == [
        ns("2026-02-28T23:00"),
        ns("2026-03-31T22:00"),
    ]
    assert in_berlin.end_ns[0] == in_berlin.start_ns[1]
    years = interval_windows(line, (12, 0))
    assert [int(start) for start in years.start_ns] == [ns("2026-01-01")]


def test_one_row_is_in_every_sliding_window_that_holds_it() -> None:
    line = timeline([1500000001000], tick=MS)
    windows = interval_windows(line, (0, 24 * HOUR), sliding=(0, HOUR))
    assert len(windows) == 24
    assert (windows.end - windows.begin).tolist() == [1] * 24
    assert (np.diff(windows.start_ns) == HOUR).all()


def test_a_dense_interval_covers_the_span() -> None:
    line = timeline([7, 12], [])
    windows = interval_windows(line, (0, 5), is_dense=True, span=(0, 20))
    assert windows.label_ns.tolist() == [0, 5, 10, 15, 20] * 2
    assert windows.partition.tolist() == [0] * 5 + [1] * 5
    assert (windows.end - windows.begin).tolist() == [0, 1, 1, 0, 0] + [0] * 5
    by_rows = interval_windows(timeline([7, 31], []), (0, 5), is_dense=True)
    assert by_rows.label_ns.tolist() == [5, 10, 15, 20, 25, 30]


def test_an_offset_shifts_the_grid_and_auto_takes_it_from_the_range() -> None:
    line = timeline([0, 7, 9, 20])
    assert interval_windows(line, (0, 10), offset=(0, 8)).start_ns.tolist() == [-2, 8, 18]
    assert interval_windows(line, (0, 10), offset=(0, 18)).start_ns.tolist() == [-2, 8, 18]
    assert interval_windows(line, (0, 10), auto_ns=27).start_ns.tolist() == [-3, 7, 17]
    day = timeline([ns("2026-07-01T05:00"), ns("2026-07-01T04:00")][::-1])
    shifted = interval_windows(day, (0, NS_PER_DAY), auto_ns=ns("2026-03-01T05:30"), zone=BERLIN)
    # Half past six in winter is half past six in summer, one hour earlier in UTC.
    assert [int(start) for start in shifted.start_ns] == [
        ns("2026-06-30T04:30"),
        ns("2026-07-01T04:30"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": (0, 0)},
        {"width": (0, -5)},
        {"width": (0, 60), "sliding": (0, 0)},
        {"width": (0, 60), "sliding": (0, 120)},
        {"width": (0, 60 * NS_PER_DAY), "sliding": (3, 0)},
        {"width": (1, 5)},
        {"width": (12 * 5000, 0)},
        {"width": (0, 2**70)},
        {"width": (0, 60), "sliding": (0, 2**70)},
        {"width": (0, 60), "offset": (0, -(2**70))},
    ],
)
def test_intervals_that_make_no_sense_are_refused(arguments: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(SqlError):
        interval_windows(timeline([1]), **arguments)  # type: ignore[arg-type]


def test_ranges_that_make_no_sense_are_refused() -> None:
    line = timeline([1])
    with pytest.raises(SqlError, match="positive"):
        range_windows(line, 1, 30, (0, 0))
    with pytest.raises(SqlError, match="positive"):
        range_windows(line, 1, 30, (0, 5), (0, 0))
    with pytest.raises(SqlError, match="empty"):
        range_windows(line, 30, 30, (0, 5))
    with pytest.raises(SqlError, match="292 years"):
        range_windows(line, -(2**62), 2**62, (0, 5))


def test_windows_are_bounded() -> None:
    line = timeline([0, 10**18])
    with pytest.raises(SqlLimitError):
        range_windows(line, 0, 10**18, (0, 1))
    with pytest.raises(SqlLimitError):
        interval_windows(line, (12, 0), sliding=(0, 1))
    with pytest.raises(SqlLimitError):
        interval_windows(line, (0, 1), is_dense=True)
    assert len(interval_windows(line, (0, 1))) == 2


def test_the_ends_of_time_do_not_wrap() -> None:
    line = timeline([-(2**63) + NS_PER_DAY, 2**63 - NS_PER_DAY])
    for width in ((0, 7), (0, 10**18), (0, NS_PER_DAY), (1, 0), (0, 3 * NS_PER_DAY)):
        for sliding in (width, (0, max(width[1] // 2, 1)) if width[1] else width):
            windows = interval_windows(line, width, sliding=sliding, zone=BERLIN)
            assert (windows.start_ns <= windows.end_ns).all()
            assert {0, 1} <= set(windows.rows().tolist())


@settings(max_examples=60)
@given(
    line=timelines(),
    start=st.integers(-50, 40),
    length=st.integers(1, 80),
    width=st.integers(1, 30),
    step=st.integers(1, 30),
    right=st.booleans(),
)
def test_ranges_as_a_model_says(
    line: Timeline, start: int, length: int, width: int, step: int, right: bool
) -> None:
    stop = start + length
    windows = range_windows(line, start, stop, (0, width), (0, step), is_right_closed=right)
    expected = []
    for number, rows in enumerate(partitions_of(line)):
        for low in range(start, stop, step):
            high = min(low + width, stop)
            inside = [
                row
                for row in rows
                if (low < line.times[row] <= high if right else low <= line.times[row] < high)
            ]
            expected.append((number, high if right else low, inside))
    found = [
        (number, int(label), rows)
        for (number, rows), label in zip(rows_of(windows), windows.label_ns, strict=True)
    ]
    assert found == expected


@settings(max_examples=60)
@given(
    line=timelines(),
    width=st.integers(1, 40),
    sliding=st.integers(1, 40),
    offset=st.integers(-50, 50),
    dense=st.booleans(),
)
def test_intervals_as_a_model_says(
    line: Timeline, width: int, sliding: int, offset: int, dense: bool
) -> None:
    sliding = min(sliding, width)
    windows = interval_windows(
        line, (0, width), sliding=(0, sliding), offset=(0, offset), is_dense=dense
    )
    starts = sorted({offset + k * sliding for k in range(-400, 400)})
    expected = []
    for number, rows in enumerate(partitions_of(line)):
        times = [int(line.times[row]) for row in rows]
        for low in starts:
            inside = [row for row in rows if low <= line.times[row] < low + width]
            reaches = bool(times) and low <= times[-1] and low + width > times[0]
            if inside or (dense and reaches):
                expected.append((number, low, inside))
    found = [
        (number, int(label), rows)
        for (number, rows), label in zip(rows_of(windows), windows.label_ns, strict=True)
    ]
    assert found == expected


ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe")


@settings(max_examples=60)
@given(
    line=timelines(low=0, high=60 * 24, tick=HOUR, rows_max=40),
    zone=st.sampled_from(ZONES),
    unit=st.sampled_from([("D", 1), ("D", 3), ("M", 1), ("M", 3)]),
)
def test_calendar_intervals_as_python_says(
    line: Timeline, zone: str, unit: tuple[str, int]
) -> None:
    shift = ns("2026-02-20")
    line = Timeline(line.times + shift, line.bounds)
    local = zoneinfo.ZoneInfo(zone)
    letter, every = unit
    width = (every, 0) if letter == "M" else (0, every * NS_PER_DAY)
    windows = interval_windows(line, width, zone=local)

    def start_of(moment_ns: int) -> int:
        moment = dt.datetime.fromtimestamp(moment_ns // 10**9, dt.UTC).astimezone(local)
        if letter == "M":
            month = (moment.year * 12 + moment.month - 1 - 1970 * 12) // every * every
            day = dt.date(1970 + month // 12, month % 12 + 1, 1)
        else:
            number = (moment.date() - dt.date(1970, 1, 1)).days // every * every
            day = dt.date(1970, 1, 1) + dt.timedelta(days=number)
        start = dt.datetime.combine(day, dt.time(0), tzinfo=local)
        return round(start.timestamp()) * 10**9

    expected: list[tuple[int, int, list[int]]] = []
    for number, rows in enumerate(partitions_of(line)):
        for row in rows:
            start = start_of(int(line.times[row]))
            if not expected or expected[-1][:2] != (number, start):
                expected.append((number, start, []))
            expected[-1][2].append(row)
    found = [
        (number, int(start), rows)
        for (number, rows), start in zip(rows_of(windows), windows.start_ns, strict=True)
    ]
    assert found == expected
    assert (
        windows.start_ns[windows.partition == 0][1:] >= windows.end_ns[windows.partition == 0][:-1]
    ).all()
