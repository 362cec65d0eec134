"""Case 5: an outage that outlasts the log. Live rows are there at once, history as images."""

from __future__ import annotations

import pytest

from .outages import SMALL_LOG, MakeTiers, assert_whole, outage, reconnected, restored


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
    reconnected(tiers)
    tiers.run(1.0)
    assert ("root.p.e.d9", 900.0, 7.0, 0) in tiers.values(tiers.plant)
    restored(tiers)
    assert tiers.edge.federation.exchange.images is not None
    assert tiers.edge.federation.exchange.images.sent > 0
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
