"""Sizes, rates, durations, and conversions between units of measurements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_node.config.units import (
    _UNITS,
    conversion,
    duration_name,
    parse_duration,
    parse_rate,
    parse_size,
)
from mainstem_node.errors import UnitError

NS = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20GB", 20 * 10**9), ("20GiB", 20 << 30), ("256MiB", 256 << 20), ("1.5KiB", 1536),
        ("512", 512), ("3 kB", 3000), ("0", 0),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1Mbit/s", 10**6), ("256kbit/s", 256_000), ("2MB/s", 16 * 10**6), ("0bit/s", 0)],
)
def test_rates_are_bits_per_second(text: str, expected: int) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100ms", NS // 10), ("90s", 90 * NS), ("15m", 900 * NS), ("1h", 3600 * NS),
        ("10d", 864_000 * NS), ("1y", 365 * 86_400 * NS), ("1.5h", 5400 * NS), ("0s", 0),
        ("2w", 14 * 86_400 * NS),
    ],
)  # fmt: skip
def test_durations(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "10", "s", "-5s", "1 hour", "1e3s", "999999y", "0.1ns"])
def test_what_is_no_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_duration(text)
    problem, remedy = caught.value.args
    assert repr(text) in problem
    assert remedy


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse_size, "20XB"), (parse_size, "-1"), (parse_rate, "1Mbit"), (parse_rate, "5")],
)
def test_what_is_no_size_or_rate(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match="is not a"):
        parse(text)


@given(st.integers(min_value=0, max_value=2**62))
def test_a_duration_s_name_reads_back_as_the_duration(duration_ns: int) -> None:
    assert parse_duration(duration_name(duration_ns)) == duration_ns


def test_names_of_durations_are_the_suffixes_of_rollup_tables() -> None:
    names = [duration_name(parse_duration(text)) for text in ("60s", "1m", "3600s", "90s", "24h")]
    assert names == ["1m", "1m", "1h", "90s", "1d"]


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("degF", "degC", 32.0, 0.0), ("degF", "degC", 212.0, 100.0), ("K", "degC", 273.15, 0.0),
        ("degC", "degF", 100.0, 212.0), ("°F", "°C", 50.0, 10.0),
        ("bar", "kPa", 1.0, 100.0), ("psi", "bar", 14.503773773, 1.0), ("mbar", "Pa", 1.0, 100.0),
        ("MPa", "bar", 1.0, 10.0),
        ("mm", "m", 1000.0, 1.0), ("in", "mm", 1.0, 25.4),
        ("kW", "W", 1.0, 1000.0), ("MW", "kW", 1.0, 1000.0), ("MWh", "kWh", 1.0, 1000.0),
        ("kWh", "MJ", 1.0, 3.6), ("l/min", "m3/h", 1000.0, 60.0),
        ("rpm", "rps", 60.0, 1.0), ("mA", "A", 1000.0, 1.0), ("mV", "V", 500.0, 0.5),
        ("%", "1", 50.0, 0.5), ("min", "s", 2.0, 120.0), ("h", "min", 1.0, 60.0),
        ("kg", "g", 1.0, 1000.0), ("g", "kg", 1.0, 0.001),
        ("g", "m/s2", 1.0, 9.80665), ("m/s²", "g", 9.80665, 1.0),
        ("pieces", "pieces", 3.0, 3.0),
    ],
)  # fmt: skip
def test_conversions(source: str, target: str, value: float, expected: float) -> None:
    scale, offset = conversion(source, target)
    assert value * scale + offset == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_every_unit_converts_there_and_back() -> None:
    dimensions: dict[str, list[str]] = {}
    for name, (dimension, _, _) in _UNITS.items():
        dimensions.setdefault(dimension, []).append(name)
    for names in dimensions.values():
        for name in names:
            scale, offset = conversion(names[0], name)
            back_scale, back_offset = conversion(name, names[0])
            assert (7.25 * scale + offset) * back_scale + back_offset == pytest.approx(7.25)


def test_an_unknown_unit_suggests_near_ones() -> None:
    with pytest.raises(UnitError, match="did you mean") as caught:
        conversion("degf", "degC")
    assert "degF" in str(caught.value)


def test_units_of_different_kinds_are_refused() -> None:
    with pytest.raises(UnitError, match=r"bar \(pressure\) cannot be converted to degC"):
        conversion("bar", "degC")
