"""Medians of many segments of one array, in one sort.

A segment is a run of neighbours with one number, such as the values of a window. A segment without
values has the median NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mainstem_engine.analysis.rows import Positions
from mainstem_engine.model import AnyArray

Floats = npt.NDArray[np.float64]


def segment_medians(values: AnyArray, segments: Positions, count: int) -> Floats:
    """float64[count]. ``values``: numbers [m], none of them NaN; ``segments``: int64[m], ascending,
    0 to ``count - 1``. The median of an even number of values is the mean of the middle two."""
    ordered = values[np.lexsort((values, segments))].astype(np.float64)
    begin = np.searchsorted(segments, np.arange(count))
    lengths = np.bincount(segments, minlength=count)
    medians = np.full(count, np.nan)
    filled = np.flatnonzero(lengths)
    low = ordered[begin[filled] + (lengths[filled] - 1) // 2]
    high = ordered[begin[filled] + lengths[filled] // 2]
    # Halved before they are added: the sum of two large values may overflow.
    medians[filled] = np.where(low == high, low, low / 2 + high / 2)
    return medians


def segment_deviations(
    values: Floats, segments: Positions, medians: Floats, count: int
) -> tuple[Floats, Floats]:
    """float64[m]: how far each value lies from its segment's median; float64[count]: the median of
    that, the MAD."""
    distances = np.abs(values - medians[segments])
    return distances, segment_medians(distances, segments, count)
