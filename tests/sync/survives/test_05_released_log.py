"""Cases 5, 6 and 24: an outage that outlasts the log, what changes meanwhile, and compaction."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tiers import MINUTE_NS, Tiers

MakeTiers = Callable[..., Tiers]

SMALL_LOG = {"log_segment_bytes": 2048, "log_bytes_max": 6000}
"""A few records: an outage of minutes is longer than this log."""


def outage(tiers: Tiers, minutes: int = 12, *, device: str = "root.p.e.d1") -> None:
    """The edge goes on by itself; what its log cannot keep is owed as slices."""
    for minute in range(minutes):
        tiers.write(device=device, start_s=60.0 * minute, rows=50, value=float(minute))
        tiers.clock.advance(60)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.edge.engine.flush()
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.edge.engine.flush()
    tiers.check()


def restored(tiers: Tiers) -> None:
    tiers.up.restore()
    tiers.run(30)
    tiers.close(15)
    tiers.run()
    for node in (tiers.plant, tiers.group):
        node.federation.run_verification()


def assert_whole(tiers: Tiers) -> None:
    expected = sorted(tiers.values(tiers.edge))
    for node in (tiers.plant, tiers.group):
        assert sorted(tiers.values(node)) == expected, node.name
        assert node.federation.holes == [], node.name
        assert tiers.state(node)["state"] == "complete"
        # From the first minute on, with a statement about every one.
        origins = node.federation._follower.origins
        (closed,) = [o.watches["meters"].closed for o in origins if o.key.name == "edge"]
        assert closed.covers(START_NS // MINUTE_NS, START_NS // MINUTE_NS + 20), closed
    for node in (tiers.edge, tiers.plant):
        sums = tiers.forward(node)
        assert (sums["pending"], sums["lost"], sums["parked"]) == (0, 0, 0), (node.name, sums)
        delivery = node.federation.delivery()
        assert delivery is not None
        assert delivery["pending_bytes"] == 0
    tiers.check()


@pytest.mark.parametrize("restarts", [False, True])
def test_case_5_the_log_is_released_and_history_comes_as_images(
    make_tiers: MakeTiers, restarts: bool
) -> None:
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write(rows=5)
    tiers.run()
    tiers.up.cut()
    outage(tiers)
    log = tiers.edge.engine.log.statistics()
    assert log.first_lsn > 2
    assert log.bytes < 20_000
    assert tiers.forward(tiers.edge)["pending"] > 400
    if restarts:
        tiers.edge.restart()
        tiers.check()
    # What is live now is there at once, before any history.
    tiers.write(device="root.p.e.d9", start_s=900, rows=1, value=7.0)
    tiers.up.restore()
    tiers.run(1.0)
    assert ("root.p.e.d9", 900.0, 7.0, 0) in tiers.values(tiers.plant)
    restored(tiers)
    assert tiers.edge.federation.exchange.images is not None
    assert tiers.edge.federation.exchange.images.sent > 0
    assert_whole(tiers)


def test_case_6_overwrites_and_deletes_in_what_is_owed(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write(rows=30)
    tiers.write(start_s=60, rows=30)
    tiers.run()
    tiers.up.cut()
    tiers.edge.engine.sql("DELETE FROM root.p.e.d1 WHERE voltage > 20")
    tiers.write(start_s=60, rows=10, value=99.0)
    outage(tiers)
    tiers.edge.engine.sql("DELETE FROM root.p.e.d1 WHERE voltage = 3")
    # Newer live writes arrive before the images of the slices that they touch.
    tiers.write(start_s=62, rows=3, value=-1.0)
    restored(tiers)
    assert_whole(tiers)
    assert ("root.p.e.d1", 62.0, -1.0, 0) in tiers.values(tiers.group)


def test_case_24_compaction_during_the_drain(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write(rows=5)
    tiers.run()
    tiers.up.cut()
    outage(tiers)
    tiers.up.restore()
    for _ in range(40):
        tiers.clock.advance(0.12)
        for link in tiers.links:
            link.step()
        tiers.edge.engine.compact()
        tiers.edge.engine.flush()
        tiers.plant.engine.compact()
    restored(tiers)
    assert_whole(tiers)


def test_the_log_of_a_relay_is_released(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(plant_options=SMALL_LOG)
    tiers.write(rows=5)
    tiers.run()
    tiers.up2.cut()
    for minute in range(12):
        tiers.write(start_s=60.0 * minute, rows=50, value=float(minute))
        tiers.clock.advance(60)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.run(1.0)
        tiers.plant.federation.run_manifests(tiers.clock.now_ns)
        tiers.plant.engine.flush()
    tiers.plant.engine.flush()
    assert tiers.plant.engine.log.first_lsn > 2
    tiers.up2.restore()
    tiers.run(30)
    restored(tiers)
    assert_whole(tiers)
