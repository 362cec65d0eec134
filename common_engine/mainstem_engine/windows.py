"""Rows, grouped by device and window of time, become *pieces*; pieces of a group become one.

1. A piece says of some rows of one device in one window how many there are, and of each measurement
   the count, extremes, total, first and last value that is not null, as far as somebody asked.
2. Pieces can be merged in any order and number: of equal groups the counts and totals are added,
   extremes compared, the earliest first and the latest last kept (of one time, the lowest device).
3. NaN is the greatest value, as in SQL: the maximum where it occurs, the minimum only where nothing
   else does. Extremes are 0.0 rather than -0.0, and the one canonical NaN: rows and statistics
   give the same bits. Totals of integers are exact: they are kept as two halves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.merge import Index, is_strictly_sorted, key_order, run_starts
from mainstem_engine.model import (
    AnyArray,
    BoolMask,
    Column,
    ColumnType,
    DeviceIds,
    TimesNs,
    VersionedRows,
)

COUNT, MIN, MAX, SUM, MEAN, FIRST, LAST = FUNCTIONS = (
    "count", "min", "max", "sum", "mean", "first", "last"
)  # fmt: skip

ROWS = "*"
"""In place of a measurement: the rows themselves, which can only be counted."""
ALL_TIMES = 0
"""The window of an answer that has no windows."""
LEAST_NS = -(2**63)
"""The first time that there is."""
LOW_BITS = np.int64(32)
_LOW_MASK = np.int64(0xFFFFFFFF)

Counts = npt.NDArray[np.int64]


def window_of(times: TimesNs, every_ns: int | None) -> TimesNs:
    """Start of the window of each time; windows are aligned to the epoch. The very first one has
    the first time that there is: it begins before."""
    if every_ns is None:
        return np.full(len(times), ALL_TIMES, np.int64)
    # A division by a constant is several times faster than a remainder.
    window: TimesNs = times // every_ns * every_ns
    if len(times) and is_in_first_window(int(times.min()), every_ns):
        window[window > times] = LEAST_NS
    return window


def is_in_first_window(time_ns: int, every_ns: int) -> bool:
    """True for times whose window begins before the first time that there is."""
    return time_ns < LEAST_NS + every_ns and time_ns // every_ns * every_ns < LEAST_NS


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of one measurement. ``functions``: of FUNCTIONS; the count always comes."""

    type: ColumnType
    functions: frozenset[str]

    @property
    def extremes(self) -> bool:
        return bool(self.functions & {MIN, MAX})

    @property
    def total(self) -> bool:
        return bool(self.functions & {SUM, MEAN})

    @property
    def ends(self) -> bool:
        return bool(self.functions & {FIRST, LAST})


@dataclass(slots=True)
class Values:
    """One measurement, parallel to the pieces. Where ``count`` is 0 the others mean nothing; where
    nobody asked they are None. ``total``: float64[p], for integers int64[p, 2] (high, low half)."""

    count: Counts
    low: AnyArray | None = None
    high: AnyArray | None = None
    total: AnyArray | None = None
    first: AnyArray | None = None
    first_ns: TimesNs | None = None
    last: AnyArray | None = None
    last_ns: TimesNs | None = None

    def arrays(self) -> tuple[AnyArray | None, ...]:
        """All of them, in the order of the fields."""
        return (
            self.count, self.low, self.high, self.total,
            self.first, self.first_ns, self.last, self.last_ns,
        )  # fmt: skip


@dataclass(slots=True)
class Pieces:
    """p pieces: ``device`` uint32, ``window`` int64 ns, ``rows`` int64 each; values by measurement
    id. ``begin_ns`` and ``end_ns``: times of the first and the last row."""

    device: DeviceIds
    window: TimesNs
    rows: Counts
    begin_ns: TimesNs
    end_ns: TimesNs
    values: dict[int, Values] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.window)

    def take(self, some: BoolMask) -> Pieces:
        """Some of them; themselves when that is all."""
        if some.all():
            return self
        values = {
            key: Values(*(None if array is None else array[some] for array in each.arrays()))  # type: ignore[arg-type]
            for key, each in self.values.items()
        }
        return Pieces(
            self.device[some],
            self.window[some],
            self.rows[some],
            self.begin_ns[some],
            self.end_ns[some],
            values,
        )


