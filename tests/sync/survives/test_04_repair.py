"""Case 4: what was changed behind the engine's back at the platform is repaired from below within
two slices, also where only the sum of an hour is known of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine.errors import CorruptionError
from mainstem_sync.slices.watch import PROVEN_SLICES_KEPT
from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tampering import tamper, with_row_at, with_value, without
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers

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


@pytest.mark.parametrize("offset_s", [10, 10.5])
def test_case_4_a_row_under_a_wrong_origin_is_put_aside(tiers: Tiers, offset_s: float) -> None:
    """Beside a row of its owner, and between two of them."""
    tiers.write(rows=180)
    tiers.close()
    before = tiers.values(tiers.plant)
    ids = tiers.plant.engine.device_ids("meters", ["root.p.e.d1"])
    at = START_MS + MINUTE_MS + int(offset_s * 1000)
    tiers.plant.engine.write("meters", ids, [at], {"note": ["of nobody"], "current": [5.0]}).wait()
    assert len(tiers.plant.federation.verify(rescan=True)["slices"]) == 1
    repaired(tiers, lambda: tiers.values(tiers.plant) == before)
    assert tiers.values(tiers.plant) == before
    tiers.run()
    assert tiers.values(tiers.group) == before
    window = (START_NS, START_NS + 3 * MINUTE_NS)
    assert tiers.plant.federation.verify(*window, rescan=True)["slices"] == []
    (item,) = tiers.plant.federation.quarantine.items()
    assert (item["reason"], item["node"], item["time"]) == ("not_owner", "plant", at)
    assert json.loads(item["value"]) == {"note": "of nobody", "current": 5.0}
    tiers.check()


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


def test_an_owner_says_nothing_of_what_it_cannot_read(tiers: Tiers) -> None:
    tiers.write(rows=60)
    tiers.write(rows=60, start_s=300)
    engine = tiers.edge.engine
    scan = engine.slice_digests

    def damaged(table: str, origin: int, start_ns: int, end_ns: int, *more: Any, **how: Any) -> Any:
        if start_ns < START_NS + 6 * MINUTE_NS and end_ns > START_NS + 5 * MINUTE_NS:
            raise CorruptionError("a part", 7, "a block has a wrong checksum")
        return scan(table, origin, start_ns, end_ns, *more, **how)

    engine.slice_digests = damaged  # type: ignore[method-assign, assignment]
    tiers.close()
    assert tiers.state(tiers.edge)["complete_through"] == START_MS + 5 * MINUTE_MS
    assert tiers.state(tiers.plant)["complete_through"] == START_MS + 5 * MINUTE_MS
    engine.slice_digests = scan  # type: ignore[method-assign]
    tiers.clock.advance(2)
    tiers.close()
    assert tiers.state(tiers.plant)["state"] == "complete"


def test_what_differs_for_a_day_raises_one_alarm(tiers: Tiers) -> None:
    tiers.write(rows=180)
    tiers.close()
    tiers.up.cut()
    tamper(tiers.plant.engine, "meters", CHANGES["altered"])
    tiers.plant.federation.verify(rescan=True)

    def codes() -> list[str]:
        tiers.plant.federation.run_verification()
        tiers.plant.engine.log.barrier()
        return [alarm["code"] for alarm in tiers.plant.federation.alarms()]

    assert codes() == []
    tiers.clock.advance(86_000)
    assert codes() == []
    tiers.clock.advance(500)
    assert codes() == codes() == ["MISMATCH"]
    tiers.clock.advance(86_400)
    assert codes() == ["MISMATCH"]
