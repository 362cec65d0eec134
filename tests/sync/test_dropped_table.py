"""A table that its owner drops: RETIRED at the tiers above, with whatever was not proven of it."""

from __future__ import annotations

import pytest

from mainstem_sync.proof.completeness import Ending, Window, judge_watch, list_slices
from mainstem_sync.receiving.quarantine import QuarantineItem
from mainstem_sync.testing.tiers import METERS, MINUTE_NS, START_MS, START_NS, Tiers

FIRST = START_NS // MINUTE_NS


def test_it_is_retired_above_until_there_is_one_again(tiers: Tiers) -> None:
    tiers.write(rows=100)
    tiers.close()
    store = tiers.plant.federation.quarantine
    store.add([QuarantineItem("edge", "meters", "root.p.e.d1", START_MS, "x", "r", 1, 5)])
    tiers.edge.engine.sql("DROP STABLE meters")
    for again in range(2):
        tiers.close()
        for node in (tiers.plant, tiers.group):
            found = tiers.state(node)
            assert (found["state"], found["holes"], found["lost"]) == ("retired", [], []), again
            assert node.federation.verify()["slices"] == []
        if not again:
            tiers.plant.engine.flush()
            tiers.plant.restart()
            tiers.group.restart()
    tiers.edge.engine.create_template(METERS)
    tiers.write(start_s=3000, rows=100, value=2.0)
    for _ in range(4):
        tiers.close(20)
    for node in (tiers.plant, tiers.group):
        assert tiers.state(node)["state"] in ("complete", "incomplete"), node.name
        assert tiers.state(node)["complete_through"] >= START_MS + 3_000_000
        assert len(tiers.values(node)) == 100
    tiers.check()


@pytest.mark.parametrize("dropped", [False, True])
def test_what_was_not_proven_of_it_is_no_hole(tiers: Tiers, dropped: bool) -> None:
    tiers.write(rows=200)
    tiers.close()
    (state,) = tiers.plant.federation._follower.origins.lines()
    watch = state.watches["meters"]
    watch.rows_applied(watch.slices.keys[1:2] * MINUTE_NS, 1 << 30)  # and nothing is said of it
    ending = Ending(watch.closed.last + 1, final=True, until=watch.closed.last + 1)
    window, now_ns = Window(), tiers.clock.now_ns
    found = judge_watch("edge", "meters", watch, window, now_ns, ending if dropped else None)
    _, bad, listed = list_slices(
        "edge", "meters", watch, 1 << 40, window, now_ns, ending if dropped else None
    )
    stretch = [START_MS + 60_000, START_MS + 120_000]
    assert bad == 1
    if dropped:
        assert (found["state"], found["holes"]) == ("retired", [])
        (lost,) = found["lost"]
        assert ([lost["from"], lost["to"]], lost["reason"]) == (stretch, "retired")
        assert [item["state"] for item in listed] == ["RETIRED"]
    else:
        assert (found["state"], found["holes"]) == ("incomplete", [stretch])
        assert [item["state"] for item in listed] == ["REVISED"]
