"""Replay equals live: what is compared is really compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_sync.state.follower import Follower
from mainstem_sync.testing.claims import ClaimError
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.replayed import OF_A_PROCESS, check_replayed
from mainstem_sync.testing.script import script_of
from mainstem_sync.testing.truth import TABLE
from mainstem_sync.testing.world import World

SEED = 0
ENTRIES = 40
"""Of the script of a run: rows, deletes and statements are at the plant by then."""


@pytest.fixture(scope="module")
def world() -> World:
    world = World(SEED)
    world.run(script_of(SEED)[:ENTRIES])
    for node in world.nodes:
        world._up(node)
    return world


def _follower(world: World) -> Follower:
    assert isinstance(world.plant, MemoryNode)
    return world.plant.federation._follower


def _counted(follower: Follower, by: int) -> None:
    follower.accounts.table(TABLE).from_children += by


def _touched(follower: Follower, by: int) -> None:
    row_lsn = next(iter(follower.origins)).watches[TABLE].slices["row_lsn"]
    row_lsn[0] = int(row_lsn[0]) + by


def _owed(follower: Follower, by: int) -> None:
    assert follower.forward is not None
    follower.forward.table(TABLE).pending += by


def _numbered(follower: Follower, by: int) -> None:
    follower.lines.own.trail.boots_from += by


def test_a_start_finds_what_the_process_knew(world: World) -> None:
    for node in world.nodes:
        assert isinstance(node, MemoryNode)
        check_replayed(node)


@pytest.mark.parametrize("change", [_counted, _touched, _owed, _numbered])
def test_another_value_is_found(world: World, change: Callable[[Follower, int], None]) -> None:
    assert isinstance(world.plant, MemoryNode)
    change(_follower(world), 1)
    with pytest.raises(ClaimError, match="knows after a start"):
        check_replayed(world.plant)
    change(_follower(world), -1)
    check_replayed(world.plant)


def test_what_is_left_out_has_a_name_and_a_reason() -> None:
    assert all(name.count(".") == 1 and reason for name, reason in OF_A_PROCESS.items())
