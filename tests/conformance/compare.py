"""Compares an answer with the expected rows of a case.

The answer may have more columns (a path's answer begins with the time): every expected column must
be one of the answer's, in their order, so that all values are the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

COLUMNS_MAX = 12
"""Columns of an answer that are tried; no case has more."""


def same_rows(
    found: Sequence[Sequence[Any]],
    expected: Sequence[Sequence[Any]],
    *,
    ordered: bool,
    tolerance: float,
) -> bool:
    """True if some choice of the answer's columns is what is expected."""
    if len(found) != len(expected):
        return False
    if not expected:
        return True
    width, wanted = len(found[0]), len(expected[0])
    if width > COLUMNS_MAX or wanted > width:
        return False
    for columns in itertools.combinations(range(width), wanted):
        picked = [[row[column] for column in columns] for row in found]
        if _same(picked, expected, ordered=ordered, tolerance=tolerance):
            return True
    return False


def _same(
    found: list[list[Any]], expected: Sequence[Sequence[Any]], *, ordered: bool, tolerance: float
) -> bool:
    if ordered:
        return all(_same_row(a, b, tolerance) for a, b in zip(found, expected, strict=True))
    left = list(found)
    for row in expected:
        match = next((other for other in left if _same_row(other, row, tolerance)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_row(found: Sequence[Any], expected: Sequence[Any], tolerance: float) -> bool:
    return all(same_value(a, b, tolerance) for a, b in zip(found, expected, strict=True))


def same_value(found: Any, expected: Any, tolerance: float) -> bool:
    """True for equal values; numbers within the tolerance, relative above 1; "NaN" is NaN."""
    if expected == "NaN" and isinstance(found, float):
        return math.isnan(found)
    if isinstance(found, bool) or isinstance(expected, bool):
        return bool(found is expected)
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance)
    return bool(found == expected)
