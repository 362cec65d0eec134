"""Replay equals live: what is compared is really compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.origins.origin_state import DENIED, UNMAPPED, Origins
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.line_following import LineFollowing
from mainstem_sync.testing.claims import ClaimError
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.replayed import OF_A_PROCESS, _state, check_replayed
from mainstem_sync.testing.script import script_of
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.testing.truth import TABLE
from mainstem_sync.testing.world import World
from mainstem_sync.wire.messages import OriginKey

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


def test_what_the_log_may_be_released_through_is_what_the_checkpoint_said(tiers: Tiers) -> None:
    """Also where the parent had lost what is released: a start does not know that yet."""
    tiers.write()
    tiers.run()
    forward = tiers.edge.federation._follower.forward
    assert forward is not None
    last = forward.applied_lsn
    forward.acked.remove(1, 3)
    forward.missing.add(1, 3)
    tiers.edge.engine.flush()
    assert forward.saved_watermark == last
    tiers.edge.restart()
    again = tiers.edge.federation._follower.forward
    assert again is not None
    assert again.saved_watermark == last


@pytest.mark.parametrize("is_early", [False, True])
def test_a_closed_epoch_begins_with_what_its_line_defines_whenever_it_is_heard_of(
    is_early: bool,
) -> None:
    """A batch of it makes its state, before a record of it is applied."""
    lines = LineFollowing(origins := Origins())
    lines.open("e", "edge").table = EpochTable(((1, 50),))
    closed = OriginKey("e", 0, "edge")
    line = origins.open(OriginKey("e", 1, "edge"), "edge")
    for lsn, ids in ((5, [0, 1]), (7, [2]), (60, [3])):
        if lsn == 7 and is_early:
            origins.open(closed, "edge").maps.put_devices([4], np.array([DENIED]))
        line.maps.put_devices(ids, np.array(ids) + 10)
        line.definitions.note([], [[lsn, ids, len(ids)]], lsn)
    state = origins.open(closed, "edge")
    state.maps.put_devices([4], np.array([DENIED]))
    origins.begin(state)
    found = state.maps.local_devices(np.arange(6, dtype=np.uint32))
    assert found.tolist() == [10, 11, 12, UNMAPPED, DENIED, UNMAPPED]


def test_whether_two_places_share_one_key_is_no_state() -> None:
    one, same = OriginKey("e" * 32, 0, "edge"), OriginKey("e" * 32, 0, "edge")
    assert _state([one, one], set()) == _state([one, same], set())
    assert _state([one], set()) != _state([OriginKey("e" * 32, 1, "edge")], set())
