"""Quantities as people write them: sizes, rates, durations, and the units of measurements.

- Sizes: ``20GB`` is 20 * 10^9, ``20GiB`` is 20 * 2^30; a bare integer is bytes.
- Rates: ``1Mbit/s`` is 10^6 bits per second; ``1MB/s`` is 8 * 10^6.
- Durations: ``100ms 90s 15m 1h 10d 2w 1y``; a year is 365 days. Nanoseconds inside.
- Units of measurements are linear: ``base = value * factor + offset``. Factors are kept as exact
  fractions, so that a conversion is rounded once, at the end.
"""

from __future__ import annotations

import re
from fractions import Fraction

from mainstem_node.errors import UnitError

_NUMBER = r"(\d+(?:\.\d+)?)"
_SIZE = re.compile(_NUMBER + r"\s*([A-Za-z]*)")
_RATE = re.compile(_NUMBER + r"\s*([A-Za-z]+)/s")
_DURATION = re.compile(_NUMBER + r"\s*([a-zµ]+)")

_SIZE_UNITS = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}  # fmt: skip
_RATE_UNITS = {
    "bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9,
    "B": 8, "kB": 8 * 10**3, "KB": 8 * 10**3, "MB": 8 * 10**6, "GB": 8 * 10**9,
    "KiB": 8 << 10, "MiB": 8 << 20, "GiB": 8 << 30,
}  # fmt: skip
_DURATION_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
    "y": 365 * 86400 * 10**9,
}
_NAME_UNITS = ("y", "d", "h", "m", "s", "ms", "us", "ns")
_INT64_MAX = 2**63 - 1

_ZERO = Fraction(0)
_POUND_FORCE_PER_SQUARE_INCH = Fraction("6894.757293168361")
_INCH = Fraction("0.0254")
_FOOT = Fraction("0.3048")


def _table() -> dict[str, tuple[str, Fraction, Fraction]]:
    """Unit -> (dimension, factor, offset) to the dimension's base unit; every spelling a key."""
    table: dict[str, tuple[str, Fraction, Fraction]] = {}

    def add(
        dimension: str, names: str, factor: Fraction | int | str, offset: Fraction = _ZERO
    ) -> None:
        for name in names.split():
            table[name] = (dimension, Fraction(factor), offset)

    add("temperature", "K kelvin", 1)
    add("temperature", "degC °C celsius", 1, Fraction("273.15"))
    add("temperature", "degF °F fahrenheit", Fraction(5, 9), Fraction("459.67") * Fraction(5, 9))
    for names, factor in (
        ("Pa", 1), ("hPa mbar", 100), ("kPa", 1000), ("MPa", 10**6), ("bar", 10**5),
        ("psi", _POUND_FORCE_PER_SQUARE_INCH), ("atm", 101325),
    ):  # fmt: skip
        add("pressure", names, factor)
    for names, length in (
        ("um µm", "1e-6"), ("mm", "0.001"), ("cm", "0.01"), ("m", 1), ("km", 1000),
        ("in inch", _INCH), ("ft", _FOOT),
    ):  # fmt: skip
        add("length", names, length)
    for prefix, scale in (("m", "0.001"), ("", 1), ("k", 1000), ("M", 10**6), ("G", 10**9)):
        add("power", f"{prefix}W", scale)
        add("energy", f"{prefix}Wh", Fraction(scale) * 3600)
        add("energy", f"{prefix}J", scale)
        add("reactive power", f"{prefix}var", scale)
        add("apparent power", f"{prefix}VA", scale)
        add("reactive energy", f"{prefix}varh", Fraction(scale) * 3600)
        add("voltage", f"{prefix}V", scale)
        add("current", f"{prefix}A", scale)
        add("frequency", f"{prefix}Hz", scale)
        add("resistance", f"{prefix}ohm {prefix}Ω", scale)
        add("force", f"{prefix}N", scale)
    for names, flow in (
        ("m3/s m³/s", 1), ("m3/h m³/h", Fraction(1, 3600)), ("l/s L/s", Fraction(1, 1000)),
        ("l/min L/min", Fraction(1, 60_000)), ("l/h L/h", Fraction(1, 3_600_000)),
    ):  # fmt: skip
        add("volume flow", names, flow)
    for names, volume in (("l L", "0.001"), ("ml mL", "1e-6"), ("m3 m³", 1)):
        add("volume", names, volume)
    for names, mass in (("mg", "1e-6"), ("g", "0.001"), ("kg", 1), ("t", 1000)):
        add("mass", names, mass)
    for names, flow in (("kg/s", 1), ("kg/h", Fraction(1, 3600)), ("t/h", Fraction(1000, 3600))):
        add("mass flow", names, flow)
    for names, speed in (
        ("m/s", 1), ("mm/s", "0.001"), ("m/min", Fraction(1, 60)), ("km/h", Fraction(1000, 3600)),
        ("in/s", _INCH),
    ):  # fmt: skip
        add("speed", names, speed)
    for names, turns in (("rpm 1/min", Fraction(1, 60)), ("rps 1/s", 1)):
        add("rotation", names, turns)
    # Standard gravity, exact by definition.
    for names, acceleration in (("m/s2 m/s²", 1), ("mm/s2 mm/s²", "0.001"), ("gn g0", "9.80665")):
        add("acceleration", names, acceleration)
    for names, ratio in (("1", 1), ("%", "0.01"), ("‰", "0.001"), ("ppm", "1e-6")):
        add("ratio", names, ratio)
    for names, time in (
        ("ns", "1e-9"), ("us µs", "1e-6"), ("ms", "0.001"), ("s", 1), ("min", 60), ("h", 3600),
        ("d", 86400),
    ):  # fmt: skip
        add("time", names, time)
    for names, torque in (("Nm", 1), ("kNm", 1000)):
        add("torque", names, torque)
    return table


