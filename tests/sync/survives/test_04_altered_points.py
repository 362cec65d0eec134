"""Case 4: a batch that was torn or changed on its way is refused and comes again; a point that was
deleted, altered or added behind the engine's back at the platform is named, and repaired."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mainstem_sync.slices.manifest import SLICE_NS
from mainstem_sync.testing.network import Faults, flipped
from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tampering import tamper, with_row_at, with_value, without
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers

MINUTE_MS = 60_000
Change = Callable[[Tiers], None]


def test_case_4_a_changed_batch_is_refused_and_comes_again(tiers: Tiers) -> None:
    tiers.up._rng = random.Random(3)
    tiers.up.faults = Faults(flip=0.5)
    for number in range(20):
        tiers.write(start_s=number * 10, value=float(number))
        tiers.run(1)
    tiers.up.faults = Faults()
    tiers.run(60)
    drops = tiers.plant.federation.drops()
    assert sum(n for reason, n in drops.items() if reason.startswith("received_")) > 0
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    tiers.close()
    assert tiers.plant.federation.verify(rescan=True)["slices"] == []


def test_case_4_a_torn_request_stores_nothing(tiers: Tiers) -> None:
    tiers.write()
    tiers.run(1)
    held = tiers.values(tiers.plant)
    tiers.write(start_s=100)
    tiers.clock.advance(1)
    sender, receiver = tiers.edge.sender(), tiers.plant.receiver()
    assert sender is not None
    assert receiver is not None
    request = sender.next_request()
    assert request is not None
    for cut in (1, len(request.body) // 2, len(request.body) - 1):
        assert receiver.batches(tiers.up._child, request.body[:cut]).status == 400
    assert receiver.batches(tiers.up._child, flipped(request.body, random.Random(1))).status == 400
    assert tiers.values(tiers.plant) == held


def delete(tiers: Tiers) -> None:
    tamper(tiers.plant.engine, "meters", without(70))


def alter(tiers: Tiers) -> None:
    tamper(tiers.plant.engine, "meters", with_value(70, 0))


def add(tiers: Tiers) -> None:
    tamper(tiers.plant.engine, "meters", with_row_at(70, START_NS + MINUTE_NS + 10_500_000_000))


def add_under_a_wrong_origin(tiers: Tiers) -> None:
    ids = tiers.plant.engine.device_ids("meters", ["root.p.e.d1"])
    at = START_MS + MINUTE_MS + 10_500
    tiers.plant.engine.write("meters", ids, [at], {"current": [5.0]}).wait()


def alter_under_a_wrong_origin(tiers: Tiers) -> None:
    ids = tiers.plant.engine.device_ids("meters", ["root.p.e.d1"])
    at = START_MS + MINUTE_MS + 10_000
    tiers.plant.engine.write("meters", ids, [at], {"note": ["not of its owner"]}).wait()


CHANGES = [delete, alter, add, add_under_a_wrong_origin, alter_under_a_wrong_origin]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_case_4_one_point_changed_at_the_platform_is_named(tiers: Tiers, change: Change) -> None:
    tiers.write(rows=180)
    tiers.close()
    assert tiers.plant.federation.verify(rescan=True)["slices"] == []
    change(tiers)
    assert tiers.plant.federation.verify()["slices"] == [], "nobody has looked"
    found = tiers.plant.federation.verify(rescan=True)
    (named,) = found["slices"]
    assert (named["from"], named["to"]) == (START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS)
    assert (named["node"], named["table"], named["state"]) == ("edge", "meters", "MISMATCH")
    assert found["verified"] == found["judged"] - 1
    assert tiers.state(tiers.plant)["state"] == "incomplete"
    assert tiers.state(tiers.group)["state"] == "complete"


def test_case_4_a_point_where_its_owner_has_none(tiers: Tiers) -> None:
    """In a minute that is closed, and empty, and in no manifest."""
    tiers.write(rows=60)
    tiers.write(rows=60, start_s=300)
    tiers.close()
    tamper(tiers.plant.engine, "meters", with_row_at(0, START_NS + 2 * MINUTE_NS))
    (named,) = tiers.plant.federation.verify(rescan=True)["slices"]
    assert (named["from"], named["count"]) == (START_MS + 2 * MINUTE_MS, 0)
    assert "states 0 rows, 1 are stored" in named["reason"]


def test_a_day_later_it_is_found_without_anybody_asking(tiers: Tiers) -> None:
    tiers.write(rows=180)
    tiers.close()
    alter(tiers)
    tiers.clock.advance(600)
    tiers.plant.federation.run_verification()
    assert tiers.plant.federation.verify()["slices"][0]["state"] == "OPEN"
    tiers.clock.advance(86_400)
    tiers.plant.federation.run_verification()
    states = {s["from"]: s["state"] for s in tiers.plant.federation.verify()["slices"]}
    assert states[START_MS + MINUTE_MS] == "MISMATCH"


def test_looking_again_is_bounded_and_goes_on(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers.write(rows=60)
    tiers.close()
    assert tiers.plant.federation.verify(rescan=True)["rescanned"] is True
    monkeypatch.setattr(tiers.plant.federation._proof, "rescan", lambda *_: False)
    assert tiers.plant.federation.verify(rescan=True)["rescanned"] is False
    assert SLICE_NS == MINUTE_NS


def test_what_was_found_is_not_forgotten_by_a_crash(tiers: Tiers) -> None:
    """Killed between finding and repair, and its child is away."""
    tiers.write(rows=180)
    tiers.close()
    tiers.up.cut()
    alter(tiers)
    (named,) = tiers.plant.federation.verify(rescan=True)["slices"]
    assert named["state"] == "MISMATCH"
    tiers.plant.restart()
    assert tiers.state(tiers.plant)["complete_through"] <= START_MS + MINUTE_MS
    tiers.plant.federation.run_verification()
    found = tiers.plant.federation.verify()["slices"]
    assert [(each["from"], each["state"]) for each in found] == [
        (START_MS + MINUTE_MS, "MISMATCH"), (START_MS + 3 * MINUTE_MS, "OPEN"),
    ][: len(found)]  # fmt: skip
