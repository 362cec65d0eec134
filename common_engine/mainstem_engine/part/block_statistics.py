"""What the blocks of one column hold, computed in a few passes over many blocks at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray, ColumnType
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
    values: AnyArray, edges: Starts, column_type: ColumnType
) -> ColumnStatistics | None:
    """Statistics of the blocks of one column, values[edges[i]:edges[i + 1]] that are not null; None
    for a type without statistics. A block may have no value."""
    result = empty_statistics(column_type, len(edges) - 1)
    if result is None or not len(values):
        return result
    count = np.diff(edges)
    # Blocks without a value take part as none: reduceat would give them the value that follows.
    some = slice(None) if count.all() else np.flatnonzero(count)
    begin, count = edges[:-1][some], count[some]
    # A NaN anywhere makes the extremes NaN; an infinity of each sign makes the sum NaN.
    with np.errstate(invalid="ignore", over="ignore"):
        low = np.minimum.reduceat(values, begin)
        high = np.maximum.reduceat(values, begin)
        total = np.add.reduceat(values, begin, dtype=result.total.dtype)
        result.minimum[some], result.maximum[some], result.total[some] = low, high, total
        result.first[some] = values[begin]
        result.last[some] = values[begin + count - 1]
        result.flags[some] = _usable(low, high, total, count)
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
