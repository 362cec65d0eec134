"""Arithmetic on whole numbers that is exact or refused.

Integers of the engine are 64 bits wide. A result that does not fit raises SqlError; it never wraps
and never turns into a float that is only nearly right.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mainstem_engine.analysis.rows import Mask, Positions
from mainstem_engine.errors import SqlError
from mainstem_engine.model import AnyArray

Integers = npt.NDArray[np.int64]

_WRAPPED = 2.0**62
"""A wrapped sum is off by a multiple of 2^64, an estimate in floats by far less than this."""


def is_whole(values: AnyArray) -> bool:
    """True for integers, of either sign or none, and booleans."""
    return values.dtype.kind in "iub"


def subtract(function: str, left: AnyArray, right: AnyArray) -> AnyArray:
    """``left - right``: int64 of integers and booleans (float64 of floats). Raises SqlError where
    an integer does not fit."""
    if not is_whole(left):
        with np.errstate(invalid="ignore", over="ignore"):  # infinities follow IEEE 754
            difference: AnyArray = left - right
        return difference
    minuend, subtrahend = left.astype(np.int64), right.astype(np.int64)
    difference = minuend - subtrahend
    if left.dtype.kind == "u":
        # The bits of a difference are right whatever the sign; it fits if its sign is.
        if bool(((left >= right) != (difference >= 0)).any()):
            raise _too_large(function)
        return difference
    # The sign of a difference may differ from the first operand's only if the operands' do not.
    if bool((((minuend ^ subtrahend) & (minuend ^ difference)) < 0).any()):
        raise _too_large(function)
    return difference


def magnitude(function: str, values: AnyArray) -> AnyArray:
    """The absolute values, of the same type. Raises SqlError for -2^63, which has none."""
    if is_whole(values) and bool((values == np.iinfo(np.int64).min).any()):
        raise _too_large(function)
    return np.abs(values)


def compare(operator: np.ufunc, values: AnyArray, bound: float) -> Mask:
    """``values`` compared with a bound; whole numbers as whole numbers where it is one."""
    wanted: float | int = bound
    if values.dtype == np.bool_:
        values = values.astype(np.int64)
    if is_whole(values) and math.isfinite(bound) and float(bound).is_integer():
        wanted = int(bound)  # as a float it would round the integers beside it
    found: Mask = operator(values, wanted)
    return found


def running_sums(function: str, values: AnyArray, bounds: Positions) -> Integers:
    """int64[n]: the sum of each partition's integers up to and with each of them. Raises SqlError
    where one does not fit."""
    if len(values) == 0:
        return np.zeros(0, np.int64)
    whole = values.astype(np.int64)
    # Sums of earlier partitions may wrap: subtracting what they left undoes that exactly.
    wrapped = _less_earlier(np.cumsum(whole), whole, bounds)
    numbers = values.astype(np.float64)
    estimate = _less_earlier(np.cumsum(numbers), numbers, bounds)
    if bool((np.abs(estimate - wrapped) > _WRAPPED).any()):
        raise _too_large(function)
    return wrapped


def sums(function: str, values: AnyArray, begin: Positions) -> AnyArray:
    """The sum from each position of ``begin`` (ascending) up to the next: int64 of whole numbers,
    else float64. Raises SqlError where an integer does not fit."""
    whole = is_whole(values)
    found: AnyArray = np.add.reduceat(values.astype(np.int64) if whole else values, begin)
    if whole:
        estimate = np.add.reduceat(values.astype(np.float64), begin)
        if bool((np.abs(estimate - found) > _WRAPPED).any()):
            raise _too_large(function)
    return found


def _less_earlier(sums: AnyArray, values: AnyArray, bounds: Positions) -> AnyArray:
    """Sums over all rows, made sums within each partition."""
    lengths = np.diff(bounds)
    starts = bounds[:-1][lengths > 0]
    earlier = sums[starts] - values[starts]
    less: AnyArray = sums - np.repeat(earlier, lengths[lengths > 0])
    return less


def _too_large(function: str) -> SqlError:
    return SqlError(
        f"{function}: a result does not fit into 64 bits",
        field=function,
        hint="cast the column to DOUBLE: it is then computed approximately",
    )
