"""Comparisons of a measurement with a constant that mean the same to the engine as to DuckDB.

DuckDB compares both sides in a type that they have in common. Taken up is only what needs no
rounding there, so that the engine may compare in the type of the measurement:

1. Integers with integers that are values of their type.
2. DOUBLE with integers below 2^53, with decimals of up to 15 digits, which become the nearest
   DOUBLE in both, and with parameters that are floats. NaN and infinities are left alone.
3. FLOAT with integers below 2^24.

Anything else stays in the WHERE of a statement that reads rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sqlglot import exp

from mainstem_engine.model import ColumnType
from mainstem_engine.value_filter import (
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    LESS,
    LESS_EQUAL,
    NOT_EQUAL,
)

OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: EQUAL,
    exp.NEQ: NOT_EQUAL,
    exp.LT: LESS,
    exp.LTE: LESS_EQUAL,
    exp.GT: GREATER,
    exp.GTE: GREATER_EQUAL,
}

_EXACT_DOUBLE = 1 << 53
_EXACT_FLOAT = 1 << 24
_DIGITS_MAX = 15
"""Decimals of so many digits are a quotient of two integers that a DOUBLE holds exactly."""


def exact_number(kind: ColumnType, value: int | float | str) -> int | float | None:
    """A constant as a value of the type ``kind``; None where DuckDB might round or refuse.

    ``value``: a parameter, or a literal as it is written.
    """
    number = _parsed(value) if isinstance(value, str) else value
    if number is None or isinstance(number, bool):
        return None
    if isinstance(number, float):
        return number if kind == ColumnType.DOUBLE and math.isfinite(number) else None
    if kind.is_float:
        largest = _EXACT_DOUBLE if kind == ColumnType.DOUBLE else _EXACT_FLOAT
        return number if abs(number) < largest else None
    if not kind.is_integer:
        return None
    limits = np.iinfo(kind.dtype)
    return number if limits.min <= number <= limits.max else None


def _parsed(text: str) -> int | float | None:
    """The number that a literal names, None for one that DuckDB might read otherwise."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, point, fraction = digits.partition(".")
    if not (whole + fraction).isdecimal() or not (whole + fraction).isascii():
        return None
    if not point:
        return sign * int(whole)
    if not whole or not fraction or len(whole) + len(fraction) > _DIGITS_MAX:
        return None
    return sign * float(digits)


def literal_of(node: Any) -> str | None:
    """A number as it is written, None for anything else."""
    if isinstance(node, exp.Neg):
        text = literal_of(node.this)
        return None if text is None or text.startswith("-") else f"-{text}"
    if isinstance(node, exp.Literal) and not node.is_string:
        return str(node.this)
    return None