# Rows


def pieces_of_rows(
    rows: VersionedRows, every_ns: int | None, wanted: Mapping[int, Wanted]
) -> Pieces:
    """One piece per device and window. ``rows``: merged and sorted, at least one."""
    window = window_of(rows.time, every_ns)
    starts = run_starts(rows.device, window)
    ends = np.append(starts[1:], len(rows))
    pieces = Pieces(
        rows.device[starts],
        window[starts],
        ends - starts,
        rows.time[starts],
        rows.time[ends - 1],
    )
    for key, want in wanted.items():
        column = rows.columns.get(key)
        pieces.values[key] = (
            no_values(want, len(starts))
            if column is None
            else values_of_rows(column, rows.time, starts, pieces.rows, want)
        )
    return pieces


def no_values(want: Wanted, count: int) -> Values:
    """Of a measurement that has no value anywhere."""
    zeros = np.zeros(count, np.int64)
    empty = np.zeros(count, want.type.dtype)
    values = Values(zeros)
    if want.extremes:
        values.low = values.high = empty
    if want.total:
        values.total = _as_total(zeros if is_exact(want.type) else zeros.astype(np.float64))
    if want.ends:
        values.first = values.last = empty
        values.first_ns = values.last_ns = zeros
    return values


def is_exact(kind: ColumnType) -> bool:
    """True for types whose totals are integers."""
    return not kind.is_float


def values_of_rows(
    column: Column, time: TimesNs, starts: Index, rows: Counts, want: Wanted
) -> Values:
    """One measurement of groups of neighbouring rows: group k has ``rows[k]`` > 0 of them, from row
    ``starts[k]`` up to the next group. ``time`` may be empty unless first or last is asked."""
    values, count = column.values, rows
    if column.valid is not None:
        count = np.add.reduceat(column.valid, starts, dtype=np.int64)
        values, time = values[column.valid], time[column.valid] if want.ends else time
        starts = np.cumsum(count) - count
    if column.valid is None or count.all():
        return _reduced_values(values, time, starts, count, want)
    found = no_values(want, len(starts))
    found.count = count
    some = np.flatnonzero(count)
    if len(some):
        there = _reduced_values(values, time, starts[some], count[some], want)
        for name in Values.__slots__[1:]:
            results = getattr(there, name)
            if results is not None:
                setattr(found, name, _spread(getattr(found, name), some, results))
    return found


def _reduced_values(
    values: AnyArray, time: TimesNs, begin: Index, count: Counts, want: Wanted
) -> Values:
    """Of groups that follow one another and have a value each."""
    found = Values(count)
    is_each = len(begin) == len(values)
    if want.extremes and is_each:
        found.low = found.high = canonical(values)
    elif want.extremes:
        found.low = canonical(_reduced(np.fmin, values, begin))
        found.high = canonical(_reduced(np.maximum, values, begin))
    if want.total and is_each:
        found.total = _as_total(values.astype(np.float64) if want.type.is_float else values)
    elif want.total:
        found.total = _totals(values, begin, want.type)
    if want.ends:
        end = begin + count - 1
        found.first, found.first_ns = values[begin], time[begin]
        found.last, found.last_ns = values[end], time[end]
    return found


def _spread(into: AnyArray, some: Index, results: AnyArray) -> AnyArray:
    """``into`` with the results of the pieces ``some``."""
    spread = into.copy()
    spread[some] = results
    return spread


def _reduced(operation: np.ufunc, values: AnyArray, begin: Index) -> AnyArray:
    if values.dtype == np.bool_:
        return _reduced(operation, values.astype(np.int8), begin).astype(np.bool_)
    result: AnyArray = operation.reduceat(values, begin)
    return result


def canonical(extremes: AnyArray) -> AnyArray:
    """0.0 for -0.0 and one NaN for all of them: == knows no difference, bits do."""
    if extremes.dtype.kind != "f":
        return extremes
    found: AnyArray = extremes + extremes.dtype.type(0)
    found[np.isnan(found)] = np.nan
    return found


