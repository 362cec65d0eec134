"""Which delta and mode pcodec uses for a column: tried on one block, kept for those that follow.

1. pcodec's own search, then each order of differences; at the higher level repetitions too.
2. For the best of them: multiples of a decimal step, if the values are decimals; else the plain
   mode. A named mode saves pcodec its search, so it is taken when it is as small.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.encoding.pco import (
    AUTO_DELTA,
    LEVEL_SMALL,
    LOOKBACK_DELTA,
    Pco,
    PcoConfig,
)
from mainstem_engine.model import AnyArray, ColumnType

TRIAL_VALUES_MAX = 4096
"""A block of the usual size; more would cost more and say the same."""
SAME_SIZE = 1.004
"""What is faster may be so much larger."""
DECIMALS_MAX = 9
"""Sensors with more decimals have binary fractions."""
DECIMAL_VALUES = 64
"""Values that are looked at: what is no decimal shows at once."""
_EXACT = float(2**53)

_PCO = Pco()


def search_pco(values: AnyArray, column_type: ColumnType, level: int) -> tuple[PcoConfig, int]:
    """(the best way found, the bytes that it took) for ``values``, [n] without nulls."""
    deltas = [0, 1, 2] if level < LEVEL_SMALL else [0, 1, 2, LOOKBACK_DELTA]
    best = PcoConfig(level, AUTO_DELTA)
    size = len(_PCO.encode_as(values, column_type, best))
    limit = SAME_SIZE * size
    for delta in deltas:
        config = PcoConfig(level, delta)
        found = len(_PCO.encode_as(values, column_type, config))
        if found < limit:
            best, size, limit = config, found, found
    modes = [0.0]
    if column_type.is_float:
        step = decimal_step(values)
        modes = [0.0] if step is None else [step, 0.0]
    limit = SAME_SIZE * size
    for base in modes:
        config = best._replace(base=base)
        found = len(_PCO.encode_as(values, column_type, config))
        if found < limit:
            return config, found
    return best, size


def decimal_step(values: AnyArray) -> float | None:
    """The power of ten that floats are multiples of, None if there is no such."""
    some = values[:: max(1, len(values) // DECIMAL_VALUES)]
    some = some[np.isfinite(some)]
    with np.errstate(over="ignore", invalid="ignore"):
        for decimals in range(DECIMALS_MAX + 1):
            scale = 10.0**decimals
            steps = np.rint(some.astype(np.float64) * scale)
            if (np.abs(steps) >= _EXACT).any():
                return None
            if len(some) and ((steps / scale).astype(some.dtype) == some).all():
                return 1 / scale
    return None
