"""AUTO: which encoding a column gets when its template names none.

1. One value in all rows: CONSTANT. TEXT and BLOB: DICTIONARY. A handful of numbers: PLAIN.
2. DECIMAL is the best of the numeric encodings on nearly all sensor data; PCO where values have
   many decimals, or exceptions. RLE is tried beside it where values stay the same for a while,
   DICTIONARY where a few come again and again, PLAIN (a bit each) for BOOLEAN. What is not tried
   costs one look at the values.
3. Those that remain encode a sample. The smallest wins, in doubt DECIMAL, then PCO.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.compression import compress
from mainstem_engine.encoding.constant import Constant, is_constant
from mainstem_engine.encoding.decimal import LEVEL, Decimal, decimals_of, whole_numbers
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
"""Another encoding must save a tenth of what DECIMAL or PCO needs: a sample says no more."""

_PLAIN, _CONSTANT, _PCO = Plain(), Constant(), Pco()
_DECIMAL, _DICTIONARY, _RLE = Decimal(), Dictionary(), RunLength()


@dataclass(frozen=True, slots=True)
class Choice:
    """What suits a column: an encoding, for PCO and DECIMAL how, the least and most bytes that a
    value took in trials (0 if there was none), and for DECIMAL the decimals. ``stale``: to be tried
    again at the next block."""

    encoding: Encoding
    config: PcoConfig | None = None
    value_bytes: tuple[float, float] = (0.0, 0.0)
    decimals: int = 0
    stale: bool = False

    @property
    def way(self) -> tuple[Encoding, PcoConfig | None, int]:
        """What a block depends on."""
        return self.encoding, self.config, self.decimals

    def widened(self, *value_bytes: float) -> Choice:
        """The same for blocks of these sizes too."""
        sizes = (*self.value_bytes, *value_bytes)
        return replace(self, value_bytes=(min(sizes), max(sizes)))


def _tried(encoding: Encoding, config: PcoConfig | None, size: float, decimals: int = 0) -> Choice:
    return Choice(encoding, config, (size, size), decimals)


def choose(values: AnyArray, column_type: ColumnType, level: int = LEVEL_FAST) -> Choice:
    """What suits a block of ``values``, [n] without nulls. ``level``: of pcodec."""
    if is_constant(values):
        return Choice(_CONSTANT)
    if column_type.is_variable:
        return Choice(_DICTIONARY)
    if len(values) < VALUES_MIN:
        return Choice(_PLAIN)
    sample = sample_of(values)
    best = _choose_decimal(sample, column_type, level)
    if best is None:
        best = choose_pco(sample, column_type, level)
    limit = ADVANTAGE * best.value_bytes[0]
    for rival in _rivals(values, column_type):
        size = len(compress(rival.encode(sample, column_type))[1]) / len(sample)
        if size < limit:
            best, limit = _tried(rival, None, size), size
    return best


def _choose_decimal(sample: AnyArray, column_type: ColumnType, level: int) -> Choice | None:
    """How DECIMAL suits the sample; None where PCO is the better, or the only one."""
    decimals = decimals_of(sample) if _DECIMAL.supports(column_type) else None
    whole = None if decimals is None else whole_numbers(sample, decimals)
    if decimals is None or whole is None:
        return None
    level = max(level, LEVEL)
    config, _ = search_pco(whole.numbers, ColumnType.INT64, level)
    data = _DECIMAL.encode_as(whole, sample, slice(0, len(sample)), column_type, config)
    found = _tried(_DECIMAL, config, len(data) / len(sample), decimals)
    if len(whole.exceptions):
        rival = choose_pco(sample, column_type, level)
        return None if rival.value_bytes < found.value_bytes else found
    return found


def choose_pco(values: AnyArray, column_type: ColumnType, level: int) -> Choice:
    """How PCO suits a block of numbers best."""
    sample = sample_of(values)
    config, size = search_pco(sample, column_type, level)
    return _tried(_PCO, config, size / len(sample))


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
