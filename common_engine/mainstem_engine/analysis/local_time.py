"""Local time of a zone for whole arrays: there, back, and calendar steps.

1. The changes of a zone's offset within a span are looked up once; arrays are then converted by
   binary search, without a call per value.
2. A local time that a clock change skips or repeats takes the offset before the change.
3. A step of months keeps the day of the month, clamped to the length of the month that it reaches;
   the last day of a month stays the last. A step of days keeps the time of day. The rest is added
   exactly.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import TimesNs

Counts = npt.NDArray[np.int64]

NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S
CLOCK_CHANGE_NS = 3 * 3600 * NS_PER_S
"""No change of a zone's clock makes a day longer or shorter by more."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SAMPLE_S = 7 * 86_400
"""Offsets are looked up week by week: no zone changes its clock and back within one."""
_TIME_MIN, _TIME_MAX = -(2**63), 2**63 - 1
"""Edges of windows may lie beyond the first and last time of a row."""


class Duration(NamedTuple):
    """Months, which have no fixed length, and nanoseconds. ``is_exact``: so many nanoseconds are
    meant even if they make whole days, as in 24h. Plain tuples are taken as well."""

    months: int
    ns: int
    is_exact: bool = False

    @property
    def is_local(self) -> bool:
        """True for months and whole days: steps of the calendar, 23 to 25 hours a day."""
        return self.months > 0 or (self.ns % NS_PER_DAY == 0 and not self.is_exact)


Span = tuple[int, int] | tuple[int, int, bool]
"""A ``Duration`` as a plain tuple."""


@dataclass(frozen=True, slots=True)
class CalendarStep:
    """Months, whole days and the rest in ns, as they are added to a local time. Numbers, or arrays
    beside the moments that they are added to."""

    months: int | Counts
    days: int | Counts
    rest_ns: int | Counts

    @classmethod
    def of(cls, duration: Span) -> CalendarStep:
        """Nanoseconds that are whole days, and not exact, are days of the calendar."""
        months, ns, is_exact = Duration(*duration)
        days, rest_ns = divmod(ns, NS_PER_DAY)
        return cls(months, 0, ns) if rest_ns or is_exact else cls(months, days, 0)

    def times(self, count: Counts) -> CalendarStep:
        """``count`` steps at once, so that a clamped day of the month is not passed on."""
        return CalendarStep(self.months * count, self.days * count, self.rest_ns * count)

    def plus(self, other: CalendarStep) -> CalendarStep:
        return CalendarStep(
            self.months + other.months, self.days + other.days, self.rest_ns + other.rest_ns
        )


class LocalTime:
    """The local time of ``zone`` for moments from ``low_ns`` to ``high_ns``; beyond them, the
    offset at the nearer end holds."""

    def __init__(self, zone: dt.tzinfo, low_ns: int, high_ns: int) -> None:
        changes, offsets = offset_changes(zone, low_ns // NS_PER_S, -(-high_ns // NS_PER_S))
        self._changes: TimesNs = np.array(changes, np.int64) * NS_PER_S
        self._offsets: TimesNs = np.array(offsets, np.int64) * NS_PER_S
        # Up to the later of the two readings of a change, the offset before it holds.
        self._turns = self._changes + np.maximum(self._offsets[:-1], self._offsets[1:])

    @property
    def is_fixed(self) -> bool:
        """True when no change of the clock lies in the span."""
        return len(self._changes) == 0

    def of(self, moments: TimesNs) -> TimesNs:
        """int64[n]: local ns since 1970 of UTC ns."""
        if self.is_fixed:
            return add_saturated(moments, self._offsets[0])
        at = np.searchsorted(self._changes, moments, "right")
        return add_saturated(moments, self._offsets[at])

    def moment(self, local: TimesNs) -> TimesNs:
        """int64[n]: UTC ns of local ns."""
        if self.is_fixed:
            return add_saturated(local, -self._offsets[0])
        at = np.searchsorted(self._turns, local, "right")
        return add_saturated(local, -self._offsets[at])

    def add(self, moments: TimesNs, step: CalendarStep) -> TimesNs:
        """Moments one step later (rule 3)."""
        if np.any(step.months) or np.any(step.days):
            local = self.of(moments)
            day: Counts = local // NS_PER_DAY
            in_day = local - day * NS_PER_DAY
            if np.any(step.months):
                day = add_months(day, step.months)
            moments = self.moment(add_saturated(days_ns(day + step.days), in_day))
        return add_saturated(moments, step.rest_ns)


def months_of_days(days: Counts) -> Counts:
    """The month since January 1970 in which each day since 1970-01-01 lies."""
    months: Counts = days.astype("M8[D]").astype("M8[M]").astype(np.int64)
    return months


def days_of_months(months: Counts) -> Counts:
    """The first day of each month."""
    days: Counts = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    return days


def add_months(days: Counts, months: int | Counts) -> Counts:
    """Days some months later (rule 3)."""
    month = months_of_days(days)
    first, after = days_of_months(month), days_of_months(month + 1)
    reached = days_of_months(month + months)
    longest = days_of_months(month + months + 1) - reached - 1
    of_month = np.where(days == after - 1, longest, np.minimum(days - first, longest))
    found: Counts = reached + of_month
    return found


def days_ns(days: Counts) -> TimesNs:
    """Nanoseconds of days, held at the ends of int64."""
    return multiply_saturated(days, NS_PER_DAY)


def add_saturated(moments: TimesNs, addend: int | np.int64 | TimesNs) -> TimesNs:
    """The sum, held at the ends of int64 instead of wrapping."""
    summed = moments + addend
    high = np.less(summed, moments) & np.greater(addend, 0)
    low = np.greater(summed, moments) & np.less(addend, 0)
    held: TimesNs = np.where(high, _TIME_MAX, np.where(low, _TIME_MIN, summed))
    return held


def multiply_saturated(counts: Counts, factor: int) -> TimesNs:
    """The product with a positive factor, held at the ends of int64."""
    if factor == 1:
        return counts
    bound = _TIME_MAX // factor
    if len(counts) == 0 or (int(counts.min()) >= -bound and int(counts.max()) <= bound):
        return counts * factor
    product = np.clip(counts, -bound, bound) * factor
    held: TimesNs = np.where(
        counts > bound, _TIME_MAX, np.where(counts < -bound, _TIME_MIN, product)
    )
    return held


def offset_changes(zone: dt.tzinfo, low_s: int, high_s: int) -> tuple[list[int], list[int]]:
    """Seconds at which the offset of a zone changes within a span, and the offsets in seconds
    before, between and after."""
    offsets = [_offset_s(zone, low_s)]
    changes: list[int] = []
    if isinstance(zone, dt.timezone):
        return changes, offsets
    before = low_s
    while before < high_s:
        after = min(before + _SAMPLE_S, high_s)
        if _offset_s(zone, after) != offsets[-1]:
            changes.append(_change(zone, before, after))
            offsets.append(_offset_s(zone, after))
        before = after
    return changes, offsets


def _change(zone: dt.tzinfo, before: int, after: int) -> int:
    """The first second with the later offset."""
    old = _offset_s(zone, before)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset_s(zone, middle) == old:
            before = middle
        else:
            after = middle
    return after


def _offset_s(zone: dt.tzinfo, second: int) -> int:
    moment = (_EPOCH + dt.timedelta(seconds=second)).astimezone(zone)
    return (moment.utcoffset() or dt.timedelta(0)) // dt.timedelta(seconds=1)
