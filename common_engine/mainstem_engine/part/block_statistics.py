"""What the blocks of one column hold, computed in a few passes over many blocks at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray, Column, ColumnType
from mainstem_engine.part.blocks import Starts
from mainstem_engine.part.layout import (
    EXTREMES_USABLE,
    SUM_USABLE,
    ColumnStatistics,
    statistics_dtypes,
)


def empty_statistics(column_type: ColumnType, blocks: int) -> ColumnStatistics | None:
    """Those of blocks without a value; None for a type without statistics."""
    dtypes = statistics_dtypes(column_type)
    if dtypes is None:
        return None
    low, high, first, last = (np.zeros(blocks, dtypes[0]) for _ in range(4))
    return ColumnStatistics(
        low, high, np.zeros(blocks, dtypes[1]), first, last, np.zeros(blocks, np.uint8)
    )


def block_statistics(
    column: Column, column_type: ColumnType, starts: Starts
) -> ColumnStatistics | None:
    """Statistics of the blocks of one column that begin at the rows ``starts``, the last of which
    ends with the column; None for a type without statistics."""
    result = empty_statistics(column_type, len(starts))
    if result is None:
        return None
    values, valid, blocks = column.values, column.valid, starts
    count = np.diff(np.r_[starts, len(values)])
    if valid is not None:
        # Leave the nulls out; blocks without a value take part as none.
        count = np.add.reduceat(valid.astype(np.int64), starts)
        values = values[valid]
        blocks = np.r_[0, np.cumsum(count)[:-1]]
    some = count > 0
    begin = blocks[some]
    if not len(begin):
        return result
    # A NaN anywhere makes the extremes NaN; an infinity of each sign makes the sum NaN.
    with np.errstate(invalid="ignore", over="ignore"):
        low = np.minimum.reduceat(values, begin)
        high = np.maximum.reduceat(values, begin)
        total = np.add.reduceat(values, begin, dtype=result.total.dtype)
        result.minimum[some], result.maximum[some], result.total[some] = low, high, total
        result.first[some] = values[begin]
        result.last[some] = values[begin + count[some] - 1]
        result.flags[some] = _usable(low, high, total, count[some])
    return result


def _usable(
    low: AnyArray, high: AnyArray, total: AnyArray, count: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Which statistics of blocks with values can be trusted."""
    if low.dtype.kind == "f":
        extremes = np.where(np.isnan(low) | np.isnan(high), 0, EXTREMES_USABLE)
        return np.asarray(extremes | np.where(np.isfinite(total), SUM_USABLE, 0), np.uint8)
    # count * greatest magnitude bounds every partial sum; float64 is exact enough for a bound.
    bound = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64))) * count
    limit = 2.0**64 if low.dtype.kind == "u" else 2.0**63
    summable = np.where(bound < limit * 0.99, SUM_USABLE, 0)
    return np.asarray(summable | EXTREMES_USABLE, np.uint8)
