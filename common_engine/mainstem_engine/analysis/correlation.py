"""How values depend on those before them, by their order, whatever their times.

The *autocovariance* at lag k of n values x with mean m is the sum of (x[i] - m) (x[i+k] - m) over
all pairs, divided by n - k (*adjusted*) or n.

1. XCORR(x, y): the sum of x[i] y[i+k] over the rows that overlap, divided by all n rows, from
   k = n - 1 down to -(n - 1); ACF(x) is XCORR(x, x). Nulls, NaN and infinities count as 0.
2. PACF: the partial autocorrelations up to ``lag`` (by default ``10 log10 n``) from the Yule-Walker
   equations with adjusted autocovariances, by Durbin's and Levinson's recursion; NaN from where
   that cannot be solved. They stand at the times of the first rows: lag 0 at the first. What is
   not finite counts as 0.
3. QLB: Ljung and Box: for each lag up to ``lag`` (by default n - 2) the probability that white
   noise has autocorrelations as large as those up to that lag.
4. AR: the ``p`` coefficients of an autoregressive model, as PACF's equations give them. What is not
   finite is put on straight lines over time first; rows that are not there are not made up
   (RESAMPLE does that).
5. PERIOD of a window: the number of finite values after which they repeat themselves best. Less
   their line of least squares, it is the lag up to n / 2 whose autocorrelation (divided by n) is
   the highest of those that are higher than both neighbours and, adjusted, higher than that of 95
   in 100 series of noise. Null if there is none.

XCORR and ACF are numbered from 0, QLB and AR from 1, as milliseconds since 1970.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from mainstem_engine.analysis.function import (
    Kind,
    Options,
    Parameter,
    PointFunction,
    PointRun,
    WindowFunction,
)
from mainstem_engine.analysis.holes import filled_along_lines
from mainstem_engine.analysis.made_points import check_made
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import readings_of_partitions
from mainstem_engine.analysis.rows import Points, Signal, Timeline, Windows, points_of_pieces
from mainstem_engine.analysis.segment import fitted_line
from mainstem_engine.model import AnyArray, TimesNs

MILLISECOND = 1_000_000
LAGS_MAX = 10_000
"""The recursion takes time by the square of the lags: at this size about a second."""
DIRECT_MAX = 2_048
"""Up to here sums are added one by one, which keeps whole numbers exact; above, transformed."""
NOISE_95 = 1.96
"""Autocorrelations of white noise over n pairs are normal with deviation 1 / sqrt(n)."""


def xcorr(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 per lag; of one column with itself when there is but one."""
    left, right = _zeroed(signals[0]), _zeroed(signals[-1])
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    for begin, end in _spans(timeline):
        count = end - begin
        check_made("xcorr", 2 * count, "take a shorter range of time")
        found = _products(left[begin:end], right[begin:end]) / max(count, 1)
        pieces.append((MILLISECOND * np.arange(len(found), dtype=np.int64), (found,)))
    return points_of_pieces(pieces)