_UNITS = _table()

_GRAVITY = ("acceleration", Fraction("9.80665"), _ZERO)
"""``g`` is grams, except beside a unit of acceleration."""


def conversion(source: str, target: str) -> tuple[float, float]:
    """(scale, offset) such that ``value in target = value in source * scale + offset``.

    Equal names convert by (1.0, 0.0) even when the table does not know them. Raises UnitError for
    an unknown unit (with near spellings) and for units of different dimensions.
    """
    if source == target:
        return 1.0, 0.0
    source_row, target_row = _lookup(source), _lookup(target)
    if source == "g" and target_row[0] == "acceleration":
        source_row = _GRAVITY
    if target == "g" and source_row[0] == "acceleration":
        target_row = _GRAVITY
    if source_row[0] != target_row[0]:
        raise UnitError(
            f"{source} ({source_row[0]}) cannot be converted to {target} ({target_row[0]})",
            hint="use two units of one kind, or `scale` and `offset`",
        )
    scale = source_row[1] / target_row[1]
    offset = (source_row[2] - target_row[2]) / target_row[1]
    return float(scale), float(offset)


def _lookup(unit: str) -> tuple[str, Fraction, Fraction]:
    row = _UNITS.get(unit)
    if row is None:
        import difflib  # as in builder.py: only for what is misspelt

        near = difflib.get_close_matches(unit, _UNITS, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}" if near else "use `scale` and `offset` instead"
        raise UnitError(f"unit {unit!r} is unknown", hint=hint)
    return row


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError with the remedy."""
    return _parse(text, _SIZE, _SIZE_UNITS, "a size", "20GB, 256MiB or a number of bytes")


def parse_rate(text: str) -> int:
    """Bits per second. Raises ValueError with the remedy."""
    return _parse(text, _RATE, _RATE_UNITS, "a rate", "256kbit/s, 1Mbit/s or 2MB/s")


def parse_duration(text: str) -> int:
    """Nanoseconds. Raises ValueError with the remedy."""
    return _parse(text, _DURATION, _DURATION_UNITS, "a duration", "100ms, 90s, 15m, 1h, 10d or 1y")


def _parse(
    text: str, pattern: re.Pattern[str], units: dict[str, int], what: str, examples: str
) -> int:
    match = pattern.fullmatch(text.strip())
    factor = units.get(match.group(2)) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not {what}", f"write {examples}")
    value = Fraction(match.group(1)) * factor
    if value.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of the smallest unit", "round it")
    if value > _INT64_MAX:
        raise ValueError(f"{text!r} is too large", f"write {examples}")
    return int(value)


def duration_name(duration_ns: int) -> str:
    """The shortest exact spelling: 60 s is ``1m``. This is the suffix of a rollup table's name."""
    if duration_ns == 0:
        return "0s"
    for unit in _NAME_UNITS:
        factor = _DURATION_UNITS[unit]
        if duration_ns % factor == 0:
            return f"{duration_ns // factor}{unit}"
    raise ValueError(f"{duration_ns} ns is not a duration", "use whole nanoseconds")
