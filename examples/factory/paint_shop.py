"""The paint shop: two curing ovens of six zones each, and eight spray booths.

What happens in a second:

1. Each oven follows its recipe; a recipe change moves the zones' setpoints.
2. A PI controller per zone sets the burner; car bodies, walls and neighbours take the heat.
3. A booth's air handler holds temperature and humidity against the weather; its filter clogs until
   it is changed, and its fan works harder meanwhile.
4. Paint gets thinner when it is warmer.

Pure functions over arrays, one element per zone or booth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shifts

Floats = npt.NDArray[np.float64]
Readings = dict[str, npt.NDArray[Any]]

OVENS, ZONES, BOOTHS = 2, 6, 8
OVEN_ZONES = OVENS * ZONES

RECIPES_DEGC = np.array(
    [
        [105.0, 140.0, 165.0, 165.0, 160.0, 120.0],  # cathodic dip coat
        [95.0, 125.0, 145.0, 145.0, 140.0, 110.0],  # base and clear coat
    ]
)
RECIPE_S = 20 * 60.0
"""A batch of one colour; the ovens change half a batch apart."""

BURNER_KW = 320.0
ZONE_HEAT_KJ_PER_K = 420.0
"""Air, steel and the bodies inside a zone."""

WALL_KW_PER_K = 0.35
NEIGHBOUR_KW_PER_K = 0.25
CONVEYOR_KW_PER_K = 0.55
"""Heat that cold bodies carry away, per K above the hall, at full conveyor speed."""

HALL_DEGC = 24.0
GAIN, RESET_S = 0.06, 90.0
"""PI controller of a zone: burner share per K, and its integral time."""

CONVEYOR_M_PER_MIN = 3.2
GAS_KWH_PER_M3 = 10.3

BOOTH_DEGC, BOOTH_HUMIDITY = 23.0, 65.0
FILTER_NEW_PA, FILTER_FULL_PA = 90.0, 260.0
FILTER_LIFE_S = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class PaintShop:
    """Arrays of one element per oven zone, then of one per booth."""

    temperature: Floats
    integral: Floats
    burner: Floats
    setpoint: Floats
    conveyor: Floats
    air: Floats
    humidity: Floats
    filter_pa: Floats


def zone_names() -> list[str]:
    """oven_1_zone_1 .. oven_2_zone_6"""
    return [f"oven_{i // ZONES + 1}_zone_{i % ZONES + 1}" for i in range(OVEN_ZONES)]


def booth_names() -> list[str]:
    """booth_1 .. booth_8"""
    return [f"booth_{i + 1}" for i in range(BOOTHS)]


def setpoints(now_s: float) -> Floats:
    """degC per zone, by the recipe that each oven runs now."""
    recipe = [int((now_s / RECIPE_S + oven / 2) % len(RECIPES_DEGC)) for oven in range(OVENS)]
    return RECIPES_DEGC[recipe].reshape(-1).copy()


def initial(now_s: float, rng: np.random.Generator) -> PaintShop:
    """Ovens at temperature, booths conditioned, filters of different age."""
    wanted = setpoints(now_s)
    return PaintShop(
        temperature=wanted + rng.normal(0.0, 0.5, OVEN_ZONES),
        integral=_holding(wanted),
        burner=_holding(wanted),
        setpoint=wanted,
        conveyor=np.full(OVENS, CONVEYOR_M_PER_MIN),
        air=np.full(BOOTHS, BOOTH_DEGC),
        humidity=np.full(BOOTHS, BOOTH_HUMIDITY),
        filter_pa=rng.uniform(FILTER_NEW_PA, FILTER_FULL_PA, BOOTHS),
    )


def _holding(temperature: Floats) -> Floats:
    """The burner share that roughly holds this temperature."""
    kw = (WALL_KW_PER_K + CONVEYOR_KW_PER_K) * (temperature - HALL_DEGC)
    return np.clip(kw / BURNER_KW, 0.0, 1.0)


def _neighbours(temperature: Floats) -> Floats:
    """Mean temperature of the zones beside each zone; the hall's air at both ends."""
    ovens = temperature.reshape(OVENS, ZONES)
    padded = np.pad(ovens, ((0, 0), (1, 1)), constant_values=HALL_DEGC)
    mean: Floats = ((padded[:, :-2] + padded[:, 2:]) / 2).reshape(-1)
    return mean


