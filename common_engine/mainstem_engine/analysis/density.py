"""Local outlier factor: how much thinner a row's neighbourhood is than that of its neighbours.

After Breunig, Kriegel, Ng, Sander: LOF, identifying density-based local outliers (SIGMOD 2000).

1. A row is a point with one coordinate per column; distances are Euclidean, columns are not scaled.
   ``series`` takes one column, and a row's point is its value and the next ``windowsize - 1``.
2. Rows on one spot count once and share their factor: sensors round, and spots where many values
   are equal would be infinitely dense.
3. The ``k`` nearest other spots are a spot's neighbours (fewer if there are no more); of equally
   near ones those with the smaller coordinates.
4. The reach from a spot to a neighbour is their distance, at least the distance from that
   neighbour to its own k-th. Density is k over the sum of the reaches.
5. The factor is the mean density of the neighbours over the spot's own: about 1 inside a cluster,
   larger the more a spot stands apart; 1 for a spot without neighbours.

Each ``window`` rows are judged by themselves. Rows in which a column is null or not finite are
left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.rows import Mask, Points, Positions, Signal, Timeline, points_of_rows
from mainstem_engine.errors import SqlError

WINDOW_MAX = 20_000
"""All pairs of a window are compared: at this size some seconds."""
NEIGHBOURS_MAX = 1_000
"""A table of every row's neighbours is kept."""
DIMENSIONS_MAX = 64
"""Distances mean little in more, and each costs time."""
CELLS_MAX = 1 << 20
"""Pairs that are compared at one time: 8 MiB."""


def lof(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """The factor of each complete row, float64."""
    size = options["windowsize"] if options["method"] == "series" else 1
    if size > 1 and len(signals) > 1:
        raise SqlError(
            "lof takes one column when method is series",
            field="lof",
            hint="leave method out to take the columns as coordinates",
        )
    columns = np.stack([signal.numbers() for signal in signals], axis=1)
    complete = np.asarray(np.isfinite(columns).all(axis=1), np.bool_)
    rows, factors = [np.zeros(0, np.int64)], [np.zeros(0)]
    for begin, end in zip(timeline.bounds[:-1].tolist(), timeline.bounds[1:].tolist(), strict=True):
        usable = begin + np.flatnonzero(complete[begin:end])
        points = columns[usable]
        if size > 1:
            usable = usable[: max(len(usable) - size + 1, 0)]
            points = (
                np.lib.stride_tricks.sliding_window_view(points[:, 0], size)
                if len(usable)
                else points[:0]
            )
        for first in range(0, len(usable), options["window"]):
            part = slice(first, first + options["window"])
            spots, spot = np.unique(points[part], axis=0, return_inverse=True)
            rows.append(usable[part])
            factors.append(_factors(spots, min(options["k"], len(spots) - 1))[spot])
    return points_of_rows(timeline, np.concatenate(rows), Signal(np.concatenate(factors)))


def _factors(points: Floats, k: int) -> Floats:
    count = len(points)
    if k == 0:
        return np.ones(count)
    neighbours = np.empty((count, k), np.int64)
    distances = np.empty((count, k))
    step = max(CELLS_MAX // count, 1)
    for begin in range(0, count, step):
        some = points[begin : begin + step]
        squares = np.zeros((len(some), count))
        for axis in range(points.shape[1]):
            squares += np.subtract.outer(some[:, axis], points[:, axis]) ** 2
        own = np.arange(len(some))
        squares[own, begin + own] = np.inf
        nearest = _nearest(squares, k)
        neighbours[begin : begin + step] = nearest
        distances[begin : begin + step] = np.sqrt(np.take_along_axis(squares, nearest, axis=1))
    reach = np.maximum(distances, distances[neighbours, -1])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        density = k / reach.sum(axis=1)
        factors: Floats = density[neighbours].mean(axis=1) / density
    return factors


def _nearest(squares: Floats, k: int) -> Positions:
    """int64[n, k]: the columns of each row's ``k`` smallest, nearest first, ties by column."""
    farthest = np.partition(squares, k - 1, axis=1)[:, k - 1]
    candidates: Mask = squares <= farthest[:, np.newaxis]
    row, column = np.nonzero(candidates)
    order = np.lexsort((column, squares[row, column], row))
    begin = np.searchsorted(row, np.arange(len(squares)))
    nearest: Positions = column[order[begin[:, np.newaxis] + np.arange(k)]]
    return nearest


FUNCTIONS = (
    PointFunction(
        "lof",
        lof,
        columns=(1, DIMENSIONS_MAX),
        parameters=(
            Parameter("method", Kind.TEXT, "default", ("default", "series")),
            Parameter("k", Kind.INTEGER, 3, low=1, high=NEIGHBOURS_MAX),
            Parameter("window", Kind.INTEGER, 10_000, low=2, high=WINDOW_MAX),
            Parameter("windowsize", Kind.INTEGER, 5, low=1, high=DIMENSIONS_MAX),
        ),
    ),
)
