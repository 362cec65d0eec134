"""What a question finds missing here of a table that is sent up is wanted at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node.federated.test_kept_answers import World

from mainstem_sync.slices.slice_states import UNPROVEN
from mainstem_sync.slices.wants import HURRY_EVERY_S, Repairs
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.tiers import MINUTE_NS, START_NS

SPAN = (START_NS, START_NS + 3 * MINUTE_NS)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, (Export("meters"),))
    yield world
    world.tiers.stop()


def let_pass(world: World, seconds: int) -> str:
    """The state of the table at the plant after so long."""
    for _ in range(seconds):
        world.tiers.run(1.0)
        world.tiers.plant.federation.run_verification()
        world.tiers.edge.federation.run_manifests(world.tiers.clock.now_ns)
    return str(world.tiers.state(world.tiers.plant)["state"])


def test_a_statement_that_was_missed_is_asked_for_by_a_question(world: World) -> None:
    tiers = world.tiers
    tiers.write(rows=180)
    tiers.close()
    assert let_pass(world, 1) == "complete"
    # A parent that lost the statement of the second minute, and nothing else.
    (state,) = tiers.plant.federation._follower.origins.lines()
    watch = state.watches["meters"]
    at = watch.slices.range(START_NS // MINUTE_NS + 1, START_NS // MINUTE_NS + 2).start
    for name in ("man_lsn", "max_lsn"):
        watch.slices[name][at] = 0
    watch.slices["state"][at] = UNPROVEN
    watch.wake()  # as after a start
    # By itself it would ask after a minute.
    assert let_pass(world, 25) == "incomplete"
    found, reading = world.ask(world.kept, SPAN, MINUTE_NS)
    assert sum(found[2]) == 180
    assert reading.warnings == []
    assert let_pass(world, 8) == "complete"


def test_a_pause_is_cut_short_once_a_minute() -> None:
    repairs = Repairs()
    repairs.want("meters", [5])
    for _ in range(6):
        repairs.answered("meters", 5, 5, 10, now=100.0)
    assert not repairs.due("meters", 120.0)[1]
    repairs.hurry("meters", 0, 5, 120.0)
    assert not repairs.due("meters", 120.0)[1], "it is another slice"
    repairs.hurry("meters", 5, 6, 120.0)
    assert 5 in repairs.due("meters", 120.0)[1]
    repairs.answered("meters", 5, 5, 10, now=121.0)
    repairs.hurry("meters", 5, 6, 122.0)
    assert not repairs.due("meters", 122.0)[1]
    repairs.hurry("meters", 5, 6, 120.0 + HURRY_EVERY_S)
    assert 5 in repairs.due("meters", 120.0 + HURRY_EVERY_S)[1]
