"""A comparison of a measurement with a number, as SQL means it.

1. A row without a value fails every comparison. NaN is the greatest value and equal to itself, so
   it passes > and >= of any number, and <>.
2. Statistics of a block may say that all of its rows pass, or that none does; then its values need
   not be read. Without usable extremes they say neither.
3. Values and numbers are compared in the type of the measurement, exactly: whoever makes a filter
   vouches that the number is one of that type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.columns import widened_values
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, VersionedRows
from mainstem_engine.part.layout import EXTREMES_USABLE
from mainstem_engine.part.reader import BlockNumbers, Part

EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL = OPERATORS = (
    "=", "<>", "<", "<=", ">", ">="
)  # fmt: skip

_PASSES: dict[str, Callable[[AnyArray, Any], BoolMask]] = {
    EQUAL: lambda values, number: values == number,
    NOT_EQUAL: lambda values, number: values != number,
    LESS: lambda values, number: values < number,
    LESS_EQUAL: lambda values, number: values <= number,
    # Not "greater": NaN is no number that numpy finds greater.
    GREATER: lambda values, number: ~(values <= number),
    GREATER_EQUAL: lambda values, number: ~(values < number),
}


@dataclass(frozen=True, slots=True)
class ValueFilter:
    """Rows whose value of a measurement of ``type`` is ``operator`` (of OPERATORS) ``number``,
    which is not NaN."""

    measurement_id: int
    type: ColumnType
    operator: str
    number: int | float

    def keeps(self, rows: VersionedRows) -> BoolMask:
        """bool[n]: the rows that pass; their columns are of the table's types."""
        return self.passes(rows.columns.get(self.measurement_id), len(rows))

    def passes(self, column: Column | None, count: int) -> BoolMask:
        """As keeps(), of a column of ``count`` rows; None: no row has a value."""
        if column is None:
            return np.zeros(count, np.bool_)
        return passing(column, self.operator, self.number)

    def of_blocks(self, part: Part, numbers: BlockNumbers) -> tuple[BoolMask, BoolMask]:
        """(all rows pass, no row passes) by the statistics of each block."""
        key = self.measurement_id
        if key not in part.types:
            none = np.ones(len(numbers), np.bool_)
            return ~none, none
        nulls = part.nulls(key)[numbers]
        empty: BoolMask = nulls == part.blocks.rows[numbers]
        statistics = part.statistics(key)
        if statistics is None:
            return np.zeros(len(numbers), np.bool_), empty
        known: BoolMask = (statistics.flags[numbers] & EXTREMES_USABLE) > 0
        low = widened_values(statistics.minimum[numbers], self.type)
        high = widened_values(statistics.maximum[numbers], self.type)
        passes = _PASSES[self.operator]
        of_low, of_high = passes(low, self.number), passes(high, self.number)
        whole, none = of_low & of_high, ~of_low & ~of_high
        # What lies between two ends of which neither is the number may be the number.
        between = (low < self.number) & (high > self.number)
        if self.operator == NOT_EQUAL:
            whole &= ~between
        elif self.operator == EQUAL:
            none &= ~between
        return known & whole & (nulls == 0), (known & none) | empty


def passing(column: Column, operator: str, number: int | float) -> BoolMask:
    """bool[n]: values that are ``operator`` ``number``; nulls are not."""
    mask = _PASSES[operator](column.values, number)
    return mask if column.valid is None else mask & column.valid


def kept_rows(rows: VersionedRows, filters: Sequence[ValueFilter]) -> VersionedRows:
    """The rows that pass all filters."""
    if not filters:
        return rows
    mask = np.logical_and.reduce([item.keeps(rows) for item in filters])
    return rows if mask.all() else rows.take(mask)
