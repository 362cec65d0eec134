"""Series with equal steps: readings moved onto a grid of times, or gathered on one.

TIMESTAMPREPAIR keeps readings and moves their times.

1. The step is given (``interval``), or estimated from the gaps: their median, their commonest
   (mode), or (cluster) the median of the largest cluster, where a cluster ends at a gap that is
   half as long again as the next shorter one.
2. The grid passes through the time that has as many readings early as late, relative to it.
3. A reading moves to the nearest place. Of several on one place the nearest one stays; the one
   before it takes the place before and the one after it the place after, if they are free; others
   are dropped.
4. Places without a reading get NaN. The grid ends with the last reading.

RESAMPLE keeps times on a grid and gathers readings.

1. Places are ``start``, ``start + every``, ... By default from the first finite reading, through
   the last one; ``end`` is exclusive.
2. A place has the mean (``aggr``) of the finite readings from it to the next place.
3. A place without readings is NaN, or (``interp``) takes the place before, the place after, or what
   lies on the line between the two. Outside of all places with readings there is no line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.made_points import check_made
from mainstem_engine.analysis.medians import Floats, segment_medians
from mainstem_engine.analysis.readings import readings_of_partitions
from mainstem_engine.analysis.rows import (
    Points,
    Positions,
    Signal,
    Timeline,
    points_of_pieces,
)
from mainstem_engine.model import AnyArray, TimesNs

MILLISECOND = 1_000_000
CLUSTER_RATIO = 1.5
"""Jitter rarely makes a gap half as long again; a lost reading makes it twice as long."""


def timestamprepair(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64, at equal steps per partition."""
    readings = readings_of_partitions(timeline, signals[0])
    interval = options["interval"]
    if interval is not None and interval < 0:
        interval = -interval * MILLISECOND  # a plain number: milliseconds
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    for begin, end in _spans(readings.bounds()):
        times, values = readings.times[begin:end], readings.values[begin:end]
        gaps = np.diff(times)
        step = interval or _usual(gaps[gaps > 0], options["method"])
        if len(times) == 0 or step is None:
            pieces.append((times, (values,)))
            continue
        origin, places = _placed(times, step)
        count = int(places[-1] - places[0]) + 1
        check_made("timestamprepair", count, "give a longer interval, or a shorter range of time")
        kept, slots = _one_each(times, places, origin, step)
        grid = np.full(int(slots[-1] - slots[0]) + 1, np.nan)
        grid[slots - slots[0]] = values[kept]
        start = origin + int(slots[0]) * step
        pieces.append((start + step * np.arange(len(grid), dtype=np.int64), (grid,)))
    return points_of_pieces(pieces)


