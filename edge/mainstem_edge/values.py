"""Raw values of one measurement become a typed column; what cannot is named, and nothing is bent.

1. The kinds of a whole column are looked at first. A column of one fitting kind becomes an array in
   one step; only a column with a misfit is looked at value by value.
2. A number fits FLOAT and DOUBLE (rounded once, when it must be) unless it is infinite, NaN or
   beyond the type. A number without a fraction fits an integer type that can hold it. ``true``,
   ``false``, 0 and 1 fit BOOLEAN. Text fits TEXT, base64 text BLOB, a time TIMESTAMP.
3. Anything else is refused: a fraction for an integer, text for a number, a boolean for a number.
4. None is null, not a misfit.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mainstem_edge.payload_time import TimeReader
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType

_NONE = type(None)
_NUMBERS = frozenset({int, float})
_BOOLEAN_TEXTS = {
    "true": True, "false": False, "1": True, "0": False, "on": True, "off": False,
}  # fmt: skip


class Misfit(ValueError):
    """A value that the type cannot hold."""


def typed_column(
    raw: Sequence[Any],
    kind: ColumnType,
    times: TimeReader,
    *,
    textual: bool = False,
    floats: bool = False,
) -> tuple[Column, list[int]]:
    """(column of n values, rows whose value does not fit, which are null in it).

    ``times`` reads the values of a TIMESTAMP measurement, into nanoseconds. ``textual``: the values
    are text, as in CSV. ``floats``: they are known to be finite floats or None.
    """
    if floats and kind == ColumnType.DOUBLE:
        return _doubles(raw), []
    if kind == ColumnType.TIMESTAMP:
        return _timestamps(raw, times)
    if textual and kind not in (ColumnType.TEXT, ColumnType.BLOB):
        raw = [_from_text(value, kind) for value in raw]
    kinds = set(map(type, raw))
    has_null = _NONE in kinds
    kinds.discard(_NONE)
    valid = np.array([v is not None for v in raw], np.bool_) if has_null else None
    column = _fast(raw, kinds, kind, valid)
    if column is not None:
        return column, []
    return _slow(raw, kind)


def _doubles(raw: Sequence[float | None]) -> Column:
    """Finite floats and None. numpy reads None as NaN, and there is no other NaN among them."""
    values = np.fromiter(raw, np.float64, len(raw))
    null = np.isnan(values)
    if not null.any():
        return Column(values)
    values[null] = 0.0
    return Column(values, ~null)


def all_null(count: int, kind: ColumnType) -> Column:
    """A column of nulls."""
    empty = None if kind.is_variable else 0
    return Column(np.full(count, empty, kind.dtype), np.zeros(count, np.bool_))


def _fast(
    raw: Sequence[Any], kinds: set[type], kind: ColumnType, valid: BoolMask | None
) -> Column | None:
    """The column when every value fits without a second look, else None."""
    if not kinds:
        return all_null(len(raw), kind)
    if kind.is_variable:
        if kind != ColumnType.TEXT or kinds != {str}:
            return None
        boxed = np.empty(len(raw), object)
        boxed[:] = raw
        return Column(boxed, valid)
    fits = {bool} if kind == ColumnType.BOOLEAN else {int} if kind.is_integer else _NUMBERS
    if not kinds <= fits:
        return None
    filled = raw if valid is None else [0 if v is None else v for v in raw]
    try:
        values = np.fromiter(filled, np.float64 if kind.is_float else kind.dtype, len(raw))
    except OverflowError:
        return None
    if kind.is_float:
        if not np.isfinite(values).all():
            return None
        if kind == ColumnType.FLOAT:
            with np.errstate(over="ignore"):
                values = values.astype(np.float32)
            if not np.isfinite(values).all():
                return None
    return Column(values, valid)


def _slow(raw: Sequence[Any], kind: ColumnType) -> tuple[Column, list[int]]:
    """Value by value; misfits become null and are listed."""
    check = _checker(kind)
    column = all_null(len(raw), kind)
    valid = column.valid
    misfits: list[int] = []
    for row, value in enumerate(raw):
        if value is None:
            continue
        try:
            column.values[row] = check(value)
        except (Misfit, OverflowError):
            misfits.append(row)
        else:
            if valid is not None:
                valid[row] = True
    return column, misfits


def _checker(kind: ColumnType) -> Callable[[Any], Any]:
    if kind == ColumnType.BOOLEAN:
        return _boolean
    if kind == ColumnType.TEXT:
        return _text
    if kind == ColumnType.BLOB:
        return _blob
    if kind == ColumnType.FLOAT:
        return _single
    if kind == ColumnType.DOUBLE:
        return _number
    info = np.iinfo(kind.dtype)
    low, high = int(info.min), int(info.max)
    return lambda value: _integer(value, low, high)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise Misfit


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Misfit


def _blob(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise Misfit


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit
    number = float(value)
    if not math.isfinite(number):
        raise Misfit
    return number


def _single(value: Any) -> float:
    number = _number(value)
    struct.pack("<f", number)  # OverflowError when it would round to infinity
    return number


def _integer(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit
    if isinstance(value, float):
        if not value.is_integer():
            raise Misfit
        value = int(value)
    if not low <= value <= high:
        raise Misfit
    return int(value)


def _timestamps(raw: Sequence[Any], times: TimeReader) -> tuple[Column, list[int]]:
    ns, misfits = times.read_values(raw)
    valid: AnyArray = np.array([v is not None for v in raw], np.bool_)
    valid[misfits] = False
    return Column(ns, None if valid.all() else valid), misfits


def _from_text(value: str | None, kind: ColumnType) -> Any:
    """The number or boolean that a text stands for; the text itself when it stands for none."""
    if value is None:
        return None
    if kind == ColumnType.BOOLEAN:
        return boolean_of(value)
    return number_of(value)


def boolean_of(text: str) -> Any:
    """The boolean of a text, or the text when it is none."""
    return _BOOLEAN_TEXTS.get(text.strip().casefold(), text)


def number_of(text: str) -> Any:
    """int or float of a text, or the text when it is neither. Digits grouped by _ are no number."""
    if "_" in text:
        return text
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
