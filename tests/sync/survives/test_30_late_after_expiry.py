"""Case 30: a row comes late, after the raw rows of its time have expired. It is refused, for who
collects it to put aside; the rollup stands, at every tier."""

from __future__ import annotations

import numpy as np
import pytest

from mainstem_engine.errors import OutOfRetentionError
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS

from .rollup_tiers import DEVICES, RollupTiers, content


def test_case_30_the_rollup_stands(tree: RollupTiers) -> None:
    for device in DEVICES:
        tree.write(device, 0, 180)
    tree.settle(400)
    tree.assert_verified(3)
    before = content(tree.group)
    engine = tree.edge.engine
    engine.flush()
    engine.set_keep("meters", 10 * MINUTE_NS)
    tree.settle(86_400)
    engine.confirm_clock()
    tree.write(DEVICES[0], 86_400, 5, value=2.0)
    engine.flush()
    assert engine.expire().rows == 360
    # Kept for longer from now on, the time is not whole any more all the same.
    for keep_ns, reason in ((10 * MINUTE_NS, "expired"), (None, "too_late")):
        engine.set_keep("meters", keep_ns)
        ids = engine.device_ids("meters", [DEVICES[0]])
        times = np.array([(START_MS + 90_500) * 10**6], np.int64)
        found = engine.out_of_retention("meters", ids, times)
        assert found is not None
        assert [bool(found.expired[0]), bool(found.too_late[0])] == [
            reason == "expired", reason == "too_late",
        ]  # fmt: skip
        with pytest.raises(OutOfRetentionError):
            tree.write(DEVICES[0], 90.5, 1, value=99.0)
        with pytest.raises(OutOfRetentionError):
            engine.sql(f"DELETE FROM {DEVICES[0]} WHERE time < {START_MS + 100_000}")
    # What a collector does with it: counted in the log beside the rows that are stored.
    columns = {"current": [3.0], "voltage": [1]}
    counted = {"received": 2, "quarantined": 1}
    engine.write("meters", DEVICES[0], [START_MS + 86_500_000], columns, intake=counted).wait()
    tree.settle(400)
    assert tree.edge.federation.accounting()["meters"]["intake"]["quarantined"] == 1
    for node in tree.nodes:
        assert set(before) <= set(content(node)), node.name
    tree.assert_verified(3)
