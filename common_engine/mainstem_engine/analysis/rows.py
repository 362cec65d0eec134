"""Rows in order of time, in partitions, and what is made of them.

1. A *timeline* is the times of some rows: sorted by partition, then ascending by time. Two rows of
   a partition may have one time when they come from several devices.
2. A *signal* is a column beside a timeline (or beside windows, or points). ``valid`` False means
   null; the value there means nothing.
3. *Windows* are runs of rows of one partition. They may overlap, and may be empty.
4. *Points* are times with values that a function made of each partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray, TimesNs

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Timeline:
    """``times``: int64[n], ns since 1970. ``bounds``: int64[p + 1], ascending from 0 to n: the rows
    of partition i are ``bounds[i]:bounds[i + 1]``."""

    times: TimesNs
    bounds: Positions

    def __len__(self) -> int:
        return len(self.times)

    @property
    def partitions(self) -> int:
        return len(self.bounds) - 1

    def partition_of_rows(self) -> Positions:
        """int64[n]."""
        return np.repeat(np.arange(self.partitions, dtype=np.int64), np.diff(self.bounds))

    def is_first(self) -> Mask:
        """bool[n]: True for the first row of each partition."""
        first = np.zeros(len(self.times), np.bool_)
        starts = self.bounds[:-1]
        first[starts[starts < self.bounds[1:]]] = True
        return first


@dataclass(frozen=True, slots=True)
class Signal:
    """``values``: int64, float64, bool or object (str, bytes) [n], in points also uint64.
    ``valid``: bool[n], None: all. ``is_time``: the integers are times in ns."""

    values: AnyArray
    valid: Mask | None = None
    is_time: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def mask(self) -> Mask:
        """bool[n]: where there is a value."""
        return np.ones(len(self.values), np.bool_) if self.valid is None else self.valid

    def numbers(self) -> npt.NDArray[np.float64]:
        """float64[n], NaN where null. Raises TypeError for text."""
        if self.values.dtype == object:
            raise TypeError("a number is needed, this is text")
        numbers = self.values.astype(np.float64)
        if self.valid is not None:
            numbers[~self.valid] = np.nan
        return numbers

    def take(self, rows: Positions) -> Signal:
        """The values of some rows; those of negative positions are null."""
        missing = rows < 0
        safe = np.where(missing, 0, rows)
        if len(self.values) == 0:
            values = np.zeros(len(rows), self.values.dtype)
            return Signal(values, np.zeros(len(rows), np.bool_), self.is_time)
        valid = self.mask()[safe] & ~missing
        return Signal(self.values[safe], None if valid.all() else valid, self.is_time)


def positions(begin: Positions, end: Positions) -> Positions:
    """The positions of each stretch ``begin[i]:end[i]``, one after the other."""
    lengths = end - begin
    offsets = np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
    found: Positions = np.arange(int(lengths.sum()), dtype=np.int64) + offsets
    return found


@dataclass(frozen=True, slots=True)
class Present:
    """The rows at which a signal has a value. ``rows``: int64[m], ascending positions;
    ``timeline``: of those rows alone; ``values``: [m]."""

    rows: Positions
    timeline: Timeline
    values: AnyArray

    def is_first(self) -> Mask:
        """bool[m]: True for the first value of each partition."""
        return self.timeline.is_first()


def present(timeline: Timeline, signal: Signal) -> Present:
    """The values of a signal that are not null; NaN is a value."""
    if signal.valid is None:
        return Present(np.arange(len(timeline), dtype=np.int64), timeline, signal.values)
    rows = np.flatnonzero(signal.valid)
    bounds = np.searchsorted(rows, timeline.bounds).astype(np.int64)
    return Present(rows, Timeline(timeline.times[rows], bounds), signal.values[rows])


@dataclass(frozen=True, slots=True)
class Windows:
    """The rows of window i are ``begin[i]:end[i]``, all of partition ``partition[i]``; windows are
    in order of partition, then of time. All int64[w]; times in ns.

    ``label_ns``: what ``time`` shows; ``start_ns`` and ``end_ns``: what ``_wstart`` and ``_wend``
    show. ``is_exclusive``: rows at ``end_ns`` belong to the next one (windows of time; a session
    ends with its last row). ``origin_ns`` and ``limit_ns``: for windows of time, the edges within
    which a function may count time, ``limit_ns`` excluded; None where windows are made of rows.
    """

    begin: Positions
    end: Positions
    partition: Positions
    label_ns: TimesNs
    start_ns: TimesNs
    end_ns: TimesNs
    is_exclusive: bool = False
    origin_ns: TimesNs | None = None
    limit_ns: TimesNs | None = None

    def __len__(self) -> int:
        return len(self.begin)

    def rows(self) -> Positions:
        """The rows of every window, one window after the other: int64[sum of their lengths]."""
        return positions(self.begin, self.end)

    def window_of_rows(self) -> Positions:
        """The window of each of ``rows()``."""
        return np.repeat(np.arange(len(self.begin), dtype=np.int64), self.end - self.begin)

    def take(self, which: Positions) -> Windows:
        """Some of the windows, by ascending position."""
        return Windows(
            self.begin[which],
            self.end[which],
            self.partition[which],
            self.label_ns[which],
            self.start_ns[which],
            self.end_ns[which],
            self.is_exclusive,
            None if self.origin_ns is None else self.origin_ns[which],
            None if self.limit_ns is None else self.limit_ns[which],
        )


def whole_partitions(timeline: Timeline) -> Windows:
    """One window per partition that has rows, from its first row to its last."""
    kept = np.flatnonzero(np.diff(timeline.bounds))
    begin, end = timeline.bounds[:-1][kept], timeline.bounds[1:][kept]
    start_ns, end_ns = timeline.times[begin], timeline.times[end - 1]
    return Windows(begin, end, kept, start_ns, start_ns, end_ns)


@dataclass(frozen=True, slots=True)
class Points:
    """``times``: int64[m], ascending in each partition; ``bounds`` as of a timeline. ``signals``:
    one per column of the function's answer. ``rows``: int64[m], the row of the input that each
    point is, None when points have times of their own."""

    times: TimesNs
    bounds: Positions
    signals: tuple[Signal, ...]
    rows: Positions | None = None


def points_of_rows(timeline: Timeline, rows: Positions, *signals: Signal) -> Points:
    """Points that are some rows (ascending positions) of the timeline, with new values."""
    bounds = np.searchsorted(rows, timeline.bounds).astype(np.int64)
    return Points(timeline.times[rows], bounds, signals, rows)


def points_of_pieces(pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]]) -> Points:
    """Points made partition by partition: (times, values of each signal); float NaN stays NaN."""
    lengths = [len(times) for times, _ in pieces]
    bounds = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    none = np.zeros(0, np.int64)
    times = np.concatenate([times for times, _ in pieces]) if pieces else none
    width = len(pieces[0][1]) if pieces else 1
    columns: list[Any] = [
        np.concatenate([values[i] for _, values in pieces]) if pieces else np.zeros(0)
        for i in range(width)
    ]
    return Points(times, bounds, tuple(Signal(column) for column in columns))
