"""Values that move too fast, moved as little as their speeds demand (see ``repair``).

Speeds are per second. Rows of the same time have no speed between them.
"""

from __future__ import annotations

import heapq

import numpy as np

from mainstem_engine.analysis.medians import Floats
from mainstem_engine.model import TimesNs

LOOK_AHEAD = 10
"""Readings after a value that say where it should be: a run of five wrong ones is outvoted."""
BLOCK_ROWS = 1 << 16
"""Rows that are looked at together: 11 MiB."""
MADS = 3.0
"""As in validity: three MADs are two standard deviations of normal noise."""
SIGMAS = 3.0
"""Changes of speed within three deviations are likely."""
ROUNDING = 1e-9
"""Of the largest change of speed: with a deviation of 0, rounding is not repaired."""


def screen(times: TimesNs, values: Floats, slowest: float | None, fastest: float | None) -> Floats:
    """float64[n]. ``slowest`` and ``fastest``: bounds per second, None: median -+ 3 MAD."""
    seconds = np.diff(times) / 1e9
    if slowest is None or fastest is None:
        apart = seconds > 0
        speeds = np.diff(values)[apart] / seconds[apart]
        if len(speeds) == 0:
            return values.copy()
        middle = float(np.median(speeds))
        reach = MADS * float(np.median(np.abs(speeds - middle)))
        slowest = middle - reach if slowest is None else slowest
        fastest = middle + reach if fastest is None else fastest
    if slowest > fastest:
        return values.copy()
    wanted = _wanted(times, values, slowest, fastest).tolist()
    # Each value is held by its repaired predecessor: a walk.
    repaired = [wanted[0]]
    last = wanted[0]
    for value, step in zip(wanted[1:], seconds.tolist(), strict=True):
        low, high = last + slowest * step, last + fastest * step
        last = low if value < low else min(value, high)
        repaired.append(last)
    return np.array(repaired)


def _wanted(times: TimesNs, values: Floats, slowest: float, fastest: float) -> Floats:
    """The median of each value and of what the next readings allow it to be at least and most: the
    value itself if they all allow it."""
    wanted = np.empty(len(values))
    for begin in range(0, len(values), BLOCK_ROWS):
        end = min(begin + BLOCK_ROWS, len(values))
        allowed = np.full((end - begin, 2 * LOOK_AHEAD + 1), np.nan)
        allowed[:, 0] = values[begin:end]
        for ahead in range(1, LOOK_AHEAD + 1):
            here = slice(begin, min(end, len(values) - ahead))
            if here.stop <= begin:
                break
            later = slice(begin + ahead, here.stop + ahead)
            seconds = (times[later] - times[here]) / 1e9
            allowed[: here.stop - begin, 2 * ahead - 1] = values[later] - fastest * seconds
            allowed[: here.stop - begin, 2 * ahead] = values[later] - slowest * seconds
        allowed.sort(axis=1)  # NaN last: the last rows have fewer readings after them
        middle = np.minimum(len(values) - 1 - np.arange(begin, end), LOOK_AHEAD)
        wanted[begin:end] = allowed[np.arange(end - begin), middle]
    return wanted


def lsgreedy(times: TimesNs, values: Floats, center: float, sigma: float | None) -> Floats:
    """float64[n]. ``center`` and ``sigma`` of the changes of speed; ``sigma`` None: their MAD. At
    most n values are moved."""
    keep = np.concatenate(([True], np.diff(times) > 0))
    repaired = values.copy()
    points, seconds = values[keep], np.diff(times[keep]) / 1e9
    if len(points) < 3:
        return repaired
    changes = np.diff(np.diff(points) / seconds)
    if sigma is None:
        sigma = float(np.median(np.abs(changes - np.median(changes))))
    bound = max(SIGMAS * sigma, ROUNDING * float(np.abs(changes).max()))
    repaired[keep] = _greedy(points.tolist(), seconds.tolist(), center, bound)
    return repaired


def _greedy(values: list[float], seconds: list[float], center: float, bound: float) -> list[float]:
    """The worst first: a queue of the changes of speed, entries of moved values are stale."""

    def off(place: int) -> float:
        after = (values[place + 1] - values[place]) / seconds[place]
        before = (values[place] - values[place - 1]) / seconds[place - 1]
        return abs(after - before - center)

    current = [0.0, *(off(place) for place in range(1, len(values) - 1)), 0.0]
    queue = [(-distance, place) for place, distance in enumerate(current) if distance > bound]
    heapq.heapify(queue)
    moves = len(values)
    while queue and moves:
        distance, place = heapq.heappop(queue)
        if -distance != current[place]:
            continue
        moves -= 1
        left, right = 1 / seconds[place - 1], 1 / seconds[place]
        pulled = values[place - 1] * left + values[place + 1] * right
        values[place] = (pulled - center) / (left + right)
        for near in range(max(place - 1, 1), min(place + 2, len(values) - 1)):
            current[near] = off(near)
            if current[near] > bound:
                heapq.heappush(queue, (-current[near], near))
    return values
