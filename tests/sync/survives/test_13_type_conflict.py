"""Case 13: a type conflict at the parent. Only that series is put aside."""

from __future__ import annotations

import numpy as np

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, START_NS, Tiers


def test_case_13_only_that_series_is_put_aside(tiers: Tiers) -> None:
    tiers.plant.engine.create_template(
        Template("meters", (Measurement(0, "current", ColumnType.BOOLEAN),)), foreign=True
    )
    engine = tiers.edge.engine
    tiers.write(rows=90)
    ids = engine.device_ids("meters", ["root.p.e.d2"], create=True)
    times = START_MS + 150_000 + np.arange(10) * 1000
    only = {"voltage": np.arange(10, dtype=np.int32)}
    engine.write("meters", np.repeat(ids, 10), times, only).wait()
    tiers.close()
    found = tiers.plant.engine.scan("meters", columns=["current", "voltage"]).read_all().to_pydict()
    assert found["voltage"] == [*range(90), *range(10)]
    assert found["current"] == [None] * 100
    items = tiers.plant.federation.quarantine.items(limit=1000)
    assert len(items) == 90
    assert {(i["measurement"], i["reason"], i["node"]) for i in items} == {
        ("current", "type_conflict", "edge")
    }
    state = tiers.state(tiers.plant)
    assert state["state"] == "complete", "what is put aside is known"
    assert state["lost"] == [
        {"from": START_MS, "to": START_MS + 120_000, "rows": 90, "reason": "quarantined"}
    ]
    assert state["quarantined"] == 90
    listed = tiers.plant.federation.verify(rescan=True)
    assert [each["state"] for each in listed["slices"]] == ["QUARANTINED", "QUARANTINED"]
    third = tiers.plant.federation.verify(START_NS + 2 * MINUTE_NS, START_NS + 3 * MINUTE_NS)
    assert third == {**third, "judged": 1, "verified": 1, "slices": []}
    # The group has no such conflict: it gets the edge's own statement, and proves it.
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.state(tiers.group)["lost"] == []
    sums = tiers.plant.federation.accounting()["meters"]
    assert sums["values_quarantined"] == 90
    assert sums["children"]["from_children"] == 100
