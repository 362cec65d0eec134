"""Case 29: only the rollup is exported; then late data comes, then a DELETE. The group is VERIFIED
again each time."""

from __future__ import annotations

from mainstem_sync.testing.tiers import START_MS

from .rollup_tiers import DEVICES, RollupTiers, content


def test_case_29_late_data_then_a_delete(tree: RollupTiers) -> None:
    for device in DEVICES:
        tree.write(device, 0, 180)
    tree.settle(400)
    tree.assert_verified(3)
    assert len(content(tree.group)) == 6
    tree.write(DEVICES[0], 30.5, 1, value=100.0)
    tree.settle(90)
    tree.assert_verified(5)
    assert content(tree.group)[0][2:4] == (61, 160.0)
    # A part of one window, then the whole of another: the emptied one is a delete.
    engine = tree.edge.engine
    engine.delete("meters", devices=DEVICES[0], start=START_MS, end=START_MS + 10_000).ack.wait()
    engine.delete(
        "meters", devices=DEVICES[1], start=START_MS + 60_000, end=START_MS + 120_000
    ).ack.wait()
    tree.settle(90)
    tree.assert_verified(7)
    assert content(tree.group)[0][2:4] == (51, 150.0)
    assert len(content(tree.group)) == 5
    for node in tree.nodes:
        node.engine.flush()
    tree.settle(60)
    tree.assert_verified(8)
