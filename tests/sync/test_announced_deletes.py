"""A delete whose devices the parent has never heard of: they are said again, like those of rows."""

from __future__ import annotations

from mainstem_sync.testing.tiers import START_MS, Tiers


def test_a_delete_of_devices_that_are_not_known_above_goes_through(tiers: Tiers) -> None:
    """The log of their definitions was released, and the parent lost its disk."""
    tiers.write(rows=3)
    tiers.write("root.p.e.d2", rows=3, start_s=10)
    tiers.run(2)
    for _ in range(3):
        tiers.edge.engine.flush()
        tiers.edge.restart()
        tiers.clock.advance(31)
        tiers.run(2)
    assert tiers.edge.engine.log.first_lsn > 6
    deletion = tiers.edge.engine.delete(
        "meters", devices="root.p.e.d2", start=START_MS, end=START_MS + 60_000
    )
    deletion.ack.wait()
    tiers.plant.stop()
    tiers.plant.directory = tiers.base / "empty"
    tiers.plant.start()
    for _ in range(4):
        tiers.clock.advance(31)
        tiers.run(4, check=False)
    forward = tiers.edge.federation._follower.forward
    assert forward is not None
    assert deletion.ack.lsn in forward.held
    assert deletion.ack.lsn in forward.acked
