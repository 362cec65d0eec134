"""The boiler house: eight gas-fired steam boilers on one header, each with its feed-water pump.

What happens in a second:

1. The plant takes steam from the header; the pressure falls when it takes more than is made.
2. A master PI controller sets the firing rate; as many boilers fire as the demand needs.
3. Steam follows the fire after the boiler's own delay.
4. Feed water follows the steam flow, corrected by the drum level; a rise in steam flow first lifts
   the level (swell) before it sinks.
5. Flue gas: at low fire the air excess is high. The efficiency is what the flue gas does not take
   away (Siegert's formula for natural gas), less 1 % for radiation.

Pure functions over arrays, one element per boiler. A boiler that is off has no efficiency: NaN,
which is sent as an absent value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shifts

Floats = npt.NDArray[np.float64]
Readings = dict[str, npt.NDArray[Any]]

COUNT = 8
STEAM_T_PER_H = 12.0
"""Each boiler at full fire."""

HEADER_BAR = 10.0
HEADER_T_PER_BAR = 0.35
"""Steam that the header and the drums give for one bar."""

GAIN, RESET_S = 0.35, 120.0
"""Master controller: firing share per bar, and its integral time."""

FIRE_DELAY_S = 25.0
LOW_FIRE = 0.2
SPARE = 1.15
"""Boilers are started so that this much of the demand could be met."""

STEAM_KWH_PER_T = 660.0
"""From feed water of 105 degC to saturated steam of 10 bar."""

GAS_KWH_PER_M3 = 10.3
BOILER_AIR_DEGC = 25.0
SIEGERT_A2, SIEGERT_B = 0.66, 0.009

DRUM_MM_PER_T = 90.0
LEVEL_GAIN = 0.04
SWELL_MM = 35.0

PUMP_RPM = 2950.0


@dataclass(frozen=True, slots=True)
class BoilerHouse:
    """``header`` and ``integral`` are one number; arrays have one element per boiler."""

    header: float
    integral: float
    demand: float
    disturbance: float
    fire: Floats
    steam: Floats
    level: Floats
    swell: Floats
    feed: Floats
    flue: Floats
    bearing: Floats
    wear: Floats


def boiler_names() -> list[str]:
    """boiler_1 .. boiler_8"""
    return [f"boiler_{i + 1}" for i in range(COUNT)]


def pump_names() -> list[str]:
    """feed_pump_1 .. feed_pump_8; pump n feeds boiler n"""
    return [f"feed_pump_{i + 1}" for i in range(COUNT)]


def initial(now_s: float, rng: np.random.Generator) -> BoilerHouse:
    """Steam at its pressure, the fire where the demand of this hour has it."""
    demand = shifts.steam_demand(now_s) * COUNT * STEAM_T_PER_H
    firing = _firing(demand)
    fire = np.where(firing, demand / (firing.sum() * STEAM_T_PER_H), 0.0)
    return BoilerHouse(
        header=HEADER_BAR,
        integral=float(fire.max()),
        demand=demand,
        disturbance=0.0,
        fire=fire,
        steam=fire * STEAM_T_PER_H,
        level=np.zeros(COUNT),
        swell=np.zeros(COUNT),
        feed=fire * STEAM_T_PER_H,
        flue=_flue_target(fire),
        bearing=np.where(firing, 55.0, 30.0),
        wear=rng.uniform(0.8, 2.2, COUNT),
    )


def _firing(demand: float) -> npt.NDArray[np.bool_]:
    """The first boilers of the sequence, as many as the demand needs."""
    needed = int(np.ceil(demand * SPARE / STEAM_T_PER_H))
    return np.arange(COUNT) < min(COUNT, max(1, needed))


def _flue_target(fire: Floats) -> Floats:
    """degC behind the economiser; a boiler in standby cools down to its drum."""
    return np.where(fire > 0, 118.0 + 62.0 * fire, 90.0)


def step(state: BoilerHouse, now_s: float, dt_s: float, rng: np.random.Generator) -> BoilerHouse:
    """The state ``dt_s`` seconds later (at most a few seconds)."""
    # Consumers open and close valves: a disturbance that forgets itself within a minute.
    disturbance = state.disturbance * (1 - dt_s / 60.0) + 0.006 * np.sqrt(dt_s) * float(
        rng.standard_normal()
    )
    share = float(np.clip(shifts.steam_demand(now_s) + disturbance, 0.08, 0.85))
    demand = share * COUNT * STEAM_T_PER_H

    firing = _firing(demand)
    error = HEADER_BAR - state.header
    master = float(np.clip(GAIN * error + state.integral, 0.0, 1.0))
    integral = float(np.clip(state.integral + GAIN * error * dt_s / RESET_S, 0.0, 1.0))
    fire = np.where(firing, np.maximum(LOW_FIRE, master), 0.0)
    steam = state.steam + (fire * STEAM_T_PER_H - state.steam) * min(1.0, dt_s / FIRE_DELAY_S)
    header = state.header + (steam.sum() - demand) * dt_s / 3600.0 / HEADER_T_PER_BAR

    swell = state.swell * (1 - min(1.0, dt_s / 15.0)) + SWELL_MM * (steam - state.steam) / 5.0
    feed_target = np.maximum(0.0, steam - LEVEL_GAIN * state.level * STEAM_T_PER_H / 10.0)
    feed = state.feed + (feed_target - state.feed) * min(1.0, dt_s / 4.0)
    level = state.level + (feed - steam) * dt_s / 3600.0 * DRUM_MM_PER_T * 10.0
    flue = state.flue + (_flue_target(fire) - state.flue) * min(1.0, dt_s / 60.0)
    working = feed > 0.2
    bearing_target = np.where(working, 48.0 + 6.0 * state.wear + 10.0 * feed / STEAM_T_PER_H, 28.0)
    return replace(
        state,
        header=float(np.clip(header, 0.0, 13.0)),  # the safety valve opens at 13 bar
        integral=integral,
        demand=demand,
        disturbance=disturbance,
        fire=fire,
        steam=steam,
        level=level,
        swell=swell,
        feed=feed,
        flue=flue,
        bearing=state.bearing + (bearing_target - state.bearing) * min(1.0, dt_s / 300.0),
        wear=np.minimum(6.0, state.wear + working * dt_s * 2e-7),
    )


def oxygen(fire: Floats) -> Floats:
    """Percent O2 in the flue gas: 2.8 at full fire, more at low fire; air in a cold stack."""
    return np.where(fire > 0, 2.8 + 4.5 * (1 - fire) ** 2, 20.9)


def efficiency(fire: Floats, flue_degc: Floats) -> Floats:
    """Percent of the fuel's heat that becomes steam; NaN where nothing burns."""
    loss = (flue_degc - BOILER_AIR_DEGC) * (SIEGERT_A2 / (21.0 - oxygen(fire)) + SIEGERT_B)
    return np.where(fire > 0, 100.0 - loss - 1.0, np.nan)


