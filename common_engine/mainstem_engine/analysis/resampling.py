"""Signals of different clocks on one grid: ALIGN(EVERY step).

1. The grid is multiples of the step since 1970, in local time for steps of days and months; a cell
   goes from one moment to the next.
2. ``PREVIOUS`` holds the last value at or before a moment, unless it is older than its limit.
3. ``LINEAR`` is the value on the line between the numbers around a moment, unless these are further
   apart than the limit. It never goes beyond the first and last number.
4. ``RATE`` is for counters, which only rise: the mean rise per second within the cell that begins
   at the moment, with a straight line between readings. A lower reading than the one before means
   that the counter began again at zero. So rates times lengths of cells add up to the whole rise,
   whatever the clock of the counter. A cell that readings do not cover is null.
5. Nulls are no values. Nothing crosses from one partition to another.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.analysis.local_time import NS_PER_DAY, CalendarStep, Duration, LocalTime
from mainstem_engine.analysis.neighbours import is_number, on_line, rows_around
from mainstem_engine.analysis.rows import Mask, Signal, Timeline
from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.model import TimesNs

Numbers = npt.NDArray[np.float64]

CELLS_MAX = 10_000_000
"""Cells of all partitions; a column of them takes 80 MB."""
NS_PER_S = 1_000_000_000
_MONDAY_NS = 4 * NS_PER_DAY
"""The first Monday after 1970-01-01, a Thursday: steps of whole weeks begin there."""


@dataclass(frozen=True, slots=True)
class Grid:
    """``edges``: int64[n + 1], ns, ascending: the moments, and the end of the last cell."""

    edges: TimesNs

    @property
    def moments(self) -> TimesNs:
        """int64[n]."""
        return self.edges[:-1]


def make_grid(start_ns: int, end_ns: int, step: Duration, zone: dt.tzinfo = dt.UTC) -> Grid:
    """The multiples of ``step`` in [start, end). Raises SqlError for months with days,
    SqlLimitError above CELLS_MAX."""
    months, step_ns, _ = step
    if months and step_ns:
        raise SqlError(
            "ALIGN takes months or a length, not both", field="ALIGN", hint="write 1mo, or 30d"
        )
    shortest_ns = months * 28 * NS_PER_DAY or step_ns
    if (end_ns - start_ns) // shortest_ns > CELLS_MAX:
        raise SqlLimitError(
            f"ALIGN makes more than {CELLS_MAX} moments",
            hint="use a longer step, or narrow the statement by time",
        )
    if end_ns <= start_ns:
        return Grid(np.zeros(1, np.int64))
    if step.is_local:
        return Grid(_calendar_edges(start_ns, end_ns, step, zone))
    first = -(-start_ns // step_ns)
    past = -(-end_ns // step_ns)
    return Grid(np.arange(first, past + 1, dtype=np.int64) * step_ns)


def _calendar_edges(start_ns: int, end_ns: int, step: Duration, zone: dt.tzinfo) -> TimesNs:
    """Local midnights; steps of months begin on the first of one."""
    months, step_ns, _ = step
    # Two steps more on each side: the clock of the zone moves edges by some hours.
    margin_ns = 2 * (months * 31 * NS_PER_DAY or step_ns)
    local = LocalTime(zone, start_ns - margin_ns, end_ns + margin_ns)
    days = local.of(np.array([start_ns, end_ns], np.int64)) // NS_PER_DAY
    if months:
        low, high = (int(m) for m in days.astype("M8[D]").astype("M8[M]").astype(np.int64))
        numbers = np.arange(low // months - 1, high // months + 3, dtype=np.int64)
        origin = np.zeros(len(numbers), np.int64)
    else:
        width = step_ns // NS_PER_DAY
        shift = _MONDAY_NS // NS_PER_DAY if width % 7 == 0 else 0
        low, high = (int(day) - shift for day in days)
        numbers = np.arange(low // width - 1, high // width + 3, dtype=np.int64)
        origin = np.full(len(numbers), shift * NS_PER_DAY, np.int64)
    # Reckoned on a clock without a zone, and only then read in it.
    plain = LocalTime(dt.UTC, 0, 0)
    edges = local.moment(plain.add(origin, CalendarStep.of(step).times(numbers)))
    inside = (edges >= start_ns) & (edges < end_ns)
    if not inside.any():
        return np.zeros(1, np.int64)
    last = int(np.flatnonzero(inside)[-1])
    inside[last + 1] = True
    found: TimesNs = edges[inside]
    return found


def hold(timeline: Timeline, signal: Signal, grid: Grid, limit_ns: int | None) -> Signal:
    """PREVIOUS: values of any type, n per partition."""
    rows, _ = rows_around(timeline, np.flatnonzero(signal.mask()), grid.moments)
    if limit_ns is not None and len(timeline):
        moments = np.tile(grid.moments, timeline.partitions)
        age = moments - timeline.times[np.maximum(rows, 0)]
        rows = np.where(age <= limit_ns, rows, -1)
    return signal.take(rows)


def line(timeline: Timeline, signal: Signal, grid: Grid, limit_ns: int | None) -> Signal:
    """LINEAR: int64 or float64, n per partition. Raises SqlError for other types."""
    _check_number(signal, "LINEAR")
    moments = np.tile(grid.moments, timeline.partitions)
    before, after = rows_around(timeline, np.flatnonzero(signal.mask()), grid.moments)
    between = (before >= 0) & (after >= 0)
    if limit_ns is not None and len(timeline):
        gap = timeline.times[np.maximum(after, 0)] - timeline.times[np.maximum(before, 0)]
        between &= gap <= limit_ns
    values = np.zeros(len(moments), signal.values.dtype)
    values[between] = on_line(
        signal.values, timeline.times, before[between], after[between], moments[between]
    )
    return Signal(values, between)


def rate(timeline: Timeline, signal: Signal, grid: Grid, limit_ns: int | None) -> Signal:
    """RATE: float64, per second, n per partition. Raises SqlError for other types."""
    _check_number(signal, "RATE")
    seconds = np.diff(grid.edges) / NS_PER_S
    rates: list[Numbers] = []
    covered: list[Mask] = []
    for low, high in itertools.pairwise(timeline.bounds.tolist()):
        present = low + np.flatnonzero(signal.mask()[low:high])
        reached, is_covered = _counted(
            timeline.times[present], signal.values[present].astype(np.float64), grid, limit_ns
        )
        rates.append(np.diff(reached) / seconds)
        covered.append(is_covered)
    if not rates:
        return Signal(np.zeros(0, np.float64))
    return Signal(np.concatenate(rates), np.concatenate(covered))


METHODS: dict[str, Callable[[Timeline, Signal, Grid, int | None], Signal]] = {
    "PREVIOUS": hold,
    "LINEAR": line,
    "RATE": rate,
}
"""By their names in ALIGN."""


def default_method(signal: Signal, preferred: str | None = None) -> str:
    """The preferred one where it can be; else LINEAR for floats, PREVIOUS for all others."""
    if preferred is not None:
        return preferred if is_number(signal) else "PREVIOUS"
    return "LINEAR" if signal.values.dtype.kind == "f" else "PREVIOUS"


def _counted(
    times: TimesNs, readings: Numbers, grid: Grid, limit_ns: int | None
) -> tuple[Numbers, Mask]:
    """How far the counter has gone since its first reading at each edge, float64[n + 1], and which
    of the n cells are covered by readings that are not further apart than the limit."""
    edges = grid.edges
    if len(times) < 2:
        return np.zeros(len(edges)), np.zeros(len(edges) - 1, np.bool_)
    rises = np.diff(readings)
    rises = np.where(rises < 0, readings[1:], rises)
    gone = np.concatenate(([0.0], np.cumsum(rises)))
    # Times since the first reading are exact as float64 for 104 days of ns, and to 1e-16 beyond.
    reached: Numbers = np.interp(
        (edges - times[0]).astype(np.float64), (times - times[0]).astype(np.float64), gone
    )
    is_covered = (edges[:-1] >= times[0]) & (edges[1:] <= times[-1])
    if limit_ns is not None:
        too_far = np.concatenate(([0], np.cumsum(np.diff(times) > limit_ns)))
        first = np.searchsorted(times, edges[:-1], "right") - 1
        last = np.searchsorted(times, edges[1:], "left")
        inside = np.clip(np.stack((first, last)), 0, len(times) - 1)
        is_covered &= too_far[inside[1]] == too_far[inside[0]]
    return reached, is_covered


def _check_number(signal: Signal, method: str) -> None:
    if not is_number(signal):
        raise SqlError(
            f"ALIGN cannot make {method} of a text, boolean or time",
            field="ALIGN",
            hint="use PREVIOUS for states",
        )
