"""Case 8, and repair: after a fork a slice holds rows of several epochs. An image of it says all of
it, from the owner and through a relay; orphans of the lost line stay where they are."""

from __future__ import annotations

import pytest

from mainstem_sync.testing.tampering import tamper, with_value, without
from mainstem_sync.testing.tiers import MINUTE_NS, START_NS, Tiers

from .copies import epoch_of, roll_back, snapshot, wait


def forked(tiers: Tiers) -> None:
    """Minute 0 is of epochs 0 and 1, minute 1 of 0 only, minute 2 holds orphans."""
    tiers.write(rows=10, start_s=0)
    tiers.write(rows=10, start_s=60)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    tiers.write(rows=10, start_s=120, value=2.0)
    tiers.run(2)
    roll_back(tiers.edge, copy)
    tiers.write(rows=10, start_s=5, value=3.0)
    tiers.write(rows=5, start_s=125, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    tiers.close()


def settle(tiers: Tiers) -> None:
    for _ in range(10):
        tiers.run(15 * 0.12, check=False)
        tiers.clock.advance(13)
        for node in (tiers.edge, tiers.plant):
            node.federation.run_manifests(tiers.clock.now_ns)
        for node in (tiers.plant, tiers.group):
            node.federation.run_verification()


@pytest.mark.parametrize("where", ["plant", "group"])
@pytest.mark.parametrize("row", [3, 8, 22])
@pytest.mark.parametrize("change", ["deleted", "altered"])
def test_case_8_a_slice_of_two_epochs_is_repaired(
    tiers: Tiers, where: str, row: int, change: str
) -> None:
    """Row 3 is of epoch 0, row 8 covers one of epoch 0, row 22 is in a minute of epoch 0."""
    forked(tiers)
    node = getattr(tiers, where)
    before = tiers.values(node)
    tamper(node.engine, "meters", without(row) if change == "deleted" else with_value(row, 0))
    assert tiers.values(node) != before
    assert {s["state"] for s in node.federation.verify(rescan=True)["slices"]} >= {"MISMATCH"}
    settle(tiers)
    assert tiers.values(node) == before
    window = (START_NS, START_NS + 2 * MINUTE_NS)
    assert node.federation.verify(*window, rescan=True)["slices"] == []
    node.engine.flush()
    node.engine.compact()
    node.restart()
    assert tiers.values(node) == before


def test_case_8_orphans_outlive_an_image_of_their_slice(tiers: Tiers) -> None:
    forked(tiers)
    before = tiers.values(tiers.plant)
    orphans = {row for row in before if row[2] == 2.0}
    assert orphans
    uuid = tiers.edge.engine.node_uuid
    (stretch,) = tiers.plant.federation.forked_slices(uuid, "meters")
    image = tiers.edge.engine.slice_image("meters", 0, *stretch)
    origin = next(o for o in tiers.plant.engine.origins if (o.node_uuid, o.epoch) == (uuid, 1))
    from dataclasses import replace

    # Ids are the same at both: there is one device.
    tiers.plant.engine.apply_image(replace(image, origin=origin)).wait()
    assert tiers.values(tiers.plant) == before
