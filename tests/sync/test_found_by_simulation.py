"""What simulations found, each in its shortest form."""

from __future__ import annotations

from collections.abc import Callable

from mainstem_sync.testing.tiers import START_MS, Tiers

from .survives.copies import epoch_of, roll_back, snapshot, wait

MakeTiers = Callable[..., Tiers]


def test_a_delete_of_a_relay_waits_for_no_definition_behind_it(tiers: Tiers) -> None:
    """The plant's rows are of a child's template, which it says again when the group asks. Its
    delete lies before that in the log, and in the same batch of the control queue."""
    tiers.write()
    tiers.run()
    tiers.up2.cut()
    tiers.write("root.p.q.d1", rows=2, node=tiers.plant)
    at = START_MS
    tiers.plant.engine.delete("meters", devices="root.p.q.d1", start=at, end=at + 1).ack.wait()
    tiers.up2.restore()
    tiers.run(20)
    left = [row for row in tiers.values(tiers.group) if row[0] == "root.p.q.d1"]
    assert [row[1] for row in left] == [1.0]
    assert tiers.forward(tiers.plant)["pending"] == 0


def small_log_at_the_plant(make_tiers: MakeTiers) -> Tiers:
    return make_tiers(plant_options={"log_segment_bytes": 1500, "log_bytes_max": 3000})


def release_the_log(tiers: Tiers) -> None:
    """What the plant has not delivered is out of its log, and owed as slices."""
    for number in range(6):
        tiers.write("root.p.e.d9", start_s=900 + 60 * number, rows=20)
        tiers.run(1)
        tiers.plant.engine.flush()
        tiers.plant.federation.run_manifests(tiers.clock.now_ns)


def forked_while_the_group_is_away(tiers: Tiers) -> None:
    """Minute 0 has rows of both epochs and an orphan."""
    tiers.write(rows=3)
    tiers.run(2)
    copy = snapshot(tiers.edge)
    tiers.up2.cut()
    tiers.write(start_s=10, rows=2, value=2.0)
    tiers.run(2)
    roll_back(tiers.edge, copy)
    tiers.write(start_s=20, rows=4, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1


def test_a_relay_answers_for_the_line_of_a_forked_slice_and_brings_its_orphans(
    make_tiers: MakeTiers,
) -> None:
    """Else the group waits for ever, and lacks rows of the present line."""
    tiers = small_log_at_the_plant(make_tiers)
    forked_while_the_group_is_away(tiers)
    release_the_log(tiers)
    forward = tiers.plant.federation._follower.forward
    assert forward is not None
    owed = forward.owing.records.values()
    assert any(each.target is not None and each.ranges for each in owed)
    tiers.up2.restore()
    for _ in range(4):
        tiers.run(10)
        tiers.close(3)
    assert sorted(tiers.values(tiers.group)) == sorted(tiers.values(tiers.plant))
    assert {row[2] for row in tiers.values(tiers.group)} == {1.0, 2.0, 3.0}
    assert tiers.forward(tiers.plant)["pending"] == 0
    for state in tiers.group.federation._follower.origins:
        assert not state.backlog.entries
    assert {item["state"] for item in tiers.group.federation.verify()["slices"]} == {"FORKED"}
