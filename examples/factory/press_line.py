"""The press line: four tandem lines of six hydraulic presses each.

What happens in a second:

1. A press may jam; a jam, a break or the shift's hand-over stops its whole line.
2. A running line ramps up to its stroke rate and counts one part per stroke at each press.
3. A stroke draws oil from the accumulator, whose pump restores the pressure.
4. Most of a stroke's work ends as heat in the oil; a cooler switches on above 55 degC.

Pure functions over arrays of one element per press. The oil temperature is sent in degF, as the
presses' American sensors give it; the edge converts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shifts

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Readings = dict[str, npt.NDArray[Any]]

LINES, PRESSES = 4, 6
COUNT = LINES * PRESSES

FORCE_KN = np.tile([12_000.0, 8_000.0, 8_000.0, 6_300.0, 6_300.0, 6_300.0], LINES)
"""A line begins with the deep draw; trimming and piercing need less."""

STROKES_PER_MINUTE = np.repeat([14.0, 12.0, 16.0, 10.0], PRESSES)
RAMP_S = 6.0
"""A line is at full rate after a few strokes."""

JAM_EVERY_S = 90 * 60.0
JAM_S = 75.0
"""Per press: a jam every hour and a half; clearing it takes about a minute."""

ACCUMULATOR_BAR = 250.0
STROKE_DROP_BAR = 9.0
PUMP_RECOVERY_S = 8.0

HALL_DEGC = 22.0
OIL_HEAT_KJ_PER_K = 900.0
"""Oil and tank of one press: 400 l of oil and the steel around it."""

STROKE_HEAT_KJ_PER_MN = 7.0
LOSS_KW_PER_K = 0.09
COOLER_KW_PER_K = 0.35
COOLER_ON_DEGC, COOLER_OFF_DEGC = 55.0, 48.0


@dataclass(frozen=True, slots=True)
class PressLine:
    """The state of all presses at one moment; every field has one element per press."""

    rate: Floats
    strokes: Floats
    jammed_s: Floats
    pressure: Floats
    oil: Floats
    cooling: Flags
    running: Flags


def device_names() -> list[str]:
    """press_a1 .. press_d6: line a to d, position 1 to 6."""
    return [f"press_{'abcd'[i // PRESSES]}{i % PRESSES + 1}" for i in range(COUNT)]


def initial(rng: np.random.Generator) -> PressLine:
    """A factory in the middle of its work: oil warm, lines at their rate, parts counted."""
    return PressLine(
        rate=STROKES_PER_MINUTE * 0.95,
        strokes=np.repeat(rng.integers(20_000, 400_000, LINES), PRESSES).astype(np.float64),
        jammed_s=np.zeros(COUNT),
        pressure=np.full(COUNT, ACCUMULATOR_BAR),
        oil=rng.uniform(36.0, 50.0, COUNT),
        cooling=np.zeros(COUNT, dtype=np.bool_),
        running=np.ones(COUNT, dtype=np.bool_),
    )


def step(state: PressLine, now_s: float, dt_s: float, rng: np.random.Generator) -> PressLine:
    """The state ``dt_s`` seconds later (at most a few seconds: the pump's time constant)."""
    jams = (rng.random(COUNT) < dt_s / JAM_EVERY_S) & state.running
    jammed_s = np.maximum(0.0, state.jammed_s - dt_s)
    jammed_s = np.where(jams, rng.gamma(3.0, JAM_S / 3.0, COUNT), jammed_s)
    resting = np.array([shifts.on_break(now_s, line) for line in range(LINES)])
    line_stopped = (jammed_s > 0).reshape(LINES, PRESSES).any(axis=1) | resting
    running = ~np.repeat(line_stopped, PRESSES)

    target = np.where(running, STROKES_PER_MINUTE * shifts.pace(now_s), 0.0)
    # The clutch lets go at once; getting up to speed takes a few strokes.
    rate = np.where(running, state.rate + (target - state.rate) * min(1.0, dt_s / RAMP_S), 0.0)
    strokes_done = rate / 60.0 * dt_s

    load = FORCE_KN / FORCE_KN.max()
    recovery = (ACCUMULATOR_BAR - state.pressure) * min(1.0, dt_s / PUMP_RECOVERY_S)
    pressure = state.pressure + recovery - STROKE_DROP_BAR * load * strokes_done

    cooling = np.where(state.cooling, state.oil > COOLER_OFF_DEGC, state.oil > COOLER_ON_DEGC)
    heat_kj = STROKE_HEAT_KJ_PER_MN * FORCE_KN / 1000.0 * strokes_done
    loss_kw = (LOSS_KW_PER_K + COOLER_KW_PER_K * cooling) * (state.oil - HALL_DEGC)
    oil = state.oil + (heat_kj - loss_kw * dt_s) / OIL_HEAT_KJ_PER_K
    return PressLine(
        rate=rate,
        strokes=state.strokes + strokes_done,
        jammed_s=jammed_s,
        pressure=pressure,
        oil=oil,
        cooling=cooling,
        running=running,
    )


def readings(state: PressLine, rng: np.random.Generator) -> Readings:
    """What the sensors say: physical values with their noise, one array per measurement."""
    moving = state.rate > 1.0
    tool_wear = 1.0 + 0.04 * ((state.strokes % 50_000) / 50_000)
    # Warm oil is thin: the same valve setting presses a little less.
    viscosity = 1.0 - 0.001 * (state.oil - 45.0)
    force = 0.82 * FORCE_KN * tool_wear * viscosity * (1 + 0.008 * rng.standard_normal(COUNT))
    power = 18.0 + 0.011 * FORCE_KN * state.rate / 14.0
    return {
        "strokes_per_minute": np.round(state.rate + 0.05 * rng.standard_normal(COUNT) * moving, 2),
        "tonnage": np.round(np.where(moving, force, 0.0), 1),
        "pressure_mbar": np.round(1000 * state.pressure + 150 * rng.standard_normal(COUNT), 0),
        "oil_temp_f": np.round(state.oil * 1.8 + 32 + 0.1 * rng.standard_normal(COUNT), 2),
        "motor_power": np.round(np.where(moving, power, 6.0) + 0.4 * rng.standard_normal(COUNT), 2),
        "count": np.floor(state.strokes).astype(np.int64),
        "running": state.running,
    }
