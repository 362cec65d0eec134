"""When the factory works: three shifts with breaks, and the day's demand for steam.

Pure functions of the time of day; times are seconds since the epoch, and the plant's clock is UTC.
"""

from __future__ import annotations

import math

DAY_S = 86_400.0
HOUR_S = 3_600.0
SHIFT_S = 8 * HOUR_S
SHIFT_START_S = 6 * HOUR_S
"""Early shift from 06:00, late from 14:00, night from 22:00."""

BREAK_AFTER_S = 4 * HOUR_S
BREAK_S = 30 * 60.0
HANDOVER_S = 5 * 60.0
"""Lines stand still for the first minutes of a shift."""

SHIFT_PACE = (1.0, 0.97, 0.9)
"""Early, late, night: the night shift runs slower."""


def shift_of(now_s: float) -> tuple[int, float]:
    """(0 early, 1 late or 2 night, seconds since its start)."""
    since = (now_s - SHIFT_START_S) % DAY_S
    return int(since // SHIFT_S), since % SHIFT_S


def pace(now_s: float) -> float:
    """How fast the shift works, as a share of the nominal rate."""
    return SHIFT_PACE[shift_of(now_s)[0]]


def on_break(now_s: float, line: int) -> bool:
    """Whether a line rests. Lines take their break one after the other, so some always run."""
    since = shift_of(now_s)[1]
    begin = BREAK_AFTER_S + line * BREAK_S
    return begin <= since < begin + BREAK_S or (line % 2 == 0 and since < HANDOVER_S)


def steam_demand(now_s: float) -> float:
    """Share of the boiler house's capacity that the plant takes: a morning peak, a quiet night."""
    hour = (now_s % DAY_S) / HOUR_S
    day = 0.5 - 0.5 * math.cos((hour - 3.0) / 24.0 * 2 * math.pi)
    morning = math.exp(-(((hour - 7.0) / 1.5) ** 2))
    return 0.3 + 0.35 * day + 0.2 * morning


def outdoor_temperature(now_s: float) -> float:
    """degC: coldest at five in the morning, warmest in the afternoon; colder in January."""
    hour = (now_s % DAY_S) / HOUR_S
    year = (now_s % (365.25 * DAY_S)) / (365.25 * DAY_S)
    return (
        9.0
        - 9.0 * math.cos(2 * math.pi * (year - 0.05))
        - 4.0 * math.cos((hour - 5.0) / 24.0 * 2 * math.pi)
    )
