"""Case 20: the relay is down, wiped or restored. The edge holds what it owes; the group does not
take silence for zero; nothing is lost, and no log is taken for another one."""

from __future__ import annotations

import pytest

from mainstem_sync.testing.tiers import Tiers

from .copies import epoch_of, roll_back, snapshot, wait, wipe


def test_case_20_a_relay_that_is_down_holds_everything_up_and_loses_nothing(tiers: Tiers) -> None:
    tiers.write(rows=5)
    tiers.close(3)
    tiers.plant.stop()
    for number in range(5):
        tiers.write(rows=5, start_s=200 + 60 * number, value=2.0)
        tiers.clock.advance(60)
    tiers.run(3)
    assert tiers.forward(tiers.edge)["pending"] == 25
    found = tiers.state(tiers.group)
    assert found["state"] == "incomplete"
    assert found["holes"], "silence is no statement"
    (seen,) = tiers.group.federation.children()
    assert seen["state"] in ("stale", "offline")
    tiers.plant.start()
    wait(tiers)
    tiers.close(4)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.state(tiers.group)["state"] == "complete"


def test_case_20_a_table_of_a_relay_that_was_never_heard_is_unknown(tiers: Tiers) -> None:
    tiers.plant.stop()
    tiers.write(rows=5)
    tiers.run(2)
    assert tiers.group.federation.completeness() == []
    assert tiers.group.federation.children() == []


@pytest.mark.parametrize("group_is_up", [True, False])
def test_case_20_a_wiped_relay_costs_the_group_nothing(tiers: Tiers, group_is_up: bool) -> None:
    tiers.write(rows=5)
    tiers.write("root.p.e.d2", rows=5, start_s=70)
    tiers.close(4)
    before = tiers.values(tiers.group)
    wipe(tiers.plant)
    if not group_is_up:
        tiers.up2.cut()
    tiers.write(rows=5, start_s=300, value=3.0)
    wait(tiers)
    if not group_is_up:
        # It has lost what the edge remembers to be acknowledged: it asks the group first.
        assert tiers.edge.federation.link()["state"] == "connecting"  # type: ignore[index]
        assert tiers.forward(tiers.edge)["pending"] == 5
        tiers.up2.restore()
        wait(tiers)
    tiers.close(4)
    assert set(tiers.values(tiers.group)) == {*before, *tiers.values(tiers.edge)}
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.state(tiers.group)["holes"] == []
    assert epoch_of(tiers.edge) == 0


def test_case_20_a_wiped_relay_does_not_take_a_restored_edge_for_the_old_one(tiers: Tiers) -> None:
    """The edge is restored while the relay is wiped: only the group can tell the two logs apart."""
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    for number in range(4):
        tiers.write(rows=3, start_s=100 + 10 * number, value=2.0)
    tiers.run(2)
    before = set(tiers.values(tiers.group))
    wipe(tiers.plant)
    roll_back(tiers.edge, copy)
    for number in range(4):
        tiers.write(rows=3, start_s=300 + 10 * number, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    assert set(tiers.values(tiers.group)) == before | set(tiers.values(tiers.edge))
    assert set(tiers.values(tiers.plant)) == set(tiers.values(tiers.edge))


def test_case_20_orphans_reach_the_group_through_the_relay(tiers: Tiers) -> None:
    """The edge forks while the relay owes the group what only the relay still holds."""
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    tiers.up2.cut()
    for number in range(4):
        tiers.write(rows=3, start_s=100 + 10 * number, value=2.0)
    tiers.run(2)
    assert len(tiers.values(tiers.group)) == 3
    roll_back(tiers.edge, copy)
    tiers.write(rows=3, start_s=300, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    tiers.up2.restore()
    wait(tiers)
    assert set(tiers.values(tiers.group)) == set(tiers.values(tiers.plant))
    assert len(tiers.values(tiers.group)) == 18
    assert tiers.group.federation.fork_losses() == []
    for node in (tiers.plant, tiers.group):
        uuid = tiers.edge.engine.node_uuid
        assert node.federation.forked_slices(uuid, "meters"), node.name


def test_case_20_what_a_relay_promised_and_lost_is_loss_at_both(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    edge_copy, plant_copy = snapshot(tiers.edge), snapshot(tiers.plant)
    tiers.up2.cut()
    for number in range(4):
        tiers.write(rows=3, start_s=100 + 10 * number, value=2.0)
    tiers.run(2)
    roll_back(tiers.edge, edge_copy)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    # The group hears of the fork, and what it will get; then the relay loses it.
    tiers.up2.restore()
    tiers.clock.advance(31)
    uuid = tiers.edge.engine.node_uuid
    while not tiers.group.federation.forked_slices(uuid, "meters"):
        assert tiers.up2.step()
    assert len(tiers.values(tiers.group)) == 3
    roll_back(tiers.plant, plant_copy)
    wait(tiers)
    lost, *_ = (item for item in tiers.group.federation.fork_losses() if item["node"] == "edge")
    assert (lost["node"], lost["epoch"]) == ("edge", 0)
    theirs, *_ = (item for item in tiers.plant.federation.fork_losses() if item["node"] == "edge")
    assert theirs["lsns"] == lost["lsns"]
    settled = tiers.group.engine.settled
    for index, origin in enumerate(tiers.group.engine.origins):
        if origin.node == "edge" and origin.epoch == 0:
            assert settled(index) > 1 << 60, "nothing more is waited for"


def test_case_20_a_relay_asks_first_but_not_for_ever(tiers: Tiers) -> None:
    """The group is away: a relay that starts again, and has lost nothing, lets its children in."""
    tiers.write(rows=3)
    tiers.run(1)
    tiers.up2.cut()
    tiers.plant.restart()
    tiers.write(rows=3, start_s=60)
    wait(tiers)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
