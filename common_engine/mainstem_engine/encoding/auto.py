"""AUTO: which encoding a column gets when its template names none.

1. One value in all rows: CONSTANT. TEXT and BLOB: DICTIONARY. A handful of numbers: PLAIN.
2. PCO is the best of the numeric encodings on nearly all sensor data. RLE is tried beside it where
   values stay the same for a while, DICTIONARY where a few come again and again, PLAIN (a bit each)
   for BOOLEAN. What is not tried costs one look at the values.
3. Those that remain encode a sample. The smallest wins, in doubt PCO.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.compression import compress
from mainstem_engine.encoding.constant import Constant, is_constant
from mainstem_engine.encoding.dictionary import Dictionary
from mainstem_engine.encoding.interface import Encoding
from mainstem_engine.encoding.pco import LEVEL_FAST, Pco, PcoConfig
from mainstem_engine.encoding.pco_search import search_pco
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.encoding.run_length import RunLength
from mainstem_engine.model import AnyArray, ColumnType

VALUES_MIN = 8
"""Below this the frames of all encodings are larger than the values: PLAIN, whatever is named."""

RUN_VALUES_MIN = 4
"""Runs shorter than this, on average, are a length for too few values."""

SAMPLE_VALUES_MAX = 4096
"""Values of a trial: a block of the usual size. They are neighbours: without them there would be no
runs and no differences."""

STRETCH_VALUES = 256
DISTINCT_VALUES_MAX = 64
"""Distinct values in one stretch beyond which a dictionary is not tried."""

ADVANTAGE = 0.9
"""Another encoding must save a tenth of what PCO needs: the sample says no more than that."""

_PLAIN, _CONSTANT, _PCO = Plain(), Constant(), Pco()
_DICTIONARY, _RLE = Dictionary(), RunLength()


@dataclass(frozen=True, slots=True)
class Choice:
    """What suits a column: an encoding, for PCO how, and the bytes that a value took in the trial
    (0 if there was none)."""

    encoding: Encoding
    config: PcoConfig | None = None
    value_bytes: float = 0.0


def choose(values: AnyArray, column_type: ColumnType, level: int = LEVEL_FAST) -> Choice:
    """What suits a block of ``values``, [n] without nulls. ``level``: of pcodec."""
    if is_constant(values):
        return Choice(_CONSTANT)
    if column_type.is_variable:
        return Choice(_DICTIONARY)
    if len(values) < VALUES_MIN:
        return Choice(_PLAIN)
    sample = sample_of(values)
    best = choose_pco(values, column_type, level)
    limit = ADVANTAGE * best.value_bytes
    for rival in _rivals(values, column_type):
        size = len(compress(rival.encode(sample, column_type))[1]) / len(sample)
        if size < limit:
            best, limit = Choice(rival, None, size), size
    return best


def choose_pco(values: AnyArray, column_type: ColumnType, level: int) -> Choice:
    """How PCO suits a block of numbers best."""
    sample = sample_of(values)
    config, size = search_pco(sample, column_type, level)
    return Choice(_PCO, config, size / len(sample))


def _rivals(values: AnyArray, column_type: ColumnType) -> list[Encoding]:
    """What may be smaller than PCO."""
    bits = bits_of(values)
    found: list[Encoding] = []
    if column_type == ColumnType.BOOLEAN:
        found.append(_PLAIN)
    elif bits.dtype.itemsize > 1:  # a code takes a byte too
        middle = len(bits) // 2
        stretch = bits[max(0, middle - STRETCH_VALUES // 2) :][:STRETCH_VALUES]
        if len(np.unique(stretch)) <= min(DISTINCT_VALUES_MAX, len(stretch) // RUN_VALUES_MIN):
            found.append(_DICTIONARY)
    runs = 1 + int(np.count_nonzero(bits[1:] != bits[:-1]))
    if runs * RUN_VALUES_MIN <= len(bits):
        found.append(_RLE)
    return found


def sample_of(values: AnyArray) -> AnyArray:
    """Neighbours from the middle; everything if that is not more."""
    begin = max(0, len(values) - SAMPLE_VALUES_MAX) // 2
    return values[begin:][:SAMPLE_VALUES_MAX]
