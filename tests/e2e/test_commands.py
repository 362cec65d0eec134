"""Commands from the group to equipment at an edge, with real processes and a real broker."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import PATIENCE_S
from valves import FINAL, TIERS, Plant
from whole_river import wait_for

pytestmark = [pytest.mark.slow]

KILLS = 6


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    try:
        plant.start()
        yield plant
    finally:
        plant.stop()


def test_a_command_of_an_outage_is_carried_out_once_and_its_effect_comes_back(plant: Plant) -> None:
    plant.nodes["plant"].kill()
    assert plant.send("first")["state"] == "QUEUED"
    plant.nodes["edge"].kill()
    assert plant.send("late", expires_in="1s")["state"] == "QUEUED"
    time.sleep(1.1)  # until its time is over
    plant.nodes["plant"].start()
    plant.nodes["plant"].wait_ready()
    plant.nodes["edge"].start()
    plant.nodes["edge"].wait_ready()
    assert plant.wait("first", *FINAL) == "DONE"
    assert plant.wait("late", *FINAL) == "EXPIRED"
    wait_for(lambda: plant.turns_at_the_group() == 1, PATIENCE_S, "the effect comes back")
    assert plant.valve.told == ["first"]
    assert plant.group.command("first")["result"]["topic"] == "valves/v1/set"
    assert plant.group.verify_audit()["problems"] == []
    with pytest.raises(Exception, match="nobody"):
        plant.group.send_command({"target": "root.else.d", "action": "x", "mode": "actuate"})


@pytest.mark.crash
def test_killing_any_process_at_any_moment_never_actuates_twice(plant: Plant) -> None:
    rng = random.Random(20_260_401)
    for number in range(KILLS):
        plant.send(f"c{number}")
        time.sleep(rng.choice([0.0, 0.05, 0.1, 0.2, 0.4]))  # anywhere between sent and done
        plant.restart(TIERS[number % 3])
    states = {f"c{number}": plant.wait(f"c{number}", *FINAL) for number in range(KILLS)}
    for ident, state in states.items():
        count = plant.valve.told.count(ident)
        assert count == 1 if state == "DONE" else count <= 1, (ident, state, count)
        assert state in ("DONE", "UNKNOWN"), (ident, state)
