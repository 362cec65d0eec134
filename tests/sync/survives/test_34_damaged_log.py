"""Case 34: the middle of the log is damaged before it was delivered: LOSS for that range, D passes.
What is in parts all the same is missed by the parent, and comes as slices."""

from __future__ import annotations

import struct

from mainstem_engine.log.records import RecordKind
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers


def turn_a_bit(node: TestNode, lsn: int, kind: RecordKind = RecordKind.PTS) -> None:
    """Of the payload of a record on the node's disk."""
    needle = struct.pack("<QB", lsn, kind)
    for path in sorted((node.directory / "log").glob("*.log")):
        data = bytearray(path.read_bytes())
        at = data.find(needle)
        if at >= 0:
            data[at + 60] ^= 1
            path.write_bytes(data)
            return
    raise AssertionError(f"record {lsn} is not in the log")


def test_case_34_at_the_edge(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    lsns = [tiers.write(start_s=n * 100, rows=n + 1) for n in range(5)]
    tiers.edge.engine.flush()
    tiers.write(start_s=900, rows=1)
    tiers.edge.crash()
    turn_a_bit(tiers.edge, lsns[2])
    tiers.edge.start()
    tiers.check()
    tiers.up.restore()
    tiers.clock.advance(40)
    tiers.run(4)
    sums = tiers.forward(tiers.edge)
    assert (sums["lost"], sums["pending"], sums["delivered"]) == (3, 0, 13)
    log = tiers.edge.engine.log
    assert any(record.kind == RecordKind.LOSS for record in log.read(1)), "declared in the log"
    delivery = tiers.edge.federation.delivery()
    assert delivery is not None
    assert delivery["acked_lsn"] == delivery["head_lsn"], "D passes"
    # It is counted once, whatever happens afterwards.
    tiers.edge.restart()
    tiers.check()
    assert tiers.forward(tiers.edge)["lost"] == 3
    # The record is lost and its rows are not: parts have them.
    tiers.close()
    tiers.run(4)
    tiers.close(3)
    for node in (tiers.plant, tiers.group):
        assert tiers.values(node) == tiers.values(tiers.edge), node.name
        assert node.federation.holes == []
    tiers.check()


def test_case_34_at_a_relay(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up2.cut()
    for n in range(5):
        tiers.write(start_s=n * 100, rows=n + 1)
        tiers.run(0.5)
    tiers.plant.engine.flush()
    batches = [r.lsn for r in tiers.plant.engine.log.read(1) if r.kind == RecordKind.RCV]
    tiers.plant.crash()
    turn_a_bit(tiers.plant, batches[-3], RecordKind.RCV)
    tiers.plant.start()
    tiers.check()
    tiers.up2.restore()
    tiers.clock.advance(40)
    tiers.run(4)
    sums = tiers.forward(tiers.plant)
    assert sums["lost"] > 0
    assert sums["lost"] + sums["delivered"] == 15
    for _ in range(3):
        tiers.close(3)
        tiers.run(4)
    origins = {state.key.name: state for state in tiers.group.federation._follower.origins}
    assert len(origins["edge"].received) == 1, "D passes"
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.group.federation.holes == []
    tiers.check()
