"""What simulations found, each in its shortest form."""

from __future__ import annotations

from mainstem_sync.testing.tiers import START_MS, Tiers


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
