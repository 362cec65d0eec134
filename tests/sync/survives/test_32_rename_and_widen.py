"""Case 32: rename and widening, then an audit. Everything is VERIFIED as before: a digest knows a
measurement by its permanent id, and a value by what it is."""

from __future__ import annotations

from mainstem_engine.model import ColumnType
from mainstem_sync.testing.tiers import Tiers


def test_case_32_everything_is_still_verified(tiers: Tiers) -> None:
    tiers.write(rows=150)
    tiers.close()
    for node in tiers.nodes:
        node.engine.flush()
    tiers.edge.engine.alter_template("meters", rename={"voltage": "volts"})
    tiers.edge.engine.alter_template("meters", widen={"volts": ColumnType.INT64})
    ids = tiers.edge.engine.device_ids("meters", ["root.p.e.d1"])
    at = tiers.clock.now_ns // 10**6
    tiers.edge.engine.write("meters", ids, [at], {"volts": [1 << 40]}).wait()
    tiers.close()
    for node in (tiers.plant, tiers.group):
        found = node.federation.verify(rescan=True)
        assert found["rescanned"] is True
        assert found["slices"] == []
        assert found["verified"] == found["judged"] > 10
        stored = node.engine.scan("meters", columns=["volts"]).read_all().column("volts")
        assert stored.to_pylist() == [*range(150), 1 << 40]
    # And what the owner states anew of the old time equals it too.
    first = tiers.plant.federation._follower.origins
    (watch,) = (state.watches["meters"] for state in first)
    lowest, highest = next(iter(watch.closed))
    tiers.edge.federation._follower.manifests.restate("meters", lowest, highest + 1)
    tiers.close()
    assert tiers.plant.federation.verify(rescan=True)["slices"] == []
    assert tiers.state(tiers.group)["state"] == "complete"