def resample(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64, at equal steps per partition. A partition without a finite reading has no points
    unless both ``start`` and ``end`` are given."""
    readings = readings_of_partitions(timeline, signals[0])
    readings = readings.take(np.flatnonzero(np.isfinite(readings.values)))
    every: int = options["every"]
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    for begin, end in _spans(readings.bounds()):
        times, values = readings.times[begin:end], readings.values[begin:end]
        start, stop = options["start"], options["end"]
        if len(times):
            start = int(times[0]) if start is None else start
            stop = int(times[-1]) + 1 if stop is None else stop
        if start is None or stop is None:
            pieces.append((times, (values,)))
            continue
        count = max(-(-(stop - start) // every), 0)
        check_made("resample", count, "take longer steps, or a shorter range of time")
        inside = (times >= start) & (times < stop)
        place = (times[inside] - start) // every
        gathered = _gathered(options["aggr"], values[inside], place, count)
        grid = start + every * np.arange(count, dtype=np.int64)
        pieces.append((grid, (_interpolated(options["interp"], gathered),)))
    return points_of_pieces(pieces)


def _spans(bounds: Positions) -> list[tuple[int, int]]:
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


def _usual(gaps: Positions, method: str) -> int | None:
    """The estimated step in ns, None without gaps."""
    if len(gaps) == 0:
        return None
    if method == "mode":
        values, counts = np.unique(gaps, return_counts=True)
        return int(values[np.argmax(counts)])
    ordered = np.sort(gaps)
    if method == "cluster":
        cuts = np.flatnonzero(ordered[1:] > CLUSTER_RATIO * ordered[:-1]) + 1
        ordered = max(np.split(ordered, cuts), key=len)
    return max(int(np.median(ordered)), 1)


def _placed(times: TimesNs, step: int) -> tuple[int, Positions]:
    """The time of place 0, and the nearest place of each reading, ascending."""
    first = int(times[0])
    early = (times - first + step // 2) % step - step // 2  # off the first one's grid
    origin = first + int(np.sort(early)[(len(early) - 1) // 2])
    return origin, (times - origin + step // 2) // step


def _one_each(
    times: TimesNs, places: Positions, origin: int, step: int
) -> tuple[Positions, Positions]:
    """The readings that stay, ascending, and a place for each, no two alike."""
    begins = np.flatnonzero(np.diff(places, prepend=places[0] - 1))
    if len(begins) == len(places):
        return np.arange(len(places)), places
    off = np.abs(times - (origin + places * step))
    group = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(places))))
    nearest = np.lexsort((np.arange(len(places)), off, group))[begins]
    owner = nearest[group]
    taken = places[begins]
    rows = np.arange(len(places))
    ahead = rows[(rows == owner - 1) & ~np.isin(places - 1, taken)]
    behind = rows[(rows == owner + 1) & ~np.isin(places + 1, taken)]
    behind = behind[~np.isin(places[behind] + 1, places[ahead] - 1)]  # the later one takes it
    kept = np.concatenate((nearest, ahead, behind))
    slots = np.concatenate((taken, places[ahead] - 1, places[behind] + 1))
    order = np.argsort(kept)
    return kept[order], slots[order]


def _gathered(how: str, values: Floats, place: Positions, count: int) -> Floats:
    """One value per place, NaN without readings."""
    if how == "median":
        return segment_medians(values, place, count)
    gathered = np.full(count, np.nan)
    if len(values) == 0:
        return gathered
    begins = np.flatnonzero(np.diff(place, prepend=-1))
    ends = np.append(begins[1:], len(values))
    with np.errstate(over="ignore"):
        if how == "mean":
            found = np.add.reduceat(values, begins) / (ends - begins)
        elif how == "min":
            found = np.minimum.reduceat(values, begins)
        elif how == "max":
            found = np.maximum.reduceat(values, begins)
        else:
            found = values[begins] if how == "first" else values[ends - 1]
    gathered[place[begins]] = found
    return gathered


def _interpolated(how: str, values: Floats) -> Floats:
    known = np.flatnonzero(~np.isnan(values))
    if how == "nan" or len(known) == 0:
        return values
    places = np.arange(len(values))
    if how == "linear":
        return np.interp(places, known, values[known], left=np.nan, right=np.nan)
    if how == "ffill":
        rank = np.searchsorted(known, places, side="right") - 1
        return np.where(rank >= 0, values[known[np.maximum(rank, 0)]], np.nan)
    rank = np.searchsorted(known, places)
    return np.where(rank < len(known), values[known[np.minimum(rank, len(known) - 1)]], np.nan)


FUNCTIONS = (
    PointFunction(
        "timestamprepair",
        timestamprepair,
        parameters=(
            Parameter("interval", Kind.COUNT_OR_DURATION, None, low=1),
            Parameter("method", Kind.TEXT, "median", ("median", "mode", "cluster")),
        ),
    ),
    PointFunction(
        "resample",
        resample,
        parameters=(
            Parameter("every", Kind.DURATION, low=1),
            Parameter("interp", Kind.TEXT, "nan", ("nan", "ffill", "bfill", "linear")),
            Parameter("aggr", Kind.TEXT, "mean", ("mean", "median", "min", "max", "first", "last")),
            Parameter("start", Kind.TIME, None),
            Parameter("end", Kind.TIME, None),
        ),
    ),
)
