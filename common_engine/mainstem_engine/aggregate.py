"""What a rollup row is, and how it is computed from rows.

The rollup of template T every 1m is the table ``T_1m``: per measurement m the columns ``m_count``,
``m_sum``, ``m_sumsq``, ``m_min``, ``m_max``, ``m_first``, ``m_first_time``, ``m_last`` and
``m_last_time``; TEXT and BLOB have only count, first, last and their times. A BOOLEAN counts as 0
or 1. The time of a row is the start of its window; windows are aligned to the epoch.

Nulls take no part. NaN is the greatest value, as in SQL: it is the maximum where it occurs, and the
minimum only where nothing else does. Sums of integers are exact before they become DOUBLE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.names import UNSEEN
from mainstem_engine.catalog.templates import Table
from mainstem_engine.merge import Index, run_starts
from mainstem_engine.model import (
    AnyArray,
    Column,
    ColumnType,
    DeviceIds,
    Measurement,
    Rows,
    Template,
    TimesNs,
)

_SAME_UNIT = frozenset({"sum", "min", "max", "first", "last"})
SUFFIXES = ("count", "sum", "sumsq", "min", "max", "first", "first_time", "last", "last_time")
"""What a rollup has of a measurement, see rollup_columns."""
_MERGES: Mapping[str, np.ufunc] = {
    "sum": np.add,
    "sumsq": np.add,
    "min": np.fmin,
    "max": np.maximum,
}
_EXACT_SUM = float(1 << 62)
"""Partial sums of integers below this fit int64 whatever their order."""


def rollup_template(source: Template, name: str, every_ns: int) -> Template:
    """The definition of the table ``<source>_<name>``, without what was dropped of the source."""
    measurements: list[Measurement] = []
    for measurement in source.measurements:
        if measurement.name.startswith(UNSEEN):
            continue
        for suffix, column_type in rollup_columns(measurement.type):
            unit = measurement.unit if suffix in _SAME_UNIT else None
            name_of_column = f"{measurement.name}_{suffix}"
            measurements.append(
                Measurement(len(measurements), name_of_column, column_type, unit=unit)
            )
    return Template(
        f"{source.name}_{name}",
        tuple(measurements),
        source.tags,
        rollup_of=source.name,
        every_ns=every_ns,
    )


def rollup_columns(column_type: ColumnType) -> list[tuple[str, ColumnType]]:
    """Suffixes and types of the columns that a measurement of this type gets."""
    value_type = ColumnType.INT8 if column_type == ColumnType.BOOLEAN else column_type
    columns = [("count", ColumnType.INT64)]
    if not column_type.is_variable:
        columns += [("sum", ColumnType.DOUBLE), ("sumsq", ColumnType.DOUBLE)]
        columns += [("min", value_type), ("max", value_type)]
    columns += [("first", value_type), ("first_time", ColumnType.TIMESTAMP)]
    columns += [("last", value_type), ("last_time", ColumnType.TIMESTAMP)]
    return columns


def aggregate_windows(rows: Rows, every_ns: int, source: Table, target: Table) -> Rows:
    """One row of ``target`` per device and window of ``rows`` (of ``source``, sorted, merged)."""
    window = rows.time - rows.time % every_ns
    starts = run_starts(rows.device, window)
    out = Rows(rows.device[starts], window[starts])
    for measurement in source.template.measurements:
        column = rows.columns.get(measurement.id)
        if column is None:
            column = Column(
                np.zeros(len(rows), measurement.type.dtype), np.zeros(len(rows), np.bool_)
            )
        groups = _Groups.of(column, rows.time, starts)
        for suffix, result in groups.columns(measurement.type):
            wanted = target.measurement(f"{measurement.name}_{suffix}")
            if wanted is not None:
                out.columns[wanted.id] = result
    return out


def merge_windows(rows: Rows, every_ns: int, source: Table, target: Table) -> Rows:
    """One row of the coarser rollup ``target`` per device and window of ``rows``, which are of the
    finer rollup ``source``, sorted and merged. Same rules: NaN is the greatest value, and windows
    without values take no part."""
    window = rows.time - rows.time % every_ns
    starts = run_starts(rows.device, window)
    out = Rows(rows.device[starts], window[starts])
    for base in rolled_up(target):
        columns = {
            suffix: rows.columns.get(known.id)
            for suffix in SUFFIXES
            if (known := source.measurement(f"{base}_{suffix}")) is not None
        }
        for suffix, result in _merged(columns, starts, len(rows)):
            wanted = target.measurement(f"{base}_{suffix}")
            if wanted is not None:
                out.columns[wanted.id] = result
    return out


def rolled_up(rollup: Table) -> list[str]:
    """The measurements of its source that a rollup table has columns for."""
    names = [m.name for m in rollup.template.measurements if m.name.endswith("_count")]
    bases = [name.removesuffix("_count") for name in names]
    return [base for base in bases if rollup.measurement(f"{base}_first_time") is not None]


def _merged(
    columns: Mapping[str, Column | None], starts: Index, rows: int
) -> Iterator[tuple[str, Column]]:
    """(suffix, column) of the groups that begin at ``starts``, of one measurement."""
    counts = columns.get("count")
    count = np.zeros(rows, np.int64) if counts is None else counts.values.astype(np.int64)
    if counts is not None and counts.valid is not None:
        count = np.where(counts.valid, count, 0)
    total = np.add.reduceat(count, starts) if len(starts) else count[:0]
    yield "count", Column(total)
    used = np.flatnonzero(count)
    group = np.searchsorted(starts, used, side="right") - 1
    begin = np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(used) else used
    last = np.append(begin[1:], len(used)) - 1 if len(used) else used
    some = group[begin]
    for suffix, column in columns.items():
        if suffix == "count" or column is None:
            continue
        values = column.values[used]
        if suffix.startswith("first"):
            found = values[begin]
        elif suffix.startswith("last"):
            found = values[last]
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                found = _MERGES[suffix].reduceat(values, begin) if len(begin) else values[:0]
        if len(some) == len(starts):
            yield suffix, Column(found)
        else:
            spread = np.zeros(len(starts), found.dtype)
            spread[some] = found
            yield suffix, Column(spread, total > 0)


@dataclass(frozen=True, slots=True)
class _Groups:
    """The values of one measurement that are not null, group after group.

    ``count`` per group; ``some`` numbers the groups that have a value, whose values begin at
    ``begin`` and end before the next.
    """

    values: AnyArray
    times: TimesNs
    count: npt.NDArray[np.int64]
    some: Index
    begin: Index

    @classmethod
    def of(cls, column: Column, time: TimesNs, starts: Index) -> _Groups:
        values = column.values
        count = np.diff(np.append(starts, len(values)))
        if column.valid is not None:
            count = np.add.reduceat(column.valid.astype(np.int64), starts)
            values, time = values[column.valid], time[column.valid]
        begin = np.cumsum(count) - count
        some = np.flatnonzero(count)
        return cls(values, time, count.astype(np.int64), some, begin[some])

    def columns(self, column_type: ColumnType) -> list[tuple[str, Column]]:
        """(suffix, column) for every group."""
        values = self.values
        if column_type == ColumnType.BOOLEAN:
            values = values.astype(np.int8)
        found = [("count", Column(self.count))]
        if not column_type.is_variable:
            found += [("sum", self._spread(self._sum(values)))]
            found += [("sumsq", self._spread(self._sum_of_squares(values)))]
            lowest, highest = np.fmin, np.maximum
            found += [("min", self._spread(self._reduce(lowest, values)))]
            found += [("max", self._spread(self._reduce(highest, values)))]
        last = self.begin + self.count[self.some] - 1
        found += [("first", self._spread(values[self.begin]))]
        found += [("first_time", self._spread(self.times[self.begin]))]
        found += [("last", self._spread(values[last]))]
        found += [("last_time", self._spread(self.times[last]))]
        return found

    def _spread(self, results: AnyArray) -> Column:
        """Results of the groups with values, null for the others."""
        if len(self.some) == len(self.count):
            return Column(results)
        values = np.zeros(len(self.count), results.dtype)
        values[self.some] = results
        return Column(values, self.count > 0)

    def _reduce(self, operation: np.ufunc, values: AnyArray) -> AnyArray:
        if not len(self.begin):
            return values[:0]
        result: AnyArray = operation.reduceat(values, self.begin)
        return result

    def _sum(self, values: AnyArray) -> AnyArray:
        if values.dtype.kind != "f" and self._exact(values, 1):
            return self._reduce(np.add, values.astype(np.int64)).astype(np.float64)
        return self._float_sum(values.astype(np.float64))

    def _sum_of_squares(self, values: AnyArray) -> AnyArray:
        if values.dtype.kind != "f" and self._exact(values, 2):
            return self._reduce(np.add, values.astype(np.int64) ** 2).astype(np.float64)
        floats = values.astype(np.float64)
        with np.errstate(over="ignore"):
            return self._float_sum(floats * floats)

    def _float_sum(self, values: AnyArray) -> AnyArray:
        # Infinities of both signs make NaN, which is the sum that SQL gives too.
        with np.errstate(invalid="ignore", over="ignore"):
            return self._reduce(np.add, values)

    def _exact(self, values: AnyArray, power: int) -> bool:
        if not len(values):
            return True
        largest = max(abs(float(values.min())), abs(float(values.max())))
        return largest**power * float(self.count.max()) < _EXACT_SUM


def keys_of(rows: Rows, every_ns: int) -> tuple[DeviceIds, TimesNs]:
    """(device, window start) of each run of rows that share them."""
    window = rows.time - rows.time % every_ns
    starts = run_starts(rows.device, window)
    return rows.device[starts], window[starts]