def step(state: PaintShop, now_s: float, dt_s: float, rng: np.random.Generator) -> PaintShop:
    """The state ``dt_s`` seconds later (at most a few seconds)."""
    wanted = setpoints(now_s)
    belt = CONVEYOR_M_PER_MIN * shifts.pace(now_s)
    conveyor = state.conveyor + (belt - state.conveyor) * min(1.0, dt_s / 20.0)

    error = wanted - state.temperature
    demand = GAIN * error + state.integral
    burner = np.clip(demand, 0.0, 1.0)
    # The integral stands still while the burner is at a stop, else a recipe change overshoots.
    free = (demand == burner) | (np.sign(error) != np.sign(demand - burner))
    integral = np.clip(state.integral + free * GAIN * error * dt_s / RESET_S, 0.0, 1.0)
    bodies = np.repeat(conveyor, ZONES) / CONVEYOR_M_PER_MIN
    bodies = bodies * (1 + 0.1 * rng.standard_normal(OVEN_ZONES))
    loss_kw = (WALL_KW_PER_K + CONVEYOR_KW_PER_K * bodies) * (state.temperature - HALL_DEGC)
    exchange_kw = NEIGHBOUR_KW_PER_K * (_neighbours(state.temperature) - state.temperature)
    gain_kw = BURNER_KW * burner - loss_kw + exchange_kw
    temperature = state.temperature + gain_kw * dt_s / ZONE_HEAT_KJ_PER_K

    weather = shifts.outdoor_temperature(now_s)
    air_target = BOOTH_DEGC + 0.03 * (weather - BOOTH_DEGC)
    air = state.air + (air_target - state.air) * min(1.0, dt_s / 120.0)
    humidity_target = BOOTH_HUMIDITY - 0.12 * (weather - 10.0)
    humidity = state.humidity + (humidity_target - state.humidity) * min(1.0, dt_s / 240.0)
    clogging = (FILTER_FULL_PA - FILTER_NEW_PA) / FILTER_LIFE_S * shifts.pace(now_s) * dt_s
    filter_pa = np.where(
        state.filter_pa > FILTER_FULL_PA, FILTER_NEW_PA, state.filter_pa + clogging
    )
    return PaintShop(
        temperature=temperature,
        integral=integral,
        burner=burner,
        setpoint=wanted,
        conveyor=conveyor,
        air=air + 0.02 * rng.standard_normal(BOOTHS),
        humidity=humidity + 0.05 * rng.standard_normal(BOOTHS),
        filter_pa=filter_pa,
    )


def zone_readings(state: PaintShop, rng: np.random.Generator) -> Readings:
    """One array per measurement of the oven zones."""
    noise = rng.standard_normal(OVEN_ZONES)
    return {
        "temperature": np.round(state.temperature + 0.15 * noise, 2),
        "setpoint": state.setpoint,
        "burner_output": np.round(100 * state.burner, 1),
        "gas_flow": np.round(BURNER_KW * state.burner / GAS_KWH_PER_M3, 2),
        "conveyor_speed": np.round(np.repeat(state.conveyor, ZONES), 3),
    }


def booth_readings(state: PaintShop, rng: np.random.Generator) -> Readings:
    """One array per measurement of the booths."""
    clogged = state.filter_pa / FILTER_NEW_PA
    # Flow time of a DIN 4 cup: about 4 % less per K.
    viscosity = 24.0 * np.exp(-0.04 * (state.air - BOOTH_DEGC))
    return {
        "air_temperature": np.round(state.air + 0.05 * rng.standard_normal(BOOTHS), 2),
        "humidity": np.round(state.humidity + 0.2 * rng.standard_normal(BOOTHS), 2),
        "fan_current": np.round(41.0 * clogged**0.25 + 0.3 * rng.standard_normal(BOOTHS), 2),
        "filter_pressure": np.round(state.filter_pa + 1.5 * rng.standard_normal(BOOTHS), 1),
        "viscosity": np.round(viscosity + 0.1 * rng.standard_normal(BOOTHS), 2),
    }
