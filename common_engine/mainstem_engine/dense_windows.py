"""Pieces of many devices in the same windows become one piece for each window, without sorting.

Windows of equal length that lie close together are numbered from the first, and every piece is
added to the place of its number. That costs a few nanoseconds a piece, a sort some fifty.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mainstem_engine.merge import Index
from mainstem_engine.model import AnyArray
from mainstem_engine.windows import Counts, Pieces, Values

PIECES_PER_WINDOW_MIN = 4
"""With fewer there is little to merge, and places without a piece would cost more than a sort."""


def merge_dense(pieces: Pieces, every_ns: int, *, row_times: bool) -> Pieces:
    """One piece per window of ``every_ns``, whatever its device, sorted by window; ``pieces``
    themselves where their windows lie too far apart, or first and last values are asked for.

    Its device is unspecified, and so are the times of its rows unless ``row_times``.
    """
    windows = pieces.window
    if not len(windows) or any(values.first is not None for values in pieces.values.values()):
        return pieces
    first = int(windows.min())
    if first % every_ns:  # it begins before the first time that there is
        return pieces
    count = (int(windows.max()) - first) // every_ns + 1
    if count * PIECES_PER_WINDOW_MIN > len(windows):
        return pieces
    number: Index = windows - first
    number //= every_ns
    rows = np.zeros(count, np.int64)
    np.add.at(rows, number, pieces.rows)
    some = np.flatnonzero(rows)
    window = first + some * every_ns
    begin = end = window
    if row_times:
        begin = _placed(np.minimum, pieces.begin_ns, number, count)[some]
        end = _placed(np.maximum, pieces.end_ns, number, count)[some]
    device = np.full(len(some), pieces.device[0], np.uint32)
    merged = Pieces(device, window, rows[some], begin, end)
    for key, values in pieces.values.items():
        counts = rows if values.count is pieces.rows else None
        merged.values[key] = _values(values, number, count, some, counts)
    return merged


def _values(
    values: Values, number: Index, count: int, some: Index, counts: Counts | None
) -> Values:
    """``counts``: of each place, None when they are not known."""
    there = values.count > 0
    if there.all():
        place, used = number, slice(None)
    else:
        # Pieces without a value take no part.
        used = np.flatnonzero(there)  # type: ignore[assignment]
        place = number[used]
    if counts is None:
        counts = _placed(np.add, values.count[used], place, count)
    found = Values(counts[some])
    with np.errstate(invalid="ignore", over="ignore"):
        if values.low is not None and values.high is not None:
            found.low = _placed(np.fmin, values.low[used], place, count)[some]
            found.high = _placed(np.maximum, values.high[used], place, count)[some]
        if values.total is not None and values.total.ndim == 1:
            found.total = _placed(np.add, values.total[used], place, count)[some]
        elif values.total is not None:
            halves = [_placed(np.add, values.total[used, at], place, count) for at in (0, 1)]
            found.total = np.stack(halves, axis=1)[some]
    return found


def _placed(operation: np.ufunc, values: AnyArray, place: Index, count: int) -> AnyArray:
    """What the operation makes of the values of each place."""
    if values.dtype == np.bool_:
        return _placed(operation, values.astype(np.int8), place, count).astype(np.bool_)
    if operation is np.fmin and not (values.dtype.kind == "f" and np.isnan(values).any()):
        operation = np.minimum  # the same without NaN, and twice as fast
    result = np.full(count, neutral(operation, values.dtype), values.dtype)
    operation.at(result, place, values)
    return result


def neutral(operation: np.ufunc, dtype: np.dtype[Any]) -> float | int:
    """What changes no value that it meets."""
    if operation is np.add:
        return 0
    if dtype.kind == "f":
        if operation is np.fmin:
            return float("nan")
        return float("-inf") if operation is np.maximum else float("inf")
    limits = np.iinfo(dtype)
    return limits.min if operation is np.maximum else limits.max