def boiler_readings(state: BoilerHouse, rng: np.random.Generator) -> Readings:
    """One array per measurement of the boilers."""
    eta = efficiency(state.fire, state.flue)
    burning = state.fire > 0
    fuel_kw = state.fire * STEAM_T_PER_H * STEAM_KWH_PER_T / np.where(burning, eta / 100.0, 1.0)
    # Steam pays with pressure for its way to the header.
    drum = state.header + 0.25 * (state.steam / STEAM_T_PER_H) ** 2

    def noisy(values: Floats, scale: float, digits: int) -> Floats:
        return np.round(values + scale * rng.standard_normal(COUNT), digits)

    return {
        "steam_pressure": noisy(drum, 0.01, 3),
        "steam_flow": np.maximum(0.0, noisy(state.steam, 0.03, 2)),
        "water_level": noisy(state.level + state.swell, 0.8, 1),
        "flue_o2": noisy(oxygen(state.fire), 0.05, 2),
        "flue_temperature": noisy(state.flue, 0.3, 1),
        "fuel_flow": np.where(burning, noisy(fuel_kw / GAS_KWH_PER_M3, 1.0, 1), 0.0),
        "efficiency": noisy(eta, 0.05, 2),
        "firing": burning,
    }


def pump_readings(state: BoilerHouse, rng: np.random.Generator) -> Readings:
    """One array per measurement of the feed pumps: the laws of a centrifugal pump."""
    flow = state.feed / STEAM_T_PER_H
    working = state.feed > 0.2
    speed = np.where(working, 0.72 + 0.28 * flow, 0.0)
    head = 16.0 * speed**2 - 2.0 * flow**2
    current = np.where(working, 9.0 + 34.0 * speed**3, 0.0)
    noise = rng.standard_normal((4, COUNT))
    shake = 0.04 * np.abs(noise[3])
    return {
        "speed": np.round(np.where(working, PUMP_RPM * speed + 2.0 * noise[0], 0.0), 0),
        "discharge_pressure": np.round(np.where(working, head, 1.2) + 0.02 * noise[1], 2),
        "motor_current": np.round(np.where(working, current + 0.2 * noise[2], 0.0), 2),
        "bearing_temperature": np.round(state.bearing, 1),
        "vibration": np.round(np.where(working, state.wear * speed, 0.05) + shake, 3),
        "running": working,
    }
