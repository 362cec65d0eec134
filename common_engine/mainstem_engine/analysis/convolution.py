"""Two series as polynomials: their product and their quotient.

1. The finite values of a column are the coefficients of a polynomial, the first one that of the
   lowest power. Times and rows of the two columns need not match.
2. CONV is the product. DECONV divides the first by the second: ``result`` quotient or remainder.
   A divisor of zeros has neither; the remainder is as long as the dividend.

Values are numbered from 0, as milliseconds since 1970.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction, PointRun
from mainstem_engine.analysis.made_points import check_made
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.rows import Points, Signal, Timeline, points_of_pieces
from mainstem_engine.errors import SqlLimitError
from mainstem_engine.model import AnyArray, TimesNs

MILLISECOND = 1_000_000
DIRECT_MAX = 1 << 22
"""Up to so many products they are added one by one; above, transformed, with rounding."""
DIVISIONS_MAX = 100_000_000
"""Products of a division: below a second. Divisions are not transformed."""


def _conv(left: Floats, right: Floats, options: Options) -> Floats:
    if len(left) == 0 or len(right) == 0:
        return np.zeros(0)
    count = len(left) + len(right) - 1
    check_made("conv", count, "take a shorter range of time")
    if len(left) * len(right) <= DIRECT_MAX:
        return np.convolve(left, right)
    size = 1 << (count - 1).bit_length()
    product: Floats = np.fft.irfft(np.fft.rfft(left, size) * np.fft.rfft(right, size), size)
    return product[:count]


def _deconv(left: Floats, right: Floats, options: Options) -> Floats:
    divisor = np.trim_zeros(right, "b")
    steps = len(left) - len(divisor) + 1
    if len(divisor) == 0 or len(left) == 0:
        return np.zeros(0)
    if max(steps, 0) * len(divisor) > DIVISIONS_MAX:
        raise SqlLimitError(
            f"deconv would take {steps * len(divisor)} products, more than {DIVISIONS_MAX}",
            field="deconv",
            hint="take a shorter range of time",
        )
    remainder = left.copy()
    quotient = np.zeros(max(steps, 0))
    # From the highest power down, as by hand: each digit changes what is left to divide.
    for power in reversed(range(len(quotient))):
        factor = remainder[power + len(divisor) - 1] / divisor[-1]
        quotient[power] = factor
        remainder[power : power + len(divisor)] -= factor * divisor
        remainder[power + len(divisor) - 1] = 0.0
    return quotient if options["result"] == "quotient" else remainder


def _of_partitions(compute: Callable[[Floats, Floats, Options], Floats]) -> PointRun:
    def run(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
        left, right = (signal.numbers() for signal in signals)
        pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
        bounds = timeline.bounds.tolist()
        for begin, end in itertools.pairwise(bounds):
            one, two = left[begin:end], right[begin:end]
            found = compute(one[np.isfinite(one)], two[np.isfinite(two)], options)
            pieces.append((MILLISECOND * np.arange(len(found), dtype=np.int64), (found,)))
        return points_of_pieces(pieces)

    return run


FUNCTIONS = (
    PointFunction("conv", _of_partitions(_conv), columns=(2, 2)),
    PointFunction(
        "deconv",
        _of_partitions(_deconv),
        columns=(2, 2),
        parameters=(Parameter("result", Kind.TEXT, "quotient", ("quotient", "remainder")),),
    ),
)
