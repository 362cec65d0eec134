"""Series as sums of waves: Fourier and wavelet transforms, and filters made of them.

Readings count as equally far apart, whatever their times. Nulls, NaN and infinities are passed
over. Every partition is transformed by itself.

1. FFT: the transform without a factor, ``result`` abs, real, imag or angle (radians). ``compress``
   keeps the lowest frequencies until their share of the energy of the lower half is reached, and
   the last value, which tells the length.
2. LOWPASS keeps the frequencies up to ``wpass``, HIGHPASS those above; 1 is the highest frequency
   that the readings can hold, half their rate. Together they are the input.
3. DWT: ``layer`` steps of an orthogonal wavelet on a circle. Each step turns the averages into half
   as many averages, then details; the answer starts with the last averages. DB4, DB6 and DB8 are
   Daubechies' with 4, 6 and 8 coefficients; ``coef`` gives others. The number of readings is a
   power of two, and can be halved ``layer`` times.

The values of FFT are numbered from 0, as milliseconds since 1970; those of the others stand at
the readings' times.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.medians import Floats
from mainstem_engine.analysis.readings import Readings, readings_of_partitions
from mainstem_engine.analysis.rows import (
    Mask,
    Points,
    Positions,
    Signal,
    Timeline,
    points_of_pieces,
    points_of_rows,
)
from mainstem_engine.errors import SqlError
from mainstem_engine.model import AnyArray, TimesNs

MILLISECOND = 1_000_000
_RESULTS: dict[str, Callable[[AnyArray], AnyArray]] = {
    "abs": np.abs,
    "real": np.real,
    "imag": np.imag,
    "angle": np.angle,
}
LAYERS_MAX = 62
"""More halvings than an array can have readings."""
COEFFICIENTS_MAX = 100
"""Of a wavelet; Daubechies' longest in use has 76."""


def fft(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 per frequency."""
    readings = _finite(timeline, signals[0])
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    for part in _parts(readings):
        values = readings.values[part]
        waves = np.fft.fft(values) if len(values) else np.zeros(0, np.complex128)
        at = _reserved(waves, options["compress"])
        pieces.append((at * MILLISECOND, (_RESULTS[options["result"]](waves[at]),)))
    return points_of_pieces(pieces)


def lowpass(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 at each finite reading."""
    return _filtered(timeline, signals[0], lambda share: share <= options["wpass"])


def highpass(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 at each finite reading."""
    return _filtered(timeline, signals[0], lambda share: share > options["wpass"])


def dwt(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 at each finite reading."""
    readings = _finite(timeline, signals[0])
    coefficients = _coefficients(options)
    found = readings.values.copy()
    for part in _parts(readings):
        count = part.stop - part.start
        if count & (count - 1) or (count and count >> options["layer"] == 0):
            raise SqlError(
                f"dwt: {count} readings cannot be halved {options['layer']} times down to one",
                field="dwt",
                hint="take a number of readings that is a power of two, such as 1024",
            )
        for layer in range(options["layer"] if count else 0):
            averages = slice(part.start, part.start + (count >> layer))
            found[averages] = _split(found[averages], coefficients)
    return points_of_rows(timeline, readings.rows, Signal(found))


def _finite(timeline: Timeline, signal: Signal) -> Readings:
    readings = readings_of_partitions(timeline, signal)
    return readings.take(np.flatnonzero(np.isfinite(readings.values)))


def _parts(readings: Readings) -> list[slice]:
    bounds = readings.bounds().tolist()
    return [slice(begin, end) for begin, end in itertools.pairwise(bounds)]


def _reserved(waves: AnyArray, share: float | None) -> Positions:
    """The frequencies that are reported."""
    if share is None or len(waves) == 0:
        return np.arange(len(waves), dtype=np.int64)
    energy = np.cumsum(np.abs(waves[: len(waves) // 2 + 1]) ** 2)
    kept = int(np.searchsorted(energy, share * energy[-1])) + 1
    kept = min(kept, len(energy))
    return np.unique([*range(kept), len(waves) - 1]).astype(np.int64)


def _filtered(timeline: Timeline, signal: Signal, keeps: Callable[[Floats], Mask]) -> Points:
    readings = _finite(timeline, signal)
    found = np.empty(len(readings.values))
    for part in _parts(readings):
        count = part.stop - part.start
        if count:
            waves = np.fft.rfft(readings.values[part])
            shares = np.arange(len(waves)) * 2 / count
            found[part] = np.fft.irfft(np.where(keeps(shares), waves, 0), count)
    return points_of_rows(timeline, readings.rows, Signal(found))


def _split(values: Floats, coefficients: Floats) -> Floats:
    """Averages, then details, half as many each."""
    width = len(coefficients)
    details = coefficients[::-1] * np.where(np.arange(width) % 2, -1.0, 1.0)
    starts = np.arange(0, len(values), 2)
    table = values[(starts[:, np.newaxis] + np.arange(width)) % len(values)]
    return np.concatenate((table @ coefficients, table @ details))


def _coefficients(options: Options) -> Floats:
    if options["coef"] is None:
        return _daubechies({"haar": 1, "db4": 2, "db6": 3, "db8": 4}[options["method"]])
    try:
        found = np.array([float(part) for part in options["coef"].split(",")])
    except ValueError:
        found = np.zeros(0)
    if not 2 <= len(found) <= COEFFICIENTS_MAX or len(found) % 2 or not np.isfinite(found).all():
        raise SqlError(
            "dwt: coef is an even number of numbers with commas between them",
            field="dwt",
            hint="such as '0.5,0.5'",
        )
    return found


def _daubechies(moments: int) -> Floats:
    """The orthonormal wavelet with that many vanishing moments and least phase delay, by spectral
    factorisation (Daubechies, Ten Lectures on Wavelets, 1992, section 6.1)."""
    # P(y) = sum of C(N - 1 + k, k) y^k, with y = (2 - z - 1/z) / 4; each root y gives a pair of
    # roots z, 1/z, of which the one inside the unit circle is taken.
    polynomial = [1.0]
    for k in range(1, moments):
        polynomial.append(polynomial[-1] * (moments - 1 + k) / k)
    roots = []
    for y in np.roots(polynomial[::-1]):
        half = 1 - 2 * y
        root = half + np.sqrt(half**2 - 1 + 0j)
        roots.append(root if abs(root) < 1 else 1 / root)
    found = np.real(np.poly([*([-1.0] * moments), *roots]))
    scaled: Floats = found * np.sqrt(2) / found.sum()
    return scaled


FUNCTIONS = (
    PointFunction(
        "fft",
        fft,
        parameters=(
            Parameter("result", Kind.TEXT, "abs", ("abs", "real", "imag", "angle")),
            Parameter("compress", Kind.NUMBER, None, low=0, high=1),
            Parameter("method", Kind.TEXT, "uniform", ("uniform",), aliases=("type",)),
        ),
    ),
    PointFunction("lowpass", lowpass, parameters=(Parameter("wpass", Kind.NUMBER, low=0, high=1),)),
    PointFunction(
        "highpass", highpass, parameters=(Parameter("wpass", Kind.NUMBER, low=0, high=1),)
    ),
    PointFunction(
        "dwt",
        dwt,
        parameters=(
            Parameter("method", Kind.TEXT, "haar", ("haar", "db4", "db6", "db8")),
            Parameter("coef", Kind.TEXT, None),
            Parameter("layer", Kind.INTEGER, 1, low=1, high=LAYERS_MAX),
        ),
    ),
)
