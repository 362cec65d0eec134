"""The simulated workshops behave as a plant engineer would expect, and the same way every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boiler_house
import numpy as np
import paint_shop
import press_line
import pytest
import shifts
import simulator

NINE_S = 1_792_540_800.0 - 1_792_540_800.0 % shifts.DAY_S + 9 * shifts.HOUR_S
"""Nine in the morning: everything works."""

HOUR = int(shifts.HOUR_S)


def seeded() -> np.random.Generator:
    return np.random.default_rng(3)


def test_the_same_seed_gives_the_same_readings() -> None:
    def run(seed: int) -> list[tuple[str, str, list[Any]]]:
        factory = simulator.Factory(seed, NINE_S)
        return [
            (devices.template, name, np.nan_to_num(values.astype(float)).tolist())
            for _ in range(5)
            for devices, readings in factory.step(1.0)
            for name, values in readings.items()
        ]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_there_are_sixty_devices_of_different_names() -> None:
    topics = [topic for devices in simulator.GROUPS for topic in devices.topics]
    paths = [path for devices in simulator.GROUPS for path in devices.paths]
    assert len(topics) == len(set(topics)) == len(set(paths)) == 60


def test_every_reading_has_one_value_per_device() -> None:
    for devices, readings in simulator.Factory(1, NINE_S).step(1.0):
        for name, values in readings.items():
            assert values.shape == (len(devices.paths),), name


def test_step_does_not_change_its_state() -> None:
    before = press_line.initial(seeded())
    kept = before.oil.copy()
    press_line.step(before, NINE_S, 1.0, seeded())
    assert np.array_equal(before.oil, kept)


def test_presses_warm_their_oil_by_work_and_their_coolers_hold_it() -> None:
    rng = seeded()
    state = press_line.initial(rng)
    cold = press_line.HALL_DEGC
    state = press_line.PressLine(
        state.rate, state.strokes, state.jammed_s, state.pressure,
        np.full(press_line.COUNT, cold), state.cooling, state.running,
    )  # fmt: skip
    parts = state.strokes.copy()
    for second in range(3 * HOUR):
        state = press_line.step(state, NINE_S + second, 1.0, rng)
    assert (state.oil > cold + 15).all()
    assert (state.oil < 75).all()
    made = state.strokes - parts
    assert ((made > 500) & (made < 16 * 60 * 3 + 60)).all()
    # The six presses of a tandem line hand on every part.
    assert np.array_equal(made[:6], np.full(6, made[0]))


def test_a_jam_stops_the_whole_line_and_only_it() -> None:
    state = press_line.initial(seeded())
    jammed = np.zeros(press_line.COUNT)
    jammed[2] = 10.0
    state = press_line.PressLine(
        state.rate, state.strokes, jammed, state.pressure, state.oil, state.cooling, state.running
    )
    after = press_line.step(state, NINE_S, 1.0, seeded())
    assert not after.running[: press_line.PRESSES].any()
    assert after.running[press_line.PRESSES :].all()
    readings = press_line.readings(after, seeded())
    assert (readings["tonnage"][: press_line.PRESSES] == 0).all()
    assert (readings["tonnage"][press_line.PRESSES :] > 3000).all()


def test_parts_never_count_backwards() -> None:
    rng = seeded()
    state = press_line.initial(rng)
    last = press_line.readings(state, rng)["count"]
    for second in range(HOUR // 4):
        state = press_line.step(state, NINE_S + second, 1.0, rng)
        now = press_line.readings(state, rng)["count"]
        assert (now >= last).all()
        last = now


def test_ovens_follow_a_recipe_change_without_much_overshoot() -> None:
    rng = seeded()
    state = paint_shop.initial(NINE_S, rng)
    errors = []
    for second in range(HOUR):
        state = paint_shop.step(state, NINE_S + second, 1.0, rng)
        errors.append(state.temperature - state.setpoint)
    away = np.abs(np.array(errors))
    assert np.median(away) < 0.5
    # A recipe moves setpoints by up to 20 degC; the zones never leave that band by much.
    assert away.max() < 25
    assert ((state.burner >= 0) & (state.burner <= 1)).all()


def test_booth_air_and_filters_stay_in_their_ranges() -> None:
    rng = seeded()
    state = paint_shop.initial(NINE_S, rng)
    for second in range(HOUR):
        state = paint_shop.step(state, NINE_S + second, 1.0, rng)
    readings = paint_shop.booth_readings(state, rng)
    assert ((readings["humidity"] > 55) & (readings["humidity"] < 75)).all()
    assert ((readings["viscosity"] > 20) & (readings["viscosity"] < 30)).all()
    assert (state.filter_pa <= paint_shop.FILTER_FULL_PA + 1).all()
    # A clogged filter makes the fan draw more.
    order = np.argsort(state.filter_pa)
    assert readings["fan_current"][order[-1]] > readings["fan_current"][order[0]]


def test_the_boiler_house_holds_its_pressure_through_a_day() -> None:
    rng = seeded()
    state = boiler_house.initial(NINE_S, rng)
    pressures, firing, level = [], [], []
    for second in range(0, int(shifts.DAY_S), 2):
        state = boiler_house.step(state, NINE_S + second, 2.0, rng)
        pressures.append(state.header)
        firing.append((state.fire > 0).sum())
        level.append(np.abs(state.level + state.swell).max())
    assert min(pressures) > 9.0
    assert max(pressures) < 11.0
    assert min(firing) < max(firing), "boilers start and stop with the demand"
    assert max(level) < 60, "the feed water control keeps the drums"


def test_efficiency_falls_with_flue_gas_temperature_and_is_absent_without_fire() -> None:
    fire = np.array([0.0, 0.5, 0.5, 1.0])
    flue = np.array([90.0, 140.0, 200.0, 180.0])
    eta = boiler_house.efficiency(fire, flue)
    assert np.isnan(eta[0])
    assert eta[1] > eta[2]
    assert ((eta[1:] > 85) & (eta[1:] < 97)).all()


def test_an_absent_value_is_not_sent() -> None:
    (payload,) = simulator.payloads(5, {"a": np.array([np.nan]), "b": np.array([True])})
    assert payload == b'{"ts":5,"b":true}'


@pytest.mark.parametrize("state", [shifts.pace, shifts.steam_demand])
def test_daily_patterns_are_shares(state: Callable[[float], float]) -> None:
    values = [state(NINE_S + 600.0 * step) for step in range(144)]
    assert 0 < min(values) < max(values) <= 1


def test_some_line_always_runs() -> None:
    for minute in range(24 * 60):
        resting = [
            shifts.on_break(NINE_S + 60.0 * minute, line) for line in range(press_line.LINES)
        ]
        assert not all(resting)


def test_the_ledger_counts_per_device() -> None:
    ledger = simulator.Ledger()
    for stamp in (3, 1, 2):
        ledger.acknowledged(("t", "root.a", stamp))
    assert ledger.total == 3
