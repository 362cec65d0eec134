"""DECIMAL: numbers of few decimals as whole numbers of the fewest bytes, by pcodec.

Bytes: ``decimals u8 | width u8 | exceptions | whole numbers``. A value is its whole number, of
``width & 15`` bytes (2, 4 or 8), divided by 10 ** decimals. With the bit EXCEPTIONS of ``width``
some values are not: ``count u32 | positions u32[] | the values as PLAIN``. No values: no bytes.

1. What a sensor sends has one, two or three decimals. As whole numbers such values need a quarter
   fewer bytes and a third of the time that pcodec takes for the same as multiples of 0.01: it has
   to store by how many units of the last place each value misses its multiple. A division misses
   none: IEEE 754 rounds it to the float nearest to the decimal, which is what a parser made of it.
2. A value counts as a decimal only when the way back gives its bits: -0.0, NaN and infinities are
   exceptions. Integers have no decimals; they are written by fewer bytes than their type has.
3. Whole numbers are made for a whole column at once (``whole_numbers``), then coded block by block.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.encoding.bits import bits_of
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.pco import Pco, PcoConfig
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

DECIMALS_MAX = 9
"""Sensors with more decimals have binary fractions."""
EXCEPTIONS_SHARE = 16
"""At most one value in so many may be an exception: it takes four bytes beside its own."""
EXCEPTIONS = 0x80
LEVEL = 6
"""Of pcodec, at least: for whole numbers it costs hardly more than 4 and saves a tenth."""
PASS_VALUES = 1 << 13
"""Values that go through the steps of a conversion together: they stay in the fastest cache."""
SAMPLE_VALUES = 64
"""Values that are looked at: what is no decimal shows at once."""

_EXACT = float(2**53)
_HEAD = struct.Struct("<BB")
_COUNT = struct.Struct("<I")
_WIDTHS: dict[int, np.dtype[Any]] = {2: np.dtype("<i2"), 4: np.dtype("<i4"), 8: np.dtype("<i8")}
_SCALES = [float(10**decimals) for decimals in range(DECIMALS_MAX + 1)]
_CONFIG = PcoConfig(LEVEL)

_PCO, _PLAIN = Pco(), Plain()


@dataclass(frozen=True, slots=True)
class WholeNumbers:
    """``numbers`` signed integers [n] that times 10 ** -decimals are the values, but at the rows
    ``exceptions`` (ascending), where they are anything that is near."""

    decimals: int
    numbers: AnyArray
    exceptions: AnyArray


class Decimal(Encoding):
    """See the module. ``encode`` takes only values that ``decimals_of`` finds decimals of."""

    number = EncodingNumber.DECIMAL
    compressible = False

    def supports(self, column_type: ColumnType) -> bool:
        return column_type.is_float or (column_type.is_integer and column_type.dtype.itemsize > 2)

    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        if not len(values):
            return b""
        decimals = decimals_of(values)
        whole = None if decimals is None else whole_numbers(values, decimals)
        if whole is None:
            raise EncodingError("DECIMAL for values without few decimals")
        return self.encode_as(whole, values, slice(0, len(values)), column_type, _CONFIG)

    def encode_as(
        self,
        whole: WholeNumbers,
        values: AnyArray,
        block: slice,
        column_type: ColumnType,
        config: PcoConfig,
    ) -> bytes:
        """The values of one block of a column, ``whole`` and ``values`` being those of all."""
        return self.encode_packed(
            whole,
            values,
            block,
            column_type,
            _PCO.encode_as(whole.numbers[block], ColumnType.INT64, config),
        )

    def encode_packed(
        self,
        whole: WholeNumbers,
        values: AnyArray,
        block: slice,
        column_type: ColumnType,
        packed: bytes,
    ) -> bytes:
        """As encode_as, for whole numbers that pcodec has packed."""
        width = whole.numbers.dtype.itemsize
        if not len(whole.exceptions):
            return _HEAD.pack(whole.decimals, width) + packed
        first, last = whole.exceptions.searchsorted((block.start, block.stop))
        some = whole.exceptions[first:last]
        if not len(some):
            return _HEAD.pack(whole.decimals, width) + packed
        return b"".join(
            (
                _HEAD.pack(whole.decimals, width | EXCEPTIONS),
                _COUNT.pack(len(some)),
                (some - block.start).astype("<u4").tobytes(),
                _PLAIN.encode(values[some], column_type),
                packed,
            )
        )

    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        if not len(out):
            if data.nbytes:
                raise EncodingError(f"{data.nbytes} bytes for no values")
            return
        if data.nbytes < _HEAD.size:
            raise EncodingError("whole numbers without a scale")
        decimals, width = _HEAD.unpack_from(data)
        dtype = _WIDTHS.get(width & ~EXCEPTIONS)
        if dtype is None or decimals > DECIMALS_MAX or (decimals and not column_type.is_float):
            raise EncodingError(f"whole numbers of {width} bytes with {decimals} decimals")
        data = data[_HEAD.size :]
        positions: AnyArray | None = None
        if width & EXCEPTIONS:
            positions, exceptions, data = _exceptions(data, column_type, len(out))
        numbers: AnyArray = np.empty(len(out), dtype)
        _PCO.decode(data, ColumnType.INT64, numbers)
        if out.dtype == np.float64:
            np.divide(numbers, _SCALES[decimals], out=out)
        elif column_type.is_float:
            out[:] = numbers / _SCALES[decimals]
        else:
            out[:] = numbers.astype(out.dtype)
        if positions is not None:
            out[positions] = exceptions


def whole_numbers(values: AnyArray, decimals: int) -> WholeNumbers | None:
    """``values`` ([n], n > 0) as whole numbers; None where integers would have no fewer bytes.

    A value that is no decimal, or too large, is among the exceptions.
    """
    none = np.empty(0, np.intp)
    if values.dtype.kind != "f":
        dtype = _narrowest(int(values.min()), int(values.max()))
        if dtype.itemsize >= values.dtype.itemsize:
            return None
        return WholeNumbers(0, values.astype(dtype), none)
    scale = _SCALES[decimals]
    low, high = float(values.min()) * scale, float(values.max()) * scale
    if low > -_EXACT and high < _EXACT:
        return _whole_floats(values, decimals, _narrowest(round(low), round(high)))
    # Infinities, NaNs and what is too large become 0 first, which is then not what they are.
    with np.errstate(invalid="ignore", over="ignore"):
        odd = ~(np.abs(np.multiply(values, scale, dtype=np.float64)) < _EXACT)
    good = np.where(odd, 0, np.arange(len(values)))
    filled = values[np.maximum.accumulate(good, out=good)]
    if odd[0]:
        filled[: int(np.argmin(odd)) or len(odd)] = 0
    found = whole_numbers(filled, decimals)
    assert found is not None
    exceptions = np.union1d(found.exceptions, np.flatnonzero(odd))
    return WholeNumbers(decimals, found.numbers, exceptions)


def _whole_floats(values: AnyArray, decimals: int, dtype: np.dtype[Any]) -> WholeNumbers:
    """``values`` that are finite, and as whole numbers fit ``dtype``."""
    scale = _SCALES[decimals]
    numbers: AnyArray = np.empty(len(values), dtype)
    wrong = np.empty(len(values), np.bool_)
    bits = bits_of(values)
    steps = np.empty(min(len(values), PASS_VALUES))
    back = np.empty(len(steps), values.dtype)
    for start in range(0, len(values), PASS_VALUES):
        some = slice(start, start + PASS_VALUES)
        block = values[some]
        if len(block) < len(steps):
            steps, back = steps[: len(block)], back[: len(block)]
        np.multiply(block, scale, out=steps, dtype=np.float64)
        np.rint(steps, out=steps)
        steps += 0.0  # -0.0 becomes 0.0
        numbers[some] = steps
        np.divide(steps, scale, out=back)
        np.not_equal(bits_of(back), bits[some], out=wrong[some])
    exceptions = np.flatnonzero(wrong)
    return WholeNumbers(decimals, numbers, exceptions)


def decimals_of(values: AnyArray) -> int | None:
    """How many decimals the values have, but for a few; None: more, or too large. 0 of integers."""
    if values.dtype.kind != "f":
        return 0 if whole_numbers(values, 0) is not None else None
    some = values[:: max(1, len(values) // SAMPLE_VALUES)]
    best, fewest = None, len(some) // EXCEPTIONS_SHARE + 1
    with np.errstate(over="ignore", invalid="ignore"):
        for decimals, scale in enumerate(_SCALES):
            steps = np.rint(np.multiply(some, scale, dtype=np.float64))
            same = (steps / scale).astype(values.dtype) == some
            wrong = len(some) - int(np.count_nonzero(same & (np.abs(steps) < _EXACT)))
            if wrong < fewest:
                best, fewest = decimals, wrong
            if not fewest:
                break
    return best


def _narrowest(low: int, high: int) -> np.dtype[Any]:
    for dtype in _WIDTHS.values():
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return dtype
    return np.dtype(np.uint64)  # nothing that is narrower than what holds them


def _exceptions(
    data: memoryview, column_type: ColumnType, rows: int
) -> tuple[AnyArray, AnyArray, memoryview]:
    """(positions, values, what follows them)."""
    if data.nbytes < _COUNT.size:
        raise EncodingError("exceptions without a count")
    (count,) = _COUNT.unpack_from(data)
    middle = _COUNT.size + 4 * count
    end = middle + count * column_type.dtype.itemsize
    if count > rows or data.nbytes < end:
        raise EncodingError(f"{count} exceptions for {rows} rows")
    positions = np.frombuffer(data[_COUNT.size : middle], "<u4")
    if count and int(positions.max()) >= rows:
        raise EncodingError(f"an exception at row {int(positions.max())} of {rows}")
    values: AnyArray = np.empty(count, column_type.dtype)
    _PLAIN.decode(data[middle:end], column_type, values)
    return positions, values, data[end:]
