"""Some rows of each partition: the largest, the last, one of each value, a sample.

1. The answer's points are rows of the input, in order of time, with the values they had.
2. Nulls are never among them, but for ``unique`` and ``tail``, which are about rows. NaN has no
   rank, and is not among the largest.
3. Where there are more rows than asked for with the last value, the earlier ones are taken.
4. A random sample is the same each time: the draw depends on nothing but the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.downsampling import triangles
from mainstem_engine.analysis.exact import is_whole
from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.rows import (
    Points,
    Positions,
    Present,
    Signal,
    Timeline,
    points_of_rows,
    positions,
    present,
)
from mainstem_engine.model import AnyArray

SEED = 0
"""Any number would do; a fixed one lets a statement be repeated."""


def top(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The ``k`` largest values of each partition."""
    return _extremes(timeline, signals[0], options["k"], largest=True)


def bottom(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The ``k`` smallest values of each partition."""
    return _extremes(timeline, signals[0], options["k"], largest=False)


def unique(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """Each value of a partition once, where it is first; null and NaN are values here. Values that
    are first at the same time are in ascending order, null at the end."""
    signal = signals[0]
    distinct, codes = np.unique(signal.values, return_inverse=True)
    codes = np.where(signal.mask(), codes, len(distinct))
    partition = timeline.partition_of_rows()
    _, rows = np.unique(partition * (len(distinct) + 1) + codes, return_index=True)
    # They come in order of value; the sort is stable and keeps it for those of one time.
    rows = rows[np.lexsort((timeline.times[rows], partition[rows]))]
    bounds = np.searchsorted(partition[rows], np.arange(timeline.partitions + 1)).astype(np.int64)
    return Points(timeline.times[rows], bounds, (signal.take(rows),), rows)


def tail(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The last ``k`` rows of each partition before its last ``offset`` ones, nulls included."""
    first, last = timeline.bounds[:-1], timeline.bounds[1:]
    end = np.maximum(last - options["offset"], first)
    rows = positions(np.maximum(end - options["k"], first), end)
    return points_of_rows(timeline, rows, signals[0].take(rows))


def sample(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """``k`` values of each partition: ``reservoir`` at random, ``isometric`` in equal steps from
    the first, ``triangle`` those that keep the shape of the curve (as LTTB)."""
    k: int = options["k"]
    method = options["method"]
    if method == "triangle":
        rows = triangles(timeline, signals[0], k)
        return points_of_rows(timeline, rows, signals[0].take(rows))
    values = present(timeline, signals[0])
    bounds = values.timeline.bounds
    if method == "isometric":
        lengths = np.diff(bounds)
        taken = np.minimum(lengths, k)
        rank = positions(np.zeros_like(taken), taken)
        at = np.repeat(bounds[:-1], taken) + rank * np.repeat(lengths, taken) // np.maximum(
            np.repeat(taken, taken), 1
        )
    else:
        drawn = np.random.default_rng(SEED).random(len(values.rows))
        at = _smallest(values, drawn, k)
    rows = values.rows[at]
    return points_of_rows(timeline, rows, signals[0].take(rows))


def _extremes(timeline: Timeline, signal: Signal, k: int, *, largest: bool) -> Points:
    values = present(timeline, signal)
    numbers = values.values
    if numbers.dtype == object:
        numbers = np.unique(numbers, return_inverse=True)[1]
    if is_whole(numbers):
        # ~x falls as x rises and, other than -x, always fits.
        at = _smallest(values, ~numbers if largest else numbers, k)
    else:
        at = _smallest(values, -numbers if largest else numbers, k)
        at = at[~np.isnan(numbers[at])]
    rows = values.rows[at]
    return points_of_rows(timeline, rows, signal.take(rows))


def _smallest(values: Present, keys: AnyArray, k: int) -> Positions:
    """The positions of the ``k`` smallest keys of each partition, ascending; NaN is the largest."""
    bounds = values.timeline.bounds
    partition = values.timeline.partition_of_rows()
    candidates = np.arange(len(keys), dtype=np.int64)
    if values.timeline.partitions == 1 and k < len(keys):
        # Finding the k-th key is linear; only what may be below it is worth sorting.
        limit = np.partition(keys, k - 1)[k - 1]
        candidates = candidates[~(keys > limit)]
    order = candidates[np.lexsort((keys[candidates], partition[candidates]))]
    starts = np.searchsorted(partition[order], np.arange(len(bounds) - 1))
    rank = np.arange(len(order)) - starts[partition[order]]
    return np.sort(order[rank < k])


def _count(name: str, default: int | None = None) -> Parameter:
    if default is None:
        return Parameter(name, Kind.INTEGER, low=1)
    return Parameter(name, Kind.INTEGER, default, low=1)


FUNCTIONS = (
    PointFunction("top", top, parameters=(_count("k"),), takes_text=True),
    PointFunction("bottom", bottom, parameters=(_count("k"),), takes_text=True),
    PointFunction("top_k", top, parameters=(_count("k"),), takes_text=True),
    PointFunction("bottom_k", bottom, parameters=(_count("k"),), takes_text=True),
    PointFunction("unique", unique, takes_text=True),
    PointFunction(
        "tail",
        tail,
        parameters=(_count("k"), Parameter("offset", Kind.INTEGER, 0, low=0)),
        takes_text=True,
    ),
    PointFunction(
        "sample",
        sample,
        parameters=(
            _count("k", 1),
            Parameter("method", Kind.TEXT, "reservoir", ("reservoir", "isometric", "triangle")),
        ),
        takes_text=True,
    ),
)
