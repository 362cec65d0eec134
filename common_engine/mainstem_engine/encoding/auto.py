"""AUTO: which encoding a block gets when its template names none.

1. One value in all rows: CONSTANT. TEXT and BLOB: DICTIONARY. A handful of numbers: PLAIN.
2. PCO is the best of the numeric encodings on nearly all sensor data. RLE is tried beside it where
   values stay the same for a while, DICTIONARY where a few come again and again, PLAIN (a bit each)
   for BOOLEAN. What is not tried costs one look at the values.
3. Those that remain encode a sample. The smallest wins, in doubt PCO.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.compression import compress
from mainstem_engine.encoding.constant import Constant, is_constant
from mainstem_engine.encoding.dictionary import Dictionary
from mainstem_engine.encoding.interface import Encoding
from mainstem_engine.encoding.pco import Pco
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.encoding.run_length import RunLength
from mainstem_engine.model import AnyArray, ColumnType

VALUES_MIN = 8
"""Below this the frames of all encodings are larger than the values: PLAIN, whatever is named."""

RUN_VALUES_MIN = 4
"""Runs shorter than this, on average, are a length for too few values."""

SAMPLE_STRETCHES = 4
SAMPLE_STRETCH_VALUES = 256
"""The sample is stretches of neighbours: without them there would be no runs and no differences.
Four of 256 cost a quarter of what the block of 4,096 costs."""

DISTINCT_VALUES_MAX = 64
"""Distinct values in one stretch beyond which a dictionary is not tried."""

ADVANTAGE = 0.9
"""Another encoding must save a tenth of what PCO needs: the sample says no more than that."""

_PLAIN, _CONSTANT, _PCO = Plain(), Constant(), Pco()
_DICTIONARY, _RLE = Dictionary(), RunLength()


def choose(values: AnyArray, column_type: ColumnType) -> Encoding:
    """The encoding for a block of ``values``, [n] without nulls."""
    if is_constant(values):
        return _CONSTANT
    if column_type.is_variable:
        return _DICTIONARY
    if len(values) < VALUES_MIN:
        return _PLAIN
    rivals = _rivals(values, column_type)
    if not rivals:
        return _PCO
    sample = _sample(values)
    best, best_bytes = _PCO, ADVANTAGE * len(_PCO.encode(sample, column_type))
    chosen: Encoding = best
    for rival in rivals:
        rival_bytes = len(compress(rival.encode(sample, column_type))[1])
        if rival_bytes < best_bytes:
            chosen, best_bytes = rival, rival_bytes
    return chosen


def _rivals(values: AnyArray, column_type: ColumnType) -> list[Encoding]:
    """What may be smaller than PCO."""
    bits = bits_of(values)
    found: list[Encoding] = []
    if column_type == ColumnType.BOOLEAN:
        found.append(_PLAIN)
    elif bits.dtype.itemsize > 1:  # a code takes a byte too
        middle = len(bits) // 2
        stretch = bits[max(0, middle - SAMPLE_STRETCH_VALUES // 2) :][:SAMPLE_STRETCH_VALUES]
        if len(np.unique(stretch)) <= min(DISTINCT_VALUES_MAX, len(stretch) // RUN_VALUES_MIN):
            found.append(_DICTIONARY)
    runs = 1 + int(np.count_nonzero(bits[1:] != bits[:-1]))
    if runs * RUN_VALUES_MIN <= len(bits):
        found.append(_RLE)
    return found


def _sample(values: AnyArray) -> AnyArray:
    """Evenly spaced stretches of neighbours; everything if that is not more."""
    room = len(values) - SAMPLE_STRETCH_VALUES
    if len(values) <= SAMPLE_STRETCHES * SAMPLE_STRETCH_VALUES:
        return values
    starts = [room * number // (SAMPLE_STRETCHES - 1) for number in range(SAMPLE_STRETCHES)]
    return np.concatenate([values[start:][:SAMPLE_STRETCH_VALUES] for start in starts])
