"""Case 9: the parent is restored from an old backup. It shows a smaller R at HELLO and gets the
rest again, or it is declared lost by slice; and no epoch is given out twice."""

from __future__ import annotations

import pytest

from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, START_NS, Tiers

from .copies import epoch_of, release, roll_back, snapshot, wait, wipe


@pytest.mark.parametrize("which", ["plant", "group"])
def test_case_9_what_the_backup_lacks_is_sent_again(tiers: Tiers, which: str) -> None:
    node = getattr(tiers, which)
    tiers.write(rows=5)
    tiers.run(1)
    copy = snapshot(node)
    for number in range(6):
        tiers.write(rows=5, start_s=100 * (number + 1), value=float(number))
        tiers.run(1)
    tiers.write("root.p.e.d2", rows=2, start_s=900)
    tiers.close(20)
    roll_back(node, copy)
    wait(tiers)
    tiers.close(4)
    for other in (tiers.plant, tiers.group):
        assert tiers.values(other) == tiers.values(tiers.edge), other.name
        assert tiers.state(other)["state"] == "complete", other.name
    assert epoch_of(tiers.edge) == 0
    # A restored relay goes on in an epoch of its own: of its own log its parent knew more.
    assert epoch_of(tiers.plant) == (1 if which == "plant" else 0)


def test_case_9_the_last_tier_is_wiped(tiers: Tiers) -> None:
    tiers.write(rows=5)
    tiers.close(3)
    wipe(tiers.group)
    wait(tiers)
    tiers.write(rows=5, start_s=300)
    wait(tiers)
    tiers.close(4)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.state(tiers.group)["state"] == "complete"


def test_case_9_a_parent_from_before_a_fork_learns_of_it_from_the_child(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    edge_copy, plant_copy = snapshot(tiers.edge), snapshot(tiers.plant)
    tiers.write(rows=3, start_s=100, value=2.0)
    tiers.run(1)
    roll_back(tiers.edge, edge_copy)
    tiers.write(rows=3, start_s=200, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    roll_back(tiers.plant, plant_copy)
    tiers.write(rows=3, start_s=300, value=4.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1, "the same epoch, not a new one and not an old one"
    own = set(tiers.values(tiers.edge))
    lost = {("root.p.e.d1", 100.0 + n, 2.0, n) for n in range(3)}
    assert set(tiers.values(tiers.plant)) == own, "what only the lost line had is not here any more"
    assert set(tiers.values(tiers.group)) == own | lost, "and stays where it is held"


def test_case_9_both_are_restored_to_before_a_fork_and_no_epoch_repeats(tiers: Tiers) -> None:
    """The edge and the platform forget epoch 1; the group remembers it."""
    tiers.write(rows=3)
    tiers.run(1)
    edge_copy, plant_copy = snapshot(tiers.edge), snapshot(tiers.plant)
    tiers.write(rows=3, start_s=100, value=2.0)
    tiers.run(1)
    roll_back(tiers.edge, edge_copy)
    tiers.write(rows=3, start_s=200, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    seen = set(tiers.values(tiers.group))
    tiers.edge.stop()
    tiers.plant.stop()
    roll_back(tiers.plant, plant_copy)
    roll_back(tiers.edge, edge_copy)
    tiers.write(rows=3, start_s=300, value=5.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 2
    own = set(tiers.values(tiers.edge))
    assert set(tiers.values(tiers.group)) == seen | own
    assert set(tiers.values(tiers.plant)) >= own


def test_case_9_what_nobody_below_has_any_more_is_declared_by_slice(tiers: Tiers) -> None:
    """The child has released its log, and its rows have expired, of what the parent acknowledged
    and then lost."""
    tiers.write(rows=5)
    tiers.run(1)
    copy = snapshot(tiers.plant)
    tiers.write(rows=240, value=2.0)
    tiers.edge.engine.flush()
    tiers.write(rows=120, start_s=240, value=2.0)
    tiers.close()
    before = tiers.values(tiers.group)
    release(tiers, tiers.edge)
    assert tiers.edge.engine.log.first_lsn > 6, "the log is released"
    assert tiers.edge.engine.give_way("meters", START_NS + 4 * MINUTE_NS, held=True).rows == 240
    roll_back(tiers.plant, copy)
    for _ in range(4):
        wait(tiers)
        tiers.close(3)
    kept = [row for row in before if row[1] >= 240]
    assert [row for row in tiers.values(tiers.plant) if row[1] >= 5] == kept
    state = tiers.state(tiers.plant)
    assert (state["state"], state["holes"]) == ("complete", [])
    (lost,) = state["lost"]
    assert (lost["from"], lost["to"]) == (START_MS, START_MS + 4 * 60_000)
    assert lost["reason"] == "lost: expired"
    listed = tiers.plant.federation.verify(rescan=True)["slices"]
    assert [(each["from"], each["state"]) for each in listed] == [
        (START_MS + minute * 60_000, "LOST") for minute in range(4)
    ]
    # What is above has no less than before, and is as sure of it.
    assert tiers.values(tiers.group) == before
    assert tiers.state(tiers.group)["lost"] == []
    assert tiers.group.federation.verify(rescan=True)["slices"] == []
    tiers.check()
