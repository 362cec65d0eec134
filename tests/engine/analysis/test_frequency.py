"""Transforms and filters: worked examples, and the identities that define them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.analysis import library
from mainstem_engine.analysis.rows import Points, Signal, Timeline
from mainstem_engine.errors import SqlError

SECOND = 10**9
WAVES = [math.sin(math.pi * t / 2) + 2 * math.sin(2 * math.pi * t / 5) for t in range(1, 21)]


def run(
    name: str, values: Sequence[float], *, bounds: Sequence[int] = (), **options: Any
) -> Points:
    rows = Timeline(
        np.arange(len(values), dtype=np.int64) * SECOND,
        np.array(bounds or [0, len(values)], np.int64),
    )
    return call(name, rows, Signal(np.array(values, np.float64)), **options)


def call(name: str, rows: Timeline, *signals: Signal, **options: Any) -> Points:
    function = library.point_function(name)
    assert function is not None
    bound = {p.name: p.default for p in function.parameters} | options
    return function.run(rows, signals, bound)


def values_of(points: Points) -> list[float]:
    return list(points.signals[0].values.tolist())


def test_fft_of_two_waves() -> None:
    found = run("fft", WAVES)
    assert found.times.tolist() == [i * 1_000_000 for i in range(20)]
    expected = np.zeros(20)
    expected[[4, 16]], expected[[5, 15]] = 20, 10
    assert values_of(found) == pytest.approx(expected.tolist(), abs=1e-12)
    kept = run("fft", WAVES, compress=0.99)
    assert (kept.times // 1_000_000).tolist() == [0, 1, 2, 3, 4, 5, 19]
    kept = run("fft", WAVES, compress=0.5)
    assert (kept.times // 1_000_000).tolist() == [0, 1, 2, 3, 4, 19]


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=12))
def test_fft_is_that_of_the_definition(values: list[int]) -> None:
    turn = -2j * math.pi / len(values)
    waves = [
        sum(x * np.exp(turn * k * t) for t, x in enumerate(values)) for k in range(len(values))
    ]
    real, imag = (run("fft", values, result=part) for part in ("real", "imag"))
    assert values_of(real) == pytest.approx([w.real for w in waves], abs=1e-9)
    assert values_of(imag) == pytest.approx([w.imag for w in waves], abs=1e-9)
    size, angle = (np.array(values_of(run("fft", values, result=r))) for r in ("abs", "angle"))
    assert (size * np.exp(1j * angle)).tolist() == pytest.approx(waves, abs=1e-9)


def test_filters_take_the_waves_apart() -> None:
    low, high = (values_of(run(name, WAVES, wpass=0.45)) for name in ("lowpass", "highpass"))
    times = range(1, 21)
    assert low == pytest.approx([2 * math.sin(2 * math.pi * t / 5) for t in times], abs=1e-12)
    assert high == pytest.approx([math.sin(math.pi * t / 2) for t in times], abs=1e-12)


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=30), st.floats(0, 1))
def test_filters_add_up(values: list[int], wpass: float) -> None:
    low, high = (np.array(values_of(run(n, values, wpass=wpass))) for n in ("lowpass", "highpass"))
    assert (low + high).tolist() == pytest.approx(values, abs=1e-9)


def test_what_is_not_finite_is_passed_over_and_partitions_are_apart() -> None:
    found = run("lowpass", [4, math.nan, 6, math.inf, 10, 20], bounds=[0, 4, 4, 6], wpass=0.0)
    assert (found.times // SECOND).tolist() == [0, 2, 4, 5]
    assert values_of(found) == pytest.approx([5, 5, 15, 15])
    found = run("fft", [4, math.nan, 6, math.inf, 10, 20], bounds=[0, 4, 4, 6])
    assert found.bounds.tolist() == [0, 2, 2, 4]
    assert values_of(found) == pytest.approx([10, 2, 30, 10])


def test_haar() -> None:
    found = values_of(run("dwt", [0, 0.2, 1.5, 1.2]))
    root = math.sqrt(2)
    assert found == pytest.approx([0.2 / root, 2.7 / root, -0.2 / root, 0.3 / root])
    found = values_of(run("dwt", [0, 0.2, 1.5, 1.2], layer=2))
    assert found == pytest.approx([1.45, -1.25, -0.2 / root, 0.3 / root])


@pytest.mark.parametrize(("method", "moments"), [("haar", 1), ("db4", 2), ("db6", 3), ("db8", 4)])
def test_wavelets_keep_energy_and_do_not_see_polynomials(method: str, moments: int) -> None:
    signal = [math.sin(i) + i % 3 for i in range(64)]
    found = values_of(run("dwt", signal, method=method, layer=3))
    assert np.dot(found, found) == pytest.approx(np.dot(signal, signal))
    curve = [float(i) ** (moments - 1) for i in range(64)]
    details = values_of(run("dwt", curve, method=method))[32:]
    # The last details reach around the circle, where the curve jumps.
    assert details[: 32 - moments + 1] == pytest.approx([0] * (33 - moments), abs=1e-6)
    assert (
        abs(values_of(run("dwt", [x * i for i, x in enumerate(curve)], method=method))[32]) > 1e-3
    )


def test_coefficients_of_the_user() -> None:
    assert values_of(run("dwt", [1, 3, 5, 9], coef="0.5,0.5")) == [2, 7, -1, -2]
    for coef in ("1", "1,x", "1,2,3", "inf,1", ""):
        with pytest.raises(SqlError, match="coef"):
            run("dwt", [1, 3], coef=coef)


@pytest.mark.parametrize(("count", "layer"), [(3, 1), (12, 1), (4, 3), (1, 1)])
def test_only_powers_of_two_can_be_halved(count: int, layer: int) -> None:
    with pytest.raises(SqlError, match="halved"):
        run("dwt", [1] * count, layer=layer)


def test_dwt_of_nothing() -> None:
    assert values_of(run("dwt", [math.nan])) == []


@pytest.mark.parametrize("method", ["haar", "db4", "db6", "db8"])
@pytest.mark.parametrize("layer", [1, 2, 4])
def test_idwt_takes_dwt_back(method: str, layer: int) -> None:
    signal = [math.sin(i) * i for i in range(16)]
    split = values_of(run("dwt", signal, method=method, layer=layer))
    assert values_of(run("idwt", split, method=method, layer=layer)) == pytest.approx(signal)
    with pytest.raises(SqlError, match="idwt: 3 readings"):
        run("idwt", [1, 2, 3], method=method)


@pytest.mark.parametrize("compress", [None, 0.99])
def test_ifft_takes_fft_back(compress: float | None) -> None:
    parts = [run("fft", WAVES, result=part, compress=compress) for part in ("real", "imag")]
    rows = Timeline(parts[0].times, parts[0].bounds)
    signals = [part.signals[0] for part in parts]
    found = call("ifft", rows, *signals, start=7 * SECOND, interval=2 * SECOND)
    assert found.times.tolist() == [(7 + 2 * i) * SECOND for i in range(20)]
    assert values_of(found) == pytest.approx(WAVES, abs=1e-9)


def test_ifft_passes_over_holes_and_refuses_other_times(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Timeline(np.array([0, 1, 2, 5]) * 1_000_000, np.array([0, 3, 3, 4]))
    real = Signal(np.array([6.0, -2, math.nan, math.nan]))
    found = call("ifft", rows, real, Signal(np.array([0.0, 0, 0, 0])))
    assert values_of(found) == pytest.approx([2, 4])
    assert found.bounds.tolist() == [0, 2, 2, 2]
    early = Timeline(np.array([-1]), np.array([0, 1]))
    with pytest.raises(SqlError, match="from 1970"):
        call("ifft", early, Signal(np.ones(1)), Signal(np.ones(1)))
    late = Timeline(np.array([10**18]), np.array([0, 1]))
    with pytest.raises(SqlError, match="would make"):
        call("ifft", late, Signal(np.ones(1)), Signal(np.ones(1)))