def _totals(values: AnyArray, begin: Index, kind: ColumnType) -> AnyArray:
    if not is_exact(kind):
        # Infinities of both signs make NaN, which is the sum that SQL gives too.
        with np.errstate(invalid="ignore", over="ignore"):
            total: AnyArray = np.add.reduceat(values.astype(np.float64, copy=False), begin)
            return total
    return np.add.reduceat(_as_total(values), begin, axis=0)


def _as_total(values: AnyArray) -> AnyArray:
    """float64[n] as it is; integers as (high, low) halves, sums of which never overflow."""
    if values.dtype.kind == "f":
        return values
    wide = values if values.dtype.itemsize == 8 else values.astype(np.int64)
    high = (wide >> wide.dtype.type(LOW_BITS)).astype(np.int64)
    low = (wide & wide.dtype.type(_LOW_MASK)).astype(np.int64)
    return np.stack([high, low], axis=1)


def totals_of(statistics_total: AnyArray) -> AnyArray:
    """Sums of blocks as a part states them, as totals of pieces."""
    return _as_total(statistics_total)


def float_totals(total: AnyArray) -> npt.NDArray[np.float64]:
    """Totals as DOUBLE."""
    if total.ndim == 1:
        return total
    halves: npt.NDArray[np.float64] = total[:, 0] * 2.0 ** int(LOW_BITS) + total[:, 1]
    return halves


# Merging


def merged(pieces: Sequence[Pieces], *, by_device: bool) -> Pieces:
    """One piece per group, sorted by device and window, or by window alone."""
    whole = joined(pieces)
    group = whole.device if by_device else np.zeros(len(whole), np.uint32)
    if is_strictly_sorted(group, whole.window):
        return whole
    order = key_order(group, whole.window)
    starts = run_starts(group[order], whole.window[order])
    result = Pieces(
        whole.device[order][starts],
        whole.window[order][starts],
        np.add.reduceat(whole.rows[order], starts),
        np.minimum.reduceat(whole.begin_ns[order], starts),
        np.maximum.reduceat(whole.end_ns[order], starts),
    )
    for key, values in whole.values.items():
        result.values[key] = _merged_values(values, whole.device, order, starts)
    return result


def _merged_values(values: Values, device: DeviceIds, order: Index, starts: Index) -> Values:
    count = values.count[order]
    result = Values(np.add.reduceat(count, starts))
    # Pieces without a value take no part.
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    there = count > 0
    index, group = order[there], group[there]
    begin = np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(group) else group
    some = group[begin]

    def spread(results: AnyArray) -> AnyArray:
        if len(some) == len(starts):
            return results
        into = np.zeros((len(starts), *results.shape[1:]), results.dtype)
        into[some] = results
        return into

    def reduced(operation: np.ufunc, source: AnyArray | None) -> AnyArray | None:
        if source is None:
            return None
        some_values = source[index]
        return spread(_reduced(operation, some_values, begin) if len(begin) else some_values)

    with np.errstate(invalid="ignore", over="ignore"):
        result.low = reduced(np.fmin, values.low)
        result.high = reduced(np.maximum, values.high)
        result.total = reduced(np.add, values.total)
    if values.first is not None and values.first_ns is not None:
        early = index[np.lexsort((device[index], values.first_ns[index], group))[begin]]
        result.first = spread(values.first[early])
        result.first_ns = spread(values.first_ns[early])
    if values.last is not None and values.last_ns is not None:
        late = index[np.lexsort((device[index], -values.last_ns[index], group))[begin]]
        result.last = spread(values.last[late])
        result.last_ns = spread(values.last_ns[late])
    return result


def joined(pieces: Sequence[Pieces]) -> Pieces:
    """All of them, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    result = Pieces(
        np.concatenate([piece.device for piece in pieces]),
        np.concatenate([piece.window for piece in pieces]),
        np.concatenate([piece.rows for piece in pieces]),
        np.concatenate([piece.begin_ns for piece in pieces]),
        np.concatenate([piece.end_ns for piece in pieces]),
    )
    for key in pieces[0].values:
        columns = zip(*(piece.values[key].arrays() for piece in pieces), strict=True)
        result.values[key] = Values(*(_concatenated(arrays) for arrays in columns))
    return result


def _concatenated(arrays: Sequence[AnyArray | None]) -> Any:
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if present else None
