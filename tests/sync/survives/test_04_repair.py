"""Case 4: what was changed behind the engine's back at the platform is repaired from below within
two slices, also where only the sum of an hour is known of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tampering import tamper, with_row_at, with_value, without
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers
from mainstem_sync.watch import PROVEN_SLICES_KEPT

MINUTE_MS = 60_000

CHANGES = {
    "deleted": without(70),
    "altered": with_value(70, 0),
    "added": with_row_at(70, START_NS + MINUTE_NS + 10_500_000_000),
}


@pytest.mark.parametrize("change", CHANGES)
def test_case_4_one_point_is_repaired_within_two_slices(tiers: Tiers, change: str) -> None:
    tiers.write(rows=180)
    tiers.close()
    before = tiers.values(tiers.plant)
    tamper(tiers.plant.engine, "meters", CHANGES[change])
    assert len(tiers.plant.federation.verify(rescan=True)["slices"]) == 1
    started_ns = tiers.clock.now_ns
    repaired(tiers, lambda: tiers.values(tiers.plant) == before)
    assert tiers.clock.now_ns - started_ns <= 2 * MINUTE_NS
    window = (START_NS, START_NS + 3 * MINUTE_NS)
    assert tiers.plant.federation.verify(*window, rescan=True)["slices"] == []


@pytest.mark.parametrize("change", ["altered", "deleted"])
def test_case_4_a_point_of_long_ago(tiers: Tiers, change: str) -> None:
    """Of its minute only the hour's sum is known: its owner states the minutes again."""
    engine = tiers.edge.engine
    slices = PROVEN_SLICES_KEPT + 600
    ids = engine.device_ids("meters", ["root.p.e.d1"], create=True)
    times = START_MS - (slices - np.arange(slices)) * MINUTE_MS
    engine.write("meters", np.repeat(ids, slices), times, {"current": times / 1000}).wait()
    tiers.close()
    tiers.plant.federation.run_verification()
    (state,) = tiers.plant.federation._follower.origins
    assert len(state.watches["meters"].rolled.hours) >= 8
    before = tiers.values(tiers.plant)
    assert tiers.plant.federation.verify(rescan=True)["slices"] == []
    tamper(tiers.plant.engine, "meters", CHANGES[change])
    (named,) = tiers.plant.federation.verify(rescan=True)["slices"]
    assert named["to"] - named["from"] == 60 * MINUTE_MS
    assert named["from"] <= times[70] < named["to"]
    repaired(tiers, lambda: tiers.values(tiers.plant) == before)
    assert tiers.plant.federation.verify(end_ns=START_NS, rescan=True)["slices"] == []


def repaired(tiers: Tiers, condition: Callable[[], bool]) -> None:
    """Let all do what they do every second, until it is so; two minutes at the most."""
    for _ in range(8):
        tiers.run(15 * 0.12, check=False)
        tiers.clock.advance(13)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.plant.federation.run_verification()
        if condition():
            return