def pacf(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 per lag."""
    values = _zeroed(signals[0])
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    for begin, end in _spans(timeline):
        count = end - begin
        lag = options["lag"]
        if lag is None:
            lag = int(10 * math.log10(count)) if count else 0
        lag = min(lag, count - 1)
        covariances = _autocovariances(values[begin:end], lag, adjusted=True)
        found = _levinson(covariances)[0]
        pieces.append((timeline.times[begin : begin + len(found)], (found,)))
    return points_of_pieces(pieces)


def _numbered(find: Callable[[Floats, Options], Floats]) -> PointRun:
    """Values of each partition's readings, numbered from 1."""

    def run(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
        readings = readings_of_partitions(timeline, signals[0])
        values = filled_along_lines(readings)
        bounds = readings.bounds().tolist()
        pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
        for begin, end in itertools.pairwise(bounds):
            found = find(values[begin:end], options)
            pieces.append((MILLISECOND * np.arange(1, len(found) + 1, dtype=np.int64), (found,)))
        return points_of_pieces(pieces)

    return run


def _qlb(values: Floats, options: Options) -> Floats:
    count = len(values)
    lag = min(count - 2 if options["lag"] is None else options["lag"], count - 2, LAGS_MAX)
    if lag < 1:
        return np.zeros(0)
    covariances = _autocovariances(values, lag, adjusted=False)
    if not covariances[0] > 0:
        return np.full(lag, np.nan)
    shares = (covariances[1:] / covariances[0]) ** 2 / (count - np.arange(1, lag + 1))
    statistics = count * (count + 2) * np.cumsum(shares)
    return _exceeding(statistics)


def _ar(values: Floats, options: Options) -> Floats:
    covariances = _autocovariances(values, min(options["p"], len(values) - 1), adjusted=True)
    found = np.full(options["p"], np.nan)
    coefficients = _levinson(covariances)[1]
    if len(coefficients) == options["p"]:
        found = coefficients
    return found


def period(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """int64 per window."""
    found = np.zeros(len(windows), np.int64)
    numbers = signals[0].numbers()
    begins, ends = windows.begin.tolist(), windows.end.tolist()
    for place, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        values = numbers[begin:end]
        found[place] = _period(values[np.isfinite(values)])
    return Signal(found, found > 0)


def _period(values: Floats) -> int:
    """0 if there is none."""
    count = len(values)
    if count < 4:
        return 0
    covariances = _autocovariances(values - fitted_line(values), count // 2 + 1, adjusted=False)
    if not covariances[0] > 0:
        return 0
    shares = covariances / covariances[0]
    middle = shares[1:-1]
    is_peak = (middle > shares[:-2]) & (middle > shares[2:])
    pairs = count - np.arange(1, len(middle) + 1)
    is_peak &= middle * count / pairs > NOISE_95 / np.sqrt(pairs)
    peaks = np.flatnonzero(is_peak)
    return int(peaks[np.argmax(middle[peaks])]) + 1 if len(peaks) else 0


def _spans(timeline: Timeline) -> list[tuple[int, int]]:
    bounds = timeline.bounds.tolist()
    return list(itertools.pairwise(bounds))


def _zeroed(signal: Signal) -> Floats:
    numbers = signal.numbers()
    return np.where(np.isfinite(numbers), numbers, 0.0)


def _products(left: Floats, right: Floats) -> Floats:
    """float64[2 n - 1]: the sums of left[i] right[i + k], first k = n - 1, last k = -(n - 1)."""
    count = len(left)
    if count == 0:
        return np.zeros(0)
    if count <= DIRECT_MAX:
        return np.correlate(left, right, "full")
    size = 1 << (2 * count - 1).bit_length()
    waves = np.fft.rfft(left, size) * np.fft.rfft(right[::-1], size)
    return np.fft.irfft(waves, size)[: 2 * count - 1]


def _autocovariances(values: Floats, lag: int, *, adjusted: bool) -> Floats:
    """float64[lag + 1]."""
    count = len(values)
    if count == 0:
        return np.zeros(0)
    shifted = values - values.mean()
    sums = _products(shifted, shifted)[count - 1 : count + lag]
    found: Floats = sums / (count - np.arange(len(sums)) if adjusted else count)
    return found


def _levinson(covariances: Floats) -> tuple[Floats, Floats]:
    """The partial autocorrelations, lag 0 first, and the coefficients of the last order. A walk:
    each order is made of the one before."""
    if len(covariances) == 0:
        return np.zeros(0), np.zeros(0)
    partial = np.full(len(covariances), np.nan)
    partial[0] = 1.0
    error = float(covariances[0])
    coefficients = np.zeros(0)
    for order in range(1, len(covariances)):
        if error == 0 or not math.isfinite(error):
            return partial, np.full(len(covariances) - 1, np.nan)
        expected = float(coefficients @ covariances[order - 1 : 0 : -1])
        reflection = (float(covariances[order]) - expected) / error
        coefficients = np.append(coefficients - reflection * coefficients[::-1], reflection)
        error *= 1 - reflection**2
        partial[order] = reflection
    return partial, coefficients


def _exceeding(statistics: Floats) -> Floats:
    """For each k from 1: the probability that a chi-squared variable of k degrees of freedom is
    above the k-th number, by the finite sums (Abramowitz and Stegun, 26.4.4 and 26.4.5)."""
    found = np.ones(len(statistics))
    steps = np.arange(len(statistics) // 2 + 1)
    # Terms in logarithms: powers and factorials overflow long before their quotients do.
    logs = [np.array([math.lgamma(step + odd / 2 + 1) for step in steps]) for odd in (0, 1)]
    for freedom, value in enumerate(statistics.tolist(), 1):
        half, odd, count = value / 2, freedom % 2, freedom // 2
        if half > 0:
            exponents = (steps[:count] + odd / 2) * math.log(half) - half - logs[odd][:count]
            total = float(np.exp(exponents).sum()) + (math.erfc(math.sqrt(half)) if odd else 0.0)
            found[freedom - 1] = min(total, 1.0)
    return found


_LAG = Parameter("lag", Kind.INTEGER, None, low=1, high=LAGS_MAX)

FUNCTIONS = (
    PointFunction("acf", xcorr),
    PointFunction("xcorr", xcorr, columns=(2, 2)),
    PointFunction("pacf", pacf, parameters=(_LAG,)),
    PointFunction("qlb", _numbered(_qlb), parameters=(_LAG,)),
    PointFunction(
        "ar",
        _numbered(_ar),
        parameters=(Parameter("p", Kind.INTEGER, 1, low=1, high=LAGS_MAX),),
    ),
    WindowFunction("period", period),
)
