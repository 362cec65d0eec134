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

4. IFFT takes FFT's real and imaginary parts, numbered by their times as FFT does it, back to the
   readings, at ``start``, ``start + interval`` and so on. Values that are not there are mirrored,
   as compression leaves them, or 0. IDWT takes DWT's answer back to the readings.

The values of FFT are numbered from 0, as milliseconds since 1970; those of the others stand at
the readings' times.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, PointFunction
from mainstem_engine.analysis.made_points import check_made
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
    coefficients = _coefficients("dwt", options)
    found = readings.values.copy()
    for part in _parts(readings):
        count = part.stop - part.start
        _check_halves("dwt", count, options["layer"])
        for layer in range(options["layer"] if count else 0):
            averages = slice(part.start, part.start + (count >> layer))
            found[averages] = _split(found[averages], coefficients)
    return points_of_rows(timeline, readings.rows, Signal(found))


def idwt(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 at each finite reading."""
    readings = _finite(timeline, signals[0])
    coefficients = _coefficients("idwt", options)
    found = readings.values.copy()
    for part in _parts(readings):
        count = part.stop - part.start
        _check_halves("idwt", count, options["layer"])
        for layer in reversed(range(options["layer"] if count else 0)):
            averages = slice(part.start, part.start + (count >> layer))
            found[averages] = _joined(found[averages], coefficients)
    return points_of_rows(timeline, readings.rows, Signal(found))


def ifft(timeline: Timeline, signals: Sequence[Signal], options: Options) -> Points:
    """float64 per reading."""
    real, imaginary = (signal.numbers() for signal in signals)
    usable = np.isfinite(real) & np.isfinite(imaginary)
    number = timeline.times // MILLISECOND
    pieces: list[tuple[TimesNs, tuple[AnyArray, ...]]] = []
    bounds = timeline.bounds.tolist()
    for begin, end in itertools.pairwise(bounds):
        rows = begin + np.flatnonzero(usable[begin:end])
        if len(rows) and number[rows[0]] < 0:
            raise SqlError(
                "ifft: values are numbered from 1970 on, a millisecond each",
                field="ifft",
                hint="give it what FFT answers, with its times",
            )
        count = int(number[rows[-1]]) + 1 if len(rows) else 0
        check_made("ifft", count, "give it what FFT answers, with its times")
        found = _restored(number[rows], real[rows] + 1j * imaginary[rows], count)
        times = options["start"] + options["interval"] * np.arange(count, dtype=np.int64)
        pieces.append((times, (found,)))
    return points_of_pieces(pieces)


def _restored(places: Positions, values: AnyArray, count: int) -> Floats:
    """The readings of which the waves ``values`` at ``places`` are left."""
    if count == 0:
        return np.zeros(0)
    waves = np.zeros(count, np.complex128)
    mirrored = (count - places) % count
    waves[mirrored] = np.conj(values)
    waves[places] = values
    readings: Floats = np.real(np.fft.ifft(waves))
    return readings


def _check_halves(name: str, count: int, layers: int) -> None:
    if count & (count - 1) or (count and count >> layers == 0):
        raise SqlError(
            f"{name}: {count} readings cannot be halved {layers} times down to one",
            field=name,
            hint="take a number of readings that is a power of two, such as 1024",
        )


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


def _joined(halves: Floats, coefficients: Floats) -> Floats:
    """What ``_split`` splits, if the wavelet is orthogonal: its transpose."""
    width = len(coefficients)
    details = coefficients[::-1] * np.where(np.arange(width) % 2, -1.0, 1.0)
    starts = np.arange(0, len(halves), 2)
    low, high = halves[: len(starts)], halves[len(starts) :]
    values = np.zeros(len(halves))
    for step in range(width):
        values[(starts + step) % len(halves)] += low * coefficients[step] + high * details[step]
    return values


def _coefficients(name: str, options: Options) -> Floats:
    if options["coef"] is None:
        return _daubechies({"haar": 1, "db4": 2, "db6": 3, "db8": 4}[options["method"]])
    try:
        found = np.array([float(part) for part in options["coef"].split(",")])
    except ValueError:
        found = np.zeros(0)
    if not 2 <= len(found) <= COEFFICIENTS_MAX or len(found) % 2 or not np.isfinite(found).all():
        raise SqlError(
            f"{name}: coef is an even number of numbers with commas between them",
            field=name,
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


_WAVELET = (
    Parameter("method", Kind.TEXT, "haar", ("haar", "db4", "db6", "db8")),
    Parameter("coef", Kind.TEXT, None),
    Parameter("layer", Kind.INTEGER, 1, low=1, high=LAYERS_MAX),
)

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
    PointFunction("dwt", dwt, parameters=_WAVELET),
    PointFunction("idwt", idwt, parameters=_WAVELET),
    PointFunction(
        "ifft",
        ifft,
        columns=(2, 2),
        parameters=(
            Parameter("start", Kind.TIME, 0),
            Parameter("interval", Kind.DURATION, 1_000 * MILLISECOND, low=1),
        ),
    ),
)
