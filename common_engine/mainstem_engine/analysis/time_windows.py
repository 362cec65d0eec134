"""Windows of time over a timeline: GROUP BY ([a, b), i, step) and INTERVAL(i, offset) SLIDING(s).

1. A *range* is anchored at its start. Window n starts n steps after it, and is reckoned from there,
   so that a clamped day of the month is not passed on; where steps are months, so is its end. Every
   window that starts in the range is there, empty or not, in every partition; the last ends with
   the range.
2. An *interval* lies on a grid: multiples of the step since 1970, shifted by the offset. Steps of
   months and of whole days are those of the calendar in the zone; all others are exact. Windows
   without rows are left out, unless they are asked for (``is_dense``).
3. Closed on the left, a window has its start and not its end; closed on the right, its end and not
   its start, and is labelled by its end.
4. Windows of one partition are found by binary search; no row is looked at one by one.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.analysis.local_time import (
    CLOCK_CHANGE_NS,
    NS_PER_DAY,
    CalendarStep,
    Counts,
    Duration,
    LocalTime,
    Span,
    add_saturated,
    days_ns,
    days_of_months,
    months_of_days,
    multiply_saturated,
)
from mainstem_engine.analysis.rows import Positions, Timeline, Windows
from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.model import TimesNs

WINDOWS_MAX = 4_000_000
"""Windows of one statement: their seven columns take 224 MB at most."""
_TIME_MIN = -(2**63)
_SPAN_MAX_NS = 2**63 - 1
"""Lengths of time are int64 as well."""
_MONTH_NS = 30 * NS_PER_DAY
"""A month where only sizes are compared."""


def range_windows(
    timeline: Timeline,
    start_ns: int,
    end_ns: int,
    width: Span,
    step: Span | None = None,
    *,
    zone: dt.tzinfo = dt.UTC,
    is_right_closed: bool = False,
) -> Windows:
    """Rule 1. ``width`` and ``step`` are durations. Raises SqlError for an empty range or a width
    or step that is not positive, SqlLimitError above WINDOWS_MAX."""
    if start_ns >= end_ns:
        raise SqlError(
            "the range of GROUP BY is empty", field="GROUP BY", hint="write ([start, end), i)"
        )
    width = Duration(*width)
    step = width if step is None else Duration(*step)
    _check_positive(width, "window")
    _check_positive(step, "step")
    if end_ns - start_ns + _longest_ns(width) + _longest_ns(step) > _SPAN_MAX_NS:
        raise SqlError(
            "GROUP BY spans more than 292 years", field="GROUP BY", hint="use a shorter range"
        )
    count = -(-(end_ns - start_ns) // _shortest_ns(step))
    _check_count(count * timeline.partitions)
    local = LocalTime(zone, start_ns, end_ns)
    numbers = np.arange(count, dtype=np.int64)
    origin = np.full(count, start_ns, np.int64)
    steps = CalendarStep.of(step).times(numbers)
    starts = local.add(origin, steps)
    starts = starts[starts < end_ns]
    if step.months:
        origin, numbers = origin[: len(starts)], numbers[: len(starts)]
        ends = local.add(origin, CalendarStep.of(step).times(numbers).plus(CalendarStep.of(width)))
    else:
        ends = local.add(starts, CalendarStep.of(width))
    ends = np.minimum(ends, end_ns)
    partition = np.repeat(np.arange(timeline.partitions, dtype=np.int64), len(starts))
    starts, ends = np.tile(starts, timeline.partitions), np.tile(ends, timeline.partitions)
    return _windows(timeline, partition, starts, ends, is_right_closed=is_right_closed)


def interval_windows(
    timeline: Timeline,
    width: Span,
    *,
    sliding: Span | None = None,
    offset: tuple[int, int] = (0, 0),
    auto_ns: int | None = None,
    zone: dt.tzinfo = dt.UTC,
    is_dense: bool = False,
    span: tuple[int | None, int | None] = (None, None),
) -> Windows:
    """Rule 2. ``auto_ns``: the grid is shifted so that a window starts there (INTERVAL(i, AUTO)).
    ``is_dense``: empty windows too, from the one of ``span[0]`` to that of ``span[1]``, inclusive;
    where an end is None, those of the partition's first or last row. Raises SqlError for widths
    that are not positive or a step above the width, SqlLimitError above WINDOWS_MAX."""
    width = Duration(*width)
    sliding = width if sliding is None else Duration(*sliding)
    _check_positive(width, "INTERVAL")
    _check_positive(sliding, "SLIDING")
    _check_span(Duration(abs(offset[0]), abs(offset[1])), "the offset of INTERVAL")
    if _nominal_ns(sliding) > _nominal_ns(width):
        raise SqlError(
            "SLIDING is longer than INTERVAL",
            field="SLIDING",
            hint="write GROUP BY ([a, b), interval, step) for windows with gaps between them",
        )
    # Zones are only asked of moments where a window can be: a WHERE may say any.
    asked = span if is_dense else ()
    known = [moment for moment in (*asked, auto_ns) if moment is not None]
    if len(timeline):
        known += [int(timeline.times.min()), int(timeline.times.max())]
    low, high = min(known, default=0), max(known, default=0)
    reach = _longest_ns(width) + _longest_ns(sliding)
    grid = _Grid(LocalTime(zone, low - reach, high + reach), sliding, offset)
    if auto_ns is not None:
        grid = grid.through(auto_ns)
    if is_dense:
        partition, cells = _dense_cells(timeline, grid, _overlap(width, sliding), span)
    elif width == sliding:
        return _adjacent_windows(timeline, grid)
    else:
        partition, cells = _cells_with_rows(timeline, grid, _overlap(width, sliding))
    starts = grid.starts(cells)
    ends = grid.ends(cells, starts, width)
    if width == sliding:
        # A clamped day of the month would leave a gap before the next window.
        ends = grid.starts(cells + 1)
    windows = _windows(timeline, partition, starts, ends)
    kept = windows.end > windows.begin
    if is_dense:
        first, last = _ends_of_partitions(timeline, span)
        kept |= (ends > first[partition]) & (starts <= last[partition])
    return windows if kept.all() else windows.take(np.flatnonzero(kept))


def segmented_search(
    timeline: Timeline, partition: Positions, moments: TimesNs, side: Any = "left"
) -> Positions:
    """The first row of its partition that each moment would stand before: int64[q], with the
    meaning of ``numpy.searchsorted``."""
    if timeline.partitions == 1:
        return np.searchsorted(timeline.times, moments, side).astype(np.int64)
    # One search over (partition, rank of time): both fit into one integer where times would not.
    ranked, ranks = np.unique(timeline.times, return_inverse=True)
    span = len(ranked) + 1
    keys = timeline.partition_of_rows() * span + ranks.reshape(-1)
    found = np.searchsorted(ranked, moments, side)
    return np.searchsorted(keys, partition * span + found, "left").astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Numbered cells of time, one step each, from start to start."""

    local: LocalTime
    step: Duration
    offset: tuple[int, int]

    def __post_init__(self) -> None:
        if self.step.months and self.step.ns:
            raise SqlError(
                "a step of months and days has no grid", field="INTERVAL", hint="write one unit"
            )

    @property
    def is_local(self) -> bool:
        """True for months and whole days: their edges are those of local time."""
        return self.step.is_local

    def through(self, moment_ns: int) -> _Grid:
        """The grid that has a start at this moment."""
        if not self.is_local:
            return _Grid(self.local, self.step, (0, moment_ns % self.step.ns))
        local = int(self.local.of(np.array([moment_ns], np.int64))[0])
        if not self.step.months:
            return _Grid(self.local, self.step, (0, local % self.step.ns))
        month = months_of_days(np.array([local // NS_PER_DAY], np.int64))
        rest = local - int(days_of_months(month)[0]) * NS_PER_DAY
        return _Grid(self.local, self.step, (int(month[0]) % self.step.months, rest))

    def cells(self, moments: TimesNs) -> Counts:
        """The cell of each moment."""
        found = self._plain_cells(self.local.of(moments) if self.is_local else moments)
        if self.is_local and not self.local.is_fixed:
            # Beside a change of the clock, local times repeat or are left out.
            found = np.where(self.starts(found + 1) <= moments, found + 1, found)
            found = np.where(self.starts(found) > moments, found - 1, found)
        return found

    def _plain_cells(self, moments: TimesNs) -> Counts:
        months, ns = self.step.months, self.step.ns
        if months:
            days = add_saturated(moments, -self.offset[1]) // NS_PER_DAY
            return (months_of_days(days) - self.offset[0]) // months
        shift = self.offset[1] % ns
        quotient, rest = np.divmod(moments, ns)
        return quotient - (rest < shift) - self._whole_offset()

    def _whole_offset(self) -> int:
        return self.offset[1] // self.step.ns if self.step.ns else 0

    def starts(self, cells: Counts) -> TimesNs:
        """UTC ns at which cells start."""
        months, ns = self.step.months, self.step.ns
        if months:
            local = days_ns(days_of_months(cells * months + self.offset[0]))
            return self.local.moment(add_saturated(local, self.offset[1]))
        local = add_saturated(multiply_saturated(cells, ns), self.offset[1])
        return self.local.moment(local) if self.is_local else local

    def ends(self, cells: Counts, starts: TimesNs, width: Duration) -> TimesNs:
        """UTC ns at which windows of a width end that start with cells."""
        ends = self.local.add(starts, CalendarStep.of(width))
        if not self.step.months and not width.months:
            # Those that start before the first time that there is, a few.
            for at in np.flatnonzero(starts == _TIME_MIN):
                end = int(cells[at]) * self.step.ns + self.offset[1] + width.ns
                ends[at] = max(end, _TIME_MIN)
        return ends


def _adjacent_windows(timeline: Timeline, grid: _Grid) -> Windows:
    """Windows that touch, and have rows: each row is in one."""
    cells = grid.cells(timeline.times)
    opens = timeline.is_first()
    opens[1:] |= cells[1:] != cells[:-1]
    begin = np.flatnonzero(opens)
    _check_count(len(begin))
    end = np.append(begin[1:], len(timeline))[: len(begin)]
    starts, ends = grid.starts(cells[begin]), grid.starts(cells[begin] + 1)
    partition = np.searchsorted(timeline.bounds, begin, "right") - 1
    return Windows(
        begin,
        end.astype(np.int64),
        partition.astype(np.int64),
        starts,
        starts,
        ends,
        is_exclusive=True,
        origin_ns=starts,
        limit_ns=ends,
    )


def _cells_with_rows(timeline: Timeline, grid: _Grid, overlap: int) -> tuple[Positions, Counts]:
    """Every (partition, cell) whose window may have a row: the cell of a row and those before."""
    cells = grid.cells(timeline.times)
    opens = timeline.is_first()
    opens[1:] |= cells[1:] != cells[:-1]
    rows = np.flatnonzero(opens)
    partition = np.searchsorted(timeline.bounds, rows, "right") - 1
    last = cells[rows]
    first = last - overlap + 1
    same = partition[1:] == partition[:-1]
    first[1:] = np.where(same, np.maximum(first[1:], last[:-1] + 1), first[1:])
    return _runs(partition.astype(np.int64), first, last)


def _dense_cells(
    timeline: Timeline, grid: _Grid, overlap: int, span: tuple[int | None, int | None]
) -> tuple[Positions, Counts]:
    """Every (partition, cell) between two moments."""
    low, high = _ends_of_partitions(timeline, span)
    some = low <= high
    partition = np.flatnonzero(some)
    first = grid.cells(low[some]) - overlap + 1
    return _runs(partition, first, grid.cells(high[some]))


def _ends_of_partitions(
    timeline: Timeline, span: tuple[int | None, int | None]
) -> tuple[TimesNs, TimesNs]:
    """The first and last moment of each partition; first above last where there is none."""
    begin, end = timeline.bounds[:-1], timeline.bounds[1:]
    some = end > begin
    low = np.full(timeline.partitions, 0 if span[0] is None else span[0], np.int64)
    high = np.full(timeline.partitions, 0 if span[1] is None else span[1], np.int64)
    if span[0] is None:
        low[some] = timeline.times[begin[some]]
    if span[1] is None:
        high[some] = timeline.times[end[some] - 1]
    if None in span:
        low[~some], high[~some] = 1, 0
    return low, high


def _runs(partition: Positions, first: Counts, last: Counts) -> tuple[Positions, Counts]:
    """All cells from first to last, inclusive, run after run."""
    lengths = np.maximum(last - first + 1, 0)
    # Added as floats: a sum that wraps would look small.
    _check_count(float(lengths.astype(np.float64).sum()))
    offsets = np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
    return np.repeat(partition, lengths), np.arange(int(lengths.sum()), dtype=np.int64) + offsets


def _windows(
    timeline: Timeline,
    partition: Positions,
    starts: TimesNs,
    ends: TimesNs,
    *,
    is_right_closed: bool = False,
) -> Windows:
    side = "right" if is_right_closed else "left"
    return Windows(
        segmented_search(timeline, partition, starts, side),
        segmented_search(timeline, partition, ends, side),
        partition,
        ends if is_right_closed else starts,
        starts,
        ends,
        is_exclusive=not is_right_closed,
        origin_ns=starts,
        limit_ns=ends,
    )


def _overlap(width: Duration, sliding: Duration) -> int:
    """How many windows may hold one moment."""
    if width == sliding:
        return 1
    return -(-_longest_ns(width) // _shortest_ns(sliding))


def _nominal_ns(duration: Duration) -> int:
    return duration.months * _MONTH_NS + duration.ns


def _shortest_ns(duration: Duration) -> int:
    """The least time that a step can take."""
    least = duration.months * 28 * NS_PER_DAY + duration.ns
    return least - (CLOCK_CHANGE_NS if duration.is_local else 0)


def _longest_ns(duration: Duration) -> int:
    most = duration.months * 31 * NS_PER_DAY + duration.ns
    return most + (CLOCK_CHANGE_NS if duration.is_local else 0)


def _check_positive(duration: Duration, what: str) -> None:
    if min(duration.months, duration.ns) < 0 or not (duration.months or duration.ns):
        raise SqlError(f"the length of {what} must be positive", field=what, hint="write 10s")
    _check_span(duration, what)


def _check_span(duration: Duration, what: str) -> None:
    if _longest_ns(duration) > _SPAN_MAX_NS:
        raise SqlError(f"{what} is longer than 292 years", field=what, hint="use a shorter one")


def _check_count(count: float) -> None:
    if count > WINDOWS_MAX:
        raise SqlLimitError(
            f"the statement makes more than {WINDOWS_MAX} windows",
            hint="narrow it by time, or use longer windows",
        )
